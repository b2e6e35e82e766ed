//! `[web]`: where health, metrics and the feed are served, under which names, and with which certificate.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use toml::de::DeValue;

use super::certificate::{self, CertificateFiles};
use super::file::Purpose;
use super::section::{Section, Wrong, wrong};
use super::{password, value};

/// Loopback: what is served names sites and their troubles, and asks nobody who he is.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8377);
/// The longest name of a host that DNS knows.
const HOST_BYTES_MAX: usize = 253;

/// Where health, metrics and the feed are served, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebConfig {
    /// The address; none if nothing is served.
    pub listen: Option<SocketAddr>,
    /// The names by which requests may call this machine, in lower case, besides its addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The files of the certificate; none if plain HTTP is spoken.
    pub certificate: Option<CertificateFiles>,
    /// Whether readers' tokens are taken over plain HTTP from other machines too.
    pub allow_plain_http: bool,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self { listen: Some(LISTEN), hosts: Vec::new(), certificate: None, allow_plain_http: false }
    }
}

impl WebConfig {
    /// Whether others on the network could read a token on its way here, and the operator did not say that they may.
    pub fn is_plain_unasked(&self) -> bool {
        let is_open = self.listen.is_some_and(|listen| !listen.ip().is_loopback());
        is_open && self.certificate.is_none() && !self.allow_plain_http
    }
}

pub(super) fn read(section: &Section<'_>) -> WebConfig {
    WebConfig {
        listen: section.read("listen", listen).unwrap_or(Some(LISTEN)),
        hosts: hosts(section),
        certificate: certificate_files(section),
        allow_plain_http: section.switch("allow_plain_http", false),
    }
}

fn listen(value: &DeValue<'_>) -> Result<Option<SocketAddr>, Wrong> {
    match value::text(value)? {
        "off" => Ok(None),
        text => {
            let remedy = "write such as \"127.0.0.1:8377\" or \"[::1]:8377\", or \"off\"";
            text.parse().map(Some).map_err(|_| wrong("is not an address with a port", remedy))
        }
    }
}

/// The names of `hosts`.
fn hosts(section: &Section<'_>) -> Vec<String> {
    let Some(value) = section.get("hosts") else { return Vec::new() };
    let texts = match value::texts(value) {
        Ok(texts) => texts,
        Err(wrong) => {
            section.reject("hosts", wrong);
            return Vec::new();
        }
    };
    let mut hosts = Vec::new();
    for (text, part) in texts {
        match is_host(text) {
            true => hosts.push(text.to_ascii_lowercase()),
            false => {
                let remedy = "write a name alone, such as \"vault.example.org\", without scheme and port; addresses and \
                              localhost need not be listed";
                section.reject_part("hosts", part, wrong("is not the name of a host", remedy));
            }
        }
    }
    hosts
}

fn is_host(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_plain);
    text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label) && text.parse::<IpAddr>().is_err()
}

/// Both files, or none of them. Only a check reads them: a service whose certificate is broken archives all the same.
fn certificate_files(section: &Section<'_>) -> Option<CertificateFiles> {
    let path = |value: &DeValue<'_>| Ok(section.reading.origin.find(value::text(value)?));
    let certificate: Option<PathBuf> = section.read("certificate_file", path);
    let key: Option<PathBuf> = section.read("key_file", path);
    for (one, other) in [("certificate_file", "key_file"), ("key_file", "certificate_file")] {
        if section.has(one) && !section.has(other) {
            section
                .miss(other, wrong(format!("missing beside {one}"), format!("add {other} = \"…\", in PEM")));
        }
    }
    if let Some(key) = &key {
        password::note_secret_file(section, "key_file", key);
    }
    let files = CertificateFiles { certificate: certificate?, key: key? };
    if section.reading.purpose == Purpose::Check
        && let Err(unusable) = files.load().and_then(|_| certificate::refuse_open_key(&files))
    {
        section.reject(unusable.key, wrong(unusable.message, unusable.remedy));
    }
    Some(files)
}
