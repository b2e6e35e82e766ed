//! A token bucket: it fills at a steady rate, and each request takes one token.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Tokens in a full bucket.
    pub(super) burst: f64,
    pub(super) per_second: f64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self { level: rate.burst, at: now }
    }

    /// How long until a token is there; none if one is there now.
    pub(super) fn wait(&mut self, rate: Rate, now: Instant) -> Option<Duration> {
        let passed_s = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = rate.burst.min(self.level + passed_s * rate.per_second);
        self.at = self.at.max(now);
        (self.level < 1.0).then(|| Duration::from_secs_f64((1.0 - self.level) / rate.per_second))
    }

    /// Takes a token, or says how long until there is one.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        match self.wait(rate, now) {
            Some(wait) => Err(wait),
            None => {
                self.level -= 1.0;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_a_burst_and_then_its_rate() {
        let (rate, began) = (Rate { burst: 3.0, per_second: 0.5 }, Instant::now());
        let at = |s: u64| began + Duration::from_secs(s);
        let mut bucket = Bucket::full(rate, began);
        for (second, expected) in [
            (0, Ok(())),
            (0, Ok(())),
            (0, Ok(())),
            (0, Err(Duration::from_secs(2))),
            (1, Err(Duration::from_secs(1))),
            (2, Ok(())),
            (2, Err(Duration::from_secs(2))),
            (3600, Ok(())),
            (3600, Ok(())),
            (3600, Ok(())),
            (3600, Err(Duration::from_secs(2))),
            // A clock that goes back gives nothing.
            (10, Err(Duration::from_secs(2))),
        ] {
            assert_eq!(bucket.take(rate, at(second)), expected, "after {second} s");
        }
    }
}
