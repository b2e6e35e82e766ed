//! The catalog: what the archive holds. All SQL on `archived_files`, `day_files` and `day_folders`.
//!
//! Append-only: a row is a promise that the file is on disk under its final name with these bytes.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use jiff::civil::Date;

use crate::base::digest::Digest;
use crate::base::recording::RecordingKind;
use crate::store::queue::DayRange;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Run as _};
use crate::store::together::{Statement, statement};

/// Recordings that an average size is taken of.
const SIZE_SAMPLE: i64 = 500;

/// A file as the catalog takes it, durable already.
#[derive(Debug, Clone)]
pub struct CatalogEntry {
    pub recording_id: i64,
    /// Relative to the archive's root.
    pub path: String,
    pub size_bytes: u64,
    pub sha256: Digest,
    pub sidecar_sha256: Digest,
    pub format: String,
    pub duration_ms: Option<u64>,
    pub suspect: Vec<String>,
    /// Whether it is the second file of its recording.
    pub conflict: bool,
}

/// Appends files to the catalog, each with the number of its ledger entry, and marks the sums of their folders as behind.
pub async fn record(tx: &mut Conn, files: &[(CatalogEntry, i64)], now: Timestamp) -> Result<()> {
    for statement in recording(files, now)? {
        statement.run(tx, "recording files in the catalog").await?;
    }
    Ok(())
}

/// As [`record`], to be run with others.
pub fn recording(files: &[(CatalogEntry, i64)], now: Timestamp) -> Result<[Statement; 2]> {
    let hashes = |of: fn(&CatalogEntry) -> &Digest| -> Vec<u8> {
        files.iter().flat_map(|(file, _)| of(file).as_bytes()).copied().collect()
    };
    let row = |(file, ledger_number): &(CatalogEntry, i64)| {
        let (path, folder) = (file.path.clone(), folder_of(&file.path).to_owned());
        let (suspect, conflict) = (file.suspect.join(","), u8::from(file.conflict));
        let format = (file.format.clone(), file.duration_ms);
        (
            file.recording_id,
            path,
            folder,
            file.size_bytes,
            format.0,
            format.1,
            suspect,
            conflict,
            *ledger_number,
        )
    };
    let rows: Vec<_> = files.iter().map(row).collect();
    let record = statement(
        "insert into archived_files (sha256, sidecar_sha256, archived_at_ms, recording_id, path, folder, size_bytes,
             format, duration_ms, suspect, conflict, ledger_number)
         select substr(?, key * 32 + 1, 32), substr(?, key * 32 + 1, 32), ?, value ->> 0, value ->> 1, value ->> 2,
             value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8 from json_each(?)",
    );
    let record = record.bind_all((hashes(|file| &file.sha256), hashes(|file| &file.sidecar_sha256)));
    let mut folders: BTreeMap<&str, u64> = BTreeMap::new();
    for (file, _) in files {
        *folders.entry(folder_of(&file.path)).or_default() += 1;
    }
    let touch = statement(
        "insert into day_folders (folder, changed) select key, value from json_each(?) where true
         on conflict (folder) do update set changed = changed + excluded.changed",
    );
    let touch = touch.bind_all((serde_json::to_string(&folders)?,));
    Ok([record.bind_all((now, serde_json::to_string(&rows)?)), touch])
}

/// The folder part of a path relative to the archive's root.
pub fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The hashes that the catalog has of those of `paths` that it names: other files there are none of ours.
pub async fn sha256s_of(db: &mut Conn, paths: &[&str]) -> Result<BTreeMap<String, Digest>> {
    let rows: Vec<(String, Digest)> = sqlx::query_as(
        "select path, sha256 from archived_files where path in (select value from json_each(?))",
    )
    .bind(serde_json::to_string(paths)?)
    .all(db, "looking up paths in the catalog")
    .await?;
    Ok(rows.into_iter().collect())
}

/// The files of recordings: the audio of each, and what was kept beside it.
pub async fn files_of(db: &mut Conn, recording_ids: &[i64]) -> Result<Vec<(i64, Proven)>> {
    let rows: Vec<(i64, String, u64, Digest, Digest)> = sqlx::query_as(
        "select recording_id, path, size_bytes, sha256, sidecar_sha256 from archived_files
         where recording_id in (select value from json_each(?))",
    )
    .bind(serde_json::to_string(recording_ids)?)
    .all(db, "reading the files of recordings")
    .await?;
    let proven = |(id, path, size_bytes, sha256, sidecar_sha256)| {
        (id, Proven { path, size_bytes, sha256, sidecar_sha256 })
    };
    Ok(rows.into_iter().map(proven).collect())
}

/// The ledger's entries of what was archived under this path, or of all recordings with this name.
pub async fn ledger_numbers(db: &mut Conn, path: &str, name: &[u8]) -> Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "select archived_files.path, ledger_number from archived_files
         where archived_files.path = ?1 or recording_id in (select id from recordings where name = ?2)
         order by ledger_number",
    )
    .bind_all((path, name))
    .all(db, "looking up entries of the ledger")
    .await
}

/// An archived file, for which an entry of the ledger vouches.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Proven {
    /// Relative to the archive's root.
    pub path: String,
    pub size_bytes: u64,
    pub sha256: Digest,
    pub sidecar_sha256: Digest,
}

/// The file that entry `number` of the ledger is about; `None` if it is about something else.
pub async fn proven_by(db: &mut Conn, number: i64) -> Result<Option<Proven>> {
    sqlx::query_as(
        "select path, size_bytes, sha256, sidecar_sha256 from archived_files where ledger_number = ?",
    )
    .bind(number)
    .maybe(db, "looking up an entry in the catalog")
    .await
}

/// Marks a day folder's sums as behind: they are written anew.
pub async fn touch_folder(tx: &mut Conn, folder: &str) -> Result<()> {
    sqlx::query(
        "insert into day_folders (folder, changed) values (?, 1)
         on conflict (folder) do update set changed = changed + 1",
    )
    .bind(folder)
    .run(tx, "marking a day folder")
    .await
}

/// A folder whose `SHA256SUMS` lags behind, and the count of changes to confirm once it is written.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct FolderBehind {
    /// Relative to the archive's root.
    pub folder: String,
    /// The count that [`sums_written`] confirms.
    pub changed: i64,
}

pub async fn folders_behind(db: &mut Conn) -> Result<Vec<FolderBehind>> {
    sqlx::query_as("select folder, changed from day_folders where changed > written order by folder")
        .all(db, "listing day folders whose sums are behind")
        .await
}

/// Everything that the sums of `folder` list: file name and hash, in no order.
pub async fn sums_of(db: &mut Conn, folder: &str) -> Result<Vec<(String, Digest)>> {
    let rows: Vec<(String, Digest)> = sqlx::query_as(
        "select path, sha256 from archived_files where folder = ?1
         union all select path || '.json', sidecar_sha256 from archived_files where folder = ?1
         union all select path, sha256 from day_files where folder = ?1",
    )
    .bind(folder)
    .all(db, format!("listing the files of {folder}"))
    .await?;
    Ok(rows.into_iter().map(named).collect())
}

/// Everything that a certificate of `day` counts, file name and hash, in no order: the audio of its calls with sidecars, and
/// the lists of its calls in `folder`.
pub async fn files_of_day(
    db: &mut Conn,
    pbx: &str,
    day: Date,
    folder: &str,
) -> Result<Vec<(String, Digest)>> {
    let rows: Vec<(String, Digest)> = sqlx::query_as(
        "with files (path, sha256, sidecar_sha256) as
             (select file.path, sha256, sidecar_sha256 from archived_files file
              join recordings on recordings.id = recording_id where pbx = ?1 and day = ?2 and kind = 'call')
         select path, sha256 from files union all select path || '.json', sidecar_sha256 from files
         union all select path, sha256 from day_files where folder = ?3 and path glob ?3 || '/calls-*.jsonl'",
    )
    .bind_all((pbx, day, folder))
    .all(db, format!("listing the files of {folder}"))
    .await?;
    Ok(rows.into_iter().map(named).collect())
}

/// The call lists of `folder`: file name and hash.
pub async fn lists_of(db: &mut Conn, folder: &str) -> Result<Vec<(String, Digest)>> {
    let rows: Vec<(String, Digest)> =
        sqlx::query_as("select path, sha256 from day_files where folder = ? order by path")
            .bind(folder)
            .all(db, format!("listing the call lists of {folder}"))
            .await?;
    Ok(rows.into_iter().map(named).collect())
}

/// A file by its name in its folder.
fn named((path, sha256): (String, Digest)) -> (String, Digest) {
    let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name).to_owned();
    (name, sha256)
}

/// Notes that the sums of a folder hold all the changes that it counted when they were read.
pub async fn sums_written(tx: &mut Conn, behind: &FolderBehind) -> Result<()> {
    sqlx::query("update day_folders set written = max(written, ?) where folder = ?")
        .bind_all((behind.changed, &behind.folder))
        .run(tx, "noting that sums were written")
        .await
}

/// The number of the latest file: what comes later was archived after this.
pub async fn last_file(db: &mut Conn) -> Result<i64> {
    sqlx::query_scalar("select coalesce(max(id), 0) from archived_files")
        .one(db, "looking up the latest file")
        .await
}

/// The bytes of `pbx` within `days` that were archived after the file `last_file`.
pub async fn bytes_since(db: &mut Conn, pbx: &str, days: DayRange, last_file: i64) -> Result<u64> {
    let (from, to) = days.bounds();
    sqlx::query_scalar(
        "select coalesce(sum(size_bytes), 0)
         from archived_files join recordings on recordings.id = recording_id
         where archived_files.id > ? and pbx = ? and day between ? and ?",
    )
    .bind_all((last_file, pbx, from, to))
    .one(db, "summing up what was archived")
    .await
}

/// What the archive holds of one PBX and kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    pub recordings: i64,
    pub bytes: i64,
    pub suspects: BTreeMap<String, i64>,
}

/// What the archive holds of every PBX, summed up as far as it was read.
///
/// The catalog is append-only: who keeps this reads only what came since, however many files there are.
#[derive(Debug, Clone, Default)]
pub struct Summed {
    read_to_id: i64,
    holdings: BTreeMap<(String, String), Holdings>,
}

#[derive(sqlx::FromRow)]
struct Added {
    pbx: String,
    kind: String,
    suspect: String,
    recordings: i64,
    bytes: i64,
    files: i64,
    last_id: i64,
}

impl Summed {
    pub async fn catch_up(&mut self, db: &mut Conn) -> Result<()> {
        // A second file of one recording is no second recording.
        let added: Vec<Added> = sqlx::query_as(
            "select pbx, kind, suspect, count(*) as files, sum(size_bytes) as bytes, max(file.id) as last_id,
                 sum(not exists (select 1 from archived_files earlier
                     where earlier.recording_id = file.recording_id and earlier.id < file.id)) as recordings
             from archived_files file join recordings on recordings.id = recording_id
             where file.id > ? group by pbx, kind, suspect",
        )
        .bind(self.read_to_id)
        .all(db, "summing up the catalog")
        .await?;
        for added in added {
            let holdings = self.holdings.entry((added.pbx, added.kind)).or_default();
            holdings.recordings += added.recordings;
            holdings.bytes += added.bytes;
            if !added.suspect.is_empty() {
                *holdings.suspects.entry(added.suspect).or_default() += added.files;
            }
            self.read_to_id = self.read_to_id.max(added.last_id);
        }
        Ok(())
    }

    pub fn of(&self, pbx: &str, kind: RecordingKind) -> Holdings {
        self.holdings.get(&(pbx.to_owned(), kind.as_str().to_owned())).cloned().unwrap_or_default()
    }
}

/// The mean size of the latest archived recordings within `days`, in bytes; of a sample, so that a million cost no more.
pub async fn mean_size_bytes(db: &mut Conn, pbx: &str, days: DayRange) -> Result<Option<f64>> {
    let (from, to) = days.bounds();
    sqlx::query_scalar(
        "select avg(size_bytes) from archived_files where recording_id in
             (select id from recordings where pbx = ? and day between ? and ? and state = 'archived' and kind = 'call'
              order by day desc limit ?)",
    )
    .bind_all((pbx, from, to, SIZE_SAMPLE))
    .one(db, "averaging sizes")
    .await
}

/// Records a call list or a certificate that is durable on disk, and marks the folder's sums as behind.
pub async fn record_day_file(tx: &mut Conn, path: &str, sha256: &Digest) -> Result<()> {
    let folder = folder_of(path);
    sqlx::query("insert into day_files (path, folder, sha256) values (?, ?, ?) on conflict do nothing")
        .bind_all((path, folder, sha256))
        .run(tx, format!("recording {path} in the catalog"))
        .await?;
    touch_folder(tx, folder).await
}

/// Records what a document of a day is by the ledger, whatever was found in its place. `false` if it was that.
pub async fn correct_day_file(tx: &mut Conn, path: &str, sha256: &Digest) -> Result<bool> {
    let folder = folder_of(path);
    let corrected = sqlx::query(
        "insert into day_files (path, folder, sha256) values (?, ?, ?)
         on conflict do update set sha256 = excluded.sha256 where sha256 <> excluded.sha256",
    )
    .bind_all((path, folder, sha256))
    .count(tx, format!("recording {path} in the catalog"))
    .await?;
    if corrected > 0 {
        touch_folder(tx, folder).await?;
    }
    Ok(corrected > 0)
}

/// The hashes of those of `paths` that are call lists or files of certificates.
pub async fn day_files(db: &mut Conn, paths: &[&str]) -> Result<BTreeMap<String, Digest>> {
    let rows: Vec<(String, Digest)> =
        sqlx::query_as("select path, sha256 from day_files where path in (select value from json_each(?))")
            .bind(serde_json::to_string(paths)?)
            .all(db, "looking up the documents of days")
            .await?;
    Ok(rows.into_iter().collect())
}

/// Pairs that are told at one time.
const PAIRS_MAX: i64 = 1000;
/// Audio shorter than this, in milliseconds, may well be alike.
const DURATION_MS_MIN: i64 = 1000;

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SameAudio {
    pub pbx: String,
    pub path: String,
    /// The path of the first one that had these bytes.
    pub first_path: String,
}

/// Recordings of calls of `pbx` whose audio is that of another call, at another time.
///
/// Silence and mere headers are alike for a reason, and legs of one call may well share their audio.
/// Reads the whole catalog, without an index: at a million files that takes seconds, and is for a full verification.
pub async fn same_audio(db: &mut Conn, pbx: &str) -> Result<Vec<SameAudio>> {
    sqlx::query_as(
        "with timed as (
             select file.id as id, first_value(file.id) over
                 (partition by file.sha256 order by recordings.started_at_ms, file.path) as first_id
             from archived_files file join recordings on recordings.id = file.recording_id where file.conflict = 0)
         select heard.pbx as pbx, file.path as path, first.path as first_path
         from timed join archived_files file on file.id = timed.id and timed.first_id <> timed.id
             join archived_files first on first.id = timed.first_id
             join recordings heard on heard.id = file.recording_id
             join recordings first_heard on first_heard.id = first.recording_id
         where heard.pbx = ?1 and heard.kind = 'call' and first_heard.kind = 'call' and heard.id <> first_heard.id
             and file.duration_ms >= ?2
             and file.suspect not like '%silent%' and file.suspect not like '%empty%'
             and abs(heard.started_at_ms - first_heard.started_at_ms) > file.duration_ms
         order by file.path limit ?3",
    )
    .bind_all((pbx, DURATION_MS_MIN, PAIRS_MAX))
    .all(db, "looking for audio that two calls have")
    .await
}
