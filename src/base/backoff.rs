//! How long to wait before the next try.

use std::time::Duration;

/// Waits that double from a first one up to a longest one.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The wait after a failure that followed `earlier` others.
    pub fn after(&self, earlier: impl TryInto<u32>) -> Duration {
        let doublings = earlier.try_into().unwrap_or(u32::MAX).min(20);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }

    /// The wait after one more failure.
    pub fn lengthen(&mut self) -> Duration {
        let wait = self.after(self.failures);
        self.failures = self.failures.saturating_add(1);
        wait
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Half of `longest` and a random part of the rest, so that clients that failed together do not return together.
pub fn jittered(longest: Duration) -> Duration {
    longest.mul_f64(0.5 + random_fraction() / 2.0)
}

/// A random number from 0 to 1. Jitter may be poor, but it must not fail: without randomness it is one half.
pub fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew() {
        let s = Duration::from_secs;
        let mut backoff = Backoff::new(s(1), s(60));
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(backoff.lengthen(), s(wait));
            let jittered = jittered(s(wait));
            assert!(jittered >= s(wait) / 2 && jittered <= s(wait), "{jittered:?}");
        }
        backoff.reset();
        assert_eq!(backoff.lengthen(), s(1));
        for (earlier, wait) in [(0, 1), (2, 4), (5, 32), (6, 60), (20, 60), (i64::MAX, 60)] {
            assert_eq!(backoff.after(earlier), s(wait), "{earlier}");
        }
    }

    #[test]
    fn jitter_is_somewhere_between_nothing_and_all() {
        let drawn: Vec<f64> = (0..100).map(|_| random_fraction()).collect();
        assert!(drawn.iter().all(|fraction| (0.0..=1.0).contains(fraction)), "{drawn:?}");
        // One in 2^100 runs fails without a reason.
        assert!(drawn.iter().any(|fraction| *fraction < 0.5), "{drawn:?}");
        assert!(drawn.iter().any(|fraction| *fraction > 0.5), "{drawn:?}");
    }
}
