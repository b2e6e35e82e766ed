//! A file that was found at the place of a recording, taken for it on a person's word.

use std::sync::Arc;

use jiff::Timestamp;

use super::commit::commit_file;
use super::fetch::{Fetched, Origin};
use super::receive::whole_audio;
use super::sidecar;
use super::told::Told;
use crate::archive::{Archive, Destination};
use crate::base::blocking::blocking;
use crate::base::digest::Digest;
use crate::base::recording::RecordingName;
use crate::formats::audio::Suspicion;
use crate::formats::sidecar::{Sidecar, SidecarOrigin};
use crate::store::db::Db;
use crate::store::ledger::{self, Entry, EntryType, commitment};
use crate::store::queue::{self, Job, PutBack};

#[derive(Debug)]
pub enum Taken {
    Archived {
        /// Where it lies, relative to the archive's root.
        path: String,
        sha256: Digest,
        ledger_number: i64,
    },
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
///
/// # Errors
/// The archive's and the database's.
pub async fn accept_found(
    (db, archive): (&Db, &Arc<Archive>),
    run_id: &str,
    (pbx, name): (Option<String>, RecordingName),
    reason: String,
    now: Timestamp,
) -> anyhow::Result<Taken> {
    let run = run_id.to_owned();
    let jobs = db.write(async move |tx| queue::claim_found(tx, pbx.as_deref(), &name, &run).await);
    let jobs = jobs.await?;
    let [job] = &jobs[..] else {
        let pbxs: Vec<String> = jobs.iter().map(|job| job.pbx.clone()).collect();
        for job in jobs {
            put_back(db, job, run_id, now).await?;
        }
        return Ok(match pbxs {
            none if none.is_empty() => Taken::Nothing,
            several => Taken::Several(several),
        });
    };
    let told = Told::read(&mut *db.read().await?, job).await?;
    let place = Destination::parse(&job.path)?;
    let (archive, unit_job, run) = (archive.clone(), job.clone(), run_id.to_owned());
    let kept = blocking(move || {
        archive.accept(&place, |audio| {
            let (audio, sizes_fit) = whole_audio(audio).filter(|(audio, _)| !audio.empty)?;
            let mut suspect = told.suspicions(&audio);
            suspect.extend((!sizes_fit).then_some(Suspicion::HeaderSize.as_str()));
            suspect.push(ACCEPTED);
            let origin =
                SidecarOrigin { run, transport: ACCEPTED.to_owned(), key_sha256: None, tag: String::new() };
            let sidecar = sidecar::of(&unit_job, &told, &audio, &suspect, now);
            Some(Sidecar { origin: Some(origin), ..sidecar })
        })
    });
    let Some(kept) = kept.await? else {
        put_back(db, job.clone(), run_id, now).await?;
        return Ok(Taken::NoAudio(job.path.clone()));
    };
    let (path, sha256) = (kept.file.path().to_owned(), kept.file.sha256());
    let (unit_job, run) = (job.clone(), run_id.to_owned());
    let fetched = Fetched { quarantined: kept.quarantined, ..Fetched::left(kept.file, Origin::Accepted) };
    let ledger_number = db.write(async move |tx| {
        let number = ledger::append(tx, &entry(&unit_job, sha256, &reason, now)).await?;
        commit_file(tx, &unit_job, &run, &fetched, now).await?;
        Ok(number)
    });
    Ok(Taken::Archived { path, sha256, ledger_number: ledger_number.await? })
}

/// The word in a sidecar for audio that did not come from the PBX, as its transport and as what is odd about it.
const ACCEPTED: &str = "accepted";

fn entry(job: &Job, sha256: Digest, reason: &str, now: Timestamp) -> Entry {
    Entry::new(EntryType::Accepted, now)
        .with("pbx", job.pbx.as_str())
        .with("day", job.day.to_string())
        .with("recording", commitment(&job.salt, job.kind, &job.pbx, &job.sn, &job.name).to_string())
        .with("sha256", sha256.to_string())
        .with("reason", reason)
}

/// Leaves it as it was: asked for once a day.
async fn put_back(db: &Db, job: Job, run_id: &str, now: Timestamp) -> anyhow::Result<()> {
    let (run, due_at) = (run_id.to_owned(), now + queue::STUCK_AGAIN_AFTER);
    db.write(async move |tx| queue::put_back(tx, &job, &run, &PutBack::Postponed { due_at }).await).await
}
