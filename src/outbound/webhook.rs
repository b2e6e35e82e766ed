//! Posts signed as Standard Webhooks says: the receiver can check that a message is ours, and how old it is.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use reqwest::Method;
use sha2::Sha256;

use super::http::Client;
use crate::config::{SigningKey, WebhookConfig};

#[derive(Debug)]
pub struct Webhook {
    config: WebhookConfig,
    client: Client,
}

impl Webhook {
    pub fn new(config: WebhookConfig, timeout: Duration) -> anyhow::Result<Self> {
        Ok(Self { config, client: Client::new(timeout)? })
    }

    pub fn host(&self) -> &str {
        self.config.url.host()
    }

    /// Posts a message; any status of success means that it was received. `now` is signed too, so that a receiver can
    /// refuse a message that somebody else sends again later.
    ///
    /// # Errors
    /// Why it was not received, naming the host alone.
    pub async fn post(
        &self,
        id: &str,
        content_type: &str,
        body: String,
        now: Timestamp,
    ) -> Result<(), String> {
        let (url, timestamp) = (&self.config.url, now.as_second());
        let request = self
            .client
            .request(Method::POST, url)
            .header("content-type", content_type)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", signature(&self.config.key, id, timestamp, &body))
            .body(body);
        self.client.send(request, url).await
    }
}

/// `v1,` and the HMAC-SHA256 over id, time and body.
fn signature(key: &SigningKey, id: &str, timestamp: i64, body: &str) -> String {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
    hmac.update(format!("{id}.{timestamp}.").as_bytes());
    hmac.update(body.as_bytes());
    format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()))
}
