//! A page of rows at once: a few statements for all of them. Rows travel as JSON, hashes as blobs beside it.

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use super::NewCall;
use crate::base::digest::Digest;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Run as _};

/// How a row stands that is not known just as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    New,
    /// Another version of the call with this id is current.
    Other(i64),
    /// It names a recording, and nobody has noted which one that is.
    Untied,
}

/// Marks those calls as seen that are known, and returns the others by their place in `calls`, each of which stands with
/// whether it names a recording. No two may have one identity.
pub async fn news(
    tx: &mut Conn,
    pbx: &str,
    reading: i64,
    calls: &[(&NewCall, bool)],
) -> Result<Vec<(usize, Standing)>> {
    let names_recording: Vec<u8> = calls.iter().map(|(_, names)| u8::from(*names)).collect();
    // Without the cross join SQLite would look through all calls for each element.
    let rows: Vec<(u32, Option<i64>, bool)> = sqlx::query_as(
        "update calls set reading = $1 where id in
             (select calls.id from json_each($2) element cross join calls
              on pbx = $3 and identity = substr($4, element.key * 32 + 1, 32));
         select element.key, calls.id, coalesce(version = substr($5, element.key * 32 + 1, 32), false)
         from json_each($2) element left join calls
             on pbx = $3 and identity = substr($4, element.key * 32 + 1, 32)
         where version is not substr($5, element.key * 32 + 1, 32) or recording_id is null and element.value",
    )
    .bind_all((reading, serde_json::to_string(&names_recording)?, pbx))
    .bind_all((hashes(calls, |call| &call.identity), hashes(calls, |call| &call.version)))
    .all(tx, "looking up a page of calls")
    .await?;
    let standing = |(at, id, is_current): (u32, Option<i64>, bool)| {
        let standing = match id {
            None => Standing::New,
            Some(_) if is_current => Standing::Untied,
            Some(id) => Standing::Other(id),
        };
        (at as usize, standing)
    };
    Ok(rows.into_iter().map(standing).collect())
}

/// Inserts calls that are not known, each with its recording.
pub async fn insert_all(
    tx: &mut Conn,
    pbx: &str,
    reading: i64,
    calls: &[(&NewCall, Option<i64>)],
    first_seen_at: Timestamp,
) -> Result<()> {
    if calls.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = calls.iter().map(|(call, recording_id)| row(call, *recording_id)).collect();
    sqlx::query(
        "insert into calls (pbx, identity, version, first_seen_at_ms, reading, day, started_at_ms, utc_offset_s,
             offset_source, zone_offset_s, talk_s, answered, row, recording_id)
         select $1, substr($2, key * 32 + 1, 32), substr($3, key * 32 + 1, 32), $4, $5, value ->> 0, value ->> 1,
             value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8
         from json_each($6)",
    )
    .bind_all((pbx, hashes(calls, |call| &call.identity), hashes(calls, |call| &call.version)))
    .bind_all((first_seen_at, reading, serde_json::to_string(&rows).context("listing calls")?))
    .run(tx, "storing a page of calls")
    .await
}

/// A call's columns as an array of JSON.
fn row(call: &NewCall, recording_id: Option<i64>) -> impl serde::Serialize + '_ {
    (
        call.day,
        call.started_at.map(Timestamp::as_millisecond),
        call.utc_offset_s,
        &call.offset_source,
        call.zone_offset_s,
        call.talk_s,
        u8::from(call.answered),
        &call.row,
        recording_id,
    )
}

fn hashes<T>(calls: &[(&NewCall, T)], of: fn(&NewCall) -> &Digest) -> Vec<u8> {
    calls.iter().flat_map(|(call, _)| of(call).as_bytes()).copied().collect()
}
