//! A page of rows at once: a few statements for all of them. Rows travel as JSON, hashes as blobs beside it.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::Date;

use super::NewCall;
use crate::base::digest::Digest;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Run as _};

/// A row of a list as it is looked up.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    pub call: &'a NewCall,
    pub names_recording: bool,
    /// Whether this reading of the list has held it before.
    pub is_repeated: bool,
}

/// How a row stands that is not known just as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    New,
    /// Another version of the call with this id is current.
    Other(i64),
    /// It names a recording, and nobody has noted which one that is.
    Untied,
}

/// What a page of a list shows.
#[derive(Debug, Default)]
pub struct News {
    /// The rows that are not known just as they are, by their place in the page.
    pub rows: Vec<(usize, Standing)>,
    /// How many known calls of the day that was asked about the page holds, those not counted that are repeated.
    pub known_of_day: i64,
}

/// Looks up a page of rows, of which no two may be of one call. Calls that are known and were absent from the PBX's last answer
/// are absent no more.
pub async fn news(tx: &mut Conn, pbx: &str, day: Date, rows: &[Listed<'_>]) -> Result<News> {
    let mark = |row: &Listed| {
        row.call.identity_day * 4 + i64::from(row.is_repeated) * 2 + i64::from(row.names_recording)
    };
    let marks: Vec<i64> = rows.iter().map(mark).collect();
    let calls = || rows.iter().map(|row| row.call);
    // One row that tells all, for each row costs a way through a channel; and known calls of a page are mostly known as they are.
    // What was stored by an earlier version has the day -1.
    let (known_of_day, news): (i64, String) = sqlx::query_as(
        "select coalesce(sum(day = $5 and element.value % 4 < 2), 0),
             json_group_array(json_array(element.key, calls.id, version is substr($4, element.key * 32 + 1, 32),
                     recording_id is null and element.value % 2 = 1, absent = 1))
                 filter (where version is not substr($4, element.key * 32 + 1, 32)
                     or recording_id is null and element.value % 2 = 1 or absent = 1)
         from json_each($1) element left join calls
             on pbx = $2 and identity_day in (element.value / 4, -1)
                 and identity = substr($3, element.key * 32 + 1, 32)",
    )
    .bind_all((serde_json::to_string(&marks)?, pbx, hashes(calls(), |call| &call.identity)))
    .bind_all((hashes(calls(), |call| &call.version), day))
    .one(tx, "looking up a page of calls")
    .await?;
    let news: Vec<Looked> = serde_json::from_str(&news)?;
    let back: Vec<i64> = news.iter().filter(|row| row.4 == Some(1)).filter_map(|row| row.1).collect();
    mark_present(tx, &back).await?;
    let standing = |Looked(at, id, is_current, is_untied, _)| {
        let standing = match id {
            None => Standing::New,
            Some(id) if is_current == 0 => Standing::Other(id),
            Some(_) if is_untied == 1 => Standing::Untied,
            Some(_) => return None,
        };
        Some((at, standing))
    };
    Ok(News { rows: news.into_iter().filter_map(standing).collect(), known_of_day })
}

/// A row by its place in the page: the id of its call; whether it tells the current version, is not tied, and was absent.
#[derive(serde::Deserialize)]
struct Looked(usize, Option<i64>, u8, u8, Option<u8>);

async fn mark_present(tx: &mut Conn, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query("update calls set absent = 0 where id in (select value from json_each(?))")
        .bind_all((serde_json::to_string(ids)?,))
        .run(tx, "noting that calls are listed again")
        .await
}

/// Inserts calls that are not known, each with its recording.
pub async fn insert_all(
    tx: &mut Conn,
    pbx: &str,
    calls: &[(&NewCall, Option<i64>)],
    first_seen_at: Timestamp,
) -> Result<()> {
    if calls.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = calls.iter().map(|(call, recording_id)| row(call, *recording_id)).collect();
    let of = |of| hashes(calls.iter().map(|(call, _)| *call), of);
    sqlx::query(
        "insert into calls (pbx, identity, version, first_seen_at_ms, day, started_at_ms, utc_offset_s,
             offset_source, zone_offset_s, talk_s, answered, row, recording_id, identity_day)
         select $1, substr($2, key * 32 + 1, 32), substr($3, key * 32 + 1, 32), $4, value ->> 0, value ->> 1,
             value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9
         from json_each($5)",
    )
    .bind_all((pbx, of(|call| &call.identity), of(|call| &call.version)))
    .bind_all((first_seen_at, serde_json::to_string(&rows).context("listing calls")?))
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
        call.identity_day,
    )
}

fn hashes<'a>(calls: impl Iterator<Item = &'a NewCall>, of: fn(&NewCall) -> &Digest) -> Vec<u8> {
    calls.flat_map(|call| of(call).as_bytes()).copied().collect()
}
