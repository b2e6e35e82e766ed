//! `[ledger]`: its name and the key that signs it. `[anchors]`, `[[anchor]]`, `[[witness]]`: who vouches for it.

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use toml::de::{DeTable, DeValue};

use super::document::{several, single, unique};
use super::section::{Reading, Section, Wrong, wrong};
use super::webhook::{SecretUrl, is_loopback, url};
use super::{file, secrets, value};
use crate::base::digest::unhex;
use crate::formats::tlog::{WitnessKey, is_key_name};

/// The longest name of a ledger.
const ORIGIN_BYTES_MAX: usize = 200;

#[derive(Debug, Clone, Default)]
pub struct LedgerConfig {
    /// What it is called in checkpoints, and its keys with it; unless the operator chose, `callvault/` and half of the state's id.
    pub origin: Option<String>,
    /// The secret of its key in hex, if the operator keeps it; else callvault makes one in the state folder.
    pub key: Option<SecretString>,
}

pub(super) fn read(section: &Section<'_>) -> LedgerConfig {
    let origin = section.read("origin", origin);
    let key = if section.has("key_file") { secrets::secret_file(section, "key_file") } else { None };
    let key = key.map(|(key, _)| key);
    let is_seed = |key: &SecretString| unhex(key.expose_secret().trim()).is_some_and(|seed| seed.len() == 32);
    if key.as_ref().is_some_and(|key| !key.expose_secret().is_empty() && !is_seed(key)) {
        let remedy = "make one with `openssl rand -hex 32`, or remove the line, and callvault makes one";
        section.reject("key_file", wrong("names a file that does not hold 64 hex digits", remedy));
    }
    LedgerConfig { origin, key: key.filter(is_seed) }
}

fn origin(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value::text(value)?;
    let is_origin = is_key_name(text) && text.is_ascii() && text.len() <= ORIGIN_BYTES_MAX;
    let remedy = "write such as \"archive.example.com/callvault\": ASCII without blanks and plus signs";
    is_origin.then(|| text.to_owned()).ok_or_else(|| wrong("cannot be the name of a ledger", remedy))
}

/// The longest name of an authority: it becomes a part of file names.
const NAME_BYTES_MAX: usize = 32;
const CERTIFICATES_BYTES_MAX: u64 = 1 << 20;

/// Who vouches for the ledger's checkpoints, and how often.
#[derive(Debug, Clone)]
pub struct AnchorsConfig {
    /// How long after one checkpoint the next is shown to somebody, if there is a new one.
    pub every: Duration,
    /// The longest wait for an answer.
    pub timeout: Duration,
    /// `[[anchor]]`: time-stamp authorities; names are unique.
    pub authorities: Vec<AuthorityConfig>,
    /// `[[witness]]`; names are unique.
    pub witnesses: Vec<WitnessConfig>,
}

#[derive(Debug, Clone)]
pub struct AuthorityConfig {
    /// Its name in file names, metrics and alerts: `[a-z0-9][a-z0-9_-]*`, at most 32 characters.
    pub name: String,
    pub url: SecretUrl,
    /// The certificates by which its tokens are verified, in PEM, if the operator gave them.
    pub certificates: Option<String>,
}

#[derive(Debug, Clone)]
pub struct WitnessConfig {
    pub url: SecretUrl,
    pub key: WitnessKey,
}

impl Default for AnchorsConfig {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(3600),
            timeout: Duration::from_secs(20),
            authorities: Vec::new(),
            witnesses: Vec::new(),
        }
    }
}

pub(super) fn read_anchors(root: &DeTable<'_>, reading: &Reading<'_>) -> AnchorsConfig {
    let mut anchors = AnchorsConfig::default();
    if let Some(section) = single("anchors", root, reading) {
        anchors.every = section.seconds("every_s", anchors.every, 60.0..=86_400.0);
        anchors.timeout = section.seconds("timeout_s", anchors.timeout, 0.1..=300.0);
    }
    let sections = several("anchor", root, reading);
    unique(&sections, "name");
    anchors.authorities = sections.iter().filter_map(authority).collect();
    let sections = several("witness", root, reading);
    unique(&sections, "vkey");
    anchors.witnesses = sections.iter().filter_map(witness).collect();
    anchors
}

fn authority(section: &Section<'_>) -> Option<AuthorityConfig> {
    let name =
        section.require("name", "\"…\", a short name that becomes a part of file names", authority_name);
    let url = section.require("url", "\"https://…\", where it takes requests", url);
    let allowed = section.switch("allow_plain_http", false);
    refuse_plain_http(
        section,
        url.as_ref().filter(|_| !allowed),
        "use https, or add allow_plain_http = true",
    );
    let certificates = section.read("ca_file", |value| certificates(section, value));
    Some(AuthorityConfig { name: name?, url: url?, certificates })
}

fn witness(section: &Section<'_>) -> Option<WitnessConfig> {
    let url = section.require("url", "\"https://…\", its submission prefix", url);
    refuse_plain_http(section, url.as_ref(), "use https");
    let key = section.require("vkey", "\"<name>+<id>+<key>\", as the witness shows it", vkey);
    Some(WitnessConfig { url: with_call(url?), key: key? })
}

fn refuse_plain_http(section: &Section<'_>, url: Option<&SecretUrl>, remedy: &str) {
    if url.is_some_and(|url| url.expose().scheme() == "http" && !is_loopback(url.host())) {
        section.reject("url", wrong("is not encrypted", remedy));
    }
}

/// The address of the one call that there is, below the prefix.
fn with_call(prefix: SecretUrl) -> SecretUrl {
    let path = format!("{}/add-checkpoint", prefix.expose().path().trim_end_matches('/'));
    prefix.with_path(&path)
}

fn authority_name(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value::text(value)?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let begins_well = text.bytes().next().is_some_and(is_plain);
    let goes_on_well = text.bytes().all(|byte| is_plain(byte) || matches!(byte, b'_' | b'-'));
    if begins_well && goes_on_well && text.len() <= NAME_BYTES_MAX {
        return Ok(text.to_owned());
    }
    let message = format!("must be 1 to {NAME_BYTES_MAX} of a-z, 0-9, _ and -, the first a letter or digit");
    Err(wrong(message, "write a short name such as \"freetsa\"; it becomes a part of file names"))
}

fn vkey(value: &DeValue<'_>) -> Result<WitnessKey, Wrong> {
    let remedy = "copy the line that the witness shows, <name>+<id>+<base64>, of Ed25519";
    WitnessKey::from_vkey(value::text(value)?)
        .map_err(|error| wrong(format!("cannot be the key of a witness: {error}"), remedy))
}

/// The text of a file of certificates, found beside the configuration.
fn certificates(section: &Section<'_>, value: &DeValue<'_>) -> Result<String, Wrong> {
    let path = section.reading.origin.folder().join(value::text(value)?);
    let shown = path.display();
    let mut text = String::new();
    File::open(&path).and_then(|file| file.take(CERTIFICATES_BYTES_MAX).read_to_string(&mut text)).map_err(
        |error| {
            let remedy = "let the user that callvault runs as read it, or remove the line";
            wrong(format!("{shown} cannot be read ({})", file::reason(&error)), remedy)
        },
    )?;
    let is_pem = text.contains("-----BEGIN CERTIFICATE-----") && text.contains("-----END CERTIFICATE-----");
    let remedy = "let it hold the authority's certificates in PEM";
    is_pem.then_some(text).ok_or_else(|| wrong(format!("{shown} holds no certificate"), remedy))
}
