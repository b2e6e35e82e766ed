//! Checkpoints: the size and the root of the tree, as the text that is signed (C2SP tlog-checkpoint v1.0.0).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{TlogError, malformed};
use crate::base::digest::Digest;

/// What the ledger was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed: origin, size and root, a line each.
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.as_bytes()))
    }

    /// Reads the text of a note. Lines that a later version may add are passed over.
    ///
    /// # Errors
    /// If it is not one.
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

#[cfg(test)]
mod tests {
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
