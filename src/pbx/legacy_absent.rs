//! Stands in for TLS by OpenSSL in a build without it: refuses, and says where to get it.

use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;

use crate::config::{PbxConfig, TlsBackend};
use crate::pbx::error::{Failure, Reason};
use crate::pbx::transport::Origin;

/// TLS by OpenSSL, which this build does not have.
pub(super) enum Legacy {}

impl Legacy {
    pub(super) fn new(_config: &PbxConfig, _to: &Origin) -> Result<Self, Failure> {
        Err(missing())
    }

    pub(super) async fn open(&self, _to: &Origin) -> Result<TcpStream, Failure> {
        match *self {}
    }
}

pub(super) async fn look(_to: &Origin) -> Result<Vec<CertificateDer<'static>>, Failure> {
    Err(missing())
}

fn missing() -> Failure {
    let (what, remedy) = TlsBackend::MISSING;
    Failure::new(Reason::TlsHandshake, what).with_remedy(remedy)
}
