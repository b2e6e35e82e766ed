//! How a claim ends without a file: what was learnt of the recording, and of its PBX.

use anyhow::Result;
use jiff::Timestamp;

use super::fetch::Failure;
use super::judge::{Facts, judge};
use super::{Snapshot, Worker};
use crate::base::backoff::random_fraction;
use crate::base::recording::RecordingKind;
use crate::store::calls;
use crate::store::device_retention;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fleet::{self, MISSING_STREAK_MAX};
use crate::store::ledger::{self, Entry, EntryType, commitment};
use crate::store::queue::{self, Job, PutBack, RecordingState};
use crate::store::sql::Conn;
use crate::store::voicemail;
use crate::vault::Vault;

const FOUND_DETAIL: &str = "a file that callvault did not write is in its place, and the PBX does not have the recording to \
                          compare it with: it is not taken for the recording";

impl Worker {
    /// Ends a claim without a file, as the judgement says.
    pub(super) async fn put_back(&self, job: &Job, failure: &Failure) -> Result<()> {
        let not_there = failure.is_not_there();
        let is_found = matches!(failure, Failure::Found { .. });
        let now = self.site.now();
        let mut remembered = fleet::remembered(&mut *self.site.db().read().await?, &job.pbx).await?;
        remembered.missing_streak += u32::from(not_there && job.kind == RecordingKind::Call);
        let boxes = voicemail::remembered(&mut *self.site.db().read().await?, &job.pbx).await?;
        let facts = Facts {
            job,
            queue: &self.site.vault.config.queue,
            limits: &self.site.pbx.limits,
            pbx: &remembered,
            boxes: &boxes,
            now,
            jitter: random_fraction(),
        };
        let how = judge(failure, &facts);
        if !matches!(how, PutBack::Unclaimed | PutBack::Postponed { .. }) {
            self.progress.note(Snapshot { failed_attempts: 1, ..Snapshot::default() });
        }
        let claim = Claim::of(&self.site.vault, job.clone());
        let db = self.site.db();
        db.write(async move |tx| {
            if not_there && claim.job.kind == RecordingKind::Call {
                claim.note_missing(tx).await?;
            }
            if is_found {
                claim.note(tx, Finding::new(FindingKind::Found, &*claim.job.path, FOUND_DETAIL)).await?;
            }
            claim.put_back(tx, how).await
        })
        .await
    }
}

/// A claimed recording whose claim ends now.
pub(super) struct Claim {
    pub(super) job: Job,
    pub(super) run_id: String,
    pub(super) now: Timestamp,
}

impl Claim {
    pub(super) fn of(vault: &Vault, job: Job) -> Self {
        Self { job, run_id: vault.state.run_id.clone(), now: vault.clock.now() }
    }

    /// An entry of the ledger about the recording.
    pub(super) fn entry(&self, what: EntryType) -> Entry {
        let Self { job, now, .. } = self;
        let recording = commitment(&job.salt, job.kind, &job.pbx, &job.sn, &job.name);
        let entry = Entry::new(what, *now).with("pbx", job.pbx.as_str()).with("day", job.day.to_string());
        entry.with("recording", recording.to_string())
    }

    /// A PBX that says "missing" of one recording after another has most likely lost its store, not its recordings.
    async fn note_missing(&self, tx: &mut Conn) -> Result<()> {
        let pbx = &*self.job.pbx;
        if self.job.absent.is_none() {
            let noting = device_retention::noting(pbx, [self.job.started_at], false, self.now)?;
            noting.run(tx, "noting how long recordings are kept").await?;
        }
        let streak = fleet::note_missing(tx, pbx).await?;
        if streak < MISSING_STREAK_MAX {
            return Ok(());
        }
        let detail = format!(
            "{streak} answers in a row that a recording does not exist, and no delivery: check the PBX's recording storage \
         (card, disk or network share); none of these is given up before it delivers again"
        );
        self.note(tx, Finding::new(FindingKind::StoreOffline, pbx, detail)).await
    }

    pub(super) async fn put_back(&self, tx: &mut Conn, how: PutBack) -> Result<()> {
        let job = &self.job;
        let how = match how {
            PutBack::Absent { state, reason, absence, due_at: None, .. } => {
                let gap_number = Some(self.gap(tx, reason, absence.answers).await?);
                PutBack::Absent { state, reason, absence, due_at: None, gap_number }
            }
            how => how,
        };
        if how == PutBack::RefetchOver {
            let detail =
                "a later call names it too, but the PBX did not deliver it again; the archived audio stays";
            self.note(tx, Finding::new(FindingKind::RefetchFailed, &*job.path, detail)).await?;
        }
        // A day is settled by its calls; voicemail does not belong to it.
        if job.kind == RecordingKind::Call && changes_the_day(job, &how) {
            calls::reopen(tx, &job.pbx, job.day).await?;
        }
        queue::put_back(tx, job, &self.run_id, &how).await
    }

    /// The ledger's entry of an absence: the one that it has, or a new one.
    async fn gap(&self, tx: &mut Conn, reason: &str, answers: u32) -> Result<i64> {
        let job = &self.job;
        if let Some(number) = job.gap_number {
            return Ok(number);
        }
        let entry = self.entry(EntryType::Gap).with("reason", reason).with("answers", answers);
        ledger::append(tx, &entry.with("attempts", job.attempts + 1)).await
    }

    pub(super) async fn note(&self, tx: &mut Conn, finding: Finding) -> Result<()> {
        findings::record(tx, &self.job.pbx, &finding, self.now).await
    }
}

/// Whether a recording's state on its day is another than before.
fn changes_the_day(job: &Job, how: &PutBack) -> bool {
    match how {
        PutBack::Stuck { .. } => job.state != RecordingState::Stuck,
        // It failed for another reason than the one that it is stuck by.
        PutBack::Retry { .. } => job.state == RecordingState::Stuck,
        PutBack::Absent { state, due_at, .. } => *state != job.state || due_at.is_none(),
        PutBack::Unclaimed | PutBack::Postponed { .. } | PutBack::RefetchOver => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::worker::example_tests::job;
    use crate::store::queue::Absence;

    #[test]
    fn a_day_changes_with_the_state_of_a_recording_or_the_end_of_asking_for_it() {
        let (pending, missing, stuck) =
            (RecordingState::Pending, RecordingState::Missing, RecordingState::Stuck);
        let now = Timestamp::UNIX_EPOCH;
        let stuck_now = || PutBack::Stuck { reason: "html_body".into(), due_at: now, misfit: None };
        let absent = |state, due_at| PutBack::Absent {
            state,
            reason: "missing",
            absence: Absence { since: now, asked_at: now, answers: 1 },
            due_at,
            gap_number: None,
        };
        let table = [
            (pending, stuck_now(), true),
            (stuck, stuck_now(), false),
            (stuck, PutBack::Retry { reason: "reset".into(), due_at: now, misfit: None }, true),
            (pending, PutBack::Retry { reason: "reset".into(), due_at: now, misfit: None }, false),
            (pending, absent(missing, Some(now)), true),
            (missing, absent(missing, Some(now)), false),
            (missing, absent(missing, None), true),
            (pending, absent(pending, Some(now)), false),
            (pending, PutBack::Unclaimed, false),
            (pending, PutBack::RefetchOver, false),
        ];
        for (state, how, changes) in table {
            assert_eq!(changes_the_day(&Job { state, ..job() }, &how), changes, "{state:?} {how:?}");
        }
    }
}
