//! The device's clock: starts where it is told, runs at the normal pace, and can be advanced by a test.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// A clock that tests can advance.
#[derive(Debug)]
pub(super) struct DeviceClock {
    start: Timestamp,
    started: Instant,
    advanced_ms: AtomicI64,
}

impl DeviceClock {
    /// A clock that shows `start` now.
    pub(super) fn starting_at(start: Timestamp) -> Self {
        Self { start, started: Instant::now(), advanced_ms: AtomicI64::new(0) }
    }

    /// What the clock shows.
    pub(super) fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX);
        let advanced = SignedDuration::from_millis(self.advanced_ms.load(Ordering::SeqCst));
        self.start.saturating_add(elapsed.saturating_add(advanced)).unwrap_or(Timestamp::MAX)
    }

    /// Moves the clock forward.
    pub(super) fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.advanced_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

/// The whole time from `earlier` to `later`; zero if it is negative.
pub(super) fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}
