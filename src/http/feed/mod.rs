//! The feed: the ledger as lines of JSON, in order, from wherever a reader stopped; and the files that its entries are about.
//!
//! The number of an entry is the cursor. One writer numbers the entries, and nobody sees one before it is on disk. So nothing
//! can appear below a number that was seen: a reader that resumes after it misses nothing and gets no duplicates.

mod delivery;
mod holding;
mod readers;
mod refused;
mod scope;
mod visits;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::SqliteConnection;
use tokio::time::Instant;

pub use delivery::Delivery;
pub use holding::{Holding, What};
pub use readers::{Reader, Readers};
pub use refused::note_refused;
pub use scope::Scope;

pub use crate::store::feed_webhooks::next_after;

use crate::base::blocking::blocking;
use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::config::Config;
use crate::proof::notary::Published;
use crate::store::db::Db;
use crate::store::ledger::{self, Entry, EntryType, Numbered};
use visits::Visits;

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

/// Entries in order, one line of JSON each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub lines: String,
    /// The number of the entry that comes next.
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
pub async fn page(db: &mut SqliteConnection, from: u64, limit: u64) -> anyhow::Result<Page> {
    let size = ledger::size(db).await?;
    if from > size {
        return Err(Ahead { after: from - 1, size }.into());
    }
    if from == size {
        return Ok(Page { lines: String::new(), next: from });
    }
    lines(&ledger::entries(db, from, limit.min(PAGE_ENTRIES_MAX)).await?, from)
}

fn lines(entries: &[Numbered], from: u64) -> anyhow::Result<Page> {
    let mut page = Page { lines: String::new(), next: from };
    for entry in entries {
        anyhow::ensure!(entry.number == page.next, lacks(page.next));
        page.lines += &line(entry)?;
        page.lines.push('\n');
        page.next += 1;
    }
    Ok(page)
}

fn lacks(number: u64) -> String {
    format!("the ledger in the database lacks entry {number}: restore the state from a backup")
}

/// An entry as a line without its end. The entry's own bytes are unchanged, because the leaf is their hash.
pub fn line(entry: &Numbered) -> anyhow::Result<String> {
    let Numbered { number, leaf_hash, .. } = *entry;
    let bytes: &RawValue = serde_json::from_str(&entry.entry)
        .with_context(|| format!("entry {number} of the ledger in the database is damaged"))?;
    Ok(serde_json::to_string(&Line { number, leaf_hash, entry: bytes })?)
}

pub struct Feed {
    db: Db,
    clock: Clock,
    archive: PathBuf,
    readers: Readers,
    has_scopes: bool,
    visits: tokio::sync::Mutex<Visits>,
    /// For readers with a scope: the number that each asked for last, and the next one that may be for them.
    passed_over: Mutex<BTreeMap<String, (u64, u64)>>,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("archive", &self.archive).finish_non_exhaustive()
    }
}

impl Feed {
    pub fn new(config: &Config, db: Db, clock: Clock) -> Self {
        let readers = Readers::new(&config.feed.reader);
        Self {
            db,
            clock,
            archive: config.archive.path.clone(),
            readers,
            has_scopes: config.feed.has_scopes(),
            visits: tokio::sync::Mutex::default(),
            passed_over: Mutex::default(),
        }
    }

    /// Whether some reader may see only some PBXs: then entries need a token.
    pub fn has_scopes(&self) -> bool {
        self.has_scopes
    }

    pub fn readers(&self) -> &Readers {
        &self.readers
    }

    /// As [`page`]; no connection is held afterwards.
    pub async fn page(&self, from: u64, limit: u64) -> anyhow::Result<Page> {
        page(&mut *self.db.read().await?, from, limit).await
    }

    /// As [`Feed::page`], with only the entries that `reader` may see: their numbers may have gaps.
    ///
    /// What comes before the first of them is skipped once, and remembered for the reader's next request with the same
    /// `from`.
    pub async fn page_of(&self, reader: &Reader, from: u64, limit: u64) -> anyhow::Result<Page> {
        if reader.scope().is_all() {
            return self.page(from, limit).await;
        }
        let mut db = self.db.read().await?;
        let size = ledger::size(&mut db).await?;
        if from > size {
            return Err(Ahead { after: from - 1, size }.into());
        }
        let next = self.passed_over(reader.name(), from).filter(|next| *next <= size).unwrap_or(from);
        let (mut page, mut lines) = (Page { lines: String::new(), next }, 0);
        while page.next < size && lines < limit {
            let entries = ledger::entries(&mut db, page.next, PAGE_ENTRIES_MAX).await?;
            anyhow::ensure!(!entries.is_empty(), lacks(page.next));
            for entry in &entries {
                anyhow::ensure!(entry.number == page.next, lacks(page.next));
                if reader.scope().holds(reader.name(), &entry.entry) {
                    page.lines += &line(entry)?;
                    page.lines.push('\n');
                    lines += 1;
                }
                page.next += 1;
                if lines == limit {
                    break;
                }
            }
            if lines == 0 {
                self.note_passed_over(reader.name(), from, page.next);
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
    pub async fn published(&self, path: String) -> anyhow::Result<Option<Vec<u8>>> {
        let archive = self.archive.clone();
        let read = move || match Published::open(&archive)? {
            Some(published) => published.file(&path),
            None => Ok(None),
        };
        blocking(read).await
    }

    /// Opens the file that entry `number` is about, if there is one and `reader` may read it.
    ///
    /// # Errors
    /// If the file should be there and is not, or has another size.
    pub async fn open(&self, reader: &Reader, number: u64, what: What) -> anyhow::Result<Option<Holding>> {
        let Ok(row) = i64::try_from(number) else { return Ok(None) };
        if !reader.scope().is_all() {
            let entries = ledger::entries(&mut *self.db.read().await?, number, 1).await?;
            let entry = entries.first().filter(|entry| i64::try_from(entry.number) == Ok(row));
            if !entry.is_some_and(|entry| reader.scope().holds(reader.name(), &entry.entry)) {
                return Ok(None);
            }
        }
        holding::open(&self.db, &self.archive, number, what).await
    }

    /// Records that `reader` is given a file. Durable on return: only then may the first byte go. A repetition within a
    /// minute has its entry already.
    pub async fn note_access(&self, reader: &str, number: u64, what: What) -> anyhow::Result<()> {
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
