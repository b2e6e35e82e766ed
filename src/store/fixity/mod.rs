//! Fixity: when bytes were last read and found right. All SQL on `file_checks`, `verifications`, `scrub` and `markers`.
//!
//! What is read as one is a *unit*: an archived file with its sidecar, or what a day folder holds besides. Triggers make
//! a unit's row together with the thing, so that nothing can be archived and never be read again.

mod account;
mod entries;
mod passes;

use anyhow::Context as _;
use jiff::Timestamp;
use sqlx::SqliteConnection;

pub use account::{Account, Documents, Stray, account, documents, folders, marker, note_marker, unaccounted};
pub use entries::{EntryRow, Named, entries, rows_without_entry};
pub use passes::{
    Pass, Standing, add_to_pass, begin_pass, end_pass, found_of_files, note_whole, pass, standing,
};

use crate::base::digest::Digest;
use crate::base::recording::RecordingKind;
use crate::store::sql::{BindAll as _, Fetch as _, Ms, Run as _};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    pub id: i64,
    pub pbx: String,
    /// When it was last read and found right; see `file_checks` for what is so at first.
    pub read_at_ms: i64,
    /// Whether it was found damaged since.
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
    /// The size of the audio.
    pub size_bytes: u64,
    /// The hash of the audio.
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
    /// Before all.
    pub const START: Self = Self { read_at_ms: i64::MIN, id: 0 };

    /// After this unit.
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
pub async fn oldest(
    db: &mut SqliteConnection,
    what: &ToRead,
    cursor: Cursor,
    limit: i64,
) -> anyhow::Result<Vec<Unit>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select unit.id, unit.pbx, read_at_ms, damaged, unit.folder, recording_id, kind, file.path, size_bytes, sha256,
             sidecar_sha256
         from file_checks unit left join archived_files file on file.id = file_id
             left join recordings on recordings.id = recording_id
         where (read_at_ms, unit.id) > (?1, ?2) and read_at_ms < ?3
             and unit.pbx in (select value from json_each(?4)) and (damaged = 0 or ?5)
         order by read_at_ms, unit.id limit ?6",
    )
    .bind_all((cursor.read_at_ms, cursor.id, what.before))
    .bind_all((serde_json::to_string(&what.pbxs)?, what.also_damaged, limit))
    .all(db, "listing what is to be read")
    .await?;
    rows.into_iter().map(Row::unit).collect()
}

/// Notes that units were read and are right.
pub async fn note_right(tx: &mut SqliteConnection, ids: &[i64], now: Timestamp) -> anyhow::Result<()> {
    sqlx::query(
        "update file_checks set read_at_ms = ?, damaged = 0 where id in (select value from json_each(?))",
    )
    .bind_all((now, serde_json::to_string(ids)?))
    .run(tx, "noting what was read")
    .await
}

/// Notes that units were found damaged: every look reads them again until they are right.
pub async fn note_damaged(tx: &mut SqliteConnection, ids: &[i64]) -> anyhow::Result<()> {
    sqlx::query("update file_checks set damaged = 1 where id in (select value from json_each(?))")
        .bind(serde_json::to_string(ids)?)
        .run(tx, "noting what is damaged")
        .await
}

/// How much there is to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Extent {
    pub units: i64,
    /// Bytes of audio.
    pub bytes: i64,
}

/// How much there is to read of `pbxs`.
pub async fn extent(db: &mut SqliteConnection, pbxs: &[String]) -> anyhow::Result<Extent> {
    sqlx::query_as(
        "select count(*) as units, coalesce(sum(size_bytes), 0) as bytes
         from file_checks left join archived_files file on file.id = file_id
         where pbx in (select value from json_each(?))",
    )
    .bind(serde_json::to_string(pbxs)?)
    .one(db, "summing up what there is to read")
    .await
}

/// When the longest unread file of `pbx` was last read and found right, or archived. Damaged ones do not count.
pub async fn oldest_read(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<Option<Timestamp>> {
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
    size_bytes: Option<i64>,
    sha256: Option<Digest>,
    sidecar_sha256: Option<Digest>,
}

impl Row {
    fn unit(self) -> anyhow::Result<Unit> {
        let Self { id, pbx, read_at_ms, damaged, .. } = self;
        let what = match self.folder {
            Some(folder) => What::Documents(folder),
            None => What::File(ArchivedAs {
                recording_id: self.recording_id.context(NO_FILE)?,
                kind: self.kind.context(NO_FILE)?,
                path: self.path.context(NO_FILE)?,
                size_bytes: u64::try_from(self.size_bytes.context(NO_FILE)?)?,
                sha256: self.sha256.context(NO_FILE)?,
                sidecar_sha256: self.sidecar_sha256.context(NO_FILE)?,
            }),
        };
        Ok(Unit { id, pbx, read_at_ms, damaged, what })
    }
}

const NO_FILE: &str = "the catalog lacks a file that is to be read";
