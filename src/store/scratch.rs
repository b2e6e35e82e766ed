//!
//! The files come in the order of the folders, and the ledger tells in which order they were archived. Until then they are
//! noted here, in the database `scratch`, which is thrown away in the end.

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use sqlx::FromRow;

use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::base::recording::{RecordingKind, RecordingName};
use crate::formats::cdr::CdrRow;
use crate::formats::ledger_entry::{FileEntry, ListEntry, ListFacts};
use crate::formats::sidecar::Sidecar;
use crate::store::calls::NewCall;
use crate::store::sql::{BindAll as _, Conn, Day, Fetch as _, MaybeMs, Run as _};

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

/// A file of the archive, as its sidecar tells of it.
#[derive(Debug)]
pub struct FoundFile {
    /// Its sidecar, without its calls.
    pub sidecar: Sidecar,
    pub sidecar_sha256: Digest,
    /// Whether the sidecar lies elsewhere than it says.
    pub is_displaced: bool,
    /// What the ledger names its recording by.
    pub commitment: Digest,
    pub name: RecordingName,
    pub day: Date,
    /// The path of its recording: another one if this is other audio of the same name.
    pub recording_path: String,
    /// What is known of it if it is a voicemail message, and which of those alike it is.
    pub message: Option<(Message, u32)>,
    pub unlisted: Vec<NewCall>,
}

#[derive(Debug)]
pub struct ListedFile {
    pub path: String,
    pub sha256: Digest,
    pub sidecar_sha256: Digest,
}

#[derive(Debug, FromRow)]
pub struct NotedFile {
    pub id: i64,
    pub recording_id: i64,
    pub pbx: String,
    /// None if the file is gone.
    pub kind: Option<RecordingKind>,
    #[sqlx(try_from = "Day")]
    pub day: Date,
    pub path: String,
    pub size_bytes: u64,
    pub sha256: Digest,
    pub sidecar_sha256: Digest,
    pub format: String,
    pub duration_ms: Option<u64>,
    suspect: String,
    pub commitment: Digest,
    pub number: Option<i64>,
    pub conflict: Option<bool>,
    pub gap: Option<i64>,
    pub at_ms: Option<i64>,
}

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
    pub row: CdrRow,
    #[sqlx(rename = "started_at_ms", try_from = "MaybeMs")]
    pub started_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
pub struct Naming {
    pub number: i64,
    pub conflict: bool,
    pub gap: Option<i64>,
    pub at_ms: i64,
}

impl NotedFile {
    pub fn suspect(&self) -> Vec<String> {
        self.suspect.split(',').filter(|odd| !odd.is_empty()).map(str::to_owned).collect()
    }
}

async fn execute(tx: &mut Conn, statement: &'static str) -> Result<()> {
    sqlx::query(statement).run(tx, "preparing the scratch tables").await
}

pub async fn create(tx: &mut Conn) -> Result<()> {
    for table in TABLES {
        execute(tx, table).await?;
    }
    Ok(())
}

/// Makes files findable by their sidecars: all have been noted.
pub async fn index_files(tx: &mut Conn) -> Result<()> {
    execute(tx, "create index scratch.files_by_sidecar on files (sidecar_sha256, displaced)").await
}

/// Makes files findable that have no entry: all entries have been seen.
pub async fn index_unnamed(tx: &mut Conn) -> Result<()> {
    execute(tx, "create index scratch.files_unnamed on files (pbx, day) where number is null").await?;
    execute(tx, "create index scratch.listed_by_sidecar on listed (sidecar_sha256)").await
}

pub async fn index_numbers(tx: &mut Conn) -> Result<()> {
    execute(tx, "create unique index scratch.files_by_number on files (number) where number is not null")
        .await
}

pub async fn keep_file(tx: &mut Conn, recording_id: i64, found: &FoundFile) -> Result<()> {
    let Sidecar { pbx, recording, file, audio, .. } = &found.sidecar;
    sqlx::query(
        "insert into scratch.files (recording_id, pbx, kind, day, path, size_bytes, sha256, sidecar_sha256, format,
             duration_ms, suspect, commitment, displaced)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind_all((recording_id, &pbx.id, recording.kind, found.day, &file.path))
    .bind_all((file.size_bytes, file.sha256, found.sidecar_sha256, &audio.format))
    .bind_all((audio.duration_ms, audio.suspect.join(","), found.commitment, found.is_displaced))
    .run(tx, format!("noting {}", file.path)).await
}

/// Gives the file with this sidecar to an entry. The kind of its recording; `None` if there is no such file.
pub async fn match_file(
    tx: &mut Conn,
    sidecar_sha256: Digest,
    naming: Naming,
) -> Result<Option<RecordingKind>> {
    sqlx::query_scalar(
        "update scratch.files set number = ?1, conflict = ?2, gap = ?3, at_ms = ?4 where id =
             (select id from scratch.files where sidecar_sha256 = ?5 and number is null order by displaced limit 1)
         returning kind",
    )
    .bind_all((naming.number, naming.conflict, naming.gap, naming.at_ms, sidecar_sha256))
    .maybe(tx, format!("looking for the file of entry {}", naming.number)).await
}

pub async fn name_file(tx: &mut Conn, id: i64, naming: Naming) -> Result<()> {
    sqlx::query("update scratch.files set number = ?, conflict = ?, gap = ?, at_ms = ? where id = ?")
        .bind_all((naming.number, naming.conflict, naming.gap, naming.at_ms, id))
        .run(tx, "giving a file to its entry")
        .await
}

/// The next files without an entry after row `after`, without displaced ones.
pub async fn unnamed_after(db: &mut Conn, after: i64, limit: i64) -> Result<Vec<NotedFile>> {
    sqlx::query_as(
        "select * from scratch.files where number is null and displaced = 0 and id > ? order by id limit ?",
    )
    .bind_all((after, limit))
    .all(db, "listing files without an entry")
    .await
}

/// The next files after that of entry `after`, in the order of the ledger.
pub async fn files_after(db: &mut Conn, after: i64, limit: i64) -> Result<Vec<NotedFile>> {
    sqlx::query_as("select * from scratch.files where number > ? order by number limit ?")
        .bind_all((after, limit))
        .all(db, "listing files in the order of the ledger")
        .await
}

/// Notes that a call names the recording at `path`, which is not known yet.
pub async fn keep_link(tx: &mut Conn, call_id: i64, path: &str) -> Result<()> {
    sqlx::query(
        "insert into scratch.links (call_id, path) values (?, ?) on conflict do update set path = excluded.path",
    )
    .bind_all((call_id, path))
    .run(tx, "noting what a call names").await
}

pub async fn links_after(db: &mut Conn, after: i64, limit: i64) -> Result<Vec<OpenLink>> {
    sqlx::query_as(
        "select call_id, path, pbx, row, started_at_ms from scratch.links join calls on calls.id = call_id
         where call_id > ? order by call_id limit ?",
    )
    .bind_all((after, limit))
    .all(db, "listing calls whose recording was not known")
    .await
}

/// A call that names the recording at `path`: its row has the PBX's name for it.
pub async fn call_naming(db: &mut Conn, path: &str) -> Result<Option<OpenLink>> {
    sqlx::query_as(
        "select call_id, path, pbx, row, started_at_ms from scratch.links join calls on calls.id = call_id
         where path = ? order by call_id limit 1",
    )
    .bind(path)
    .maybe(db, "looking for the call of a recording")
    .await
}

/// Notes what the ledger may name a recording by that is not archived.
pub async fn keep_absence(tx: &mut Conn, commitment: Digest, recording_id: i64, sn: &str) -> Result<()> {
    sqlx::query(
        "insert into scratch.absences (commitment, recording_id, sn) values (?, ?, ?) on conflict do nothing",
    )
    .bind_all((commitment, recording_id, sn))
    .run(tx, "noting what is not archived")
    .await
}

/// A recording that the lists have as not archived, and the serial number by which an entry names it.
pub async fn absence(db: &mut Conn, commitment: Digest) -> Result<Option<(i64, String)>> {
    sqlx::query_as("select recording_id, sn from scratch.absences where commitment = ?")
        .bind(commitment)
        .maybe(db, "looking for what is not archived")
        .await
}

pub async fn keep_listed(tx: &mut Conn, listed: &ListedFile) -> Result<()> {
    sqlx::query("insert into scratch.listed (path, sha256, sidecar_sha256) values (?, ?, ?)")
        .bind_all((&listed.path, listed.sha256, listed.sidecar_sha256))
        .run(tx, format!("noting {}", listed.path))
        .await
}

/// Where a `SHA256SUMS` lists the file of an entry.
pub async fn listed_path(db: &mut Conn, entry: &OpenEntry) -> Result<Option<String>> {
    sqlx::query_scalar("select path from scratch.listed where sidecar_sha256 = ? and sha256 = ? limit 1")
        .bind_all((entry.sidecar_sha256, entry.sha256))
        .maybe(db, "looking for the name of a file")
        .await
}

pub async fn keep_entry(tx: &mut Conn, naming: Naming, entry: &FileEntry) -> Result<()> {
    sqlx::query(
        "insert into scratch.entries (number, conflict, pbx, day, recording, sha256, sidecar_sha256, size_bytes, gap,
             at_ms) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind_all((naming.number, naming.conflict, &entry.pbx, entry.day, entry.recording, entry.sha256))
    .bind_all((entry.sidecar_sha256, entry.size_bytes, naming.gap, naming.at_ms))
    .run(tx, format!("noting entry {}", naming.number)).await
}

pub async fn keep_suspicion(tx: &mut Conn, number: i64, suspect: &[String]) -> Result<()> {
    sqlx::query("update scratch.entries set suspect = ? where number = ?")
        .bind_all((suspect.join(","), number))
        .run(tx, "noting what is odd about a file")
        .await
}

pub async fn open_entry_after(db: &mut Conn, after: i64) -> Result<Option<OpenEntry>> {
    sqlx::query_as("select * from scratch.entries where number > ? order by number limit 1")
        .bind(after)
        .maybe(db, "reading entries without a file")
        .await
}

/// A file with another sidecar than an entry has, which is that entry's all the same: by its place, by what the entry
/// names the recording by, or by its audio.
pub async fn altered_file(
    tx: &mut Conn,
    entry: &OpenEntry,
    path: Option<&str>,
) -> Result<Option<(i64, String)>> {
    sqlx::query_as(
        "select id, path from scratch.files where number is null and pbx = ?1 and day = ?2
             and (path = ?3 or commitment = ?4 or sha256 = ?5)
         order by path = ?3 desc, commitment = ?4 desc, displaced, id limit 1",
    )
    .bind_all((&entry.pbx, &entry.day, path, entry.recording, entry.sha256))
    .maybe(tx, "looking for an altered file")
    .await
}

/// Takes a file for that of an entry, as the entry describes it.
pub async fn take_file(tx: &mut Conn, id: i64, entry: &OpenEntry) -> Result<()> {
    sqlx::query(
        "update scratch.files set number = ?, conflict = ?, gap = ?, at_ms = ?, sha256 = ?, sidecar_sha256 = ?,
             size_bytes = ? where id = ?",
    )
    .bind_all((entry.number, entry.conflict, entry.gap, entry.at_ms, entry.sha256, entry.sidecar_sha256))
    .bind_all((entry.size_bytes, id))
    .run(tx, "taking an altered file for what it was").await
}

/// Notes the file of an entry, which was at `path` and is gone.
pub async fn keep_gone(tx: &mut Conn, entry: &OpenEntry, path: &str, recording_id: i64) -> Result<()> {
    sqlx::query(
        "insert into scratch.files (recording_id, pbx, day, path, size_bytes, sha256, sidecar_sha256, format, suspect,
             commitment, displaced, number, conflict, gap, at_ms)
         values (?, ?, ?, ?, ?, ?, ?, 'other', ?, ?, 0, ?, ?, ?, ?)",
    )
    .bind_all((recording_id, &entry.pbx, &entry.day, path, entry.size_bytes, entry.sha256))
    .bind_all((entry.sidecar_sha256, &entry.suspect, entry.recording, entry.number, entry.conflict))
    .bind_all((entry.gap, entry.at_ms))
    .run(tx, format!("noting {path}")).await
}

#[derive(Debug, FromRow)]
pub struct UnnamedList {
    pub pbx: String,
    #[sqlx(try_from = "Day")]
    pub day: Date,
    pub n: u32,
    pub sha256: Digest,
    pub lines: u64,
    pub root: Digest,
}

pub async fn keep_list(tx: &mut Conn, list: &ListFacts<'_>) -> Result<()> {
    sqlx::query("insert into scratch.lists (pbx, day, n, sha256, lines, root) values (?, ?, ?, ?, ?, ?)")
        .bind_all((list.pbx, list.day, list.number, list.sha256, list.lines.count))
        .bind_all((list.lines.root,))
        .run(tx, "noting a call list")
        .await
}

/// Gives the lists that come to the root of an entry to it; whether there are any.
pub async fn match_list(tx: &mut Conn, number: i64, entry: &ListEntry) -> Result<bool> {
    let day = entry.day.to_string();
    let found = sqlx::query(
        "update scratch.lists set entry = ? where pbx = ? and day = ? and root = ? and lines = ?",
    )
    .bind_all((number, &entry.pbx, &day, entry.root, entry.lines))
    .count(tx, "looking for the call list of an entry")
    .await?;
    if found > 0 {
        return Ok(true);
    }
    sqlx::query("update scratch.lists set entry = -1 where pbx = ? and day = ? and n = ? and entry is null")
        .bind_all((&entry.pbx, day, entry.n))
        .run(tx, "setting a call list apart")
        .await?;
    Ok(false)
}

/// The lists without an entry, in their order: few, for they are the tail.
pub async fn unnamed_lists(db: &mut Conn) -> Result<Vec<UnnamedList>> {
    sqlx::query_as(
        "select pbx, day, n, sha256, lines, root from scratch.lists where entry is null order by pbx, day, n",
    )
    .all(db, "listing call lists without an entry")
    .await
}
