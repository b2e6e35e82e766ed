//! The wall clock, read in one place: everywhere else `now` is an argument.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// The longest sleep before this machine's clock is looked at again: it may have been set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// The present time by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A wall clock: it can be wrong, and it can be set while we sleep.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Milliseconds that are added to this machine's clock; `None` is the machine's clock itself.
    shift_ms: Option<Arc<watch::Sender<i64>>>,
}

impl Clock {
    /// This machine's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that shows `at` now, runs at the normal pace, and can be set.
    pub fn showing(at: Timestamp) -> Self {
        let clock = Self { shift_ms: Some(Arc::new(watch::Sender::new(0))) };
        clock.set(at);
        clock
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        let shift_ms = self.shift_ms.as_ref().map_or(0, |shift| *shift.borrow());
        now().saturating_add(SignedDuration::from_millis(shift_ms)).unwrap_or(Timestamp::MAX)
    }

    /// Sets it, forward or back, and wakes who sleeps by it. This machine's own clock is not ours to set: nothing happens.
    pub fn set(&self, to: Timestamp) {
        if let Some(shift) = &self.shift_ms {
            shift.send_replace(to.as_millisecond().saturating_sub(now().as_millisecond()));
        }
    }

    /// Sleeps until the clock shows `until`, or has been set past it.
    ///
    /// That this machine's clock was set is noticed within 15 s.
    pub async fn sleep_until(&self, until: Timestamp) {
        let mut steps = self.shift_ms.as_ref().map(|shift| shift.subscribe());
        loop {
            let left = Duration::try_from(until.duration_since(self.now())).unwrap_or_default();
            if left.is_zero() {
                return;
            }
            let stepped = async {
                match &mut steps {
                    // The sender lives as long as `self` does.
                    Some(steps) => drop(steps.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(left.min(LOOK_AGAIN)) => {}
                () = stepped => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_sleeps_by_a_clock_wakes_when_it_is_set() {
        let clock = Clock::showing("2026-03-01T00:00:00Z".parse().unwrap());
        let noon: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(noon).await }
        });
        tokio::task::yield_now().await;
        clock.set("2025-03-01T00:00:00Z".parse().unwrap());
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.set(noon);
        tokio::time::timeout(Duration::from_secs(5), sleeper).await.unwrap().unwrap();
    }
}
