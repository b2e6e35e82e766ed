//! What readers were given a moment ago: repeated reads within a minute are one entry of the ledger.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::What;

const SAME_WITHIN: Duration = Duration::from_secs(60);

/// A reader, the number of an entry, and which of its files.
type Visit = (String, u64, What);

#[derive(Debug, Default)]
pub(super) struct Visits {
    known: BTreeSet<Visit>,
    in_order: VecDeque<(Instant, Visit)>,
}

impl Visits {
    pub(super) fn is_known(&mut self, visit: &Visit, now: Instant) -> bool {
        while let Some((at, old)) = self.in_order.front()
            && now.saturating_duration_since(*at) >= SAME_WITHIN
        {
            self.known.remove(old);
            self.in_order.pop_front();
        }
        self.known.contains(visit)
    }

    pub(super) fn note(&mut self, visit: Visit, now: Instant) {
        self.in_order.push_back((now, visit.clone()));
        self.known.insert(visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_is_known_for_a_minute_after_its_entry() {
        let (mut visits, began) = (Visits::default(), Instant::now());
        let at = |s: u64| began + Duration::from_secs(s);
        let visit = |reader: &str, number, what| (reader.to_owned(), number, what);
        let one = visit("audit", 7, What::Audio);
        assert!(!visits.is_known(&one, at(0)));
        visits.note(one.clone(), at(0));
        assert!(visits.is_known(&one, at(59)));
        for other in [
            visit("police", 7, What::Audio),
            visit("audit", 8, What::Audio),
            visit("audit", 7, What::Sidecar),
        ] {
            assert!(!visits.is_known(&other, at(59)), "{other:?}");
        }
        // Reads in between do not put it off: at most a minute is without an entry.
        assert!(!visits.is_known(&one, at(60)));
        assert!(visits.known.is_empty() && visits.in_order.is_empty());
    }
}
