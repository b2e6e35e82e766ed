//! The salt of a document whose hash is published while the document is not.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::digest::{hex, unhex};

/// Bytes from the operating system that nobody can guess.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

/// 256 random bits in a document, so that its hash tells nothing about it to those who lack the document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt([u8; 32]);

impl Salt {
    /// A new one, from the operating system.
    pub fn random() -> Self {
        Self(random())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Salt {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Salt {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self)
    }
}

impl fmt::Debug for Salt {
    // A salt that is known no longer hides: it belongs in its document and in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(***)")
    }
}

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = unhex(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("a salt is 64 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_kept_in_its_document_and_in_no_log() {
        assert_eq!(format!("{:?}", Salt::from([7; 32])), "Salt(***)");
        assert_ne!(Salt::random(), Salt::random());
        let json = serde_json::to_string(&Salt::from([7; 32])).unwrap();
        assert_eq!(serde_json::from_str::<Salt>(&json).unwrap(), Salt::from([7; 32]));
        assert!(serde_json::from_str::<Salt>(r#""07""#).is_err());
    }
}
