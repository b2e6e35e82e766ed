//! What is asked of a PBX is bounded: requests a minute, bytes a second, and less of both when it answers slowly.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};
use tokio::time::Instant;
use tracing::info;

use crate::config::Manners;
use crate::pbx::pace::Pace;

/// Requests that may follow each other at once: a ticket and its download.
const REQUESTS_AT_ONCE: NonZeroU32 = NonZeroU32::new(2).expect("it is not zero");
/// Bytes are counted in parcels of so many: a limiter that counts single ones knows no fractions of a nanosecond.
const PARCEL_BYTES: u64 = 1024;
/// After a silence, what this time allows may come at once.
const BYTES_AHEAD: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Throttle {
    pbx: String,
    requests: Option<Gate>,
    bytes: Option<Gate>,
    /// Bytes received that do not fill a parcel yet.
    odd_bytes: Mutex<u64>,
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    pace: Pace,
    last_at: Option<Instant>,
    /// Until when the PBX asked to be left alone.
    busy_until: Option<Instant>,
}

impl Throttle {
    pub(super) fn new(pbx: &str, manners: &Manners) -> Self {
        Self {
            pbx: pbx.to_owned(),
            requests: manners.requests_per_min_max.and_then(requests_quota).map(Gate::new),
            bytes: manners.bytes_s_max.and_then(bytes_quota).map(Gate::new),
            odd_bytes: Mutex::default(),
            answers: Mutex::default(),
        }
    }

    /// Waits until `count` requests may be sent one after the other: not before the PBX wants to be asked again, not
    /// sooner after the last answer than its pace asks for, and not more in a minute than the operator allows.
    pub(super) async fn admit(&self, count: NonZeroU32) {
        // It may say so to somebody else meanwhile.
        while let Some(at) = self.rested_at().filter(|at| *at > Instant::now()) {
            tokio::time::sleep_until(at).await;
        }
        if let Some(requests) = &self.requests {
            requests.pass(count).await;
        }
    }

    /// Waits until the PBX no longer asks to be left alone.
    pub(super) async fn available(&self) {
        while let Some(at) = self.busy_until() {
            tokio::time::sleep_until(at).await;
        }
    }

    fn busy_until(&self) -> Option<Instant> {
        hold(&self.answers).busy_until.filter(|at| *at > Instant::now())
    }

    /// Waits as long as it takes for `count` bytes that came not to be too many.
    pub(super) async fn received(&self, count: usize) {
        let Some(bytes) = &self.bytes else { return };
        let mut parcels = {
            let mut odd_bytes = hold(&self.odd_bytes);
            let all = *odd_bytes + count as u64;
            *odd_bytes = all % PARCEL_BYTES;
            all / PARCEL_BYTES
        };
        while let Some(now) = NonZeroU32::new(u32::try_from(parcels).unwrap_or(u32::MAX).min(bytes.at_once)) {
            bytes.pass(now).await;
            parcels -= u64::from(now.get());
        }
    }

    /// Notes how long the PBX took to answer a request for a ticket.
    pub(super) fn answered(&self, took: Duration) {
        let mut answers = hold(&self.answers);
        let was_slow = answers.pace.is_slow();
        answers.pace.note(took);
        answers.last_at = Some(Instant::now());
        let (pbx, took_s) = (&self.pbx, took.as_secs_f64());
        match (was_slow, answers.pace.is_slow()) {
            (false, true) => {
                info!(pbx, took_s, "Pbx `{pbx}` answers slowly: it is asked less, over one connection")
            }
            (true, false) => info!(pbx, took_s, "Pbx `{pbx}` answers as fast as usual again"),
            _ => {}
        }
    }

    /// Notes that the PBX asked to be left alone for so long. What is admitted already goes on: a ticket does not wait.
    pub(super) fn leave_alone(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut answers = hold(&self.answers);
        if answers.busy_until.is_none_or(|known| known < until) {
            answers.busy_until = Some(until);
            let (pbx, wait_s) = (&self.pbx, wait.as_secs_f64());
            info!(pbx, wait_s, "Pbx `{pbx}` asks to be left alone: nothing is asked for {wait_s} s");
        }
    }

    pub(super) fn pace(&self) -> Pace {
        hold(&self.answers).pace.clone()
    }

    pub(super) fn is_slow(&self) -> bool {
        hold(&self.answers).pace.is_slow()
    }

    /// From when the PBX may be asked again.
    fn rested_at(&self) -> Option<Instant> {
        let answers = hold(&self.answers);
        answers.last_at.map(|last| last + answers.pace.pause()).max(answers.busy_until)
    }
}

/// Nothing that holds these can panic halfway through a change.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// At most `most` in any minute: the first two at once, and each further one after an equal share of the minute, of
/// which the two take one.
fn requests_quota(most: NonZeroU32) -> Option<Quota> {
    let share = Duration::from_secs(60) / most.get().saturating_sub(1).max(1);
    Quota::with_period(share).map(|quota| quota.allow_burst(REQUESTS_AT_ONCE))
}

fn bytes_quota(bytes_s: NonZeroU32) -> Option<Quota> {
    let share = Duration::from_secs_f64(PARCEL_BYTES as f64 / f64::from(bytes_s.get()));
    let at_once = u32::try_from(BYTES_AHEAD.as_nanos() / share.as_nanos().max(1)).unwrap_or(u32::MAX);
    Some(Quota::with_period(share)?.allow_burst(NonZeroU32::new(at_once).unwrap_or(NonZeroU32::MIN)))
}

/// A limiter that serves in order: who needs two must not be overtaken for ever by those who need one.
#[derive(Debug)]
struct Gate {
    limiter: DefaultDirectRateLimiter,
    at_once: u32,
    first: tokio::sync::Mutex<()>,
}

impl Gate {
    fn new(quota: Quota) -> Self {
        let limiter = DefaultDirectRateLimiter::direct(quota);
        Self { limiter, at_once: quota.burst_size().get(), first: tokio::sync::Mutex::default() }
    }

    /// Waits for `count`, which is at most what may pass at once.
    async fn pass(&self, count: NonZeroU32) {
        let _first = self.first.lock().await;
        while let Ok(Err(not_until)) = self.limiter.check_n(count) {
            tokio::time::sleep(not_until.wait_time_from(DefaultClock::default().now())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use governor::RateLimiter;
    use governor::clock::FakeRelativeClock;

    use super::*;

    /// When a caller who always wants two requests at once gets them, in ms, for ten minutes.
    fn greedy(quota: Quota) -> Vec<u64> {
        let clock = FakeRelativeClock::default();
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        let mut times = Vec::new();
        for ms in 0..600_000 {
            if limiter.check_n(REQUESTS_AT_ONCE).unwrap().is_ok() {
                times.extend([ms, ms]);
            }
            clock.advance(Duration::from_millis(1));
        }
        times
    }

    #[test]
    fn no_minute_has_more_requests_than_allowed_and_hardly_fewer() {
        for most in [2, 3, 10, 60, 601] {
            let times = greedy(requests_quota(NonZeroU32::new(most).unwrap()).unwrap());
            let most = most as usize;
            let in_a_minute =
                |from: u64| times.iter().filter(|at| (from..from + 60_000).contains(at)).count();
            let peak = times.iter().map(|at| in_a_minute(*at)).max().unwrap();
            assert!(peak <= most, "{peak} of {most}");
            let least = 10 * (most - 1) * 9 / 10;
            assert!(
                times.len() >= least,
                "{} requests in ten minutes where {most} a minute may come",
                times.len()
            );
        }
    }

    #[tokio::test]
    async fn a_slow_pbx_is_left_alone_between_requests() {
        let throttle = Throttle::new("hq", &Manners::default());
        (0..5).for_each(|_| throttle.answered(Duration::from_millis(100)));
        let began = Instant::now();
        throttle.admit(NonZeroU32::MIN).await;
        assert!(began.elapsed() < Duration::from_millis(200));
        (0..5).for_each(|_| throttle.answered(Duration::from_millis(500)));
        throttle.admit(NonZeroU32::MIN).await;
        let pause = began.elapsed().as_secs_f64();
        assert!((0.35..2.0).contains(&pause), "{pause} s");
    }
}
