//! The scheduler: each line of `[schedule]`, for each PBX, is a one-shot job of tokio-cron-scheduler.
//!
//! The library's own cron lines count in a fixed offset from UTC, so they would be an hour off after each change of the clocks.
//! So the agenda computes when each line is next due, and the job of the line is armed for that instant. It rings a bell; the
//! loop that listens looks at the agenda, which hands out what is due and says when each line is due next.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio_cron_scheduler::{Job, JobScheduler};
use uuid::Uuid;

use crate::base::bell::Bell;
use crate::store::agenda;

/// A line of `[schedule]`, of one PBX; of none (empty) if it concerns all.
type Line = (agenda::Job, String);

/// Rings a bell when a line of the schedule is due. It runs until [`Scheduler::stop`].
pub struct Scheduler {
    jobs: JobScheduler,
    bell: Bell,
    /// The instant that each line is armed for, and its job.
    armed: BTreeMap<Line, (Timestamp, Uuid)>,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("armed", &self.armed).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// A scheduler that rings `bell`; nothing is armed yet.
    ///
    /// # Errors
    /// If the library cannot start.
    pub async fn start(bell: Bell) -> anyhow::Result<Self> {
        let jobs = JobScheduler::new().await.context("setting up the scheduler")?;
        jobs.start().await.context("starting the scheduler")?;
        Ok(Self { jobs, bell, armed: BTreeMap::new() })
    }

    /// Arms each line for its instant, which is after `now`. Lines that are not among them any more are disarmed; a line that
    /// is armed for this instant already stays so.
    ///
    /// # Errors
    /// If the library takes no job.
    pub async fn arm(&mut self, lines: Vec<agenda::Due>, now: Timestamp) -> anyhow::Result<()> {
        let mut former = std::mem::take(&mut self.armed);
        for (line, due) in lines {
            let armed = match former.remove(&line) {
                Some(armed) if armed.0 == due => armed,
                other => {
                    self.disarm(other).await;
                    (
                        due,
                        self.ring_after(Duration::try_from(due.duration_since(now)).unwrap_or_default())
                            .await?,
                    )
                }
            };
            self.armed.insert(line, armed);
        }
        for armed in former.into_values() {
            self.disarm(Some(armed)).await;
        }
        Ok(())
    }

    /// Arms all lines again for their instants: the clock was set, and the library waits by the clock as it was.
    ///
    /// # Errors
    /// Those of [`Scheduler::arm`].
    pub async fn arm_again(&mut self, lines: Vec<agenda::Due>, now: Timestamp) -> anyhow::Result<()> {
        self.arm(Vec::new(), now).await?;
        self.arm(lines, now).await
    }

    /// Ends all jobs.
    pub async fn stop(mut self) {
        if let Err(error) = self.jobs.shutdown().await {
            tracing::debug!("The scheduler did not end in good order: {error}");
        }
    }

    async fn ring_after(&self, wait: Duration) -> anyhow::Result<Uuid> {
        let bell = self.bell.clone();
        let ring = move |_, _| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            bell.ring();
            Box::pin(std::future::ready(()))
        };
        let job = Job::new_one_shot_async(wait, ring).context("planning a job")?;
        self.jobs.add(job).await.context("planning a job")
    }

    /// A job that has run is gone already.
    async fn disarm(&self, armed: Option<(Timestamp, Uuid)>) {
        if let Some((_, job)) = armed {
            drop(self.jobs.remove(&job).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;
    use crate::base::clock::now;

    const LINE: (agenda::Job, String) = (agenda::Job::Sweep, String::new());

    #[tokio::test]
    async fn a_line_rings_when_it_is_due_and_again_when_it_is_armed_again() {
        let bell = Bell::default();
        let mut listener = bell.listen();
        let mut scheduler = Scheduler::start(bell).await.unwrap();
        for _ in 0..2 {
            listener.forget();
            let now = now();
            scheduler.arm(vec![(LINE, now + 10.milliseconds())], now).await.unwrap();
            tokio::time::timeout(Duration::from_secs(10), listener.rung()).await.unwrap();
        }
        scheduler.stop().await;
    }

    #[tokio::test]
    async fn a_line_that_is_armed_for_another_instant_rings_then_alone() {
        let bell = Bell::default();
        let mut listener = bell.listen();
        let mut scheduler = Scheduler::start(bell).await.unwrap();
        listener.forget();
        let now = now();
        let other = (agenda::Job::Seal, String::new());
        scheduler.arm(vec![(LINE, now + 1.second()), (other, now + 1.second())], now).await.unwrap();
        scheduler.arm(vec![(LINE, now + 1.hour())], now).await.unwrap();
        assert_eq!(scheduler.armed.len(), 1);
        assert!(tokio::time::timeout(Duration::from_secs(3), listener.rung()).await.is_err());
        scheduler.arm_again(vec![(LINE, now + 4.seconds())], now).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), listener.rung()).await.unwrap();
        scheduler.stop().await;
    }
}
