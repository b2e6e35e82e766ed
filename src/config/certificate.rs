//! The certificate that the listener shows, from files that something else renews.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The largest file of certificates or of a key.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The permission bit that lets anyone on the machine read a file.
const OTHERS_READ: u32 = 0o004;

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
        let chain = CertificateDer::pem_slice_iter(&read(CERTIFICATE, &self.certificate)?)
            .collect::<Result<Vec<_>, _>>()
            .unwrap_or_default();
        if chain.is_empty() {
            let remedy = "let it hold the certificate in PEM, and those between it and its authority";
            return Err(unusable(CERTIFICATE, &self.certificate, "holds no certificate", remedy));
        }
        let key = PrivateKeyDer::from_pem_slice(&read("key_file", &self.key)?).map_err(|_| {
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
    if metadata.permissions().mode() & OTHERS_READ == 0 {
        return Ok(());
    }
    let remedy = format!("chmod 600 {}", files.key.display());
    Err(unusable("key_file", &files.key, "may be read by everyone on this machine", &remedy))
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, UnusableCertificate> {
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
