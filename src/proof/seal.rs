//! Sealing a day folder: `SHA256SUMS`, and the `calls-<n>.jsonl` that a rebuild of the database needs.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::archive::{Archive, ArchiveError, DayFile, Folder};
use crate::base::blocking::blocking;
use crate::formats::salted::Lines;
use crate::store::call_lists::{self, Draft};
use crate::store::catalog;
use crate::store::db::Db;
use crate::store::ledger::{self, ListFacts};
use crate::store::queue::DayRange;
use crate::store::sql::Conn;

/// Brings every `SHA256SUMS` up to date with the catalog, and returns how many were written. A folder that cannot be written
/// does not stop the others; the first such error is returned in the end.
pub async fn write_sums(db: &Db, archive: &Arc<Archive>) -> Result<usize> {
    let behind = catalog::folders_behind(&mut *db.read().await?).await?;
    let mut outcome = Ok(0);
    for behind in behind {
        let folder = Folder::parse(&behind.folder)?;
        // The folders of a PBX that left the configuration are brought up to date when it is back.
        if archive.serves(&folder) {
            let written = async {
                let files = catalog::sums_of(&mut *db.read().await?, &behind.folder).await?;
                let archive = archive.clone();
                blocking(move || archive.write_sums(&folder, &files)).await?;
                db.write(async move |tx| catalog::sums_written(tx, &behind).await).await
            };
            let written = written.await;
            outcome = outcome.and_then(|count| written.map(|()| count + 1));
        }
    }
    outcome
}

/// Writes what the day folders of `pbx` do not hold yet: calls first seen, and recordings that are not archived.
///
/// On return each list is durable, and the ledger has its `lists` entry. After a crash the next run comes to the same files.
pub async fn write_calls(db: &Db, archive: &Arc<Archive>, pbx: &str, now: Timestamp) -> Result<()> {
    let days = call_lists::days(&mut *db.read().await?, pbx, DayRange::ALL).await?;
    write_days(db, archive, pbx, &days, now).await
}

/// The same for the days that have settled: the list of a day is written when nothing more is expected.
pub async fn write_settled_calls(db: &Db, archive: &Arc<Archive>, pbx: &str, now: Timestamp) -> Result<()> {
    let days = call_lists::settled_days(&mut *db.read().await?, pbx).await?;
    write_days(db, archive, pbx, &days, now).await
}

/// The folders of days whose call lists are behind: an earlier run may have died while it wrote one.
pub async fn folders_with_unwritten_calls(db: &mut Conn, pbx: &str) -> Result<Vec<String>> {
    let days = call_lists::days(db, pbx, DayRange::ALL).await?;
    days.into_iter().map(|day| Ok(Folder::day(pbx, day)?.as_str().to_owned())).collect()
}

async fn write_days(db: &Db, archive: &Arc<Archive>, pbx: &str, days: &[Date], now: Timestamp) -> Result<()> {
    for &day in days {
        // A draft of an earlier run comes first: its salts are drawn.
        while let Some(draft) = find_or_draft(db, pbx, day).await? {
            let written = call_lists::count(&mut *db.read().await?, pbx, day).await?;
            let folder = Folder::day(pbx, day)?;
            let files = publish(archive, &folder, written + 1, &draft).await?;
            db.write(async move |tx| record(tx, &folder, &draft, &files, now).await).await?;
        }
    }
    Ok(())
}

async fn find_or_draft(db: &Db, pbx: &str, day: Date) -> Result<Option<Draft>> {
    let mut connection = db.read().await?;
    if let Some(draft) = Draft::find(&mut connection, pbx, day).await? {
        return Ok(Some(draft));
    }
    let Some(draft) = Draft::new(&mut connection, pbx, day).await? else { return Ok(None) };
    drop(connection);
    db.write(async move |tx| draft.keep(tx).await).await?;
    // Not ours if somebody else was faster.
    Draft::find(&mut *db.read().await?, pbx, day).await
}

/// Writes the file. Numbers that it had to skip hold files of a history that this state has forgotten.
async fn publish(archive: &Arc<Archive>, folder: &Folder, hint: u32, draft: &Draft) -> Result<Vec<DayFile>> {
    let (archive, folder, text) = (archive.clone(), folder.clone(), draft.text.clone());
    blocking(move || {
        let file = archive.write_day_file(&folder, hint, text.lines().map(str::to_owned))?;
        let skipped = (hint..file.number).map(|number| archive.day_file(&folder, number));
        skipped.chain([Ok(file)]).collect::<Result<Vec<_>, ArchiveError>>()
    })
    .await
}

/// Records a list whose file is durable, the last of `files`, and removes its draft.
async fn record(
    tx: &mut Conn,
    folder: &Folder,
    draft: &Draft,
    files: &[DayFile],
    now: Timestamp,
) -> Result<()> {
    if !draft.remove(tx).await? {
        return Ok(());
    }
    for file in files {
        catalog::record_day_file(tx, &format!("{folder}/{}", file.file_name), &file.sha256).await?;
    }
    let file = files.last().context("a list that was written has a file")?;
    let list = ListFacts {
        pbx: &draft.pbx,
        day: draft.day,
        number: file.number,
        sha256: file.sha256,
        lines: Lines::after_head(&draft.text),
    };
    ledger::append(tx, &ledger::list(&list, now)).await?;
    draft.mark_listed(tx, file.number).await
}
