//! `[alerts]`: who is told when something is wrong, when, and how.

use std::time::Duration;

use jiff::tz::TimeZone;
use lettre::message::Mailbox;
use secrecy::SecretString;
use toml::de::DeValue;

use super::section::{Section, Wrong, settings, wrong};
use super::webhook::is_loopback;
use super::{SecretUrl, WebhookConfig, secrets, value, webhook};
use crate::base::words::words;

const DAY_S: f64 = 86_400.0;
const YEAR_S: f64 = 365.0 * DAY_S;

settings! {
    /// Who hears of it when something is wrong, and when.
    #[derive(Debug, Clone)]
    pub struct AlertsConfig from section("alerts") {
        /// The zone of the digest's hour, and of times in messages.
        pub timezone: TimeZone = section.read("timezone", timezone).unwrap_or(TimeZone::UTC),
        /// How long a PBX may be down before anybody is told.
        pub down_after: Duration = section.seconds("down_after_s", 15.0 * 60.0, 0.0..=7.0 * DAY_S),
        /// How old the last complete reading of a PBX's calls may be.
        pub sweep_overdue_after: Duration =
            section.seconds("sweep_overdue_after_s", 26.0 * 3600.0, 60.0..=YEAR_S),
        /// How long a trouble must be gone before it counts as over.
        pub hold_down: Duration = section.seconds("hold_down_s", 5.0 * 60.0, 0.0..=DAY_S),
        /// After how long one is told of the same trouble again.
        pub remind_every: Duration = section.seconds("remind_every_s", DAY_S, 60.0..=YEAR_S),
        /// Whether there is a daily digest.
        pub digest: bool = section.switch("digest", true),
        /// The hour at which it is sent.
        pub digest_hour: i8 = section.count("digest_hour", 7, 0..=23),
        /// Free space below which the archive's disk counts as nearly full.
        pub free_bytes_warn: u64 = section.size("free_bytes_warn", 10 << 30, 0),
        /// For how long a message that cannot be delivered is tried.
        pub keep_trying: Duration = section.days("keep_trying_days", 3.0, 0.01..=30.0),
        /// Asked after each good cycle, so that somebody else notices when there is none.
        pub ping_url: Option<SecretUrl> = section.read("ping_url", webhook::url),
        /// `[alerts.email]`.
        pub email: Option<EmailConfig> = section.single("alerts.email").as_ref().and_then(read_email),
        /// `[[alerts.webhook]]`, in the order of the file.
        pub webhook: Vec<WebhookConfig> = webhooks(section),
    }
}

fn webhooks(section: &Section<'_>) -> Vec<WebhookConfig> {
    let webhooks = section.several("alerts.webhook");
    webhooks.iter().filter_map(|section| webhook::read(section, "alerts")).collect()
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
fn read_email(section: &Section<'_>) -> Option<EmailConfig> {
    let host = section.require("host", "\"mail.example.org\", your mail server", value::text);
    let tls = section.word("tls").unwrap_or(SmtpTls::Starttls);
    let port = section.count("port", tls.usual_port(), 1..=u16::MAX.into());
    let allowed = section.switch("allow_plain_smtp", false);
    if tls == SmtpTls::None && !allowed && host.is_some_and(|host| !is_loopback(host)) {
        let remedy = "use \"starttls\" or \"implicit\", or add allow_plain_smtp = true";
        section.reject("tls", wrong("would send alerts and password unencrypted", remedy));
    }
    let from = section
        .require("from", "\"callvault@example.org\", the sender", |value| mailbox(value::text(value)?));
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
    Some(section.each("to", mailbox)).filter(|receivers| !receivers.is_empty())
}

fn mailbox(text: &str) -> Result<Mailbox, Wrong> {
    let remedy = "write such as \"you@example.org\" or \"You <you@example.org>\"";
    text.parse().map_err(|_| wrong("is not a mail address", remedy))
}
