//! Webhooks, signed as Standard Webhooks says: the receiver knows that a message is ours, and how old it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

use super::http;
use crate::config::{SigningKey, WebhookConfig};

/// A webhook.
#[derive(Debug)]
pub(super) struct Webhook {
    name: String,
    config: WebhookConfig,
    client: reqwest::Client,
}

impl Webhook {
    /// The `number`th of the configuration.
    pub(super) fn new(number: usize, config: WebhookConfig, client: reqwest::Client) -> Self {
        Self { name: format!("webhook {number} ({})", config.url.host()), config, client }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Posts a message. `now` is signed with it, so that a receiver can refuse what somebody repeats later.
    pub(super) async fn send(&self, id: &str, body: &str, now: Timestamp) -> Result<(), String> {
        let timestamp = now.as_second();
        let request = self
            .client
            .post(self.config.url.expose().clone())
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", signature(&self.config.key, id, timestamp, body))
            .body(body.to_owned());
        http::send(request, &self.config.url).await
    }
}

/// `v1,` and the HMAC-SHA256 over id, time and body.
pub(super) fn signature(key: &SigningKey, id: &str, timestamp: i64, body: &str) -> String {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
    hmac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()))
}
