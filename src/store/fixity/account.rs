//! What a folder of the archive should hold, by the database's account.

use anyhow::Context as _;
use sqlx::{Connection as _, SqliteConnection};

use super::{Row, Unit};
use crate::base::digest::Digest;
use crate::store::catalog;
use crate::store::sql::{BindAll as _, Fetch as _, Run as _};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    pub files: Vec<Unit>,
    /// What else it holds; none if nothing was ever archived there.
    pub documents: Option<(Unit, Documents)>,
}

/// The documents of a day folder, as they should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    /// Its call lists: file name and hash.
    pub lists: Vec<(String, Digest)>,
    /// What its `SHA256SUMS` should list: file name and hash.
    pub sums: Vec<(String, Digest)>,
    /// How often what it holds has changed.
    pub changed: i64,
    /// Whether its `SHA256SUMS` still has to be brought up to date: then it is not judged.
    pub is_behind: bool,
}

/// The unit of a folder, in the shape of that of a file.
const FOLDER_UNIT: &str =
    "select id, pbx, read_at_ms, damaged, folder, null as recording_id, null as kind, null as path,
         null as size_bytes, null as sha256, null as sidecar_sha256
     from file_checks where folder = ?";

/// What `folder` should hold, all of one moment.
pub async fn account(db: &mut SqliteConnection, folder: &str) -> anyhow::Result<Account> {
    let mut moment = db.begin().await.context("reading the database")?;
    let files: Vec<Row> = sqlx::query_as(
        "select unit.id, unit.pbx, read_at_ms, damaged, unit.folder, recording_id, kind, file.path, size_bytes, sha256,
             sidecar_sha256
         from archived_files file join file_checks unit on unit.file_id = file.id
             join recordings on recordings.id = recording_id
         where file.folder = ?",
    )
    .bind(folder)
    .fetch_all(&mut *moment)
    .await
    .with_context(|| format!("listing what {folder} should hold"))?;
    let unit: Option<Row> = sqlx::query_as(FOLDER_UNIT)
        .bind(folder)
        .fetch_optional(&mut *moment)
        .await
        .with_context(|| format!("looking up {folder}"))?;
    let documents = match unit {
        Some(row) => Some((row.unit()?, documents_at(&mut moment, folder).await?)),
        None => None,
    };
    let files = files.into_iter().map(Row::unit).collect::<anyhow::Result<_>>()?;
    moment.rollback().await.context("reading the database")?;
    Ok(Account { files, documents })
}

/// The documents that `folder` should hold, all of one moment.
pub async fn documents(db: &mut SqliteConnection, folder: &str) -> anyhow::Result<Documents> {
    let mut moment = db.begin().await.context("reading the database")?;
    let documents = documents_at(&mut moment, folder).await?;
    moment.rollback().await.context("reading the database")?;
    Ok(documents)
}

async fn documents_at(moment: &mut SqliteConnection, folder: &str) -> anyhow::Result<Documents> {
    let state: Option<(i64, i64)> =
        sqlx::query_as("select changed, written from day_folders where folder = ?")
            .bind(folder)
            .fetch_optional(&mut *moment)
            .await
            .with_context(|| format!("looking up {folder}"))?;
    let (changed, written) = state.unwrap_or_default();
    Ok(Documents {
        lists: catalog::lists_of(moment, folder).await?,
        sums: catalog::sums_of(moment, folder).await?,
        changed,
        is_behind: changed > written,
    })
}

/// The day folders of `pbx`, by the database's account.
pub async fn folders(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<Vec<String>> {
    // The character after `/` is `0`.
    sqlx::query_scalar("select folder from day_folders where folder > ? and folder < ? order by folder")
        .bind_all((format!("{pbx}/"), format!("{pbx}0")))
        .fetch_all(db)
        .await
        .with_context(|| format!("listing the folders of pbx `{pbx}`"))
}

/// A file that no account of its folder names.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Stray {
    /// The PBX in whose folder it is.
    pub pbx: String,
    /// Where it is, relative to the archive's root.
    pub path: String,
    /// The audio that it would be, or be the sidecar of.
    pub audio: String,
    /// Where that audio would be, were it not kept beside other audio.
    pub place: String,
    /// The day whose call list it would be.
    pub day: Option<String>,
    /// The day whose certificate it would be a part of, and the revision.
    pub certificate: Option<(String, i64)>,
}

/// Those of `strays` that nothing accounts for at this moment.
///
/// What was archived meanwhile is accounted for, and what a recording that is owed or being fetched will be: a run that
/// died may have left it, and the next attempt takes it, or finds out that it is something else. So it is with a call
/// list of a day of which not everything is told, and with the files of a certificate that is on its way.
pub async fn unaccounted(db: &mut SqliteConnection, strays: &[Stray]) -> anyhow::Result<Vec<String>> {
    // The columns compare without regard to case, which finds the rows; a file that differs in case is another file.
    sqlx::query_scalar(
        "select value ->> 'path' from json_each(?1)
         where not exists (select 1 from archived_files where path = value ->> 'audio'
                 and path = value ->> 'audio' collate binary)
             and not exists (select 1 from day_files where path = value ->> 'path'
                 and path = value ->> 'path' collate binary)
             and not exists (select 1 from recordings where path = value ->> 'place'
                 and path = value ->> 'place' collate binary
                 and (state in ('pending', 'missing', 'stuck') or run_id is not null or refetch = 1))
             and not exists (select 1 from calls where calls.pbx = value ->> 'pbx' and calls.day = value ->> 'day'
                 and told_version is not version)
             and not exists (select 1 from recordings
                 where recordings.pbx = value ->> 'pbx' and recordings.day = value ->> 'day' and told = 0
                 and state <> 'archived')
             and not exists (select 1 from list_drafts draft
                 where draft.pbx = value ->> 'pbx' and draft.day = value ->> 'day')
             and not exists (select 1 from certificate_drafts draft
                 where draft.pbx = value ->> 'pbx' and draft.day = value ->> '$.certificate[0]'
                 and draft.revision = value ->> '$.certificate[1]')",
    )
    .bind(serde_json::to_string(strays)?)
    .all(db, "looking up files that no folder should hold")
    .await
}

/// The hash that the marker of `pbx` had when it was first seen right.
pub async fn marker(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<Option<Digest>> {
    sqlx::query_scalar("select sha256 from markers where pbx = ?")
        .bind(pbx)
        .maybe(db, "looking up a marker")
        .await
}

/// Notes the hash of a marker that is right; it is written once, so the first one counts.
pub async fn note_marker(tx: &mut SqliteConnection, pbx: &str, sha256: &Digest) -> anyhow::Result<()> {
    sqlx::query("insert into markers (pbx, sha256) values (?, ?) on conflict do nothing")
        .bind_all((pbx, sha256))
        .run(tx, "noting a marker")
        .await
}
