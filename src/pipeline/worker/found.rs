//! Files that stand at the place of a recording: taken for it on a person's word, or settled after a rule has kept it out.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::fetch::{Fetched, Origin};
use super::put_back::Claim;
use super::receive::whole_audio;
use super::settlement::{Durable, Settlement};
use super::sidecar::{self, Evidence};
use crate::archive::{Archive, ArchiveError, ArchivedFile, Destination, Key, Quarantined};
use crate::base::blocking::{blocking, on_thread};
use crate::base::digest::Digest;
use crate::base::recording::RecordingName;
use crate::formats::audio::Suspicion;
use crate::formats::sidecar::SidecarOrigin;
use crate::store::findings::{Finding, FindingKind};
use crate::store::ledger::{self, EntryType};
use crate::store::queue::{self, Job, PutBack};
use crate::vault::Vault;

/// A file that was accepted, as `--json` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AcceptedFile {
    /// Where it lies, relative to the archive's root.
    pub path: String,
    pub sha256: Digest,
    pub ledger_number: i64,
}

#[derive(Debug)]
pub enum Taken {
    Archived(AcceptedFile),
    /// No recording of this name waits for a person's word.
    Nothing,
    Several(Vec<String>),
    /// What stands there is no whole recording: where it lies, relative to the archive's root.
    NoAudio(String),
}

/// Takes the file that stands at the place of the recording `name`, of `pbx` or of whichever PBX has one that waits for it.
///
/// On return of [`Taken::Archived`] the sidecar is durable, and so is an entry with `reason`. After a crash in between the
/// file stands there as before, or is taken without the entry of the person's word: then the sidecar says so.
pub async fn accept_found(
    vault: &Vault,
    pbx: Option<String>,
    name: RecordingName,
    reason: String,
) -> Result<Taken> {
    let (db, run) = (&vault.state.db, vault.state.run_id.clone());
    let jobs = db.write(async move |tx| queue::claim_found(tx, pbx.as_deref(), &name, &run).await);
    let jobs = jobs.await?;
    let [job] = &jobs[..] else {
        let pbxs: Vec<String> = jobs.iter().map(|job| job.pbx.clone()).collect();
        for job in jobs {
            put_back(vault, job).await?;
        }
        return Ok(match pbxs {
            none if none.is_empty() => Taken::Nothing,
            several => Taken::Several(several),
        });
    };
    let evidence = Evidence::read(&mut *db.read().await?, job).await?;
    let place = Destination::parse(&job.path)?;
    let claim = Claim::of(vault, job.clone());
    let (archive, unit_job, run, now) = (vault.archive.clone(), job.clone(), claim.run_id.clone(), claim.now);
    let kept = blocking(move || {
        archive.accept(&place, |audio| {
            let (audio, sizes_fit) = whole_audio(audio).filter(|(audio, _)| !audio.empty)?;
            let mut suspect = evidence.suspicions(&audio);
            suspect.extend((!sizes_fit).then_some(Suspicion::HeaderSize.as_str()));
            suspect.push(ACCEPTED);
            let origin =
                SidecarOrigin { run, transport: ACCEPTED.to_owned(), key_sha256: None, tag: String::new() };
            Some(sidecar::of(&unit_job, &evidence, &audio, &suspect, origin, now))
        })
    });
    let Some(kept) = kept.await? else {
        put_back(vault, job.clone()).await?;
        return Ok(Taken::NoAudio(job.path.clone()));
    };
    let (path, sha256) = (kept.file.path().to_owned(), kept.file.sha256());
    let fetched = Fetched { kept, origin: Origin::Accepted };
    let settlement = Settlement::of(vault, &job.pbx, vec![Durable { job: job.clone(), fetched }]);
    let ledger_number = db.write(async move |tx| {
        let entry = claim.entry(EntryType::Accepted).with("sha256", sha256.to_string());
        let number = ledger::append(tx, &entry.with("reason", reason)).await?;
        settlement.store_all(tx).await?;
        Ok(number)
    });
    Ok(Taken::Archived(AcceptedFile { path, sha256, ledger_number: ledger_number.await? }))
}

/// The word in a sidecar for audio that did not come from the PBX, as its transport and as what is odd about it.
const ACCEPTED: &str = "accepted";

/// Leaves it as it was: asked for once a day.
async fn put_back(vault: &Vault, job: Job) -> Result<()> {
    let claim = Claim::of(vault, job);
    let how = PutBack::Postponed { due_at: claim.now + queue::STUCK_AGAIN_AFTER };
    vault.state.db.write(async move |tx| claim.put_back(tx, how).await).await
}

/// Settles what a run that died has left at `path`, if a rule keeps its recording out by now.
///
/// What was archived stays archived, for the rule came too late; audio of which that is not certain is set aside. On
/// return whatever lies at the place of the recording is archived or a finding, and nobody claims it. After a
/// crash in between it is still claimed, and the next start settles it; what was set aside just before is in the
/// quarantine then, without a finding.
///
/// # Errors
/// [`ArchiveError`] for what an operator can mend; the rest is the database's.
pub async fn settle_leftovers(vault: &Vault, path: String) -> Result<()> {
    let (db, run) = (&vault.state.db, vault.state.run_id.clone());
    let claimed = db.write(async move |tx| queue::claim_excluded(tx, &path, &run).await).await?;
    let Some(job) = claimed else { return Ok(()) };
    let (archive, found) = (vault.archive.clone(), job.clone());
    let left = on_thread(move || look(&archive, &found));
    let left = left.await.context("looking for what a run has left")?;
    let (outcome, (archived, moved)) = match left {
        Ok(left) => (Ok(()), left),
        Err(error) => (Err(error.into()), (None, Vec::new())),
    };
    if let Some(file) = archived {
        info!(pbx = %job.pbx, "`{}` was archived before a rule kept it out", job.name);
        let (pbx, fetched) = (job.pbx.clone(), Fetched::left(file, Origin::Adopted));
        let settlement = Settlement::of(vault, &pbx, vec![Durable { job, fetched }]);
        db.write(async move |tx| settlement.store_all(tx).await).await?;
        return outcome;
    }
    let claim = Claim::of(vault, job);
    db.write(async move |tx| {
        let job = &claim.job;
        for Quarantined { from, to } in moved {
            warn!(pbx = %job.pbx, "{from} belongs to no archived recording: it was moved to {to}");
            let detail = format!(
                "it stood at the place of a recording that a rule keeps out, and was never archived; it is now {to}"
            );
            claim.note(tx, Finding::new(FindingKind::Quarantined, from, detail)).await?;
        }
        claim.put_back(tx, PutBack::Unclaimed).await
    })
    .await?;
    outcome
}

/// What stood at the place of a recording: audio and sidecar, whole and its own, of which only the row is missing; else files
/// that this state does not vouch for, mostly none, which are set aside.
fn look(archive: &Archive, job: &Job) -> Result<(Option<ArchivedFile>, Vec<Quarantined>), ArchiveError> {
    let place = Destination::parse(&job.path)?;
    if let Some(file) = archive.adopt(&place, |found| sidecar::is_of(found, job))? {
        return Ok((Some(file), Vec::new()));
    }
    let moved = [Key::from(&place), place.sidecar()].map(|key| archive.set_aside(&key));
    let moved: Result<Vec<_>, _> = moved.into_iter().collect();
    Ok((None, moved?.into_iter().flatten().collect()))
}
