//! How rustls decides whom it takes for the PBX.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use webpki::RawPublicKeyEntity;

use super::{Untrusted, key_sha256, raw_key, roots, unusable_key, words};
use crate::base::digest::Digest;

/// How rustls is to be set up for a PBX.
///
/// The system's roots are loaded only if nothing is pinned; if this machine has none, every certificate is unknown.
pub(in crate::pbx) fn client_config(pin: Option<Digest>) -> ClientConfig {
    config(match pin {
        Some(pin) => Trust::Pin(pin),
        None => match roots::shared() {
            Ok(verifier) => Trust::Roots(verifier),
            Err(why) => Trust::Nobody(why),
        },
    })
}

/// How rustls is to be set up to look at a certificate, whosever it is. Nothing must be said over such a connection.
pub(in crate::pbx) fn config_to_look() -> ClientConfig {
    config(Trust::Anyone)
}

/// The provider is given explicitly: nothing depends on a default that some `main` installed.
fn config(trust: Trust) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = KeyVerifier { trust, provider: Arc::clone(&provider) };
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth()
}

#[derive(Debug)]
enum Trust {
    /// The roots of this machine.
    Roots(Arc<rustls_platform_verifier::Verifier>),
    /// One key, whatever the certificate around it says.
    Pin(Digest),
    /// Whoever it is, to be looked at.
    Anyone,
    /// No one, and why.
    Nobody(String),
}

#[derive(Debug)]
struct KeyVerifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl KeyVerifier {
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Untrusted> {
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
            Trust::Roots(roots) => match roots.verify_server_cert(end_entity, intermediates, name, ocsp, now)
            {
                Ok(_) => Ok(()),
                Err(error) => Err(Untrusted::Unknown { seen, why: words::of(&error) }),
            },
        }
    }
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
        match self.judge(end_entity, intermediates, name, ocsp, now) {
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
        let known = &self.provider.signature_verification_algorithms;
        match raw_key(certificate) {
            Some(key) => verify_tls12_signature_with_raw_key(message, &key, signature, known),
            None => verify_tls12_signature(message, certificate, signature, known),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        match raw_key(certificate) {
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, signature, known),
            None => verify_tls13_signature(message, certificate, signature, known),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
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
