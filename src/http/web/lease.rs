//! Until when a connection may live, and what is known of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::time::Instant;

use super::bounded::Bounded;
use super::guests::{About, Answering, Guest};
use super::source::Source;

/// How long a connection may live, all in all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For the headers of its first request, a TLS handshake included.
    pub(super) headers: Duration,
    /// From its beginning to its end, if it sent those in time.
    pub(super) life: Duration,
}

/// Until when a connection may live. Clones share the time: whoever answers something that takes its time by its nature
/// moves it, and the connection looks at it.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    end: Arc<Mutex<Instant>>,
    /// Its end once it has asked something.
    full: Instant,
    guest: Arc<Guest>,
    is_tls: bool,
}

impl Lease {
    /// A lease from now on.
    pub(super) fn of(patience: Patience, guest: Arc<Guest>, is_tls: bool) -> Self {
        let now = Instant::now();
        let end = Arc::new(Mutex::new(now + patience.headers));
        Self { end, full: now + patience.life, guest, is_tls }
    }

    /// Notes that a request came whole: the connection lives as long as any.
    pub(super) fn heard(&self) {
        self.extend_to(self.full);
    }

    /// Begins to answer a request, which came whole. Nothing if all places are taken.
    pub(super) fn begin(&self, about: About) -> Option<Answering> {
        self.heard();
        self.guest.begin(about)
    }

    /// Lets the connection live for this much longer than now, if that is not before its end anyway.
    pub(super) fn extend(&self, by: Duration) {
        self.extend_to(Instant::now() + by);
    }

    fn extend_to(&self, to: Instant) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        *end = (*end).max(to);
    }

    /// Its end.
    pub(super) fn end(&self) -> Instant {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose connection it is.
    pub(super) fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Whence it comes.
    pub(super) fn source(&self) -> Source {
        self.guest.source()
    }

    /// Whether what it sends is read by nobody on the way: within TLS, or on this machine alone.
    pub(super) fn is_secret(&self) -> bool {
        self.is_tls || self.guest.source().is_this_machine()
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Lease {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        stream.io().lease().clone()
    }
}
