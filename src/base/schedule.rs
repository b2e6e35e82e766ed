//! When something runs: a cron line in a time zone.
//!
//! Cron is computed on the wall's own time and turned into an instant here, for the scheduler's library counts in a fixed
//! offset and is an hour off after each change of the clocks. A line whose hour is fixed runs once on either day of a
//! change; one for every hour runs in each hour that there is.

use chrono::{DateTime as ChronoTime, NaiveDateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// A cron line that is known to fire, in its zone.
#[derive(Debug, Clone)]
pub struct CronLine {
    text: String,
    cron: Cron,
    zone: TimeZone,
    /// Whether its hour field is no list of hours: then it runs in both passes of a repeated hour.
    every_hour: bool,
}

/// Why a cron line is refused. The text says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCronLine {
    #[error("has {0} fields")]
    Fields(usize),
    /// A field that means nothing.
    #[error("is no cron line: {0}")]
    Field(String),
    /// A date that does not exist, such as 30 February.
    #[error("never fires")]
    NeverFires,
}

impl CronLine {
    /// Reads a line of five fields, or of six with seconds first, in `zone`.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, BadCronLine> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let seconds = match fields.len() {
            5 => "0 ",
            6 => "",
            other => return Err(BadCronLine::Fields(other)),
        };
        let hour = fields[fields.len() - 4];
        let line = format!("{seconds}{}", fields.join(" "));
        let cron = CronParser::builder()
            .seconds(Seconds::Required)
            .build()
            .parse(&line)
            .map_err(|error| BadCronLine::Field(error.to_string()))?;
        let line = Self { text: text.to_owned(), cron, zone, every_hour: hour.starts_with('*') };
        let first = line.next_civil(jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0), true);
        first.map(|_| line).ok_or(BadCronLine::NeverFires)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it fires in every minute of every day.
    pub fn is_every_minute(&self) -> bool {
        let fields: Vec<&str> = self.text.split_whitespace().collect();
        fields[fields.len() - 5..].iter().all(|field| *field == "*")
    }

    /// The first instant after `now` at which it fires.
    pub fn next_after(&self, now: Timestamp) -> Timestamp {
        let mut from = now;
        let mut inclusive = false;
        loop {
            let offset = self.zone.to_offset(from);
            let change = self.zone.following(from).next();
            let candidate = self
                .next_civil(offset.to_datetime(from), inclusive)
                .and_then(|civil| offset.to_timestamp(civil).ok());
            let Some(change) = change.filter(|change| candidate.is_none_or(|at| at >= change.timestamp()))
            else {
                return candidate.unwrap_or(Timestamp::MAX);
            };
            // A time that the clocks skip is made up for at once when they do.
            let repeated = offset.seconds() - change.offset().seconds();
            let skipped = SignedDuration::from_secs(-i64::from(repeated));
            if candidate.is_some_and(|at| at.duration_since(change.timestamp()) < skipped) {
                return change.timestamp();
            }
            // After the change the clocks show another time: look again from there.
            let skip = if repeated > 0 && !self.every_hour { i64::from(repeated) } else { 0 };
            (from, inclusive) =
                (change.timestamp().saturating_add(skip.seconds()).unwrap_or(Timestamp::MAX), true);
        }
    }

    /// The next time on the wall at which it fires, the wall's time taken for one without changes.
    fn next_civil(&self, after: DateTime, inclusive: bool) -> Option<DateTime> {
        let after = to_chrono(after)?;
        from_chrono(self.cron.find_next_occurrence(&after, inclusive).ok()?)
    }
}

impl PartialEq for CronLine {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

/// The cron library counts in chrono's types; nothing else here does.
fn to_chrono(at: DateTime) -> Option<ChronoTime<Utc>> {
    let text = at.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    text.parse().ok().map(|at: NaiveDateTime| at.and_utc())
}

fn from_chrono(at: ChronoTime<Utc>) -> Option<DateTime> {
    at.naive_utc().to_string().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin(text: &str) -> CronLine {
        CronLine::parse(text, TimeZone::get("Europe/Berlin").unwrap()).unwrap()
    }

    fn fires(line: &CronLine, from: &str, count: usize) -> Vec<String> {
        let mut now: Timestamp = from.parse().unwrap();
        (0..count)
            .map(|_| {
                now = line.next_after(now);
                now.to_string()
            })
            .collect()
    }

    #[test]
    fn five_fields_or_six_and_nothing_that_never_fires() {
        let parse = |text| CronLine::parse(text, TimeZone::UTC).map(drop);
        assert_eq!(parse("*/5 * * * *"), Ok(()));
        assert_eq!(parse("*/20 * * * * *"), Ok(()));
        assert_eq!(parse("* * * *"), Err(BadCronLine::Fields(4)));
        assert_eq!(parse("0 0 30 2 *"), Err(BadCronLine::NeverFires));
        assert!(matches!(parse("61 * * * *"), Err(BadCronLine::Field(_))));
        assert!(matches!(parse("every day at noon please"), Err(BadCronLine::Field(_))));
    }

    #[test]
    fn a_nightly_line_runs_once_on_the_day_on_which_its_hour_is_skipped() {
        let line = berlin("30 2 * * *");
        insta::assert_debug_snapshot!(fires(&line, "2026-03-27T12:00:00Z", 3), @r#"
        [
            "2026-03-28T01:30:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-30T00:30:00Z",
        ]
        "#);
    }

    #[test]
    fn a_nightly_line_runs_once_on_the_day_on_which_its_hour_comes_twice() {
        let line = berlin("30 2 * * *");
        insta::assert_debug_snapshot!(fires(&line, "2026-10-24T12:00:00Z", 2), @r#"
        [
            "2026-10-25T00:30:00Z",
            "2026-10-26T01:30:00Z",
        ]
        "#);
    }

    #[test]
    fn a_frequent_line_never_pauses_over_a_change() {
        let line = berlin("*/20 * * * *");
        for from in ["2026-10-24T23:00:00Z", "2026-03-29T00:00:00Z"] {
            let mut now: Timestamp = from.parse().unwrap();
            for _ in 0..20 {
                let next = line.next_after(now);
                assert_eq!(next.duration_since(now), SignedDuration::from_mins(20), "after {now}");
                now = next;
            }
        }
    }
}
