//! Keys that sign notes: Ed25519, under a name (C2SP signed-note, "Signatures"); and those of witnesses, whose word is that
//! they have seen a checkpoint, and that it continues the one before (C2SP tlog-cosignature v1).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _};
use sha2::{Digest as _, Sha256};

use crate::formats::tlog::note::Signed;
use crate::formats::tlog::{TlogError, malformed};

const ED25519: u8 = 1;
/// The kind of signature: Ed25519 over a checkpoint and a time.
const COSIGNATURE: u8 = 4;
/// What comes before the 32 bytes of an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410, section 4).
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The first four bytes of a key's hash: tells which key has signed, and proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::base::digest::hex(&self.0))
    }
}

/// Whether `name` can be a key's: not empty, without blanks, control characters and plus signs.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// A key that signs. Its seed is never printed: the library shows the public half.
#[derive(Debug, Clone)]
pub struct SigningKey {
    name: String,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// The key of this seed, under this name. `None` if the name cannot be a key's.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Option<Self> {
        is_key_name(name)
            .then(|| Self { name: name.to_owned(), key: ed25519_dalek::SigningKey::from_bytes(seed) })
    }

    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// Signs bytes as they are: what `openssl pkeyutl -verify -rawin` checks.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(bytes).to_bytes()
    }

    /// The line that goes below a note's text.
    pub(super) fn signature_line(&self, text: &str) -> String {
        let signed = [&self.verifying_key().id().0[..], &self.sign(text.as_bytes())].concat();
        format!("\u{2014} {} {}\n", self.name, BASE64.encode(signed))
    }
}

/// The public half of a key, for signatures of one kind: whoever has it can check what was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey<const KIND: u8> {
    name: String,
    key: ed25519_dalek::VerifyingKey,
}

pub type VerifyingKey = PublicKey<ED25519>;
pub type WitnessKey = PublicKey<COSIGNATURE>;

impl<const KIND: u8> PublicKey<KIND> {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first bytes of its hash: SHA-256(name ‖ 0x0A ‖ kind ‖ key).
    pub fn id(&self) -> KeyId {
        let hash = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', KIND])
            .chain_update(self.key.as_bytes())
            .finalize();
        KeyId([hash[0], hash[1], hash[2], hash[3]])
    }

    /// Reads `<name>+<id>+<base64>`, which must be an Ed25519 key for signatures of this kind.
    pub fn from_vkey(text: &str) -> Result<Self, TlogError> {
        let failed = |why| malformed("public key of a note", why);
        let (name, rest) = text.split_once('+').ok_or(failed("it has no plus signs"))?;
        let (id, key) = rest.split_once('+').ok_or(failed("it has one plus sign only"))?;
        let key = BASE64.decode(key).map_err(|_| failed("its key is not base64"))?;
        let key = key.strip_prefix(&[KIND]).ok_or(failed("it is a key for another kind of signature"))?;
        let key: &[u8; 32] = key.try_into().map_err(|_| failed("its key is not 32 bytes long"))?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(key).map_err(|_| failed("it is no point"))?;
        let key = Self { name: name.to_owned(), key };
        match is_key_name(name) && key.id().to_string() == id {
            true => Ok(key),
            false => Err(failed("its name and key do not have this id")),
        }
    }

    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(bytes, &signature).is_ok())
    }
}

impl VerifyingKey {
    /// As verifiers of notes take it: `<name>+<id>+<base64>`.
    pub fn to_vkey(&self) -> String {
        let key = [&[ED25519][..], self.key.as_bytes()].concat();
        format!("{}+{}+{}", self.name, self.id(), BASE64.encode(key))
    }

    /// A `SubjectPublicKeyInfo` in DER, over which fingerprints are taken.
    pub fn to_der(&self) -> Vec<u8> {
        [&SPKI_HEAD[..], self.key.as_bytes()].concat()
    }

    /// As `openssl` reads it: PEM over a `SubjectPublicKeyInfo`.
    pub fn to_pem(&self) -> String {
        let key = BASE64.encode(self.to_der());
        format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n")
    }
}

impl WitnessKey {
    /// Those of some signature lines that are this witness's word on a checkpoint's text. Lines of others mean nothing.
    ///
    /// # Errors
    /// [`TlogError::Unsigned`] if there is none, [`TlogError::BadSignature`] if one does not fit; if a line is none at all.
    pub fn cosignatures(&self, lines: &str, text: &str) -> Result<String, TlogError> {
        let mut ours = String::new();
        for line in lines.split_terminator('\n') {
            let failed = || malformed("cosignature", "a line of it has not the form of one");
            let signed = Signed::parse(line).ok_or_else(failed)?;
            if signed.name != self.name || signed.id != self.id() {
                continue;
            }
            if !self.vouches(&signed.signature, text) {
                return Err(TlogError::BadSignature);
            }
            ours += &format!("{line}\n");
        }
        if ours.is_empty() { Err(TlogError::Unsigned) } else { Ok(ours) }
    }

    /// Whether this is a time, and a signature of the witness over the text at that time.
    fn vouches(&self, signature: &[u8], text: &str) -> bool {
        let Some((time, signature)) = signature.split_first_chunk::<8>() else { return false };
        let time = u64::from_be_bytes(*time);
        let message = format!("cosignature/v1\ntime {time}\n{text}");
        i64::try_from(time).is_ok() && self.verifies(message.as_bytes(), signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "example.com/log\n1\nAAAA\n";

    /// What a witness answers, made here by the words of the specification.
    fn line(name: &str, key: &ed25519_dalek::SigningKey, time: u64, text: &str) -> String {
        let id = WitnessKey { name: name.to_owned(), key: key.verifying_key() }.id();
        let signature = key.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
        let bytes = [&id.0[..], &time.to_be_bytes(), &signature.to_bytes()].concat();
        format!("\u{2014} {name} {}\n", BASE64.encode(bytes))
    }

    #[test]
    fn a_witness_vouches_for_the_text_that_it_has_signed() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let stranger = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
        let witness = WitnessKey { name: "witness.example/w1".to_owned(), key: key.verifying_key() };
        let ours = line(witness.name(), &key, 1_679_315_147, TEXT);
        let theirs = line("witness.example/w2", &stranger, 1, TEXT);
        assert_eq!(witness.cosignatures(&format!("{theirs}{ours}"), TEXT).unwrap(), ours);
        assert_eq!(witness.cosignatures(&theirs, TEXT), Err(TlogError::Unsigned));
        assert_eq!(witness.cosignatures("", TEXT), Err(TlogError::Unsigned));
        assert_eq!(witness.cosignatures(&ours, "other\n"), Err(TlogError::BadSignature));
        let beyond_time = line(witness.name(), &key, u64::MAX, TEXT);
        assert_eq!(witness.cosignatures(&beyond_time, TEXT), Err(TlogError::BadSignature));
        assert!(witness.cosignatures("<html>", TEXT).is_err());
    }

    #[test]
    fn a_witness_has_another_kind_of_key_than_a_log() {
        let key = BASE64.encode([&[COSIGNATURE][..], &[0; 31], &[1]].concat());
        assert!(WitnessKey::from_vkey(&format!("w+00000000+{key}")).is_err(), "its id is another");
        let log = super::super::SigningKey::from_seed("w", &[1; 32]).unwrap().verifying_key().to_vkey();
        assert!(WitnessKey::from_vkey(&log).is_err());
    }
}
