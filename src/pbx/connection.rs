//! One connection to a PBX: made, secured, used for one request, closed.
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
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pbx::dial::dial;
use crate::pbx::error::Failure;
use crate::pbx::heard::HEADERS_MAX;
use crate::pbx::legacy::Legacy;
use crate::pbx::tap::{Heard, Tap};
use crate::pbx::transport::{Origin, before_tls, no_answer, no_tls};

pub(super) enum Security {
    None,
    Rustls(Arc<ClientConfig>),
    OpenSsl(Legacy),
}

pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// The HTTP library's side of a connection. Dropped, it closes the connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Connects, and agrees upon TLS if the address is an https one; all within `connect_timeout`.
///
/// # Errors
/// Why there is no connection, or nobody whom we trust at its end.
pub(super) async fn connect(
    security: &Security,
    to: &Origin,
    heard: &Heard,
) -> Result<Box<dyn Wire>, Failure> {
    let connecting = async {
        let wire: Box<dyn Wire> = match security {
            Security::None => return Ok(Box::new(Tap::on(dial(to).await?, heard.clone())) as Box<dyn Wire>),
            Security::Rustls(config) => Box::new(secure(Arc::clone(config), to).await?),
            Security::OpenSsl(legacy) => Box::new(legacy.open(to).await?),
        };
        Ok(Box::new(Tap::on(wire, heard.clone())) as Box<dyn Wire>)
    };
    timeout(to.connect_timeout, connecting).await.unwrap_or_else(|_| Err(no_answer(to)))
}

/// Connects and agrees upon TLS by rustls.
pub(super) async fn secure(
    config: Arc<ClientConfig>,
    to: &Origin,
) -> Result<TlsStream<Tap<TcpStream>>, Failure> {
    let name = ServerName::try_from(to.host.clone()).map_err(|error| no_tls(error, to))?;
    let heard = Heard::default();
    let tcp = Tap::on(dial(to).await?, heard.clone());
    TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(|error| before_tls(&error, &heard.bytes(), to))
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
