//! The webhooks of the feed: how far the ledger was delivered to each, and what is wrong with it.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sqlx::SqliteConnection;

use super::time;
use crate::config::FeedConfig;
use crate::store::feed_webhooks;

/// How long a receiver may fail before it is reported: nothing is lost while it restarts.
const FAILING_MAX: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeedWebhookStatus {
    pub name: String,
    /// Up to the last entry that it accepted, or that it has according to `after`.
    pub delivered_entries: u64,
    /// Signed entries that it has not been given yet.
    pub behind_entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivery: Option<Timestamp>,
    /// Failures in a row.
    pub failures: i64,
    /// Why the last try failed, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_since: Option<Timestamp>,
}

impl FeedWebhookStatus {
    pub(super) async fn all(
        db: &mut SqliteConnection,
        config: &FeedConfig,
        signed_entries: u64,
    ) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::new();
        for webhook in &config.webhook {
            let standing = feed_webhooks::standing(db, webhook).await?;
            let delivered_entries = u64::try_from(standing.next)?;
            all.push(Self {
                name: webhook.name.clone(),
                delivered_entries,
                behind_entries: signed_entries.saturating_sub(delivered_entries),
                last_delivery: time(standing.delivered_at_ms),
                failures: standing.failures,
                error: standing.last_error,
                error_since: time(standing.failing_since_ms),
            });
        }
        Ok(all)
    }

    /// Since when it has failed, if that is longer than it may.
    pub fn overdue(&self, now: Timestamp) -> Option<Timestamp> {
        self.error_since.filter(|since| now.duration_since(*since) > FAILING_MAX)
    }
}
