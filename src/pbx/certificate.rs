//! What the certificate of a PBX says, what it is pinned by, and whether the system's roots vouch for it.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;

use crate::base::digest::Digest;
use crate::base::recording::printable;
use crate::config::{PbxConfig, TlsBackend};
use crate::pbx::connection::secure;
use crate::pbx::error::{Failure, PbxError, Reason, When};
use crate::pbx::legacy;
use crate::pbx::tls::{Untrusted, config_to_look, roots_judge};
use crate::pbx::transport::{Origin, no_answer, no_tls};

/// A certificate as people compare it. What it says of itself is not proven.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Certificate {
    pub subject: String,
    pub issuer: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// SHA-256 of the whole certificate: what browsers show as its fingerprint.
    pub sha256: Digest,
    /// SHA-256 of its `SubjectPublicKeyInfo`: what is pinned. It outlives a certificate that is renewed with the same
    /// key.
    pub key_sha256: Digest,
}

impl Certificate {
    /// Reads a certificate in DER.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let parsed = parse(der)?;
        let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| error.to_string());
        Ok(Self {
            // A stranger wrote these: they go to terminals.
            subject: printable(parsed.subject().to_string().as_bytes()),
            issuer: printable(parsed.issuer().to_string().as_bytes()),
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
            sha256: Digest::of(der),
            key_sha256: Digest::of(parsed.public_key().raw),
        })
    }
}

/// SHA-256 of the `SubjectPublicKeyInfo` of a certificate in DER.
pub(super) fn key_sha256(der: &[u8]) -> Result<Digest, Untrusted> {
    let parsed = parse(der).map_err(|why| Untrusted::Unreadable { why })?;
    Ok(Digest::of(parsed.public_key().raw))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    Ok(parsed)
}

/// Where rustls with ring begins and ends to use RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The key of a certificate in words, if rustls does not use such a key: RSA that is too short or too long, DSA, and
/// whatever else is no RSA, elliptic curve or Ed25519 key.
pub(super) fn unusable_key(der: &[u8]) -> Option<String> {
    /// RFC 8410, §3.
    const ED25519: &str = "1.3.101.112";
    let parsed = parse(der).ok()?;
    let key = parsed.public_key();
    match key.parsed().ok()? {
        PublicKey::RSA(rsa) => {
            let bits = rsa.key_size();
            (!RSA_BITS.contains(&bits)).then(|| format!("RSA with {bits} bits"))
        }
        PublicKey::EC(_) => None,
        PublicKey::DSA(_) => Some("a DSA key".to_owned()),
        _ if key.algorithm.algorithm.to_id_string() == ED25519 => None,
        _ => Some("of a kind that is not known here".to_owned()),
    }
}

/// The `SubjectPublicKeyInfo` of a certificate in DER that is not of X.509 version 3; none if it is.
///
/// Old appliances make certificates of version 1. The library behind rustls does not read those, though nothing in them
/// but the key is asked for where it is pinned.
pub(super) fn raw_key(der: &[u8]) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let parsed = parse(der).ok()?;
    let is_current = parsed.version() == X509Version::V3;
    (!is_current).then(|| SubjectPublicKeyInfoDer::from(parsed.public_key().raw.to_vec()))
}

/// The certificate that a PBX shows.
#[derive(Debug, Clone)]
pub struct Shown {
    pub certificate: Certificate,
    /// Whether the system's roots vouch for it; else why not.
    pub roots: Result<(), String>,
}

/// Looks at the certificate of a PBX over TLS as it is configured, whatever is pinned. Nothing is said over the
/// connection: no HTTP, no login.
pub async fn look_at_certificate(config: &PbxConfig, now: Timestamp) -> Result<Shown, PbxError> {
    let outcome = look(config, now).await;
    outcome.map_err(|failure| PbxError::of(&config.id, When::Asking, "looking at its certificate", failure))
}

async fn look(config: &PbxConfig, now: Timestamp) -> Result<Shown, Failure> {
    let to = Origin::of(config);
    let name = ServerName::try_from(to.host.clone()).map_err(|error| no_tls(error, &to))?;
    let chain = async {
        match to.backend {
            TlsBackend::Rustls => over_rustls(&to).await,
            TlsBackend::OpenSsl => legacy::look(&to).await,
        }
    };
    let chain =
        tokio::time::timeout(to.connect_timeout, chain).await.unwrap_or_else(|_| Err(no_answer(&to)))?;
    let own = chain.first().ok_or_else(|| no_tls("it shows no certificate", &to))?;
    let certificate = Certificate::read(own).map_err(|why| {
        Failure::new(Reason::TlsHandshake, format!("{}: the certificate cannot be read: {why}", to.text))
            .with_remedy("give the PBX another one")
    })?;
    let now = UnixTime::since_unix_epoch(now.as_duration().try_into().unwrap_or_default());
    Ok(Shown { certificate, roots: roots_judge(&chain, &name, now) })
}

async fn over_rustls(to: &Origin) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let tls = secure(Arc::new(config_to_look()), to).await?;
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(chain.iter().map(|der| der.clone().into_owned()).collect())
}
