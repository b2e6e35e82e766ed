//! The one HTTP client: how it is set up, and how a request is sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, LOCATION, USER_AGENT,
};
use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use secrecy::SecretString;
use tokio::time::Instant;
use tracing::debug;

use crate::config::{PbxConfig, TlsBackend};
use crate::pbx::body::{Body, Bounds, Kind};
use crate::pbx::connection::{Security, ask};
use crate::pbx::dial::Heard;
use crate::pbx::error::{Failure, Reason, When};
use crate::pbx::legacy::Legacy;
use crate::pbx::status::{
    PAGE_BYTES_MAX, Secrets, describe, origin_of_location, redirected, refused, retry_after,
};
use crate::pbx::tls::client_config;
use crate::pbx::transport::{Origin, before_the_reply, no_reply};

/// The largest reply read where JSON is due, in bytes.
pub(super) const JSON_BYTES_MAX: u64 = 1 << 20;

/// What may stand in a query as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

const OUR_NAME: &str = concat!("callvault/", env!("CARGO_PKG_VERSION"));

pub(super) struct Http {
    security: Security,
    origin: Origin,
    bounds: Bounds,
    reply_timeout: Duration,
    secrets: Secrets,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

/// Reads an error reply; `None` if the bytes are none.
type Refusal = dyn Fn(&[u8]) -> Option<Failure> + Send + Sync;

/// A request. Its query holds secrets: never print it.
pub(super) struct Request {
    pub(super) when: When,
    /// What an error reply of this family says, if `bytes` are one.
    pub(super) refusal: Box<Refusal>,
    /// Such as `/api/v1.1.0/login`.
    pub(super) path: String,
    /// The encoded query without its `?`.
    pub(super) query: String,
    /// JSON to post; without it the request is a GET.
    pub(super) json: Option<Bytes>,
    /// Longest wait for the reply to begin, the connection included.
    pub(super) timeout: Duration,
    pub(super) bytes_max: u64,
}

impl Http {
    /// Prepares the client. No connection is made; only the system's root certificates are read if they are needed.
    ///
    /// Error texts show none of `secrets`, whatever the PBX answers.
    pub(super) fn new(config: &PbxConfig, secrets: Vec<SecretString>) -> Result<Self, Failure> {
        let origin = Origin::of(config);
        let security = match config.tls_backend {
            _ if !origin.is_https => Security::None,
            TlsBackend::OpenSsl => Security::OpenSsl(Legacy::new(config, &origin)?),
            TlsBackend::Rustls => Security::Rustls(Arc::new(client_config(config.tls_pin_sha256))),
        };
        let limits = &config.limits;
        let bounds = Bounds {
            idle_timeout: limits.idle_timeout,
            throughput_bytes_s_min: limits.throughput_bytes_s_min,
            bytes_max: JSON_BYTES_MAX,
        };
        Ok(Self { security, origin, bounds, reply_timeout: limits.reply_timeout, secrets: Secrets(secrets) })
    }

    /// Sends a request and returns the body of its reply if the HTTP status is 200.
    pub(super) async fn send(&self, request: Request) -> Result<Body, Failure> {
        let begun = Instant::now();
        let heard = Heard::default();
        let outcome = tokio::time::timeout(request.timeout, self.reply(&request, &heard)).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(no_reply(request.timeout.as_secs_f64(), &heard.bytes(), &self.origin, request.when))
        });
        self.log(&request.path, begun.elapsed(), &outcome);
        let Reply { status, headers, body } = outcome?;
        match status {
            StatusCode::OK => Ok(body),
            _ if status.is_redirection() => {
                let location = origin_of_location(headers.get(LOCATION), &self.origin);
                Err(redirected(request.when, location.as_deref(), &self.origin))
            }
            _ => {
                let retry_after = retry_after(status, &headers);
                let failure = self.status_failure(&request, status, body).await;
                Err(Failure { retry_after, ..failure })
            }
        }
    }

    /// Sends a request and reads the whole reply, both within `reply_timeout`. Also says how the reply ended.
    pub(super) async fn exchange(&self, request: Request) -> Result<(Vec<u8>, Body), Failure> {
        let bytes_max = request.bytes_max;
        let exchange = async {
            let mut body = self.send(request).await?;
            body.inflate(bytes_max).await?;
            Ok((body.rest(bytes_max).await?, body))
        };
        let seconds = self.reply_timeout.as_secs_f64();
        tokio::time::timeout(self.reply_timeout, exchange).await.unwrap_or_else(|_| {
            Err(Failure::new(Reason::Timeout, format!("no whole reply within {seconds} s")))
        })
    }

    /// What a page says that came in place of something else: `a web page`, and its title if it has one.
    pub(super) fn describe(&self, page: &[u8]) -> String {
        describe(page, &self.secrets)
    }

    async fn reply(&self, request: &Request, heard: &Heard) -> Result<Reply, Failure> {
        let (when, bytes_max) = (request.when, request.bytes_max);
        let wire = self.security.connect(&self.origin, heard).await?;
        let outcome = ask(wire, self.written(request)?).await;
        let (response, driver) =
            outcome.map_err(|error| before_the_reply(&error, &heard.bytes(), &self.origin, when))?;
        let (head, incoming) = response.into_parts();
        let body = Body::new(&head.headers, incoming, driver, Bounds { bytes_max, ..self.bounds });
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    /// A request as it goes out: the host first, and the length of what is sent always declared, for small servers ask
    /// for both. `Connection: close`, because the PBX's server (Boa) serves one request per connection, and its admission
    /// of idle ones is not known. Nothing compressed is asked for.
    fn written(&self, request: &Request) -> Result<hyper::Request<Full<Bytes>>, Failure> {
        let separator = if request.query.is_empty() { "" } else { "?" };
        let target = format!("{}{separator}{}", request.path, request.query);
        let host = self.origin.text.split_once("://").map_or("", |(_, host)| host);
        let method = if request.json.is_some() { Method::POST } else { Method::GET };
        let mut written = hyper::Request::builder().method(method).uri(target);
        written = written.header(HOST, host).header(USER_AGENT, OUR_NAME).header(ACCEPT, "*/*");
        if let Some(json) = &request.json {
            written = written.header(CONTENT_TYPE, "application/json; charset=utf-8");
            written = written.header(CONTENT_LENGTH, json.len());
        }
        let body = Full::new(request.json.clone().unwrap_or_default());
        let written = written.header(CONNECTION, "close").body(body);
        written.map_err(|_| Failure::new(Reason::Protocol, "the request cannot be written as HTTP"))
    }

    /// A status other than 200: the error number in the body if there is one, for it says more.
    async fn status_failure(&self, request: &Request, status: StatusCode, mut body: Body) -> Failure {
        let when = request.when;
        let patience = self.reply_timeout.min(self.bounds.idle_timeout);
        let rest = async {
            body.inflate(JSON_BYTES_MAX).await?;
            body.rest(JSON_BYTES_MAX).await
        };
        let Ok(Ok(bytes)) = tokio::time::timeout(patience, rest).await else {
            return refused(when, status, None);
        };
        if let Some(failure) = (request.refusal)(&bytes) {
            return failure;
        }
        let page = (Kind::of(&bytes) == Kind::Html).then(|| self.describe(&bytes));
        refused(when, status, page)
    }

    /// What a page says that has begun to come, in words.
    pub(super) async fn page(&self, body: &mut Body) -> String {
        let patience = self.reply_timeout.min(self.bounds.idle_timeout);
        let rest = tokio::time::timeout(patience, body.rest(PAGE_BYTES_MAX)).await;
        self.describe(&rest.map(Result::unwrap_or_default).unwrap_or_default())
    }

    fn log(&self, path: &str, elapsed: Duration, outcome: &Result<Reply, Failure>) {
        let (pbx, elapsed_ms) = (self.origin.pbx.as_str(), elapsed.as_millis() as u64);
        match outcome {
            Ok(reply) => {
                let status = reply.status.as_u16();
                debug!(pbx, path, status, elapsed_ms, "`{pbx}` answered {path} with {status}");
            }
            Err(failure) => {
                let reason = failure.reason;
                debug!(pbx, path, %reason, elapsed_ms, "`{pbx}` did not answer {path}: {reason}");
            }
        }
    }
}

/// One `key=value` of a query.
pub(super) fn parameter(key: &str, value: &[u8]) -> String {
    format!("{key}={}", percent_encode(value, UNRESERVED))
}
