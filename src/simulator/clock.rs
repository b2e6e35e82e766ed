//! The device's time: what has passed, which never steps, and what its clock shows, which can be set.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// A clock that runs at the normal pace, that tests can advance, and that can be wrong.
#[derive(Debug)]
pub(super) struct DeviceClock {
    start: Timestamp,
    started: Instant,
    advanced_ms: AtomicI64,
    error_ms: AtomicI64,
}

/// One moment, by both accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Time that passes, counted from what the clock showed at the start: calls are made and timers run by it.
    pub(super) steady: Timestamp,
    /// What the clock shows: calls are stamped and old files are judged by it.
    pub(super) shown: Timestamp,
}

impl Moment {
    /// How far the clock is ahead.
    pub(super) fn error(self) -> SignedDuration {
        self.shown.duration_since(self.steady)
    }
}

impl DeviceClock {
    /// A clock that shows `start` now.
    pub(super) fn starting_at(start: Timestamp) -> Self {
        Self { start, started: Instant::now(), advanced_ms: AtomicI64::new(0), error_ms: AtomicI64::new(0) }
    }

    /// This moment.
    pub(super) fn now(&self) -> Moment {
        let elapsed = SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX);
        let advanced = SignedDuration::from_millis(self.advanced_ms.load(Ordering::SeqCst));
        let steady = self.start.saturating_add(elapsed.saturating_add(advanced)).unwrap_or(Timestamp::MAX);
        let error = SignedDuration::from_millis(self.error_ms.load(Ordering::SeqCst));
        Moment { steady, shown: steady.saturating_add(error).unwrap_or(Timestamp::MAX) }
    }

    /// Lets time pass.
    pub(super) fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.advanced_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Sets the clock, forward or back; no time passes by that. Returns the moment with the clock as it now is.
    pub(super) fn set(&self, to: Timestamp) -> Moment {
        let steady = self.now().steady;
        self.error_ms.store(to.as_millisecond() - steady.as_millisecond(), Ordering::SeqCst);
        Moment { steady, shown: to }
    }
}

/// The whole time from `earlier` to `later`; zero if it is negative.
pub(super) fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_the_clock_lets_no_time_pass_and_advancing_it_does() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let clock = DeviceClock::starting_at(at(1_000_000));
        clock.set(at(5_000));
        let moment = clock.now();
        assert!(moment.steady >= at(1_000_000) && moment.steady < at(1_000_100), "{moment:?}");
        assert!(moment.shown >= at(4_999) && moment.shown < at(5_100), "{moment:?}");
        clock.advance(Duration::from_secs(500));
        let later = clock.now();
        assert!(later.steady >= at(1_000_500) && later.shown >= at(5_499), "{later:?}");
        assert_eq!(later.error(), moment.error());
    }
}
