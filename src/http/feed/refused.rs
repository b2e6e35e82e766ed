//! Attempts to read without the token of a reader: a sum for each day in the ledger, whatever their number.

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::store::db::Db;
use crate::store::fleet;
use crate::store::ledger::{self, Entry, EntryType};

/// The key under which the database keeps the sum of the day that is not over.
const REFUSED: &str = "feed_refused";

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Sum {
    day: Date,
    attempts: u64,
}

/// Adds attempts to the sum of the present day, in UTC. A day before it that had any gets its entry in the ledger.
///
/// Both in one transaction: when this returns they are durable. Nothing is written if there is nothing new.
///
/// # Errors
/// Whatever the database says; then nothing was added.
pub async fn note_refused(db: &Db, attempts: u64, now: Timestamp) -> anyhow::Result<()> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let known = read(&mut *db.read().await?).await?;
    let is_over = known.is_some_and(|sum| sum.day < today);
    if attempts == 0 && !is_over {
        return Ok(());
    }
    db.write(async move |tx| {
        let known = read(tx).await?;
        let (over, open) = match known {
            Some(sum) if sum.day < today => (Some(sum), None),
            known => (None, known),
        };
        if let Some(sum) = over {
            let entry = Entry::new(EntryType::Refused, now)
                .with("day", sum.day.to_string())
                .with("attempts", sum.attempts);
            ledger::append(tx, &entry).await?;
        }
        let before = open.unwrap_or(Sum { day: today, attempts: 0 });
        let sum = Sum { attempts: before.attempts.saturating_add(attempts), ..before };
        let kept = if sum.attempts == 0 { String::new() } else { serde_json::to_string(&sum)? };
        fleet::set_meta(tx, REFUSED, &kept).await
    })
    .await
}

async fn read(db: &mut sqlx::SqliteConnection) -> anyhow::Result<Option<Sum>> {
    match fleet::meta(db, REFUSED).await?.filter(|kept| !kept.is_empty()) {
        Some(kept) => serde_json::from_str(&kept).map(Some).context("reading the sum of refused attempts"),
        None => Ok(None),
    }
}
