//! `[service]`, `[schedule]`, `[verify]` and `[snapshots]`: what the service does by itself, and when.

use std::time::Duration;

use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::pbx::timezone;
use super::section::{Section, Wrong, wrong};
use super::{ScheduleConfig, ServiceConfig, VerifyConfig, value};
use crate::base::schedule::{BadCronLine, CronLine};

impl Default for ServiceConfig {
    fn default() -> Self {
        Self { stop_timeout: Duration::from_secs(60), history: Duration::from_secs(90 * 86_400) }
    }
}

impl Default for VerifyConfig {
    fn default() -> Self {
        Self { full_days: 30 }
    }
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        let line = |text| CronLine::parse(text, TimeZone::UTC).expect("the defaults are tested");
        Self {
            sweep: line("*/5 * * * *"),
            deep_sweep: line("30 1 * * *"),
            voicemail: line("*/5 * * * *"),
            seal: line("*/20 * * * * *"),
            verify: line("0 3 * * *"),
            scrub: line("30 3 * * *"),
            history: line("15 4 * * *"),
            snapshot: line("0 * * * *"),
        }
    }
}

/// Reads `[service]`.
pub(super) fn service(section: &Section<'_>) -> ServiceConfig {
    let default = ServiceConfig::default();
    ServiceConfig {
        stop_timeout: section.seconds("stop_timeout_s", default.stop_timeout, 1.0..=3600.0),
        history: section.days("history_days", default.history, 1.0..=3650.0),
    }
}

/// Reads `[verify]`.
pub(super) fn verify(section: &Section<'_>) -> VerifyConfig {
    VerifyConfig { full_days: section.count("full_days", VerifyConfig::default().full_days, 1..=3650) }
}

/// Reads `[schedule]`.
pub(super) fn schedule(section: &Section<'_>) -> ScheduleConfig {
    let zone = section.read("timezone", timezone).unwrap_or(TimeZone::UTC);
    let default = ScheduleConfig::default();
    let line = |key, default: CronLine| {
        // Without a line of its own a job keeps its default, in the zone of all.
        let default = CronLine::parse(default.text(), zone.clone()).unwrap_or(default);
        section.read(key, |value| cron_line(value, &zone)).unwrap_or(default)
    };
    let schedule = ScheduleConfig {
        sweep: line("sweep", default.sweep),
        deep_sweep: line("deep_sweep", default.deep_sweep),
        voicemail: line("voicemail", default.voicemail),
        seal: line("seal", default.seal),
        verify: line("verify", default.verify),
        scrub: line("scrub", default.scrub),
        history: line("history", default.history),
        snapshot: line("snapshot", default.snapshot),
    };
    if !schedule.seal.is_every_minute() {
        let remedy = "write seconds and five stars, such as \"*/20 * * * * *\", or remove the line";
        section.reject("seal", wrong("leaves minutes out, and SHA256SUMS may not lag by one", remedy));
    }
    schedule
}

/// A line, or a table with the line and a zone of its own.
fn cron_line(value: &DeValue<'_>, zone: &TimeZone) -> Result<CronLine, Wrong> {
    let Some(table) = value.as_table() else { return parse(value::text(value)?, zone.clone()) };
    if let Some(other) = table.keys().find(|key| !["cron", "timezone"].contains(&key.get_ref().as_ref())) {
        let message = format!("has the unknown key {}", super::section::quotable(other.get_ref()));
        return Err(wrong(message, "write such as { cron = \"0 3 * * *\", timezone = \"Europe/Berlin\" }"));
    }
    let Some(cron) = table.get("cron") else {
        return Err(wrong("lacks `cron`", "write such as { cron = \"0 3 * * *\" }"));
    };
    let own = table.get("timezone").map(|value| timezone(value.get_ref())).transpose()?;
    parse(value::text(cron.get_ref())?, own.unwrap_or_else(|| zone.clone()))
}

fn parse(text: &str, zone: TimeZone) -> Result<CronLine, Wrong> {
    CronLine::parse(text, zone).map_err(|bad| {
        let remedy = match bad {
            BadCronLine::Fields(_) => "write minute, hour, day, month and weekday, such as \"*/5 * * * *\"",
            BadCronLine::Field(_) => "write such as \"*/5 * * * *\" or \"30 3 * * Mon-Fri\"",
            BadCronLine::NeverFires => "choose a date that exists",
        };
        wrong(bad.to_string(), remedy)
    })
}

/// Copies of the database that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotsConfig {
    /// The latest snapshots, so many of them.
    pub hourly: usize,
    /// The last snapshot of each of so many days.
    pub daily: usize,
}

impl SnapshotsConfig {
    pub fn is_on(&self) -> bool {
        self.hourly + self.daily > 0
    }
}

impl Default for SnapshotsConfig {
    fn default() -> Self {
        Self { hourly: 24, daily: 7 }
    }
}

pub(super) fn snapshots(section: &Section<'_>) -> SnapshotsConfig {
    let default = SnapshotsConfig::default();
    SnapshotsConfig {
        hourly: section.count("hourly", default.hourly, 0..=1000),
        daily: section.count("daily", default.daily, 0..=1000),
    }
}
