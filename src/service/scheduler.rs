//! The ticker: tokio-cron-scheduler, which does nothing but ring a bell.
//!
//! Its jobs fire in UTC only, may overlap, and are neither awaited nor cancelled at its end. So there is one, which cannot do
//! harm: it wakes the loop that owns the agenda, and that decides what is due.

use anyhow::Context as _;
use tokio_cron_scheduler::{Job, JobScheduler};

use crate::base::bell::Bell;

/// Every second, in UTC.
const TICK: &str = "* * * * * *";

/// The ticker. It runs until [`Ticker::stop`].
pub struct Ticker {
    scheduler: JobScheduler,
}

impl std::fmt::Debug for Ticker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticker").finish_non_exhaustive()
    }
}

impl Ticker {
    /// Rings `bell` every second of this machine's clock from now on.
    pub async fn start(bell: Bell) -> anyhow::Result<Self> {
        let scheduler = JobScheduler::new().await.context("setting up the ticker")?;
        let tick = Job::new_async(TICK, move |_, _| {
            bell.ring();
            Box::pin(std::future::ready(()))
        })
        .context("setting up the ticker")?;
        scheduler.add(tick).await.context("setting up the ticker")?;
        scheduler.start().await.context("starting the ticker")?;
        Ok(Self { scheduler })
    }

    /// Ends the ticking.
    pub async fn stop(mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::debug!("The ticker did not end in good order: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_bell_rings_by_itself() {
        let bell = Bell::default();
        let mut listener = bell.listen();
        let ticker = Ticker::start(bell).await.unwrap();
        for _ in 0..2 {
            tokio::time::timeout(Duration::from_secs(10), listener.rung()).await.unwrap();
        }
        ticker.stop().await;
    }
}
