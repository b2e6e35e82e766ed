//! Keys that sign notes: Ed25519, under a name (C2SP signed-note, "Signatures").

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _};
use sha2::{Digest as _, Sha256};

use super::{TlogError, malformed};

/// The kind of signature: Ed25519.
const ED25519: u8 = 1;
/// What comes before the 32 bytes of an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410, section 4).
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The first four bytes of a key's hash: tells which key has signed, and proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::base::digest::hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Whether `name` can be a key's: not empty, without blanks, control characters and plus signs.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// A key that signs. Its seed is never printed.
#[derive(Clone)]
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

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, ***)", self.name)
    }
}

/// The public half of a key: whoever has it can check what was signed.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    key: ed25519_dalek::VerifyingKey,
}

impl VerifyingKey {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first bytes of its hash: SHA-256(name ‖ 0x0A ‖ 0x01 ‖ key).
    pub fn id(&self) -> KeyId {
        key_id(&self.name, ED25519, &self.key)
    }

    /// As verifiers of notes take it: `<name>+<id>+<base64>`.
    pub fn to_vkey(&self) -> String {
        let key = [&[ED25519][..], self.key.as_bytes()].concat();
        format!("{}+{}+{}", self.name, self.id(), BASE64.encode(key))
    }

    /// Reads what [`VerifyingKey::to_vkey`] wrote.
    ///
    /// # Errors
    /// If it is not of that form, or its id is not the key's.
    pub fn from_vkey(text: &str) -> Result<Self, TlogError> {
        let (name, key) = parse_vkey(text, ED25519)?;
        Ok(Self { name, key })
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

    /// Whether this key has signed these bytes.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        verifies(&self.key, bytes, signature)
    }
}

/// The id of a key of some kind: SHA-256(name ‖ 0x0A ‖ kind ‖ key), its first bytes.
pub(super) fn key_id(name: &str, kind: u8, key: &ed25519_dalek::VerifyingKey) -> KeyId {
    let hash = Sha256::new()
        .chain_update(name.as_bytes())
        .chain_update([b'\n', kind])
        .chain_update(key.as_bytes())
        .finalize();
    KeyId([hash[0], hash[1], hash[2], hash[3]])
}

/// Reads `<name>+<id>+<base64>`: the name, and the key, which must be an Ed25519 key for signatures of this kind.
pub(super) fn parse_vkey(text: &str, kind: u8) -> Result<(String, ed25519_dalek::VerifyingKey), TlogError> {
    let failed = |why| malformed("public key of a note", why);
    let (name, rest) = text.split_once('+').ok_or(failed("it has no plus signs"))?;
    let (id, key) = rest.split_once('+').ok_or(failed("it has one plus sign only"))?;
    let key = BASE64.decode(key).map_err(|_| failed("its key is not base64"))?;
    let key: &[u8; 32] = match key.split_first() {
        Some((first, key)) if *first == kind => {
            key.try_into().map_err(|_| failed("its key is not 32 bytes long"))?
        }
        _ => return Err(failed("it is a key for another kind of signature")),
    };
    let key = ed25519_dalek::VerifyingKey::from_bytes(key).map_err(|_| failed("it is no point"))?;
    match is_key_name(name) && key_id(name, kind, &key).to_string() == id {
        true => Ok((name.to_owned(), key)),
        false => Err(failed("its name and key do not have this id")),
    }
}

/// Whether the key has signed these bytes.
pub(super) fn verifies(key: &ed25519_dalek::VerifyingKey, bytes: &[u8], signature: &[u8]) -> bool {
    Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(bytes, &signature).is_ok())
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.to_vkey())
    }
}
