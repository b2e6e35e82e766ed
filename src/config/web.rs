//! `[web]`: where health, metrics and the feed are served, under which names, and with which certificate.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use toml::de::DeValue;

use super::file::Purpose;
use super::section::{Section, Wrong, settings, wrong};
use super::{secrets, value};

/// Loopback: what is served names sites and their troubles, and asks nobody who he is.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8377);
/// The longest name of a host that DNS knows.
const HOST_BYTES_MAX: usize = 253;

settings! {
    /// Where health, metrics and the feed are served, and how.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct WebConfig from section("web") {
        /// The address; none if nothing is served.
        pub listen: Option<SocketAddr> = section.read("listen", listen).unwrap_or(Some(LISTEN)),
        /// The names by which requests may call this machine, in lower case, besides its addresses and `localhost`.
        pub hosts: Vec<String> = section.each("hosts", host),
        /// The files of the certificate; none if plain HTTP is spoken.
        pub certificate: Option<CertificateFiles> = certificate_files(section),
        /// Whether readers' tokens are taken over plain HTTP from other machines too.
        pub allow_plain_http: bool = section.switch("allow_plain_http", false),
    }
}

impl WebConfig {
    /// Whether others on the network could read a token on its way here, and the operator did not say that they may.
    pub fn is_plain_unasked(&self) -> bool {
        let is_open = self.listen.is_some_and(|listen| !listen.ip().is_loopback());
        is_open && self.certificate.is_none() && !self.allow_plain_http
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

/// A name of `hosts`.
fn host(text: &str) -> Result<String, Wrong> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_plain);
    if text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label) && text.parse::<IpAddr>().is_err() {
        return Ok(text.to_ascii_lowercase());
    }
    let remedy = "write a name alone, such as \"vault.example.org\", without scheme and port; addresses and \
                  localhost need not be listed";
    Err(wrong("is not the name of a host", remedy))
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
        secrets::note_secret_file(section, "key_file", key);
    }
    let files = CertificateFiles { certificate: certificate?, key: key? };
    if section.reading.purpose == Purpose::Check
        && let Err(unusable) = files.load().and_then(|_| refuse_open_key(&files))
    {
        section.reject(unusable.key, wrong(unusable.message, unusable.remedy));
    }
    Some(files)
}

/// The largest file of certificates or of a key.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The files of a certificate, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those between it and its authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why the files cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("[web] {key}: {message}; {remedy}")]
pub struct UnusableCertificate {
    /// The configuration key whose file it is.
    pub key: &'static str,
    pub message: String,
    pub remedy: String,
}

impl CertificateFiles {
    /// Reads both files, and makes of them what a server accepts connections with: TLS 1.2 and 1.3, HTTP/1.1.
    ///
    /// # Errors
    /// If one of them cannot be read or holds something else, or if the key is that of another certificate.
    pub fn load(&self) -> Result<Arc<ServerConfig>, UnusableCertificate> {
        const CERTIFICATE: &str = "certificate_file";
        let chain = CertificateDer::pem_slice_iter(&read_pem(CERTIFICATE, &self.certificate)?)
            .collect::<Result<Vec<_>, _>>()
            .unwrap_or_default();
        if chain.is_empty() {
            let remedy = "let it hold the certificate in PEM, and those between it and its authority";
            return Err(unusable(CERTIFICATE, &self.certificate, "holds no certificate", remedy));
        }
        let key = PrivateKeyDer::from_pem_slice(&read_pem("key_file", &self.key)?).map_err(|_| {
            unusable("key_file", &self.key, "holds no private key", "let it hold the key in PEM, unencrypted")
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(|error| {
            let certificate = self.certificate.display();
            let message = format!("cannot be used with {certificate} ({error})");
            unusable("key_file", &self.key, &message, "name the key that belongs to the certificate")
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Refuses a private key that everyone on this machine may read.
pub(super) fn refuse_open_key(files: &CertificateFiles) -> Result<(), UnusableCertificate> {
    let metadata =
        std::fs::metadata(&files.key).map_err(|error| unreadable("key_file", &files.key, &error))?;
    if metadata.permissions().mode() & secrets::OTHERS_READ == 0 {
        return Ok(());
    }
    let remedy = format!("chmod 600 {}", files.key.display());
    Err(unusable("key_file", &files.key, "may be read by everyone on this machine", &remedy))
}

fn read_pem(key: &'static str, path: &Path) -> Result<Vec<u8>, UnusableCertificate> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| unreadable(key, path, &error))
}

fn unreadable(key: &'static str, path: &Path, error: &std::io::Error) -> UnusableCertificate {
    let message = format!("cannot be read ({})", super::file::reason(error));
    unusable(key, path, &message, "let it be there, and the user that callvault runs as read it")
}

fn unusable(key: &'static str, path: &Path, message: &str, remedy: &str) -> UnusableCertificate {
    let message = format!("{} {message}", path.display());
    UnusableCertificate { key, message, remedy: remedy.to_owned() }
}
