//! A day in parts, for a PBX that cannot answer for all of it at once.

use std::collections::VecDeque;

use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime};

use crate::pbx::PbxError;

/// Hours of the neighbouring days that are asked for with a day.
const EDGE_H: i64 = 1;
/// A range is not halved below this many seconds.
const PART_S_MIN: i64 = 60;
/// Parts of a day in a row that are not answered at all, each half as long as the one before, until none shorter is tried.
const UNANSWERED_MAX: u32 = 5;
/// Parts of a day that may fail before the rest of it is left for the next sweep.
const FAILED_MAX: u32 = 24;

/// A range of a day, both ends included, in the PBX's local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) from: DateTime,
    pub(super) to: DateTime,
}

impl Part {
    /// The whole of a day and the first hour after it: a PBX that takes an edge for another time loses no call by it. The
    /// hour before it was asked for with the day before, if that is read too; else [with this one](Self::with_hour_before).
    pub(super) fn of(day: Date) -> Self {
        let end = day.at(23, 59, 59, 0);
        Self { from: day.at(0, 0, 0, 0), to: end.checked_add(EDGE_H.hours()).unwrap_or(end) }
    }

    /// The same with the hour before it.
    pub(super) fn with_hour_before(self) -> Self {
        Self { from: self.from.checked_sub(EDGE_H.hours()).unwrap_or(self.from), ..self }
    }

    /// The hours around the beginning of a day.
    pub(super) fn around_beginning_of(day: Date) -> Self {
        Self { from: day.at(0, 0, 0, 0), to: day.at(0, 59, 59, 0) }.with_hour_before()
    }

    /// Its first minute: the smallest thing that can be asked for.
    pub(super) fn first_minute_of(day: Date) -> Self {
        Self { from: day.at(0, 0, 0, 0), to: day.at(0, 0, 59, 0) }
    }

    /// Whether a shorter part may be answered where this one was not.
    pub(super) fn is_too_much(self, error: &PbxError) -> bool {
        error.is_too_much_at_once() && self.halves().is_some()
    }

    /// Parts with about as many calls each, where they began at `starts`; `None` if it cannot be divided further. A second
    /// with so many calls that it may fill a list alone is a part of its own: more may have begun before and after.
    ///
    /// A list that was cut has its calls at one end: halves of its time would hold all and none of them.
    pub(super) fn split_at(self, starts: &[DateTime]) -> Option<Vec<Self>> {
        let mut starts: Vec<DateTime> = starts.to_vec();
        starts.sort_unstable();
        let middle = *starts.get(starts.len() / 2)?;
        let before = middle.checked_sub(1.second()).ok().map(|to| Self { to, ..self });
        let is_alone = starts.last() == Some(&middle);
        let rest = match middle.checked_add(1.second()) {
            Ok(after) if is_alone => vec![Self { from: middle, to: middle }, Self { from: after, ..self }],
            _ => vec![Self { from: middle, ..self }],
        };
        let within = |part: &Self| part.from <= part.to && self.from <= part.from && part.to <= self.to;
        let parts: Vec<Self> = before.into_iter().chain(rest).filter(within).collect();
        (parts.len() > 1).then_some(parts)
    }

    /// Both halves; `None` if it is too short to halve.
    pub(super) fn halves(self) -> Option<[Self; 2]> {
        let seconds = self.from.duration_until(self.to).as_secs();
        if seconds < 2 * PART_S_MIN {
            return None;
        }
        let end = self.from.checked_add((seconds / 2).seconds()).ok()?;
        let begin = end.checked_add(1.second()).ok()?;
        Some([Self { from: self.from, to: end }, Self { from: begin, to: self.to }])
    }
}

/// The parts of a day that are still to be read.
///
/// A part that fails is halved, down to a minute, so that one call which the PBX cannot tell hides a minute and not a day.
/// A day of which no part is answered is left after a few: when one is lost, the part farthest from it is asked for next,
/// and if that fails too, the day is left for the next sweep.
#[derive(Debug)]
pub(super) struct Parts {
    ahead: VecDeque<Part>,
    failed: u32,
    /// In a row.
    unanswered: u32,
    /// Whether a part was lost and none was read since.
    is_suspect: bool,
    /// Why a part could not be read.
    pub(super) lost: Option<PbxError>,
}

impl Parts {
    /// The parts of a day that failed when it was asked for as a whole: its halves, if that was too much at once.
    pub(super) fn after(asked: Part, error: PbxError) -> Self {
        let mut parts = Self::of(asked);
        if asked.is_too_much(&error) {
            parts.ahead.clear();
            parts.note_unread(asked, error);
        }
        parts
    }

    fn of(asked: Part) -> Self {
        let ahead = VecDeque::from([asked]);
        Self { ahead, failed: 0, unanswered: 0, is_suspect: false, lost: None }
    }

    pub(super) fn next(&mut self) -> Option<Part> {
        self.ahead.pop_front()
    }

    pub(super) fn note_read(&mut self) {
        (self.unanswered, self.is_suspect) = (0, false);
    }

    /// Notes that `part` could not be read.
    pub(super) fn note_unread(&mut self, part: Part, error: PbxError) {
        self.failed += 1;
        self.unanswered = if error.is_unanswered() { self.unanswered + 1 } else { 0 };
        let halves = part.halves().filter(|_| error.is_too_much_at_once());
        let is_hopeless = self.is_suspect || self.failed >= FAILED_MAX;
        match halves {
            Some([first, second]) if !is_hopeless && self.unanswered < UNANSWERED_MAX => {
                self.ahead.push_front(second);
                self.ahead.push_front(first);
                return;
            }
            _ if is_hopeless => self.ahead.clear(),
            _ => {
                self.ahead.rotate_right(self.ahead.len().min(1));
                self.is_suspect = true;
            }
        }
        self.lost = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::pbx::{Policy, Reason};

    /// Asks for the parts of a day; how many requests were made, how many failed, and whether the day was read whole.
    fn read(answers: impl Fn(Part) -> bool, reason: Reason) -> (u32, u32, bool) {
        let mut parts = Parts::of(Part::of(date(2024, 3, 1)));
        let (mut asked, mut failed) = (0, 0);
        while let Some(part) = parts.next() {
            asked += 1;
            if answers(part) {
                parts.note_read();
            } else {
                failed += 1;
                parts.note_unread(part, PbxError::new("hq", Policy::Retry, reason, ""));
            }
        }
        (asked, failed, parts.lost.is_none())
    }

    fn length_s(part: Part) -> i64 {
        part.from.duration_until(part.to).as_secs() + 1
    }

    fn holds(part: Part, hour: i8, minute: i8) -> bool {
        let bad = date(2024, 3, 1).at(hour, minute, 30, 0);
        part.from <= bad && bad <= part.to
    }

    #[test]
    fn a_day_that_was_too_much_as_a_whole_is_asked_for_in_halves() {
        let error = |reason| PbxError::new("hq", Policy::Retry, reason, "");
        let day = date(2024, 3, 1);
        let halves = Part::of(day).halves().unwrap();
        assert_eq!(Parts::after(Part::of(day), error(Reason::Timeout)).ahead, halves);
        assert_eq!(Parts::after(Part::of(day), error(Reason::Redirect)).ahead, [Part::of(day)]);
    }

    #[test]
    fn a_day_that_is_never_answered_costs_a_few_requests() {
        assert_eq!(read(|_| false, Reason::Timeout), (6, 6, false));
        assert_eq!(read(|_| false, Reason::Http(504)), (12, 12, false));
        assert_eq!(read(|_| false, Reason::Redirect), (1, 1, false));
    }

    #[test]
    fn a_day_that_is_too_much_is_read_in_parts() {
        for hours in [12, 6, 3, 2] {
            let (_, failed, whole) = read(|part| length_s(part) <= hours * 3600, Reason::Timeout);
            assert!(whole && failed < 16, "{hours} h: {failed}");
        }
    }

    #[test]
    fn a_minute_that_the_pbx_cannot_tell_hides_no_more_than_a_few_minutes() {
        for (hour, minute) in [(0, 0), (9, 30), (23, 59)] {
            let (asked, failed, whole) = read(|part| !holds(part, hour, minute), Reason::Http(504));
            assert!(!whole && asked <= 22 && failed == 11, "{hour}:{minute}: {asked} {failed}");
        }
    }

    #[test]
    fn a_list_is_split_where_its_calls_are() {
        let day = date(2024, 3, 1);
        let (at, end) = (|minute: i8| day.at(9, minute, 0, 0), day.tomorrow().unwrap().at(0, 59, 59, 0));
        let split = |part: Part, starts: &[DateTime]| {
            let parts = part.split_at(starts).unwrap_or_default();
            parts.iter().map(|part| (part.from, part.to)).collect::<Vec<_>>()
        };
        let halves = [(day.at(0, 0, 0, 0), day.at(9, 2, 59, 0)), (at(3), end)];
        assert_eq!(split(Part::of(day), &[at(4), at(1), at(3), at(2)]), halves);
        // So many in one second that they may be all that a list holds.
        let alone = [(day.at(0, 0, 0, 0), day.at(9, 0, 59, 0)), (at(1), at(1)), (day.at(9, 1, 1, 0), end)];
        assert_eq!(split(Part::of(day), &[at(1), at(1), at(1)]), alone);
        assert_eq!(split(Part { from: at(1), to: at(5) }, &[at(1), at(1)]), [alone[1], (alone[2].0, at(5))]);
        assert_eq!(split(Part { from: at(1), to: at(1) }, &[at(1), at(1)]), []);
        assert_eq!(split(Part::of(day), &[]), []);
    }

    #[test]
    fn a_day_is_halved_without_a_gap_and_not_for_ever() {
        let [first, second] = Part::of(date(2024, 3, 1)).halves().unwrap();
        assert_eq!(first.to.to_string(), "2024-03-01T12:29:59");
        assert_eq!(second.from.to_string(), "2024-03-01T12:30:00");
        let part = |to| Part { from: date(2024, 3, 1).at(0, 0, 0, 0), to };
        assert!(part(date(2024, 3, 1).at(0, 1, 59, 0)).halves().is_none());
        let [first, second] = part(date(2024, 3, 1).at(0, 2, 0, 0)).halves().unwrap();
        assert_eq!(
            (first.to.to_string(), second.from.to_string()),
            ("2024-03-01T00:01:00".into(), "2024-03-01T00:01:01".into())
        );
    }
}
