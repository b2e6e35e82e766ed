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

use serde::{Deserialize, Serialize};

/// How far the list of a day can be believed, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not all of it was read.
    Unread,
    /// The PBX seems to have cut it.
    Short,
    /// Something in it cannot be believed.
    Doubtful,
    /// Nothing speaks against it.
    Whole,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Unread, Self::Short, Self::Doubtful, Self::Whole];

    /// The word in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Short => "short",
            Self::Doubtful => "doubtful",
            Self::Whole => "whole",
        }
    }

    /// Reads the word in SQL.
    ///
    /// # Errors
    /// The word is none of ours.
    pub fn from_sql(word: &str) -> anyhow::Result<Self> {
        let known = Self::ALL.into_iter().find(|verdict| verdict.as_str() == word);
        known.ok_or_else(|| anyhow::anyhow!("the database holds an unknown verdict {word:?}"))
    }

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
            assert_eq!(Verdict::from_sql(verdict.as_str()).unwrap(), verdict);
        }
        assert!(Verdict::from_sql("fine").is_err());
    }
}
