//! The HTTP client of webhooks and pings: bounded, and it goes nowhere but where it was told.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::config::SecretUrl;

/// The longest wait for a reply.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client for addresses that the operator gave.
pub(super) fn client() -> anyhow::Result<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("setting up TLS for alerts")?
        .with_platform_verifier()
        .context("reading the system's root certificates for alerts")?
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        // A redirect would carry the message, and the token in the address, elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .timeout(TIMEOUT)
        .user_agent(concat!("callvault/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("setting up HTTP for alerts")
}

/// Sends a request; only the status of its reply matters. The error names the host alone.
pub(super) async fn send(request: reqwest::RequestBuilder, to: &SecretUrl) -> Result<(), String> {
    let host = to.host();
    match request.send().await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) if response.status().is_redirection() => {
            Err(format!("{host} redirects elsewhere ({}); write the final address", response.status()))
        }
        Ok(response) => Err(format!("{host} answered with HTTP status {}", response.status())),
        Err(error) => Err(why(error, host)),
    }
}

fn why(error: reqwest::Error, host: &str) -> String {
    if error.is_timeout() {
        return format!("{host} did not answer within {} s", TIMEOUT.as_secs());
    }
    // The innermost cause is the system's or TLS's; those above may quote the address.
    let error = error.without_url();
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    match cause {
        Some(cause) => format!("{host} cannot be reached ({cause})"),
        None => format!("{host} cannot be reached"),
    }
}
