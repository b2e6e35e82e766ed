//! The worker joins queue, PBX and archive: it claims a recording, fetches it, and commits what came of it.
//!
//! ```text
//! claim → adopt what a crash left │ ticket → download → judge the audio → keep (durable) → commit
//!       └─────────────── on failure: judge, put back ───────────────────────────────────────┘
//! ```

mod accepted;
mod commit;
#[cfg(test)]
mod example;
mod fetch;
mod judge;
mod left;
mod progress;
mod receive;
mod sidecar;
mod told;
mod turn;
mod voicemail;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::debug;

pub use accepted::{Taken, accept_found};
pub use left::settle_what_was_left;
pub use progress::{Progress, Snapshot};
pub use voicemail::TwinLocks;

use crate::archive::Archive;
use crate::base::bell::{Bell, Listener};
use crate::base::clock::Clock;
use crate::base::recording::RecordingKind;
use crate::config::{PbxConfig, QueueConfig};
use crate::pbx::Pbx;
use crate::pipeline::gate::Gate;
use crate::store::db::Db;
use crate::store::queue::{self, DayRange, Job, Kinds};
use fetch::{Failure, item_of};
use told::Told;

/// Workers beyond the connections of a PBX: they make files durable while others download.
const WORKERS_BESIDES: usize = 2;
/// A command does not wait for recordings that are due later than this.
const DUE_SOON: Duration = Duration::from_secs(60);
/// How often the queue is looked at though no bell rang: a safety net, for whoever adds to it rings.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Failures of the archive in a row, over whatever recordings, that are the archive's and not theirs.
const ARCHIVE_FAILURES_MAX: u32 = 8;

/// Everything that the workers of one PBX share.
#[derive(Debug)]
pub struct Worker {
    pub pbx: PbxConfig,
    pub queue: QueueConfig,
    pub days: DayRange,
    pub kinds: Kinds,
    pub run_id: String,
    pub db: Db,
    pub archive: Arc<Archive>,
    /// No ticket is taken while less than this is free.
    pub free_bytes_min: u64,
    pub client: Arc<dyn Pbx>,
    pub clock: Clock,
    /// The latest that it has shown to these workers: if that is ahead of it, it was set back.
    pub latest_ms: AtomicI64,
    pub gate: Arc<Gate>,
    pub downloads: Arc<Semaphore>,
    pub progress: Arc<Progress>,
    pub archive_failures: AtomicU32,
    /// Rung when the queue may hold something new.
    pub bell: Bell,
    /// Voicemail messages that are alike are fetched one after the other.
    pub twins: TwinLocks,
    /// Cancelled when the sweep has told all it knows: only then can there be nothing left to do.
    pub swept: CancellationToken,
    /// Cancelled to finish what is in flight and take no more.
    pub stop: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Worked,
    /// None is ready; one may be at this time, or after so long if the clock does not get there.
    Wait(Timestamp, Duration),
    /// None will be due soon.
    Done,
}

impl Worker {
    /// Works with as many workers as the PBX allows, until nothing is due soon or `stop` is cancelled.
    ///
    /// On return this run holds no claim. An error is one that concerns the archive, the database or callvault itself; a
    /// claim that it left is released at the next start.
    pub async fn run(self: Arc<Self>) -> anyhow::Result<()> {
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..self.pbx.concurrency + WORKERS_BESIDES {
            workers.spawn(self.clone().work());
        }
        let mut outcome = Ok(());
        while let Some(ended) = workers.join_next().await {
            let ended = ended.unwrap_or_else(|panic| Err(anyhow::anyhow!("a worker ended at once: {panic}")));
            if let Err(error) = ended {
                // The others would meet the same disk: let them finish what they have.
                self.stop.cancel();
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    async fn work(self: Arc<Self>) -> anyhow::Result<()> {
        let mut bell = self.bell.listen();
        let mut reached = Timestamp::MIN;
        while !self.stop.is_cancelled() && !self.gate.given_up().is_cancelled() {
            bell.forget();
            // Asked before we look: what the sweep has told until now is in the database when we do.
            let swept = self.swept.is_cancelled();
            // What was waited for is reached, also if the clock was set back meanwhile.
            let now = self.clock.now().max(std::mem::replace(&mut reached, Timestamp::MIN));
            match self.take_turn(swept, now).await? {
                Turn::Worked => {}
                Turn::Wait(until, left) => reached = self.wait(until, left, swept, &mut bell).await,
                Turn::Done => break,
            }
        }
        Ok(())
    }

    async fn take_turn(&self, swept: bool, now: Timestamp) -> anyhow::Result<Turn> {
        let may_claim =
            queue::may_claim(&mut *self.db.read().await?, &self.pbx.id, self.days, self.kinds, now).await?;
        if may_claim && let Some(job) = self.claim(now).await? {
            self.run_one(job).await?;
            return Ok(Turn::Worked);
        }
        let due = queue::next_due(&mut *self.db.read().await?, &self.pbx.id, self.days, self.kinds).await?;
        let latest = self.latest(now);
        let left = |from: Timestamp, until: Timestamp| {
            Duration::try_from(until.duration_since(from)).unwrap_or_default()
        };
        let look_at = now.checked_add(LOOK_EVERY).unwrap_or(now);
        Ok(match due {
            _ if !swept => {
                let until = due.unwrap_or(look_at).min(look_at);
                Turn::Wait(until, left(now, until))
            }
            Some(due) if left(now, due) <= DUE_SOON => Turn::Wait(due, left(now, due)),
            // It was put back before the clock was set back, and waits no longer for that.
            Some(due) if left(latest, due) <= DUE_SOON => Turn::Wait(due, left(latest, due)),
            _ => Turn::Done,
        })
    }

    /// The latest that the clock has shown to these workers, `now` included.
    fn latest(&self, now: Timestamp) -> Timestamp {
        let now_ms = now.as_millisecond();
        let latest_ms = self.latest_ms.fetch_max(now_ms, Relaxed).max(now_ms);
        Timestamp::from_millisecond(latest_ms).unwrap_or(now)
    }

    async fn claim(&self, now: Timestamp) -> anyhow::Result<Option<Job>> {
        let (pbx, run_id) = (self.pbx.id.clone(), self.run_id.clone());
        let (days, kinds, order) = (self.days, self.kinds, self.queue.order);
        self.db.write(async move |tx| queue::claim(tx, &pbx, days, kinds, order, &run_id, now).await).await
    }

    /// Works on one claimed recording. When this returns, the claim has ended, one way or the other.
    async fn run_one(&self, job: Job) -> anyhow::Result<()> {
        let _alone = match job.kind {
            RecordingKind::Voicemail => Some(self.twins.lock(&job).await),
            RecordingKind::Call => None,
        };
        let told = Told::read(&mut *self.db.read().await?, &job).await?;
        match self.fetch(&job, &told).await {
            Ok(fetched) => {
                self.archive_failures.store(0, Relaxed);
                self.commit(&job, fetched).await
            }
            Err(failure) => {
                debug!(pbx = %job.pbx, "`{}` is not archived yet: {failure}", job.name);
                self.put_back(&job, &failure).await?;
                self.react(&job, failure).await
            }
        }
    }

    /// What a failure means beyond the one recording.
    async fn react(&self, job: &Job, failure: Failure) -> anyhow::Result<()> {
        match failure {
            Failure::Pbx(error) => self.gate.troubled(&item_of(job), &error).await.map(drop),
            Failure::Archive(error) => {
                let in_a_row = self.archive_failures.fetch_add(1, Relaxed) + 1;
                let is_its_own = judge::concerns_archive(&error) || in_a_row >= ARCHIVE_FAILURES_MAX;
                if is_its_own { Err(error.into()) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Waits until there may be something to do. `until`, if it was waited for to the end.
    async fn wait(&self, until: Timestamp, left: Duration, swept: bool, bell: &mut Listener) -> Timestamp {
        tokio::select! {
            () = self.clock.sleep_until(until) => return until,
            () = tokio::time::sleep(left) => return until,
            () = bell.rung() => {}
            // The last of the sweep may be that there is nothing more to wait for.
            () = self.swept.cancelled(), if !swept => {}
            () = self.stop.cancelled() => {}
            () = self.gate.given_up().cancelled() => {}
        }
        Timestamp::MIN
    }
}
