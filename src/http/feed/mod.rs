//! The feed: the ledger as lines of JSON, in order, from wherever a reader stopped; and the files that its entries are about.
//!
//! The number of an entry is the cursor. One writer numbers the entries, and nobody sees one before it is on disk. So nothing
//! can appear below a number that was seen: a reader that resumes after it misses nothing and gets no duplicates.

mod delivery;
mod holding;
mod readers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::base::blocking::blocking;
use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::config::Config;
use crate::proof::notary::Published;
use crate::store::db::Db;
use crate::store::fleet;
use crate::store::ledger::{self, Entry, EntryType, Numbered};
use crate::store::sql::Conn;

pub use crate::store::feed_webhooks::next_after;
pub use delivery::Delivery;
pub use holding::{Holding, What};
pub use readers::{Reader, Readers, Scope};

pub const NDJSON: &str = "application/x-ndjson";
/// Of the longest entries, these are 4 MiB.
pub const PAGE_ENTRIES_MAX: u64 = 1000;

/// A reader asks for what follows an entry that the ledger does not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "entry {after} is not in this ledger, which has {size} entries: the cursor belongs to another ledger, or the state was \
     restored from an older copy"
)]
pub struct Ahead {
    pub after: u64,
    pub size: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub lines: String,
    pub next: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    number: u64,
    leaf_hash: Digest,
    entry: &'a RawValue,
}

/// Reads up to `limit` entries from number `from` on.
///
/// # Errors
/// [`Ahead`] if the ledger is shorter than that.
pub async fn page(db: &mut Conn, from: u64, limit: u64) -> Result<Page> {
    let size = ledger::size(db).await?;
    if from > size {
        return Err(Ahead { after: from - 1, size }.into());
    }
    if from == size {
        return Ok(Page { lines: String::new(), next: from });
    }
    lines(&ledger::entries(db, from, limit.min(PAGE_ENTRIES_MAX)).await?, from)
}

fn lines(entries: &[Numbered], from: u64) -> Result<Page> {
    let mut page = Page { lines: String::new(), next: from };
    entries.iter().try_for_each(|entry| page.add(entry, true))?;
    Ok(page)
}

impl Page {
    /// Goes on to the next entry, with a line for it if the reader may see it.
    fn add(&mut self, entry: &Numbered, is_shown: bool) -> Result<()> {
        anyhow::ensure!(entry.number == self.next, lacks(self.next));
        if is_shown {
            self.lines += &line(entry)?;
            self.lines.push('\n');
        }
        self.next += 1;
        Ok(())
    }
}

fn lacks(number: u64) -> String {
    format!("the ledger in the database lacks entry {number}: restore the state from a backup")
}

/// An entry as a line without its end. The entry's own bytes are unchanged, because the leaf is their hash.
pub fn line(entry: &Numbered) -> Result<String> {
    let Numbered { number, leaf_hash, .. } = *entry;
    let bytes: &RawValue = serde_json::from_str(&entry.entry)
        .with_context(|| format!("entry {number} of the ledger in the database is damaged"))?;
    Ok(serde_json::to_string(&Line { number, leaf_hash, entry: bytes })?)
}

#[derive(Debug)]
pub struct Feed {
    db: Db,
    clock: Clock,
    archive: PathBuf,
    pub readers: Readers,
    /// Whether some reader may see only some PBXs: then entries need a token.
    pub has_scopes: bool,
    visits: tokio::sync::Mutex<Visits>,
    /// For readers with a scope: the number that each asked for last, and the next one that may be for them.
    passed_over: Mutex<BTreeMap<String, (u64, u64)>>,
}

impl Feed {
    pub fn new(config: &Config, db: Db, clock: Clock) -> Self {
        Self {
            db,
            clock,
            archive: config.archive.path.clone(),
            readers: Readers::new(&config.feed.reader),
            has_scopes: config.feed.has_scopes(),
            visits: tokio::sync::Mutex::default(),
            passed_over: Mutex::default(),
        }
    }

    /// As [`page`]; no connection is held afterwards.
    pub async fn page(&self, from: u64, limit: u64) -> Result<Page> {
        page(&mut *self.db.read().await?, from, limit).await
    }

    /// As [`Feed::page`], with only the entries that `reader` may see: their numbers may have gaps.
    ///
    /// What comes before the first of them is skipped once, and remembered for the reader's next request with the same
    /// `from`.
    pub async fn page_of(&self, reader: &Reader, from: u64, limit: u64) -> Result<Page> {
        if reader.scope.is_all() {
            return self.page(from, limit).await;
        }
        let mut db = self.db.read().await?;
        let size = ledger::size(&mut db).await?;
        if from > size {
            return Err(Ahead { after: from - 1, size }.into());
        }
        let next = self.passed_over(&reader.name, from).filter(|next| *next <= size).unwrap_or(from);
        let (mut page, mut lines) = (Page { lines: String::new(), next }, 0);
        while page.next < size && lines < limit {
            let entries = ledger::entries(&mut db, page.next, PAGE_ENTRIES_MAX).await?;
            anyhow::ensure!(!entries.is_empty(), lacks(page.next));
            for entry in &entries {
                let is_shown = reader.scope.holds(&reader.name, &entry.entry);
                page.add(entry, is_shown)?;
                lines += u64::from(is_shown);
                if lines == limit {
                    break;
                }
            }
            if lines == 0 {
                self.note_passed_over(&reader.name, from, page.next);
            }
        }
        Ok(page)
    }

    fn passed_over(&self, reader: &str, from: u64) -> Option<u64> {
        let known = self.passed_over.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(reader).filter(|(after, _)| *after == from).map(|(_, next)| *next)
    }

    fn note_passed_over(&self, reader: &str, from: u64, next: u64) {
        let mut known = self.passed_over.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(reader.to_owned(), (from, next));
    }

    /// A file of the published ledger.
    pub async fn published(&self, path: String) -> Result<Option<Vec<u8>>> {
        let archive = self.archive.clone();
        blocking(move || Published::open(&archive)?.map_or(Ok(None), |ledger| ledger.file(&path))).await
    }

    /// Opens the file that entry `number` is about, if there is one and `reader` may read it.
    ///
    /// # Errors
    /// If the file should be there and is not, or has another size.
    pub async fn open(&self, reader: &Reader, number: u64, what: What) -> Result<Option<Holding>> {
        let Ok(row) = i64::try_from(number) else { return Ok(None) };
        if !reader.scope.is_all() {
            let entries = ledger::entries(&mut *self.db.read().await?, number, 1).await?;
            let entry = entries.first().filter(|entry| entry.number == number);
            if !entry.is_some_and(|entry| reader.scope.holds(&reader.name, &entry.entry)) {
                return Ok(None);
            }
        }
        holding::open(&self.db, &self.archive, row, what).await
    }

    /// Records that `reader` is given a file. Durable on return: only then may the first byte go. A repetition within a
    /// minute has its entry already.
    pub async fn note_access(&self, reader: &str, number: u64, what: What) -> Result<()> {
        let (visit, now) = ((reader.to_owned(), number, what), Instant::now());
        // Held until the entry is on disk: a repeated read waits for that.
        let mut visits = self.visits.lock().await;
        if visits.is_known(&visit, now) {
            return Ok(());
        }
        let entry = Entry::new(EntryType::Access, self.clock.now())
            .with("reader", reader)
            .with("entry", number)
            .with("what", what.as_str());
        self.db.write(async move |tx| ledger::append(tx, &entry).await.map(drop)).await?;
        visits.note(visit, now);
        Ok(())
    }
}

const SAME_WITHIN: Duration = Duration::from_secs(60);

/// A reader, the number of an entry, and which of its files.
type Visit = (String, u64, What);

/// The visits of the last minute, and when each was.
#[derive(Debug, Default)]
struct Visits(BTreeMap<Visit, Instant>);

impl Visits {
    fn is_known(&mut self, visit: &Visit, now: Instant) -> bool {
        self.0.retain(|_, at| now.saturating_duration_since(*at) < SAME_WITHIN);
        self.0.contains_key(visit)
    }

    fn note(&mut self, visit: Visit, now: Instant) {
        self.0.insert(visit, now);
    }
}

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
pub async fn note_refused(db: &Db, attempts: u64, now: Timestamp) -> Result<()> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let known = refused(&mut *db.read().await?).await?;
    let is_over = known.is_some_and(|sum| sum.day < today);
    if attempts == 0 && !is_over {
        return Ok(());
    }
    db.write(async move |tx| {
        let known = refused(tx).await?;
        if let Some(sum) = known.filter(|sum| sum.day < today) {
            let entry = Entry::new(EntryType::Refused, now)
                .with("day", sum.day.to_string())
                .with("attempts", sum.attempts);
            ledger::append(tx, &entry).await?;
        }
        let before = known.filter(|sum| sum.day >= today).unwrap_or(Sum { day: today, attempts: 0 });
        let sum = Sum { attempts: before.attempts.saturating_add(attempts), ..before };
        let kept = if sum.attempts == 0 { String::new() } else { serde_json::to_string(&sum)? };
        fleet::set_meta(tx, REFUSED, &kept).await
    })
    .await
}

async fn refused(db: &mut Conn) -> Result<Option<Sum>> {
    match fleet::meta(db, REFUSED).await?.filter(|kept| !kept.is_empty()) {
        Some(kept) => serde_json::from_str(&kept).map(Some).context("reading the sum of refused attempts"),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_is_known_for_a_minute_after_its_entry() {
        let (mut visits, began) = (Visits::default(), Instant::now());
        let at = |s: u64| began + Duration::from_secs(s);
        let visit = |reader: &str, number, what| (reader.to_owned(), number, what);
        let one = visit("audit", 7, What::Audio);
        assert!(!visits.is_known(&one, at(0)));
        visits.note(one.clone(), at(0));
        assert!(visits.is_known(&one, at(59)));
        for other in [
            visit("police", 7, What::Audio),
            visit("audit", 8, What::Audio),
            visit("audit", 7, What::Sidecar),
        ] {
            assert!(!visits.is_known(&other, at(59)), "{other:?}");
        }
        // Reads in between do not put it off: at most a minute is without an entry.
        assert!(!visits.is_known(&one, at(60)));
        assert!(visits.0.is_empty());
    }
}
