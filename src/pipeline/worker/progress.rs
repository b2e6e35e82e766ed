//! What the workers of one PBX have done so far, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters that workers add to and a display reads.
#[derive(Debug, Default)]
pub struct Progress {
    archived: AtomicU64,
    failed_attempts: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Snapshot {
    pub archived: u64,
    pub failed_attempts: u64,
    pub bytes: u64,
}

impl std::ops::Add for Snapshot {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            archived: self.archived + other.archived,
            failed_attempts: self.failed_attempts + other.failed_attempts,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl Progress {
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            archived: self.archived.load(Relaxed),
            failed_attempts: self.failed_attempts.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }

    pub(super) fn note_archived(&self, size_bytes: u64) {
        self.archived.fetch_add(1, Relaxed);
        self.bytes.fetch_add(size_bytes, Relaxed);
    }

    pub(super) fn note_failed_attempt(&self) {
        self.failed_attempts.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_pbxs_have_done_adds_up() {
        let progress = Progress::default();
        progress.note_archived(500);
        progress.note_archived(20);
        (0..3).for_each(|_| progress.note_failed_attempt());
        let one = progress.snapshot();
        assert_eq!(one, Snapshot { archived: 2, failed_attempts: 3, bytes: 520 });
        let other = Snapshot { archived: 10, failed_attempts: 4, bytes: 1000 };
        assert_eq!(one + other, Snapshot { archived: 12, failed_attempts: 7, bytes: 1520 });
    }
}
