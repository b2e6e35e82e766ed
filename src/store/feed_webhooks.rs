//! How far the feed was delivered to each webhook, and what is wrong with it: `feed_webhooks`.

use anyhow::Result;
use jiff::Timestamp;

use super::db;
use crate::config::FeedWebhookConfig;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Ms, Run as _};

#[derive(Debug, Clone, PartialEq, Eq, Default, sqlx::FromRow)]
pub struct Standing {
    pub next: u64,
    /// The number after the last entry of the delivery under way.
    pub batch_end: Option<u64>,
    pub delivered_at_ms: Option<Ms>,
    pub failures: i64,
    pub last_error: Option<String>,
    pub failing_since_ms: Option<Ms>,
}

/// The standing of a webhook; the default in a database of an older version.
///
/// Before the first delivery, `after` of the configuration says where to begin, and may be corrected.
pub async fn standing(db: &mut Conn, webhook: &FeedWebhookConfig) -> Result<Standing> {
    let known: Option<Standing> = match db::has_table(db, "feed_webhooks").await? {
        true => {
            sqlx::query_as(
                "select next, batch_end, delivered_at_ms, failures, last_error, failing_since_ms
             from feed_webhooks where name = ?",
            )
            .bind(&webhook.name)
            .maybe(db, "reading how far a webhook was delivered to")
            .await?
        }
        false => None,
    };
    let begin = next_after(webhook.after);
    match known {
        Some(known) if known.delivered_at_ms.is_some() || known.next == begin => Ok(known),
        Some(known) => Ok(Standing { next: begin, batch_end: None, ..known }),
        None => Ok(Standing { next: begin, ..Standing::default() }),
    }
}

/// Records the bounds of a delivery before its first try. `false` if these entries were accepted meanwhile: for a moment
/// after a reload, two may deliver.
pub async fn begin(tx: &mut Conn, name: &str, from: u64, end: u64) -> Result<bool> {
    sqlx::query(
        "insert into feed_webhooks (name, next, batch_end) values (?, ?, ?)
         on conflict (name) do update set next = excluded.next, batch_end = excluded.batch_end
             where delivered_at_ms is null or next = excluded.next",
    )
    .bind_all((name, from, end))
    .changed(tx, "beginning a delivery to a webhook")
    .await
}

/// Records that the entries from `from` to before `end` were accepted. Returns how often that had failed.
///
/// Nothing changes if something else is under way by now.
pub async fn note_taken(tx: &mut Conn, name: &str, from: u64, end: u64, now: Timestamp) -> Result<i64> {
    let failures = sqlx::query_scalar(
        "select failures from feed_webhooks where name = ? and next = ? and batch_end = ?",
    )
    .bind_all((name, from, end))
    .maybe(tx, "looking up a delivery to a webhook")
    .await?;
    sqlx::query(
        "update feed_webhooks set next = batch_end, batch_end = null, delivered_at_ms = ?, failures = 0,
             last_error = null, failing_since_ms = null
         where name = ? and next = ? and batch_end = ?",
    )
    .bind_all((now, name, from, end))
    .run(tx, "noting a delivery to a webhook")
    .await?;
    Ok(failures.unwrap_or(0))
}

/// Records a failure. Returns how often that has failed in a row.
pub async fn note_failure(tx: &mut Conn, name: &str, from: u64, error: &str, now: Timestamp) -> Result<i64> {
    sqlx::query_scalar(
        "insert into feed_webhooks (name, next, failures, last_error, failing_since_ms) values (?, ?, 1, ?, ?)
         on conflict (name) do update set failures = failures + 1, last_error = excluded.last_error,
             failing_since_ms = coalesce(failing_since_ms, excluded.failing_since_ms)
         returning failures",
    )
    .bind_all((name, from, error, now))
    .one(tx, "noting why nothing is delivered to a webhook").await
}

pub async fn note_well(tx: &mut Conn, name: &str) -> Result<()> {
    sqlx::query(
        "update feed_webhooks set failures = 0, last_error = null, failing_since_ms = null where name = ?",
    )
    .bind(name)
    .run(tx, "noting that all is well with a webhook")
    .await
}

/// The number after the last one that a reader has seen.
pub fn next_after(after: Option<u64>) -> u64 {
    after.map_or(0, |after| after.saturating_add(1))
}
