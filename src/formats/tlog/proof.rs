//! A proof as text, for a file of its own: that an entry is in the ledger that a checkpoint describes (C2SP tlog-proof@v1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Checkpoint, Note, TlogError, VerifyingKey, leaf_hash, malformed, verify_inclusion};
use crate::base::digest::Digest;

const HEAD: &str = "c2sp.org/tlog-proof@v1";

/// That the entry `index` is in the ledger. Whoever has a public key of the ledger needs nothing else to check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// The entry itself, so that the file is complete; nothing vouches for it but the proof.
    pub entry: Vec<u8>,
    pub index: u64,
    /// The hashes from the leaf's sibling up.
    pub hashes: Vec<Digest>,
    pub checkpoint: String,
}

impl TlogProof {
    pub fn to_text(&self) -> String {
        let hashes: String = self.hashes.iter().map(|hash| BASE64.encode(hash.as_bytes()) + "\n").collect();
        let entry = BASE64.encode(&self.entry);
        format!("{HEAD}\nextra {entry}\nindex {}\n{hashes}\n{}", self.index, self.checkpoint)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// If it is not one, or lacks the entry.
    pub fn parse(text: &str) -> Result<Self, TlogError> {
        let failed = |why| malformed("proof", why);
        let (head, checkpoint) = text.split_once("\n\n").ok_or(failed("it has no checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEAD) {
            return Err(failed("its first line is another one"));
        }
        let entry =
            lines.next().and_then(|line| line.strip_prefix("extra ")).ok_or(failed("it lacks the entry"))?;
        let index =
            lines.next().and_then(|line| line.strip_prefix("index ")).ok_or(failed("it has no index"))?;
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
    ///
    /// # Errors
    /// What of it does not hold.
    pub fn verify(&self, keys: &[VerifyingKey]) -> Result<Checkpoint, TlogError> {
        let note = Note::parse(&self.checkpoint)?;
        let checkpoint = Checkpoint::parse(note.verify(keys)?)?;
        let tree = (checkpoint.size, checkpoint.root);
        verify_inclusion(leaf_hash(&self.entry), self.index, tree, &self.hashes)?;
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
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
