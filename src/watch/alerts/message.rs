//! What has to be reported: what is wrong now, compared with what was reported; and the daily digest, which is sent also when
//! all is well, so that silence means trouble. Messages have one form for all channels, and are stored as JSON until they
//! are delivered.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use indicatif::HumanBytes;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::condition::Alert;
use crate::base::alert::Cause;
use crate::base::counts::Counts;
use crate::base::finding::Severity;
use crate::config::AlertsConfig;
use crate::store::alert_queue::Firing;
use crate::store::sql::Ms;
use crate::watch::status::Status;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) keep: Vec<Firing>,
    pub(super) over: Vec<String>,
    pub(super) reports: Vec<Report>,
}

/// What is new is reported at once; what lasts, again after `remind_every`; what is gone, after `hold_down`.
pub(super) fn compare(
    held: Vec<Firing>,
    present: &[Alert],
    config: &AlertsConfig,
    now: Timestamp,
) -> Changes {
    let mut changes = Changes::default();
    let keys: BTreeSet<String> = present.iter().map(Alert::key).collect();
    for alert in present {
        let key = alert.key();
        match held.iter().find(|firing| firing.key == key) {
            None => changes.begin(alert, now),
            Some(firing) => changes.go_on(firing.clone(), alert, config, now),
        }
    }
    for firing in held.into_iter().filter(|firing| !keys.contains(&firing.key)) {
        changes.end(firing, config, now);
    }
    changes
}

impl Changes {
    fn begin(&mut self, alert: &Alert, now: Timestamp) {
        let firing = Firing {
            key: alert.key(),
            cause: alert.cause,
            pbx: alert.pbx.clone(),
            severity: alert.cause.severity(),
            message: alert.message.clone(),
            first_seen_at_ms: Ms(alert.since),
            last_seen_at_ms: Ms(now),
            reported_at_ms: Ms(now),
        };
        self.reports.push(Report::of(&firing, Event::Firing));
        self.keep.push(firing);
    }

    fn go_on(&mut self, mut firing: Firing, alert: &Alert, config: &AlertsConfig, now: Timestamp) {
        firing.message.clone_from(&alert.message);
        firing.last_seen_at_ms = Ms(now);
        // A clock that was put back must not silence reminders until it has caught up.
        firing.reported_at_ms = firing.reported_at_ms.min(Ms(now));
        if alert.cause.has_reminders() && has_passed(firing.reported_at_ms, config.remind_every, now) {
            firing.reported_at_ms = Ms(now);
            self.reports.push(Report::of(&firing, Event::Reminder));
        }
        self.keep.push(firing);
    }

    fn end(&mut self, mut firing: Firing, config: &AlertsConfig, now: Timestamp) {
        if has_passed(firing.last_seen_at_ms, config.hold_down, now) {
            self.reports.push(Report::of(&firing, Event::Recovered));
            self.over.push(firing.key);
        } else if firing.last_seen_at_ms > Ms(now) {
            firing.last_seen_at_ms = Ms(now);
            self.keep.push(firing);
        }
    }
}

fn has_passed(Ms(since): Ms, wait: Duration, now: Timestamp) -> bool {
    let passed_ms = now.as_millisecond() - since.as_millisecond();
    u128::try_from(passed_ms).is_ok_and(|passed_ms| passed_ms >= wait.as_millis())
}

/// A message as webhooks receive it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// `callvault.alerts` or `callvault.digest`.
    #[serde(rename = "type")]
    kind: String,
    pub(super) timestamp: Timestamp,
    pub(super) data: Data,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Data {
    /// One line; the subject of a mail.
    pub(super) title: String,
    pub(super) text: String,
    /// What began, lasts or is over; in a digest, all that is wrong.
    alerts: Vec<Report>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    event: Event,
    #[serde(rename = "condition")]
    cause: Cause,
    pbx: Option<String>,
    severity: Severity,
    message: String,
    since: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    Firing,
    Reminder,
    Recovered,
}

impl Report {
    fn of(firing: &Firing, event: Event) -> Self {
        Self {
            event,
            cause: firing.cause,
            pbx: firing.pbx.clone(),
            severity: firing.severity,
            message: firing.message.clone(),
            since: whole_seconds(firing.first_seen_at_ms.0),
        }
    }

    fn entry(&self, zone: &TimeZone) -> String {
        let since = self.since.to_zoned(zone.clone());
        format!("- {} (since {})\n  {}\n", self.brief(), since.strftime("%F %R %Z"), self.message)
    }

    /// What and where, in a few words.
    fn brief(&self) -> String {
        let what = self.cause.as_str().replace('_', " ");
        match &self.pbx {
            Some(pbx) => format!("{pbx}: {what}"),
            None => what,
        }
    }
}

impl Message {
    pub(super) fn of_alerts(reports: Vec<Report>, now: Timestamp, zone: &TimeZone) -> Self {
        let mut text = String::new();
        for (event, heading) in
            [(Event::Firing, "Began:"), (Event::Reminder, "Still wrong:"), (Event::Recovered, "Over:")]
        {
            let of_event = reports.iter().filter(|report| report.event == event);
            let entries: String = of_event.map(|report| report.entry(zone)).collect();
            if !entries.is_empty() {
                text += &format!("{heading}\n{entries}\n");
            }
        }
        let data = Data { title: title(&reports), text: text.trim_end().to_owned(), alerts: reports };
        Self { kind: "callvault.alerts".to_owned(), timestamp: whole_seconds(now), data }
    }
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// What and where for one alert, otherwise the numbers.
fn title(reports: &[Report]) -> String {
    let prefix = |event| match event {
        Event::Firing => "",
        Event::Reminder => "still: ",
        Event::Recovered => "over: ",
    };
    if let [one] = reports {
        return format!("callvault: {}{}", prefix(one.event), one.brief());
    }
    let events = [(Event::Firing, "began"), (Event::Reminder, "still wrong"), (Event::Recovered, "over")];
    let counts = events.into_iter().filter_map(|(event, words)| {
        let count = reports.iter().filter(|report| report.event == event).count();
        (count > 0).then(|| format!("{count} {words}"))
    });
    let counts: Vec<String> = counts.collect();
    let first = reports.first().map(|first| format!(" ({}, …)", first.brief())).unwrap_or_default();
    format!("callvault: {}{first}", counts.join(", "))
}

/// Where the database keeps the day of the last digest.
pub(super) const LAST_DIGEST: &str = "digest_last_day";

/// The day whose digest is due; none if it was sent or its hour has not come.
pub(super) fn due_digest(last: Option<&str>, config: &AlertsConfig, now: Timestamp) -> Result<Option<Date>> {
    let local = now.to_zoned(config.timezone.clone());
    let is_hour = config.digest && local.hour() >= config.digest_hour;
    // A day in the future was written by a clock that has been put back since.
    let last = last.map(str::parse::<Date>).transpose().context("reading the day of the last digest")?;
    let last = last.filter(|day| *day <= local.date());
    Ok((is_hour && last.is_none_or(|last| last < local.date())).then(|| local.date()))
}

pub(super) fn digest(status: &Status, firing: &[Firing], zone: &TimeZone) -> Message {
    let alerts: Vec<Report> = firing.iter().map(|firing| Report::of(firing, Event::Reminder)).collect();
    let mut text = String::new();
    write(&mut text, status, &alerts, zone).expect("writing to a String cannot fail");
    let title = format!("callvault: {}", status.summary.trim_end_matches('.'));
    let data = Data { title, text: text.trim_end().to_owned(), alerts };
    Message { kind: "callvault.digest".to_owned(), timestamp: whole_seconds(status.at), data }
}

fn write(text: &mut String, status: &Status, alerts: &[Report], zone: &TimeZone) -> std::fmt::Result {
    let at = status.at.to_zoned(zone.clone());
    writeln!(text, "{}\n\n{}", at.strftime("%F %R %Z"), status.summary)?;
    if let Some(free) = status.archive.free_bytes {
        writeln!(text, "archive {}, {} free", status.archive.path, HumanBytes(free))?;
    }
    if !alerts.is_empty() {
        writeln!(text, "\nWrong at present:")?;
    }
    for alert in alerts {
        writeln!(text, "- {}\n  {}", alert.brief(), alert.message)?;
    }
    writeln!(text, "\narchived, pending, missing, stuck, excluded:")?;
    let width = status.pbx.keys().map(String::len).max().unwrap_or(0);
    for (id, pbx) in &status.pbx {
        let Counts { archived, pending, missing, stuck, excluded, .. } = pbx.counts;
        writeln!(text, "{id:width$}  {archived}, {pending}, {missing}, {stuck}, {excluded}")?;
    }
    Ok(())
}
