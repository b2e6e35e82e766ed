//! Fixity: when bytes were last read and found right. All SQL on `file_checks`, `verifications`, `scrub` and `markers`.
//!
//! What is read as one is a *unit*: an archived file with its sidecar, or what a day folder holds besides. Triggers make
//! a unit's row together with the thing, so that nothing can be archived and never be read again.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use sqlx::Connection as _;

use crate::base::digest::Digest;
use crate::base::recording::RecordingKind;
use crate::store::catalog;
use crate::store::db;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, MaybeMs, Ms, Run as _};

/// Reads units with their files, where they have one; a condition follows.
macro_rules! units {
    ($condition:literal) => {
        concat!(
            "select unit.id, unit.pbx, read_at_ms, damaged, unit.folder, recording_id, kind, file.path, size_bytes,
                 sha256, sidecar_sha256
             from file_checks unit left join archived_files file on file.id = file_id
                 left join recordings on recordings.id = recording_id where ",
            $condition
        )
    };
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    pub id: i64,
    pub pbx: String,
    /// When it was last read and found right; see `file_checks` for what is so at first.
    pub read_at_ms: i64,
    pub damaged: bool,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Archived audio and its sidecar.
    File(ArchivedAs),
    /// The call lists and the `SHA256SUMS` of a day folder, which is this.
    Documents(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedAs {
    pub recording_id: i64,
    pub kind: RecordingKind,
    /// Where the audio is, relative to the archive's root; the sidecar has `.json` after it.
    pub path: String,
    pub size_bytes: u64,
    pub sha256: Digest,
    pub sidecar_sha256: Digest,
}

impl Unit {
    /// How much there is to read of it, as far as the catalog tells: documents are small.
    pub fn size_bytes(&self) -> u64 {
        match &self.what {
            What::File(file) => file.size_bytes,
            What::Documents(_) => 0,
        }
    }
}

/// The place of a unit in the order in which units are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    read_at_ms: i64,
    id: i64,
}

impl Cursor {
    pub const START: Self = Self { read_at_ms: i64::MIN, id: 0 };

    pub fn after(unit: &Unit) -> Self {
        Self { read_at_ms: unit.read_at_ms, id: unit.id }
    }
}

#[derive(Debug, Clone)]
pub struct ToRead {
    pub pbxs: Vec<String>,
    /// that were last read before this,
    pub before: Timestamp,
    /// also those that are known to be damaged.
    pub also_damaged: bool,
}

/// The next `limit` units of `what` after `cursor`, the longest unread first.
pub async fn oldest(db: &mut Conn, what: &ToRead, cursor: Cursor, limit: i64) -> Result<Vec<Unit>> {
    let rows: Vec<Row> = sqlx::query_as(units!(
        "(read_at_ms, unit.id) > (?1, ?2) and read_at_ms < ?3
             and unit.pbx in (select value from json_each(?4)) and (damaged = 0 or ?5)
         order by read_at_ms, unit.id limit ?6"
    ))
    .bind_all((cursor.read_at_ms, cursor.id, what.before))
    .bind_all((serde_json::to_string(&what.pbxs)?, what.also_damaged, limit))
    .all(db, "listing what is to be read")
    .await?;
    rows.into_iter().map(Row::unit).collect()
}

/// Notes that units were read and are right.
pub async fn note_right(tx: &mut Conn, ids: &[i64], now: Timestamp) -> Result<()> {
    sqlx::query(
        "update file_checks set read_at_ms = ?, damaged = 0 where id in (select value from json_each(?))",
    )
    .bind_all((now, serde_json::to_string(ids)?))
    .run(tx, "noting what was read")
    .await
}

/// Notes that units were found damaged: every look reads them again until they are right.
pub async fn note_damaged(tx: &mut Conn, ids: &[i64]) -> Result<()> {
    sqlx::query("update file_checks set damaged = 1 where id in (select value from json_each(?))")
        .bind(serde_json::to_string(ids)?)
        .run(tx, "noting what is damaged")
        .await
}

/// How much audio there is to read.
pub async fn audio_bytes(db: &mut Conn, pbxs: &[String]) -> Result<u64> {
    sqlx::query_scalar(
        "select coalesce(sum(size_bytes), 0) from file_checks left join archived_files file on file.id = file_id
         where pbx in (select value from json_each(?))",
    )
    .bind(serde_json::to_string(pbxs)?)
    .one(db, "summing up what there is to read")
    .await
}

/// When the longest unread file of `pbx` was last read and found right, or archived. Damaged ones do not count.
pub async fn oldest_read(db: &mut Conn, pbx: &str) -> Result<Option<Timestamp>> {
    let read_at: Option<Ms> = sqlx::query_scalar(
        "select min(read_at_ms) from file_checks where pbx = ? and damaged = 0 and file_id is not null",
    )
    .bind(pbx)
    .one(db, "looking up the longest unread file")
    .await?;
    Ok(read_at.map(Timestamp::from))
}

/// A unit; what is of a file is there unless `folder` is.
#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    pbx: String,
    read_at_ms: i64,
    damaged: bool,
    folder: Option<String>,
    recording_id: Option<i64>,
    kind: Option<RecordingKind>,
    path: Option<String>,
    size_bytes: Option<u64>,
    sha256: Option<Digest>,
    sidecar_sha256: Option<Digest>,
}

impl Row {
    fn unit(self) -> Result<Unit> {
        let Self { id, pbx, read_at_ms, damaged, .. } = self;
        let what = match self.folder {
            Some(folder) => What::Documents(folder),
            None => What::File(ArchivedAs {
                recording_id: self.recording_id.context(NO_FILE)?,
                kind: self.kind.context(NO_FILE)?,
                path: self.path.context(NO_FILE)?,
                size_bytes: self.size_bytes.context(NO_FILE)?,
                sha256: self.sha256.context(NO_FILE)?,
                sidecar_sha256: self.sidecar_sha256.context(NO_FILE)?,
            }),
        };
        Ok(Unit { id, pbx, read_at_ms, damaged, what })
    }
}

const NO_FILE: &str = "the catalog lacks a file that is to be read";

/// The reading of every byte that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Pass {
    #[sqlx(rename = "began_at_ms", try_from = "Ms")]
    pub began_at: Timestamp,
    /// Files that were read for it so far.
    pub files: u64,
    pub bytes: u64,
}

/// Notes that a verification looked at everything (`quick`), or read every byte (`full`).
pub async fn note_whole(tx: &mut Conn, scope: &str, now: Timestamp) -> Result<()> {
    sqlx::query(
        "insert into verifications (scope, whole_at_ms) values (?, ?)
         on conflict (scope) do update set whole_at_ms = excluded.whole_at_ms",
    )
    .bind_all((scope, now))
    .run(tx, "noting a verification")
    .await
}

pub async fn pass(db: &mut Conn) -> Result<Option<Pass>> {
    sqlx::query_as("select began_at_ms, files, bytes from scrub where began_at_ms is not null")
        .maybe(db, "looking up how far the archive was read")
        .await
}

/// Begins a pass, unless one is under way.
pub async fn begin_pass(tx: &mut Conn, now: Timestamp) -> Result<()> {
    sqlx::query(
        "insert into scrub (id, first_at_ms, began_at_ms) values (1, ?1, ?1)
         on conflict (id) do update set began_at_ms = ?1, files = 0, bytes = 0 where began_at_ms is null",
    )
    .bind_all((now,))
    .run(tx, "beginning to read the archive again")
    .await
}

/// Counts what was read for the pass under way, if there is one.
pub async fn add_to_pass(tx: &mut Conn, files: u64, bytes: u64) -> Result<()> {
    sqlx::query("update scrub set files = files + ?, bytes = bytes + ? where began_at_ms is not null")
        .bind_all((files, bytes))
        .run(tx, "counting what was read")
        .await
}

/// Ends the pass under way: every byte was read since it began.
pub async fn end_pass(tx: &mut Conn) -> Result<()> {
    sqlx::query("update scrub set began_at_ms = null").run(tx, "noting that the archive was read").await
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Standing {
    /// The end of the last look at everything.
    #[sqlx(try_from = "MaybeMs")]
    pub last_quick: Option<Timestamp>,
    /// The end of the last reading of every byte.
    #[sqlx(try_from = "MaybeMs")]
    pub last_full: Option<Timestamp>,
    /// When the service first read a part of the archive again.
    #[sqlx(try_from = "MaybeMs")]
    pub first_scrub: Option<Timestamp>,
}

/// What is remembered of verifications; nothing in an outdated database.
pub async fn standing(db: &mut Conn) -> Result<Standing> {
    if !db::has_table(db, "verifications").await? {
        return Ok(Standing::default());
    }
    sqlx::query_as(
        "select (select whole_at_ms from verifications where scope = 'quick') as last_quick,
             (select whole_at_ms from verifications where scope = 'full') as last_full,
             (select first_at_ms from scrub) as first_scrub",
    )
    .one(db, "reading what verifications came to")
    .await
}

/// How many findings about files hold at present: missing, altered, unreadable.
pub async fn found_of_files(db: &mut Conn) -> Result<(u64, u64, u64)> {
    sqlx::query_as(
        "select coalesce(sum(kind = 'file_missing'), 0), coalesce(sum(kind = 'file_altered'), 0),
             coalesce(sum(kind = 'file_unreadable'), 0)
         from findings where closed_at_ms is null",
    )
    .one(db, "counting what is damaged")
    .await
}

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

/// What `folder` should hold, all of one moment.
pub async fn account(db: &mut Conn, folder: &str) -> Result<Account> {
    let mut moment = db.begin().await.context("reading the database")?;
    let files: Vec<Row> = sqlx::query_as(units!("file.folder = ?"))
        .bind(folder)
        .all(&mut moment, format!("listing what {folder} should hold"))
        .await?;
    let unit: Option<Row> = sqlx::query_as(units!("unit.folder = ?"))
        .bind(folder)
        .maybe(&mut moment, format!("looking up {folder}"))
        .await?;
    let documents = match unit {
        Some(row) => Some((row.unit()?, documents_at(&mut moment, folder).await?)),
        None => None,
    };
    let files = files.into_iter().map(Row::unit).collect::<Result<_>>()?;
    moment.rollback().await.context("reading the database")?;
    Ok(Account { files, documents })
}

/// The documents that `folder` should hold, all of one moment.
pub async fn documents(db: &mut Conn, folder: &str) -> Result<Documents> {
    let mut moment = db.begin().await.context("reading the database")?;
    let documents = documents_at(&mut moment, folder).await?;
    moment.rollback().await.context("reading the database")?;
    Ok(documents)
}

async fn documents_at(moment: &mut Conn, folder: &str) -> Result<Documents> {
    let state: Option<(i64, i64)> =
        sqlx::query_as("select changed, written from day_folders where folder = ?")
            .bind(folder)
            .maybe(&mut *moment, format!("looking up {folder}"))
            .await?;
    let (changed, written) = state.unwrap_or_default();
    Ok(Documents {
        lists: catalog::lists_of(moment, folder).await?,
        sums: catalog::sums_of(moment, folder).await?,
        changed,
        is_behind: changed > written,
    })
}

/// The day folders of `pbx`, by the database's account.
pub async fn folders(db: &mut Conn, pbx: &str) -> Result<Vec<String>> {
    // The character after `/` is `0`.
    sqlx::query_scalar("select folder from day_folders where folder > ? and folder < ? order by folder")
        .bind_all((format!("{pbx}/"), format!("{pbx}0")))
        .all(db, format!("listing the folders of pbx `{pbx}`"))
        .await
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
pub async fn unaccounted(db: &mut Conn, strays: &[Stray]) -> Result<Vec<String>> {
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
pub async fn marker(db: &mut Conn, pbx: &str) -> Result<Option<Digest>> {
    sqlx::query_scalar("select sha256 from markers where pbx = ?")
        .bind(pbx)
        .maybe(db, "looking up a marker")
        .await
}

/// Notes the hash of a marker that is right; it is written once, so the first one counts.
pub async fn note_marker(tx: &mut Conn, pbx: &str, sha256: &Digest) -> Result<()> {
    sqlx::query("insert into markers (pbx, sha256) values (?, ?) on conflict do nothing")
        .bind_all((pbx, sha256))
        .run(tx, "noting a marker")
        .await
}

/// An entry of the ledger, with the file that the catalog has for it, if any.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct EntryRow {
    pub number: i64,
    pub entry: String,
    /// The hash that is stored as its leaf.
    pub leaf_hash: Vec<u8>,
    /// What the catalog has for it.
    #[sqlx(skip)]
    pub file: Option<Named>,
}

/// A file of the catalog as an entry should tell it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Named {
    /// The entry's number, by the catalog.
    pub ledger_number: i64,
    pub pbx: String,
    pub path: String,
    /// The hash of its audio.
    pub sha256: Vec<u8>,
    pub sidecar_sha256: Vec<u8>,
    /// The size of its audio.
    pub size_bytes: i64,
    /// Whether it is the second file of its recording.
    pub conflict: bool,
}

/// The next `limit` entries from `number` on, each once for every file that the catalog has for it.
pub async fn entries(db: &mut Conn, number: i64, limit: i64) -> Result<Vec<EntryRow>> {
    let entries: Vec<EntryRow> = sqlx::query_as(
        "select number, entry, leaf_hash from ledger where number >= ? order by number limit ?",
    )
    .bind_all((number, limit))
    .all(db, "reading the ledger")
    .await?;
    let Some(last) = entries.last().map(|entry| entry.number) else { return Ok(entries) };
    let mut named = named(db, number, last).await?.into_iter().peekable();
    let mut rows = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut of_entry: Vec<Named> = Vec::new();
        while let Some(file) = named.next_if(|file| file.ledger_number <= entry.number) {
            of_entry.extend((file.ledger_number == entry.number).then_some(file));
        }
        match of_entry.is_empty() {
            true => rows.push(entry),
            false => {
                rows.extend(of_entry.into_iter().map(|file| EntryRow { file: Some(file), ..entry.clone() }))
            }
        }
    }
    Ok(rows)
}

async fn named(db: &mut Conn, from: i64, to: i64) -> Result<Vec<Named>> {
    sqlx::query_as(
        "select ledger_number, pbx, file.path, sha256, sidecar_sha256, size_bytes, conflict
         from archived_files file join recordings on recordings.id = recording_id
         where ledger_number between ? and ? order by ledger_number",
    )
    .bind_all((from, to))
    .all(db, "reading the catalog by entry")
    .await
}

/// Files of the catalog whose entry is not there, at most `limit` of them: PBX, path and number.
pub async fn rows_without_entry(db: &mut Conn, limit: i64) -> Result<Vec<(String, String, i64)>> {
    sqlx::query_as(
        "select pbx, file.path, ledger_number
         from archived_files file join recordings on recordings.id = recording_id
         where not exists (select 1 from ledger where number = ledger_number) order by ledger_number limit ?",
    )
    .bind(limit)
    .all(db, "looking for files without an entry")
    .await
}
