//! One connection to a PBX: dialled, secured, used for one request, closed.
//!
//! The HTTP library gets a stream that is ready and nothing else to decide. It runs within the request that waits for
//! it: a request that is given up, or a body that is dropped, closes the connection at once. What came first is kept, so
//! that an error can name what answers there.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pbx::error::Failure;
use crate::pbx::legacy::Legacy;
use crate::pbx::transport::{
    HEADERS_MAX, Origin, before_tls, no_answer, no_connection, no_tls, unknown_host,
};

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

/// Connects to the first of the PBX's addresses that answers. Each may take its share of the time that is left, so that one which is silent does not use up the time of the next.
pub(super) async fn dial(to: &Origin) -> Result<TcpStream, Failure> {
    let deadline = Instant::now() + to.connect_timeout;
    let found = lookup_host((to.host.as_str(), to.port)).await;
    let found = found.map_err(|error| unknown_host(&error, to))?;
    let addresses: Vec<_> = found.collect();
    let mut failure = no_connection(None, to);
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).expect("a host has few addresses");
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        failure = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small: without this the last part of one would wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => no_connection(Some(&error), to),
            Err(_) => no_answer(to),
        };
    }
    Err(failure)
}

/// How much of what comes first is kept, in bytes.
const HEARD_BYTES_MAX: usize = 64 << 10;

/// What came over a connection first. Clones are of the same connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    /// The first bytes that came, none if nothing did.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, bytes: &[u8]) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = HEARD_BYTES_MAX - heard.len().min(HEARD_BYTES_MAX);
        heard.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// A stream that keeps what comes first, and shows nothing before something was sent: a server that answers before it
/// was asked is busy, or speaks something else than HTTP, and the HTTP library would only say that it did.
#[derive(Debug)]
pub(super) struct Tap<S> {
    stream: S,
    heard: Heard,
    has_spoken: bool,
    waiting: Option<Waker>,
}

impl<S> Tap<S> {
    pub(super) fn on(stream: S, heard: Heard) -> Self {
        Self { stream, heard, has_spoken: false, waiting: None }
    }

    fn note_spoken(&mut self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(count)) if *count > 0) {
            self.has_spoken = true;
            if let Some(waiting) = self.waiting.take() {
                waiting.wake();
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.has_spoken {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.heard.note(&buffer.filled()[before..]);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_spoken(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.note_spoken(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
