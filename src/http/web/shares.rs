//! What each reader takes of the feed: files at one time, and files per minute.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::bucket::{Bucket, Rate};
use crate::http::feed::Reader;

/// Files sent at one time.
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

/// Why a reader gets nothing now.
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
        let per_minute = f64::from(reader.reads_per_min_max());
        let rate = Rate { burst: per_minute, per_second: per_minute / 60.0 };
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let share = readers.entry(reader.name().to_owned()).or_insert_with(|| Share {
            files: Arc::new(Semaphore::new(FILES_OF_ONE_MAX)),
            reads: Bucket::full(rate, now),
        });
        let his = Arc::clone(&share.files).try_acquire_owned().map_err(|_| Full::Places)?;
        let place = Arc::clone(&self.files).try_acquire_owned().map_err(|_| Full::Places)?;
        share.reads.take(rate, now).map_err(Full::Reads)?;
        Ok((his, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FeedReaderConfig;
    use crate::http::feed::Readers;

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
}
