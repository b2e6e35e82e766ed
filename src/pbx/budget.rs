//! The connections that a PBX grants us: never more than `concurrency` at one time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long the HTTP library may need to close a connection whose request was given up: it does so on its own task.
const LINGER_ABORTED: Duration = Duration::from_millis(50);

/// The same after a reply whose end its length or its last chunk showed: both sides are closing already.
const LINGER_ENDED: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct Budget {
    connections: Arc<Semaphore>,
    /// Held beside a connection where one is enough.
    only: Arc<Semaphore>,
}

impl Budget {
    pub(super) fn new(concurrency: usize) -> Self {
        Self { connections: Arc::new(Semaphore::new(concurrency.max(1))), only: Arc::new(Semaphore::new(1)) }
    }

    pub(super) async fn lease(&self) -> Lease {
        Lease { permit: permit_of(&self.connections).await, only: None, state: LeaseState::Closed }
    }

    /// Waits until nobody else has a lease that was given out alone.
    ///
    /// Those given out before end by themselves: it takes as long as their requests until one connection is left.
    pub(super) async fn alone(&self, mut lease: Lease) -> Lease {
        lease.only = permit_of(&self.only).await;
        lease
    }
}

async fn permit_of(permits: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Some(Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed"))
}

/// How the body of a reply ended, which says when its connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Closed,
    /// The length or the last chunk said so; the connection closes in a moment.
    Delimited,
}

/// The right to one connection at a time; goes back to the budget when the last one is surely closed.
#[derive(Debug)]
pub(super) struct Lease {
    permit: Option<OwnedSemaphorePermit>,
    only: Option<OwnedSemaphorePermit>,
    state: LeaseState,
}

#[derive(Debug, Clone, Copy)]
enum LeaseState {
    Closed,
    Open,
    ClosedFrom(Instant),
}

impl Lease {
    /// Waits until the former connection is gone, and opens the next. Until [`Lease::ended`] is called it counts as
    /// open, so that a request which failed or was given up needs no further care.
    pub(super) async fn open(&mut self) {
        if let Some(free_at) = self.free_at() {
            tokio::time::sleep_until(free_at).await;
        }
        self.state = LeaseState::Open;
    }

    /// Notes that the reply was read to its end.
    pub(super) fn ended(&mut self, ending: Ending) {
        self.state = match ending {
            Ending::Closed => LeaseState::Closed,
            Ending::Delimited => LeaseState::ClosedFrom(Instant::now() + LINGER_ENDED),
        };
    }

    fn free_at(&self) -> Option<Instant> {
        match self.state {
            LeaseState::Closed => None,
            LeaseState::Open => Some(Instant::now() + LINGER_ABORTED),
            LeaseState::ClosedFrom(at) => Some(at),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (permits, free_at) = ((self.permit.take(), self.only.take()), self.free_at());
        // Without a runtime nothing can connect either.
        if let (Some(free_at), Ok(runtime)) = (free_at, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                tokio::time::sleep_until(free_at).await;
                drop(permits);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_given_up_counts_until_it_is_surely_closed() {
        let budget = Budget::new(1);
        let mut lease = budget.lease().await;
        lease.open().await;
        drop(lease);
        let before = Instant::now();
        let mut lease = budget.lease().await;
        assert!(before.elapsed() >= LINGER_ABORTED);
        lease.open().await;
        lease.ended(Ending::Closed);
        drop(lease);
        let before = Instant::now();
        budget.lease().await;
        assert!(before.elapsed() < LINGER_ABORTED);
    }
}
