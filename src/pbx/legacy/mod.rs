//! TLS by the system's OpenSSL, for PBXs that speak only what rustls does not: static RSA, TLS 1.0, old certificates.
//!
//! HTTP stays with the one HTTP library. It takes no stream from outside, but it connects to Unix sockets: TLS is
//! agreed upon here, and each connection is then handed over by a [`Line`] of its own. So the library's errors
//! are those of one connection, and what breaks in TLS can be told from what ends regularly.

mod handshake;
mod line;

use std::path::PathBuf;

use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use crate::config::PbxConfig;
use crate::digest::Digest;
use crate::pbx::dial::dial;
use crate::pbx::error::{Failure, Reason};
use crate::pbx::transport::{Origin, no_answer};
use handshake::{Handshake, Wanted};
pub(super) use line::Line;

/// TLS to one PBX.
pub(super) struct Legacy {
    handshake: Handshake,
}

impl Legacy {
    /// Prepares TLS. Without a pin nobody could be trusted: no roots are asked.
    pub(super) fn new(config: &PbxConfig, to: &Origin) -> Result<Self, Failure> {
        let pin: Digest = config.tls_pin_sha256.ok_or_else(|| {
            let what = "with `tls_backend = \"openssl\"` only a pinned key is trusted, and none is pinned";
            Failure::new(Reason::TlsUnknownCertificate, what)
                .with_remedy(&format!("run `callvault trust {}`", to.pbx))
        })?;
        Ok(Self { handshake: Handshake::new(Wanted::Key(pin), to)? })
    }

    /// Connects, agrees upon TLS with the pinned key and no other, and returns the socket behind which the PBX now
    /// is, for one connection.
    pub(super) async fn open(&self, to: &Origin) -> Result<(PathBuf, Line), Failure> {
        let tls = timeout(to.connect_timeout, async { self.handshake.over(dial(to).await?, to).await });
        let tls = tls.await.unwrap_or_else(|_| Err(no_answer(to)))?;
        Line::lay(tls).map_err(|error| {
            Failure::new(Reason::Protocol, format!("no socket for TLS by OpenSSL can be made ({error})"))
                .with_remedy("allow Unix sockets (systemd: AF_UNIX in RestrictAddressFamilies)")
        })
    }
}

/// The certificates that a PBX shows, its own first.
pub(super) async fn look(to: &Origin) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let handshake = Handshake::new(Wanted::Anyone, to)?;
    let tls = handshake.over(dial(to).await?, to).await?;
    let chain = tls.ssl().peer_cert_chain();
    let ders = chain.into_iter().flatten().filter_map(|certificate| certificate.to_der().ok());
    Ok(ders.map(CertificateDer::from).collect())
}
