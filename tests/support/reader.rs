//! A ledger that is being written, and what a reader has of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;

use callvault::base::digest::Digest;
use callvault::store::db::Db;
use callvault::store::ledger::{self, Entry, EntryType, Numbered};
use serde::Deserialize;
use serde_json::value::RawValue;

/// How often a reader is killed and comes back.
pub(crate) fn lives() -> usize {
    if std::env::var_os("CALLVAULT_FULL").is_some() { 100 } else { 20 }
}

/// A line of the feed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    number: u64,
    leaf_hash: Digest,
    entry: Box<RawValue>,
}

/// What a reader has read, over all his lives.
#[derive(Default)]
pub(crate) struct Read(Vec<Numbered>);

impl Read {
    /// The number of his last entry.
    pub(crate) fn after(&self) -> Option<u64> {
        self.0.last().map(|entry| entry.number)
    }

    /// How many entries he has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes over the whole lines of what came; one that was cut off comes again. How many they were.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let Line { number, leaf_hash, entry } = serde_json::from_slice(line).unwrap();
            assert_eq!(leaf_hash, Digest::of([b"\0", entry.get().as_bytes()].concat()), "entry {number}");
            assert_eq!(number, self.0.len() as u64, "nothing is missing and nothing comes twice");
            self.0.push(Numbered { number, entry: entry.get().to_owned(), leaf_hash });
            taken += 1;
        }
        taken
    }

    /// Asserts that he has exactly the ledger.
    pub(crate) async fn is_all_of(&self, state: &Path) {
        self.is_all_but(0, state).await;
    }

    /// Asserts that he has exactly the ledger without its last `count` entries.
    pub(crate) async fn is_all_but(&self, count: usize, state: &Path) {
        let pool = callvault::store::db::open_read_only(state).await.unwrap().unwrap();
        let entries = ledger::entries(&mut pool.acquire().await.unwrap(), 0, 1 << 30).await.unwrap();
        pool.close().await;
        assert_eq!(self.0.len() + count, entries.len());
        assert!(self.0 == entries[..self.0.len()]);
    }
}

/// Someone who writes a ledger all the time, and closes and opens it again and again as a service that restarts.
pub(crate) struct Writing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writing {
    /// Begins in `state`. There is a ledger, with at least one entry, when this returns.
    pub(crate) fn begin(state: &Path) -> Self {
        std::fs::create_dir_all(state).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (state, ends) = (state.to_owned(), Arc::clone(&stop));
        let (begun, has_begun) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            while !ends.load(SeqCst) {
                // The runtime ends with the database, so nobody has it open when it is opened again.
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let db = Db::open(&state).await.unwrap();
                    for _ in 0..40 {
                        append(&db, 3).await;
                        // Who follows has no interest in it any more.
                        let _ = begun.send(());
                        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                    }
                });
            }
        });
        has_begun.recv().unwrap();
        Self { stop, thread }
    }

    /// Ends; the ledger does not grow any more.
    pub(crate) fn end(self) {
        self.stop.store(true, SeqCst);
        self.thread.join().unwrap();
    }
}

/// Appends entries in one transaction, one of them with what JSON writes in more than one way.
pub(crate) async fn append(db: &Db, count: u64) {
    db.write(async move |tx| {
        for number in 0..count {
            let entry = Entry::new(EntryType::Clock, jiff::Timestamp::UNIX_EPOCH)
                .with("step_ms", number)
                .with("what", "é \u{1f4de} \" \\ \u{7f} /");
            ledger::append(tx, &entry).await?;
        }
        Ok(())
    })
    .await
    .unwrap();
}
