//! How an attempt ends in the database: catalog, queue and ledger in one transaction, after the file is durable.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use tracing::{debug, warn};

use super::fetch::{Failure, Fetched, Origin};
use super::judge::{Facts, judge};
use super::{Snapshot, Worker};
use crate::base::backoff::random_fraction;
use crate::base::recording::RecordingKind;
use crate::formats::audio::Suspicion;
use crate::formats::sidecar::Sidecar;
use crate::store::calls;
use crate::store::catalog::{self, CatalogEntry};
use crate::store::device_retention;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fleet::{self, MISSING_STREAK_MAX};
use crate::store::ledger::{self, ArchivedFacts, Entry, EntryType, HowCame, commitment};
use crate::store::queue::{self, Job, PutBack, RecordingState};
use crate::store::sql::Conn;
use crate::store::voicemail;
use crate::vault::Vault;

const FOUND_DETAIL: &str = "a file that callvault did not write is in its place, and the PBX does not have the recording to \
                          compare it with: it is not taken for the recording";

impl Worker {
    /// Records a durable file: when this returns, its recording is archived for good.
    pub(super) async fn commit(&self, job: &Job, fetched: Fetched) -> Result<()> {
        let claim = Claimed::of(&self.site.vault, job.clone());
        let size_bytes = fetched.kept.file.size_bytes();
        debug!(pbx = %job.pbx, size_bytes, "Archived `{}` as {}", job.name, fetched.kept.file.path());
        for moved in &fetched.kept.quarantined {
            warn!(pbx = %job.pbx, "{} was not what the PBX delivered: it was moved to {}", moved.from, moved.to);
        }
        let committed = self.site.db().write(async move |tx| claim.commit_file(tx, &fetched).await).await;
        committed.with_context(|| format!("recording `{}` as archived", job.name))?;
        if job.state != RecordingState::Archived {
            self.progress.note(Snapshot { archived: 1, bytes: size_bytes, ..Snapshot::default() });
        }
        Ok(())
    }

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
        let claim = Claimed::of(&self.site.vault, job.clone());
        let db = self.site.db();
        db.write(async move |tx| {
            if not_there && claim.job.kind == RecordingKind::Call {
                claim.note_missing(tx).await?;
            }
            if is_found {
                claim.note(tx, FindingKind::Found, &*claim.job.path, FOUND_DETAIL).await?;
            }
            claim.commit_put_back(tx, how).await
        })
        .await
    }
}

/// A claimed recording whose claim ends now.
pub(super) struct Claimed {
    pub(super) job: Job,
    pub(super) run_id: String,
    pub(super) now: Timestamp,
}

impl Claimed {
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

    pub(super) async fn commit_file(&self, tx: &mut Conn, fetched: &Fetched) -> Result<()> {
        let Self { job, now, .. } = self;
        match catalog::sha256_of(tx, fetched.kept.file.path()).await? {
            None => self.record_file(tx, fetched).await?,
            // A second fetch of an archived recording brought the same bytes.
            Some(sha256) if sha256 == fetched.kept.file.sha256() => {}
            Some(_) => {
                let detail = "the archived file was gone, and the PBX gave other audio for it: restore it from a backup";
                let subject = fetched.kept.file.path();
                self.note(tx, FindingKind::Conflict, subject, detail).await?;
            }
        }
        for moved in &fetched.kept.quarantined {
            let detail = format!(
                "callvault had not written it, or it was damaged, and the PBX delivered something else for its place; it is \
             now {}",
                moved.to
            );
            self.note(tx, FindingKind::Quarantined, &*moved.from, detail).await?;
        }
        findings::close_about(tx, &job.pbx, FindingKind::Found, &job.path, *now).await?;
        queue::settle(tx, job, &self.run_id).await?;
        self.reopen_day(tx).await?;
        match fetched.origin {
            Origin::Delivered => self.note_delivery(tx).await,
            Origin::Adopted | Origin::Accepted => Ok(()),
        }
    }

    /// A PBX that delivers is believed again when it says that it lacks another one. Calls and voicemail lie in different
    /// stores: that one of them delivers says nothing of the other.
    async fn note_delivery(&self, tx: &mut Conn) -> Result<()> {
        let Self { job, now, .. } = self;
        match job.kind {
            RecordingKind::Call => {
                findings::close(tx, &job.pbx, FindingKind::StoreOffline, *now).await?;
                device_retention::note(tx, &job.pbx, job.started_at, true, *now).await?;
                fleet::note_delivery(tx, &job.pbx, *now).await
            }
            RecordingKind::Voicemail => voicemail::note_delivery(tx, &job.pbx, *now).await,
        }
    }

    async fn record_file(&self, tx: &mut Conn, fetched: &Fetched) -> Result<()> {
        let Self { job, now, .. } = self;
        let file = &fetched.kept.file;
        let audio = &file.sidecar().audio;
        let conflict = fetched.occupied().is_some() || job.state == RecordingState::Archived;
        let number = ledger::append(tx, &self.archived_entry(fetched, conflict)).await?;
        if !audio.suspect.is_empty() {
            ledger::append(tx, &ledger::suspect(number, &job.pbx, &audio.suspect, *now)).await?;
        }
        let entry = CatalogEntry {
            recording_id: job.id,
            path: file.path().to_owned(),
            size_bytes: file.size_bytes(),
            sha256: file.sha256(),
            sidecar_sha256: file.sidecar_sha256(),
            format: audio.format.clone(),
            duration_ms: audio.duration_ms,
            suspect: audio.suspect.clone(),
            conflict,
        };
        catalog::record(tx, &entry, number, *now).await?;
        if audio.suspect.iter().any(|odd| odd == Suspicion::OneSided.as_str()) {
            let detail = "one side of the conversation is silent, and the other is not";
            self.note(tx, FindingKind::OneSided, file.path(), detail).await?;
        }
        if let Some(occupied) = fetched.occupied() {
            let detail = format!("{occupied} holds other audio; this was kept beside it as {}", file.path());
            self.note(tx, FindingKind::Conflict, file.path(), detail).await?;
        }
        Ok(())
    }

    fn archived_entry(&self, fetched: &Fetched, conflict: bool) -> Entry {
        let job = &self.job;
        let file = &fetched.kept.file;
        // An adopted sidecar keeps its own salt and serial number: whoever has it must find its entry.
        let Sidecar { salt, pbx, origin, .. } = file.sidecar();
        let came = origin.as_ref().map(|origin| HowCame {
            transport: &origin.transport,
            key_sha256: origin.key_sha256.as_deref(),
            adopted: matches!(fetched.origin, Origin::Adopted),
        });
        let facts = ArchivedFacts {
            conflict,
            pbx: &job.pbx,
            day: job.day,
            recording: commitment(salt, job.kind, &pbx.id, &pbx.sn, &job.name),
            sha256: file.sha256(),
            sidecar_sha256: file.sidecar_sha256(),
            size_bytes: file.size_bytes(),
            gap: job.gap_number,
            came,
        };
        ledger::archived(&facts, self.now)
    }

    /// A PBX that says "missing" of one recording after another has most likely lost its store, not its recordings.
    async fn note_missing(&self, tx: &mut Conn) -> Result<()> {
        let pbx = &*self.job.pbx;
        if self.job.absent.is_none() {
            device_retention::note(tx, pbx, self.job.started_at, false, self.now).await?;
        }
        let streak = fleet::note_missing(tx, pbx).await?;
        if streak < MISSING_STREAK_MAX {
            return Ok(());
        }
        let detail = format!(
            "{streak} answers in a row that a recording does not exist, and no delivery: check the PBX's recording storage \
         (card, disk or network share); none of these is given up before it delivers again"
        );
        self.note(tx, FindingKind::StoreOffline, pbx, detail).await
    }

    pub(super) async fn commit_put_back(&self, tx: &mut Conn, how: PutBack) -> Result<()> {
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
            self.note(tx, FindingKind::RefetchFailed, &*job.path, detail).await?;
        }
        if changes_the_day(job, &how) {
            self.reopen_day(tx).await?;
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

    /// A day is settled by its calls; voicemail does not belong to it.
    async fn reopen_day(&self, tx: &mut Conn) -> Result<()> {
        match self.job.kind {
            RecordingKind::Call => calls::reopen(tx, &self.job.pbx, self.job.day).await,
            RecordingKind::Voicemail => Ok(()),
        }
    }

    pub(super) async fn note(
        &self,
        tx: &mut Conn,
        kind: FindingKind,
        subject: impl Into<String>,
        detail: impl Into<String>,
    ) -> Result<()> {
        let finding = Finding { kind, subject: subject.into(), detail: detail.into() };
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
