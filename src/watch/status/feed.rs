//! The webhooks of the feed: how far the ledger was delivered to each, and what is wrong with it.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sqlx::SqliteConnection;

use super::time;
use crate::config::FeedConfig;
use crate::http::feed;

/// How long a receiver may fail before that is told: while it restarts or is updated, nothing is lost.
const FAILING_MAX: SignedDuration = SignedDuration::from_hours(1);

/// A webhook at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeedWebhookStatus {
    /// Its name.
    pub name: String,
    /// Entries of the ledger up to the last one that it took, or has according to `after`.
    pub delivered_entries: u64,
    /// Signed entries that it was not given yet.
    pub behind_entries: u64,
    /// When it last took some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivery: Option<Timestamp>,
    /// Tries in a row that failed.
    pub failures: i64,
    /// Why the last of them did, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_since: Option<Timestamp>,
}

impl FeedWebhookStatus {
    /// Reads how it stands with all that are configured, of a ledger of so many signed entries.
    pub(super) async fn all(
        db: &mut SqliteConnection,
        config: &FeedConfig,
        signed_entries: u64,
    ) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::new();
        for webhook in &config.webhook {
            let standing = feed::standing(db, webhook).await?;
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

    /// Since when it fails, if that is longer than it may.
    pub fn overdue(&self, now: Timestamp) -> Option<Timestamp> {
        self.error_since.filter(|since| now.duration_since(*since) > FAILING_MAX)
    }
}
