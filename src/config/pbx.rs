//! A `[[pbx]]` section, read.

use crate::base::words::words;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use secrecy::SecretString;
use toml::de::DeValue;
use url::Url;

use super::keys::nearest;
use super::section::{Section, Wrong, wrong};
use super::tls::{self, TlsOptions};
use super::value;
use super::{
    ApiVersion, Generation, Manners, PbxConfig, PbxLimits, PushMode, RetentionHints, TlsBackend, TlsVersion,
    VoicemailConfig, cdr, manners, password, push, voicemail,
};

/// Connections to one PBX at a time, unless the operator says otherwise: its first job is calls.
const CONCURRENCY: u64 = 2;

/// The most that may be asked for; the PBX's web server is a small one (`docs/pbx-api.md` §11).
const CONCURRENCY_MAX: u64 = 8;

/// The longest duration that a key takes: a day.
const SECONDS_MAX: f64 = 86_400.0;

/// The shortest duration that a key takes, unless zero means something.
const SECONDS_MIN: f64 = 0.001;

/// A ticket dies after 30 s (`docs/pbx-api.md` §5).
const TICKET_AGE_S_MAX: f64 = 30.0;

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
            concurrency: to_usize(CONCURRENCY),
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

/// Reads the section; nothing if a key without a default is missing or wrong.
pub(super) fn read(section: &Section<'_>) -> Option<PbxConfig> {
    let id = section.require("id", "\"hq\"", id);
    let url = read_url(section);
    let username = section.require("username", "\"…\", the API user of the PBX", value::text);
    let secret = password::read(section);
    let api_version = match section.read("api_version", api_version) {
        Some(version) => version,
        // Also if it is wrong: then nothing is returned in the end, but the rest is still looked at.
        None => ApiVersion { segment: "v1.1.0".to_owned(), generation: Generation::V1_1 },
    };
    let options = Options::read(section, &api_version);
    let (password, password_source) = secret?;
    let mut pbx = PbxConfig::for_url(id?, url?, api_version, username?, password);
    pbx.password_source = password_source;
    options.apply(&mut pbx);
    Some(pbx)
}

/// The keys that have defaults, or may be left out.
struct Options {
    download_api_version: Option<ApiVersion>,
    timezone: Option<TimeZone>,
    concurrency: usize,
    tls: TlsOptions,
    login_port: Option<u16>,
    push: push::PbxPush,
    allowed_ip: Option<IpAddr>,
    limits: PbxLimits,
    manners: Manners,
    retention: RetentionHints,
    cdr_api: bool,
    cdr_folder: Option<PathBuf>,
    cdr_columns: BTreeMap<String, String>,
    cdr_keep_columns: Vec<String>,
    voicemail: VoicemailConfig,
}

impl Options {
    fn read(section: &Section<'_>, version: &ApiVersion) -> Self {
        Self {
            download_api_version: section.read("download_api_version", api_version),
            timezone: section.read("timezone", timezone),
            concurrency: to_usize(section.count("concurrency", CONCURRENCY, 1..=CONCURRENCY_MAX)),
            tls: tls::read(section),
            login_port: section.read("login_port", port),
            push: push::of_pbx(section, version),
            allowed_ip: section.read("allowed_ip", address),
            limits: limits(section),
            manners: manners::manners(section),
            retention: manners::retention(section),
            cdr_api: cdr::over_api(section, version),
            cdr_folder: section.read("cdr_folder", value::folder),
            cdr_columns: cdr::columns(section),
            cdr_keep_columns: cdr::keep_columns(section),
            voicemail: voicemail::read(section),
        }
    }

    fn apply(self, pbx: &mut PbxConfig) {
        if let Some(version) = self.download_api_version {
            pbx.download_api_version = version;
        }
        pbx.timezone = self.timezone;
        pbx.concurrency = self.concurrency;
        self.tls.apply(pbx);
        pbx.login_port = self.login_port;
        pbx.push = self.push.mode;
        pbx.push_from = self.push.from;
        pbx.allowed_ip = self.allowed_ip;
        pbx.limits = self.limits;
        pbx.manners = self.manners;
        pbx.retention = self.retention;
        pbx.cdr_api = self.cdr_api;
        pbx.cdr_folder = self.cdr_folder;
        pbx.cdr_columns = self.cdr_columns;
        pbx.cdr_keep_columns = self.cdr_keep_columns;
        pbx.voicemail = self.voicemail;
    }
}

fn limits(section: &Section<'_>) -> PbxLimits {
    let default = PbxLimits::default();
    let positive = SECONDS_MIN..=SECONDS_MAX;
    PbxLimits {
        connect_timeout: section.seconds("connect_timeout_s", default.connect_timeout, positive.clone()),
        reply_timeout: section.seconds("reply_timeout_s", default.reply_timeout, positive.clone()),
        cdr_timeout: section.seconds("cdr_timeout_s", default.cdr_timeout, positive.clone()),
        idle_timeout: section.seconds("idle_timeout_s", default.idle_timeout, positive.clone()),
        throughput_bytes_s_min: section.count(
            "throughput_bytes_s_min",
            default.throughput_bytes_s_min,
            0..=1_000_000_000,
        ),
        ticket_age_max: section.seconds(
            "ticket_age_max_s",
            default.ticket_age_max,
            SECONDS_MIN..=TICKET_AGE_S_MAX,
        ),
        lockout_wait: section.seconds("lockout_wait_s", default.lockout_wait, positive),
        outage_patience: section.seconds("outage_patience_s", default.outage_patience, 0.0..=SECONDS_MAX),
        outage_retry_max: section.seconds(
            "outage_retry_s_max",
            default.outage_retry_max,
            SECONDS_MIN..=SECONDS_MAX,
        ),
        recording_bytes_max: section.size("recording_bytes_max", default.recording_bytes_max, 1024),
        cdr_bytes_max: section.size("cdr_bytes_max", default.cdr_bytes_max, 1024),
        intake_rows_per_day_max: section.count(
            "intake_rows_per_day_max",
            default.intake_rows_per_day_max,
            1..=1_000_000_000,
        ),
        intake_bytes_per_day_max: section.size(
            "intake_bytes_per_day_max",
            default.intake_bytes_per_day_max,
            1024,
        ),
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

fn to_usize(count: u64) -> usize {
    usize::try_from(count).expect("counts are small")
}
