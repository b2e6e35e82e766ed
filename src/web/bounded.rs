//! A listener whose connections are bounded: in number, in time, and in what they may send.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use super::lease::Lease;

/// Connections at one time; more wait.
const CONNECTIONS_MAX: usize = 32;
/// A connection ends after so long, unless what it was asked for takes longer by its nature ([`Lease::extend`]): who
/// scrapes opens another.
const LIFETIME: Duration = Duration::from_secs(30);
/// Bytes that a connection may send: some hundred requests, and no flood.
const SENT_BYTES_MAX: usize = 64 << 10;

/// The listener.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    lifetime: Duration,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self::with_lifetime(listener, LIFETIME)
    }

    fn with_lifetime(listener: TcpListener, lifetime: Duration) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), lifetime }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let lease = Lease::of(self.lifetime);
        let end = Box::pin(tokio::time::sleep_until(lease.end()));
        (Connection { stream, lease, end, may_send_bytes: SENT_BYTES_MAX, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends in time.
pub(super) struct Connection {
    stream: TcpStream,
    lease: Lease,
    end: Pin<Box<Sleep>>,
    may_send_bytes: usize,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// Fails when the connection's time is over. Polled with every wait, so that the end wakes whoever waits.
    fn check_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.end.as_mut().poll(context).is_ready() {
            // The end may have been moved while nobody looked.
            let end = self.lease.end();
            if end <= self.end.deadline() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.end.as_mut().reset(end);
        }
        Ok(())
    }

    /// Until when it lives.
    pub(super) fn lease(&self) -> &Lease {
        &self.lease
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
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_connection_ends_in_time_unless_its_time_is_extended() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut bounded = Bounded::with_lifetime(listener, Duration::from_millis(20));
        let mut reader = TcpStream::connect(address).await.unwrap();
        let (mut extended, _) = bounded.accept().await;
        extended.lease().extend(Duration::from_secs(3600));
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
}
