//! The account of one day, as `reconcile --json` prints it and its certificate contains it.

use jiff::{Timestamp, civil::Date};
use serde::Serialize;

use super::{DayFindings, Difference, Filed, Listing, Suspects, Unarchived};
use crate::base::counts::{self, Counts};
use crate::store::evidence::{Evidence, Verdict};
use crate::store::findings::FindingKind;

/// Findings that put in doubt that everything listed is archived: an unreadable row may name a recording, and a file that is
/// gone is no longer archived.
const DOUBTS: [FindingKind; 3] = [FindingKind::BadRow, FindingKind::FileMissing, FindingKind::FileAltered];
/// Findings about what no list can show. They do not change the verdict, because habit is no proof.
const COVERAGE: [FindingKind; 2] = [FindingKind::MustRecord, FindingKind::SilentDay];
/// Suspicions that call for somebody to listen.
const WORTH_A_LOOK: [&str; 4] = ["short", "silent", "empty", "one_sided"];

/// What one PBX listed on one of its local days, and what became of it.
///
/// A recording counts on the day of the first row that named it, and on no other.
#[derive(Debug, Clone, Serialize)]
pub struct DayAccount {
    /// By the PBX's calendar.
    pub day: Date,
    /// None while it is open.
    pub settled_at: Option<Timestamp>,
    /// How often it settled.
    pub revision: i64,
    pub readings: Readings,
    /// The offsets from UTC in its rows: two where the clock changed.
    pub utc_offsets_s: Vec<i64>,
    #[serde(flatten, serialize_with = "counts::with_final")]
    pub counts: Counts,
    /// Recordings that its rows name.
    pub listed: i64,
    /// Whether the counts add up to `listed`.
    pub sums: bool,
    /// Whether everything listed is archived or excluded, and nothing puts that in doubt.
    pub complete: bool,
    /// Why the numbers do not add up, if they do not.
    pub differences: Listing<Difference>,
    pub bytes: i64,
    pub calls: Calls,
    /// Answered calls that name no recording, by the identities of their rows.
    pub unrecorded: Listing<String>,
    pub unarchived: Listing<Unarchived>,
    /// Recordings that no row names; in no other number.
    pub unnamed: Listing<Filed>,
    /// Archived recordings named only by rows that the PBX's latest answer lacked.
    pub vanished: Listing<Filed>,
    pub suspect: Suspects,
    /// Audio kept beside other audio of the same name.
    pub conflicts: Listing<Filed>,
    /// Open findings about the day.
    pub findings: DayFindings,
    /// In no other number.
    #[serde(serialize_with = "counts::with_final")]
    pub voicemail: Counts,
    /// How reliable its list is; none if only version 0.1 has read it.
    pub evidence: Option<Evidence>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Readings {
    /// How often all of it was read.
    pub whole: i64,
    pub first_at: Option<Timestamp>,
    /// Partial readings included.
    pub last_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    pub rows: i64,
    pub answered: i64,
    /// Recordings named by rows of this day that count on another day, which named them first.
    pub counted_elsewhere: i64,
    /// Rows that the PBX's latest whole answer lacked. They are kept.
    pub vanished: i64,
}

impl DayAccount {
    pub(super) fn judge(&mut self) {
        self.sums = self.counts.listed() == self.listed && self.differences.count == 0;
        self.complete = self.sums
            && self.counts.owed() == 0
            && !self.is_unread()
            && !self.is_doubtful()
            && self.is_proven();
    }

    /// Whether only its list was in doubt, and the operator accepted the list as it was.
    pub fn is_accepted(&self) -> bool {
        let is_accepted = self.evidence.as_ref().is_some_and(Evidence::is_accepted);
        is_accepted && self.sums && self.counts.owed() == 0 && !self.has_doubtful_findings()
    }

    /// Whether nothing speaks against its list, and nobody had to accept it.
    pub fn is_proven(&self) -> bool {
        let whole = |evidence: &Evidence| evidence.verdict == Verdict::Whole && evidence.accepted.is_empty();
        self.evidence.as_ref().is_none_or(whole)
    }

    /// Whether no reading of the whole day ever ended well.
    pub fn is_unread(&self) -> bool {
        self.readings.whole == 0
    }

    /// Whether a doubtful line or a finding puts in doubt that everything listed is archived.
    pub fn is_doubtful(&self) -> bool {
        self.has_doubtful_findings()
            || self.evidence.as_ref().is_some_and(|evidence| evidence.doubts.count > 0)
    }

    /// If there is evidence, an unreadable row is one of its doubts.
    fn has_doubtful_findings(&self) -> bool {
        let counts = |kind: &&FindingKind| **kind != FindingKind::BadRow || self.evidence.is_none();
        DOUBTS.iter().filter(counts).any(|kind| self.findings.by.contains_key(kind))
    }

    /// Whether a finding of this kind is open.
    pub fn finds(&self, kind: FindingKind) -> bool {
        self.findings.by.contains_key(&kind)
    }

    /// Files that somebody should listen to, by suspicion.
    pub fn worth_a_look(&self) -> impl Iterator<Item = (&str, i64)> {
        let odd = self.suspect.by.iter().map(|(word, count)| (word.as_str(), *count));
        odd.filter(|(word, _)| WORTH_A_LOOK.contains(word))
    }

    /// Whether a person should look at it: it is not complete, or something is unusual.
    pub fn needs_attention(&self) -> bool {
        let is_odd = self.unnamed.count + self.conflicts.count > 0
            || self.worth_a_look().next().is_some()
            || COVERAGE.iter().any(|kind| self.finds(*kind));
        !self.complete || is_odd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(counts: Counts, listed: i64) -> DayAccount {
        let mut account = DayAccount {
            day: jiff::civil::date(2026, 3, 1),
            settled_at: None,
            revision: 0,
            readings: Readings { whole: 1, ..Readings::default() },
            utc_offsets_s: Vec::new(),
            counts,
            listed,
            sums: false,
            complete: false,
            differences: Listing::default(),
            bytes: 0,
            calls: Calls::default(),
            unrecorded: Listing::default(),
            unarchived: Listing::default(),
            unnamed: Listing::default(),
            vanished: Listing::default(),
            suspect: Suspects::default(),
            conflicts: Listing::default(),
            findings: DayFindings::default(),
            voicemail: Counts::default(),
            evidence: None,
        };
        account.judge();
        account
    }

    #[test]
    fn a_day_is_complete_only_if_it_adds_up_and_nothing_is_owed_or_in_doubt() {
        let all = Counts { archived: 3, excluded: 1, ..Counts::default() };
        assert!(account(all, 4).complete, "what a rule excludes is not owed");
        assert!(!account(all, 5).sums);
        assert!(!account(all, 5).complete);
        for owed in [
            Counts { missing: 1, missing_final: 1, ..all },
            Counts { pending: 1, ..all },
            Counts { stuck: 1, ..all },
        ] {
            let account = account(owed, 5);
            assert!(account.sums && !account.complete, "{owed:?}");
        }
        for (kind, is_complete) in [(FindingKind::BadRow, false), (FindingKind::CdrShrank, true)] {
            let mut account = account(all, 4);
            account.findings.by.insert(kind, 1);
            account.judge();
            assert_eq!(account.complete, is_complete, "{kind:?}");
        }
        let mut unread = account(Counts::default(), 0);
        unread.readings.whole = 0;
        unread.judge();
        assert!(!unread.complete && unread.sums);
    }
}
