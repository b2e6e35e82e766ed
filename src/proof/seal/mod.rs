//! Sealing a day folder: `SHA256SUMS`, and the `calls-<n>.jsonl` that a rebuild of the database needs.

mod draft;
mod lines;
mod untold;

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::archive::{Archive, ArchiveError, DayFile, Folder};
use crate::base::blocking::blocking;
use crate::formats::salted::Lines;
use crate::store::catalog::{self, FolderBehind};
use crate::store::db::Db;
use crate::store::ledger::{self, ListFacts};
use crate::store::queue::DayRange;
use draft::ListDraft;

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
    db.write(async move |tx| catalog::sums_written(tx, &behind).await).await
}

/// Writes what the day folders of `pbx` do not tell yet: calls first seen, and recordings that are not archived.
///
/// On return each list is durable, and the ledger has its `lists` entry. After a crash between any two steps the next run
/// comes to the same files.
pub async fn write_calls(
    db: &Db,
    archive: &Arc<Archive>,
    pbx: &str,
    days: DayRange,
    now: Timestamp,
) -> anyhow::Result<()> {
    // Not within the loop's head: the connection would be held for as long as the loop runs, which takes others.
    let days = untold::days(&mut *db.read().await?, pbx, days).await?;
    for day in days {
        while write_day(db, archive, pbx, &day, now).await? {}
    }
    Ok(())
}

/// The same for the days that have settled, and for no others: the list of a day is written when nothing more is expected.
pub async fn write_settled_calls(
    db: &Db,
    archive: &Arc<Archive>,
    pbx: &str,
    now: Timestamp,
) -> anyhow::Result<()> {
    let days = untold::settled_days(&mut *db.read().await?, pbx).await?;
    for day in days {
        while write_day(db, archive, pbx, &day, now).await? {}
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
async fn write_day(
    db: &Db,
    archive: &Arc<Archive>,
    pbx: &str,
    day: &str,
    now: Timestamp,
) -> anyhow::Result<bool> {
    // What a run before this one has begun comes first: its salts are drawn.
    let Some(draft) = find_or_draft(db, pbx, day).await? else { return Ok(false) };
    let written: Option<u32> = untold::calls_files(&mut *db.read().await?, pbx, day).await?;
    let folder = Folder::day(pbx, day.parse()?)?;
    let files = publish(archive, &folder, written.unwrap_or(0) + 1, &draft).await?;
    db.write(async move |tx| record(tx, &folder, &draft, &files, now).await).await?;
    Ok(true)
}

/// The draft of a day: the one that is there, or a new one of what no file tells yet.
async fn find_or_draft(db: &Db, pbx: &str, day: &str) -> anyhow::Result<Option<ListDraft>> {
    let mut connection = db.read().await?;
    if let Some(draft) = draft::find(&mut connection, pbx, day).await? {
        return Ok(Some(draft));
    }
    let calls = untold::calls(&mut connection, pbx, day).await?;
    let recordings = untold::recordings(&mut connection, pbx, day).await?;
    drop(connection);
    if calls.is_empty() && recordings.is_empty() {
        return Ok(None);
    }
    let lines = lines::of(pbx, day, &calls, &recordings);
    let draft = ListDraft::new(pbx, day, &lines, &calls, &recordings)?;
    db.write(async move |tx| draft::keep(tx, &draft).await).await?;
    // Not ours if somebody else was faster.
    draft::find(&mut *db.read().await?, pbx, day).await
}

/// Writes the file. Numbers that it had to skip hold files of a history that this state has forgotten.
async fn publish(
    archive: &Arc<Archive>,
    folder: &Folder,
    hint: u32,
    draft: &ListDraft,
) -> anyhow::Result<Vec<DayFile>> {
    let (archive, folder, text) = (archive.clone(), folder.clone(), draft.text.clone());
    blocking(move || {
        let file = archive.write_day_file(&folder, hint, text.lines().map(str::to_owned))?;
        let mut files = (hint..file.number)
            .map(|number| archive.day_file(&folder, number))
            .collect::<Result<Vec<_>, _>>()?;
        files.push(file);
        Ok::<_, ArchiveError>(files)
    })
    .await
}

/// Records a list whose file is durable, the last of `files`, and lets go of its draft.
async fn record(
    tx: &mut SqliteConnection,
    folder: &Folder,
    draft: &ListDraft,
    files: &[DayFile],
    now: Timestamp,
) -> anyhow::Result<()> {
    if !draft::forget(tx, draft).await? {
        return Ok(());
    }
    for file in files {
        catalog::record_day_file(tx, &format!("{folder}/{}", file.file_name), &file.sha256).await?;
    }
    let file = files.last().context("a list that was written has a file")?;
    let list = ListFacts {
        pbx: &draft.pbx,
        day: draft.day.parse()?,
        number: file.number,
        sha256: file.sha256,
        lines: Lines::after_head(&draft.text),
    };
    ledger::append(tx, &ledger::list(&list, now)).await?;
    untold::note_calls_files(tx, &draft.pbx, &draft.day, file.number).await?;
    draft::mark(tx, draft).await
}
