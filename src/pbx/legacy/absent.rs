//! Stands in for TLS by OpenSSL in a build without it: refuses, and says where to get it.

use std::path::PathBuf;

use rustls::pki_types::CertificateDer;

use crate::config::{PbxConfig, TlsBackend};
use crate::pbx::error::{Failure, Reason};
use crate::pbx::transport::Origin;

/// TLS by OpenSSL, which this build does not have.
pub(super) enum Legacy {}

/// A connection that cannot be.
pub(super) enum Line {}

impl Legacy {
    pub(super) fn new(_config: &PbxConfig, _to: &Origin) -> Result<Self, Failure> {
        Err(missing())
    }

    pub(super) async fn open(&self, _to: &Origin) -> Result<(PathBuf, Line), Failure> {
        match *self {}
    }
}

impl Line {
    pub(super) fn broken(&self) -> Option<&str> {
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
