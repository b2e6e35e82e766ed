//! The keys of a `[[pbx]]` that decide about TLS, and what must hold between them.

use toml::de::DeValue;

use super::file::Purpose;
use super::section::{Section, Wrong, quotable, wrong};
use super::{PbxConfig, value};
use crate::base::digest::Digest;
use crate::base::words::words;

/// Which library speaks TLS to a PBX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsBackend {
    /// rustls: TLS 1.2 and 1.3, with keys that are agreed upon anew for each connection.
    Rustls,
    /// The system's OpenSSL, for firmware that speaks only static RSA or older versions. Trusts nothing but a pin.
    OpenSsl,
}

impl TlsBackend {
    /// What is wrong, and what to do, if the OpenSSL backend is wanted from a build that lacks it.
    pub const MISSING: (&str, &str) = (
        "this callvault was built without OpenSSL",
        "install its package, or build it with `cargo build --release --features legacy-tls`",
    );

    pub const fn is_built_in(self) -> bool {
        matches!(self, Self::Rustls) || cfg!(feature = "legacy-tls")
    }
}

words! {
    pub enum TlsVersion as "TLS version" {
        V1_0 = "1.0",
        V1_1 = "1.1",
        V1_2 = "1.2",
    }
}

/// Refuses keys that do not go together.
pub(super) fn check(section: &Section<'_>, pbx: &PbxConfig) {
    if pbx.tls_backend == TlsBackend::Rustls && pbx.tls_version_min < TlsVersion::V1_2 {
        let message = "is older than what rustls speaks";
        section
            .reject("tls_version_min", wrong(message, "add tls_backend = \"openssl\", or remove the line"));
    }
    // `callvault trust` is what writes the pin.
    let may_lack_pin = section.reading.purpose == Purpose::Trust;
    if pbx.tls_backend == TlsBackend::OpenSsl && !section.has("tls_pin_sha256") && !may_lack_pin {
        let id = section.get("id").and_then(|value| value.get_ref().as_str()).unwrap_or("ID");
        let message = "missing: with tls_backend = \"openssl\" only a pinned key is trusted";
        section.miss("tls_pin_sha256", wrong(message, format!("run `callvault trust {}`", quotable(id))));
    }
}

/// Refuses the keys where the PBX's address is an http one.
pub(super) fn refuse_without_tls(section: &Section<'_>) {
    let remedy = "use https, or remove the line";
    if section.has("tls_pin_sha256") {
        section.reject("tls_pin_sha256", wrong("pins a certificate, but an http address has none", remedy));
    }
    for key in ["tls_backend", "tls_version_min"] {
        if section.has(key) {
            section.reject(key, wrong("is about TLS, but an http address has none", remedy));
        }
    }
}

pub(super) fn pin(value: &DeValue<'_>) -> Result<Digest, Wrong> {
    let remedy = "write the 64 hex digits that `callvault trust` shows";
    Digest::from_fingerprint(value::text(value)?).ok_or_else(|| wrong("is not a SHA-256 in hex", remedy))
}

pub(super) fn backend(value: &DeValue<'_>) -> Result<TlsBackend, Wrong> {
    match value::text(value)? {
        "rustls" => Ok(TlsBackend::Rustls),
        "openssl" if TlsBackend::OpenSsl.is_built_in() => Ok(TlsBackend::OpenSsl),
        "openssl" => Err(wrong(TlsBackend::MISSING.0, TlsBackend::MISSING.1)),
        _ => Err(wrong("must be \"rustls\" or \"openssl\"", "write one of them")),
    }
}
