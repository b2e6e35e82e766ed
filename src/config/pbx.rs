//! A `[[pbx]]` section: who the PBX is, which version of the API it speaks, and how it is treated.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::tz::TimeZone;
use secrecy::SecretString;
use toml::de::DeValue;
use url::Url;

use super::keys::nearest;
use super::section::{Section, Wrong, wrong};
use super::{
    ApiVersion, Generation, Manners, PbxConfig, PbxLimits, PushMode, RetentionHints, TlsBackend, TlsVersion,
    cdr, manners, push, secrets, tls, value,
};
use crate::base::words::words;

/// The most that may be asked for; the PBX's web server is a small one (`docs/pbx-api.md` §11).
const CONCURRENCY_MAX: u64 = 8;

/// The longest duration that a key takes: a day.
const SECONDS_MAX: f64 = 86_400.0;

/// The shortest duration that a key takes, unless zero means something.
const SECONDS_MIN: f64 = 0.001;

/// The longest id: it is a folder of the archive and a column in tables.
const ID_BYTES_MAX: usize = 32;

/// Folder names that some systems which may hold or read the archive cannot have.
const RESERVED_IDS: [&str; 4] = ["con", "prn", "aux", "nul"];

words! {
    /// How it is known that a reply is the PBX's own.
    pub enum Transport as "transport" {
        /// By the key in its certificate, which the operator pinned.
        Pinned = "pinned",
        /// By an authority that this machine believes.
        Roots = "roots",
        /// Not at all: plain HTTP could have been changed on the way.
        Plain = "plain",
    }
}

impl PbxConfig {
    /// How it is known that a reply is the PBX's own.
    pub fn transport(&self) -> Transport {
        match (self.url.scheme(), self.tls_pin_sha256) {
            ("http", _) => Transport::Plain,
            (_, Some(_)) => Transport::Pinned,
            (_, None) => Transport::Roots,
        }
    }

    /// A PBX with defaults for all but what is given.
    pub fn for_url(
        id: impl Into<String>,
        url: Url,
        api_version: ApiVersion,
        username: impl Into<String>,
        password: impl Into<SecretString>,
    ) -> Self {
        Self {
            id: id.into(),
            url,
            download_api_version: api_version.clone(),
            cdr_api: cdr::is_downloadable(&api_version),
            api_version,
            username: username.into(),
            password: password.into(),
            password_source: PathBuf::from("(given by the program)"),
            timezone: None,
            // Its first job is calls.
            concurrency: 2,
            tls_pin_sha256: None,
            tls_backend: TlsBackend::Rustls,
            tls_version_min: TlsVersion::V1_2,
            login_port: None,
            push: PushMode::Off,
            push_from: Vec::new(),
            allowed_ip: None,
            limits: PbxLimits::default(),
            manners: Manners::default(),
            retention: RetentionHints::default(),
            cdr_folder: None,
            cdr_columns: BTreeMap::new(),
            cdr_keep_columns: Vec::new(),
            voicemail: VoicemailConfig::default(),
        }
    }
}

/// Reads the section; nothing if a key without a default is missing or wrong. The others are looked at all the same.
pub(super) fn read(section: &Section<'_>) -> Option<PbxConfig> {
    let id = section.require("id", "\"hq\"", id);
    let url = read_url(section);
    let username = section.require("username", "\"…\", the API user of the PBX", value::text);
    let secret = secrets::read(section);
    let is_whole = id.is_some() && url.is_some() && username.is_some() && secret.is_some();
    let url = url.unwrap_or_else(|| Url::parse("https://localhost").expect("it is a URL"));
    let version = section.read("api_version", api_version).unwrap_or_default();
    let (password, password_source) = secret.unwrap_or_default();
    let (id, username) = (id.unwrap_or_default(), username.unwrap_or_default());
    let mut pbx = PbxConfig::for_url(id, url, version, username, password);
    pbx.password_source = password_source;
    if let Some(version) = section.read("download_api_version", api_version) {
        pbx.download_api_version = version;
    }
    pbx.timezone = section.read("timezone", timezone);
    pbx.concurrency = section.count("concurrency", pbx.concurrency, 1..=CONCURRENCY_MAX);
    tls::tls(section, &mut pbx);
    pbx.login_port = section.read("login_port", port);
    push::of_pbx(section, &mut pbx);
    pbx.allowed_ip = section.read("allowed_ip", address);
    pbx.limits = limits(section);
    pbx.manners = manners::manners(section);
    pbx.retention = manners::retention(section);
    pbx.cdr_api = cdr::over_api(section, &pbx.api_version);
    pbx.cdr_folder = section.read("cdr_folder", value::folder);
    pbx.cdr_columns = cdr::columns(section);
    pbx.cdr_keep_columns = cdr::keep_columns(section);
    pbx.voicemail = read_voicemail(section);
    is_whole.then_some(pbx)
}

fn limits(section: &Section<'_>) -> PbxLimits {
    let default = PbxLimits::default();
    let seconds = |key, default, least| section.seconds(key, default, least..=SECONDS_MAX);
    let size = |key, default| section.size(key, default, 1024);
    let count = |key, default, least| section.count(key, default, least..=1_000_000_000);
    PbxLimits {
        connect_timeout: seconds("connect_timeout_s", default.connect_timeout, SECONDS_MIN),
        reply_timeout: seconds("reply_timeout_s", default.reply_timeout, SECONDS_MIN),
        cdr_timeout: seconds("cdr_timeout_s", default.cdr_timeout, SECONDS_MIN),
        idle_timeout: seconds("idle_timeout_s", default.idle_timeout, SECONDS_MIN),
        throughput_bytes_s_min: count("throughput_bytes_s_min", default.throughput_bytes_s_min, 0),
        // A ticket dies after 30 s (`docs/pbx-api.md` §5).
        ticket_age_max: section.seconds("ticket_age_max_s", default.ticket_age_max, SECONDS_MIN..=30.0),
        lockout_wait: seconds("lockout_wait_s", default.lockout_wait, SECONDS_MIN),
        outage_patience: seconds("outage_patience_s", default.outage_patience, 0.0),
        outage_retry_max: seconds("outage_retry_s_max", default.outage_retry_max, SECONDS_MIN),
        recording_bytes_max: size("recording_bytes_max", default.recording_bytes_max),
        cdr_bytes_max: size("cdr_bytes_max", default.cdr_bytes_max),
        intake_rows_per_day_max: count("intake_rows_per_day_max", default.intake_rows_per_day_max, 1),
        intake_bytes_per_day_max: size("intake_bytes_per_day_max", default.intake_bytes_per_day_max),
    }
}

fn id(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value::text(value)?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let begins_well = text.bytes().next().is_some_and(is_plain);
    let goes_on_well = text.bytes().all(|byte| is_plain(byte) || matches!(byte, b'_' | b'-'));
    if !begins_well || !goes_on_well || text.len() > ID_BYTES_MAX {
        let remedy = "write a short name such as \"hq\"; it becomes a folder of the archive";
        let message =
            format!("must be 1 to {ID_BYTES_MAX} of a-z, 0-9, _ and -, the first a letter or digit");
        return Err(wrong(message, remedy));
    }
    let device = text.strip_prefix("com").or_else(|| text.strip_prefix("lpt"));
    let is_device = device.is_some_and(|number| matches!(number.as_bytes(), [b'1'..=b'9']));
    if is_device || RESERVED_IDS.contains(&text) {
        return Err(wrong("is a name that no folder can have on some systems", "choose another"));
    }
    Ok(text.to_owned())
}

/// Reads `url` with the two keys that its scheme decides about.
fn read_url(section: &Section<'_>) -> Option<Url> {
    let url = section.require("url", "\"https://…:8088\", the address of the PBX's web page", url);
    let allow_plain_http = section.switch("allow_plain_http", false);
    let is_plain = url.as_ref().is_some_and(|url| url.scheme() == "http");
    // Where the switch itself is wrong, that has been said.
    let is_switch_read =
        section.get("allow_plain_http").is_none_or(|value| value.get_ref().as_bool().is_some());
    if is_plain && !allow_plain_http && is_switch_read {
        let message = "would send the password and all audio unencrypted";
        section.reject("url", wrong(message, "use https, or add allow_plain_http = true"));
    }
    if is_plain {
        tls::refuse_without_tls(section);
    }
    url
}

fn url(value: &DeValue<'_>) -> Result<Url, Wrong> {
    const EXAMPLE: &str = "write scheme, host and port, such as https://192.0.2.10:8088";
    let text = value::text(value)?;
    let url = Url::parse(text).map_err(|error| wrong(format!("is not a URL ({error})"), EXAMPLE))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("must begin with https:// or http://", EXAMPLE));
    }
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err(wrong("holds credentials", "move them to username and password_file"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(
            "goes on after the host and port",
            "remove that part; callvault adds the API's path",
        ));
    }
    if url.port() == Some(0) {
        return Err(wrong("has the port 0", EXAMPLE));
    }
    Ok(url)
}

fn api_version(value: &DeValue<'_>) -> Result<ApiVersion, Wrong> {
    let parsed = value::text(value)?.parse();
    parsed.map_err(|error: super::NotAVersion| {
        wrong(format!("is {error}"), "write the version that the PBX's API page names, v and all")
    })
}

pub(super) fn timezone(value: &DeValue<'_>) -> Result<TimeZone, Wrong> {
    let name = value::text(value)?;
    let zone = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown());
    zone.ok_or_else(|| wrong("is not a known time zone", timezone_remedy(name)))
}

fn timezone_remedy(name: &str) -> String {
    let names: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
    // The names are compared as typed: `-` is not `_` here, but no two zones differ in that.
    match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "write a name such as \"Asia/Shanghai\", or remove the line: the CDR tells it".to_owned(),
    }
}

fn port(value: &DeValue<'_>) -> Result<u16, Wrong> {
    let port = value::whole(value, &(1..=u64::from(u16::MAX)))?;
    Ok(u16::try_from(port).expect("the range is that of ports"))
}

fn address(value: &DeValue<'_>) -> Result<IpAddr, Wrong> {
    let remedy = "write this machine's address as the PBX sees it, such as \"192.0.2.20\"";
    value::text(value)?.parse().map_err(|_| wrong("is not an IP address", remedy))
}

/// A text that is not the version of an API.
#[derive(Debug, thiserror::Error)]
#[error("not an API version; versions look like v1.1.0")]
pub struct NotAVersion;

impl Default for ApiVersion {
    /// What most devices speak.
    fn default() -> Self {
        Self { segment: "v1.1.0".to_owned(), generation: Generation::V1_1 }
    }
}

impl FromStr for ApiVersion {
    type Err = NotAVersion;

    /// Accepts `v` and three numbers, and the short forms of the known generations. Real clients write v1.1.0 as
    /// `v1.10` too (`docs/pbx-api.md` §1). `v1.0.x` is the first of its kind that has recordings, v1.0.1.
    fn from_str(segment: &str) -> Result<Self, NotAVersion> {
        let segment = if segment == "v1.0.x" { "v1.0.1" } else { segment };
        let numbers: Vec<&str> = segment.strip_prefix('v').ok_or(NotAVersion)?.split('.').collect();
        if !numbers.iter().all(|number| is_number(number)) {
            return Err(NotAVersion);
        }
        let generation = match numbers[..] {
            ["1", "0"] | ["1", "0", _] => Generation::V1_0,
            ["1", "1" | "10"] | ["1", "1", _] => Generation::V1_1,
            ["2", _] | ["2", _, _] => Generation::V2,
            [_, _, _] => Generation::Compatible,
            _ => return Err(NotAVersion),
        };
        Ok(Self { segment: segment.to_owned(), generation })
    }
}

fn is_number(text: &str) -> bool {
    (1..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// How one PBX's voicemail is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoicemailConfig {
    /// Whether the service polls the boxes.
    pub is_polled: bool,
    /// Whether the folder of a message, as the list names it, is sent when it is asked for.
    pub sends_status: bool,
    /// How many messages the device keeps for one extension before it deletes the oldest: a hint, no API tells it.
    pub per_extension: u64,
}

impl Default for VoicemailConfig {
    /// A device keeps 50 messages in one box, unless its administrator says otherwise (`docs/pbx-api.md` §10).
    fn default() -> Self {
        Self { is_polled: true, sends_status: true, per_extension: 50 }
    }
}

pub(super) fn read_voicemail(section: &Section<'_>) -> VoicemailConfig {
    let default = VoicemailConfig::default();
    VoicemailConfig {
        is_polled: section.switch("voicemail", default.is_polled),
        sends_status: section.switch("voicemail_status", default.sends_status),
        per_extension: section.count("voicemail_per_extension", default.per_extension, 1..=100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_belong_to_generations() {
        let table = [
            ("v1.0.2", Generation::V1_0),
            ("v1.0.6", Generation::V1_0),
            ("v1.1.0", Generation::V1_1),
            ("v1.1.7", Generation::V1_1),
            ("v1.10", Generation::V1_1),
            ("v2.0.0", Generation::V2),
            ("v2.1", Generation::V2),
            ("v0.0.1", Generation::Compatible),
            ("v3.0.0", Generation::Compatible),
        ];
        for (segment, generation) in table {
            let version: ApiVersion = segment.parse().unwrap();
            assert_eq!((version.segment.as_str(), version.generation), (segment, generation));
        }
        assert_eq!("v1.0.x".parse::<ApiVersion>().unwrap().segment, "v1.0.1");
    }

    #[test]
    fn nothing_else_is_a_version() {
        for segment in
            ["", "v", "1.1.0", "v1", "v3.0", "v1.1.0.0", "v1.1.x", "v1..0", "v1.1.0/", "V1.1.0", "v1.1.+0"]
        {
            assert!(segment.parse::<ApiVersion>().is_err(), "{segment}");
        }
    }
}
