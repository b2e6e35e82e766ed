//!
//! The files come in the order of the folders, and the ledger tells in which order they were archived. Until then they are
//! noted here, in the database `scratch`, which is thrown away in the end.

mod lists;

use anyhow::Context as _;
use jiff::civil::Date;
use sqlx::{FromRow, SqliteConnection};

pub use lists::{UnnamedList, keep_list, match_list, unnamed_lists};

use crate::base::digest::Digest;
use crate::base::recording::RecordingKind;
use crate::formats::ledger_entry::FileEntry;
use crate::formats::sidecar::Sidecar;

const TABLES: [&str; 6] = [
    // The files by their sidecars; `number` is that of the ledger's entry for it, once that is known.
    "create table scratch.files (
         id integer primary key, recording_id integer not null, pbx text not null, kind text, day text not null,
         path text not null, size_bytes integer not null, sha256 blob not null, sidecar_sha256 blob not null,
         format text not null, duration_ms integer, suspect text not null, commitment blob not null,
         displaced integer not null, number integer, conflict integer, gap integer, at_ms integer)",
    // Entries about a file whose sidecar was not found.
    "create table scratch.entries (
         number integer primary key, conflict integer not null, pbx text not null, day text not null,
         recording blob not null, sha256 blob not null, sidecar_sha256 blob not null, size_bytes integer not null,
         gap integer, at_ms integer not null, suspect text not null default '')",
    // Files that a SHA256SUMS lists and that are not there any more as they were.
    "create table scratch.listed (path text primary key, sha256 blob not null, sidecar_sha256 blob not null)",
    // What the ledger may name recordings by that are not archived.
    "create table scratch.absences (commitment blob primary key, recording_id integer not null, sn text not null)
         without rowid",
    // Calls whose recording was not known yet when they were read.
    "create table scratch.links (call_id integer primary key, path text not null)",
    // Salted call lists; `entry` is the number of their entry, -1 if a list is not what its entry says.
    "create table scratch.lists (
         pbx text not null, day text not null, n integer not null, sha256 blob not null, lines integer not null,
         root blob not null, entry integer, primary key (pbx, day, n)) without rowid",
];

/// An archived file that was found by its sidecar.
#[derive(Debug, Clone, Copy)]
pub struct FileFound<'a> {
    pub recording_id: i64,
    pub sidecar: &'a Sidecar,
    pub sidecar_sha256: Digest,
    pub day: Date,
    /// What the ledger names its recording by.
    pub commitment: Digest,
    /// Whether the sidecar is not where it says.
    pub is_displaced: bool,
}

/// An archived file as `SHA256SUMS` lists it.
#[derive(Debug)]
pub struct ListedFile {
    pub path: String,
    pub sha256: Digest,
    pub sidecar_sha256: Digest,
}

/// A file that was noted.
#[derive(Debug, FromRow)]
pub struct NotedFile {
    pub id: i64,
    pub recording_id: i64,
    pub pbx: String,
    /// None if the file is gone.
    pub kind: Option<RecordingKind>,
    pub day: String,
    pub path: String,
    pub size_bytes: i64,
    pub sha256: Digest,
    pub sidecar_sha256: Digest,
    pub format: String,
    pub duration_ms: Option<i64>,
    suspect: String,
    pub commitment: Digest,
    pub number: Option<i64>,
    pub conflict: Option<bool>,
    pub gap: Option<i64>,
    pub at_ms: Option<i64>,
}

/// An entry without a file.
#[derive(Debug, FromRow)]
pub struct OpenEntry {
    pub number: i64,
    pub conflict: bool,
    pub pbx: String,
    pub day: String,
    pub recording: Digest,
    pub sha256: Digest,
    pub sidecar_sha256: Digest,
    pub size_bytes: i64,
    pub gap: Option<i64>,
    pub at_ms: i64,
    pub suspect: String,
}

/// A call that names a recording which was not known when it was read.
#[derive(Debug, FromRow)]
pub struct OpenLink {
    pub call_id: i64,
    pub path: String,
    pub pbx: String,
    pub row: String,
    pub started_at_ms: Option<i64>,
}

/// What an entry says of a file.
#[derive(Debug, Clone, Copy)]
pub struct Naming {
    pub number: i64,
    pub conflict: bool,
    pub gap: Option<i64>,
    pub at_ms: i64,
}

impl NotedFile {
    /// What is odd about its audio.
    pub fn suspect(&self) -> Vec<String> {
        self.suspect.split(',').filter(|odd| !odd.is_empty()).map(str::to_owned).collect()
    }
}

async fn execute(tx: &mut SqliteConnection, statement: &'static str) -> anyhow::Result<()> {
    sqlx::query(statement).execute(tx).await.context("preparing the scratch tables")?;
    Ok(())
}

pub async fn create(tx: &mut SqliteConnection) -> anyhow::Result<()> {
    for table in TABLES {
        execute(tx, table).await?;
    }
    Ok(())
}

/// Makes files findable by their sidecars: all have been noted.
pub async fn index_files(tx: &mut SqliteConnection) -> anyhow::Result<()> {
    execute(tx, "create index scratch.files_by_sidecar on files (sidecar_sha256, displaced)").await
}

/// Makes files findable that have no entry: all entries have been seen.
pub async fn index_unnamed(tx: &mut SqliteConnection) -> anyhow::Result<()> {
    execute(tx, "create index scratch.files_unnamed on files (pbx, day) where number is null").await?;
    execute(tx, "create index scratch.listed_by_sidecar on listed (sidecar_sha256)").await
}

/// Sorts the files by their entries.
pub async fn index_numbers(tx: &mut SqliteConnection) -> anyhow::Result<()> {
    execute(tx, "create unique index scratch.files_by_number on files (number) where number is not null")
        .await
}

pub async fn keep_file(tx: &mut SqliteConnection, file: &FileFound<'_>) -> anyhow::Result<()> {
    let Sidecar { pbx, recording, file: facts, audio, .. } = file.sidecar;
    sqlx::query(
        "insert into scratch.files (recording_id, pbx, kind, day, path, size_bytes, sha256, sidecar_sha256, format,
             duration_ms, suspect, commitment, displaced)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(file.recording_id)
    .bind(&pbx.id)
    .bind(recording.kind)
    .bind(file.day.to_string())
    .bind(&facts.path)
    .bind(i64::try_from(facts.size_bytes)?)
    .bind(facts.sha256)
    .bind(file.sidecar_sha256)
    .bind(&audio.format)
    .bind(audio.duration_ms.map(i64::try_from).transpose()?)
    .bind(audio.suspect.join(","))
    .bind(file.commitment)
    .bind(file.is_displaced)
    .execute(tx)
    .await
    .with_context(|| format!("noting {}", facts.path))?;
    Ok(())
}

/// Gives the file with this sidecar to an entry. The kind of its recording; `None` if there is no such file.
pub async fn match_file(
    tx: &mut SqliteConnection,
    sidecar_sha256: Digest,
    naming: Naming,
) -> anyhow::Result<Option<RecordingKind>> {
    sqlx::query_scalar(
        "update scratch.files set number = ?1, conflict = ?2, gap = ?3, at_ms = ?4 where id =
             (select id from scratch.files where sidecar_sha256 = ?5 and number is null order by displaced limit 1)
         returning kind",
    )
    .bind(naming.number)
    .bind(naming.conflict)
    .bind(naming.gap)
    .bind(naming.at_ms)
    .bind(sidecar_sha256)
    .fetch_optional(tx)
    .await
    .with_context(|| format!("looking for the file of entry {}", naming.number))
}

/// Gives a file to the entry that was appended for it.
pub async fn name_file(tx: &mut SqliteConnection, id: i64, naming: Naming) -> anyhow::Result<()> {
    sqlx::query("update scratch.files set number = ?, conflict = ?, gap = ?, at_ms = ? where id = ?")
        .bind(naming.number)
        .bind(naming.conflict)
        .bind(naming.gap)
        .bind(naming.at_ms)
        .bind(id)
        .execute(tx)
        .await
        .context("giving a file to its entry")?;
    Ok(())
}

/// The next files without an entry after row `after`, without displaced ones.
pub async fn unnamed_after(
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
    .context("listing files without an entry")
}

/// The next files after that of entry `after`, in the order of the ledger.
pub async fn files_after(
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

/// Notes that a call names the recording at `path`, which is not known yet.
pub async fn keep_link(tx: &mut SqliteConnection, call_id: i64, path: &str) -> anyhow::Result<()> {
    sqlx::query(
        "insert into scratch.links (call_id, path) values (?, ?) on conflict do update set path = excluded.path",
    )
    .bind(call_id)
    .bind(path)
    .execute(tx)
    .await
    .context("noting what a call names")?;
    Ok(())
}

pub async fn links_after(db: &mut SqliteConnection, after: i64, limit: i64) -> anyhow::Result<Vec<OpenLink>> {
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

/// A call that names the recording at `path`: its row has the PBX's name for it.
pub async fn call_naming(db: &mut SqliteConnection, path: &str) -> anyhow::Result<Option<OpenLink>> {
    sqlx::query_as(
        "select call_id, path, pbx, row, started_at_ms from scratch.links join calls on calls.id = call_id
         where path = ? order by call_id limit 1",
    )
    .bind(path)
    .fetch_optional(db)
    .await
    .context("looking for the call of a recording")
}

/// Notes what the ledger may name a recording by that is not archived.
pub async fn keep_absence(
    tx: &mut SqliteConnection,
    commitment: Digest,
    recording_id: i64,
    sn: &str,
) -> anyhow::Result<()> {
    sqlx::query(
        "insert into scratch.absences (commitment, recording_id, sn) values (?, ?, ?) on conflict do nothing",
    )
    .bind(commitment)
    .bind(recording_id)
    .bind(sn)
    .execute(tx)
    .await
    .context("noting what is not archived")?;
    Ok(())
}

/// A recording that the lists have as not archived, and the serial number by which an entry names it.
pub async fn absence(db: &mut SqliteConnection, commitment: Digest) -> anyhow::Result<Option<(i64, String)>> {
    sqlx::query_as("select recording_id, sn from scratch.absences where commitment = ?")
        .bind(commitment)
        .fetch_optional(db)
        .await
        .context("looking for what is not archived")
}

pub async fn keep_listed(tx: &mut SqliteConnection, listed: &ListedFile) -> anyhow::Result<()> {
    sqlx::query("insert into scratch.listed (path, sha256, sidecar_sha256) values (?, ?, ?)")
        .bind(&listed.path)
        .bind(listed.sha256)
        .bind(listed.sidecar_sha256)
        .execute(tx)
        .await
        .with_context(|| format!("noting {}", listed.path))?;
    Ok(())
}

/// Where a `SHA256SUMS` lists the file of an entry.
pub async fn listed_path(db: &mut SqliteConnection, entry: &OpenEntry) -> anyhow::Result<Option<String>> {
    sqlx::query_scalar("select path from scratch.listed where sidecar_sha256 = ? and sha256 = ? limit 1")
        .bind(entry.sidecar_sha256)
        .bind(entry.sha256)
        .fetch_optional(db)
        .await
        .context("looking for the name of a file")
}

/// Notes an entry without a file.
pub async fn keep_entry(tx: &mut SqliteConnection, naming: Naming, entry: &FileEntry) -> anyhow::Result<()> {
    sqlx::query(
        "insert into scratch.entries (number, conflict, pbx, day, recording, sha256, sidecar_sha256, size_bytes, gap,
             at_ms) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(naming.number)
    .bind(naming.conflict)
    .bind(&entry.pbx)
    .bind(entry.day.to_string())
    .bind(entry.recording)
    .bind(entry.sha256)
    .bind(entry.sidecar_sha256)
    .bind(i64::try_from(entry.size_bytes)?)
    .bind(naming.gap)
    .bind(naming.at_ms)
    .execute(tx)
    .await
    .with_context(|| format!("noting entry {}", naming.number))?;
    Ok(())
}

/// Notes what is odd about the audio of an entry without a file.
pub async fn keep_suspicion(
    tx: &mut SqliteConnection,
    number: i64,
    suspect: &[String],
) -> anyhow::Result<()> {
    sqlx::query("update scratch.entries set suspect = ? where number = ?")
        .bind(suspect.join(","))
        .bind(number)
        .execute(tx)
        .await
        .context("noting what is odd about a file")?;
    Ok(())
}

/// The next entry without a file after that of number `after`.
pub async fn open_entry_after(db: &mut SqliteConnection, after: i64) -> anyhow::Result<Option<OpenEntry>> {
    sqlx::query_as("select * from scratch.entries where number > ? order by number limit 1")
        .bind(after)
        .fetch_optional(db)
        .await
        .context("reading entries without a file")
}

/// A file with another sidecar than an entry has, which is that entry's all the same: by its place, by what the entry
/// names the recording by, or by its audio.
pub async fn altered_file(
    tx: &mut SqliteConnection,
    entry: &OpenEntry,
    path: Option<&str>,
) -> anyhow::Result<Option<(i64, String)>> {
    sqlx::query_as(
        "select id, path from scratch.files where number is null and pbx = ?1 and day = ?2
             and (path = ?3 or commitment = ?4 or sha256 = ?5)
         order by path = ?3 desc, commitment = ?4 desc, displaced, id limit 1",
    )
    .bind(&entry.pbx)
    .bind(&entry.day)
    .bind(path)
    .bind(entry.recording)
    .bind(entry.sha256)
    .fetch_optional(tx)
    .await
    .context("looking for an altered file")
}

/// Takes a file for that of an entry, as the entry describes it.
pub async fn take_file(tx: &mut SqliteConnection, id: i64, entry: &OpenEntry) -> anyhow::Result<()> {
    sqlx::query(
        "update scratch.files set number = ?, conflict = ?, gap = ?, at_ms = ?, sha256 = ?, sidecar_sha256 = ?,
             size_bytes = ? where id = ?",
    )
    .bind(entry.number)
    .bind(entry.conflict)
    .bind(entry.gap)
    .bind(entry.at_ms)
    .bind(entry.sha256)
    .bind(entry.sidecar_sha256)
    .bind(entry.size_bytes)
    .bind(id)
    .execute(tx)
    .await
    .context("taking an altered file for what it was")?;
    Ok(())
}

/// Notes the file of an entry, which was at `path` and is gone.
pub async fn keep_gone(
    tx: &mut SqliteConnection,
    entry: &OpenEntry,
    path: &str,
    recording_id: i64,
) -> anyhow::Result<()> {
    sqlx::query(
        "insert into scratch.files (recording_id, pbx, day, path, size_bytes, sha256, sidecar_sha256, format, suspect,
             commitment, displaced, number, conflict, gap, at_ms)
         values (?, ?, ?, ?, ?, ?, ?, 'other', ?, ?, 0, ?, ?, ?, ?)",
    )
    .bind(recording_id)
    .bind(&entry.pbx)
    .bind(&entry.day)
    .bind(path)
    .bind(entry.size_bytes)
    .bind(entry.sha256)
    .bind(entry.sidecar_sha256)
    .bind(&entry.suspect)
    .bind(entry.recording)
    .bind(entry.number)
    .bind(entry.conflict)
    .bind(entry.gap)
    .bind(entry.at_ms)
    .execute(tx)
    .await
    .with_context(|| format!("noting {path}"))?;
    Ok(())
}
