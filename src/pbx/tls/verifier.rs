//! How rustls decides whom it takes for the PBX.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};

use super::{Untrusted, key_sha256, roots};
use crate::digest::Digest;

/// How rustls is to be set up for a PBX.
///
/// The system's roots are loaded only if `verified` and nothing is pinned; if this machine has none, every certificate
/// is unknown.
pub(in crate::pbx) fn client_config(verified: bool, pin: Option<Digest>) -> ClientConfig {
    config(match pin {
        Some(pin) => Trust::Pin(pin),
        None if verified => match roots::shared() {
            Ok(verifier) => Trust::Roots(verifier),
            Err(why) => Trust::Nobody(why),
        },
        None => Trust::Nobody("no TLS is configured".to_owned()),
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
        match &self.trust {
            Trust::Anyone => Ok(()),
            Trust::Pin(pin) if *pin == seen => Ok(()),
            Trust::Pin(pin) => Err(Untrusted::PinMismatch { seen, pin: *pin }),
            Trust::Nobody(why) => Err(Untrusted::Unknown { seen, why: why.clone() }),
            Trust::Roots(roots) => match roots.verify_server_cert(end_entity, intermediates, name, ocsp, now)
            {
                Ok(_) => Ok(()),
                Err(error) => Err(Untrusted::Unknown { seen, why: roots::objection(&error) }),
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
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
