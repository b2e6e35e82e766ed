//! The formats in which the ledger is published: what outlives this program, and what programs of others read.
//!
//! A Merkle tree after RFC 6962, cut into tiles (C2SP tlog-tiles v0.1.0), its size and root signed with Ed25519 as a note
//! (C2SP tlog-checkpoint and signed-note v1.0.0), the word of witnesses (tlog-cosignature), and proofs as text (C2SP
//! tlog-proof@v1). Pure functions: no file is touched here, no clock read and no database asked.

mod key;
mod merkle;
mod note;
mod tile;

pub use key::{KeyId, PublicKey, SigningKey, VerifyingKey, WitnessKey, is_key_name};
pub use merkle::{
    Subtree, consistency_proof, inclusion_proof, leaf_hash, node_hash, tree_hash, verify_consistency,
    verify_inclusion,
};
pub use note::{Checkpoint, Note, TlogProof, sign};
pub use tile::{
    Frontier, FrontierError, TILE_HEIGHT, TILE_WIDTH, Tile, bundle, entries_of_bundle, path_of_bundle,
};

/// What is wrong with a text or a file that claims to be of one of these formats.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogError {
    #[error("it is no {what}: {why}")]
    Malformed { what: &'static str, why: &'static str },
    /// No signature of a key that is trusted is on it.
    #[error("no key that is trusted has signed it")]
    Unsigned,
    /// A signature of a trusted key does not fit the text.
    #[error("its signature does not fit: it was altered")]
    BadSignature,
    #[error("the proof does not lead to the root that was signed")]
    WrongProof,
}

pub(crate) fn malformed(what: &'static str, why: &'static str) -> TlogError {
    TlogError::Malformed { what, why }
}
