//! How durable files become archived recordings: catalog, queue and ledger in one transaction, for all files that wait for it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use jiff::Timestamp;
use jiff::civil::Date;
use tokio::sync::{MutexGuard, Notify, oneshot};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::fetch::{Fetched, Origin};
use super::{Snapshot, Worker};
use crate::base::recording::RecordingKind;
use crate::formats::audio::Suspicion;
use crate::formats::sidecar::Sidecar;
use crate::store::calls;
use crate::store::catalog::{self, CatalogEntry};
use crate::store::device_retention;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fleet;
use crate::store::ledger::{self, ArchivedFacts, Entry, HowCame, commitment};
use crate::store::queue::{self, Job, RecordingState};
use crate::store::sql::Conn;
use crate::store::together::{self, Statement};
use crate::store::voicemail;
use crate::vault::Vault;

/// A commit begins when so many files wait for it: four together cost little more than one.
pub(super) const GATHERED: usize = 4;
/// A commit waits no longer than this for more files.
const GATHERED_WITHIN: Duration = Duration::from_millis(5);

/// Those that wait to be committed, and those who may yet come.
#[derive(Debug, Default)]
pub(super) struct Commits {
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
    /// How many recordings are being worked on, those that wait included.
    at_work: AtomicUsize,
    /// Something of this has changed.
    changed: Notify,
}

/// A recording that is being worked on, until this is dropped.
pub(super) struct AtWork<'a>(&'a Commits);

/// A file, and whom to tell how its commit ended.
type Waiting = (Durable, oneshot::Sender<Result<()>>);

/// A claimed recording whose audio and sidecar are on disk.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) job: Job,
    pub(super) fetched: Fetched,
}

impl Worker {
    /// Records a durable file, with all others that wait for it: when this returns, its recording is archived for good.
    pub(super) async fn commit(&self, file: Durable) -> Result<()> {
        let Durable { job, fetched } = &file;
        let size_bytes = fetched.kept.file.size_bytes();
        debug!(pbx = %job.pbx, size_bytes, "Archived `{}` as {}", job.name, fetched.kept.file.path());
        for moved in &fetched.kept.quarantined {
            warn!(pbx = %job.pbx, "{} was not what the PBX delivered: it was moved to {}", moved.from, moved.to);
        }
        let (name, is_new) = (job.name.clone(), job.state != RecordingState::Archived);
        let (ended, end) = oneshot::channel();
        let together = self.commits.gather((file, ended)).await;
        if let Some((_turn, together)) = together {
            self.commit_together(together).await;
        }
        let committed = end.await.unwrap_or_else(|_| Err(anyhow!("the commit was interrupted")));
        committed.with_context(|| format!("recording `{name}` as archived"))?;
        if is_new {
            self.progress.note(Snapshot { archived: 1, bytes: size_bytes, ..Snapshot::default() });
        }
        Ok(())
    }

    /// Commits these, and tells each how it ended. One that cannot be recorded does not keep out the others.
    async fn commit_together(&self, together: Vec<Waiting>) {
        let (files, ended): (Vec<_>, Vec<_>) = together.into_iter().unzip();
        let settlement = Arc::new(Settlement::of(&self.site.vault, self.site.id(), files));
        let store = async |which: Range<usize>| {
            let settlement = settlement.clone();
            self.site.db().write(async move |tx| settlement.store(tx, which).await).await
        };
        let mut of_all = Some(store(0..ended.len()).await);
        let is_all = ended.len() == 1 || matches!(of_all, Some(Ok(())));
        for (at, ended) in ended.into_iter().enumerate() {
            let of_it = if is_all { of_all.take().unwrap_or(Ok(())) } else { store(at..at + 1).await };
            // Who asked may be gone; the work stands all the same.
            drop(ended.send(of_it));
        }
    }
}

impl Commits {
    pub(super) fn begin(&self) -> AtWork<'_> {
        self.at_work.fetch_add(1, Relaxed);
        AtWork(self)
    }

    /// Waits for the turn to commit, and for others to commit with. `None` if another has taken this file along.
    async fn gather(&self, file: Waiting) -> Option<(MutexGuard<'_, ()>, Vec<Waiting>)> {
        self.lock().push(file);
        self.changed.notify_one();
        let turn = self.turn.lock().await;
        if self.lock().is_empty() {
            return None;
        }
        let others = async {
            while self.lock().len() < GATHERED.min(self.at_work.load(Relaxed)) {
                self.changed.notified().await;
            }
        };
        // If nobody comes in time, those that are here go.
        let _ = timeout(GATHERED_WITHIN, others).await;
        let together = std::mem::take(&mut *self.lock());
        Some((turn, together))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Relaxed);
        self.0.changed.notify_one();
    }
}

/// Durable files of one PBX, whose claims end together.
pub(super) struct Settlement {
    pbx: String,
    run_id: String,
    now: Timestamp,
    files: Vec<Durable>,
}

impl Settlement {
    pub(super) fn of(vault: &Vault, pbx: &str, files: Vec<Durable>) -> Self {
        Self { pbx: pbx.to_owned(), run_id: vault.state.run_id.clone(), now: vault.clock.now(), files }
    }

    /// Records all of them: what a run of callvault says of a file, it says here.
    pub(super) async fn store_all(&self, tx: &mut Conn) -> Result<()> {
        self.store(tx, 0..self.files.len()).await
    }

    async fn store(&self, tx: &mut Conn, which: Range<usize>) -> Result<()> {
        let files = &self.files[which];
        let paths: Vec<&str> = files.iter().map(Durable::path).collect();
        let known = catalog::sha256s_of(tx, &paths).await?;
        let (new, again): (Vec<_>, Vec<_>) = files.iter().partition(|file| !known.contains_key(file.path()));
        let jobs: Vec<&Job> = files.iter().map(|file| &file.job).collect();
        let mut statements = self.recording(tx, &new).await?;
        statements.extend(self.ending(&jobs)?);
        statements.extend(self.noting_deliveries(files)?);
        let settled = together::returned(tx, statements, "recording what was archived").await?;
        queue::ensure_settled(&jobs, &settled)?;
        for file in again {
            // A second fetch of an archived recording may well bring the same bytes.
            if known[file.path()] != file.fetched.kept.file.sha256() {
                let detail = "the archived file was gone, and the PBX gave other audio for it: restore it from a backup";
                self.note(tx, Finding::new(FindingKind::Conflict, file.path(), detail)).await?;
            }
        }
        for file in &new {
            self.note_odd(tx, file).await?;
        }
        for moved in files.iter().flat_map(|file| &file.fetched.kept.quarantined) {
            let detail = format!(
                "callvault had not written it, or it was damaged, and the PBX delivered something else for its place; it is \
                 now {}",
                moved.to
            );
            self.note(tx, Finding::new(FindingKind::Quarantined, &*moved.from, detail)).await?;
        }
        Ok(())
    }

    /// Adds files to ledger and catalog that are in neither.
    async fn recording(&self, tx: &mut Conn, files: &[&Durable]) -> Result<Vec<Statement>> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let first = ledger::next_number(tx).await?;
        let (mut entries, mut rows) = (Vec::new(), Vec::new());
        for file in files {
            let number = first + i64::try_from(entries.len())?;
            entries.push(file.ledger_entry(self.now));
            let suspect = &file.fetched.kept.file.sidecar().audio.suspect;
            if !suspect.is_empty() {
                entries.push(ledger::suspect(number, &self.pbx, suspect, self.now));
            }
            rows.push((file.catalog_entry(), number));
        }
        let mut statements = vec![ledger::appending(first, &entries)?];
        statements.extend(catalog::recording(&rows, self.now)?);
        Ok(statements)
    }

    /// Ends the claims; what was found in the place of these recordings, and what their days were, holds no more.
    fn ending(&self, jobs: &[&Job]) -> Result<[Statement; 3]> {
        let places: Vec<String> = jobs.iter().map(|job| job.path.clone()).collect();
        // A day is settled by its calls; voicemail does not belong to it.
        let calls = jobs.iter().filter(|job| job.kind == RecordingKind::Call);
        let days: BTreeSet<Date> = calls.map(|job| job.day).collect();
        Ok([
            findings::closing_these(&self.pbx, &[FindingKind::Found], &places, self.now)?,
            queue::settling(jobs, &self.run_id)?,
            calls::reopening(&self.pbx, &days)?,
        ])
    }

    async fn note_odd(&self, tx: &mut Conn, file: &Durable) -> Result<()> {
        let suspect = &file.fetched.kept.file.sidecar().audio.suspect;
        if suspect.iter().any(|odd| odd == Suspicion::OneSided.as_str()) {
            let detail = "one side of the conversation is silent, and the other is not";
            self.note(tx, Finding::new(FindingKind::OneSided, file.path(), detail)).await?;
        }
        if let Some(occupied) = file.fetched.occupied() {
            let detail = format!("{occupied} holds other audio; this was kept beside it as {}", file.path());
            self.note(tx, Finding::new(FindingKind::Conflict, file.path(), detail)).await?;
        }
        Ok(())
    }

    /// A PBX that delivers is believed again when it says that it lacks another one. Calls and voicemail lie in different
    /// stores: that one of them delivers says nothing of the other.
    fn noting_deliveries(&self, files: &[Durable]) -> Result<Vec<Statement>> {
        let Self { pbx, now, .. } = self;
        let delivered = |kind| {
            let is_delivered = |file: &&Durable| file.fetched.origin == Origin::Delivered;
            files.iter().filter(is_delivered).map(|file| &file.job).filter(move |job| job.kind == kind)
        };
        let mut statements = Vec::new();
        if delivered(RecordingKind::Call).next().is_some() {
            let started = delivered(RecordingKind::Call).map(|job| job.started_at);
            statements.push(findings::closing_others(pbx, FindingKind::StoreOffline, &[], *now)?);
            statements.push(device_retention::noting(pbx, started, true, *now)?);
            statements.push(fleet::noting_delivery(pbx, *now));
        }
        if delivered(RecordingKind::Voicemail).next().is_some() {
            statements.push(voicemail::noting_delivery(pbx, *now));
        }
        Ok(statements)
    }

    async fn note(&self, tx: &mut Conn, finding: Finding) -> Result<()> {
        findings::record(tx, &self.pbx, &finding, self.now).await
    }
}

impl Durable {
    fn path(&self) -> &str {
        self.fetched.kept.file.path()
    }

    /// Whether it is the second file of its recording.
    fn is_conflict(&self) -> bool {
        self.fetched.occupied().is_some() || self.job.state == RecordingState::Archived
    }

    fn catalog_entry(&self) -> CatalogEntry {
        let file = &self.fetched.kept.file;
        let audio = &file.sidecar().audio;
        CatalogEntry {
            recording_id: self.job.id,
            path: file.path().to_owned(),
            size_bytes: file.size_bytes(),
            sha256: file.sha256(),
            sidecar_sha256: file.sidecar_sha256(),
            format: audio.format.clone(),
            duration_ms: audio.duration_ms,
            suspect: audio.suspect.clone(),
            conflict: self.is_conflict(),
        }
    }

    fn ledger_entry(&self, now: Timestamp) -> Entry {
        let Self { job, fetched } = self;
        let file = &fetched.kept.file;
        // An adopted sidecar keeps its own salt and serial number: whoever has it must find its entry.
        let Sidecar { salt, pbx, origin, .. } = file.sidecar();
        let came = origin.as_ref().map(|origin| HowCame {
            transport: &origin.transport,
            key_sha256: origin.key_sha256.as_deref(),
            adopted: matches!(fetched.origin, Origin::Adopted),
        });
        let facts = ArchivedFacts {
            conflict: self.is_conflict(),
            pbx: &job.pbx,
            day: job.day,
            recording: commitment(salt, job.kind, &pbx.id, &pbx.sn, &job.name),
            sha256: file.sha256(),
            sidecar_sha256: file.sidecar_sha256(),
            size_bytes: file.size_bytes(),
            gap: job.gap_number,
            came,
        };
        ledger::archived(&facts, now)
    }
}
