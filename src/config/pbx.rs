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
use super::section::{Section, Wrong, settings, wrong};
use super::{
    ApiVersion, Generation, Manners, PbxLimits, PushMode, RetentionHints, TlsBackend, TlsVersion, cdr, push,
    secrets, tls, value,
};
use crate::base::digest::Digest;
use crate::base::words::words;

/// The most that may be asked for; the PBX's web server is a small one (`docs/pbx-api.md` §11).
const CONCURRENCY_MAX: u64 = 8;

/// Folder names that some systems which may hold or read the archive cannot have.
const RESERVED_IDS: [&str; 4] = ["con", "prn", "aux", "nul"];

settings! {
    #[derive(Debug, Clone)]
    pub struct PbxConfig from section("pbx") {
        /// Its name in paths, logs and commands: `[a-z0-9][a-z0-9_-]*`, at most 32 characters.
        pub id: String = section.require("id", "\"hq\"", id).unwrap_or_default(),
        /// Scheme, host and port; no path.
        pub url: Url = read_url(section),
        /// The version in the request path, and the error table that goes with it.
        pub api_version: ApiVersion = section.read("api_version", api_version).unwrap_or_default(),
        /// The version in the path of downloads, if it differs.
        pub download_api_version: ApiVersion = ApiVersion::default(),
        pub username: String = username(section),
        pub password: SecretString = SecretString::default(),
        /// Where the password came from, to name in errors: a file's path, or the configuration file itself.
        pub password_source: PathBuf = PathBuf::from("(given by the program)"),
        /// The PBX's time zone, if the operator gave it.
        pub timezone: Option<TimeZone> = section.read("timezone", timezone),
        /// Most connections to this PBX at one time. Its first job is calls.
        pub concurrency: usize = section.count("concurrency", 2, 1..=CONCURRENCY_MAX),
        /// SHA-256 of the `SubjectPublicKeyInfo` of the PBX's certificate: replaces verification by the system's roots.
        pub tls_pin_sha256: Option<Digest> = section.read("tls_pin_sha256", tls::pin),
        /// Which library speaks TLS to it.
        pub tls_backend: TlsBackend = section.read("tls_backend", tls::backend).unwrap_or(TlsBackend::Rustls),
        /// The oldest version of TLS spoken to it.
        pub tls_version_min: TlsVersion = section.word("tls_version_min").unwrap_or(TlsVersion::V1_2),
        /// Sent as `port` at login, only if given: it moves the PBX's event reports to this machine.
        pub login_port: Option<u16> = section.read("login_port", value::port),
        /// Whether and how it reports its events to us.
        pub push: PushMode = PushMode::Off,
        /// Where its reports come from, besides the host of `url`.
        pub push_from: Vec<IpAddr> = section.each("push_from", push::source),
        /// Sent as `allowedip` with every ticket request, if given.
        pub allowed_ip: Option<IpAddr> = section.read("allowed_ip", address),
        /// Every wait and bound towards this PBX.
        pub limits: PbxLimits = PbxLimits::read(section),
        /// Bounds on what is asked of it.
        pub manners: Manners = Manners::read(section),
        /// What it keeps before it overwrites the oldest.
        pub retention: RetentionHints = RetentionHints::read(section),
        /// A folder whose `*.csv` files are read as CDR besides or instead of the API.
        pub cdr_folder: Option<PathBuf> = section.read("cdr_folder", value::folder),
        /// Whether the CDR is read over the API.
        pub cdr_api: bool = true,
        /// How a call list heads its columns: our column → its heading, or the column's number such as `#12`.
        pub cdr_columns: BTreeMap<String, String> = cdr::columns(section),
        /// Headings of columns that callvault does not know, and that are stored all the same.
        pub cdr_keep_columns: Vec<String> = cdr::keep_columns(section),
        /// How its voicemail is dealt with.
        pub voicemail: VoicemailConfig = VoicemailConfig::read(section),
    }
}

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
            ..Self::default()
        }
    }
}

/// Reads the section: key by key, and then those that depend on others. What is missing or wrong is noted, so that the file is
/// refused: what stands here for it is never used.
pub(super) fn read(section: &Section<'_>) -> PbxConfig {
    let mut pbx = PbxConfig::read(section);
    (pbx.password, pbx.password_source) = secrets::read(section).unwrap_or_default();
    let download_api_version = section.read("download_api_version", api_version);
    pbx.download_api_version = download_api_version.unwrap_or_else(|| pbx.api_version.clone());
    tls::check(section, &pbx);
    pbx.push = push::mode(section, &pbx.api_version);
    pbx.cdr_api = cdr::over_api(section, &pbx.api_version);
    pbx
}

fn id(value: &DeValue<'_>) -> Result<String, Wrong> {
    let remedy = "write a short name such as \"hq\"; it becomes a folder of the archive";
    let text = value::short_name(value, remedy)?;
    let device = text.strip_prefix("com").or_else(|| text.strip_prefix("lpt"));
    let is_device = device.is_some_and(|number| matches!(number.as_bytes(), [b'1'..=b'9']));
    if is_device || RESERVED_IDS.contains(&text) {
        return Err(wrong("is a name that no folder can have on some systems", "choose another"));
    }
    Ok(text.to_owned())
}

fn username(section: &Section<'_>) -> String {
    let username = section.require("username", "\"…\", the API user of the PBX", value::text);
    username.unwrap_or_default().to_owned()
}

/// Reads `url` with the two keys that its scheme decides about.
fn read_url(section: &Section<'_>) -> Url {
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
    url.unwrap_or_else(|| Url::parse("https://localhost").expect("it is a URL"))
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

settings! {
    /// How one PBX's voicemail is dealt with.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct VoicemailConfig from section("pbx") {
        /// Whether the service polls the boxes.
        pub is_polled: bool = section.switch("voicemail", true),
        /// Whether the folder of a message, as the list names it, is sent when it is asked for.
        pub sends_status: bool = section.switch("voicemail_status", true),
        /// How many messages the device keeps for one extension before it deletes the oldest: a hint, no API tells it. It is 50
        /// unless its administrator says otherwise (`docs/pbx-api.md` §10).
        pub per_extension: u64 = section.count("voicemail_per_extension", 50, 1..=100_000),
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
