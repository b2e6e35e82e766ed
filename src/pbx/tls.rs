//! Whom we take for the PBX: a certificate that the system's roots vouch for, or the one key that is pinned.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError,
    PeerIncompatible, SignatureScheme,
};
use rustls_platform_verifier::Verifier;
use webpki::RawPublicKeyEntity;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;

use crate::base::digest::Digest;
use crate::base::recording::printable;

/// Why a certificate was not accepted, with what the operator needs in order to decide about it.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Untrusted {
    #[error("the certificate is not known ({why}); its key has the SHA-256 {seen}")]
    Unknown { seen: Digest, why: String },
    #[error("the key has the SHA-256 {seen}, pinned is {pin}")]
    PinMismatch { seen: Digest, pin: Digest },
    #[error("the certificate cannot be read: {why}")]
    Unreadable { why: String },
    /// Its key cannot be used here, whether it is pinned or not.
    #[error("the certificate's key is {key}, which rustls does not use")]
    UnusableKey { key: String },
}

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

/// How rustls is to be set up for a PBX.
///
/// The system's roots are loaded only if nothing is pinned; if this machine has none, every certificate is unknown.
pub(super) fn client_config(pin: Option<Digest>) -> ClientConfig {
    config(match pin {
        Some(pin) => Trust::Pin(pin),
        None => match shared_roots() {
            Ok(verifier) => Trust::Roots(verifier),
            Err(why) => Trust::Nobody(why),
        },
    })
}

/// How rustls is to be set up to look at a certificate, whosever it is. Nothing must be said over such a connection.
pub(super) fn config_to_look() -> ClientConfig {
    config(Trust::Anyone)
}

/// The provider is given explicitly: nothing depends on a default that some `main` installed.
fn config(trust: Trust) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = KeyVerifier { trust, known: provider.signature_verification_algorithms };
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth()
}

#[derive(Debug)]
enum Trust {
    Roots(Arc<rustls_platform_verifier::Verifier>),
    /// One key, whatever the certificate around it says.
    Pin(Digest),
    Anyone,
    Nobody(String),
}

#[derive(Debug)]
struct KeyVerifier {
    trust: Trust,
    known: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judge = || {
            let seen = key_sha256(end_entity)?;
            // Before anything is said about trust: no pin makes such a key work.
            let is_other_key = matches!(&self.trust, Trust::Pin(pin) if *pin != seen);
            if let Some(key) = unusable_key(end_entity).filter(|_| !is_other_key) {
                return Err(Untrusted::UnusableKey { key });
            }
            match &self.trust {
                Trust::Anyone => Ok(()),
                Trust::Pin(pin) if *pin == seen => Ok(()),
                Trust::Pin(pin) => Err(Untrusted::PinMismatch { seen, pin: *pin }),
                Trust::Nobody(why) => Err(Untrusted::Unknown { seen, why: why.clone() }),
                Trust::Roots(roots) => {
                    let verdict = roots.verify_server_cert(end_entity, intermediates, name, ocsp, now);
                    verdict.map(drop).map_err(|error| Untrusted::Unknown { seen, why: words_of(&error) })
                }
            }
        };
        match judge() {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(untrusted) => Err(CertificateError::Other(OtherError(Arc::new(untrusted))).into()),
        }
    }

    // A pin alone proves nothing: anyone can send a copy of a certificate. The signatures over the handshake prove
    // that the other side has the key.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match raw_key(certificate) {
            Some(key) => verify_tls12_signature_with_raw_key(message, &key, signature, &self.known),
            None => verify_tls12_signature(message, certificate, signature, &self.known),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match raw_key(certificate) {
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, signature, &self.known),
            None => verify_tls13_signature(message, certificate, signature, &self.known),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_schemes()
    }
}

/// What rustls has for TLS 1.3 only: the signature over a handshake, checked with a key that no certificate of today
/// surrounds. The check itself is that of the library behind rustls.
fn verify_tls12_signature_with_raw_key(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    signature: &DigitallySignedStruct,
    known: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let bad_signature = || rustls::Error::from(CertificateError::BadSignature);
    let key = RawPublicKeyEntity::try_from(key).map_err(|_| CertificateError::BadEncoding)?;
    let of_scheme = known.mapping.iter().find(|(scheme, _)| *scheme == signature.scheme);
    let (_, algorithms) = of_scheme.ok_or_else(bad_signature)?;
    // An elliptic curve's scheme may go with several kinds of keys.
    let is_valid = algorithms
        .iter()
        .any(|algorithm| key.verify_signature(*algorithm, message, signature.signature()).is_ok());
    if is_valid { Ok(HandshakeSignatureValid::assertion()) } else { Err(bad_signature()) }
}

/// They take 150 certificates or so of memory, and every PBX is verified by the same ones.
static ROOTS: OnceLock<Arc<Verifier>> = OnceLock::new();

/// The verifier that knows the roots; loads them if nobody has. A machine without any is asked again next time.
fn shared_roots() -> Result<Arc<Verifier>, String> {
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let loaded = Verifier::new(provider).map_err(|error| error.to_string())?;
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(loaded))))
}

/// Whether the roots vouch for a chain, the server's own certificate first; else why not.
pub(super) fn roots_judge(
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), String> {
    let (own, intermediates) = chain.split_first().ok_or("there is no certificate")?;
    let verdict = shared_roots()?.verify_server_cert(own, intermediates, name, &[], now);
    verdict.map(drop).map_err(|error| words_of(&error))
}

/// An error of a handshake, or of a connection after it.
pub(super) fn words_of(error: &Error) -> String {
    let words = match error {
        Error::AlertReceived(alert) => {
            return format!("it refuses with the TLS alert \"{}\"", alert_words(*alert));
        }
        Error::InvalidCertificate(why) => certificate_words(why),
        Error::PeerIncompatible(why) => incompatible_words(why),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => "what it says is not TLS",
        Error::InappropriateHandshakeMessage { .. } | Error::PeerMisbehaved(_) => {
            "it does not keep to the rules of TLS"
        }
        Error::NoCertificatesPresented => "it shows no certificate",
        Error::UnsupportedNameType => "its name in `url` cannot stand in a certificate",
        Error::DecryptError => "what it sent cannot be decrypted",
        Error::EncryptError => "nothing can be encrypted for it",
        Error::PeerSentOversizedRecord => "it sent more than a TLS record may hold",
        Error::HandshakeNotComplete => "the handshake is not complete",
        Error::NoApplicationProtocol => "it wants another protocol than HTTP/1.1",
        Error::General(why) => why,
        _ => "TLS failed",
    };
    words.to_owned()
}

/// Why the roots of this machine do not vouch for a certificate.
fn certificate_words(why: &CertificateError) -> &'static str {
    use CertificateError as Why;
    match why {
        // CA certificates that stand for a server are self-signed ones as `openssl req -x509` makes them.
        Why::UnknownIssuer => "self-signed, or signed by an authority that this machine does not know",
        Why::Expired | Why::ExpiredContext { .. } => "it has expired",
        Why::NotValidYet | Why::NotValidYetContext { .. } => {
            "it is not valid yet, unless this machine's clock is slow"
        }
        Why::NotValidForName | Why::NotValidForNameContext { .. } => {
            "it is for another name than the one in `url`"
        }
        Why::Revoked => "it was revoked",
        Why::BadEncoding => "it is not written as certificates are",
        Why::BadSignature => "its signature is wrong",
        Why::InvalidPurpose | Why::InvalidPurposeContext { .. } => "it is not one for servers",
        Why::UnhandledCriticalExtension => "it has a critical extension that is not known here",
        Why::ApplicationVerificationFailure => "this machine's own check refuses it",
        other => other_words(&format!("{other:?}")),
    }
}

/// What the verifier tells only as the name of another library's error; none of it is shown.
fn other_words(name: &str) -> &'static str {
    let table = [
        ("CaUsedAsEndEntity", "self-signed, or signed by an authority that this machine does not know"),
        ("UnsupportedCertVersion", "it is of X.509 version 1, which is too old for any root to confirm"),
        (
            "UnsupportedSignatureAlgorithm",
            "it is signed in a way that is not accepted any more, such as MD5 or SHA-1",
        ),
        ("UnsupportedPublicKey", "its key is of a kind or length that is not accepted any more"),
        ("MissingSubjectAltName", "it has no subject alternative name"),
    ];
    let found = table.iter().find(|(part, _)| name.contains(part));
    found.map_or("this machine's check of certificates refuses it", |(_, words)| words)
}

fn incompatible_words(why: &PeerIncompatible) -> &'static str {
    use PeerIncompatible as Why;
    match why {
        Why::ServerDoesNotSupportTls12Or13 | Why::SupportedVersionsExtensionRequired => {
            "it speaks only versions of TLS before 1.2"
        }
        Why::NoCipherSuitesInCommon => "it has no cipher in common with us",
        Why::NoKxGroupsInCommon | Why::NamedGroupsExtensionRequired | Why::NoEcPointFormatsInCommon => {
            "it has no way in common with us to agree upon a key"
        }
        Why::NoSignatureSchemesInCommon => "it signs only in ways that are not accepted any more",
        _ => "it has no TLS in common with us",
    }
}

/// `HandshakeFailure` as `handshake failure`: the names of the alerts are those of the standard (RFC 8446, §6).
fn alert_words(alert: AlertDescription) -> String {
    let Some(name) = alert.as_str() else { return format!("number {}", u8::from(alert)) };
    let mut words = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(character.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pbxs_share_one_copy_of_the_roots() {
        match (shared_roots(), shared_roots()) {
            (Ok(one), Ok(other)) => assert!(Arc::ptr_eq(&one, &other)),
            // A machine without roots says so each time.
            (one, other) => assert!(one.is_err() && other.is_err()),
        }
    }
}
