//! What a run left behind of recordings that a rule has kept out since.
//!
//! Nobody asks for them any more, so no worker would come upon it.

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use tracing::{info, warn};

use super::commit::{commit_file, note};
use super::fetch::{Fetched, Origin};
use super::sidecar;
use crate::archive::{Archive, ArchiveError, ArchivedFile, Destination, Key, Quarantined};
use crate::base::blocking::on_thread;
use crate::store::db::Db;
use crate::store::findings::FindingKind;
use crate::store::queue::{self, Job, PutBack};

/// What stood at the place of a recording.
enum Left {
    /// Audio and sidecar, whole and its own: it was archived, and only the row is missing.
    Archived(Box<ArchivedFile>),
    /// Files that this state does not vouch for, mostly none.
    SetAside(Vec<Quarantined>),
}

/// Settles what a run that died has left at `path`, if a rule keeps its recording out by now.
///
/// What was archived stays archived, for the rule came too late; audio of which that is not certain is set aside. On
/// return nothing of the recording lies at its place that is not told somewhere, and it is claimed by nobody. After a
/// crash in between it is still claimed, and the next start settles it; what was set aside just before is in the
/// quarantine then, without a finding.
///
/// # Errors
/// [`ArchiveError`] for what an operator can mend; the rest is the database's.
pub async fn settle_what_was_left(
    db: &Db,
    archive: &Arc<Archive>,
    run_id: &str,
    path: String,
    now: Timestamp,
) -> anyhow::Result<()> {
    let run = run_id.to_owned();
    let claim = db.write(async move |tx| queue::claim_excluded(tx, &path, &run).await).await?;
    let Some(job) = claim else { return Ok(()) };
    let (archive, found) = (archive.clone(), job.clone());
    let left = on_thread(move || look(&archive, &found));
    let left = left.await.context("looking for what a run has left")?;
    let (outcome, left) = match left {
        Ok(left) => (Ok(()), left),
        Err(error) => (Err(error.into()), Left::SetAside(Vec::new())),
    };
    let run = run_id.to_owned();
    db.write(async move |tx| {
match left {
                Left::Archived(file) => {
                    info!(pbx = %job.pbx, "`{}` was archived before a rule kept it out", job.name);
                    return commit_file(tx, &job, &run, &Fetched::left(*file, Origin::Adopted), now).await;
                }
                Left::SetAside(all) => {
                    for moved in all {
                        warn!(pbx = %job.pbx, "{} belongs to no archived recording: it was moved to {}", moved.from, moved.to);
                        let detail = format!(
                            "it stood at the place of a recording that a rule keeps out, and was never archived; it is \
                             now {}",
                            moved.to
                        );
                        note(tx, &job, FindingKind::Quarantined, moved.from, detail, now).await?;
                    }
                }
            }
            queue::put_back(tx, &job, &run, &PutBack::Unclaimed).await
})
    .await?;
    outcome
}

fn look(archive: &Archive, job: &Job) -> Result<Left, ArchiveError> {
    let place = Destination::parse(&job.path)?;
    if let Some(file) = archive.adopt(&place, |found| sidecar::is_of(found, job))? {
        return Ok(Left::Archived(Box::new(file)));
    }
    let moved = [Key::from(&place), place.sidecar()].map(|key| archive.set_aside(&key));
    let moved: Result<Vec<_>, _> = moved.into_iter().collect();
    Ok(Left::SetAside(moved?.into_iter().flatten().collect()))
}
