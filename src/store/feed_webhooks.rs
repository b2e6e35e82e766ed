//! How far the feed was delivered to each webhook, and what is wrong with it: `feed_webhooks`.

use anyhow::Context as _;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::db;
use crate::config::FeedWebhookConfig;

#[derive(Debug, Clone, PartialEq, Eq, Default, sqlx::FromRow)]
pub struct Standing {
    /// The number of the entry that comes next.
    pub next: i64,
    /// The number after the last entry of the delivery under way.
    pub batch_end: Option<i64>,
    pub delivered_at_ms: Option<i64>,
    /// Failures in a row.
    pub failures: i64,
    pub last_error: Option<String>,
    pub failing_since_ms: Option<i64>,
}

/// The standing of a webhook; the default in a database of an older version.
///
/// Before the first delivery, `after` of the configuration says where to begin, and may be corrected.
pub async fn standing(db: &mut SqliteConnection, webhook: &FeedWebhookConfig) -> anyhow::Result<Standing> {
    let known: Option<Standing> = match db::has_table(db, "feed_webhooks").await? {
        true => sqlx::query_as(
            "select next, batch_end, delivered_at_ms, failures, last_error, failing_since_ms
             from feed_webhooks where name = ?",
        )
        .bind(&webhook.name)
        .fetch_optional(db)
        .await
        .context("reading how far a webhook was delivered to")?,
        false => None,
    };
    let begin = i64::try_from(next_after(webhook.after))?;
    match known {
        Some(known) if known.delivered_at_ms.is_some() || known.next == begin => Ok(known),
        Some(known) => Ok(Standing { next: begin, batch_end: None, ..known }),
        None => Ok(Standing { next: begin, ..Standing::default() }),
    }
}

/// Records the bounds of a delivery before its first try. `false` if these entries were accepted meanwhile: for a moment
/// after a reload, two may deliver.
pub async fn begin(tx: &mut SqliteConnection, name: &str, from: u64, end: u64) -> anyhow::Result<bool> {
    let done = sqlx::query(
        "insert into feed_webhooks (name, next, batch_end) values (?, ?, ?)
         on conflict (name) do update set next = excluded.next, batch_end = excluded.batch_end
             where delivered_at_ms is null or next = excluded.next",
    )
    .bind(name)
    .bind(i64::try_from(from)?)
    .bind(i64::try_from(end)?)
    .execute(tx)
    .await
    .context("beginning a delivery to a webhook")?;
    Ok(done.rows_affected() > 0)
}

/// Records that the entries from `from` to before `end` were accepted. Returns how often that had failed.
///
/// Nothing changes if something else is under way by now.
pub async fn note_taken(
    tx: &mut SqliteConnection,
    name: &str,
    from: u64,
    end: u64,
    now: Timestamp,
) -> anyhow::Result<i64> {
    let (from, end) = (i64::try_from(from)?, i64::try_from(end)?);
    let failures = sqlx::query_scalar(
        "select failures from feed_webhooks where name = ? and next = ? and batch_end = ?",
    )
    .bind(name)
    .bind(from)
    .bind(end)
    .fetch_optional(&mut *tx)
    .await
    .context("looking up a delivery to a webhook")?;
    sqlx::query(
        "update feed_webhooks set next = batch_end, batch_end = null, delivered_at_ms = ?, failures = 0,
             last_error = null, failing_since_ms = null
         where name = ? and next = ? and batch_end = ?",
    )
    .bind(now.as_millisecond())
    .bind(name)
    .bind(from)
    .bind(end)
    .execute(tx)
    .await
    .context("noting a delivery to a webhook")?;
    Ok(failures.unwrap_or(0))
}

/// Records a failure. Returns how often that has failed in a row.
pub async fn note_failure(
    tx: &mut SqliteConnection,
    name: &str,
    from: i64,
    error: &str,
    now: Timestamp,
) -> anyhow::Result<i64> {
    sqlx::query_scalar(
        "insert into feed_webhooks (name, next, failures, last_error, failing_since_ms) values (?, ?, 1, ?, ?)
         on conflict (name) do update set failures = failures + 1, last_error = excluded.last_error,
             failing_since_ms = coalesce(failing_since_ms, excluded.failing_since_ms)
         returning failures",
    )
    .bind(name)
    .bind(from)
    .bind(error)
    .bind(now.as_millisecond())
    .fetch_one(tx)
    .await
    .context("noting why nothing is delivered to a webhook")
}

pub async fn note_well(tx: &mut SqliteConnection, name: &str) -> anyhow::Result<()> {
    sqlx::query(
        "update feed_webhooks set failures = 0, last_error = null, failing_since_ms = null where name = ?",
    )
    .bind(name)
    .execute(tx)
    .await
    .context("noting that all is well with a webhook")?;
    Ok(())
}

/// The number after the last one that a reader has seen.
pub fn next_after(after: Option<u64>) -> u64 {
    after.map_or(0, |after| after.saturating_add(1))
}
