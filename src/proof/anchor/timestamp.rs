//! Time-stamp requests and replies (RFC 3161, section 2.4).
//!
//! A request has 69 bytes, of which only hash and nonce vary. Of a reply, this reads whether it answers the request: its
//! status, and the imprint, nonce and time inside the token. [`super::trust`] judges the signature.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::der::{BIT_STRING, Der, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, SEQUENCE, UTF8_STRING};
use super::signed_data::{SHA_256, SignedData};
use crate::base::digest::Digest;
use crate::base::recording::printable;

/// In characters.
const WORDS_MAX: usize = 200;

/// The standard's statuses have one byte.
const STATUS_BYTES_MAX: usize = 4;

/// Used once, so that a reply cannot be one to an older request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nonce([u8; 8]);

impl Nonce {
    pub(super) fn random() -> Self {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
        // Positive and eight bytes long in any case, so that its DER has one form.
        bytes[0] = (bytes[0] & 0x7f) | 0x40;
        Self(bytes)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The SHA-256 of the stamped bytes.
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

/// The token in a reply to this request.
///
/// # Errors
/// What is wrong with it, in words that go on after "the reply".
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

/// The token in a reply, whatever it is over.
///
/// # Errors
/// What is wrong with it, in words that go on after "the reply".
pub fn read(reply: &[u8]) -> Result<Token, String> {
    parts(reply).map(|(token, _)| token)
}

pub(super) fn parts(reply: &[u8]) -> Result<(Token, SignedData<'_>), String> {
    let no_reply = || "is not a time-stamp reply in DER".to_owned();
    let mut der = Der::new(reply);
    let mut body = der.enter(SEQUENCE).filter(|_| der.is_empty()).ok_or_else(no_reply)?;
    let status = body.enter(SEQUENCE).ok_or_else(no_reply)?;
    refusal(status).ok_or_else(no_reply)?.map_or(Ok(()), Err)?;
    let no_token = "says that it is granted but contains no time-stamp token in DER";
    let signed = SignedData::read(&mut body).ok_or(no_token)?;
    let info = Der::new(signed.content).enter(SEQUENCE).ok_or(no_token)?;
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

/// Reads `TSTInfo` up to its nonce.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_one_that_the_standard_describes() {
        let request = request(&Digest::of(b"bytes"), Nonce([0x41, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!((request.len(), usize::from(request[1])), (69, 67));
        let mut der = Der::new(&request).enter(SEQUENCE).unwrap();
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
}
