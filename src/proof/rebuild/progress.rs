//! How far a rebuild is, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts on the way. May be read at any time.
#[derive(Debug, Default)]
pub struct Progress {
    files: AtomicU64,
    lines: AtomicU64,
    entries: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Archived files that were found.
    pub files: u64,
    /// Lines about calls and recordings that were read.
    pub lines: u64,
    /// Entries of the ledger that were replayed.
    pub entries: u64,
}

impl Progress {
    /// The counts now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            files: self.files.load(Relaxed),
            lines: self.lines.load(Relaxed),
            entries: self.entries.load(Relaxed),
        }
    }

    pub(super) fn add_files(&self, count: usize) {
        self.files.fetch_add(count as u64, Relaxed);
    }

    pub(super) fn add_lines(&self, count: usize) {
        self.lines.fetch_add(count as u64, Relaxed);
    }

    pub(super) fn add_entries(&self, count: usize) {
        self.entries.fetch_add(count as u64, Relaxed);
    }
}
