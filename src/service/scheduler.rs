//! The scheduler: each line of `[schedule]`, for each PBX, is a one-shot job of tokio-cron-scheduler.
//!
//! The library's own cron lines count in a fixed offset from UTC, so they would be an hour off after each change of the clocks.
//! So the agenda computes when each line is next due, and the job of the line is armed for that instant. It rings a bell; the
//! loop that listens looks at the agenda, which hands out what is due and says when each line is due next.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio_cron_scheduler::{Job, JobScheduler};
use uuid::Uuid;

use crate::base::bell::Bell;
use crate::base::clock;
use crate::store::agenda;

/// A line of `[schedule]`, of one PBX; of none (empty) if it concerns all.
type Line = (agenda::Job, String);

/// Rings a bell when a line of the schedule is due. It runs until [`Scheduler::stop`].
pub struct Scheduler {
    jobs: JobScheduler,
    bell: Bell,
    armed: BTreeMap<Line, Armed>,
}

#[derive(Debug)]
struct Armed {
    due: Timestamp,
    job: Uuid,
    /// Whether it has rung, after which there is no such job any more.
    rang: Arc<AtomicBool>,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("armed", &self.armed).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// A scheduler that rings `bell`; nothing is armed yet.
    pub async fn start(bell: Bell) -> anyhow::Result<Self> {
        let jobs = JobScheduler::new().await.context("setting up the scheduler")?;
        jobs.start().await.context("starting the scheduler")?;
        Ok(Self { jobs, bell, armed: BTreeMap::new() })
    }

    /// Arms each line for its instant, which is after `now`. Lines that are not among them any more are disarmed; a line that
    /// is armed for this instant already stays so.
    pub async fn arm(&mut self, lines: Vec<agenda::Due>, now: Timestamp) -> anyhow::Result<()> {
        let mut former = std::mem::take(&mut self.armed);
        for (line, due) in lines {
            let armed = match former.remove(&line) {
                Some(armed) if armed.due == due && !armed.rang.load(SeqCst) => armed,
                other => {
                    self.disarm(other).await;
                    self.ring_at(due, now).await?
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
    pub async fn arm_again(&mut self, lines: Vec<agenda::Due>, now: Timestamp) -> anyhow::Result<()> {
        self.arm(Vec::new(), now).await?;
        self.arm(lines, now).await
    }

    pub async fn stop(mut self) {
        if let Err(error) = self.jobs.shutdown().await {
            tracing::debug!("The scheduler did not end in good order: {error}");
        }
    }

    /// The library counts in whole seconds, and cuts both the present time and the wait to them: cut that way, a job would ring
    /// before it is due, when there is nothing to do, and not again.
    async fn ring_at(&self, due: Timestamp, now: Timestamp) -> anyhow::Result<Armed> {
        let present = clock::now();
        let at = present.saturating_add(due.duration_since(now)).unwrap_or(Timestamp::MAX);
        let last_second = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
        let wait = Duration::from_secs(u64::try_from(last_second - present.as_second()).unwrap_or(0));
        let (bell, rang) = (self.bell.clone(), Arc::new(AtomicBool::new(false)));
        let note = rang.clone();
        let ring = move |_, _| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            note.store(true, SeqCst);
            bell.ring();
            Box::pin(std::future::ready(()))
        };
        let job = Job::new_one_shot_async(wait, ring).context("planning a job")?;
        Ok(Armed { due, job: self.jobs.add(job).await.context("planning a job")?, rang })
    }

    /// A job that has run is gone already.
    async fn disarm(&self, armed: Option<Armed>) {
        if let Some(Armed { job, .. }) = armed {
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
    async fn no_line_rings_before_it_is_due_and_one_that_has_rung_is_armed_anew() {
        let bell = Bell::default();
        let mut listener = bell.listen();
        let mut scheduler = Scheduler::start(bell).await.unwrap();
        let due = now() + 1_700.milliseconds();
        for _ in 0..2 {
            listener.forget();
            scheduler.arm(vec![(LINE, due)], now().min(due)).await.unwrap();
            tokio::time::timeout(Duration::from_secs(20), listener.rung()).await.unwrap();
            assert!(now() >= due);
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
