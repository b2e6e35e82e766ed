//! Calls as the archive tells of them, put back into tables that are made anew.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::NewCall;
use crate::store::sql::{BindAll as _, Fetch as _, Run as _};

/// The reading of calls that were put back: none that is remembered.
const NO_READING: i64 = 0;

/// Puts a call back that a `calls-<n>.jsonl` tells, and returns its row. Of several lines the last one told counts; what
/// was current before is kept as an earlier version, replaced `now` at the latest.
pub async fn restore_told(
    tx: &mut SqliteConnection,
    pbx: &str,
    call: &NewCall,
    first_seen_at: Timestamp,
    now: Timestamp,
) -> anyhow::Result<i64> {
    if let Some(id) = insert(tx, pbx, call, first_seen_at, true).await? {
        return Ok(id);
    }
    keep_current_version(tx, pbx, call, now).await?;
    sqlx::query_scalar(
        "update calls set version = ?1, told_version = ?1, day = ?2, started_at_ms = ?3, utc_offset_s = ?4,
             offset_source = ?5, zone_offset_s = ?6, talk_s = ?7, answered = ?8, row = ?9,
             recording_id = coalesce(?10, recording_id), first_seen_at_ms = min(first_seen_at_ms, ?11)
         where pbx = ?12 and identity = ?13 returning id",
    )
    .bind_all((&call.version, call.day, call.started_at, call.utc_offset_s))
    .bind_all((&*call.offset_source, call.zone_offset_s, call.talk_s, call.answered))
    .bind_all((&call.row, call.recording_id, first_seen_at, pbx, &call.identity))
    .one(tx, "putting a later version of a call back")
    .await
}

/// Puts a call back of which only a sidecar tells: no list of its day does yet. Of one that is known it is an earlier
/// version: the lists of a day are written after its recordings.
pub async fn restore_untold(
    tx: &mut SqliteConnection,
    pbx: &str,
    call: &NewCall,
    seen_at: Timestamp,
) -> anyhow::Result<()> {
    if insert(tx, pbx, call, seen_at, false).await?.is_some() {
        return Ok(());
    }
    sqlx::query(
        "insert into call_versions (call_id, version, row, replaced_at_ms)
         select id, ?1, ?2, ?3 from calls where pbx = ?4 and identity = ?5 and version <> ?1 on conflict do nothing",
    )
    .bind_all((&call.version, &call.row, seen_at, pbx, &call.identity))
    .run(tx, "keeping the earlier version of a call")
    .await
}

/// Notes which recording a call names.
pub async fn restore_link(tx: &mut SqliteConnection, id: i64, recording_id: i64) -> anyhow::Result<()> {
    sqlx::query("update calls set recording_id = ? where id = ?")
        .bind_all((recording_id, id))
        .run(tx, "tying a call to its recording")
        .await
}

/// Inserts a call that is not known; `None` if it is.
async fn insert(
    tx: &mut SqliteConnection,
    pbx: &str,
    call: &NewCall,
    first_seen_at: Timestamp,
    is_told: bool,
) -> anyhow::Result<Option<i64>> {
    let version = &call.version.as_bytes()[..];
    sqlx::query_scalar(
        "insert into calls (pbx, identity, version, day, started_at_ms, utc_offset_s, offset_source, zone_offset_s,
             talk_s, answered, row, recording_id, first_seen_at_ms, reading, told_version)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (pbx, identity) do nothing returning id",
    )
    .bind_all((pbx, &call.identity, version, call.day, call.started_at, call.utc_offset_s)).bind_all((&*call.offset_source, call.zone_offset_s, call.talk_s, call.answered)).bind_all((&call.row, call.recording_id, first_seen_at, NO_READING))
    .bind_all((is_told.then_some(version),))
    .maybe(tx, "putting a call back")
    .await
}

async fn keep_current_version(
    tx: &mut SqliteConnection,
    pbx: &str,
    call: &NewCall,
    now: Timestamp,
) -> anyhow::Result<()> {
    sqlx::query(
        "insert into call_versions (call_id, version, row, replaced_at_ms)
         select id, version, row, ?1 from calls where pbx = ?2 and identity = ?3 and version <> ?4
         on conflict do nothing",
    )
    .bind_all((now, pbx, &call.identity, &call.version))
    .run(tx, "keeping the earlier version of a call")
    .await
}
