//! One reading of a CDR while it is under way, and what it covered in the end.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};

use super::page::ReadingFacts;
use crate::cdr::CdrRow;
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
