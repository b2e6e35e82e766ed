//! `[alerts]`, `[alerts.email]` and `[[alerts.webhook]]`: who hears of it when something is wrong, and when.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use lettre::message::Mailbox;
use secrecy::{ExposeSecret as _, SecretString};
use toml::Spanned;
use toml::de::DeValue;
use url::Url;

use super::file::Purpose;
use super::section::{Section, Wrong, wrong};
use super::{document, password, value};

const DAY_S: f64 = 86_400.0;
/// How long a PBX may be down before anybody is told.
const DOWN_AFTER: Duration = Duration::from_secs(15 * 60);
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

/// An address in whose path or query a token may stand: only its host may be told.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// The whole address, for the request alone.
    pub fn expose(&self) -> &Url {
        &self.0
    }

    /// Its host.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({}://{}/…)", self.0.scheme(), self.host())
    }
}

/// A webhook that alerts are posted to.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Where to.
    pub url: SecretUrl,
    /// What messages are signed with.
    pub key: SigningKey,
}

/// The key that messages are signed with. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Reads `whsec_` and base64, as Standard Webhooks writes keys: 24 to 64 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let key = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
        (24..=64).contains(&key.len()).then_some(Self(key))
    }

    /// The bytes, to sign with.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// How alerts are mailed.
#[derive(Debug, Clone)]
pub struct EmailConfig {
    /// The mail server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// User and password, if the server wants them.
    pub credentials: Option<(String, SecretString)>,
    /// The sender.
    pub from: Mailbox,
    /// The receivers; at least one.
    pub to: Vec<Mailbox>,
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// Begins in the clear and must change to TLS.
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// Not at all.
    None,
}

impl SmtpTls {
    fn usual_port(self) -> u64 {
        match self {
            Self::Starttls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// Reads the section.
pub(super) fn read(section: &Section<'_>) -> AlertsConfig {
    let default = AlertsConfig::default();
    let hour = section.count("digest_hour", DIGEST_HOUR, 0..=23);
    AlertsConfig {
        timezone: section.read("timezone", timezone).unwrap_or(TimeZone::UTC),
        down_after: section.seconds("down_after_s", default.down_after, 0.0..=7.0 * DAY_S),
        hold_down: section.seconds("hold_down_s", default.hold_down, 0.0..=DAY_S),
        remind_every: section.seconds("remind_every_s", default.remind_every, 60.0..=365.0 * DAY_S),
        digest: section.switch("digest", default.digest),
        digest_hour: i8::try_from(hour).expect("the range is that of hours"),
        free_bytes_warn: section.size("free_bytes_warn", FREE_BYTES_WARN, 0),
        keep_trying: Duration::from_secs_f64(
            section.fraction("keep_trying_days", KEEP_TRYING_DAYS, 0.01..=30.0, "days") * DAY_S,
        ),
        ping_url: section.read("ping_url", url),
        email: document::single("alerts.email", section.table(), section.reading)
            .and_then(|section| email(&section)),
        webhook: webhooks(&document::several("alerts.webhook", section.table(), section.reading)),
    }
}

fn webhooks(sections: &[Section<'_>]) -> Vec<WebhookConfig> {
    sections.iter().filter_map(webhook).collect()
}

fn webhook(section: &Section<'_>) -> Option<WebhookConfig> {
    let url = section.require("url", "\"https://…\", where alerts are posted to", url);
    let allowed = section.switch("allow_plain_http", false);
    if let Some(url) = &url
        && url.expose().scheme() == "http"
        && !is_loopback(url.host())
        && !allowed
    {
        let remedy = "use https, or add allow_plain_http = true";
        section.reject("url", wrong("would send the alerts unencrypted", remedy));
    }
    section.require(
        "secret_file",
        "\"…\", a file that holds the secret that messages are signed with",
        value::text,
    );
    if section.reading.purpose == Purpose::Trust {
        return None;
    }
    let (secret, file) = password::secret_file(section, "secret_file")?;
    let key = SigningKey::parse(secret.expose_secret());
    if key.is_none() {
        let message = format!("{} holds no signing key", file.display());
        let remedy = "write whsec_ and 24 to 64 random bytes in base64 into it: \
                      echo whsec_$(openssl rand -base64 32)";
        section.reject("secret_file", wrong(message, remedy));
    }
    Some(WebhookConfig { url: url?, key: key? })
}

fn email(section: &Section<'_>) -> Option<EmailConfig> {
    let host = section.require("host", "\"mail.example.org\", your mail server", value::text);
    let tls = section.read("tls", tls).unwrap_or(SmtpTls::Starttls);
    let port = section.count("port", tls.usual_port(), 1..=u64::from(u16::MAX));
    let allowed = section.switch("allow_plain_smtp", false);
    if tls == SmtpTls::None && !allowed && host.is_some_and(|host| !is_loopback(host)) {
        let remedy = "use \"starttls\" or \"implicit\", or add allow_plain_smtp = true";
        section.reject("tls", wrong("would send alerts and password unencrypted", remedy));
    }
    let from = section.require("from", "\"callvault@example.org\", the sender", mailbox);
    let to = receivers(section);
    Some(EmailConfig {
        host: host?.to_owned(),
        port: u16::try_from(port).expect("the range is that of ports"),
        tls,
        credentials: credentials(section)?,
        from: from?,
        to: to?,
    })
}

/// User and password, both or neither; nothing if one is missing or wrong.
#[expect(
    clippy::option_option,
    reason = "whether something is wrong, and whether there are credentials, are two things"
)]
fn credentials(section: &Section<'_>) -> Option<Option<(String, SecretString)>> {
    match (section.has("username"), section.has("password_file")) {
        (false, false) => Some(None),
        (true, true) => {
            let username = section.read("username", value::text);
            let (password, _) = password::secret_file(section, "password_file")?;
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
    section.require("to", "[\"you@example.org\"], who is told", |_| Ok(()));
    let entries = match value::texts(section.get("to")?) {
        Ok(entries) => entries,
        Err(wrong) => {
            section.reject("to", wrong);
            return None;
        }
    };
    let parse = |(text, entry): (&str, &Spanned<DeValue<'_>>)| match text.parse() {
        Ok(mailbox) => Some(mailbox),
        Err(_) => {
            section.reject_part("to", entry, not_a_mailbox());
            None
        }
    };
    entries.into_iter().map(parse).collect()
}

fn mailbox(value: &DeValue<'_>) -> Result<Mailbox, Wrong> {
    value::text(value)?.parse().map_err(|_| not_a_mailbox())
}

fn not_a_mailbox() -> Wrong {
    wrong("is not a mail address", "write such as \"you@example.org\" or \"You <you@example.org>\"")
}

fn tls(value: &DeValue<'_>) -> Result<SmtpTls, Wrong> {
    match value::text(value)? {
        "starttls" => Ok(SmtpTls::Starttls),
        "implicit" => Ok(SmtpTls::Implicit),
        "none" => Ok(SmtpTls::None),
        _ => Err(wrong("must be \"starttls\", \"implicit\" or \"none\"", "write one of them")),
    }
}

fn timezone(value: &DeValue<'_>) -> Result<TimeZone, Wrong> {
    let zone = TimeZone::get(value::text(value)?).ok().filter(|zone| !zone.is_unknown());
    zone.ok_or_else(|| wrong("is not a known time zone", "write a name such as \"Europe/Berlin\""))
}

fn url(value: &DeValue<'_>) -> Result<SecretUrl, Wrong> {
    const REMEDY: &str = "write the whole address, such as https://example.org/hooks/…";
    let url = Url::parse(value::text(value)?).map_err(|_| wrong("is not a URL", REMEDY))?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some() => Ok(SecretUrl(url)),
        _ => Err(wrong("must begin with https:// or http://", REMEDY)),
    }
}

/// Whether nothing leaves this machine on the way to `host`.
fn is_loopback(host: &str) -> bool {
    let address: Result<std::net::IpAddr, _> = host.trim_matches(['[', ']']).parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
