//! Signed notes (C2SP signed-note v1.0.0): a text, an empty line, and signatures. What callvault signs in them are
//! checkpoints, the size and the root of the tree (C2SP tlog-checkpoint v1.0.0); with one of these comes a proof as text,
//! that an entry is in the ledger (C2SP tlog-proof@v1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::base::digest::Digest;
use crate::formats::tlog::key::{KeyId, SigningKey, VerifyingKey};
use crate::formats::tlog::{TlogError, leaf_hash, malformed, verify_inclusion};

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
            // Lines of unknown keys mean nothing, good or bad.
            let key = keys.iter().find(|key| key.name() == signed.name && key.id() == signed.id);
            match key.map(|key| key.verifies(self.text.as_bytes(), &signed.signature)) {
                Some(true) => is_signed = true,
                Some(false) => return Err(TlogError::BadSignature),
                None => {}
            }
        }
        if is_signed { Ok(&self.text) } else { Err(TlogError::Unsigned) }
    }

    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        self.verify(std::slice::from_ref(key)).is_ok()
    }

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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed: origin, size and root, a line each.
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.as_bytes()))
    }

    /// The checkpoint in a note that one of these keys has signed.
    ///
    /// # Errors
    /// If it is none, or none of the keys has signed it.
    pub fn signed(note: &[u8], keys: &[VerifyingKey]) -> Result<Self, TlogError> {
        let note = std::str::from_utf8(note).map_err(|_| malformed("note", "it is not text"))?;
        Self::parse(Note::parse(note)?.verify(keys)?)
    }

    /// Reads the text of a note. Lines that a later version may add are passed over.
    pub fn parse(text: &str) -> Result<Self, TlogError> {
        let failed = |why| malformed("checkpoint", why);
        let mut lines = text.strip_suffix('\n').ok_or(failed("it does not end in a newline"))?.split('\n');
        let mut next = || lines.next().filter(|line| !line.is_empty()).ok_or(failed("a line is missing"));
        let (origin, size, root) = (next()?, next()?, next()?);
        let read: u64 = size.parse().map_err(|_| failed("its size is no number"))?;
        if read.to_string() != size {
            return Err(failed("its size is not written as such"));
        }
        let root = BASE64.decode(root).map_err(|_| failed("its root is not base64"))?;
        let root = Digest::try_from(&root[..]).map_err(|_| failed("its root is not 32 bytes long"))?;
        Ok(Self { origin: origin.to_owned(), size: read, root })
    }
}

const HEAD: &str = "c2sp.org/tlog-proof@v1";

/// That the entry `index` is in the ledger. Whoever has a public key of the ledger needs nothing else to check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// The entry itself, so that the file is complete; nothing vouches for it but the proof.
    pub entry: Vec<u8>,
    pub index: u64,
    pub hashes: Vec<Digest>,
    pub checkpoint: String,
}

impl TlogProof {
    pub fn to_text(&self) -> String {
        let hashes: String = self.hashes.iter().map(|hash| BASE64.encode(hash.as_bytes()) + "\n").collect();
        let entry = BASE64.encode(&self.entry);
        format!("{HEAD}\nextra {entry}\nindex {}\n{hashes}\n{}", self.index, self.checkpoint)
    }

    pub fn parse(text: &str) -> Result<Self, TlogError> {
        let failed = |why| malformed("proof", why);
        let (head, checkpoint) = text.split_once("\n\n").ok_or(failed("it has no checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEAD) {
            return Err(failed("its first line is another one"));
        }
        let mut after = |word: &str| lines.next().and_then(|line| line.strip_prefix(word));
        let entry = after("extra ").ok_or(failed("it lacks the entry"))?;
        let index = after("index ").ok_or(failed("it has no index"))?;
        let number: u64 = index.parse().map_err(|_| failed("its index is no number"))?;
        if number.to_string() != index {
            return Err(failed("its index is not written as such"));
        }
        let hash = |line: &str| BASE64.decode(line).ok().and_then(|hash| Digest::try_from(&hash[..]).ok());
        Ok(Self {
            entry: BASE64.decode(entry).map_err(|_| failed("its entry is not base64"))?,
            index: number,
            hashes: lines.map(hash).collect::<Option<_>>().ok_or(failed("a line of it is no hash"))?,
            checkpoint: checkpoint.to_owned(),
        })
    }

    /// Checks it from the signature down to the entry, and returns the checkpoint.
    pub fn verify(&self, keys: &[VerifyingKey]) -> Result<Checkpoint, TlogError> {
        let checkpoint = Checkpoint::signed(self.checkpoint.as_bytes(), keys)?;
        let tree = (checkpoint.size, checkpoint.root);
        verify_inclusion(leaf_hash(&self.entry), self.index, tree, &self.hashes)?;
        Ok(checkpoint)
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

#[cfg(test)]
mod checkpoint_tests {
    use super::*;

    #[test]
    fn a_checkpoint_reads_what_it_wrote() {
        let checkpoint = Checkpoint { origin: "example.com/log".to_owned(), size: 0, root: Digest::of([]) };
        let text = checkpoint.to_text();
        assert_eq!(text, "example.com/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n");
        assert_eq!(Checkpoint::parse(&text).unwrap(), checkpoint);
        assert_eq!(Checkpoint::parse(&format!("{text}an extension\n")).unwrap(), checkpoint);
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        for text in ["", "a\n", "a\n1\n", "a\n01\nAAAA\n", "a\n1\nAAAA\n", "\n1\n\n", "a\n+1\n", "a\n-1\n"] {
            assert!(Checkpoint::parse(text).is_err(), "{text:?}");
        }
        assert!(Checkpoint::parse(&format!("a\n01\n{root}\n")).is_err());
        assert!(Checkpoint::parse(&format!("a\n1\n{root}")).is_err());
    }
}

#[cfg(test)]
mod proof_tests {
    use super::super::{SigningKey, node_hash, sign};
    use super::*;

    #[test]
    fn a_proof_reads_what_it_wrote_and_holds_for_its_entry_only() {
        let key = SigningKey::from_seed("log", &[3; 32]).unwrap();
        let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
        let checkpoint = Checkpoint { origin: "log".to_owned(), size: 2, root: node_hash(&a, &b) };
        let proof = TlogProof {
            entry: b"a".to_vec(),
            index: 0,
            hashes: vec![b],
            checkpoint: sign(&checkpoint.to_text(), std::slice::from_ref(&key)),
        };
        let read = TlogProof::parse(&proof.to_text()).unwrap();
        assert_eq!(read, proof);
        assert_eq!(read.verify(&[key.verifying_key()]), Ok(checkpoint));
        let of_another = TlogProof { entry: b"c".to_vec(), ..read.clone() };
        assert_eq!(of_another.verify(&[key.verifying_key()]), Err(TlogError::WrongProof));
        assert!(TlogProof::parse("").is_err());
        for index in ["index x", "index +0", "index 00", "index "] {
            assert!(TlogProof::parse(&proof.to_text().replace("index 0", index)).is_err(), "{index}");
        }
    }
}
