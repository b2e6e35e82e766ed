//! The wall clock, read in one place: everywhere else `now` is an argument.

mod sync;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

pub use sync::Sync;

/// A clock that went otherwise than time by more than this was set.
pub const STEP_MIN: SignedDuration = SignedDuration::from_secs(2);

/// The longest sleep before this machine's clock is looked at again: it may have been set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// No machine that runs this version shows an earlier time, unless its clock is wrong: when the first version was made.
pub const RELEASED: Timestamp = Timestamp::constant(1_795_219_200, 0);

/// The present time by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A wall clock: it can be wrong, and it can be set while we sleep.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// `None` is this machine's clock itself.
    own: Option<Arc<Own>>,
}

/// What makes a clock another one than this machine's.
#[derive(Debug)]
struct Own {
    /// Milliseconds that are added to this machine's clock.
    shift_ms: watch::Sender<i64>,
    /// Whether it is kept right by others.
    sync: Mutex<Sync>,
}

impl Clock {
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that shows `at` now, runs at the normal pace, and can be set. It counts as synchronised.
    pub fn showing(at: Timestamp) -> Self {
        let own = Own { shift_ms: watch::Sender::new(0), sync: Mutex::new(Sync::Synchronised) };
        let clock = Self { own: Some(Arc::new(own)) };
        clock.set(at);
        clock
    }

    /// Whether others keep it right: what the system says of this machine's clock.
    pub async fn sync(&self) -> Sync {
        match &self.own {
            Some(own) => *own.sync.lock().unwrap_or_else(PoisonError::into_inner),
            None => sync::of_this_machine().await,
        }
    }

    /// Lets it count as synchronised or not. What the system says of its own clock is not ours to change: nothing happens.
    pub fn set_sync(&self, sync: Sync) {
        if let Some(own) = &self.own {
            *own.sync.lock().unwrap_or_else(PoisonError::into_inner) = sync;
        }
    }

    pub fn now(&self) -> Timestamp {
        let shift_ms = self.own.as_ref().map_or(0, |own| *own.shift_ms.borrow());
        now().saturating_add(SignedDuration::from_millis(shift_ms)).unwrap_or(Timestamp::MAX)
    }

    /// Sets it, forward or back, and wakes who sleeps by it. This machine's own clock is not ours to set: nothing happens.
    pub fn set(&self, to: Timestamp) {
        if let Some(own) = &self.own {
            own.shift_ms.send_replace(to.as_millisecond().saturating_sub(now().as_millisecond()));
        }
    }

    /// Listens for the clock being set.
    pub fn steps(&self) -> Steps {
        let set = self.own.as_ref().map(|own| own.shift_ms.subscribe());
        Steps { clock: self.clone(), set, seen: Moment::of(self) }
    }

    /// Sleeps until the clock shows `until`, or has been set past it.
    ///
    /// That this machine's clock was set is noticed within 15 s.
    pub async fn sleep_until(&self, until: Timestamp) {
        let mut steps = self.own.as_ref().map(|own| own.shift_ms.subscribe());
        loop {
            let left = Duration::try_from(until.duration_since(self.now())).unwrap_or_default();
            if left.is_zero() {
                return;
            }
            let left = left.min(LOOK_AGAIN);
            match &mut steps {
                // The sender lives as long as `self` does.
                Some(steps) => drop(timeout(left, steps.changed()).await),
                None => sleep(left).await,
            }
        }
    }
}

/// Reports each time that a clock is set.
#[derive(Debug)]
pub struct Steps {
    clock: Clock,
    set: Option<watch::Receiver<i64>>,
    seen: Moment,
}

impl Steps {
    /// Waits until the clock has been set since the last call, and returns by how much. This machine's clock counts as set if
    /// it went otherwise than time by more than 2 s within 15 s.
    pub async fn next(&mut self) -> SignedDuration {
        loop {
            match &mut self.set {
                // The sender lives as long as the clock does.
                Some(set) => drop(set.changed().await),
                None => sleep(LOOK_AGAIN).await,
            }
            let before = std::mem::replace(&mut self.seen, Moment::of(&self.clock));
            let passed = SignedDuration::try_from(self.seen.steady - before.steady).unwrap_or_default();
            let step = self.seen.wall.duration_since(before.wall) - passed;
            if self.set.is_some() || step.abs() > STEP_MIN {
                return step;
            }
        }
    }
}

/// What a clock and one that nobody can set showed at one moment.
#[derive(Debug, Clone, Copy)]
struct Moment {
    wall: Timestamp,
    steady: Instant,
}

impl Moment {
    /// Reads the one right after the other. A machine that was busy in between is looked at again: the step would be its own.
    fn of(clock: &Clock) -> Self {
        loop {
            let steady = Instant::now();
            let wall = clock.now();
            if steady.elapsed() < Duration::from_millis(100) {
                return Self { wall, steady };
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
