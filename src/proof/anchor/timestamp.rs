//! Time-stamp requests and replies (RFC 3161, section 2.4), with the signature of the token: `SignedData` of CMS (RFC 5652,
//! section 5), as far as RFC 3161 allows it.
//!
//! A request has 69 bytes, of which only hash and nonce vary. Of a reply, this reads whether it answers the request: its
//! status, and the imprint, nonce and time inside the token. [`super::trust`] judges the signature.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::base::digest::Digest;
use crate::base::recording::printable;
use crate::base::salt::random;

const WORDS_MAX: usize = 200;

const STATUS_BYTES_MAX: usize = 4;

/// Used once, so that a reply cannot be one to an older request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nonce([u8; 8]);

impl Nonce {
    pub(super) fn random() -> Self {
        let mut bytes = random::<8>();
        // Positive and eight bytes long in any case, so that its DER has one form.
        bytes[0] = (bytes[0] & 0x7f) | 0x40;
        Self(bytes)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub imprint: Digest,
    /// By the authority's clock, in whole seconds.
    pub at: Timestamp,
    nonce: Option<Vec<u8>>,
}

/// The request for a token over bytes with this hash, with the authority's certificate included.
pub(super) fn request(imprint: &Digest, nonce: Nonce) -> Vec<u8> {
    let mut der = vec![SEQUENCE, 0x43, INTEGER, 1, 1];
    der.extend([SEQUENCE, 0x31, SEQUENCE, 0x0d, OID, 9]);
    der.extend(SHA_256);
    der.extend([0x05, 0, OCTET_STRING, 32]);
    der.extend(imprint.as_bytes());
    der.extend([INTEGER, 8]);
    der.extend(nonce.0);
    der.extend([0x01, 1, 0xff]);
    der
}

/// The token in a reply to this request; or what is wrong with it, in words that continue "the reply".
pub(super) fn answer(reply: &[u8], imprint: &Digest, nonce: Nonce) -> Result<Token, String> {
    let token = read(reply)?;
    if token.imprint != *imprint {
        return Err("is a token over other bytes than ours".to_owned());
    }
    if token.nonce.as_deref() != Some(&nonce.0[..]) {
        return Err("does not carry the nonce of our request: it may be an old one".to_owned());
    }
    Ok(token)
}

/// The token in a reply, whatever it is over; or what is wrong with it, in words that continue "the reply".
pub fn read(reply: &[u8]) -> Result<Token, String> {
    Ok(parts(reply)?.0)
}

pub(super) fn parts(reply: &[u8]) -> Result<(Token, SignedData<'_>), String> {
    let no_reply = || "is not a time-stamp reply in DER".to_owned();
    let mut der = Der(reply);
    let mut body = der.enter(SEQUENCE).filter(|_| der.is_empty()).ok_or_else(no_reply)?;
    let status = body.enter(SEQUENCE).ok_or_else(no_reply)?;
    refusal(status).ok_or_else(no_reply)?.map_or(Ok(()), Err)?;
    let no_token = "says that it is granted but contains no time-stamp token in DER";
    let signed = SignedData::read(&mut body).ok_or(no_token)?;
    let info = Der(signed.content).enter(SEQUENCE).ok_or(no_token)?;
    let token = token(info).ok_or("holds a token that is not over a SHA-256, or not of RFC 3161")?;
    Ok((token, signed))
}

/// Why the authority refuses, if it does (`PKIStatusInfo`); none if it is malformed.
fn refusal(mut status: Der<'_>) -> Option<Option<String>> {
    let number = status.take(INTEGER)?;
    if matches!(number, [0] | [1]) {
        return Some(None);
    }
    let mut words = Vec::new();
    if let Some(mut texts) = status.enter(SEQUENCE) {
        while let Some(text) = texts.take(UTF8_STRING) {
            words.push(String::from_utf8_lossy(text).into_owned());
        }
    }
    words.extend(status.take(BIT_STRING).and_then(failure).map(str::to_owned));
    let words: String = words.join(", ").chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
    let number: Vec<String> = number.iter().take(STATUS_BYTES_MAX).map(u8::to_string).collect();
    Some(Some(format!("is a refusal (status {}; {})", number.join("."), printable(words.as_bytes()))))
}

/// The first bit that is set (`PKIFailureInfo`).
fn failure(bits: &[u8]) -> Option<&'static str> {
    const NAMES: [(usize, &str); 8] = [
        (0, "badAlg"),
        (2, "badRequest"),
        (5, "badDataFormat"),
        (14, "timeNotAvailable"),
        (15, "unacceptedPolicy"),
        (16, "unacceptedExtension"),
        (17, "addInfoNotAvailable"),
        (25, "systemFailure"),
    ];
    let (_unused, bits) = bits.split_first()?;
    let is_set = |bit: usize| bits.get(bit / 8).is_some_and(|byte| byte & (0x80 >> (bit % 8)) != 0);
    NAMES.into_iter().find(|(bit, _)| is_set(*bit)).map(|(_, name)| name)
}

fn token(mut info: Der<'_>) -> Option<Token> {
    const BOOLEAN: u8 = 0x01;
    info.take(INTEGER).filter(|version| *version == [1])?;
    info.take(OID)?;
    let mut imprint = info.enter(SEQUENCE)?;
    imprint.enter(SEQUENCE)?.take(OID).filter(|algorithm| *algorithm == SHA_256)?;
    let imprint = Digest::try_from(imprint.take(OCTET_STRING)?).ok()?;
    let _serial_number = info.take(INTEGER)?;
    let at = time(info.take(GENERALIZED_TIME)?)?;
    let _accuracy = info.take(SEQUENCE);
    let _ordering = info.take(BOOLEAN);
    Some(Token { imprint, at, nonce: info.take(INTEGER).map(<[u8]>::to_vec) })
}

/// `YYYYMMDDhhmmss`, perhaps a fraction, and `Z`.
fn time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.len() != 14 || !is_number(seconds) || !is_number(fraction) {
        return None;
    }
    let at = DateTime::strptime("%Y%m%d%H%M%S", seconds).ok()?;
    at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
}

/// 2.16.840.1.101.3.4.2.1, SHA-256.
pub(super) const SHA_256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
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
    pub(super) attributes: Vec<u8>,
    /// The hash of the content, according to the attributes.
    pub(super) message_digest: &'a [u8],
    /// The hash of the signer's certificate, according to the attributes.
    pub(super) signing_certificate: CertificateHash<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum SignerId<'a> {
    Number { issuer: &'a [u8], serial: &'a [u8] },
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
    fn read(reply: &mut Der<'a>) -> Option<Self> {
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
        let signers = signed.enter(SET).unwrap_or(Der(&[]));
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
        let (message_digest, signing_certificate) = read_attributes(Der(attributes).enter(CONTEXT_0)?)?;
        // The signature covers them with the tag of a set, not with the tag that they have here.
        let attributes = [&[SET], &attributes[1..]].concat();
        Some(Signer { id, digest, algorithm, signature, attributes, message_digest, signing_certificate })
    }
}

/// The hash of the content and that of the signer's certificate. None if a required attribute is missing or repeated, or if
/// something else than a time stamp was signed.
fn read_attributes(all: Der<'_>) -> Option<(&[u8], CertificateHash<'_>)> {
    let one = |wanted: &[u8]| -> Option<Option<Der<'_>>> {
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
            let mut first = one(SIGNING_CERTIFICATE)??.enter(SEQUENCE)?.enter(SEQUENCE)?.enter(SEQUENCE)?;
            CertificateHash { digest: None, hash: first.take(OCTET_STRING)? }
        }
    };
    Some((message_digest, signing_certificate))
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, primitive.
const CONTEXT_0_PRIMITIVE: u8 = 0x80;
/// `[0]`, constructed.
const CONTEXT_0: u8 = 0xa0;
/// `[1]`, constructed.
const CONTEXT_1: u8 = 0xa1;

/// What is left to read of a run of values.
#[derive(Debug, Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value if it has this tag: its content. Nothing is read otherwise.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&first, rest) = self.0.split_first()?;
        let (content, rest) = split_by_length(rest)?;
        if first != tag {
            return None;
        }
        self.0 = rest;
        Some(content)
    }

    /// The next value if it has this tag, with its tag and its length.
    fn take_whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.take(tag)?;
        Some(&before[..before.len() - self.0.len()])
    }

    /// The next value, whatever it is, with its tag and its length.
    fn take_any(&mut self) -> Option<&'a [u8]> {
        self.take_whole(*self.0.first()?)
    }

    /// The content of the next value if it has this tag, to be read on.
    fn enter(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self)
    }
}

/// Parts what the length at the beginning covers from what follows it.
fn split_by_length(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // 0x80 is BER's indefinite length; nothing here needs more than three length bytes.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit));
            let is_minimal = digits[0] != 0 && length >= 0x80;
            is_minimal.then_some((length, rest))?
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_one_that_the_standard_describes() {
        let request = request(&Digest::of(b"bytes"), Nonce([0x41, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!((request.len(), usize::from(request[1])), (69, 67));
        let mut der = Der(&request).enter(SEQUENCE).unwrap();
        assert_eq!(der.take(INTEGER).unwrap(), [1]);
        let mut imprint = der.enter(SEQUENCE).unwrap();
        assert_eq!(imprint.enter(SEQUENCE).unwrap().take(OID).unwrap(), SHA_256);
        assert_eq!(imprint.take(OCTET_STRING).unwrap(), Digest::of(b"bytes").as_bytes());
        assert_eq!(der.take(INTEGER).unwrap(), [0x41, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((der.take(0x01).unwrap(), der.is_empty()), (&[0xff][..], true));
    }

    #[test]
    fn a_refusal_is_told_in_the_authoritys_words() {
        let words = [&[INTEGER, 1, 2, SEQUENCE, 5, UTF8_STRING, 3][..], b"n\no"].concat();
        let status = [&words[..], &[BIT_STRING, 2, 7, 0x80]].concat();
        let reply = [&[SEQUENCE, 0x10, SEQUENCE, 0x0e][..], &status].concat();
        assert_eq!(read(&reply).unwrap_err(), "is a refusal (status 2; no, badAlg)");
        for reply in [&[&reply[..], &[0]].concat()[..], &reply[..17], &[], b"{\"status\":0}"] {
            assert_eq!(read(reply).unwrap_err(), "is not a time-stamp reply in DER", "{reply:?}");
        }
    }

    #[test]
    fn a_refusal_is_no_longer_and_no_more_deceptive_than_a_sentence() {
        let words = [&[INTEGER, 1, 2, SEQUENCE, 7, UTF8_STRING, 5][..], "\u{202e}no".as_bytes()].concat();
        let reply = [&[SEQUENCE, 0x0e, SEQUENCE, 0x0c][..], &words].concat();
        assert_eq!(read(&reply).unwrap_err(), "is a refusal (status 2; \\u{202e}no)");
        let number = [&[INTEGER, 0x81, 0x90][..], &[9; 0x90]].concat();
        let reply = [&[SEQUENCE, 0x81, 0x96, SEQUENCE, 0x81, 0x93][..], &number].concat();
        assert_eq!(read(&reply).unwrap_err(), "is a refusal (status 9.9.9.9; )");
    }

    #[test]
    fn times_are_whole_seconds_of_utc() {
        let expected: Timestamp = "2026-03-02T09:16:07Z".parse().unwrap();
        for text in ["20260302091607Z", "20260302091607.25Z"] {
            assert_eq!(time(text.as_bytes()), Some(expected), "{text}");
        }
        for text in
            ["20260302091607", "202603020916Z", "20261302091607Z", "20260302091607.Z", "Z", "+0260302091607Z"]
        {
            assert_eq!(time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn nonces_are_positive_long_and_new() {
        let (one, other) = (Nonce::random(), Nonce::random());
        assert_ne!(one, other);
        assert!((0x40..0x80).contains(&one.0[0]));
    }

    #[test]
    fn values_are_read_one_after_the_other() {
        let mut long = vec![OCTET_STRING, 0x81, 0x80];
        long.extend([7; 0x80]);
        let bytes = [&[SEQUENCE, 3, INTEGER, 1, 5][..], &long].concat();
        let mut der = Der(&bytes);
        assert_eq!(der.take(INTEGER), None, "and nothing was read");
        let mut inner = der.enter(SEQUENCE).unwrap();
        assert_eq!((inner.take(INTEGER), inner.is_empty()), (Some(&[5][..]), true));
        assert_eq!(der.clone().take(OCTET_STRING).unwrap(), [7; 0x80]);
        assert_eq!(der.clone().take_any().unwrap(), long);
        assert_eq!(der.take_whole(OCTET_STRING).unwrap(), long);
        assert!(der.is_empty());
    }

    #[test]
    fn lengths_that_der_forbids_are_refused() {
        for bytes in [
            &[OCTET_STRING, 0x80, 0, 0][..],
            &[OCTET_STRING, 0x81, 0x01, 9],
            &[OCTET_STRING, 0x82, 0x00, 0x80],
            &[OCTET_STRING, 0x84, 0, 0, 0, 1, 9],
            &[OCTET_STRING, 0xff],
            &[OCTET_STRING, 2, 9],
            &[OCTET_STRING],
            &[],
        ] {
            assert_eq!(Der(bytes).take(OCTET_STRING), None, "{bytes:?}");
        }
    }
}
