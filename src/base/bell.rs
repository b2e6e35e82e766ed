//! A bell: rung when there may be something to do, heard by everybody who listens.
//!
//! A ring is never lost between a look and the wait that follows it, and any number of rings count as one.

use std::sync::Arc;

use tokio::sync::watch;

/// A bell. Clones ring the same one.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<watch::Sender<()>>);

/// Somebody who listens to a bell.
#[derive(Debug)]
pub struct Listener(watch::Receiver<()>);

impl Bell {
    /// Wakes all who listen, and those who look next.
    pub fn ring(&self) {
        self.0.send_replace(());
    }

    /// Begins to listen: rings from now on are heard.
    pub fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

impl Listener {
    /// Forgets the rings so far. Call it before looking for work: what rings while you look is heard afterwards.
    pub fn forget(&mut self) {
        self.0.mark_unchanged();
    }

    /// Ends at the first ring that was not heard yet; never if nobody is left to ring.
    pub async fn rung(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
