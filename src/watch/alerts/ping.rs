//! The dead man's switch: a service elsewhere that notices when this machine is silent.

use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Alerter, TIMEOUT};
use crate::config::SecretUrl;
use crate::outbound::http::Client;
use crate::store::fleet;

/// At most one ping in this time.
const PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Ping {
    url: SecretUrl,
    client: Client,
    good_cycle: Notify,
}

impl Ping {
    pub(super) fn new(url: SecretUrl) -> anyhow::Result<Self> {
        Ok(Self { url, client: Client::new(TIMEOUT)?, good_cycle: Notify::new() })
    }

    /// Requests a ping; several requests become one.
    pub(super) fn note_good_cycle(&self) {
        self.good_cycle.notify_one();
    }
}

impl Alerter {
    pub(super) async fn ping_until(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        let Some(ping) = &self.ping else {
            // Without a configured ping, none fails.
            return self.note_ping(String::new()).await;
        };
        let mut noted = None;
        loop {
            tokio::select! {
                () = ping.good_cycle.notified() => {}
                () = stop.cancelled() => return Ok(()),
            }
            let outcome = tokio::select! {
                outcome = ping.client.ping(&ping.url) => outcome,
                () = stop.cancelled() => return Ok(()),
            };
            let error = outcome.err().unwrap_or_default();
            if noted.as_ref() != Some(&error) {
                if !error.is_empty() {
                    warn!("The dead man's switch could not be pinged: {error}");
                }
                self.note_ping(error.clone()).await?;
                noted = Some(error);
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Stores why the last ping failed, for `status`; empty if it did not.
    async fn note_ping(&self, error: String) -> anyhow::Result<()> {
        let known = fleet::meta(&mut *self.db.read().await?, fleet::PING_ERROR).await?;
        if known.unwrap_or_default() == error {
            return Ok(());
        }
        self.db.write(async move |tx| fleet::set_meta(tx, fleet::PING_ERROR, &error).await).await
    }
}
