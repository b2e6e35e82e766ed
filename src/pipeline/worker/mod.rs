//! The worker joins queue, PBX and archive: it claims a recording, fetches it, and commits what came of it.
//!
//! ```text
//! claim → adopt what a crash left │ ticket → download → judge the audio → keep (durable) → commit
//!       └─────────────── on failure: judge, put back ───────────────────────────────────────┘
//! ```

mod claims;
#[cfg(test)]
mod example_tests;
mod fetch;
mod found;
mod judge;
mod put_back;
mod receive;
mod settlement;
mod sidecar;

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::debug;

pub use found::{AcceptedFile, Taken, accept_found, settle_leftovers};

use super::site::Site;
use crate::base::bell::Listener;
use crate::store::queue::{self, DayRange, Job, Kinds};
use claims::{Claimed, Claims};
use fetch::{Failure, TwinLocks, item_of};
use judge::elapsed;
use settlement::{Commits, Durable, GATHERED};

/// Workers beyond the connections of a PBX: so many wait for a common commit, and one makes a file durable, while others
/// download.
const WORKERS_BESIDES: usize = GATHERED + 1;
/// A command does not wait for recordings that are due later than this.
const DUE_SOON: Duration = Duration::from_secs(60);
/// How often workers look at the queue though no bell rang: a safety net, for whatever adds to it rings.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Failures of the archive in a row, over whatever recordings, that are the archive's and not theirs.
const ARCHIVE_FAILURES_MAX: u32 = 8;

/// What the workers of one PBX share.
#[derive(Debug)]
pub(crate) struct Worker {
    site: Arc<Site>,
    days: DayRange,
    kinds: Kinds,
    progress: Arc<Progress>,
    /// Cancelled when the sweep is over: only then can there be nothing left to do.
    swept: CancellationToken,
    /// Cancelled to finish what is in flight and take no more.
    stop: CancellationToken,
    /// The latest time that the clock has shown to these workers: if that is ahead of it, it was set back.
    latest_ms: AtomicI64,
    archive_failures: AtomicU32,
    /// Voicemail messages that are alike are fetched one after the other.
    twins: TwinLocks,
    claims: Claims,
    commits: Commits,
}

impl Worker {
    /// Workers of `site` for recordings of these days and kinds. `swept` is cancelled when nothing more can come into the queue.
    pub(crate) fn new(site: &Arc<Site>, days: DayRange, kinds: Kinds, swept: CancellationToken) -> Arc<Self> {
        let progress = match kinds {
            Kinds::Voicemail => &site.message_progress,
            Kinds::Calls | Kinds::All => &site.progress,
        };
        Arc::new(Self {
            site: site.clone(),
            days,
            kinds,
            progress: progress.clone(),
            swept,
            // Of its own: workers whose archive fails end, and what else is done here goes on.
            stop: site.stop.child_token(),
            latest_ms: AtomicI64::new(i64::MIN),
            archive_failures: AtomicU32::new(0),
            twins: TwinLocks::default(),
            claims: Claims::default(),
            commits: Commits::default(),
        })
    }

    /// Works with as many workers as the PBX allows, until nothing is due soon or `stop` is cancelled.
    ///
    /// On return this run holds no claim. An error is one that concerns the archive, the database or callvault itself; a
    /// claim that it left is released at the next start.
    pub(crate) async fn run(self: Arc<Self>) -> Result<()> {
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..self.site.pbx.concurrency + WORKERS_BESIDES {
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
        outcome.and(self.release_claims().await)
    }

    async fn work(self: Arc<Self>) -> Result<()> {
        let mut bell = self.site.connection.bell.listen();
        let mut reached = Timestamp::MIN;
        while !self.stop.is_cancelled() && !self.site.gate.given_up().is_cancelled() {
            bell.forget();
            // Asked before we look: what the sweep has stored by now is in the database when we do.
            let swept = self.swept.is_cancelled();
            // What was waited for is reached, also if the clock was set back meanwhile.
            let now = self.site.now().max(std::mem::replace(&mut reached, Timestamp::MIN));
            if let Some(claimed) = self.next(now).await? {
                self.run_one(claimed).await?;
                continue;
            }
            let Some((until, left)) = self.next_look(swept, now).await? else { break };
            reached = self.wait(until, left, swept, &mut bell).await;
        }
        Ok(())
    }

    /// When to look again, and how long that is, if the clock does not get there; `None` if nothing will be due soon.
    async fn next_look(&self, swept: bool, now: Timestamp) -> Result<Option<(Timestamp, Duration)>> {
        let due = queue::next_due(&mut *self.site.db().read().await?, self.site.id(), self.days, self.kinds)
            .await?;
        let latest = self.latest(now);
        let look_at = now.checked_add(LOOK_EVERY).unwrap_or(now);
        Ok(match due {
            _ if !swept => {
                let until = due.unwrap_or(look_at).min(look_at);
                Some((until, elapsed(now, until)))
            }
            Some(due) if elapsed(now, due) <= DUE_SOON => Some((due, elapsed(now, due))),
            // It was put back before the clock was set back, and waits no longer for that.
            Some(due) if elapsed(latest, due) <= DUE_SOON => Some((due, elapsed(latest, due))),
            _ => None,
        })
    }

    /// The latest that the clock has shown to these workers, `now` included.
    fn latest(&self, now: Timestamp) -> Timestamp {
        let now_ms = now.as_millisecond();
        let latest_ms = self.latest_ms.fetch_max(now_ms, Relaxed).max(now_ms);
        Timestamp::from_millisecond(latest_ms).unwrap_or(now)
    }

    /// Works on one claimed recording. When this returns, the claim has ended, one way or the other.
    async fn run_one(&self, claimed: Claimed) -> Result<()> {
        let _at_work = self.commits.begin();
        let _alone = if claimed.is_message() { Some(self.twins.lock(&claimed.job).await) } else { None };
        let outcome = self.fetch(&claimed).await?;
        let job = claimed.job;
        match outcome {
            Ok(fetched) => {
                self.archive_failures.store(0, Relaxed);
                self.commit(Durable { job, fetched }).await
            }
            Err(failure) => {
                debug!(pbx = %job.pbx, "`{}` is not archived yet: {failure}", job.name);
                self.put_back(&job, &failure).await?;
                self.react(&job, failure).await
            }
        }
    }

    /// What a failure means beyond the one recording.
    async fn react(&self, job: &Job, failure: Failure) -> Result<()> {
        match failure {
            Failure::Pbx(error) => self.site.gate.troubled(&item_of(job), &error).await.map(drop),
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
            () = self.site.vault.clock.sleep_until(until) => return until,
            () = tokio::time::sleep(left) => return until,
            () = bell.rung() => {}
            // The last of the sweep may be that there is nothing more to wait for.
            () = self.swept.cancelled(), if !swept => {}
            () = self.stop.cancelled() => {}
            () = self.site.gate.given_up().cancelled() => {}
        }
        Timestamp::MIN
    }
}

/// What the workers of one PBX have done so far: they add to it, and a display reads it.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Snapshot>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Snapshot {
    pub archived: u64,
    pub failed_attempts: u64,
    pub bytes: u64,
}

impl std::ops::Add for Snapshot {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            archived: self.archived + other.archived,
            failed_attempts: self.failed_attempts + other.failed_attempts,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl Progress {
    pub fn snapshot(&self) -> Snapshot {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, done: Snapshot) {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = *sum + done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_pbxs_have_done_adds_up() {
        let progress = Progress::default();
        progress.note(Snapshot { archived: 1, bytes: 500, failed_attempts: 0 });
        progress.note(Snapshot { archived: 1, bytes: 20, failed_attempts: 0 });
        progress.note(Snapshot { failed_attempts: 3, ..Snapshot::default() });
        let one = progress.snapshot();
        assert_eq!(one, Snapshot { archived: 2, failed_attempts: 3, bytes: 520 });
        let other = Snapshot { archived: 10, failed_attempts: 4, bytes: 1000 };
        assert_eq!(one + other, Snapshot { archived: 12, failed_attempts: 7, bytes: 1520 });
    }
}
