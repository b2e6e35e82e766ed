//! Attempts to read without a reader's token: counted, slowed down for each source, logged, and summed up in the ledger.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::bucket::{Bucket, Rate};
use super::source::Source;
use crate::base::clock::Clock;
use crate::http::feed;
use crate::store::db::Db;

/// Wrong tokens that a source may try at once, and then one every six seconds.
const GUESSES: Rate = Rate { burst: 30.0, per_second: 1.0 / 6.0 };
/// How often a source is logged at most.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Log lines about all sources together.
const LINES: Rate = Rate { burst: 20.0, per_second: 20.0 / 60.0 };
/// Sources remembered; the one that tried longest ago is forgotten first.
const SOURCES_MAX: usize = 1024;
/// How often the sum is written to the database.
const SETTLE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub(super) struct Refusals(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    sources: BTreeMap<Source, Comer>,
    lines: Bucket,
    total: u64,
    /// Attempts that the database does not have yet.
    unsettled: u64,
}

#[derive(Debug)]
struct Comer {
    guesses: Bucket,
    last: Instant,
    told_at: Option<Instant>,
    untold: u64,
}

impl Refusals {
    pub(super) fn new() -> Self {
        let lines = Bucket::full(LINES, Instant::now());
        Self(Arc::new(Mutex::new(Known { sources: BTreeMap::new(), lines, total: 0, unsettled: 0 })))
    }

    /// How long this source's tokens are ignored; none if it has not tried too many.
    pub(super) fn wait(&self, source: Source, now: Instant) -> Option<Duration> {
        self.with(|known| known.sources.get_mut(&source)?.guesses.wait(GUESSES, now))
    }

    /// Counts an attempt, and logs it unless this source was logged a moment ago.
    pub(super) fn note(&self, source: Source, now: Instant) {
        self.with(|known| known.note(source, now));
    }

    pub(super) fn total(&self) -> u64 {
        self.with(|known| known.total)
    }

    /// Writes the sum to the database again and again, and to the ledger when a day is over; logs what was not logged yet.
    pub(super) async fn keep_settled(&self, db: &Db, clock: &Clock) {
        loop {
            self.settle(db, clock).await;
            self.with(|known| known.tell_rest(Instant::now()));
            tokio::time::sleep(SETTLE_EVERY).await;
        }
    }

    /// Writes the sum to the database. If that fails, it is kept for the next time.
    pub(super) async fn settle(&self, db: &Db, clock: &Clock) {
        let unsettled = self.with(|known| std::mem::take(&mut known.unsettled));
        if let Err(error) = feed::note_refused(db, unsettled, clock.now()).await {
            tracing::debug!("The sum of refused attempts cannot be kept: {error:#}");
            self.with(|known| known.unsettled += unsettled);
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    fn note(&mut self, source: Source, now: Instant) {
        self.total += 1;
        self.unsettled += 1;
        if !self.sources.contains_key(&source) && self.sources.len() >= SOURCES_MAX {
            let oldest = self.sources.iter().min_by_key(|(_, comer)| comer.last).map(|(source, _)| *source);
            oldest.map(|oldest| self.sources.remove(&oldest));
        }
        let comer = self.sources.entry(source).or_insert_with(|| Comer::new(now));
        comer.last = now;
        comer.untold += 1;
        // An empty bucket stays empty.
        comer.guesses.take(GUESSES, now).ok();
        comer.tell(source, &mut self.lines, now);
    }

    fn tell_rest(&mut self, now: Instant) {
        for (source, comer) in &mut self.sources {
            comer.tell(*source, &mut self.lines, now);
        }
        // A source with nothing left to log and a full bucket can be forgotten.
        let is_over = |comer: &Comer| comer.untold == 0 && now - comer.last > Duration::from_secs(600);
        self.sources.retain(|_, comer| !is_over(comer));
    }
}

impl Comer {
    fn new(now: Instant) -> Self {
        Self { guesses: Bucket::full(GUESSES, now), last: now, told_at: None, untold: 0 }
    }

    fn tell(&mut self, source: Source, lines: &mut Bucket, now: Instant) {
        let is_due = self.told_at.is_none_or(|at| now.saturating_duration_since(at) >= TELL_EVERY);
        if self.untold == 0 || !is_due || lines.take(LINES, now).is_err() {
            return;
        }
        let (count, attempts) = (self.untold, if self.untold == 1 { "attempt" } else { "attempts" });
        warn!(
            "{source} asked for what only readers of the feed get, without a token or with a wrong one ({count} {attempts}): \
             correct the token there, or block that address if it is not yours"
        );
        (self.told_at, self.untold) = (Some(now), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> Source {
        Source::of(std::net::IpAddr::from(std::net::Ipv4Addr::from_bits(0xC000_0000 + number)))
    }

    #[test]
    fn a_source_that_guesses_is_slowed_down_and_no_other() {
        let (refusals, began) = (Refusals::new(), Instant::now());
        for _ in 0..30 {
            assert_eq!(refusals.wait(source(1), began), None);
            refusals.note(source(1), began);
        }
        for _ in 0..270 {
            let wait = refusals.wait(source(1), began).unwrap();
            assert!(wait > Duration::from_secs(5) && wait <= Duration::from_secs(6), "{wait:?}");
            refusals.note(source(1), began);
        }
        assert_eq!((refusals.wait(source(2), began), refusals.total()), (None, 300));
        let later = began + Duration::from_secs(7);
        assert_eq!(refusals.wait(source(1), later), None);
        refusals.note(source(1), later);
        assert!(refusals.wait(source(1), later).is_some());
    }

    #[test]
    fn of_any_number_of_sources_few_are_remembered_and_told() {
        let (refusals, began) = (Refusals::new(), Instant::now());
        let known = |work: fn(&Known) -> usize| refusals.with(|known| work(known));
        let told = || known(|known| known.sources.values().filter(|comer| comer.told_at.is_some()).count());
        for number in 0..1000 {
            refusals.note(source(number), began);
        }
        assert_eq!(told(), 20);
        for number in 1000..5000 {
            refusals.note(source(number), began);
        }
        assert_eq!(known(|known| known.sources.len()), SOURCES_MAX);
        let minutes = |minutes: u64| began + Duration::from_secs(60 * minutes);
        refusals.with(|known| known.tell_rest(minutes(1)));
        assert_eq!(told(), 20, "the first ones were forgotten");
        (2..100).for_each(|passed| refusals.with(|known| known.tell_rest(minutes(passed))));
        assert_eq!((known(|known| known.sources.len()), refusals.total()), (0, 5000));
    }

    #[test]
    fn a_source_is_told_of_once_a_minute_with_the_count_of_its_attempts() {
        let (refusals, began) = (Refusals::new(), Instant::now());
        let untold = || refusals.with(|known| known.sources[&source(1)].untold);
        let at = |s: u64| began + Duration::from_secs(s);
        refusals.note(source(1), at(0));
        assert_eq!(untold(), 0, "the first one is told at once");
        (1..60).for_each(|s| refusals.note(source(1), at(s)));
        refusals.with(|known| known.tell_rest(at(59)));
        assert_eq!(untold(), 59);
        refusals.with(|known| known.tell_rest(at(60)));
        assert_eq!(untold(), 0);
    }
}
