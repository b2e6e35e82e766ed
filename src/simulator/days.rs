//! When the planned calls are made: which day, and at what time of it.

use std::ops::Range;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::profile::SimulatorOptions;

/// Business hours: from 08:00, ten hours long.
const BUSINESS_S: u64 = 36_000;
/// Night calls: from 01:00, three hours long, so that a change of the clock falls among them.
const NIGHT_S: u64 = 10_800;
/// One in so many calls is at night.
const NIGHT_SHARE: u64 = 32;

/// The days with calls, and how wrong the clock was that stamps them.
#[derive(Debug)]
pub(super) struct Days {
    days: Vec<Day>,
    is_round_the_clock: bool,
    /// How far the device's clock was ahead from each moment on, in the order of the moments.
    clock_errors: Vec<(Timestamp, SignedDuration)>,
}

/// One day, with its times as epochs.
#[derive(Debug)]
struct Day {
    date: Date,
    midnight: i64,
    night: i64,
    morning: i64,
    /// Not always 24 hours.
    length_s: u64,
    /// The recordings of its calls.
    indexes: Range<u64>,
}

impl Days {
    /// The days that end with `today`.
    pub(super) fn new(options: &SimulatorOptions, zone: &TimeZone, today: Date) -> Result<Self, jiff::Error> {
        let count = u64::from(options.days.max(1));
        let days = (0..count).map(|day| {
            let date = today.checked_sub(i64::try_from(count - 1 - day).unwrap_or(i64::MAX).days())?;
            let indexes = options.recordings * day / count..options.recordings * (day + 1) / count;
            Day::new(date, zone, indexes)
        });
        Ok(Self {
            days: days.collect::<Result<_, jiff::Error>>()?,
            is_round_the_clock: options.round_the_clock,
            clock_errors: Vec::new(),
        })
    }

    /// Notes how far the clock is ahead from a moment on that is later than all before it.
    pub(super) fn set_clock_error(&mut self, from: Timestamp, error: SignedDuration) {
        self.clock_errors.push((from, error));
    }

    /// The dates, and the indexes of their recordings.
    pub(super) fn dates(&self) -> impl Iterator<Item = (Date, Range<u64>)> + '_ {
        self.days.iter().map(|day| (day.date, day.indexes.clone()))
    }

    /// Whether two recordings are of one day.
    pub(super) fn are_together(&self, index: u64, other: u64) -> bool {
        self.of(index).indexes.contains(&other)
    }

    /// When the call around recording `index` starts by the device's clock; `drawn` places it in its slot.
    pub(super) fn start(&self, index: u64, drawn: u64) -> Timestamp {
        let day = self.of(index);
        let start = day.start(index, drawn, self.is_round_the_clock);
        let set = self.clock_errors.partition_point(|(from, _)| *from <= start);
        let error = set.checked_sub(1).map_or(SignedDuration::ZERO, |at| self.clock_errors[at].1);
        let shown = start.saturating_add(error).unwrap_or(start);
        Timestamp::from_second(shown.as_second()).unwrap_or(start)
    }

    fn of(&self, index: u64) -> &Day {
        let at = self.days.partition_point(|day| day.indexes.end <= index);
        &self.days[at.min(self.days.len() - 1)]
    }
}

impl Day {
    fn new(date: Date, zone: &TimeZone, indexes: Range<u64>) -> Result<Self, jiff::Error> {
        let epoch = |time: DateTime| {
            zone.to_ambiguous_zoned(time).compatible().map(|time| time.timestamp().as_second())
        };
        let midnight = epoch(date.at(0, 0, 0, 0))?;
        let next = epoch(date.tomorrow()?.at(0, 0, 0, 0))?;
        Ok(Self {
            date,
            midnight,
            night: epoch(date.at(1, 0, 0, 0))?,
            morning: epoch(date.at(8, 0, 0, 0))?,
            length_s: next.abs_diff(midnight),
            indexes,
        })
    }

    /// When a call starts: each has a slot of its own.
    fn start(&self, index: u64, drawn: u64, is_round_the_clock: bool) -> Timestamp {
        let count = self.indexes.end - self.indexes.start;
        let at = index - self.indexes.start;
        let nightly = count / NIGHT_SHARE;
        let (from, at, count, length_s) = if is_round_the_clock {
            (self.midnight, at, count, self.length_s)
        } else if at < nightly {
            (self.night, at, nightly, NIGHT_S)
        } else {
            (self.morning, at - nightly, count - nightly, BUSINESS_S)
        };
        let slot_s = (length_s / count.max(1)).max(1);
        let second = at * length_s / count.max(1) + drawn % slot_s;
        let epoch = from + i64::try_from(second).expect("a day has fewer seconds");
        Timestamp::from_second(epoch).expect("days lie within the range of timestamps")
    }
}
