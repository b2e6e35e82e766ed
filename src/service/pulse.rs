//! Proof of progress: a loop that turns beats its pulse, and the watchdog is fed only while all of them do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The pulse of one loop. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Pulse {
    born: Instant,
    /// Milliseconds after `born`.
    last_ms: Arc<AtomicU64>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { born: Instant::now(), last_ms: Arc::default() }
    }

    /// Notes that the loop has turned.
    pub(super) fn beat(&self) {
        self.last_ms.store(self.age_ms(), Relaxed);
    }

    /// How long ago the last beat was.
    pub(super) fn since(&self) -> Duration {
        Duration::from_millis(self.age_ms().saturating_sub(self.last_ms.load(Relaxed)))
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
