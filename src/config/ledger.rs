//! `[ledger]`: what the ledger is called, and the key that signs it.

use secrecy::{ExposeSecret as _, SecretString};
use toml::de::DeValue;

use super::section::{Section, Wrong, wrong};
use super::{password, value};
use crate::base::digest::unhex;
use crate::formats::tlog::is_key_name;

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
    let key = if section.has("key_file") { password::secret_file(section, "key_file") } else { None };
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
