//! One reading of a CDR while it is under way, and what it covered in the end.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};

use super::page::ReadingFacts;
use crate::cdr::{CdrItem, CdrRow};
use crate::recording::Text;
use crate::times::OffsetResolver;

/// One reading under way.
pub(super) struct Reading {
    pub(super) facts: ReadingFacts,
    /// The day of rows that tell no time.
    pub(super) fallback: Date,
    pub(super) resolver: OffsetResolver,
    pub(super) page: Vec<CdrRow>,
    pub(super) added: BTreeMap<Date, u64>,
    pub(super) bad_rows: u64,
    pub(super) rows: u64,
    pub(super) recordings_new: u64,
    /// Names the input in findings.
    pub(super) input: String,
    /// The serial number of the last row, or the one learnt before.
    pub(super) last_sn: Option<Text>,
    /// The last item of an answer that may have ended within it.
    pub(super) unsure: Option<CdrItem>,
}

/// What a reading covered, and when what it says was true.
#[derive(Debug, Clone, Copy)]
pub(super) enum Covered {
    /// A day over the API; not all of it if the PBX could not be made to answer.
    Day { day: Date, whole: bool, read_at: Timestamp },
    /// A file, to its end, for the first time since it was written.
    File { whole: bool, written_at: Timestamp },
}

impl Covered {
    pub(super) fn whole(self) -> bool {
        match self {
            Self::Day { whole, .. } | Self::File { whole, .. } => whole,
        }
    }

    /// A file says nothing of what happened after it was written.
    pub(super) fn read_at(self) -> Timestamp {
        match self {
            Self::Day { read_at, .. } => read_at,
            Self::File { written_at, .. } => written_at,
        }
    }

    /// Whether all of `day` was read. Of the first and the last day in a file nobody knows: an export may begin at noon.
    pub(super) fn all_of(self, day: Date, found: &BTreeMap<Date, u64>) -> bool {
        match self {
            Self::Day { day: read, whole, .. } => whole && day == read,
            Self::File { whole, .. } => {
                let edge = |edge: Option<(&Date, &u64)>| edge.is_some_and(|(edge, _)| *edge == day);
                whole && !edge(found.first_key_value()) && !edge(found.last_key_value())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_day_is_covered_by_its_own_whole_reading_alone() {
        let (day, other) = (date(2026, 1, 2), date(2026, 1, 3));
        let covered = |whole| Covered::Day { day, whole, read_at: Timestamp::UNIX_EPOCH };
        let found = BTreeMap::from([(day, 1), (other, 1)]);
        assert!(covered(true).all_of(day, &found));
        assert!(!covered(true).all_of(other, &found) && !covered(false).all_of(day, &found));
    }

    #[test]
    fn a_file_covers_the_days_between_its_first_and_its_last() {
        let days = [date(2026, 1, 2), date(2026, 1, 3), date(2026, 1, 4)];
        let found = BTreeMap::from(days.map(|day| (day, 1)));
        let file = |whole| Covered::File { whole, written_at: Timestamp::UNIX_EPOCH };
        assert_eq!(days.map(|day| file(true).all_of(day, &found)), [false, true, false]);
        assert!(days.iter().all(|day| !file(false).all_of(*day, &found)));
    }
}
