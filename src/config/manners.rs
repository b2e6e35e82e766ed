//! How long a PBX is waited for, how gently it is asked, and what it is believed to keep: three groups of keys of a `[[pbx]]`
//! section.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::section::{Section, Wrong, settings, wrong};
use super::value;
use crate::base::hours::{Hours, NotAnOpening, Opening};

/// The durations that a key takes, up to a day.
const SECONDS: RangeInclusive<f64> = 0.001..=86_400.0;
const COUNT_MAX: u64 = 1_000_000_000;

settings! {
    /// Every wait and bound towards one PBX.
    #[derive(Debug, Clone)]
    pub struct PbxLimits from section("pbx") {
        /// Longest wait for the connection, TLS included.
        pub connect_timeout: Duration = section.seconds("connect_timeout_s", 10.0, SECONDS),
        /// Longest wait for a reply to begin, and for a JSON reply to end.
        pub reply_timeout: Duration = section.seconds("reply_timeout_s", 30.0, SECONDS),
        /// Longest wait for a CDR reply to begin: the PBX searches its database first.
        pub cdr_timeout: Duration = section.seconds("cdr_timeout_s", 120.0, SECONDS),
        pub idle_timeout: Duration = section.seconds("idle_timeout_s", 20.0, SECONDS),
        /// The slowest transfer tolerated, averaged from its start.
        pub throughput_bytes_s_min: u64 = section.count("throughput_bytes_s_min", 1024, 0..=COUNT_MAX),
        /// A ticket older than this is not spent: it dies after 30 s (`docs/pbx-api.md` §5).
        pub ticket_age_max: Duration = section.seconds("ticket_age_max_s", 25.0, 0.001..=30.0),
        /// How long nothing is asked of a PBX that locked us out.
        pub lockout_wait: Duration = section.seconds("lockout_wait_s", 600.0, SECONDS),
        /// How long a command waits for a PBX that is down before it gives up.
        pub outage_patience: Duration = section.seconds("outage_patience_s", 30.0, 0.0..=86_400.0),
        /// The longest wait before the service tries a PBX again that is down.
        pub outage_retry_max: Duration = section.seconds("outage_retry_s_max", 300.0, SECONDS),
        pub recording_bytes_max: u64 = section.size("recording_bytes_max", 2 << 30, 1024),
        /// The largest CDR reply accepted, per reading.
        pub cdr_bytes_max: u64 = section.size("cdr_bytes_max", 256 << 20, 1024),
        /// The most rows that it may add to the database in 24 hours.
        pub intake_rows_per_day_max: u64 = section.count("intake_rows_per_day_max", 1_000_000, 1..=COUNT_MAX),
        /// The most bytes of rows that it may add to the database in 24 hours.
        pub intake_bytes_per_day_max: u64 = section.size("intake_bytes_per_day_max", 2 << 30, 1024),
    }
}

settings! {
    /// Bounds on what is asked of a PBX, besides its `concurrency`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Manners from section("pbx") {
        /// Most requests in any minute; at least 2: a ticket and its download, which belong together.
        pub requests_per_min_max: Option<NonZeroU32> = bound(section, "requests_per_min_max", 2, 60_000),
        /// Most bytes of downloads a second, over all connections. Less would take longer for a recording than anybody waits.
        pub bytes_s_max: Option<NonZeroU32> = bound(section, "bytes_s_max", 1024, u32::MAX),
        /// When the service may ask, by the PBX's own clock. A command that somebody gives is not bound by it.
        pub hours: Hours = hours(section),
    }
}

settings! {
    /// What a PBX keeps before it overwrites the oldest, as far as the operator knows. The defaults are what a device keeps
    /// unless its operator changed that (`docs/pbx-api.md` §10).
    #[derive(Debug, Clone, PartialEq)]
    pub struct RetentionHints from section("pbx") {
        pub cdr_rows: u64 = section.count("cdr_rows", 100_000, 1..=COUNT_MAX),
        /// Days for which a recording is kept.
        pub recording_days: f64 = section.fraction("recording_days", 180.0, 0.01..=36_500.0, "days"),
        /// How long before something is overwritten it counts as at risk.
        pub warn_margin: Duration = section.hours("warn_margin_h", 72.0, 0.0..=8760.0),
    }
}

/// A bound that does not exist without its key.
fn bound(section: &Section<'_>, key: &'static str, least: u32, most: u32) -> Option<NonZeroU32> {
    section.read(key, |value| value::whole(value, &(least.into()..=most.into()))).and_then(NonZeroU32::new)
}

fn hours(section: &Section<'_>) -> Hours {
    let openings = section.each("hours", opening);
    Hours::new(&openings).unwrap_or_else(|overlap| {
        let entries = section.texts("hours");
        if openings.len() == entries.len() {
            let ((_, part), (other, _)) = (entries[overlap.entry], entries[overlap.other]);
            let remedy = format!("let one of it and \"{other}\" end where the other begins");
            section.reject_part("hours", part, wrong(overlap.to_string(), remedy));
        }
        Hours::default()
    })
}

fn opening(text: &str) -> Result<Opening, Wrong> {
    text.parse().map_err(|why: NotAnOpening| {
        let remedy = match why {
            NotAnOpening::Unreadable => {
                "write such as \"18:00-07:30\", \"Mon-Fri 19:00-06:00\" or \"Sat-Sun\""
            }
            NotAnOpening::Empty => "write 00:00-24:00 for the whole day, or remove it",
        };
        wrong(why.to_string(), remedy)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, Origin};

    fn said(pbx: &str) -> String {
        let text = format!(
            "[archive]\npath = '/srv/archive'\n[state]\npath = '/srv/state'\n\
             [[pbx]]\nid = 'hq'\nurl = 'https://pbx.example'\nusername = 'api'\npassword = 's3cret'\n{pbx}\n"
        );
        let origin = Origin { file: Path::new("callvault.toml"), mode: 0o600, credentials_directory: None };
        Config::parse(&text, &origin).map_or_else(|error| error.to_string(), |_| "fine".to_owned())
    }

    #[test]
    fn manners_that_cannot_be_meant_are_refused_with_the_remedy() {
        let table = [
            ("hours = ['18:00-07:30', '12:00-13:00']", "fine"),
            ("hours = 'Sat-Sun'", "fine"),
            ("hours = []", "remove the line"),
            ("hours = [7]", "must be text"),
            ("hours = '6pm-7am'", "does not name hours; write such as \"18:00-07:30\""),
            ("hours = '08:00-08:00'", "is never open, for it ends when it begins; write 00:00-24:00"),
            (
                "hours = ['Mon-Fri 19:00-06:00', 'Sat-Sun']",
                "overlaps another entry on Sat 00:00 to Sat 06:00; let one of it and \"Mon-Fri 19:00-06:00\" end where",
            ),
            ("requests_per_min_max = 1", "must be 2 to 60000"),
            ("requests_per_min_max = 30", "fine"),
            ("bytes_s_max = 100", "must be 1024 to"),
            ("bytes_s_max = 250_000\nrecording_days = 30.5\ncdr_rows = 20000\nwarn_margin_h = 12", "fine"),
            ("recording_days = 0", "must be 0.01 to 36500 days"),
        ];
        for (pbx, expected) in table {
            let said = said(pbx);
            assert!(said.contains(expected), "{pbx}: {said}");
        }
    }
}
