//! The daily digest: how everything stands, also when all is well, so that silence means trouble.

use std::fmt::Write as _;

use indicatif::HumanBytes;
use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};

use super::message::{Data, Event, Message, Report, whole_seconds};
use crate::config::AlertsConfig;
use crate::store::alert_queue::Firing;
use crate::watch::status::Status;

/// Where the database keeps the day of the last digest.
pub(super) const LAST_DAY: &str = "digest_last_day";

/// The day whose digest is due; none if it was sent or its hour has not come.
pub(super) fn due(last: Option<&str>, config: &AlertsConfig, now: Timestamp) -> Option<Date> {
    let local = now.to_zoned(config.timezone.clone());
    let is_hour = config.digest && local.hour() >= config.digest_hour;
    // A day in the future was written by a clock that has been put back since.
    let last = last.and_then(|day| day.parse::<Date>().ok()).filter(|day| *day <= local.date());
    (is_hour && last.is_none_or(|last| last < local.date())).then(|| local.date())
}

pub(super) fn of(status: &Status, firing: &[Firing], zone: &TimeZone) -> Message {
    let mut text = String::new();
    write(&mut text, status, firing, zone).expect("writing to a String cannot fail");
    let alerts = firing.iter().map(|firing| Report::of(firing, Event::Reminder)).collect();
    let data = Data {
        title: format!("callvault: {}", status.summary.trim_end_matches('.')),
        text: text.trim_end().to_owned(),
        alerts,
    };
    Message { kind: "callvault.digest".to_owned(), timestamp: whole_seconds(status.at), data }
}

fn write(text: &mut String, status: &Status, firing: &[Firing], zone: &TimeZone) -> std::fmt::Result {
    let at = status.at.to_zoned(zone.clone());
    writeln!(text, "{}\n\n{}", at.strftime("%F %R %Z"), status.summary)?;
    if let Some(free) = status.archive.free_bytes {
        writeln!(text, "archive {}, {} free", status.archive.path, HumanBytes(free))?;
    }
    if !firing.is_empty() {
        writeln!(text, "\nWrong at present:")?;
    }
    for alert in firing {
        let pbx = alert.pbx.as_deref().map(|pbx| format!("{pbx}: ")).unwrap_or_default();
        writeln!(text, "- {pbx}{}\n  {}", alert.condition.replace('_', " "), alert.message)?;
    }
    writeln!(text, "\narchived, pending, missing, stuck, excluded:")?;
    let width = status.pbx.keys().map(String::len).max().unwrap_or(0);
    for (id, pbx) in &status.pbx {
        let counts = &pbx.counts;
        writeln!(
            text,
            "{id:width$}  {}, {}, {}, {}, {}",
            counts.archived, counts.pending, counts.missing, counts.stuck, counts.excluded
        )?;
    }
    Ok(())
}
