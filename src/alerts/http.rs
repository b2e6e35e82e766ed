//! The HTTP client of webhooks and pings.

use std::time::Duration;

use anyhow::Context as _;

use crate::config::SecretUrl;
use crate::courier;

/// The longest wait for a reply.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client for addresses that the operator gave.
pub(super) fn client() -> anyhow::Result<reqwest::Client> {
    courier::client(TIMEOUT).context("preparing to send alerts")
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
        Err(error) => Err(courier::why(error, host, TIMEOUT)),
    }
}
