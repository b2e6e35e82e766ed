//! `[alerts]`: who is told when something is wrong, when, and how.

use std::time::Duration;

use jiff::tz::TimeZone;
use lettre::message::Mailbox;
use secrecy::SecretString;
use toml::Spanned;
use toml::de::DeValue;

use super::section::{Section, Wrong, wrong};
use super::webhook::is_loopback;
use super::{SecretUrl, WebhookConfig, document, secrets, value, webhook};
use crate::base::words::words;

const DAY_S: f64 = 86_400.0;

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
            down_after: Duration::from_secs(15 * 60),
            sweep_overdue_after: Duration::from_secs(26 * 3600),
            hold_down: Duration::from_secs(5 * 60),
            remind_every: Duration::from_secs(24 * 3600),
            digest: true,
            digest_hour: 7,
            free_bytes_warn: 10 << 30,
            keep_trying: Duration::from_secs(3 * 86_400),
            ping_url: None,
            email: None,
            webhook: Vec::new(),
        }
    }
}

pub(super) fn read(section: &Section<'_>) -> AlertsConfig {
    let default = AlertsConfig::default();
    AlertsConfig {
        timezone: section.read("timezone", timezone).unwrap_or(default.timezone),
        down_after: section.seconds("down_after_s", default.down_after, 0.0..=7.0 * DAY_S),
        sweep_overdue_after: section.seconds(
            "sweep_overdue_after_s",
            default.sweep_overdue_after,
            60.0..=365.0 * DAY_S,
        ),
        hold_down: section.seconds("hold_down_s", default.hold_down, 0.0..=DAY_S),
        remind_every: section.seconds("remind_every_s", default.remind_every, 60.0..=365.0 * DAY_S),
        digest: section.switch("digest", default.digest),
        digest_hour: section.count("digest_hour", default.digest_hour, 0..=23),
        free_bytes_warn: section.size("free_bytes_warn", default.free_bytes_warn, 0),
        keep_trying: section.days("keep_trying_days", default.keep_trying, 0.01..=30.0),
        ping_url: section.read("ping_url", webhook::url),
        email: document::single("alerts.email", section.table(), section.reading)
            .and_then(|section| read_email(&section)),
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

#[derive(Debug, Clone)]
pub struct EmailConfig {
    pub host: String,
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// User and password, if the server wants them.
    pub credentials: Option<(String, SecretString)>,
    pub from: Mailbox,
    /// The receivers; at least one.
    pub to: Vec<Mailbox>,
}

words! {
    /// How a connection to a mail server is protected.
    pub enum SmtpTls as "tls" {
        /// Begins in the clear and must change to TLS.
        Starttls = "starttls",
        /// TLS from the first byte.
        Implicit = "implicit",
        None = "none",
    }
}

impl SmtpTls {
    fn usual_port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// Reads the section; nothing if a key without a default is missing or wrong.
pub(super) fn read_email(section: &Section<'_>) -> Option<EmailConfig> {
    let host = section.require("host", "\"mail.example.org\", your mail server", value::text);
    let tls = section.word("tls").unwrap_or(SmtpTls::Starttls);
    let port = section.count("port", tls.usual_port(), 1..=u64::from(u16::MAX));
    let allowed = section.switch("allow_plain_smtp", false);
    if tls == SmtpTls::None && !allowed && host.is_some_and(|host| !is_loopback(host)) {
        let remedy = "use \"starttls\" or \"implicit\", or add allow_plain_smtp = true";
        section.reject("tls", wrong("would send alerts and password unencrypted", remedy));
    }
    let from = section.require("from", "\"callvault@example.org\", the sender", mailbox);
    let to = receivers(section);
    let credentials = credentials(section);
    Some(EmailConfig { host: host?.to_owned(), port, tls, credentials: credentials?, from: from?, to: to? })
}

/// User and password, both or neither; nothing if one is missing or wrong.
fn credentials(section: &Section<'_>) -> Option<Option<(String, SecretString)>> {
    match (section.has("username"), section.has("password_file")) {
        (false, false) => Some(None),
        (true, true) => {
            let username = section.read("username", value::text);
            let (password, _) = secrets::secret_file(section, "password_file")?;
            Some(Some((username?.to_owned(), password)))
        }
        (has_username, _) => {
            let absent = if has_username { "password_file" } else { "username" };
            section.miss(absent, wrong("missing", "give both username and password_file, or neither"));
            None
        }
    }
}

fn receivers(section: &Section<'_>) -> Option<Vec<Mailbox>> {
    section.require("to", "[\"you@example.org\"], the recipients", |_| Ok(()));
    let entries = section.texts("to");
    let parse = |(text, entry): (&str, &Spanned<DeValue<'_>>)| match text.parse() {
        Ok(mailbox) => Some(mailbox),
        Err(_) => {
            section.reject_part("to", entry, not_a_mailbox());
            None
        }
    };
    let receivers: Vec<Mailbox> = entries.into_iter().filter_map(parse).collect();
    (!receivers.is_empty()).then_some(receivers)
}

fn mailbox(value: &DeValue<'_>) -> Result<Mailbox, Wrong> {
    value::text(value)?.parse().map_err(|_| not_a_mailbox())
}

fn not_a_mailbox() -> Wrong {
    wrong("is not a mail address", "write such as \"you@example.org\" or \"You <you@example.org>\"")
}
