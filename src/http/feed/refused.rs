//! Attempts to read without a reader's token: one sum a day in the ledger, however many they are.

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::store::db::Db;
use crate::store::fleet;
use crate::store::ledger::{self, Entry, EntryType};

/// Where the database keeps the sum of the current day.
const REFUSED: &str = "feed_refused";

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Sum {
    day: Date,
    attempts: u64,
}

/// Adds attempts to the sum of the current day, in UTC, and writes the entry of a day that is over.
///
/// Both in one transaction, durable on return. Nothing is written if there is nothing new.
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
