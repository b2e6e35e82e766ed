//! The progress of a rebuild.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Debug, Default)]
pub struct Progress {
    files: AtomicU64,
    lines: AtomicU64,
    entries: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub files: u64,
    pub lines: u64,
    pub entries: u64,
}

impl Progress {
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
