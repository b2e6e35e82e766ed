//! Whom we take for the PBX: a certificate that the system's roots vouch for, or the one key that is pinned.

mod certificate;
pub(super) mod roots;
mod verifier;
pub(super) mod words;

pub use certificate::Certificate;
pub(super) use certificate::{key_sha256, raw_key, unusable_key};
pub(super) use verifier::{client_config, config_to_look};

use crate::base::digest::Digest;

/// Why a certificate was not accepted, with what the operator needs in order to decide about it.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Untrusted {
    #[error("the certificate is not known ({why}); its key has the SHA-256 {seen}")]
    Unknown { seen: Digest, why: String },
    #[error("the key has the SHA-256 {seen}, pinned is {pin}")]
    PinMismatch { seen: Digest, pin: Digest },
    #[error("the certificate cannot be read: {why}")]
    Unreadable { why: String },
    /// Its key cannot be used here, whether it is pinned or not.
    #[error("the certificate's key is {key}, which rustls does not use")]
    UnusableKey { key: String },
}
