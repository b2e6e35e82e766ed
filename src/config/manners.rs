//! How gently a PBX is asked, and what it is believed to keep: two groups of keys of a `[[pbx]]` section.

use std::num::NonZeroU32;
use std::time::Duration;

use super::section::{Section, wrong};
use super::value;
use crate::base::hours::{Hours, NotAnOpening, Opening};

/// Bounds on what is asked of a PBX, besides its `concurrency`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manners {
    /// Most requests in any minute; at least 2.
    pub requests_per_min_max: Option<NonZeroU32>,
    /// Most bytes of downloads a second, over all connections.
    pub bytes_s_max: Option<NonZeroU32>,
    /// When the service may ask, by the PBX's own clock. A command that somebody gives is not bound by it.
    pub hours: Hours,
}

/// What a PBX keeps before it overwrites the oldest, as far as the operator knows.
#[derive(Debug, Clone, PartialEq)]
pub struct RetentionHints {
    pub cdr_rows: u64,
    /// Days for which a recording is kept.
    pub recording_days: f64,
    /// How long before something is overwritten it counts as at risk.
    pub warn_margin: Duration,
}

impl Default for RetentionHints {
    /// What a device keeps unless its operator changed that (`docs/pbx-api.md` §10).
    fn default() -> Self {
        Self { cdr_rows: 100_000, recording_days: 180.0, warn_margin: Duration::from_secs(72 * 3600) }
    }
}

/// Reads the keys that bound what is asked.
pub(super) fn manners(section: &Section<'_>) -> Manners {
    Manners {
        // A ticket and its download are two requests, which belong together.
        requests_per_min_max: bound(section, "requests_per_min_max", 2, 60_000),
        // Less would take longer for a recording than anybody waits.
        bytes_s_max: bound(section, "bytes_s_max", 1024, u64::from(u32::MAX)),
        hours: hours(section),
    }
}

/// Reads the keys that say what the device keeps.
pub(super) fn retention(section: &Section<'_>) -> RetentionHints {
    let default = RetentionHints::default();
    let default_h = default.warn_margin.as_secs_f64() / 3600.0;
    let warn_margin_h = section.fraction("warn_margin_h", default_h, 0.0..=8760.0, "hours");
    RetentionHints {
        cdr_rows: section.count("cdr_rows", default.cdr_rows, 1..=1_000_000_000),
        recording_days: section.fraction("recording_days", default.recording_days, 0.01..=36_500.0, "days"),
        warn_margin: Duration::from_secs_f64(warn_margin_h * 3600.0),
    }
}

/// A bound that does not exist without its key.
fn bound(section: &Section<'_>, key: &'static str, least: u64, most: u64) -> Option<NonZeroU32> {
    let bound = section.read(key, |value| value::whole(value, &(least..=most)))?;
    u32::try_from(bound).ok().and_then(NonZeroU32::new)
}

fn hours(section: &Section<'_>) -> Hours {
    const EXAMPLE: &str = "write such as \"18:00-07:30\", \"Mon-Fri 19:00-06:00\" or \"Sat-Sun\"";
    let entries = section.texts("hours");
    let mut openings: Vec<Opening> = Vec::new();
    for (text, part) in &entries {
        match text.parse() {
            Ok(opening) => openings.push(opening),
            Err(why @ NotAnOpening::Unreadable) => {
                section.reject_part("hours", part, wrong(why.to_string(), EXAMPLE))
            }
            Err(why @ NotAnOpening::Empty) => {
                let remedy = "write 00:00-24:00 for the whole day, or remove it";
                section.reject_part("hours", part, wrong(why.to_string(), remedy));
            }
        }
    }
    if openings.len() < entries.len() {
        return Hours::default();
    }
    Hours::new(&openings).unwrap_or_else(|overlap| {
        let (_, part) = entries[overlap.entry];
        let remedy = format!("let one of it and \"{}\" end where the other begins", entries[overlap.other].0);
        section.reject_part("hours", part, wrong(overlap.to_string(), remedy));
        Hours::default()
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
