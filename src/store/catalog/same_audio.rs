//! Calls whose recordings are the same audio, though they are not the same call.

use sqlx::SqliteConnection;

use crate::store::sql::{BindAll as _, Fetch as _};

/// Pairs that are told at one time.
const PAIRS_MAX: i64 = 1000;
/// Audio shorter than this, in milliseconds, may well be alike.
const DURATION_MS_MIN: i64 = 1000;

/// Two archived recordings with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SameAudio {
    /// The PBX of the later one.
    pub pbx: String,
    /// The path of the later one.
    pub path: String,
    /// The path of the first one that had these bytes.
    pub first_path: String,
}

/// Recordings of calls of `pbx` whose audio is that of another call, at another time.
///
/// Silence and mere headers are alike for a reason, and legs of one call may well share their audio.
/// Reads the whole catalog, without an index: at a million files that takes seconds, and is for a full verification.
pub async fn same_audio(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<Vec<SameAudio>> {
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
