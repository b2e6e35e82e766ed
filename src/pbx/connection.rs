//! One connection to a PBX: dialled, secured, used for one request, closed.
//!
//! The HTTP library gets a stream that is ready and nothing else to decide. It runs within the request that waits for
//! it: a request that is given up, or a body that is dropped, closes the connection at once. What came first is kept, so
//! that an error can name what answers there.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{PbxConfig, TlsBackend};
use crate::pbx::dial::{Heard, Tap, dial};
use crate::pbx::error::{Failure, PbxError, Reason, When};
use crate::pbx::legacy::{self, Legacy};
use crate::pbx::tls::{Certificate, config_to_look, roots_judge};
use crate::pbx::transport::{HEADERS_MAX, Origin, before_tls, no_answer, no_tls};

pub(super) enum Security {
    None,
    Rustls(Arc<ClientConfig>),
    OpenSsl(Legacy),
}

pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// The HTTP library's side of a connection. Dropped, it closes the connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

impl Security {
    /// Connects, and agrees upon TLS if the address is an https one; all within `connect_timeout`.
    pub(super) async fn connect(&self, to: &Origin, heard: &Heard) -> Result<Box<dyn Wire>, Failure> {
        let connecting = async {
            let wire: Box<dyn Wire> = match self {
                Self::None => Box::new(dial(to).await?),
                Self::Rustls(config) => Box::new(secure(Arc::clone(config), to).await?),
                Self::OpenSsl(legacy) => Box::new(legacy.open(to).await?),
            };
            Ok(Box::new(Tap::on(wire, heard.clone())) as Box<dyn Wire>)
        };
        timeout(to.connect_timeout, connecting).await.unwrap_or_else(|_| Err(no_answer(to)))
    }
}

async fn secure(config: Arc<ClientConfig>, to: &Origin) -> Result<TlsStream<Tap<TcpStream>>, Failure> {
    let name = ServerName::try_from(to.host.clone()).map_err(|error| no_tls(error, to))?;
    let heard = Heard::default();
    let tcp = Tap::on(dial(to).await?, heard.clone());
    let tls = TlsConnector::from(config).connect(name, tcp).await;
    tls.map_err(|error| before_tls(&error, &heard.bytes(), to))
}

/// Sends a request and waits for the head of its reply.
pub(super) async fn ask(
    wire: Box<dyn Wire>,
    request: Request<Full<Bytes>>,
) -> hyper::Result<(Response<Incoming>, Driver)> {
    // Names of headers are written as people write them: servers of appliances do not all know them otherwise.
    let (mut sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .ignore_invalid_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(wire))
        .await?;
    let mut driver: Option<Driver> = Some(Box::pin(connection));
    let response = drive(&mut driver, sender.send_request(request)).await?;
    Ok((response, driver.unwrap_or_else(|| Box::pin(std::future::ready(Ok(()))))))
}

/// Waits for something that needs the connection to go on.
pub(super) async fn drive<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        // How it ends, the HTTP library tells whoever waits for the reply.
        if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
            *driver = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}

#[derive(Debug, Clone)]
pub struct Shown {
    pub certificate: Certificate,
    /// Whether the system's roots vouch for it; else why not.
    pub roots: Result<(), String>,
}

/// Looks at the certificate of a PBX over TLS as it is configured, whatever is pinned. Nothing is said over the
/// connection: no HTTP, no login.
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
    let chain = timeout(to.connect_timeout, chain).await.unwrap_or_else(|_| Err(no_answer(&to)))?;
    let own = chain.first().ok_or_else(|| no_tls("it shows no certificate", &to))?;
    let certificate = Certificate::read(own).map_err(|why| {
        Failure::new(Reason::TlsHandshake, format!("{}: the certificate cannot be read: {why}", to.text))
            .with_remedy("give the PBX another one")
    })?;
    let now = UnixTime::since_unix_epoch(now.as_duration().try_into().unwrap_or_default());
    Ok(Shown { certificate, roots: roots_judge(&chain, &name, now) })
}

async fn over_rustls(to: &Origin) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let tls = secure(Arc::new(config_to_look()), to).await?;
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(chain.iter().map(|der| der.clone().into_owned()).collect())
}
