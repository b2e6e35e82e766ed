//! Sealing a day folder: `SHA256SUMS`, and the `calls-<n>.jsonl` that a rebuild of the database needs.

mod lines;
mod untold;

use std::sync::Arc;

use anyhow::Context as _;
use sqlx::SqliteConnection;

use crate::archive::{Archive, ArchiveError, DayFile, Folder};
use crate::catalog::{self, FolderBehind};
use crate::db::Db;
use crate::queue::DayRange;

/// Brings every `SHA256SUMS` up to date with the catalog, and returns how many were written.
///
/// One folder that cannot be written keeps none of the others from it; the first such error is returned in the end.
pub async fn write_sums(db: &Db, archive: &Arc<Archive>) -> anyhow::Result<usize> {
    let behind = catalog::folders_behind(&mut *db.read().await?).await?;
    let mut outcome = Ok(0);
    for behind in behind {
        let folder = Folder::parse(&behind.folder)?;
        // A PBX that was removed from the configuration comes up to date when it is back.
        if archive.serves(&folder) {
            let written = write_sums_of(db, archive, folder, behind).await;
            outcome = outcome.and_then(|count| written.map(|()| count + 1));
        }
    }
    outcome
}

async fn write_sums_of(
    db: &Db,
    archive: &Arc<Archive>,
    folder: Folder,
    behind: FolderBehind,
) -> anyhow::Result<()> {
    let files = catalog::sums_of(&mut *db.read().await?, &behind.folder).await?;
    let archive = archive.clone();
    blocking(move || archive.write_sums(&folder, &files)).await?;
    db.write(move |tx| Box::pin(async move { catalog::sums_written(tx, &behind).await })).await
}

/// Writes what the day folders of `pbx` do not tell yet: calls first seen, and recordings that are not archived.
pub async fn write_calls(db: &Db, archive: &Arc<Archive>, pbx: &str, days: DayRange) -> anyhow::Result<()> {
    // Not within the loop's head: the connection would be held for as long as the loop runs, which takes others.
    let days = untold::days(&mut *db.read().await?, pbx, days).await?;
    for day in days {
        while write_day(db, archive, pbx, &day).await? {}
    }
    Ok(())
}

/// The same for the days that have settled, and for no others: the list of a day is written when nothing more is expected.
pub async fn write_settled_calls(db: &Db, archive: &Arc<Archive>, pbx: &str) -> anyhow::Result<()> {
    let days = untold::settled_days(&mut *db.read().await?, pbx).await?;
    for day in days {
        while write_day(db, archive, pbx, &day).await? {}
    }
    Ok(())
}

/// The folders of days whose call lists lag behind: a run may have died while it wrote one.
pub async fn folders_with_unwritten_calls(
    db: &mut SqliteConnection,
    pbx: &str,
) -> anyhow::Result<Vec<String>> {
    let days = untold::days(db, pbx, DayRange::ALL).await?;
    days.iter().map(|day| Ok(Folder::day(pbx, day.parse()?)?.as_str().to_owned())).collect()
}

/// Writes one file of a day; `false` if there was nothing to write.
async fn write_day(db: &Db, archive: &Arc<Archive>, pbx: &str, day: &str) -> anyhow::Result<bool> {
    let mut connection = db.read().await?;
    let calls = untold::calls(&mut connection, pbx, day).await?;
    let recordings = untold::recordings(&mut connection, pbx, day).await?;
    let written: Option<u32> = untold::calls_files(&mut connection, pbx, day).await?;
    drop(connection);
    if calls.is_empty() && recordings.is_empty() {
        return Ok(false);
    }
    let folder = Folder::day(pbx, day.parse()?)?;
    let lines = lines::of(pbx, day, &calls, &recordings);
    let hint = written.unwrap_or(0) + 1;
    let files = publish(archive, &folder, hint, lines).await?;
    let (pbx, day, last) = (pbx.to_owned(), day.to_owned(), files.last().map_or(hint, |file| file.number));
    db.write(move |tx| {
        Box::pin(async move {
            for file in &files {
                catalog::record_day_file(tx, &format!("{folder}/{}", file.file_name), &file.sha256).await?;
            }
            untold::note_calls_files(tx, &pbx, &day, last).await
        })
    })
    .await?;
    untold::mark_calls(db, &calls).await?;
    untold::mark_recordings(db, &recordings).await?;
    Ok(true)
}

/// Writes the file. Numbers that it had to skip hold files of a run that died before it could record them.
async fn publish(
    archive: &Arc<Archive>,
    folder: &Folder,
    hint: u32,
    lines: Vec<String>,
) -> anyhow::Result<Vec<DayFile>> {
    let (archive, folder) = (archive.clone(), folder.clone());
    blocking(move || {
        let file = archive.write_day_file(&folder, hint, lines)?;
        let mut files = (hint..file.number)
            .map(|number| archive.day_file(&folder, number))
            .collect::<Result<Vec<_>, _>>()?;
        files.push(file);
        Ok(files)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await.context("writing to the archive")??)
}
