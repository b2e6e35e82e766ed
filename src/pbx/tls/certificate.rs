//! What a certificate says, and what it is pinned by.

use jiff::Timestamp;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;

use super::Untrusted;
use crate::base::digest::Digest;
use crate::base::recording::printable;

/// A certificate as people compare it. What it says of itself is not proven.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Certificate {
    /// Whose it says it is.
    pub subject: String,
    /// Who says so.
    pub issuer: String,
    /// When it begins to hold.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// SHA-256 of the whole certificate: what browsers show as its fingerprint.
    pub sha256: Digest,
    /// SHA-256 of its `SubjectPublicKeyInfo`: what is pinned. It outlives a certificate that is renewed with the same
    /// key.
    pub key_sha256: Digest,
}

impl Certificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// What keeps it from being read.
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
pub(in crate::pbx) fn key_sha256(der: &[u8]) -> Result<Digest, Untrusted> {
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
pub(in crate::pbx) fn unusable_key(der: &[u8]) -> Option<String> {
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
pub(in crate::pbx) fn raw_key(der: &[u8]) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let parsed = parse(der).ok()?;
    let is_current = parsed.version() == X509Version::V3;
    (!is_current).then(|| SubjectPublicKeyInfoDer::from(parsed.public_key().raw.to_vec()))
}
