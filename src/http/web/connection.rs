//! A listener that bounds its connections: in number, in time, and in bytes received.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::guests::{About, Answering, Guest, Guests};
use super::limits::Source;
use super::tls::{Renewed, Stream};

/// A connection has this long for its first whole request. It ends after half a minute, unless a request takes longer by its
/// nature ([`Lease::extend`]).
const PATIENCE: Patience = Patience { headers: Duration::from_secs(10), life: Duration::from_secs(30) };
/// Room for some hundred requests.
const SENT_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Bounded {
    listener: TcpListener,
    guests: Guests,
    tls: Option<Renewed>,
    patience: Patience,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, tls: Option<Renewed>) -> Self {
        Self { listener, guests: Guests::default(), tls, patience: PATIENCE }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Connections admitted before are read first: in a flood they would have to give way before their request is read.
        tokio::task::yield_now().await;
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let guest = self.guests.admit(Source::of(address.ip()));
        let give_way = Box::pin(guest.end.clone().cancelled_owned());
        let acceptor = self.tls.as_ref().map(Renewed::acceptor);
        let lease = Lease::of(self.patience, guest, acceptor.is_some());
        let end = Box::pin(tokio::time::sleep_until(lease.end()));
        let stream = Stream::new(stream, acceptor.as_ref());
        (Connection { stream, lease, end, give_way, may_send_bytes: SENT_BYTES_MAX }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

pub(super) struct Connection {
    stream: Stream,
    lease: Lease,
    end: Pin<Box<Sleep>>,
    give_way: Pin<Box<WaitForCancellationFutureOwned>>,
    may_send_bytes: usize,
}

impl Connection {
    /// Fails when the connection's time is over or it has to give way. Called on every poll, so that either event wakes the
    /// waiting task.
    fn check_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.lease.guest.end.is_cancelled() || self.give_way.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        while self.end.as_mut().poll(context).is_ready() {
            // A handler may have moved the end.
            let end = self.lease.end();
            if end <= self.end.deadline() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.end.as_mut().reset(end);
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_time(context)?;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        match self.may_send_bytes.checked_sub(buffer.filled().len() - before) {
            Some(rest) => self.may_send_bytes = rest,
            None => return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into())),
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_time(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Bytes that TLS has not sent yet wait here.
        self.check_time(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Until the headers of its first request, a TLS handshake included.
    pub(super) headers: Duration,
    /// In all, if it sent those in time.
    pub(super) life: Duration,
}

/// How long a connection may live. Clones share the end: a handler that needs more time by its nature moves it.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    end: Arc<Mutex<Instant>>,
    full: Instant,
    guest: Arc<Guest>,
    is_tls: bool,
}

impl Lease {
    pub(super) fn of(patience: Patience, guest: Arc<Guest>, is_tls: bool) -> Self {
        let now = Instant::now();
        let end = Arc::new(Mutex::new(now + patience.headers));
        Self { end, full: now + patience.life, guest, is_tls }
    }

    /// Notes a whole request: the connection may live its full time.
    pub(super) fn heard(&self) {
        self.extend_to(self.full);
    }

    /// Begins to answer a whole request. None if all places are taken.
    pub(super) fn begin(&self, about: About) -> Option<Answering> {
        self.heard();
        self.guest.begin(about)
    }

    /// Lets the connection live at least this much longer from now.
    pub(super) fn extend(&self, by: Duration) {
        self.extend_to(Instant::now() + by);
    }

    fn extend_to(&self, to: Instant) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        *end = (*end).max(to);
    }

    pub(super) fn end(&self) -> Instant {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn source(&self) -> Source {
        self.guest.source
    }

    /// Whether nobody on the way can read what it sends: it uses TLS, or comes from this machine.
    pub(super) fn is_secret(&self) -> bool {
        self.is_tls || self.source().is_this_machine()
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Lease {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        stream.io().lease.clone()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::super::guests::About;
    use super::*;

    async fn bounded(headers_ms: u64, life_ms: u64) -> (Bounded, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (headers, life) = (Duration::from_millis(headers_ms), Duration::from_millis(life_ms));
        (Bounded { patience: Patience { headers, life }, ..Bounded::new(listener, None) }, address)
    }

    #[tokio::test]
    async fn a_connection_ends_in_time_unless_its_time_is_extended() {
        let (mut bounded, address) = bounded(20, 20).await;
        let mut reader = TcpStream::connect(address).await.unwrap();
        let (mut extended, _) = bounded.accept().await;
        extended.lease.extend(Duration::from_secs(3600));
        let mut silent = TcpStream::connect(address).await.unwrap();
        let (mut short, _) = bounded.accept().await;
        let error = short.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(short);
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0, "nothing was sent, and it is closed");
        // The other one began before it and still carries bytes both ways.
        reader.write_all(b"?").await.unwrap();
        assert_eq!(extended.read_u8().await.unwrap(), b'?');
        extended.write_all(b"!").await.unwrap();
        assert_eq!(reader.read_u8().await.unwrap(), b'!');
    }

    #[tokio::test]
    async fn who_has_asked_nothing_in_time_ends_before_who_has() {
        let (mut bounded, address) = bounded(20, 3_600_000).await;
        let mut clients = Vec::new();
        clients.push(TcpStream::connect(address).await.unwrap());
        let (mut asking, _) = bounded.accept().await;
        let answering = asking.lease.begin(About::Other).unwrap();
        clients.push(TcpStream::connect(address).await.unwrap());
        let (mut silent, _) = bounded.accept().await;
        assert_eq!(silent.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(answering);
        clients[0].write_all(b"?").await.unwrap();
        assert_eq!(asking.read_u8().await.unwrap(), b'?');
    }
}
