//! How far each webhook was delivered to, and how it stands with it. All SQL on `feed_webhooks`.

use anyhow::Context as _;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::next_after;
use crate::config::FeedWebhookConfig;
use crate::store::db;

/// How it stands with a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Default, sqlx::FromRow)]
pub struct Standing {
    /// The number of the entry that comes next.
    pub next: i64,
    /// The number after the last entry of the delivery under way.
    pub batch_end: Option<i64>,
    /// When it last took one.
    pub delivered_at_ms: Option<i64>,
    /// Tries in a row that failed.
    pub failures: i64,
    /// Why the last of them did.
    pub last_error: Option<String>,
    /// Since when.
    pub failing_since_ms: Option<i64>,
}

/// How it stands with a webhook; also in a database that does not know of any yet.
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

/// Writes down the bounds of a delivery, before it is first tried. `false` if these entries were taken meanwhile: for a
/// moment after a reload, two may deliver.
pub(super) async fn begin(
    tx: &mut SqliteConnection,
    name: &str,
    from: u64,
    end: u64,
) -> anyhow::Result<bool> {
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

/// Notes that the entries from `from` to before `end` were taken. Returns how often that had failed.
///
/// Nothing changes if something else is under way by now.
pub(super) async fn note_taken(
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

/// Notes why nothing is taken at present. Returns how often that has failed in a row.
pub(super) async fn note_failure(
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

/// Notes that nothing is wrong with it any more.
pub(super) async fn note_well(tx: &mut SqliteConnection, name: &str) -> anyhow::Result<()> {
    sqlx::query(
        "update feed_webhooks set failures = 0, last_error = null, failing_since_ms = null where name = ?",
    )
    .bind(name)
    .execute(tx)
    .await
    .context("noting that all is well with a webhook")?;
    Ok(())
}
