//! Posts signed as Standard Webhooks says: the receiver knows that a message is ours, and how old it is.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

use crate::config::{SigningKey, WebhookConfig};

/// An address that takes signed posts.
#[derive(Debug)]
pub struct Webhook {
    config: WebhookConfig,
    client: reqwest::Client,
    timeout: Duration,
}

impl Webhook {
    /// A webhook that waits for each reply at most so long.
    ///
    /// # Errors
    /// If TLS cannot be set up on this machine.
    pub fn new(config: WebhookConfig, timeout: Duration) -> anyhow::Result<Self> {
        Ok(Self { config, client: super::client(timeout)?, timeout })
    }

    /// All of its address that may be told.
    pub fn host(&self) -> &str {
        self.config.url.host()
    }

    /// Posts a message; any status of success is a receipt. `now` is signed with it, so that a receiver can refuse what
    /// somebody repeats later.
    ///
    /// # Errors
    /// Why there was no receipt, in words that name the host alone.
    pub async fn post(
        &self,
        id: &str,
        content_type: &str,
        body: String,
        now: Timestamp,
    ) -> Result<(), String> {
        let timestamp = now.as_second();
        let request = self
            .client
            .post(self.config.url.expose().clone())
            .header("content-type", content_type)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", signature(&self.config.key, id, timestamp, &body))
            .body(body);
        super::send(request, &self.config.url, self.timeout).await
    }
}

/// `v1,` and the HMAC-SHA256 over id, time and body.
fn signature(key: &SigningKey, id: &str, timestamp: i64, body: &str) -> String {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
    hmac.update(format!("{id}.{timestamp}.").as_bytes());
    hmac.update(body.as_bytes());
    format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()))
}
