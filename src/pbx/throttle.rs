//! What is asked of a PBX is counted and bounded: requests a minute, bytes a second, and less of both when it answers
//! slowly.
//!
//! Only the pace of requests for tickets is compared: they are alike, small, and the most frequent. A PBX that is busy
//! with calls answers them later; then callvault asks less, in proportion, until it is well again.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};
use tokio::time::Instant;
use tracing::info;

use crate::config::Manners;

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
                info!(pbx, took_s, "Pbx `{pbx}` answers slowly: callvault asks it less, over one connection")
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
            info!(pbx, wait_s, "Pbx `{pbx}` asks for a pause: callvault does not contact it for {wait_s} s");
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

/// Answers that make up the present, and that must be known before anything is judged. Their median decides, so that
/// one or two slow answers mean nothing.
const RECENT: usize = 5;
/// So many times the usual time is slow, and so many times is well again.
const SLOW_TIMES: f64 = 4.0;
const WELL_TIMES: f64 = 2.0;
/// A PBX that usually answers faster than this is not slow because it answers like this.
const USUAL_LEAST_S: f64 = 0.1;
/// How much of an answer goes into the usual time, and how much of a late one: so little that being late does not become
/// the usual before it is noticed, but a change that lasts does, after some hundred answers.
const LEARN: f64 = 0.05;
const LEARN_LATE: f64 = 0.002;
const PAUSE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pace {
    usual_s: Option<f64>,
    recent_s: VecDeque<f64>,
    is_slow: bool,
}

impl Pace {
    /// Notes how long an answer took to come.
    pub fn note(&mut self, took: Duration) {
        let took_s = took.as_secs_f64();
        self.recent_s.push_back(took_s);
        if self.recent_s.len() < RECENT {
            return;
        }
        self.recent_s.drain(..self.recent_s.len() - RECENT);
        let recent_s = median(&self.recent_s);
        let usual_s = self.usual_s.get_or_insert(recent_s);
        // A single answer of minutes must not make all that follows look fast.
        let learnt_s = took_s.min(*usual_s * SLOW_TIMES);
        let is_late = self.is_slow || took_s > usual_s.max(USUAL_LEAST_S) * WELL_TIMES;
        *usual_s += (learnt_s - *usual_s) * if is_late { LEARN_LATE } else { LEARN };
        let times = recent_s / usual_s.max(USUAL_LEAST_S);
        self.is_slow = times >= if self.is_slow { WELL_TIMES } else { SLOW_TIMES };
    }

    /// Whether it has answered several times as slowly as usual for a while: then one connection is enough.
    pub fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// What is usual of it; `None` until that is known.
    pub fn usual(&self) -> Option<Duration> {
        self.usual_s.map(Duration::from_secs_f64)
    }

    /// How long its answers take at present; `None` until that is known.
    pub fn recent(&self) -> Option<Duration> {
        (self.recent_s.len() >= RECENT).then(|| Duration::from_secs_f64(median(&self.recent_s)))
    }

    /// How long to leave it alone between two requests: as long as it is late.
    pub fn pause(&self) -> Duration {
        match (self.is_slow, self.recent(), self.usual()) {
            (true, Some(recent), Some(usual)) => recent.saturating_sub(usual).min(PAUSE_MAX),
            _ => Duration::ZERO,
        }
    }
}

fn median(values: &VecDeque<f64>) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// What was asked of a PBX since this client began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    pub requests: u64,
    pub tickets: u64,
    /// Bytes of recordings received, those of failed downloads too.
    pub bytes: u64,
    pub errors: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Counted>);

impl Counters {
    pub(super) fn note(&self, change: impl FnOnce(&mut Counted)) {
        change(&mut hold(&self.0));
    }

    pub(super) fn read(&self) -> Counted {
        hold(&self.0).clone()
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

#[cfg(test)]
mod pace_tests {
    use super::*;

    fn after(answers_ms: &[(usize, u64)]) -> Pace {
        let mut pace = Pace::default();
        for (count, ms) in answers_ms {
            (0..*count).for_each(|_| pace.note(Duration::from_millis(*ms)));
        }
        pace
    }

    #[test]
    fn slow_is_several_times_the_usual_for_a_while() {
        // (answers: how many, ms each), whether that is slow, and the pause in ms, to 10.
        type Row = (&'static [(usize, u64)], bool, u128);
        let table: [Row; 13] = [
            (&[], false, 0),
            (&[(4, 5000)], false, 0),
            // Slow from the first is what is usual of it.
            (&[(50, 3000)], false, 0),
            (&[(20, 200)], false, 0),
            (&[(20, 200), (2, 5000)], false, 0),
            (&[(20, 200), (3, 2000)], true, 1800),
            (&[(20, 200), (3, 700)], false, 0),
            (&[(20, 200), (1, 5000), (4, 200), (1, 5000)], false, 0),
            // A local network answers in a millisecond, and 300 are no reason to worry.
            (&[(20, 1), (20, 300)], false, 0),
            (&[(20, 1), (5, 800)], true, 790),
            (&[(20, 200), (10, 60_000)], true, 10_000),
            // Half way back is not well; all the way is.
            (&[(20, 200), (5, 2000), (10, 700)], true, 490),
            (&[(20, 200), (5, 2000), (3, 250)], false, 0),
        ];
        for (answers, slow, pause_ms) in table {
            let pace = after(answers);
            assert_eq!(pace.is_slow(), slow, "{answers:?}: {pace:?}");
            assert!(pace.pause().as_millis().abs_diff(pause_ms) <= 60, "{answers:?}: {:?}", pace.pause());
        }
    }

    #[test]
    fn a_change_that_lasts_becomes_the_usual() {
        let pace = after(&[(20, 200), (100, 1000)]);
        assert!(pace.is_slow(), "{pace:?}");
        let pace = after(&[(20, 200), (1000, 1000)]);
        assert!(!pace.is_slow(), "{pace:?}");
    }
}
