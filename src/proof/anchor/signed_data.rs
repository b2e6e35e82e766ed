//! The signature of a time-stamp token: `SignedData` of CMS (RFC 5652, section 5), as far as RFC 3161 allows it.

use super::der::{CONTEXT_0, CONTEXT_0_PRIMITIVE, CONTEXT_1, Der, INTEGER, OCTET_STRING, OID, SEQUENCE, SET};

/// 1.2.840.113549.1.7.2, signed data of CMS.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// 1.2.840.113549.1.9.16.1.4, what a time-stamp token signs.
const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
/// 1.2.840.113549.1.9.3, what is signed.
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
/// 1.2.840.113549.1.9.4, its hash.
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// 1.2.840.113549.1.9.16.2.12, the SHA-1 of the signer's certificate.
const SIGNING_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x0c];
/// 1.2.840.113549.1.9.16.2.47, a hash of it.
const SIGNING_CERTIFICATE_V2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x2f];

/// Further certificates are ignored: authorities send a chain of a few.
const CERTIFICATES_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct SignedData<'a> {
    /// The signed content: a `TSTInfo`.
    pub(super) content: &'a [u8],
    /// In DER.
    pub(super) certificates: Vec<&'a [u8]>,
    signers: Der<'a>,
}

#[derive(Debug)]
pub(super) struct Signer<'a> {
    pub(super) id: SignerId<'a>,
    pub(super) digest: &'a [u8],
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
    /// The bytes that the signature covers.
    pub(super) attributes: Vec<u8>,
    /// The hash of the content, according to the attributes.
    pub(super) message_digest: &'a [u8],
    /// The hash of the signer's certificate, according to the attributes.
    pub(super) signing_certificate: CertificateHash<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum SignerId<'a> {
    Number {
        issuer: &'a [u8],
        serial: &'a [u8],
    },
    /// The certificate with this subject key id.
    Key(&'a [u8]),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct CertificateHash<'a> {
    /// None if it is SHA-1.
    pub(super) digest: Option<&'a [u8]>,
    pub(super) hash: &'a [u8],
}

impl<'a> SignedData<'a> {
    /// Reads what follows the status of a time-stamp reply; none if that is no token in DER.
    pub(super) fn read(reply: &mut Der<'a>) -> Option<Self> {
        let mut content = reply.enter(SEQUENCE).filter(|_| reply.is_empty())?;
        content.take(OID).filter(|oid| *oid == SIGNED_DATA)?;
        let mut signed = content.enter(CONTEXT_0)?.enter(SEQUENCE)?;
        signed.take(INTEGER)?;
        signed.take(SET)?;
        let mut encapsulated = signed.enter(SEQUENCE)?;
        encapsulated.take(OID).filter(|oid| *oid == TST_INFO)?;
        let content = encapsulated.enter(CONTEXT_0)?.take(OCTET_STRING)?;
        let mut certificates = Vec::new();
        if let Some(mut all) = signed.enter(CONTEXT_0) {
            // Other forms than X.509's own are skipped.
            while let Some(one) = all.take_any().filter(|_| certificates.len() < CERTIFICATES_MAX) {
                certificates.extend((one[0] == SEQUENCE).then_some(one));
            }
        }
        let _revocations = signed.take(CONTEXT_1);
        let signers = signed.enter(SET).unwrap_or(Der::new(&[]));
        Some(Self { content, certificates, signers })
    }

    /// None if there is not exactly one signer, or the signature is of a form that RFC 3161 forbids.
    pub(super) fn signer(&self) -> Option<Signer<'a>> {
        let mut signers = self.signers;
        let mut info = signers.enter(SEQUENCE).filter(|_| signers.is_empty())?;
        info.take(INTEGER)?;
        let id = match info.take(CONTEXT_0_PRIMITIVE) {
            Some(key) => SignerId::Key(key),
            None => {
                let mut number = info.enter(SEQUENCE)?;
                SignerId::Number { issuer: number.take_whole(SEQUENCE)?, serial: number.take(INTEGER)? }
            }
        };
        let digest = info.enter(SEQUENCE)?.take(OID)?;
        let attributes = info.take_whole(CONTEXT_0)?;
        let algorithm = info.enter(SEQUENCE)?.take(OID)?;
        let signature = info.take(OCTET_STRING)?;
        let told = Attributes::read(Der::new(attributes).enter(CONTEXT_0)?)?;
        // The signature covers them with the tag of a set, not with the tag that they have here.
        let attributes = [&[SET], &attributes[1..]].concat();
        let Attributes { message_digest, signing_certificate } = told;
        Some(Signer { id, digest, algorithm, signature, attributes, message_digest, signing_certificate })
    }
}

struct Attributes<'a> {
    message_digest: &'a [u8],
    signing_certificate: CertificateHash<'a>,
}

impl<'a> Attributes<'a> {
    /// None if a required attribute is missing or repeated, or if something else than a time stamp was signed.
    fn read(all: Der<'a>) -> Option<Self> {
        let one = |wanted: &[u8]| -> Option<Option<Der<'a>>> {
            let (mut all, mut found) = (all, None);
            while let Some(mut attribute) = all.enter(SEQUENCE) {
                let oid = attribute.take(OID)?;
                let values = attribute.enter(SET)?;
                if oid == wanted && found.replace(values).is_some() {
                    return None;
                }
            }
            all.is_empty().then_some(found)
        };
        one(CONTENT_TYPE)??.take(OID).filter(|oid| *oid == TST_INFO)?;
        let mut digests = one(MESSAGE_DIGEST)??;
        let message_digest = digests.take(OCTET_STRING).filter(|_| digests.is_empty())?;
        let signing_certificate = match one(SIGNING_CERTIFICATE_V2)? {
            Some(mut value) => {
                let mut first = value.enter(SEQUENCE)?.enter(SEQUENCE)?.enter(SEQUENCE)?;
                // SHA-256 is the default.
                let digest = first.enter(SEQUENCE).map_or(Some(SHA_256), |mut algorithm| algorithm.take(OID));
                CertificateHash { digest: Some(digest?), hash: first.take(OCTET_STRING)? }
            }
            None => {
                let mut first =
                    one(SIGNING_CERTIFICATE)??.enter(SEQUENCE)?.enter(SEQUENCE)?.enter(SEQUENCE)?;
                CertificateHash { digest: None, hash: first.take(OCTET_STRING)? }
            }
        };
        Some(Self { message_digest, signing_certificate })
    }
}

/// 2.16.840.1.101.3.4.2.1, SHA-256.
pub(super) const SHA_256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
