//! How far a token can be trusted: its signature, and the certificates that lead to one that the operator gave.
//!
//! A token counts only if all of this was verified. One that cannot be verified here is kept, because others may verify it,
//! and is called *not verified* everywhere. Revocation is not checked.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert, ring};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::timestamp::{self, SHA_256, SignedData, Signer, SignerId, Token};
use crate::base::digest::Digest;

/// How far a token's time may differ from the times that it must fit.
pub const TIME_OFF_MAX: SignedDuration = SignedDuration::from_mins(5);

/// 2.16.840.1.101.3.4.2.2 and .3, SHA-384 and SHA-512.
const SHA_384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const SHA_512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
/// 1.2.840.113549.1.1, of RSA.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.2.840.10045.4.3, of ECDSA with SHA-2; and 1.2.840.10045.2.1, a key on an elliptic curve.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
const EC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.3.101.112, of Ed25519.
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// 1.3.6.1.5.5.7.3.8, the purpose of a certificate for time stamps.
const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];

/// Certificates that verify the tokens of an authority.
#[derive(Debug, Clone)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    pub fn from_pem(text: &str) -> Self {
        Self(CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok).collect())
    }
}

/// Verified: signed for time stamps under a certificate that the operator gave. Otherwise why it is not.
pub type Trust = Result<(), Unproven>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("its [[anchor]] has no `ca_file`")]
    NoRoots,
    /// Signed in a way that callvault cannot verify.
    #[error("{0}")]
    Unknown(String),
    /// The signer's certificate does not lead to one of the operator's, or was not valid at that time.
    #[error("{0}")]
    Untrusted(String),
    /// Nobody can have given such a token for this checkpoint.
    #[error("its file {0}")]
    Wrong(String),
}

/// A token beside the ledger, and everything it is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    pub reply: &'a [u8],
    pub checkpoint: &'a [u8],
    pub last_entry: &'a [u8],
    pub roots: Option<&'a Roots>,
    pub now: Timestamp,
}

impl Evidence<'_> {
    /// When the token was given, and how far it can be trusted. It must be over the checkpoint beside it, not older than what
    /// the checkpoint covers, and not in the future; a clock may be a few minutes off.
    pub fn judge(&self) -> (Timestamp, Trust) {
        let wrong = |what: String| Err(Unproven::Wrong(what));
        let (token, trust) = match verify(self.reply, self.roots) {
            Ok(verified) => verified,
            Err(what) => return (self.now, wrong(what)),
        };
        if token.imprint != Digest::of(self.checkpoint) {
            return (token.at, wrong("is a token over other bytes than its checkpoint".to_owned()));
        }
        let Some(written) = written_at(self.last_entry) else {
            return (token.at, wrong("stamps a ledger whose last entry has no time".to_owned()));
        };
        let trust = match (token.at, written, self.now) {
            (at, written, _) if written.duration_since(at) > TIME_OFF_MAX => {
                wrong(format!("is a token of {at}, and the last entry under it is of {written}"))
            }
            (at, _, now) if at.duration_since(now) > TIME_OFF_MAX => {
                wrong(format!("is a token of {at}, which is in the future"))
            }
            _ => trust,
        };
        (token.at, trust)
    }
}

fn written_at(entry: &[u8]) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Dated {
        at: Timestamp,
    }
    serde_json::from_slice::<Dated>(entry).ok().map(|entry| entry.at)
}

/// Verifies the token in a reply; or says what is wrong with it, in words that continue "the reply". The caller judges its
/// imprint, nonce and time.
pub(super) fn verify(reply: &[u8], roots: Option<&Roots>) -> Result<(Token, Trust), String> {
    let (token, signed) = timestamp::parts(reply)?;
    match verify_signature(&token, &signed, roots) {
        Err(Unproven::Wrong(what)) => Err(what),
        trust => Ok((token, trust)),
    }
}

fn verify_signature(token: &Token, signed: &SignedData<'_>, roots: Option<&Roots>) -> Trust {
    let wrong = |what: &str| Unproven::Wrong(what.to_owned());
    let signer =
        signed.signer().ok_or_else(|| wrong("holds a token that is not signed as RFC 3161 requires"))?;
    let unknown_hash =
        || Unproven::Unknown("it was signed over a hash that callvault does not know".to_owned());
    if hash(signer.digest, signed.content).ok_or_else(unknown_hash)? != signer.message_digest {
        return Err(wrong("holds a token that was altered after it was signed"));
    }
    let (der, certificate) = signed
        .certificates
        .iter()
        .filter_map(|der| Some((*der, X509Certificate::from_der(der).ok()?.1)))
        .find(|(_, certificate)| is_of(certificate, signer.id))
        .ok_or_else(|| wrong("holds a token without the certificate of its signer"))?;
    let named = signer.signing_certificate;
    let named_hash = match named.digest {
        None => Some(Sha1::digest(der).to_vec()),
        Some(digest) => hash(digest, der),
    };
    if named_hash.ok_or_else(unknown_hash)? != named.hash {
        return Err(wrong("holds a token that names another certificate than that of its signer"));
    }
    if !is_for_time_stamps(&certificate) {
        return Err(wrong("holds a token, but the certificate of its signer is not for time stamps"));
    }
    let der = CertificateDer::from(der);
    let unreadable =
        |error| Unproven::Unknown(format!("its signer's certificate cannot be used here ({error})"));
    let entity = EndEntityCert::try_from(&der).map_err(unreadable)?;
    check_signature(&entity, &signer)?;
    let Some(Roots(roots)) = roots else { return Err(Unproven::NoRoots) };
    lead_to_root(&entity, token.at, &signed.certificates, roots)
}

fn is_of(certificate: &X509Certificate<'_>, id: SignerId<'_>) -> bool {
    match id {
        SignerId::Number { issuer, serial } => {
            certificate.issuer().as_raw() == issuer && certificate.raw_serial() == serial
        }
        SignerId::Key(id) => certificate.extensions().iter().any(|extension| {
            matches!(extension.parsed_extension(), ParsedExtension::SubjectKeyIdentifier(key) if key.0 == id)
        }),
    }
}

/// Whether it may be used for time stamps and for nothing else (RFC 3161, section 2.3).
fn is_for_time_stamps(certificate: &X509Certificate<'_>) -> bool {
    let Ok(Some(usage)) = certificate.extended_key_usage() else { return false };
    let usages = usage.value;
    let others = [
        usages.any,
        usages.server_auth,
        usages.client_auth,
        usages.code_signing,
        usages.email_protection,
        usages.ocsp_signing,
    ];
    usage.critical && usages.time_stamping && !others.contains(&true) && usages.other.is_empty()
}

fn check_signature(entity: &EndEntityCert<'_>, signer: &Signer<'_>) -> Trust {
    let mut is_known = false;
    for algorithm in algorithms(signer.algorithm, signer.digest) {
        match entity.verify_signature(algorithm, &signer.attributes, signer.signature) {
            Ok(()) => return Ok(()),
            // An algorithm for another kind of key or curve.
            Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => {}
            Err(_) => is_known = true,
        }
    }
    Err(match is_known {
        true => Unproven::Wrong("holds a token with a signature that does not fit".to_owned()),
        false => Unproven::Unknown("it was signed with an algorithm that callvault does not know".to_owned()),
    })
}

/// The possible algorithms for these identifiers of signature and hash; the key decides which one.
fn algorithms(algorithm: &[u8], digest: &[u8]) -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    let Some(size) = [SHA_256, SHA_384, SHA_512].iter().position(|known| *known == digest) else {
        return Vec::new();
    };
    match (algorithm, size) {
        ([rsa @ .., 1 | 11], 0) if rsa == RSA => vec![ring::RSA_PKCS1_2048_8192_SHA256],
        ([rsa @ .., 1 | 12], 1) if rsa == RSA => vec![ring::RSA_PKCS1_2048_8192_SHA384],
        ([rsa @ .., 1 | 13], 2) if rsa == RSA => vec![ring::RSA_PKCS1_2048_8192_SHA512],
        ([rsa @ .., 10], 0) if rsa == RSA => vec![ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        ([rsa @ .., 10], 1) if rsa == RSA => vec![ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        ([rsa @ .., 10], 2) if rsa == RSA => vec![ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        (EC_KEY, 0) => vec![ring::ECDSA_P256_SHA256, ring::ECDSA_P384_SHA256],
        (EC_KEY, 1) => vec![ring::ECDSA_P256_SHA384, ring::ECDSA_P384_SHA384],
        ([ecdsa @ .., 2], 0) if ecdsa == ECDSA => vec![ring::ECDSA_P256_SHA256, ring::ECDSA_P384_SHA256],
        ([ecdsa @ .., 3], 1) if ecdsa == ECDSA => vec![ring::ECDSA_P256_SHA384, ring::ECDSA_P384_SHA384],
        (ED25519, _) => vec![ring::ED25519],
        _ => Vec::new(),
    }
}

/// Checks that certificates, all valid at that time, lead from the signer to one of the operator's.
fn lead_to_root(
    entity: &EndEntityCert<'_>,
    at: Timestamp,
    beside: &[&[u8]],
    roots: &[CertificateDer<'_>],
) -> Trust {
    let untrusted = |what: String| Unproven::Untrusted(what);
    let seconds = u64::try_from(at.as_second())
        .map_err(|_| untrusted("its time is before that of all certificates".to_owned()))?;
    let issuers = roots.iter().filter(|root| may_issue(root, at));
    let anchors: Vec<_> = issuers.filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    let between: Vec<CertificateDer<'_>> = beside.iter().map(|der| CertificateDer::from(*der)).collect();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let purpose = KeyUsage::required_if_present(TIME_STAMPING);
    let path = entity.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &between, time, purpose, None, None);
    match path {
        Ok(_) => Ok(()),
        Err(error @ (webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. })) => {
            Err(untrusted(format!("a certificate in its chain was not valid at its time ({error})")))
        }
        Err(error) => Err(untrusted(format!("its certificate does not lead to one in `ca_file` ({error})"))),
    }
}

/// Whether certificates can be issued under this one, and it was valid at that time.
fn may_issue(root: &CertificateDer<'_>, at: Timestamp) -> bool {
    let Ok((_, root)) = X509Certificate::from_der(root) else { return false };
    let validity = root.validity();
    let held = (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&at.as_second());
    let is_authority = match root.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        // Old certificates do not say so.
        Ok(None) => root.subject().as_raw() == root.issuer().as_raw(),
        Err(_) => false,
    };
    held && is_authority
}

fn hash(digest: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    match digest {
        SHA_256 => Some(Sha256::digest(bytes).to_vec()),
        SHA_384 => Some(Sha384::digest(bytes).to_vec()),
        SHA_512 => Some(Sha512::digest(bytes).to_vec()),
        _ => None,
    }
}
