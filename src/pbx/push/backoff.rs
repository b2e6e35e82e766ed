//! How long to wait before the next try, so that many that failed together do not try again together.

use std::time::Duration;

/// Doubling waits with full jitter.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Begins anew.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure: half of it is certain, half is chance.
    pub(super) fn next(&mut self) -> Duration {
        let most = self.first.saturating_mul(1 << self.failures.min(20)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        jittered(most)
    }
}

/// Between half of `most` and all of it.
pub(super) fn jittered(most: Duration) -> Duration {
    let mut byte = [u8::MAX];
    // Without chance everyone waits the longest time, which is only less good.
    let _ = getrandom::fill(&mut byte);
    most.mul_f64(0.5 + f64::from(byte[0]) / 510.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew() {
        let s = Duration::from_secs;
        let mut backoff = Backoff::new(s(1), s(60));
        for most in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = backoff.next();
            assert!(wait >= s(most) / 2 && wait <= s(most), "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= s(1));
    }
}
