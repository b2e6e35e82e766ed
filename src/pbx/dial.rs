//! A TCP connection to a PBX, and a stream that keeps what came first, so that an error can name what answers there.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use crate::pbx::error::Failure;
use crate::pbx::transport::{Origin, no_answer, no_connection, unknown_host, unreachable};

/// Connects to the first of the PBX's addresses that answers. Each may take its share of the time that is left, so that one which is silent does not use up the time of the next.
pub(super) async fn dial(to: &Origin) -> Result<TcpStream, Failure> {
    let deadline = Instant::now() + to.connect_timeout;
    let found = lookup_host((to.host.as_str(), to.port)).await;
    let addresses: Vec<_> = found.map_err(|error| unknown_host(&error, to))?.collect();
    let mut failure = unreachable("no connection", to);
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).expect("a host has few addresses");
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        failure = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small: without this the last part of one would wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => no_connection(&error, to),
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
