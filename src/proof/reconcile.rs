//! Reconciliation: what the PBX listed of a day against what became of it.
//!
//! ```text
//! rows of the CDR ──► recordings that they name = archived + missing + excluded + pending + stuck
//! ```
//! The two sides are counted apart: what was listed by the calls, what is archived by the catalog's files, the rest by
//! the queue. So they can disagree, and then say so, which a sum over one table could not. Each day is read in one
//! transaction, so that all its numbers are of one moment; nothing here writes.

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;

pub use crate::store::day_account::{
    DayFindings, Difference, Filed, Listing, Suspect, Suspects, Unarchived, known_days,
};

use crate::archive::Folder;
use crate::base::counts::{self, Counts};
use crate::store::calls;
use crate::store::day_account::{self, OfDay};
use crate::store::evidence::{self, Evidence, Verdict};
use crate::store::findings::{self, FindingKind};
use crate::store::queue::DayRange;
use crate::store::sql::Conn;

/// Findings that put in doubt that everything listed is archived: an unreadable row may name a recording.
const DOUBTS: [FindingKind; 3] = [FindingKind::BadRow, FindingKind::FileMissing, FindingKind::FileAltered];
/// Findings about what no list can show. They do not change the verdict, because habit is no proof.
const COVERAGE: [FindingKind; 2] = [FindingKind::MustRecord, FindingKind::SilentDay];
/// Suspicions that call for somebody to listen.
const WORTH_A_LOOK: [&str; 4] = ["short", "silent", "empty", "one_sided"];

/// What one PBX listed on one of its local days, and what became of it. A recording counts on the day of the first row that
/// named it, and on no other.
#[derive(Debug, Clone, Serialize)]
pub struct DayAccount {
    pub day: Date,
    /// None while it is open.
    pub settled_at: Option<Timestamp>,
    pub revision: i64,
    pub readings: Readings,
    /// The offsets from UTC in its rows: two where the clock changed.
    pub utc_offsets_s: Vec<i64>,
    #[serde(flatten, serialize_with = "counts::with_final")]
    pub counts: Counts,
    pub listed: i64,
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
    pub conflicts: Listing<Filed>,
    pub findings: DayFindings,
    /// In no other number.
    #[serde(serialize_with = "counts::with_final")]
    pub voicemail: Counts,
    /// How reliable its list is; none if only version 0.1 has read it.
    pub evidence: Option<Evidence>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Readings {
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
    fn judge(&mut self) {
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

/// Findings listed for each day, also where nothing else is listed.
const FINDINGS_LISTED_MIN: i64 = 20;

/// Reads the account of one day of `pbx`; each of its lists has at most `listed_max` items. The caller holds a transaction,
/// so that all its numbers are of one moment.
pub async fn account(moment: &mut Conn, pbx: &str, day: Date, listed_max: i64) -> Result<DayAccount> {
    let of = OfDay { pbx, day: day.to_string(), listed_max };
    let row = calls::day_row(moment, pbx, day).await?;
    let recordings = day_account::recordings(moment, &of).await?;
    let rows = day_account::rows(moment, &of).await?;
    let files = day_account::files(moment, &of).await?;
    let contradictions = recordings.archived_without_file + recordings.file_without_archived + rows.unqueued;
    let differences = match contradictions {
        0 => Vec::new(),
        _ => day_account::differences(moment, &of).await?,
    };
    let mut account = DayAccount {
        day,
        settled_at: row.settled_at_ms.map(Timestamp::from),
        revision: row.revision,
        readings: Readings {
            whole: row.readings,
            first_at: row.first_read_at_ms.map(Timestamp::from),
            last_at: Some(row.last_read_at_ms.0).filter(|at| *at > Timestamp::UNIX_EPOCH),
        },
        utc_offsets_s: day_account::utc_offsets_s(moment, &of).await?,
        counts: recordings.counts,
        listed: recordings.listed + rows.unqueued,
        sums: false,
        complete: false,
        differences: Listing { count: contradictions, items: differences },
        bytes: files.bytes,
        calls: Calls {
            rows: rows.rows,
            answered: rows.answered,
            counted_elsewhere: day_account::counted_elsewhere(moment, &of).await?,
            vanished: rows.vanished,
        },
        unrecorded: day_account::unrecorded(moment, &of, rows.unrecorded).await?,
        unarchived: day_account::unarchived(moment, &of, recordings.unarchived).await?,
        unnamed: day_account::unnamed(moment, &of, recordings.unnamed).await?,
        vanished: day_account::vanished(moment, &of, rows.vanished).await?,
        suspect: match files.suspect {
            0 => Suspects::default(),
            _ => day_account::suspect(moment, &of).await?,
        },
        conflicts: day_account::conflicts(moment, &of, files.conflicts).await?,
        findings: findings_of(moment, &of, day).await?,
        evidence: evidence::evidence_of(moment, pbx, day).await?,
        voicemail: recordings.voicemail,
    };
    account.judge();
    Ok(account)
}

async fn findings_of(db: &mut Conn, of: &OfDay<'_>, day: Date) -> Result<DayFindings> {
    let of_day = findings::OfDay::new(of.pbx, day, Folder::day(of.pbx, day)?.as_str());
    let by = of_day.counts(db).await?;
    if by.is_empty() {
        return Ok(DayFindings::default());
    }
    let list = Listing {
        count: by.values().sum(),
        items: of_day.first(db, of.listed_max.max(FINDINGS_LISTED_MIN)).await?,
    };
    Ok(DayFindings { by, list })
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct PbxAccount {
    /// None if nothing is known about any day.
    pub range: Option<DayRange>,
    pub listed: i64,
    #[serde(flatten, serialize_with = "counts::with_final")]
    pub counts: Counts,
    pub sums: bool,
    /// Whether every day is complete, and each was read.
    pub complete: bool,
    pub days_open: i64,
    /// Days of the range without a whole reading.
    pub unread: Vec<DayRange>,
    #[serde(serialize_with = "counts::with_final")]
    pub voicemail: Counts,
}

impl PbxAccount {
    /// Sums up the accounts of the days of `range`, in order. With `each_is_read`, days without an account count as unread.
    pub fn of<'a>(
        accounts: impl Iterator<Item = &'a DayAccount> + Clone,
        range: Option<DayRange>,
        each_is_read: bool,
    ) -> Self {
        let mut sum = Self { range, sums: true, complete: true, ..Self::default() };
        for account in accounts.clone() {
            sum.listed += account.listed;
            sum.counts += account.counts;
            sum.voicemail += account.voicemail;
            sum.sums &= account.sums;
            sum.complete &= account.complete;
            sum.days_open += i64::from(account.settled_at.is_none());
        }
        if let Some(asked) = range.filter(|_| each_is_read) {
            let read = accounts.filter(|account| !account.is_unread()).map(|account| account.day);
            sum.unread = unread(asked, read);
        }
        sum.complete &= sum.unread.is_empty();
        sum
    }

    pub fn days_unread(&self) -> usize {
        self.unread.iter().map(|range| days_of(*range).count()).sum()
    }
}

fn days_of(range: DayRange) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(range.from), |day| day.tomorrow().ok()).take_while(move |day| *day <= range.to)
}

/// The days within `asked` that are not in `read`, as ranges. Both are sorted.
fn unread(asked: DayRange, read: impl Iterator<Item = Date>) -> Vec<DayRange> {
    let mut read = read.peekable();
    let mut ranges: Vec<DayRange> = Vec::new();
    for day in days_of(asked) {
        while read.next_if(|other| *other < day).is_some() {}
        if read.next_if_eq(&day).is_some() {
            continue;
        }
        match ranges.last_mut() {
            Some(range) if range.to.tomorrow().is_ok_and(|next| next == day) => range.to = day,
            _ => ranges.push(DayRange { from: day, to: day }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

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

    #[test]
    fn days_without_a_reading_are_told_as_ranges() {
        let day = |day| date(2026, 3, day);
        let range = |from, to| DayRange { from: day(from), to: day(to) };
        let table = [
            (range(1, 3), vec![1, 2, 3], vec![]),
            (range(1, 5), vec![2, 5], vec![range(1, 1), range(3, 4)]),
            (range(2, 4), vec![1, 3, 6], vec![range(2, 2), range(4, 4)]),
            (range(1, 2), vec![], vec![range(1, 2)]),
        ];
        for (asked, read, expected) in table {
            assert_eq!(unread(asked, read.iter().map(|read| day(*read))), expected, "{read:?}");
        }
    }
}
