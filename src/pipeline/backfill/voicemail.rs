//! The voicemail of one PBX in a backfill: polled once, and archived like calls. It is counted apart from them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Request;
use super::meeting::Met;
use super::site::Site;
use super::task::Task;
use super::trouble::own_trouble;
use crate::pipeline::gate::Trouble;
use crate::pipeline::sweep::{VoicemailPoll, poll_voicemail};
use crate::store::queue::{self, Counts, DayRange, Kinds, Reason};
use crate::vault::Vault;

/// What became of the voicemail of one PBX. `known` is the sum of the counts after it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VoicemailReport {
    /// Messages that the boxes were ever seen to hold.
    pub known: i64,
    /// Archived by this run.
    pub archived: i64,
    /// Archived before.
    pub already_archived: i64,
    /// Deleted on the PBX before they were archived, or listed there without audio.
    pub missing: i64,
    /// Of these, not asked for any more by itself.
    #[serde(skip)]
    pub missing_final: i64,
    /// Kept out by a rule.
    pub excluded: i64,
    /// Still owed.
    pub pending: i64,
    /// Failed too often for one reason; still owed.
    pub stuck: i64,
    /// Bytes of audio archived by this run.
    pub bytes: u64,
    /// What the poll of the boxes found, if they were polled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<VoicemailPoll>,
    /// Why messages are not archived.
    pub reasons: Vec<Reason>,
    /// Trouble of this machine's own, which is told with that of the PBX.
    #[serde(skip)]
    pub own_trouble: Option<Trouble>,
}

impl VoicemailReport {
    /// Messages that are not archived, and may be yet. One whose deletion is final is told and owed no more: its owner
    /// may delete it before anybody looks.
    pub fn owed(&self) -> i64 {
        self.missing - self.missing_final + self.pending + self.stuck
    }

    /// Whether the boxes should have been listed and could not be, or not all that they hold.
    pub fn is_unlisted(&self) -> bool {
        self.poll.as_ref().is_some_and(|poll| !poll.whole && !poll.unsupported || poll.unreadable > 0)
    }

    fn set_counts(&mut self, counts: Counts, already_archived: i64) {
        self.known = counts.listed();
        self.archived = counts.archived - already_archived;
        self.already_archived = already_archived;
        self.missing = counts.missing;
        self.missing_final = counts.missing_final;
        self.excluded = counts.excluded;
        self.pending = counts.pending;
        self.stuck = counts.stuck;
    }
}

impl std::ops::AddAssign<&Self> for VoicemailReport {
    /// Adds the counts; polls and reasons are each PBX's own.
    fn add_assign(&mut self, other: &Self) {
        self.known += other.known;
        self.archived += other.archived;
        self.already_archived += other.already_archived;
        self.missing += other.missing;
        self.missing_final += other.missing_final;
        self.excluded += other.excluded;
        self.pending += other.pending;
        self.stuck += other.stuck;
        self.bytes += other.bytes;
    }
}

impl Site {
    /// Polls the boxes and archives what they hold, whatever its day: a box is not asked for by days. A retry works on
    /// its own days, and does not poll. `None` if voicemail was not asked for, or there is none to retry.
    pub(super) async fn work_on_voicemail(
        &self,
        vault: &Vault,
        request: &Request,
    ) -> anyhow::Result<Option<VoicemailReport>> {
        let is_retry = request.queue_only.is_some();
        if !request.voicemail && !is_retry {
            return Ok(None);
        }
        let days = request.queue_only.unwrap_or(DayRange::ALL);
        let db = &vault.state.db;
        let before = queue::counts(&mut *db.read().await?, self.id(), days, Kinds::Voicemail).await?;
        if is_retry && before.listed() == 0 {
            return Ok(None);
        }
        let may_ask = !self.gate.given_up().is_cancelled();
        let may_fetch = may_ask && !request.dry_run;
        if !is_retry && may_fetch {
            let (id, now) = (self.id().to_owned(), vault.clock.now());
            db.write(async move |tx| queue::make_due(tx, &id, days, Kinds::Voicemail, now).await).await?;
        }
        let owed_before = before.pending + before.missing - before.missing_final;
        self.owed_messages.store(owed_before, Relaxed);
        let mut report = VoicemailReport::default();
        if !is_retry && may_ask {
            let poll = self.poll_voicemail(vault).await?;
            let found = i64::try_from(poll.messages_new + poll.messages_back).unwrap_or(i64::MAX);
            self.owed_messages.store(owed_before + found, Relaxed);
            report.poll = Some(poll);
        }
        if may_fetch && let Err(error) = self.fetch_voicemail(vault, days).await {
            report.own_trouble = Some(own_trouble(error)?);
        }
        let after = queue::counts(&mut *db.read().await?, self.id(), days, Kinds::Voicemail).await?;
        report.set_counts(after, before.archived);
        report.reasons = queue::reasons(&mut *db.read().await?, self.id(), days, Kinds::Voicemail).await?;
        report.bytes = self.message_progress.snapshot().bytes;
        Ok(Some(report))
    }

    /// Polls the boxes once.
    pub(crate) async fn poll_voicemail(&self, vault: &Vault) -> anyhow::Result<VoicemailPoll> {
        poll_voicemail(&self.sweeper(vault, &Met::default(), true)).await
    }

    async fn fetch_voicemail(&self, vault: &Vault, days: DayRange) -> anyhow::Result<()> {
        let swept = CancellationToken::new();
        swept.cancel();
        let progress = self.message_progress.clone();
        Arc::new(self.worker(vault, Task { days, kinds: Kinds::Voicemail, progress, swept })).run().await
    }
}
