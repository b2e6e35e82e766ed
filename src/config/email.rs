//! `[alerts.email]`: how alerts are mailed.

use lettre::message::Mailbox;
use secrecy::SecretString;
use toml::Spanned;
use toml::de::DeValue;

use super::section::{Section, Wrong, wrong};
use super::webhook::is_loopback;
use super::{password, value};

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

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// Begins in the clear and must change to TLS.
    Starttls,
    /// TLS from the first byte.
    Implicit,
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

/// Reads the section; nothing if a key without a default is missing or wrong.
pub(super) fn read(section: &Section<'_>) -> Option<EmailConfig> {
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
    let credentials = credentials(section);
    Some(EmailConfig {
        host: host?.to_owned(),
        port: u16::try_from(port).expect("the range is that of ports"),
        tls,
        credentials: credentials?,
        from: from?,
        to: to?,
    })
}

/// User and password, both or neither; nothing if one is missing or wrong.
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
