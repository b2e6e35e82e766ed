//! What a PBX shows of itself before anything is said to it: its certificate.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::config::{PbxConfig, TlsBackend};
use crate::pbx::connection::secure;
use crate::pbx::error::{Failure, PbxError, Reason, When};
use crate::pbx::legacy;
use crate::pbx::tls::{Certificate, config_to_look, roots};
use crate::pbx::transport::{Origin, no_answer, no_tls};

/// The certificate that a PBX shows.
#[derive(Debug, Clone)]
pub struct Shown {
    pub certificate: Certificate,
    /// Whether the system's roots vouch for it; else why not.
    pub roots: Result<(), String>,
}

/// Looks at the certificate of a PBX over TLS as it is configured, whatever is pinned. Nothing is said over the
/// connection: no HTTP, no login.
///
/// # Errors
/// If there is no connection or no TLS, or the certificate cannot be read.
pub async fn look_at_certificate(config: &PbxConfig, now: Timestamp) -> Result<Shown, PbxError> {
    let outcome = look(config, now).await;
    outcome.map_err(|failure| PbxError::of(&config.id, When::Asking, "looking at its certificate", failure))
}

async fn look(config: &PbxConfig, now: Timestamp) -> Result<Shown, Failure> {
    let to = Origin::of(config);
    let name = ServerName::try_from(to.host.clone()).map_err(|error| no_tls(error, &to))?;
    let chain = async {
        match to.backend {
            TlsBackend::Rustls => over_rustls(&to).await,
            TlsBackend::OpenSsl => legacy::look(&to).await,
        }
    };
    let chain =
        tokio::time::timeout(to.connect_timeout, chain).await.unwrap_or_else(|_| Err(no_answer(&to)))?;
    let own = chain.first().ok_or_else(|| no_tls("it shows no certificate", &to))?;
    let certificate = Certificate::read(own).map_err(|why| {
        Failure::new(Reason::TlsHandshake, format!("{}: the certificate cannot be read: {why}", to.text))
            .with_remedy("give the PBX another one")
    })?;
    let now = UnixTime::since_unix_epoch(now.as_duration().try_into().unwrap_or_default());
    Ok(Shown { certificate, roots: roots::judge(&chain, &name, now) })
}

async fn over_rustls(to: &Origin) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let tls = secure(Arc::new(config_to_look()), to).await?;
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(chain.iter().map(|der| der.clone().into_owned()).collect())
}
