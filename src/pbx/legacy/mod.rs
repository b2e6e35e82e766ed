//! TLS by the system's OpenSSL, for PBXs that speak what rustls does not: static RSA, versions before 1.2, short keys.
//!
//! Nothing but a pinned key is trusted. With the HTTP library it has nothing to do: that gets a stream that is secured.

mod handshake;

use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::base::digest::Digest;
use crate::config::PbxConfig;
use crate::pbx::dial::dial;
use crate::pbx::error::{Failure, Reason};
use crate::pbx::tap::{Heard, Tap};
use crate::pbx::transport::Origin;
use handshake::{Handshake, Wanted};

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

    /// Connects and agrees upon TLS with the pinned key and no other.
    pub(super) async fn open(&self, to: &Origin) -> Result<SslStream<Tap<TcpStream>>, Failure> {
        secure(&self.handshake, to).await
    }
}

/// The certificates that a PBX shows, its own first.
pub(super) async fn look(to: &Origin) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let tls = secure(&Handshake::new(Wanted::Anyone, to)?, to).await?;
    let chain = tls.ssl().peer_cert_chain();
    let ders = chain.into_iter().flatten().filter_map(|certificate| certificate.to_der().ok());
    Ok(ders.map(CertificateDer::from).collect())
}

async fn secure(handshake: &Handshake, to: &Origin) -> Result<SslStream<Tap<TcpStream>>, Failure> {
    let heard = Heard::default();
    let tcp = Tap::on(dial(to).await?, heard.clone());
    handshake.over(tcp, &heard, to).await
}
