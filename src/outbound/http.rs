//! HTTP requests to addresses that the operator gave: no redirects, no proxy, bounded time, bounded replies. Errors name the
//! host alone, because the address may hold a token.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Method, RequestBuilder, redirect, retry};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::config::SecretUrl;

#[derive(Debug, Clone)]
pub struct Client {
    client: reqwest::Client,
    timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// In lower case and without parameters.
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Client {
    /// A client that waits at most `timeout` for a whole reply.
    pub fn new(timeout: Duration) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("setting up TLS")?
            .with_platform_verifier()
            .context("reading the system's root certificates")?
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // A redirect would carry the message, and the token in the address, elsewhere.
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .timeout(timeout)
            .user_agent(concat!("callvault/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("setting up HTTP")?;
        Ok(Self { client, timeout })
    }

    /// Posts a body and returns the reply, whatever its status, if it has at most `bytes_max`.
    ///
    /// # Errors
    /// Why there is no such reply.
    pub async fn post(
        &self,
        to: &SecretUrl,
        content_type: &str,
        body: Vec<u8>,
        bytes_max: usize,
    ) -> Result<Reply, String> {
        let why = |error| self.why(error, to.host());
        let request = self.request(Method::POST, to).header("content-type", content_type).body(body);
        let mut response = request.send().await.map_err(why)?;
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
        let (status, content_type) = (response.status().as_u16(), content_type.trim().to_lowercase());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(why)? {
            if body.len() + chunk.len() > bytes_max {
                return Err(format!("{} answered with more than {} KiB", to.host(), bytes_max / 1024));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, content_type, body })
    }

    /// Sends a GET request; any status of success is fine.
    ///
    /// # Errors
    /// Why there was no success.
    pub async fn ping(&self, to: &SecretUrl) -> Result<(), String> {
        self.send(self.request(Method::GET, to), to).await
    }

    pub(super) fn request(&self, method: Method, to: &SecretUrl) -> RequestBuilder {
        self.client.request(method, to.expose().clone())
    }

    /// Sends a request; any status of success is fine, and the body of the reply is not read.
    pub(super) async fn send(&self, request: RequestBuilder, to: &SecretUrl) -> Result<(), String> {
        let host = to.host();
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) if response.status().is_redirection() => Err(format!(
                "{host} redirects elsewhere ({}); configure the final address",
                response.status()
            )),
            Ok(response) => Err(format!("{host} answered with HTTP status {}", response.status())),
            Err(error) => Err(self.why(error, host)),
        }
    }

    fn why(&self, error: reqwest::Error, host: &str) -> String {
        if error.is_timeout() {
            return format!("{host} did not answer within {} s", self.timeout.as_secs_f64());
        }
        // The innermost cause is the system's or TLS's; those above may quote the address.
        let error = error.without_url();
        let mut cause = error.source();
        while let Some(inner) = cause.and_then(std::error::Error::source) {
            cause = Some(inner);
        }
        match cause.map(|cause| (cause, cause.downcast_ref::<rustls::Error>())) {
            Some((_, Some(tls))) => format!("{host} cannot be reached ({})", tls_in_words(tls)),
            Some((cause, None)) => format!("{host} cannot be reached ({cause})"),
            None => format!("{host} cannot be reached"),
        }
    }
}

/// Why TLS failed: the errors of rustls name its own types.
fn tls_in_words(error: &rustls::Error) -> &'static str {
    use rustls::{CertificateError as Why, Error};
    match error {
        Error::InvalidCertificate(Why::UnknownIssuer) => {
            "its certificate is self-signed, or its issuer is unknown on this machine"
        }
        Error::InvalidCertificate(Why::Expired | Why::ExpiredContext { .. }) => "its certificate has expired",
        Error::InvalidCertificate(Why::NotValidForName | Why::NotValidForNameContext { .. }) => {
            "its certificate is for another name"
        }
        Error::InvalidCertificate(_) => "this machine does not accept its certificate",
        Error::InvalidMessage(_) => "it does not speak TLS at this port",
        _ => "the TLS handshake failed",
    }
}
