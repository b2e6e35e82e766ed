//! `[ledger]`: its name and the key that signs it. `[anchors]`, `[[anchor]]`, `[[witness]]`: who vouches for it.

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use toml::de::DeValue;

use super::document::unique;
use super::section::{Section, Wrong, settings, wrong};
use super::webhook::{SecretUrl, encrypted_url, url};
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

const CERTIFICATES_BYTES_MAX: u64 = 1 << 20;

settings! {
    /// Who vouches for the ledger's checkpoints, and how often.
    #[derive(Debug, Clone)]
    pub struct AnchorsConfig from section("anchors") {
        /// How long after one checkpoint the next is shown to somebody, if there is a new one.
        pub every: Duration = section.seconds("every_s", 3600.0, 60.0..=86_400.0),
        /// The longest wait for an answer.
        pub timeout: Duration = section.seconds("timeout_s", 20.0, 0.1..=300.0),
        /// `[[anchor]]`: time-stamp authorities; names are unique.
        pub authorities: Vec<AuthorityConfig> = Vec::new(),
        /// `[[witness]]`; names are unique.
        pub witnesses: Vec<WitnessConfig> = Vec::new(),
    }
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

pub(super) fn read_anchors(root: &Section<'_>) -> AnchorsConfig {
    let (authorities, witnesses) = (root.several("anchor"), root.several("witness"));
    unique(&authorities, "name");
    unique(&witnesses, "vkey");
    AnchorsConfig {
        authorities: authorities.iter().filter_map(authority).collect(),
        witnesses: witnesses.iter().filter_map(witness).collect(),
        ..root.read_within("anchors", AnchorsConfig::read)
    }
}

fn authority(section: &Section<'_>) -> Option<AuthorityConfig> {
    let example = "\"…\", a short name that becomes a part of file names";
    let name = section.require("name", example, authority_name);
    let url = encrypted_url(section, "\"https://…\", where it takes requests", "is not encrypted");
    let certificates = section.read("ca_file", |value| certificates(section, value));
    Some(AuthorityConfig { name: name?, url: url?, certificates })
}

fn witness(section: &Section<'_>) -> Option<WitnessConfig> {
    let url = section.require("url", "\"https://…\", its submission prefix", url);
    if url.as_ref().is_some_and(SecretUrl::is_plain) {
        section.reject("url", wrong("is not encrypted", "use https"));
    }
    let key = section.require("vkey", "\"<name>+<id>+<key>\", as the witness shows it", vkey);
    Some(WitnessConfig { url: with_call(url?), key: key? })
}

/// The address of the one call that there is, below the prefix.
fn with_call(prefix: SecretUrl) -> SecretUrl {
    let path = format!("{}/add-checkpoint", prefix.expose().path().trim_end_matches('/'));
    prefix.with_path(&path)
}

fn authority_name(value: &DeValue<'_>) -> Result<String, Wrong> {
    let remedy = "write a short name such as \"freetsa\"; it becomes a part of file names";
    value::short_name(value, remedy).map(str::to_owned)
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
