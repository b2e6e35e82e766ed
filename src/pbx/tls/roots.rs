//! The root certificates of this machine, loaded once for all PBXs.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;

use super::words;

/// They take 150 certificates or so of memory, and every PBX is verified by the same ones.
static ROOTS: OnceLock<Arc<Verifier>> = OnceLock::new();

/// The verifier that knows the roots; loads them if nobody has. A machine without any is asked again next time.
pub(super) fn shared() -> Result<Arc<Verifier>, String> {
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let loaded = Verifier::new(provider).map_err(|error| error.to_string())?;
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(loaded))))
}

/// Whether the roots vouch for a chain, the server's own certificate first; else why not.
pub(in crate::pbx) fn judge(
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), String> {
    let (own, intermediates) = chain.split_first().ok_or("there is no certificate")?;
    let verdict = shared()?.verify_server_cert(own, intermediates, name, &[], now);
    verdict.map(|_| ()).map_err(|error| words::of(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pbxs_share_one_copy_of_the_roots() {
        match (shared(), shared()) {
            (Ok(one), Ok(other)) => assert!(Arc::ptr_eq(&one, &other)),
            // A machine without roots says so each time.
            (one, other) => assert!(one.is_err() && other.is_err()),
        }
    }
}
