//! Evidence: what it rests on that the list of a day is whole.
//!
//! All SQL on `doubts`, `list_limits`, `outlooks`, `provenance` and `accepted_days`, and on what `days` holds of a verdict.
//!
//! A list is not whole because nothing was refused. Its verdict is that of its worst part:
//!
//! ```text
//! unread    a part was not answered, was cut off, or has no column of recording names
//! short     the PBX seems to cut its lists at so many rows, and this one could not be divided further
//! doubtful  a line cannot be believed, or a clock was wrong while the list was read
//! whole     nothing speaks against it
//! ```

mod accepted;
mod account;
mod days;
mod doubts;
mod limits;
mod outlook;
mod standing;

pub use accepted::{Acceptance, accept};
pub use account::{AcceptedDay, Doubts, Evidence, LatestList, Limit, Origin, evidence_of};
pub use days::{DayVerdict, ListFacts, Source, note_source, note_verdict};
pub use doubts::{DoubtfulLine, InputList, OpenDoubts, Settled, doubts_since, open_doubts, settle_doubts};
pub use limits::{LIMIT_ROWS_MIN, Limits, ListSize, load_limits, store_limits};
pub use outlook::{is_outlook_due, note_outlook};
pub use standing::{Standing, Verdicts, standing, standings};

use crate::base::words::words;

words! {
    /// How far the list of a day can be believed, the worst first.
    pub enum Verdict as "verdict" {
        /// Not all of it was read.
        Unread = "unread",
        /// The PBX seems to have cut it.
        Short = "short",
        /// Something in it cannot be believed.
        Doubtful = "doubtful",
        /// Nothing speaks against it.
        Whole = "whole",
    }
}

impl Verdict {
    /// The verdict on a list of which so many lines are in doubt.
    pub fn lowered_by(self, open_doubts: i64) -> Self {
        if open_doubts > 0 { self.min(Self::Doubtful) } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_part_decides() {
        assert_eq!(Verdict::ALL.iter().copied().min(), Some(Verdict::Unread));
        let table = [
            (Verdict::Whole, 0, Verdict::Whole),
            (Verdict::Whole, 1, Verdict::Doubtful),
            (Verdict::Short, 1, Verdict::Short),
            (Verdict::Unread, 3, Verdict::Unread),
        ];
        for (verdict, doubts, expected) in table {
            assert_eq!(verdict.lowered_by(doubts), expected, "{verdict:?} with {doubts} doubts");
        }
    }

    #[test]
    fn words_come_back() {
        for verdict in Verdict::ALL {
            assert_eq!(verdict.as_str().parse(), Ok(*verdict));
        }
        assert!("fine".parse::<Verdict>().is_err());
    }
}
