//! What shows that the archive is complete and unchanged.

pub mod anchor;
pub mod certificate;
pub mod export;
pub mod html;
pub mod notary;
pub mod rebuild;
pub mod reconcile;
pub mod seal;
pub mod sealed_vault;
pub mod verify;
