//! The voicemail of one PBX in a backfill: polled once, and archived like calls. It is counted apart from them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Request;
use super::trouble::own_trouble;
use crate::base::counts::{self, Counts};
use crate::pipeline::gate::Trouble;
use crate::pipeline::site::{Site, Task};
use crate::pipeline::sweep::VoicemailPoll;
use crate::store::queue::{self, DayRange, Kinds, Reason};

/// What became of the voicemail of one PBX.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct VoicemailReport {
    /// Messages that the boxes were ever seen to hold.
    #[serde(flatten, serialize_with = "counts::of_messages")]
    pub counts: Counts,
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
        self.counts.awaited()
    }

    /// Whether the boxes should have been listed and could not be, or not all that they hold.
    pub fn is_unlisted(&self) -> bool {
        self.poll.as_ref().is_some_and(|poll| !poll.whole && !poll.unsupported || poll.unreadable > 0)
    }
}

impl std::ops::AddAssign<&Self> for VoicemailReport {
    /// Adds the counts; polls and reasons are each PBX's own.
    fn add_assign(&mut self, other: &Self) {
        self.counts += other.counts;
    }
}

impl Site {
    /// Polls the boxes and archives what they hold, whatever its day: a box is not asked for by days. A retry works on
    /// its own days, and does not poll. `None` if voicemail was not asked for, or there is none to retry.
    pub(super) async fn work_on_voicemail(
        &self,
        request: &Request,
    ) -> anyhow::Result<Option<VoicemailReport>> {
        let is_retry = request.queue_only.is_some();
        if !request.voicemail && !is_retry {
            return Ok(None);
        }
        let days = request.queue_only.unwrap_or(DayRange::ALL);
        let db = &self.vault.state.db;
        let before = queue::counts(&mut *db.read().await?, self.id(), days, Kinds::Voicemail).await?;
        if is_retry && before.listed() == 0 {
            return Ok(None);
        }
        let may_ask = !self.gate.given_up().is_cancelled();
        let may_fetch = may_ask && !request.dry_run;
        if !is_retry && may_fetch {
            let (id, now) = (self.id().to_owned(), self.vault.clock.now());
            db.write(async move |tx| queue::make_due(tx, &id, days, Kinds::Voicemail, now).await).await?;
        }
        let owed_before = before.awaited() - before.stuck;
        self.owed_messages.store(owed_before, Relaxed);
        let mut report = VoicemailReport::default();
        if !is_retry && may_ask {
            let poll = self.poll_voicemail().await?;
            let found = i64::try_from(poll.messages_new + poll.messages_back).unwrap_or(i64::MAX);
            self.owed_messages.store(owed_before + found, Relaxed);
            report.poll = Some(poll);
        }
        if may_fetch && let Err(error) = self.fetch_voicemail(days).await {
            report.own_trouble = Some(own_trouble(error)?);
        }
        let after = queue::counts(&mut *db.read().await?, self.id(), days, Kinds::Voicemail).await?;
        report.counts =
            Counts { bytes: self.message_progress.snapshot().bytes, ..after.since(before.archived) };
        report.reasons = queue::reasons(&mut *db.read().await?, self.id(), days, Kinds::Voicemail).await?;
        Ok(Some(report))
    }

    async fn fetch_voicemail(&self, days: DayRange) -> anyhow::Result<()> {
        let swept = CancellationToken::new();
        swept.cancel();
        let progress = self.message_progress.clone();
        Arc::new(self.worker(Task { days, kinds: Kinds::Voicemail, progress, swept })).run().await
    }
}
