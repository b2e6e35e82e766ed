//! Claims, several at a time where recordings are small: then a look at the database costs more than a download.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Worker;
use super::put_back::Claim;
use super::sidecar::Evidence;
use crate::archive::{Cataloged, Destination};
use crate::base::blocking::on_thread;
use crate::base::recording::RecordingKind;
use crate::store::catalog::{self, Proven};
use crate::store::queue::{self, Job, PutBack, RecordingState, Wanted};

/// What is claimed at once is begun within about this time: until then nobody else can do anything about it.
const BEGUN_WITHIN: Duration = Duration::from_millis(100);
const AT_ONCE_MAX: u32 = 64;
/// If so many were claimed at once, the next ones are claimed while half of them are left, so that no worker waits.
const AHEAD_FROM: usize = 8;

/// A recording that is claimed, and what is known of it.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) job: Job,
    /// What its calls say; what a mailbox says is read when the message is fetched, for others may come before it.
    pub(super) evidence: Option<Evidence>,
    /// The files that it has.
    pub(super) cataloged: Vec<Cataloged>,
    /// Whether a run that died may have left it in the archive.
    pub(super) may_be_left: bool,
}

/// What is claimed, and nobody works on yet.
#[derive(Debug, Default)]
pub(super) struct Claims {
    ahead: Mutex<Ahead>,
    /// Held by the worker that claims.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Ahead {
    waiting: VecDeque<Claimed>,
    /// How many were claimed the last time, and when.
    last: Option<(usize, Instant)>,
}

impl Ahead {
    /// How many to claim: as many as are begun within the time, as far as the last ones tell, and twice as many at most.
    fn at_most(&self, now: Instant) -> u32 {
        let Some((count, at)) = self.last else { return 1 };
        let times = BEGUN_WITHIN.as_secs_f64() / now.duration_since(at).as_secs_f64().max(1e-6);
        ((count as f64 * times.min(2.0)) as u32).clamp(1, AT_ONCE_MAX)
    }

    fn runs_low(&self) -> bool {
        self.last.is_some_and(|(count, _)| count >= AHEAD_FROM && self.waiting.len() * 2 <= count)
    }
}

impl Worker {
    /// The next recording to work on, claimed; `None` if none is ready.
    pub(super) async fn next(&self, now: Timestamp) -> Result<Option<Claimed>> {
        let (mut next, runs_low) = self.take_ahead();
        if runs_low && let Ok(_turn) = self.claims.turn.try_lock() {
            self.claim_ahead(now).await?;
        }
        if next.is_none() {
            let _turn = self.claims.turn.lock().await;
            next = self.take_ahead().0;
            if next.is_none() {
                self.claim_ahead(now).await?;
                next = self.take_ahead().0;
            }
        }
        Ok(next)
    }

    /// One of those that are claimed, and whether few are left.
    fn take_ahead(&self) -> (Option<Claimed>, bool) {
        let mut ahead = self.claims.lock();
        let next = ahead.waiting.pop_front();
        (next, ahead.runs_low())
    }

    async fn claim_ahead(&self, now: Timestamp) -> Result<()> {
        let at_most = self.claims.lock().at_most(Instant::now());
        let jobs = self.claim(at_most, now).await?;
        let last = (jobs.len(), Instant::now());
        let claimed = self.look_up(jobs).await?;
        let mut ahead = self.claims.lock();
        ahead.last = Some(last);
        ahead.waiting.extend(claimed);
        Ok(())
    }

    async fn claim(&self, at_most: u32, now: Timestamp) -> Result<Vec<Job>> {
        let (site, days, kinds) = (&self.site, self.days, self.kinds);
        if !queue::may_claim(&mut *site.db().read().await?, site.id(), days, kinds, now).await? {
            return Ok(Vec::new());
        }
        let order = site.vault.config.queue.order;
        let wanted = Wanted { pbx: site.id().to_owned(), days, kinds, order, at_most };
        let run_id = site.vault.state.run_id.clone();
        site.db().write(async move |tx| queue::claim(tx, &wanted, &run_id, now).await).await
    }

    /// Reads what is known of these, for all of them at once.
    async fn look_up(&self, jobs: Vec<Job>) -> Result<VecDeque<Claimed>> {
        if jobs.is_empty() {
            return Ok(VecDeque::new());
        }
        let mut db = self.site.db().read().await?;
        let mut evidence = Evidence::of_calls(&mut db, &jobs).await?;
        let ids: Vec<i64> = jobs.iter().map(|job| job.id).collect();
        let files = catalog::files_of(&mut db, &ids).await?;
        drop(db);
        let left = self.may_be_left(&jobs).await?;
        let claimed = |(job, may_be_left): (Job, bool)| {
            let of_it = files.iter().filter(|(id, _)| *id == job.id);
            let cataloged = |(_, file): &(i64, Proven)| {
                let Proven { path, sha256, sidecar_sha256, .. } = file.clone();
                Cataloged { path, sha256, sidecar_sha256 }
            };
            let (evidence, cataloged) = (evidence.remove(&job.id), of_it.map(cataloged).collect());
            Claimed { job, evidence, cataloged, may_be_left }
        };
        Ok(jobs.into_iter().zip(left).map(claimed).collect())
    }

    /// For each of these whether a run that died may have left it. One that is archived is never asked for twice.
    async fn may_be_left(&self, jobs: &[Job]) -> Result<Vec<bool>> {
        let places: Result<Vec<_>, _> = jobs.iter().map(|job| Destination::parse(&job.path)).collect();
        let (archive, may_be) = (self.site.vault.archive.clone(), vec![true; jobs.len()]);
        let left = match places {
            Ok(places) => {
                on_thread(move || archive.may_be_left(&places)).await.context("looking for files")?
            }
            Err(error) => Err(error),
        };
        // What is wrong with the archive is told with the recording that it keeps out.
        let left = left.unwrap_or(may_be).into_iter().zip(jobs);
        Ok(left.map(|(left, job)| left && job.state != RecordingState::Archived).collect())
    }

    /// Releases what was claimed and not begun: as if it had not been claimed.
    pub(super) async fn release_claims(&self) -> Result<()> {
        let waiting = std::mem::take(&mut self.claims.lock().waiting);
        for Claimed { job, .. } in waiting {
            let claim = Claim::of(&self.site.vault, job);
            self.site.db().write(async move |tx| claim.put_back(tx, PutBack::Unclaimed).await).await?;
        }
        Ok(())
    }
}

impl Claims {
    fn lock(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claimed {
    pub(super) fn is_message(&self) -> bool {
        self.job.kind == RecordingKind::Voicemail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_claimed_as_are_begun_within_the_time() {
        let mut ahead = Ahead::default();
        let mut now = Instant::now();
        let mut after = |took: Duration| {
            now += took;
            let at_most = ahead.at_most(now);
            ahead.last = Some((at_most as usize, now));
            at_most
        };
        let quick: Vec<u32> = (0..8).map(|_| after(BEGUN_WITHIN / 10)).collect();
        assert_eq!(quick, [1, 2, 4, 8, 16, 32, 64, 64]);
        let slow: Vec<u32> = (0..4).map(|_| after(BEGUN_WITHIN * 4)).collect();
        assert_eq!(slow, [16, 4, 1, 1]);
        ahead.last = Some((0, now));
        assert_eq!(ahead.at_most(now), 1);
    }
}
