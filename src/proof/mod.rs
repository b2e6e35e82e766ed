//! What shows that the archive is complete and unchanged.

// `SHA256SUMS` and the call lists of each day folder.
pub mod seal;

// Publishes the ledger, and signs what it was.
pub mod notary;

// What others say of the ledger's checkpoints: time stamps and witnesses.
pub mod anchor;

// What a PBX listed of a day against what became of it.
pub mod reconcile;

// Certificates of completeness: what a settled day came to, signed.
pub mod certificate;

// Whether the archive is still what it was when it was archived, and nothing else.
pub mod verify;

// The database, made anew from archive and ledger alone.
pub mod rebuild;

// What is given away of the archive, with all that proves it.
pub mod export;

// Small pieces of HTML.
pub mod html;

// A vault whose ledger can be signed, opened and recovered.
pub mod sealed_vault;
