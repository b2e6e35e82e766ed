//! Signed notes: a text, an empty line, and signatures (C2SP signed-note v1.0.0).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::key::{KeyId, SigningKey, VerifyingKey};
use super::{TlogError, malformed};

/// Signatures on one note; what has more is not read.
const SIGNATURES_MAX: usize = 100;

/// A note whose form is right. Whether to believe it, [`Note::verify`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) name: String,
    pub(super) id: KeyId,
    pub(super) signature: Vec<u8>,
}

/// Signs a text, which ends in a newline, with each of the keys.
pub fn sign(text: &str, keys: &[SigningKey]) -> String {
    debug_assert!(text.ends_with('\n'), "a note's text ends in a newline");
    let signatures: String = keys.iter().map(|key| key.signature_line(text)).collect();
    format!("{text}\n{signatures}")
}

impl Note {
    /// Reads a note.
    ///
    /// # Errors
    /// If it has not the form of one.
    pub fn parse(note: &str) -> Result<Self, TlogError> {
        let failed = |why| malformed("signed note", why);
        if note.contains(|c: char| c.is_control() && c != '\n') {
            return Err(failed("it has control characters in it"));
        }
        // The last empty line parts the two, for the text may have some of its own.
        let at = note.rfind("\n\n").ok_or(failed("it has no signatures"))?;
        let (text, signatures) = (&note[..=at], &note[at + 2..]);
        let lines = signatures.strip_suffix('\n').ok_or(failed("it does not end in a newline"))?;
        let signatures: Vec<Signed> = lines
            .split('\n')
            .map(Signed::parse)
            .collect::<Option<_>>()
            .ok_or(failed("a signature has not the form of one"))?;
        match signatures.len() {
            0..=SIGNATURES_MAX => Ok(Self { text: text.to_owned(), signatures }),
            _ => Err(failed("it has too many signatures")),
        }
    }

    /// Believes the note if one of these keys has signed it, and none of them something else.
    ///
    /// # Errors
    /// [`TlogError::Unsigned`] if none of the keys is on it, [`TlogError::BadSignature`] if one is that does not fit.
    pub fn verify(&self, keys: &[VerifyingKey]) -> Result<&str, TlogError> {
        let mut is_signed = false;
        for signed in &self.signatures {
            // Lines of keys that nobody told us of mean nothing, good or bad.
            let key = keys.iter().find(|key| key.name() == signed.name && key.id() == signed.id);
            match key.map(|key| key.verifies(self.text.as_bytes(), &signed.signature)) {
                Some(true) => is_signed = true,
                Some(false) => return Err(TlogError::BadSignature),
                None => {}
            }
        }
        if is_signed { Ok(&self.text) } else { Err(TlogError::Unsigned) }
    }

    /// The text, which nobody has vouched for yet.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Signed {
    /// Reads a line without its end.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let signature = BASE64.decode(signature).ok()?;
        let (id, signature) = signature.split_first_chunk::<4>()?;
        let is_one = super::is_key_name(name) && !signature.is_empty();
        is_one.then(|| Self { name: name.to_owned(), id: KeyId(*id), signature: signature.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, seed: u8) -> SigningKey {
        SigningKey::from_seed(name, &[seed; 32]).unwrap()
    }

    #[test]
    fn a_note_is_believed_if_a_trusted_key_has_signed_it() {
        let (ours, other) = (key("example.com/log", 1), key("example.com/log", 2));
        let signed = sign("a text\n\nwith an empty line\n", &[ours.clone(), other.clone()]);
        let note = Note::parse(&signed).unwrap();
        assert_eq!(note.verify(&[ours.verifying_key()]).unwrap(), "a text\n\nwith an empty line\n");
        assert!(note.verify(&[other.verifying_key()]).is_ok());
        assert_eq!(note.verify(&[key("else", 1).verifying_key()]), Err(TlogError::Unsigned));
        let altered = Note::parse(&signed.replace("a text", "b text")).unwrap();
        assert_eq!(altered.verify(&[ours.verifying_key()]), Err(TlogError::BadSignature));
    }

    #[test]
    fn what_has_not_the_form_of_a_note_is_refused() {
        let signed = sign("text\n", &[key("log", 1)]);
        for broken in [
            "",
            "text\n",
            "text\n\n",
            &signed[..signed.len() - 1],
            &signed.replace('\u{2014}', "-"),
            &signed.replace("log ", "log"),
            &format!("{signed}\n"),
            &signed.replace("text", "te\rxt"),
        ] {
            assert!(Note::parse(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_public_key_reads_what_it_printed_and_nothing_else() {
        let key = key("example.com/log", 7).verifying_key();
        assert_eq!(VerifyingKey::from_vkey(&key.to_vkey()), Ok(key.clone()));
        for broken in ["", "a+b", "a+00000000+AAAA", &key.to_vkey().replace("example", "elsewhere")] {
            assert!(VerifyingKey::from_vkey(broken).is_err(), "{broken}");
        }
        assert!(SigningKey::from_seed("with blank", &[0; 32]).is_none());
        // Of the specification's own example: the id is over name, newline, kind and key.
        let published = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(VerifyingKey::from_vkey(published).unwrap().to_vkey(), published);
    }
}
