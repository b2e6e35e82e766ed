//! What is noted meanwhile: the files found, until the ledger has told in which order they were archived. All SQL on the
//! tables of `scratch`, which are thrown away in the end.

mod lists;
mod lost;

use anyhow::Context as _;
use sqlx::{FromRow, SqliteConnection};

pub(super) use lists::{UnnamedList, keep_list, match_list, unnamed_lists};
pub(super) use lost::{
    OpenEntry, altered_file, index_unnamed, keep_entry, keep_gone, keep_listed, keep_suspicion, listed_path,
    open_entry_after, take_file,
};

use super::entry::FileEntry;
use super::found::FoundFile;
use crate::base::digest::Digest;
use crate::base::recording::RecordingKind;

const TABLES: [&str; 6] = [
    // The files by their sidecars; `number` is that of the entry that tells of it, once that is known.
    "create table scratch.files (
         id integer primary key, recording_id integer not null, pbx text not null, kind text not null, day text not null,
         path text not null, size_bytes integer not null, sha256 blob not null, sidecar_sha256 blob not null,
         format text not null, duration_ms integer, suspect text not null, commitment blob not null,
         displaced integer not null, number integer, conflict integer, gap integer, at_ms integer)",
    // Entries that tell of a file whose sidecar was not found.
    "create table scratch.entries (
         number integer primary key, conflict integer not null, pbx text not null, day text not null,
         recording blob not null, sha256 blob not null, sidecar_sha256 blob not null, size_bytes integer not null,
         gap integer, at_ms integer not null, suspect text not null default '')",
    // Files that a SHA256SUMS lists and that are not there any more as they were.
    "create table scratch.listed (path text primary key, sha256 blob not null, sidecar_sha256 blob not null)",
    // What the ledger may name recordings by that are not archived.
    "create table scratch.absences (commitment blob primary key, recording_id integer not null, sn text not null) \
     without rowid",
    // Calls whose recording was not known yet when they were read.
    "create table scratch.links (call_id integer primary key, path text not null)",
    lists::TABLE,
];

/// Makes the tables.
pub(super) async fn create(tx: &mut SqliteConnection) -> anyhow::Result<()> {
    for table in TABLES {
        sqlx::query(table).execute(&mut *tx).await.context("making the scratch tables")?;
    }
    Ok(())
}

/// Notes a file of the recording in row `recording_id`.
pub(super) async fn keep_file(
    tx: &mut SqliteConnection,
    file: &FoundFile,
    recording_id: i64,
) -> anyhow::Result<()> {
    let sidecar = &file.sidecar;
    sqlx::query(
        "insert into scratch.files (recording_id, pbx, kind, day, path, size_bytes, sha256, sidecar_sha256, format,
             duration_ms, suspect, commitment, displaced)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(recording_id)
    .bind(&sidecar.pbx.id)
    .bind(sidecar.recording.kind.as_str())
    .bind(file.day.to_string())
    .bind(&sidecar.file.path)
    .bind(i64::try_from(sidecar.file.size_bytes)?)
    .bind(&sidecar.file.sha256.as_bytes()[..])
    .bind(&file.sidecar_sha256.as_bytes()[..])
    .bind(&sidecar.audio.format)
    .bind(sidecar.audio.duration_ms.map(i64::try_from).transpose()?)
    .bind(sidecar.audio.suspect.join(","))
    .bind(&file.commitment.as_bytes()[..])
    .bind(file.is_displaced)
    .execute(tx)
    .await
    .with_context(|| format!("noting {}", sidecar.file.path))?;
    Ok(())
}

/// Notes that a call names the recording at `path`, which is not known yet.
pub(super) async fn keep_link(tx: &mut SqliteConnection, call_id: i64, path: &str) -> anyhow::Result<()> {
    sqlx::query("insert into scratch.links (call_id, path) values (?, ?) on conflict do update set path = excluded.path")
        .bind(call_id)
        .bind(path)
        .execute(tx)
        .await
        .context("noting what a call names")?;
    Ok(())
}

/// Notes what the ledger may name a recording by that is not archived.
pub(super) async fn keep_absence(
    tx: &mut SqliteConnection,
    commitment: Digest,
    recording_id: i64,
    sn: &str,
) -> anyhow::Result<()> {
    sqlx::query(
        "insert into scratch.absences (commitment, recording_id, sn) values (?, ?, ?) on conflict do nothing",
    )
    .bind(&commitment.as_bytes()[..])
    .bind(recording_id)
    .bind(sn)
    .execute(tx)
    .await
    .context("noting what is not archived")?;
    Ok(())
}

/// Makes files findable by their sidecars: all have been noted.
pub(super) async fn index_files(tx: &mut SqliteConnection) -> anyhow::Result<()> {
    sqlx::query("create index scratch.files_by_sidecar on files (sidecar_sha256, displaced)")
        .execute(tx)
        .await
        .context("sorting what was found")?;
    Ok(())
}

/// Ties the file with the sidecar of an entry to it. The kind of its recording; `None` if there is no such file.
pub(super) async fn match_file(
    tx: &mut SqliteConnection,
    entry: &FileEntry,
) -> anyhow::Result<Option<RecordingKind>> {
    let kind: Option<String> = sqlx::query_scalar(
        "update scratch.files set number = ?1, conflict = ?2, gap = ?3, at_ms = ?4 where id =
             (select id from scratch.files where sidecar_sha256 = ?5 and number is null order by displaced limit 1)
         returning kind",
    )
    .bind(entry.number)
    .bind(entry.conflict)
    .bind(entry.gap)
    .bind(entry.at.as_millisecond())
    .bind(&entry.sidecar_sha256.as_bytes()[..])
    .fetch_optional(tx)
    .await
    .with_context(|| format!("looking for the file of entry {}", entry.number))?;
    let kind_of =
        |word: &str| if word == "voicemail" { RecordingKind::Voicemail } else { RecordingKind::Call };
    Ok(kind.as_deref().map(kind_of))
}

/// A recording that is not archived by the word of the lists, and the serial number by which an entry names it.
pub(super) async fn absence(
    db: &mut SqliteConnection,
    commitment: &[u8],
) -> anyhow::Result<Option<(i64, String)>> {
    sqlx::query_as("select recording_id, sn from scratch.absences where commitment = ?")
        .bind(commitment)
        .fetch_optional(db)
        .await
        .context("looking for what is not archived")
}

/// A file as it comes into the catalog.
#[derive(Debug, FromRow)]
pub(super) struct NotedFile {
    pub(super) id: i64,
    pub(super) recording_id: i64,
    pub(super) pbx: String,
    pub(super) kind: String,
    pub(super) day: String,
    pub(super) path: String,
    pub(super) size_bytes: i64,
    pub(super) sha256: Vec<u8>,
    pub(super) sidecar_sha256: Vec<u8>,
    pub(super) format: String,
    pub(super) duration_ms: Option<i64>,
    pub(super) suspect: String,
    pub(super) commitment: Vec<u8>,
    pub(super) number: Option<i64>,
    pub(super) conflict: Option<bool>,
    pub(super) gap: Option<i64>,
    pub(super) at_ms: Option<i64>,
}

/// The next `limit` files after row `after` of which no entry tells, and which lie where they belong.
pub(super) async fn unnamed_after(
    db: &mut SqliteConnection,
    after: i64,
    limit: i64,
) -> anyhow::Result<Vec<NotedFile>> {
    sqlx::query_as(
        "select * from scratch.files where number is null and displaced = 0 and id > ? order by id limit ?",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await
    .context("listing files of which no entry tells")
}

/// Ties a file to the entry that was appended for it.
pub(super) async fn name_file(
    tx: &mut SqliteConnection,
    id: i64,
    number: i64,
    conflict: bool,
    gap: Option<i64>,
    at_ms: i64,
) -> anyhow::Result<()> {
    sqlx::query("update scratch.files set number = ?, conflict = ?, gap = ?, at_ms = ? where id = ?")
        .bind(number)
        .bind(conflict)
        .bind(gap)
        .bind(at_ms)
        .bind(id)
        .execute(tx)
        .await
        .context("tying a file to its entry")?;
    Ok(())
}

/// Sorts the files by their entries.
pub(super) async fn index_numbers(tx: &mut SqliteConnection) -> anyhow::Result<()> {
    sqlx::query("create unique index scratch.files_by_number on files (number) where number is not null")
        .execute(tx)
        .await
        .context("sorting files by their entries")?;
    Ok(())
}

/// The next `limit` files after that of entry `after`, in the order of the ledger.
pub(super) async fn files_after(
    db: &mut SqliteConnection,
    after: i64,
    limit: i64,
) -> anyhow::Result<Vec<NotedFile>> {
    sqlx::query_as("select * from scratch.files where number > ? order by number limit ?")
        .bind(after)
        .bind(limit)
        .fetch_all(db)
        .await
        .context("listing files in the order of the ledger")
}

/// A call that names a recording which was not known when it was read.
#[derive(Debug, FromRow)]
pub(super) struct OpenLink {
    pub(super) call_id: i64,
    pub(super) path: String,
    pub(super) pbx: String,
    pub(super) row: String,
    pub(super) started_at_ms: Option<i64>,
}

/// The next `limit` such calls after that in row `after`.
pub(super) async fn links_after(
    db: &mut SqliteConnection,
    after: i64,
    limit: i64,
) -> anyhow::Result<Vec<OpenLink>> {
    sqlx::query_as(
        "select call_id, path, pbx, row, started_at_ms from scratch.links join calls on calls.id = call_id
         where call_id > ? order by call_id limit ?",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await
    .context("listing calls whose recording was not known")
}

/// A call that names the recording at `path`, if one does: it tells the PBX's name for it.
pub(super) async fn call_naming(db: &mut SqliteConnection, path: &str) -> anyhow::Result<Option<OpenLink>> {
    sqlx::query_as(
        "select call_id, path, pbx, row, started_at_ms from scratch.links join calls on calls.id = call_id
         where path = ? order by call_id limit 1",
    )
    .bind(path)
    .fetch_optional(db)
    .await
    .context("looking for the call of a recording")
}
