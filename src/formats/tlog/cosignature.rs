//! The word of a witness: that it has seen a checkpoint, and that it continues the one before (C2SP tlog-cosignature v1).

use std::fmt;

use super::key::{KeyId, key_id, parse_vkey, verifies};
use super::note::Signed;
use super::{TlogError, malformed};

/// The kind of signature: Ed25519 over a checkpoint and a time.
const COSIGNATURE: u8 = 4;

/// The public key of a witness.
#[derive(Clone, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    key: ed25519_dalek::VerifyingKey,
}

impl WitnessKey {
    /// Reads `<name>+<id>+<base64>`, of the kind of cosignatures with Ed25519.
    ///
    /// # Errors
    /// If it is not of that form, or its id is not the key's.
    pub fn from_vkey(text: &str) -> Result<Self, TlogError> {
        let (name, key) = parse_vkey(text, COSIGNATURE)?;
        Ok(Self { name, key })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first bytes of its hash: SHA-256(name ‖ 0x0A ‖ 0x04 ‖ key).
    pub fn id(&self) -> KeyId {
        key_id(&self.name, COSIGNATURE, &self.key)
    }

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
        i64::try_from(time).is_ok() && verifies(&self.key, message.as_bytes(), signature)
    }
}

impl fmt::Debug for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WitnessKey({}+{})", self.name, self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use ed25519_dalek::Signer as _;

    const TEXT: &str = "example.com/log\n1\nAAAA\n";

    /// What a witness answers, made here by the words of the specification.
    fn line(name: &str, key: &ed25519_dalek::SigningKey, time: u64, text: &str) -> String {
        let id = key_id(name, COSIGNATURE, &key.verifying_key());
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
