//! The one HTTP client: how it is set up, and how a request is sent.

use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONNECTION, CONTENT_TYPE, LOCATION};
use reqwest::{ClientBuilder, Method, Response, StatusCode};
use tokio::time::Instant;
use tracing::debug;
use url::Url;

use crate::config::{PbxConfig, TlsBackend};
use crate::pbx::body::{Body, Bounds};
use crate::pbx::envelope;
use crate::pbx::error::{Failure, Reason};
use crate::pbx::legacy::{Legacy, Line};
use crate::pbx::policy::{Family, Place};
use crate::pbx::tls;
use crate::pbx::transport::{Origin, UnknownHost, before_the_reply};

/// The largest reply read where JSON is due, in bytes.
pub(super) const JSON_BYTES_MAX: u64 = 1 << 20;

/// The same for a list of voicemail: hundreds of boxes with hundreds of messages each.
const VOICEMAIL_LIST_BYTES_MAX: u64 = 32 << 20;

/// What may stand in a query as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// HTTP to one PBX.
pub(super) struct Http {
    way: Way,
    origin: Origin,
    bounds: Bounds,
    reply_timeout: Duration,
}

/// How connections are made.
enum Way {
    /// By the HTTP library, in HTTP or with TLS by rustls.
    Direct(reqwest::Client),
    /// By OpenSSL; the HTTP library speaks plain HTTP into each of them.
    Legacy(Legacy),
}

/// A reply that has begun, and the line over which it comes if the HTTP library did not connect by itself.
struct Reply {
    response: Response,
    line: Option<Line>,
}

/// A request. Its query holds secrets: never print it.
pub(super) struct Request {
    pub(super) place: Place,
    /// Such as `/api/v1.1.0/login`.
    pub(super) path: String,
    /// The encoded query without its `?`.
    pub(super) query: String,
    /// JSON to post; without it the request is a GET.
    pub(super) json: Option<Bytes>,
    /// Longest wait for the reply to begin, the connection included.
    pub(super) timeout: Duration,
}

impl Http {
    /// Prepares the client. No connection is made; only the system's root certificates are read if they are needed.
    pub(super) fn new(config: &PbxConfig) -> Result<Self, Failure> {
        let origin = Origin::of(config);
        let way = match config.tls_backend {
            TlsBackend::OpenSsl if origin.is_https => Way::Legacy(Legacy::new(config, &origin)?),
            TlsBackend::OpenSsl | TlsBackend::Rustls => {
                let tls = tls::client_config(origin.is_https, config.tls_pin_sha256);
                Way::Direct(build(client(&origin).tls_backend_preconfigured(tls))?)
            }
        };
        let limits = &config.limits;
        let bounds = Bounds {
            idle_timeout: limits.idle_timeout,
            throughput_bytes_s_min: limits.throughput_bytes_s_min,
            bytes_max: JSON_BYTES_MAX,
        };
        Ok(Self { way, origin, bounds, reply_timeout: limits.reply_timeout })
    }

    /// Sends a request and returns the body of its reply if the HTTP status is 200.
    pub(super) async fn send(&self, request: Request, bytes_max: u64) -> Result<Body, Failure> {
        let begun = Instant::now();
        let (place, path, timeout) = (request.place, request.path.clone(), request.timeout);
        let outcome = tokio::time::timeout(timeout, self.reply(request)).await.unwrap_or_else(|_| {
            let seconds = timeout.as_secs_f64();
            let what =
                format!("no reply within {seconds} s; check that the PBX is not overloaded, or restart it");
            Err(Failure::new(Reason::Timeout, what))
        });
        self.log(&path, begun.elapsed(), &outcome);
        let Reply { response, line } = outcome?;
        let status = response.status();
        let location = self.location(&response);
        let body = Body::new(response, line, Bounds { bytes_max, ..self.bounds });
        match status {
            StatusCode::OK => Ok(body),
            _ if status.is_redirection() => Err(redirect_failure(location)),
            _ => Err(self.status_failure(place, status, body).await),
        }
    }

    /// Sends a request and reads the whole reply, both within `reply_timeout`. Also says how the reply ended.
    pub(super) async fn exchange(&self, request: Request) -> Result<(Vec<u8>, Body), Failure> {
        let bytes_max = match request.place.family {
            Family::Voicemail => VOICEMAIL_LIST_BYTES_MAX,
            _ => JSON_BYTES_MAX,
        };
        let exchange = async {
            let mut body = self.send(request, bytes_max).await?;
            Ok((body.rest(bytes_max).await?, body))
        };
        let seconds = self.reply_timeout.as_secs_f64();
        tokio::time::timeout(self.reply_timeout, exchange).await.unwrap_or_else(|_| {
            Err(Failure::new(Reason::Timeout, format!("no whole reply within {seconds} s")))
        })
    }

    async fn reply(&self, request: Request) -> Result<Reply, Failure> {
        let family = request.place.family;
        match &self.way {
            Way::Direct(client) => match post_or_get(client, &self.origin.text, request).await {
                Ok(response) => Ok(Reply { response, line: None }),
                Err(error) => Err(before_the_reply(error, &self.origin, family)),
            },
            Way::Legacy(legacy) => self.reply_by_line(legacy, request).await,
        }
    }

    /// Has TLS agreed upon first, and then speaks plain HTTP into it.
    async fn reply_by_line(&self, legacy: &Legacy, request: Request) -> Result<Reply, Failure> {
        let family = request.place.family;
        let (socket, line) = legacy.open(&self.origin).await?;
        let no_tls = tls::client_config(false, None);
        let client = build(client(&self.origin).tls_backend_preconfigured(no_tls).unix_socket(socket))?;
        let origin = self.origin.text.replacen("https:", "http:", 1);
        match (post_or_get(&client, &origin, request).await, line.broken()) {
            (Ok(response), _) => Ok(Reply { response, line: Some(line) }),
            (Err(_), Some(why)) => Err(Failure::new(Reason::Reset, format!("TLS broke off ({why})"))),
            (Err(error), None) => Err(before_the_reply(error, &self.origin, family)),
        }
    }

    /// A status other than 200: the error number in the body if there is one, for it says more.
    async fn status_failure(&self, place: Place, status: StatusCode, mut body: Body) -> Failure {
        let patience = self.reply_timeout.min(self.bounds.idle_timeout);
        let rest = tokio::time::timeout(patience, body.rest(JSON_BYTES_MAX)).await;
        if let Ok(Ok(bytes)) = rest
            && let Err(envelope::Refusal::Errno(errno)) = envelope::parse(&bytes)
        {
            return Failure::errno(place, errno);
        }
        let failure =
            Failure::new(Reason::Http(status.as_u16()), format!("the reply has HTTP status {status}"));
        match status.is_client_error() {
            true => failure.with_remedy("check that `url` and `api_version` are those of the PBX's API"),
            false => failure,
        }
    }

    /// Where a redirect points, without path and query: they may repeat ours.
    fn location(&self, response: &Response) -> Option<String> {
        let text = response.headers().get(LOCATION)?.to_str().ok()?;
        let url = Url::parse(&self.origin.text).ok()?.join(text).ok()?;
        url.host_str().is_some().then(|| url.origin().ascii_serialization())
    }

    fn log(&self, path: &str, elapsed: Duration, outcome: &Result<Reply, Failure>) {
        let (pbx, elapsed_ms) = (self.origin.pbx.as_str(), elapsed.as_millis() as u64);
        match outcome {
            Ok(reply) => {
                let status = reply.response.status().as_u16();
                debug!(pbx, path, status, elapsed_ms, "`{pbx}` answered {path} with {status}");
            }
            Err(failure) => {
                let reason = failure.reason;
                debug!(pbx, path, %reason, elapsed_ms, "`{pbx}` did not answer {path}: {reason}");
            }
        }
    }
}

/// A client for one origin, but for its TLS.
fn client(to: &Origin) -> ClientBuilder {
    // `Connection: close` and no pool: the PBX's server (Boa) serves one request per connection, and its
    // admission of idle ones is not known. Redirects, proxies and Referer would carry the token elsewhere.
    reqwest::Client::builder()
        .dns_resolver(SystemNames)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .http1_only()
        .http1_ignore_invalid_headers_in_responses(true)
        .pool_max_idle_per_host(0)
        .connect_timeout(to.connect_timeout)
        .user_agent(concat!("callvault/", env!("CARGO_PKG_VERSION")))
}

fn build(client: ClientBuilder) -> Result<reqwest::Client, Failure> {
    client.build().map_err(|_| Failure::new(Reason::Protocol, "the HTTP client cannot be set up"))
}

/// Sends a request to `origin`.
async fn post_or_get(client: &reqwest::Client, origin: &str, request: Request) -> reqwest::Result<Response> {
    let separator = if request.query.is_empty() { "" } else { "?" };
    let url = format!("{origin}{}{separator}{}", request.path, request.query);
    let builder = match request.json {
        Some(json) => client
            .request(Method::POST, url)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(json),
        None => client.request(Method::GET, url),
    };
    builder.header(CONNECTION, "close").send().await
}

/// One `key=value` of a query.
pub(super) fn parameter(key: &str, value: &[u8]) -> String {
    format!("{key}={}", percent_encode(value, UNRESERVED))
}

fn redirect_failure(location: Option<String>) -> Failure {
    let what = match location {
        Some(origin) => format!("it redirects to {origin}; write the address of the API itself in `url`"),
        None => "it redirects elsewhere; write the address of the API itself in `url`".to_owned(),
    };
    Failure::new(Reason::Redirect, what)
}

/// The system's resolver, with an error that can be recognised.
struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let addresses = found.map_err(|error| UnknownHost { why: error.to_string() })?;
            Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}
