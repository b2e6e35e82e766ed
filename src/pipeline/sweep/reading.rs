//! One reading of a CDR while it is under way, and what it covered in the end.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan as _};
use tokio::time::Instant;

use super::SweepReport;
use super::page::{Fallback, PageStored, PlacedRow, ReadingFacts};
use super::parts::Part;
use super::range::Answer;
use crate::base::digest::Digest;
use crate::base::recording::Text;
use crate::base::times::{OFFSET_S_MAX, OffsetResolver};
use crate::formats::cdr::{BadRow, CdrItem, CdrRow, DoubtCause};
use crate::store::calls::KnownList;
use crate::store::db::Begun;
use crate::store::evidence::{DoubtfulLine, ListSize, OpenDoubts, Verdict};

pub(super) struct Reading {
    pub(super) facts: ReadingFacts,
    /// The day that is asked for; of a file, the day on which it was written.
    pub(super) day: Date,
    /// The day of rows that tell no time.
    pub(super) fallback: Fallback,
    pub(super) resolver: OffsetResolver,
    pub(super) page: Vec<CdrRow>,
    /// The page before, while it is being stored.
    pub(super) pending: Option<PendingPage>,
    pub(super) added: BTreeMap<Date, u64>,
    /// Rows, bad rows and new recordings so far.
    pub(super) counts: SweepReport,
    pub(super) input: String,
    /// Identifies it: the day, or the file by its name, size and time.
    pub(super) source: String,
    /// The serial number of the last row, or the one learnt before.
    pub(super) last_sn: Option<Text>,
    /// The last item of an answer that may have ended within it.
    pub(super) unsure: Option<CdrItem>,
    pub(super) asked: Part,
    /// What came, and what of it cannot be believed.
    pub(super) list: List,
    /// Only lines of days before the first of these and after the second are taken in.
    pub(super) outside: Option<(Date, Date)>,
    pub(super) seen: Seen,
    /// What the whole list was when it was read last, if it may be the same again.
    pub(super) known: Option<KnownList>,
    /// Whether the list was that, and none of it was read.
    pub(super) is_unchanged: bool,
    /// Whether it led to findings that another reading has to renew.
    pub(super) leaves_findings: bool,
}

/// A page that is being stored.
pub(super) struct PendingPage {
    pub(super) rows: Arc<Vec<PlacedRow>>,
    pub(super) began: Instant,
    pub(super) stored: Begun<PageStored>,
}

/// The calls that a reading has held so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The first half of each one's identity: who could find two alike could as well leave a call out of the list.
    halves: HashSet<[u8; 16]>,
    /// How many of them are filed under the day that was asked for.
    pub(super) calls_of_day: i64,
    /// Whether nobody knows any more which ones they were.
    pub(super) is_forgotten: bool,
}

/// Calls of one reading that are remembered: some 36 MB of memory.
const SEEN_MAX: usize = 1 << 20;

impl Seen {
    pub(super) fn holds(&self, identity: &Digest) -> bool {
        self.halves.contains(&half(identity))
    }

    /// Takes note of a list that was not read: it held so many calls of the day.
    pub(super) fn note_unread(&mut self, calls_of_day: i64) {
        (self.calls_of_day, self.is_forgotten) = (calls_of_day, true);
    }

    /// Takes note of a page, in which so many calls of the day were new to this reading.
    pub(super) fn note<'a>(&mut self, identities: impl Iterator<Item = &'a Digest>, calls_of_day: i64) {
        self.calls_of_day += calls_of_day;
        for identity in identities {
            self.is_forgotten |= self.halves.len() >= SEEN_MAX;
            if self.is_forgotten {
                return;
            }
            self.halves.insert(half(identity));
        }
    }
}

fn half(identity: &Digest) -> [u8; 16] {
    let (half, _) = identity.as_bytes().split_at(16);
    half.try_into().expect("it is half of 32 bytes")
}

/// The list that a reading reads, as far as its verdict is concerned.
#[derive(Default)]
pub(super) struct List {
    /// SHA-256 of all that came, if that was one answer.
    pub(super) sha256: Option<Digest>,
    pub(super) parts: u64,
    pub(super) size: ListSize,
    pub(super) largest: Option<(Part, Answer)>,
    /// Why it may be short, if a limit of the PBX seems to have cut it.
    pub(super) short: Option<String>,
    /// Why not all of it was read.
    pub(super) unread: Option<String>,
    /// Whether the day before was not read, so that nothing else shows calls at the beginning of this one.
    pub(super) has_open_edge: bool,
    /// Lines that cannot be believed, the first of them.
    pub(super) doubtful: Vec<Doubtful>,
    bad_line: Option<u64>,
    /// Lines that were in doubt before, and those of them that could be read now.
    pub(super) open: OpenDoubts,
    pub(super) read: BTreeSet<Digest>,
}

/// Doubtful lines of one reading that are kept: beyond that it is no matter of lines.
const DOUBTFUL_KEPT: usize = 1000;

pub(super) struct Doubtful {
    line_sha256: Digest,
    cause: DoubtCause,
    /// The call's id, and when that says the call was.
    callid: Option<(String, Timestamp)>,
}

impl Reading {
    pub(super) fn report(&self) -> SweepReport {
        SweepReport { rows_new: self.added.values().sum(), ..self.counts }
    }
}

impl List {
    /// A list of which nothing has come; `open` are the doubts of earlier ones.
    pub(super) fn of(open: OpenDoubts) -> Self {
        Self { open, ..Self::default() }
    }

    pub(super) fn note_row(&mut self, row: &CdrRow) {
        match row.doubt {
            Some(cause) => self.doubt(row.line_sha256, cause, row.callid.as_str()),
            None if self.open.contains(&row.line_sha256) => {
                self.read.insert(row.line_sha256);
            }
            None => {}
        }
    }

    /// Takes note of a line that is no row. One that tells no call and follows another such line is the rest of it: a line
    /// end within a field makes two lines of one.
    pub(super) fn note_bad_row(&mut self, bad: &BadRow) {
        let follows = self.bad_line.replace(bad.line).is_some_and(|before| before + 1 == bad.line);
        // Its beginning is all that is known of it for certain.
        let first =
            bad.excerpt.split([',', ';', '\t', '|']).next().map(|field| field.trim_matches(['"', ' ']));
        let is_rest = follows && first.and_then(time_in).is_none();
        if !is_rest {
            self.doubt(bad.line_sha256, bad.cause, first);
        }
    }

    fn doubt(&mut self, line_sha256: Digest, cause: DoubtCause, callid: Option<&str>) {
        if self.doubtful.len() < DOUBTFUL_KEPT {
            let callid = callid.and_then(|callid| Some((callid.to_owned(), time_in(callid)?)));
            self.doubtful.push(Doubtful { line_sha256, cause, callid });
        }
    }

    /// Takes note of an answer that is no more divided.
    pub(super) fn note_part(&mut self, part: Part, answer: Answer) {
        self.parts += 1;
        self.sha256 = answer.sha256.filter(|_| self.parts == 1);
        self.size.rows += answer.size.rows;
        self.size.bytes += answer.size.bytes;
        if self.largest.as_ref().is_none_or(|(_, largest)| largest.size < answer.size) {
            self.largest = Some((part, answer));
        }
    }

    pub(super) fn largest_size(&self) -> ListSize {
        self.largest.as_ref().map_or(ListSize::default(), |(_, answer)| answer.size)
    }

    /// Forgets what came: all of it is asked for again.
    pub(super) fn begin_again(&mut self) {
        (self.parts, self.size, self.largest, self.sha256) = (0, ListSize::default(), None, None);
    }

    /// How far it can be believed, its doubtful lines left out, and why it is not whole. `whole` says whether it was read to
    /// its end.
    pub(super) fn verdict(&self, whole: bool) -> (Verdict, Option<String>) {
        match &self.short {
            _ if !whole => {
                let cause = self.unread.clone().unwrap_or_else(|| "not all of it was read".to_owned());
                (Verdict::Unread, Some(cause))
            }
            Some(cause) => (Verdict::Short, Some(cause.clone())),
            None => (Verdict::Whole, None),
        }
    }

    /// Its doubtful lines, each with the days that it can concern: that of its call's id, as well as the PBX's offset is known
    /// or both that it may be, if it lies among `asked` or next to them; else all of `asked`.
    pub(super) fn doubtful_lines(&self, asked: (Date, Date), utc_offset_s: Option<i32>) -> Vec<DoubtfulLine> {
        let near = (asked.0.yesterday().unwrap_or(asked.0), asked.1.tomorrow().unwrap_or(asked.1));
        let days = |doubtful: &Doubtful| {
            let possible = doubtful.callid.as_ref().and_then(|(_, at)| local_days(*at, utc_offset_s));
            let (first, last) = possible?;
            let (first, last) = (first.max(near.0), last.min(near.1));
            (first <= last).then_some((first, last))
        };
        let line = |doubtful: &Doubtful| DoubtfulLine {
            line_sha256: doubtful.line_sha256,
            cause: doubtful.cause.as_str().to_owned(),
            callid: doubtful.callid.as_ref().map(|(callid, _)| callid.clone()),
            days: days(doubtful).unwrap_or(asked),
        };
        let mut seen = BTreeSet::new();
        self.doubtful.iter().filter(|doubtful| seen.insert(doubtful.line_sha256)).map(line).collect()
    }
}

/// The time in a call's id, such as `1771322400.42`; `None` if it is no such id.
fn time_in(callid: &str) -> Option<Timestamp> {
    let (epoch, rest) = callid.split_once(['.', '_'])?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_id = epoch.len() >= 9 && is_number(epoch) && is_number(rest);
    Timestamp::from_second(epoch.parse().ok().filter(|_| is_id)?).ok()
}

/// Where an offset from UTC was learnt, summer time may have begun or ended since.
const OFFSET_CHANGES_S: i32 = 3600;

/// The first and the last day that a moment can be of where the PBX stands.
fn local_days(at: Timestamp, utc_offset_s: Option<i32>) -> Option<(Date, Date)> {
    let (earliest_s, latest_s) = match utc_offset_s {
        Some(offset_s) => (offset_s - OFFSET_CHANGES_S, offset_s + OFFSET_CHANGES_S),
        None => (-OFFSET_S_MAX, OFFSET_S_MAX),
    };
    let day = |offset_s| Some(Offset::from_seconds(offset_s).ok()?.to_datetime(at).date());
    Some((day(earliest_s)?, day(latest_s)?))
}

/// Days that a device keeps by default (`docs/pbx-api.md` §10).
const DAYS_KEPT: i64 = 180;

/// What a reading covered, and when what it says was true.
#[derive(Debug, Clone, Copy)]
pub(super) enum Covered {
    /// A day over the API; not all of it if the PBX could not be made to answer.
    Day { day: Date, whole: bool, read_at: Timestamp },
    /// A file: whether it was read to its end, and if so, whether for the first time since it was written.
    File { is_read: bool, whole: bool, written_at: Timestamp },
    /// What lies outside of all days that are kept: none of them is read whole by that.
    Outside { read_at: Timestamp },
}

impl Covered {
    pub(super) fn whole(self) -> bool {
        match self {
            Self::Day { whole, .. } | Self::File { whole, .. } => whole,
            Self::Outside { .. } => false,
        }
    }

    /// Whether all of the list was read; that of a file may prove nothing all the same.
    pub(super) fn is_read(self) -> bool {
        match self {
            Self::Day { whole, .. } => whole,
            Self::File { is_read, .. } => is_read,
            Self::Outside { .. } => false,
        }
    }

    /// A file says nothing of what happened after it was written.
    pub(super) fn read_at(self) -> Timestamp {
        match self {
            Self::Day { read_at, .. } | Self::Outside { read_at } => read_at,
            Self::File { written_at, .. } => written_at,
        }
    }

    /// The days that a line of the list can concern: the day, or those of the file. A file without any row that can be
    /// placed may be of any day that a device keeps.
    pub(super) fn asked(self, found: &BTreeMap<Date, u64>) -> (Date, Date) {
        match self {
            Self::Day { day, .. } => (day, day),
            Self::File { written_at: at, .. } | Self::Outside { read_at: at } => {
                let written = at.to_zoned(jiff::tz::TimeZone::UTC).date();
                let back = written.checked_sub(DAYS_KEPT.days()).unwrap_or(written);
                let edge = |edge: Option<(&Date, &u64)>, other| edge.map_or(other, |(day, _)| *day);
                (edge(found.first_key_value(), back), edge(found.last_key_value(), written))
            }
        }
    }

    /// Whether all of `day` was read. Of the first and the last day in a file nobody knows: an export may begin at noon.
    pub(super) fn all_of(self, day: Date, found: &BTreeMap<Date, u64>) -> bool {
        match self {
            Self::Day { day: read, whole, .. } => whole && day == read,
            Self::Outside { .. } => false,
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
    fn a_doubt_concerns_each_day_that_its_call_can_be_of() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (told, offset_s, days) in [
            ("2026-01-02T12:00:00Z", Some(3600), (2, 2)),
            ("2026-01-02T23:30:00Z", Some(3600), (2, 3)),
            ("2026-01-02T22:30:00Z", Some(3600), (2, 3)),
            ("2026-01-02T12:00:00Z", None, (1, 3)),
        ] {
            let (first, last) = local_days(at(told), offset_s).unwrap();
            assert_eq!((first.day(), last.day()), days, "{told} {offset_s:?}");
        }
    }

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
        let file = |whole| Covered::File { is_read: true, whole, written_at: Timestamp::UNIX_EPOCH };
        assert_eq!(days.map(|day| file(true).all_of(day, &found)), [false, true, false]);
        assert!(days.iter().all(|day| !file(false).all_of(*day, &found)));
    }
}
