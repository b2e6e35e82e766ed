//! `[alerts]`: who hears of it when something is wrong, and when.

use std::time::Duration;

use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::section::{Section, Wrong, wrong};
use super::{EmailConfig, SecretUrl, WebhookConfig, document, email, value, webhook};

const DAY_S: f64 = 86_400.0;
/// How long a PBX may be down before anybody is told.
const DOWN_AFTER: Duration = Duration::from_secs(15 * 60);
/// How old the last complete reading of a PBX's calls may be.
const SWEEP_OVERDUE_AFTER: Duration = Duration::from_secs(26 * 3600);
/// How long a trouble must be gone before it counts as over.
const HOLD_DOWN: Duration = Duration::from_secs(5 * 60);
/// The hour of the daily digest.
const DIGEST_HOUR: u64 = 7;
/// Free space below which the disk counts as nearly full.
const FREE_BYTES_WARN: u64 = 10 << 30;
/// Days for which a message is tried.
const KEEP_TRYING_DAYS: f64 = 3.0;

/// Who hears of it when something is wrong, and when.
#[derive(Debug, Clone)]
pub struct AlertsConfig {
    /// The zone of the digest's hour, and of times in messages.
    pub timezone: TimeZone,
    /// How long a PBX may be down before anybody is told.
    pub down_after: Duration,
    /// How old the last complete reading of a PBX's calls may be.
    pub sweep_overdue_after: Duration,
    /// How long a trouble must be gone before it counts as over.
    pub hold_down: Duration,
    /// After how long one is told of the same trouble again.
    pub remind_every: Duration,
    /// Whether there is a daily digest.
    pub digest: bool,
    /// The hour at which it is sent.
    pub digest_hour: i8,
    /// Free space below which the archive's disk counts as nearly full.
    pub free_bytes_warn: u64,
    /// For how long a message that cannot be delivered is tried.
    pub keep_trying: Duration,
    /// Asked after each good cycle, so that somebody else notices when there is none.
    pub ping_url: Option<SecretUrl>,
    /// `[alerts.email]`.
    pub email: Option<EmailConfig>,
    /// `[[alerts.webhook]]`, in the order of the file.
    pub webhook: Vec<WebhookConfig>,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            timezone: TimeZone::UTC,
            down_after: DOWN_AFTER,
            sweep_overdue_after: SWEEP_OVERDUE_AFTER,
            hold_down: HOLD_DOWN,
            remind_every: Duration::from_secs(24 * 3600),
            digest: true,
            digest_hour: i8::try_from(DIGEST_HOUR).expect("it is an hour"),
            free_bytes_warn: FREE_BYTES_WARN,
            keep_trying: Duration::from_secs_f64(KEEP_TRYING_DAYS * DAY_S),
            ping_url: None,
            email: None,
            webhook: Vec::new(),
        }
    }
}

pub(super) fn read(section: &Section<'_>) -> AlertsConfig {
    let default = AlertsConfig::default();
    let hour = section.count("digest_hour", DIGEST_HOUR, 0..=23);
    AlertsConfig {
        timezone: section.read("timezone", timezone).unwrap_or(TimeZone::UTC),
        down_after: section.seconds("down_after_s", default.down_after, 0.0..=7.0 * DAY_S),
        sweep_overdue_after: section.seconds(
            "sweep_overdue_after_s",
            default.sweep_overdue_after,
            60.0..=365.0 * DAY_S,
        ),
        hold_down: section.seconds("hold_down_s", default.hold_down, 0.0..=DAY_S),
        remind_every: section.seconds("remind_every_s", default.remind_every, 60.0..=365.0 * DAY_S),
        digest: section.switch("digest", default.digest),
        digest_hour: i8::try_from(hour).expect("the range is that of hours"),
        free_bytes_warn: section.size("free_bytes_warn", FREE_BYTES_WARN, 0),
        keep_trying: Duration::from_secs_f64(
            section.fraction("keep_trying_days", KEEP_TRYING_DAYS, 0.01..=30.0, "days") * DAY_S,
        ),
        ping_url: section.read("ping_url", webhook::url),
        email: document::single("alerts.email", section.table(), section.reading)
            .and_then(|section| email::read(&section)),
        webhook: document::several("alerts.webhook", section.table(), section.reading)
            .iter()
            .filter_map(|section| webhook::read(section, "alerts"))
            .collect(),
    }
}

fn timezone(value: &DeValue<'_>) -> Result<TimeZone, Wrong> {
    let zone = TimeZone::get(value::text(value)?).ok().filter(|zone| !zone.is_unknown());
    zone.ok_or_else(|| wrong("is not a known time zone", "write a name such as \"Europe/Berlin\""))
}
