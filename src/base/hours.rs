//! The hours of a PBX's own week in which it may be asked: local, safe across changes of the clock.

#[cfg(test)]
mod tests;

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
    #[error("does not name hours")]
    Unreadable,
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
                let (from, to) = (in_words(later.start), in_words(earlier.end.min(later.end)));
                return Err(Overlap { entry: one.max(other), other: one.min(other), from, to });
            }
        }
        Ok(Self { open: all.into_iter().map(|(range, _)| range.clone()).collect() })
    }

    /// Whether the hours are open when the PBX's clock on the wall shows `local`.
    pub fn is_open(&self, local: DateTime) -> bool {
        let minute = minute_of_week(local);
        self.open.is_empty() || self.open.iter().any(|range| range.contains(&minute))
    }

    /// When the hours open next; `None` if they are open.
    pub fn next_opening(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.is_open(zone.to_datetime(now)) { None } else { self.next_change(now, zone) }
    }

    /// The first instant after `now` from which the hours are open if they are closed now, and closed if they are open.
    ///
    /// That changes only where the local time reaches an entry's begin or end, or leaps over it.
    fn next_change(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let is_open = |at: Timestamp| self.is_open(zone.to_datetime(at));
        let leaps = zone.following(now).map(|leap| leap.timestamp()).take(2);
        let ends = self.ends_around(now, zone).into_iter().chain(leaps);
        ends.filter(|at| *at > now && is_open(*at) != is_open(now)).min()
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
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (day(first)?, day(last)?);
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

fn in_words(minute: u16) -> String {
    let (day, of_day) = (minute / DAY_MIN % 7, minute % DAY_MIN);
    format!("{} {:02}:{:02}", WEEKDAYS[usize::from(day)], of_day / 60, of_day % 60)
}
