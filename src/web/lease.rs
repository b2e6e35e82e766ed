//! Until when a connection may live.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::time::Instant;

use super::bounded::Bounded;

/// Until when a connection may live. Clones share the time: whoever answers something that takes its time by its nature
/// moves it, and the connection looks at it.
#[derive(Debug, Clone)]
pub(super) struct Lease(Arc<Mutex<Instant>>);

impl Lease {
    /// A lease of `lifetime` from now on.
    pub(super) fn of(lifetime: Duration) -> Self {
        Self(Arc::new(Mutex::new(Instant::now() + lifetime)))
    }

    /// Lets the connection live for this much longer than now, if that is not before its end anyway.
    pub(super) fn extend(&self, by: Duration) {
        let mut end = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *end = (*end).max(Instant::now() + by);
    }

    /// Its end.
    pub(super) fn end(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Lease {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        stream.io().lease().clone()
    }
}
