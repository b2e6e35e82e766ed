//! How long a connection may live, and what is known about it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::time::Instant;

use super::bounded::Bounded;
use super::guests::{About, Answering, Guest};
use super::source::Source;

/// How long a connection may live.
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
    /// The end once a request has come.
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

    pub(super) fn guest(&self) -> &Guest {
        &self.guest
    }

    pub(super) fn source(&self) -> Source {
        self.guest.source()
    }

    /// Whether nobody on the way can read what it sends: it uses TLS, or comes from this machine.
    pub(super) fn is_secret(&self) -> bool {
        self.is_tls || self.guest.source().is_this_machine()
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Lease {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        stream.io().lease().clone()
    }
}
