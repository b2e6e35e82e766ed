//! `[service]`, `[schedule]`, `[verify]` and `[snapshots]`: what the service does by itself, and when.

use std::time::Duration;

use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::pbx::timezone;
use super::section::{Section, Wrong, settings, wrong};
use super::value;
use crate::base::schedule::{BadCronLine, CronLine};

settings! {
    #[derive(Debug, Clone)]
    pub struct ServiceConfig from section("service") {
        /// How long it waits at its end for downloads in flight.
        pub stop_timeout: Duration = section.seconds("stop_timeout_s", 60.0, 1.0..=3600.0),
        /// For how long the database keeps the history of callvault's own work.
        pub history: Duration = section.days("history_days", 90.0, 1.0..=3650.0),
    }
}

settings! {
    /// How the archive is read again, a part at a time.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct VerifyConfig from section("verify") {
        /// Days within which every byte is read once.
        pub full_days: u32 = section.count("full_days", 30, 1..=3650),
    }
}

settings! {
    /// When the service does what by itself.
    #[derive(Debug, Clone)]
    pub struct ScheduleConfig from section("schedule") {
        /// Reading the days that may still change.
        pub sweep: CronLine = line(section, "sweep", "*/5 * * * *"),
        /// Reading the settled days of the device's retention again.
        pub deep_sweep: CronLine = line(section, "deep_sweep", "30 1 * * *"),
        pub voicemail: CronLine = line(section, "voicemail", "*/5 * * * *"),
        /// Bringing `SHA256SUMS` up to date.
        pub seal: CronLine = line(section, "seal", "*/20 * * * * *"),
        /// Looking whether the archive still holds what it should.
        pub verify: CronLine = line(section, "verify", "0 3 * * *"),
        /// Reading a part of the archive again.
        pub scrub: CronLine = line(section, "scrub", "30 3 * * *"),
        /// Forgetting the history of callvault's own work.
        pub history: CronLine = line(section, "history", "15 4 * * *"),
        /// Making a snapshot of the database.
        pub snapshot: CronLine = line(section, "snapshot", "0 * * * *"),
    }
}

/// Reads `[schedule]`.
pub(super) fn read(section: &Section<'_>) -> ScheduleConfig {
    // Its mistakes are noted here, once: each line needs it.
    section.read("timezone", timezone);
    let schedule = ScheduleConfig::read(section);
    if !schedule.seal.is_every_minute() {
        let remedy = "write seconds and five stars, such as \"*/20 * * * * *\", or remove the line";
        section.reject("seal", wrong("leaves minutes out, and SHA256SUMS may not lag by one", remedy));
    }
    schedule
}

/// Reads the line of a job. Without one of its own the job keeps its default, in the zone of all.
fn line(section: &Section<'_>, key: &'static str, default: &str) -> CronLine {
    let zone = section.get("timezone").and_then(|value| timezone(value.get_ref()).ok());
    let zone = zone.unwrap_or(TimeZone::UTC);
    let default = || CronLine::parse(default, zone.clone()).expect("the defaults are tested");
    section.read(key, |value| cron_line(value, &zone)).unwrap_or_else(default)
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

settings! {
    /// Copies of the database that are kept.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SnapshotsConfig from section("snapshots") {
        /// The latest snapshots, so many of them.
        pub hourly: usize = section.count("hourly", 24, 0..=1000),
        /// The last snapshot of each of so many days.
        pub daily: usize = section.count("daily", 7, 0..=1000),
    }
}

impl SnapshotsConfig {
    pub fn is_on(&self) -> bool {
        self.hourly + self.daily > 0
    }
}
