//! Growing waits after failures, one for each party.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::base::backoff::Backoff;

const LONGEST: Duration = Duration::from_secs(3600);
const WAITS: Backoff = Backoff::new(Duration::from_secs(60), LONGEST);

/// A restart forgets them: one more request does no harm.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<BTreeMap<String, Wait>>);

#[derive(Debug, Clone, Copy)]
struct Wait {
    failures: u32,
    until: Timestamp,
}

impl Waits {
    pub(super) fn is_over(&self, name: &str, now: Timestamp) -> bool {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A longer wait than the longest was set by a clock that was put back since.
        waits
            .get(name)
            .is_none_or(|wait| wait.until <= now || wait.until.duration_since(now).unsigned_abs() > LONGEST)
    }

    /// Starts a longer wait than the last one; returns whether this is the first failure in a row.
    pub(super) fn lengthen(&self, name: &str, now: Timestamp) -> bool {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = waits.get(name).map_or(0, |wait| wait.failures);
        let until = now.checked_add(WAITS.after(failures)).unwrap_or(Timestamp::MAX);
        waits.insert(name.to_owned(), Wait { failures: failures.saturating_add(1), until });
        failures == 0
    }

    /// Ends the wait; returns whether there was one.
    pub(super) fn end(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_and_do_not_outlive_a_clock_that_was_put_back() {
        let waits = Waits::default();
        let mut now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24);
        for (number, minutes) in [1, 2, 4, 8, 16, 32, 60, 60, 60].into_iter().enumerate() {
            assert!(waits.is_over("tsa", now));
            assert_eq!(waits.lengthen("tsa", now), number == 0);
            now += SignedDuration::from_mins(minutes) - SignedDuration::from_secs(1);
            assert!(!waits.is_over("tsa", now), "{minutes}");
            now += SignedDuration::from_secs(1);
        }
        waits.lengthen("tsa", now);
        assert!(!waits.is_over("tsa", now));
        assert!(waits.is_over("tsa", now - SignedDuration::from_hours(2)));
        assert!(waits.end("tsa") && !waits.end("tsa") && waits.is_over("tsa", now));
    }
}
