//! Verification: whether the archive still holds every file of the catalog, with its sidecar and its size.
//!
//! This is the quick look, which opens each file and reads none: a folder that was emptied, a disk that was swapped, a
//! file that somebody cut off. What it finds is a finding with the name of the file, and is closed when it is mended.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::archive::{Archive, ArchiveError, Destination, Folder, Presence};
use crate::catalog::{self, CatalogedFile};
use crate::db::Db;
use crate::findings::{self, Finding, FindingKind};
use crate::recording::printable;

/// Files that are looked at between two looks into the database.
const FILES_PER_PAGE: i64 = 500;
/// Damaged files of one PBX that are named; the rest is counted.
const NAMED_MAX: usize = 1000;

/// What a look found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looked {
    /// Files that were looked at.
    pub files: u64,
    /// Of these, files that are gone or have another size.
    pub damaged: u64,
    /// Whether all files were looked at.
    pub whole: bool,
}

/// What is wrong, by PBX.
type Damage = BTreeMap<String, Vec<Finding>>;

/// Looks at every archived file of the PBXs that `archive` serves, until done or stopped. `beat` is told each page.
///
/// Findings of files that are well again are closed, but only by a look at all of them.
///
/// # Errors
/// [`ArchiveError`] if the archive cannot be read at all, and whatever the database says.
pub async fn look(
    db: &Db,
    archive: &Arc<Archive>,
    now: Timestamp,
    stop: &CancellationToken,
    beat: impl Fn(),
) -> anyhow::Result<Looked> {
    let mut looked = Looked::default();
    let mut damage = Damage::new();
    let mut after = 0;
    while !stop.is_cancelled() {
        let page = catalog::files_after(&mut *db.read().await?, after, FILES_PER_PAGE).await?;
        let Some(last) = page.last() else {
            looked.whole = true;
            break;
        };
        after = last.id;
        for (file, presence) in look_at(archive, page).await? {
            looked.files += 1;
            let finding = judge(&file, presence);
            looked.damaged += u64::from(finding.is_some());
            let of_pbx = damage.entry(file.pbx).or_default();
            of_pbx.extend(finding.filter(|_| of_pbx.len() < NAMED_MAX));
        }
        beat();
    }
    for (pbx, found) in damage {
        note(db, pbx, found, looked.whole, now).await?;
    }
    Ok(looked)
}

/// Looks at the files of a page that belong to PBXs which are configured.
async fn look_at(
    archive: &Arc<Archive>,
    page: Vec<CatalogedFile>,
) -> anyhow::Result<Vec<(CatalogedFile, Presence)>> {
    let archive = archive.clone();
    let look = move || {
        let mut looked = Vec::new();
        for file in page {
            let folder = Folder::parse(catalog::folder_of(&file.path))?;
            if archive.serves(&folder) {
                let presence = archive.presence(&Destination::parse(&file.path)?)?;
                looked.push((file, presence));
            }
        }
        Ok::<_, ArchiveError>(looked)
    };
    Ok(tokio::task::spawn_blocking(look).await.context("looking at the archive")??)
}

/// What is wrong with a file, if anything is.
fn judge(file: &CatalogedFile, presence: Presence) -> Option<Finding> {
    let size_bytes = u64::try_from(file.size_bytes).unwrap_or(0);
    let (kind, detail) = match presence.audio_bytes {
        None => {
            (FindingKind::FileMissing, "it was archived and is gone: restore it from a backup".to_owned())
        }
        Some(found) if found != size_bytes => (
            FindingKind::FileAltered,
            format!("it has {found} bytes, {size_bytes} were archived: restore it from a backup"),
        ),
        Some(_) if !presence.has_sidecar => (
            FindingKind::FileMissing,
            "its sidecar was archived and is gone: restore it from a backup".to_owned(),
        ),
        Some(_) => return None,
    };
    Some(Finding { kind, subject: printable(file.path.as_bytes()), detail })
}

/// Keeps what was found of one PBX, and closes what is well again.
async fn note(db: &Db, pbx: String, found: Vec<Finding>, whole: bool, now: Timestamp) -> anyhow::Result<()> {
    db.write(move |tx| {
        Box::pin(async move {
            for kind in [FindingKind::FileMissing, FindingKind::FileAltered] {
                let of_kind = found.iter().filter(|finding| finding.kind == kind);
                let subjects: Vec<&str> = of_kind.map(|finding| finding.subject.as_str()).collect();
                // Beyond what is named nobody knows which are well.
                if whole && found.len() < NAMED_MAX {
                    findings::close_others(tx, &pbx, kind, &subjects, now).await?;
                }
            }
            for finding in &found {
                findings::record(tx, &pbx, finding, now).await?;
            }
            Ok(())
        })
    })
    .await
}
