//! The hours of a PBX's own week in which it may be asked: local, safe across changes of the clock.

use std::ops::Range;
use std::str::FromStr;

use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

const DAY_MIN: u16 = 24 * 60;
const WEEK_MIN: u16 = 7 * DAY_MIN;
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// Local days that are searched for the next change: a week, and another one for an opening that a clock skips.
const DAYS_AHEAD: i64 = 15;

/// When a PBX may be asked; always, unless the operator said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hours {
    /// Minutes of the week from Monday 00:00, in order, without overlaps; none means always.
    open: Vec<Range<u16>>,
}

/// One entry of the list, such as `18:00-07:30`, `Mon-Fri 19:00-06:00` or `Sat-Sun`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    minutes: Vec<Range<u16>>,
}

/// Why an entry is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnOpening {
    /// It cannot be read.
    #[error("does not name hours")]
    Unreadable,
    /// It ends when it begins.
    #[error("is never open, for it ends when it begins")]
    Empty,
}

/// Two entries that share some time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("overlaps another entry on {from} to {to}")]
pub struct Overlap {
    /// The place of the later entry in the list, from 0.
    pub entry: usize,
    /// The place of the earlier one.
    pub other: usize,
    from: String,
    to: String,
}

impl Hours {
    /// Hours that are open in each of `openings`; always, if there are none.
    ///
    /// # Errors
    /// [`Overlap`]: the operator meant something else than is written.
    pub fn new(openings: &[Opening]) -> Result<Self, Overlap> {
        let mut all: Vec<(&Range<u16>, usize)> = openings
            .iter()
            .enumerate()
            .flat_map(|(entry, opening)| opening.minutes.iter().map(move |range| (range, entry)))
            .collect();
        all.sort_by_key(|(range, entry)| (range.start, *entry));
        for pair in all.windows(2) {
            let ((earlier, one), (later, other)) = (pair[0], pair[1]);
            if later.start < earlier.end {
                let (from, to) = (told(later.start), told(earlier.end.min(later.end)));
                return Err(Overlap { entry: one.max(other), other: one.min(other), from, to });
            }
        }
        Ok(Self { open: all.into_iter().map(|(range, _)| range.clone()).collect() })
    }

    /// Whether no hour is closed.
    pub fn is_always_open(&self) -> bool {
        self.open.is_empty() || self.open.iter().map(|range| range.end - range.start).sum::<u16>() == WEEK_MIN
    }

    /// Whether the hours are open when the PBX's clock on the wall shows `local`.
    pub fn is_open(&self, local: DateTime) -> bool {
        let minute = minute_of_week(local);
        self.open.is_empty() || self.open.iter().any(|range| range.contains(&minute))
    }

    /// When the hours open next; `None` if they are open.
    pub fn next_opening(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.is_open(zone.to_datetime(now)) { None } else { self.next(true, now, zone) }
    }

    /// When the hours close next; `None` if they are closed, or never do.
    pub fn next_closing(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.is_open(zone.to_datetime(now)) { self.next(false, now, zone) } else { None }
    }

    /// The first instant after `now` from which the hours are open, or closed.
    ///
    /// That changes only where the local time reaches an entry's begin or end, or leaps over it.
    fn next(&self, open: bool, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let leaps = zone.following(now).map(|leap| leap.timestamp()).take(2);
        self.ends_around(now, zone)
            .into_iter()
            .chain(leaps)
            .filter(|at| *at > now && self.is_open(zone.to_datetime(*at)) == open)
            .min()
    }

    /// Every instant of the coming days at which an entry begins or ends.
    fn ends_around(&self, now: Timestamp, zone: &TimeZone) -> Vec<Timestamp> {
        let today = zone.to_datetime(now).date();
        let mut ends = Vec::new();
        for day in (-1..=DAYS_AHEAD).filter_map(|days| today.checked_add(days.days()).ok()) {
            let midnight = minute_of_week(day.to_datetime(jiff::civil::Time::midnight()));
            let minutes = self.open.iter().flat_map(|range| [range.start, range.end % WEEK_MIN]);
            for minute in minutes.filter(|minute| (midnight..midnight + DAY_MIN).contains(minute)) {
                let of_day = minute - midnight;
                let local = day.at((of_day / 60) as i8, (of_day % 60) as i8, 0, 0);
                // A clock that is put back shows a time twice.
                let twice = zone.to_ambiguous_timestamp(local);
                ends.extend([twice.earlier(), twice.later()].into_iter().flatten());
            }
        }
        ends
    }
}

impl FromStr for Opening {
    type Err = NotAnOpening;

    /// Reads `HH:MM-HH:MM`, `Mon-Fri HH:MM-HH:MM`, `Sat` or `Sat-Sun`. What ends no later than it begins ends on the next
    /// day.
    fn from_str(text: &str) -> Result<Self, NotAnOpening> {
        let text = text.trim();
        let (days, times) = match text.split_once(char::is_whitespace) {
            Some((days, times)) => (days, times.trim()),
            None if text.contains(':') => ("Mon-Sun", text),
            None => (text, "00:00-24:00"),
        };
        let (from, to) = times.split_once('-').ok_or(NotAnOpening::Unreadable)?;
        let from = minute_of_day(from).filter(|minute| *minute < DAY_MIN).ok_or(NotAnOpening::Unreadable)?;
        let to = minute_of_day(to).ok_or(NotAnOpening::Unreadable)?;
        if from == to {
            return Err(NotAnOpening::Empty);
        }
        let length = if to > from { to - from } else { to + DAY_MIN - from };
        let minutes = weekdays(days)?.into_iter().flat_map(|day| pieces(day * DAY_MIN + from, length));
        Ok(Self { minutes: minutes.collect() })
    }
}

/// The days from one to the other, both included, from Monday as 0; `Sat-Mon` goes over the end of the week.
fn weekdays(text: &str) -> Result<Vec<u16>, NotAnOpening> {
    let day = |text: &str| {
        let at = WEEKDAYS.iter().position(|day| day.eq_ignore_ascii_case(text.trim()));
        at.and_then(|at| u16::try_from(at).ok()).ok_or(NotAnOpening::Unreadable)
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(text)?, day(text)?),
    };
    let count = (last + 7 - first) % 7;
    Ok((0..=count).map(|days| (first + days) % 7).collect())
}

/// A stretch of the week; in two pieces if it goes over the end of Sunday.
fn pieces(from: u16, length: u16) -> Vec<Range<u16>> {
    match from + length {
        to if to > WEEK_MIN => vec![from..WEEK_MIN, 0..to - WEEK_MIN],
        to => std::iter::once(from..to).collect(),
    }
}

/// Reads `HH:MM`, up to 24:00.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let is_number =
        |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(hour) || !is_number(minute) || minute.len() != 2 {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (minute < 60 && hour * 60 + minute <= DAY_MIN).then_some(hour * 60 + minute)
}

fn minute_of_week(local: DateTime) -> u16 {
    let day = Weekday::to_monday_zero_offset(local.date().weekday());
    let number = |part: i8| u16::try_from(part).expect("parts of a time are not negative");
    number(day) * DAY_MIN + number(local.hour()) * 60 + number(local.minute())
}

fn told(minute: u16) -> String {
    let (day, of_day) = (minute / DAY_MIN % 7, minute % DAY_MIN);
    format!("{} {:02}:{:02}", WEEKDAYS[usize::from(day)], of_day / 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(entries: &[&str]) -> Hours {
        let openings: Vec<Opening> = entries.iter().map(|entry| entry.parse().unwrap()).collect();
        Hours::new(&openings).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn hours_are_open_from_their_begin_and_closed_from_their_end() {
        // 2024-03-04 is a Monday.
        let table: [(&[&str], &str, bool); 17] = [
            (&[], "2024-03-04T12:00", true),
            (&["18:00-07:30"], "2024-03-04T17:59:59", false),
            (&["18:00-07:30"], "2024-03-04T18:00", true),
            (&["18:00-07:30"], "2024-03-04T00:00", true),
            (&["18:00-07:30"], "2024-03-04T07:29:59", true),
            (&["18:00-07:30"], "2024-03-04T07:30", false),
            (&["18:00-07:30", "12:00-13:00"], "2024-03-04T12:30", true),
            (&["18:00-00:00"], "2024-03-04T23:59", true),
            (&["18:00-00:00"], "2024-03-04T00:00", false),
            (&["Mon-Fri 19:00-06:00"], "2024-03-04T05:00", false),
            (&["Mon-Fri 19:00-06:00"], "2024-03-09T05:00", true),
            (&["Mon-Fri 19:00-06:00"], "2024-03-09T19:00", false),
            (&["Sun 19:00-06:00"], "2024-03-04T05:59", true),
            (&["Sat-Sun"], "2024-03-10T23:59", true),
            (&["Sat-Sun"], "2024-03-04T00:00", false),
            (&["sat-mon 00:00-24:00"], "2024-03-04T12:00", true),
            (&["Wed"], "2024-03-06T00:00", true),
        ];
        for (entries, local, open) in table {
            assert_eq!(hours(entries).is_open(local.parse().unwrap()), open, "{entries:?} at {local}");
        }
    }

    #[test]
    fn what_names_no_hours_is_refused() {
        use NotAnOpening::{Empty, Unreadable};
        let table = [
            ("", Unreadable),
            ("18-19", Unreadable),
            ("18:00", Unreadable),
            ("24:00-25:00", Unreadable),
            ("18:60-19:00", Unreadable),
            ("18:0-19:00", Unreadable),
            ("+8:00-19:00", Unreadable),
            ("Mo 18:00-19:00", Unreadable),
            ("Mon-Fri-Sat", Unreadable),
            ("Mon 18:00-19:00 20:00-21:00", Unreadable),
            ("18:00-18:00", Empty),
            ("00:00-00:00", Empty),
        ];
        for (text, why) in table {
            assert_eq!(text.parse::<Opening>(), Err(why), "{text}");
        }
    }

    #[test]
    fn entries_that_overlap_are_named() {
        let table = [
            (&["18:00-07:30", "07:00-08:00"][..], Some("Mon 07:00 to Mon 07:30")),
            (&["Mon-Fri 19:00-06:00", "Sat-Sun"], Some("Sat 00:00 to Sat 06:00")),
            (&["Sun 20:00-02:00", "Mon 01:00-03:00"], Some("Mon 01:00 to Mon 02:00")),
            (&["12:00-13:00", "12:00-13:00"], Some("Mon 12:00 to Mon 13:00")),
            (&["Mon-Thu 19:00-06:00", "Fri 19:00-24:00", "Sat-Sun"], None),
            (&["18:00-24:00", "00:00-07:30"], None),
        ];
        for (entries, expected) in table {
            let openings: Vec<Opening> = entries.iter().map(|entry| entry.parse().unwrap()).collect();
            let overlap = Hours::new(&openings).err().map(|overlap| overlap.to_string());
            let expected = expected.map(|when| format!("overlaps another entry on {when}"));
            assert_eq!(overlap, expected, "{entries:?}");
        }
    }

    #[test]
    fn the_next_change_is_found_across_days_weeks_and_changes_of_the_clock() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        // (entries, now, the next opening, the next closing)
        let table: [(&[&str], &str, Option<&str>, Option<&str>); 9] = [
            (&["18:00-07:30"], "2024-03-04T10:00:00Z", Some("2024-03-04T17:00:00Z"), None),
            (&["18:00-07:30"], "2024-03-04T20:00:00Z", None, Some("2024-03-05T06:30:00Z")),
            (&["Sat-Sun"], "2024-03-04T10:00:00Z", Some("2024-03-08T23:00:00Z"), None),
            (
                &["Sun 22:00-24:00", "Mon 00:00-02:00"],
                "2024-03-10T21:30:00Z",
                None,
                Some("2024-03-11T01:00:00Z"),
            ),
            // On 2024-03-31 the clock leaps from 02:00 to 03:00: what was to open at 02:30 opens at once.
            (&["02:30-04:00"], "2024-03-31T00:30:00Z", Some("2024-03-31T01:00:00Z"), None),
            // What lies within the leap opens a week later.
            (&["Sun 02:10-02:20"], "2024-03-31T00:30:00Z", Some("2024-04-07T00:10:00Z"), None),
            // On 2024-10-27 it goes back from 03:00 to 02:00, and 02:00 to 03:00 comes twice.
            (&["02:00-02:30"], "2024-10-27T00:10:00Z", None, Some("2024-10-27T00:30:00Z")),
            (&["02:00-02:30"], "2024-10-27T00:40:00Z", Some("2024-10-27T01:00:00Z"), None),
            (&["Mon-Sun"], "2024-03-04T10:00:00Z", None, None),
        ];
        for (entries, now, opening, closing) in table {
            let hours = hours(entries);
            assert_eq!(hours.next_opening(at(now), &berlin), opening.map(at), "{entries:?} from {now}");
            assert_eq!(hours.next_closing(at(now), &berlin), closing.map(at), "{entries:?} from {now}");
        }
        assert!(hours(&[]).is_always_open() && hours(&["Mon-Sun"]).is_always_open());
        assert!(!hours(&["Mon-Sat"]).is_always_open());
    }
}
