//! Attempts to read without a reader's token: counted, slowed down for each source, logged, and summed up in the ledger.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::warn;

use crate::base::clock::Clock;
use crate::http::feed::{self, Reader};
use crate::store::db::Db;

/// Wrong tokens that a source may try at once, and then one every six seconds.
const GUESSES: Rate = Rate { burst: 30.0, per_second: 1.0 / 6.0 };
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Log lines about all sources together.
const LINES: Rate = Rate { burst: 20.0, per_second: 20.0 / 60.0 };
/// Sources remembered; the one that tried longest ago is forgotten first.
const SOURCES_MAX: usize = 1024;
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
    logged_at: Option<Instant>,
    unlogged: u64,
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
            self.with(|known| known.log_rest(Instant::now()));
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
        comer.unlogged += 1;
        // An empty bucket stays empty.
        comer.guesses.take(GUESSES, now).ok();
        comer.log(source, &mut self.lines, now);
    }

    fn log_rest(&mut self, now: Instant) {
        for (source, comer) in &mut self.sources {
            comer.log(*source, &mut self.lines, now);
        }
        // A source with nothing left to log and a full bucket can be forgotten.
        let is_over = |comer: &Comer| comer.unlogged == 0 && now - comer.last > Duration::from_secs(600);
        self.sources.retain(|_, comer| !is_over(comer));
    }
}

impl Comer {
    fn new(now: Instant) -> Self {
        Self { guesses: Bucket::full(GUESSES, now), last: now, logged_at: None, unlogged: 0 }
    }

    fn log(&mut self, source: Source, lines: &mut Bucket, now: Instant) {
        let is_due = self.logged_at.is_none_or(|at| now.saturating_duration_since(at) >= LOG_EVERY);
        if self.unlogged == 0 || !is_due || lines.take(LINES, now).is_err() {
            return;
        }
        let (count, attempts) = (self.unlogged, if self.unlogged == 1 { "attempt" } else { "attempts" });
        warn!(
            "{source} asked for what only readers of the feed get, without a token or with a wrong one ({count} {attempts}): \
             correct the token there, or block that address if it is not yours"
        );
        (self.logged_at, self.unlogged) = (Some(now), 0);
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
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
        if let Some(wait) = self.wait(rate, now) {
            return Err(wait);
        }
        self.level -= 1.0;
        Ok(())
    }
}

const FILES_MAX: usize = 8;
/// Of these, those of one reader.
const FILES_OF_ONE_MAX: usize = 4;

#[derive(Debug, Clone)]
pub(super) struct Shares {
    files: Arc<Semaphore>,
    readers: Arc<Mutex<BTreeMap<String, Share>>>,
}

#[derive(Debug)]
struct Share {
    files: Arc<Semaphore>,
    reads: Bucket,
}

/// A place for a file being sent, until it is dropped.
pub(super) type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All places are taken, or all of this reader.
    Places,
    /// The reader has fetched as many files as it may; how long until the next.
    Reads(Duration),
}

impl Shares {
    pub(super) fn new() -> Self {
        Self { files: Arc::new(Semaphore::new(FILES_MAX)), readers: Arc::default() }
    }

    /// Takes a place for a file, and one of the reads that the reader has in a minute.
    pub(super) fn take(&self, reader: &Reader, now: Instant) -> Result<Place, Full> {
        let per_minute = f64::from(reader.reads_per_min_max);
        let rate = Rate { burst: per_minute, per_second: per_minute / 60.0 };
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let share = readers.entry(reader.name.clone()).or_insert_with(|| Share {
            files: Arc::new(Semaphore::new(FILES_OF_ONE_MAX)),
            reads: Bucket::full(rate, now),
        });
        let his = Arc::clone(&share.files).try_acquire_owned().map_err(|_| Full::Places)?;
        let place = Arc::clone(&self.files).try_acquire_owned().map_err(|_| Full::Places)?;
        share.reads.take(rate, now).map_err(Full::Reads)?;
        Ok((his, place))
    }
}

/// An IPv4 address, or the network of an IPv6 address, in which its owner has as many addresses as they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                let [a, b, c, d, ..] = address.segments();
                Self(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
            address => Self(address),
        }
    }

    /// A proxy on this machine speaks for many; so does its own health check.
    pub(super) fn is_this_machine(self) -> bool {
        self.0.is_loopback()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(network) if !network.is_loopback() => write!(f, "{network}/64"),
            address => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FeedReaderConfig;
    use crate::http::feed::Readers;

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
        let told = || known(|known| known.sources.values().filter(|comer| comer.logged_at.is_some()).count());
        for number in 0..1000 {
            refusals.note(source(number), began);
        }
        assert_eq!(told(), 20);
        for number in 1000..5000 {
            refusals.note(source(number), began);
        }
        assert_eq!(known(|known| known.sources.len()), SOURCES_MAX);
        let minutes = |minutes: u64| began + Duration::from_secs(60 * minutes);
        refusals.with(|known| known.log_rest(minutes(1)));
        assert_eq!(told(), 20, "the first ones were forgotten");
        (2..100).for_each(|passed| refusals.with(|known| known.log_rest(minutes(passed))));
        assert_eq!((known(|known| known.sources.len()), refusals.total()), (0, 5000));
    }

    #[test]
    fn a_source_is_told_of_once_a_minute_with_the_count_of_its_attempts() {
        let (refusals, began) = (Refusals::new(), Instant::now());
        let unlogged = || refusals.with(|known| known.sources[&source(1)].unlogged);
        let at = |s: u64| began + Duration::from_secs(s);
        refusals.note(source(1), at(0));
        assert_eq!(unlogged(), 0, "the first one is told at once");
        (1..60).for_each(|s| refusals.note(source(1), at(s)));
        refusals.with(|known| known.log_rest(at(59)));
        assert_eq!(unlogged(), 59);
        refusals.with(|known| known.log_rest(at(60)));
        assert_eq!(unlogged(), 0);
    }

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

    #[test]
    fn a_reader_has_a_share_of_the_places_and_a_rate() {
        let reads_per_min_max = 10;
        let reader = |name: &str| FeedReaderConfig { reads_per_min_max, ..FeedReaderConfig::new(name, name) };
        let readers = Readers::new(&[reader("audit"), reader("police")]);
        let [audit, police] = ["Bearer audit", "Bearer police"].map(|token| readers.who(token).unwrap());
        let (shares, now) = (Shares::new(), Instant::now());
        let places: Vec<_> = (0..8).map(|_| shares.take(audit, now)).collect();
        assert_eq!(places.iter().filter(|place| place.is_ok()).count(), FILES_OF_ONE_MAX);
        assert_eq!(places[7].as_ref().unwrap_err(), &Full::Places);
        let _kept = shares.take(police, now).unwrap();
        drop(places);
        for _ in 0..6 {
            drop(shares.take(audit, now).unwrap());
        }
        assert_eq!(shares.take(audit, now).unwrap_err(), Full::Reads(Duration::from_secs(6)));
        drop(shares.take(police, now).unwrap());
        let later = now + Duration::from_secs(6);
        drop(shares.take(audit, later).unwrap());
        assert!(shares.take(audit, later).is_err());
    }

    #[test]
    fn a_network_of_ipv6_is_one_source_and_an_address_of_ipv4_too() {
        for (address, expected, is_this_machine) in [
            ("192.0.2.7", "192.0.2.7", false),
            ("::ffff:192.0.2.7", "192.0.2.7", false),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", false),
            ("2001:db8:1:2::", "2001:db8:1:2::/64", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("::1", "::1", true),
        ] {
            let source = Source::of(address.parse().unwrap());
            assert_eq!((source.to_string().as_str(), source.is_this_machine()), (expected, is_this_machine));
        }
    }
}
