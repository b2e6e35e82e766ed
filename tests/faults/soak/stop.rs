//! The end of it all, which many threads wait for.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Set once; whoever waits for time to pass wakes up by it.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Ends everybody's waiting.
    pub(crate) fn set(&self) {
        let (is_set, changed) = &*self.0;
        *is_set.lock().unwrap() = true;
        changed.notify_all();
    }

    /// Whether it is set.
    pub(crate) fn is_set(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    /// Lets time pass; whether it is set by then.
    pub(crate) fn comes_within(&self, time: Duration) -> bool {
        let (is_set, changed) = &*self.0;
        let (until, mut set) = (Instant::now() + time, is_set.lock().unwrap());
        while !*set {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            set = changed.wait_timeout(set, left).unwrap().0;
        }
        true
    }
}

/// Sets it when dropped: whoever fails leaves nobody waiting.
pub(crate) struct SetAtEnd<'a>(pub(crate) &'a Stop);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}
