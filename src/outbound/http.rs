//! Carries bytes to addresses that the operator gave, and bounded replies back. It goes nowhere but where it was told.

mod webhook;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls_platform_verifier::BuilderVerifierExt as _;

pub use webhook::Webhook;

use crate::config::SecretUrl;

/// Somebody who carries.
#[derive(Debug, Clone)]
pub struct Courier {
    client: reqwest::Client,
    timeout: Duration,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// What the body claims to be, in lower case and without parameters.
    pub content_type: String,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Courier {
    /// A courier who waits for each reply, its last byte included, at most so long.
    ///
    /// # Errors
    /// If TLS cannot be set up on this machine.
    pub fn new(timeout: Duration) -> anyhow::Result<Self> {
        Ok(Self { client: client(timeout)?, timeout })
    }

    /// Posts a body, and brings back a reply of at most `bytes_max`, whatever its status.
    ///
    /// # Errors
    /// Why no such reply came, in words that name the host alone: the address may hold a token.
    pub async fn post(
        &self,
        to: &SecretUrl,
        content_type: &str,
        body: Vec<u8>,
        bytes_max: usize,
    ) -> Result<Reply, String> {
        let why = |error| why(error, to.host(), self.timeout);
        let request = self.client.post(to.expose().clone()).header("content-type", content_type).body(body);
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
}

/// A client that follows no redirect and no proxy, and gives up after `timeout`.
///
/// # Errors
/// If TLS cannot be set up on this machine.
pub fn client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("setting up TLS")?
        .with_platform_verifier()
        .context("reading the system's root certificates")?
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        // A redirect would carry the message, and the token in the address, elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .timeout(timeout)
        .user_agent(concat!("callvault/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("setting up HTTP")
}

/// Sends a request; only the status of its reply matters, and the body is not read.
///
/// # Errors
/// Why there was no success, in words that name the host alone.
pub async fn send(request: reqwest::RequestBuilder, to: &SecretUrl, timeout: Duration) -> Result<(), String> {
    let host = to.host();
    match request.send().await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) if response.status().is_redirection() => {
            Err(format!("{host} redirects elsewhere ({}); write the final address", response.status()))
        }
        Ok(response) => Err(format!("{host} answered with HTTP status {}", response.status())),
        Err(error) => Err(why(error, host, timeout)),
    }
}

/// Why there was no reply; of the address, only the host is told.
pub fn why(error: reqwest::Error, host: &str, timeout: Duration) -> String {
    if error.is_timeout() {
        return format!("{host} did not answer within {} s", timeout.as_secs_f64());
    }
    // The innermost cause is the system's or TLS's; those above may quote the address.
    let error = error.without_url();
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    match cause.map(|cause| (cause, cause.downcast_ref::<rustls::Error>())) {
        Some((_, Some(tls))) => format!("{host} cannot be reached ({})", tls_words(tls)),
        Some((cause, None)) => format!("{host} cannot be reached ({cause})"),
        None => format!("{host} cannot be reached"),
    }
}

/// Why no TLS was agreed upon, in words of people: rustls names its own types.
fn tls_words(error: &rustls::Error) -> &'static str {
    use rustls::{CertificateError as Why, Error};
    match error {
        Error::InvalidCertificate(Why::UnknownIssuer) => {
            "its certificate is signed by itself, or by nobody that this machine knows"
        }
        Error::InvalidCertificate(Why::Expired | Why::ExpiredContext { .. }) => "its certificate has expired",
        Error::InvalidCertificate(Why::NotValidForName | Why::NotValidForNameContext { .. }) => {
            "its certificate is for another name"
        }
        Error::InvalidCertificate(_) => "this machine does not accept its certificate",
        Error::InvalidMessage(_) => "it does not speak TLS at this port",
        _ => "no TLS could be agreed upon",
    }
}
