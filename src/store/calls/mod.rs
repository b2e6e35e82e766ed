//! Calls: what the PBX said of them, every row of it. All SQL on `calls`; days and readings are in `days`.

mod days;
mod page;

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use jiff::civil::Date;

use crate::base::digest::Digest;
use crate::formats::cdr::CdrRow;
use crate::formats::raw_row::RawRow;
use crate::store::queue::DayRange;
use crate::store::sql::{BindAll as _, Conn, Day, Fetch as _, Ms, Run as _, dates};

pub use days::*;
pub use page::*;

/// A CDR row, placed in time.
#[derive(Debug, Clone)]
pub struct NewCall {
    /// Hash of the columns that do not change.
    pub identity: Digest,
    /// The day that they tell, in days since 1970; 0 if they tell none.
    pub identity_day: i64,
    pub version: Digest,
    pub day: Date,
    pub started_at: Option<Timestamp>,
    pub utc_offset_s: i32,
    pub offset_source: Cow<'static, str>,
    /// The offset that the configured zone has at that time.
    pub zone_offset_s: Option<i32>,
    pub talk_s: Option<i64>,
    pub answered: bool,
    pub row: String,
    pub recording_id: Option<i64>,
}

/// Puts back a call that is not known; `None` if it is. A call list of the archive has its version already if it
/// `is_listed`.
async fn restore(
    tx: &mut Conn,
    pbx: &str,
    call: &NewCall,
    first_seen_at: Timestamp,
    is_listed: bool,
) -> Result<Option<i64>> {
    sqlx::query_scalar(
        "insert into calls (pbx, identity_day, identity, version, day, started_at_ms, utc_offset_s, offset_source,
             zone_offset_s, talk_s, answered, row, recording_id, first_seen_at_ms, told_version)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         on conflict (pbx, identity_day, identity) do nothing returning id",
    )
    .bind_all((pbx, call.identity_day, &call.identity, &call.version, call.day, call.started_at, call.utc_offset_s))
    .bind_all((&*call.offset_source, call.zone_offset_s, call.talk_s, call.answered, &call.row))
    .bind_all((call.recording_id, first_seen_at, is_listed.then_some(&call.version)))
    .maybe(tx, "putting a call back")
    .await
}

/// Makes a version of the call `id` current, and tells whether that is news. One that was current before and comes back is
/// none: two exports may differ for ever.
pub async fn replace_version(tx: &mut Conn, id: i64, call: &NewCall, now: Timestamp) -> Result<bool> {
    let seen_before: bool =
        sqlx::query_scalar("select exists (select 1 from call_versions where call_id = ? and version = ?)")
            .bind_all((id, &call.version))
            .one(tx, "looking for an earlier version of a call")
            .await?;
    sqlx::query(
        "insert into call_versions (call_id, version, row, replaced_at_ms)
         select id, version, row, ? from calls where id = ? on conflict do nothing",
    )
    .bind_all((now, id))
    .run(tx, "keeping the earlier version of a call")
    .await?;
    sqlx::query("update calls set version = ?, talk_s = ?, answered = ?, row = ? where id = ?")
        .bind_all((&call.version, call.talk_s, call.answered, &call.row, id))
        .run(tx, "storing the new version of a call")
        .await?;
    Ok(!seen_before)
}

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct CallOfRecording {
    /// Hash of the columns that do not change.
    pub identity: Digest,
    pub row: RawRow,
    /// The length of its JSON.
    pub row_bytes: u64,
    pub talk_s: Option<i64>,
    pub started_at_ms: Option<Ms>,
    pub utc_offset_s: i32,
    pub offset_source: String,
    pub zone_offset_s: Option<i32>,
}

/// Reads the rows that name a recording, the first `most` of them. The others are given to `beyond` one by one: a PBX that
/// lies may name one recording in any number of rows.
pub async fn of_recording(
    db: &mut Conn,
    id: i64,
    most: usize,
    mut beyond: impl FnMut(CallOfRecording) + Send,
) -> Result<Vec<CallOfRecording>> {
    let mut of = of_recordings(db, &[id], most, |_, call| beyond(call)).await?;
    Ok(of.remove(&id).unwrap_or_default())
}

/// As [`of_recording`], for several recordings at once.
pub async fn of_recordings(
    db: &mut Conn,
    ids: &[i64],
    most: usize,
    mut beyond: impl FnMut(i64, CallOfRecording) + Send,
) -> Result<BTreeMap<i64, Vec<CallOfRecording>>> {
    let mut rows = sqlx::query_as(
        "select recording_id, identity, row, octet_length(row) as row_bytes, talk_s, started_at_ms, utc_offset_s,
             offset_source, zone_offset_s
         from calls where recording_id in (select value from json_each(?)) order by recording_id, id",
    )
    .bind(serde_json::to_string(ids).context("listing recordings")?)
    .fetch(db);
    let mut first: BTreeMap<i64, Vec<CallOfRecording>> = BTreeMap::new();
    while let Some(OfRecording { recording_id, call }) =
        rows.try_next().await.context("reading the calls of recordings")?
    {
        let of = first.entry(recording_id).or_default();
        if of.len() < most {
            of.push(call);
        } else {
            beyond(recording_id, call);
        }
    }
    Ok(first)
}

#[derive(sqlx::FromRow)]
struct OfRecording {
    recording_id: i64,
    #[sqlx(flatten)]
    call: CallOfRecording,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallCounts {
    pub calls: i64,
    /// Those that were answered and name no recording.
    pub answered_without_recording: i64,
}

/// Whom callers left a message, as the PBX wrote it.
pub async fn left_messages(db: &mut Conn, pbx: &str) -> Result<Vec<String>> {
    let callees: Vec<Option<String>> = sqlx::query_scalar(
        "select distinct json_extract(row, '$.callto') from calls
         where pbx = ? and lower(json_extract(row, '$.status')) = 'voicemail'",
    )
    .bind(pbx)
    .all(db, "listing who was left a message")
    .await?;
    Ok(callees.into_iter().flatten().collect())
}

pub async fn counts(db: &mut Conn) -> Result<BTreeMap<String, CallCounts>> {
    let counts: Vec<(String, i64, i64)> =
        sqlx::query_as("select pbx, sum(calls), sum(unrecorded) from call_counts group by pbx")
            .all(db, "counting calls")
            .await?;
    let of_pbx =
        |(pbx, calls, answered_without_recording)| (pbx, CallCounts { calls, answered_without_recording });
    Ok(counts.into_iter().map(of_pbx).collect())
}

pub async fn count(db: &mut Conn, pbx: &str, days: DayRange) -> Result<i64> {
    let (from, to) = days.bounds();
    sqlx::query_scalar(
        "select coalesce(sum(calls), 0) from call_counts where pbx = ? and day between ? and ?",
    )
    .bind_all((pbx, from, to))
    .one(db, "counting calls")
    .await
}

pub async fn first_day(db: &mut Conn, pbx: &str) -> Result<Option<Date>> {
    let day: Option<Day> = sqlx::query_scalar("select min(day) from calls where pbx = ?")
        .bind(pbx)
        .one(db, "looking for the first call")
        .await?;
    Ok(day.map(Date::from))
}

/// A row of an answered call, or one that names a recording.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Leg {
    pub started_at_ms: Option<i64>,
    pub talk_s: Option<i64>,
    pub answered: bool,
    pub names_recording: bool,
    pub row: CdrRow,
}

/// The days from `from` on that have answered calls which name no recording. Costs no more than there are such calls.
pub async fn days_with_unrecorded(db: &mut Conn, pbx: &str, from: Date) -> Result<Vec<Date>> {
    let days = sqlx::query_scalar(
        "select distinct day from calls
         where pbx = ? and answered = 1 and recording_id is null and day >= ? order by day",
    )
    .bind_all((pbx, from))
    .all(db, "listing days with answered calls without a recording")
    .await?;
    Ok(dates(days))
}

pub async fn unrecorded_of_day(db: &mut Conn, pbx: &str, day: Date) -> Result<Vec<Leg>> {
    sqlx::query_as(
        "select started_at_ms, talk_s, answered, false as names_recording, row from calls
         where pbx = ? and answered = 1 and recording_id is null and day = ?
             and coalesce(json_extract(row, '$.recording'), '') = '' order by started_at_ms, id",
    )
    .bind_all((pbx, day))
    .all(db, "reading answered calls without a recording")
    .await
}

pub async fn legs_of_day(db: &mut Conn, pbx: &str, day: Date) -> Result<Vec<Leg>> {
    sqlx::query_as(
        "select started_at_ms, talk_s, answered, row,
             recording_id is not null or coalesce(json_extract(row, '$.recording'), '') <> '' as names_recording
         from calls where pbx = ? and day = ? and (answered = 1 or recording_id is not null)
         order by started_at_ms, id",
    )
    .bind_all((pbx, day))
    .all(db, "reading the answered calls of a day")
    .await
}

/// How many rows each day from `from` on has; days without any are left out.
pub async fn rows_by_day(db: &mut Conn, pbx: &str, from: Date) -> Result<Vec<(Date, i64)>> {
    let days: Vec<(Day, i64)> =
        sqlx::query_as("select day, calls from call_counts where pbx = ? and day >= ?")
            .bind_all((pbx, from))
            .all(db, "counting the rows of days")
            .await?;
    Ok(days.into_iter().map(|(Day(day), count)| (day, count)).collect())
}

/// The settled days from `from` on: they were over, and read whole.
pub async fn settled_days(db: &mut Conn, pbx: &str, from: Date) -> Result<Vec<Date>> {
    let days = sqlx::query_scalar("select day from days where pbx = ? and day >= ? and state = 'settled'")
        .bind_all((pbx, from))
        .all(db, "listing settled days")
        .await?;
    Ok(dates(days))
}

/// Those of `callids` that a row of the days from `from` to `to` has. One look at these days, however many are asked for.
pub async fn listed_among(
    db: &mut Conn,
    pbx: &str,
    (from, to): (Date, Date),
    callids: &[&str],
) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "select distinct trim(json_extract(row, '$.callid')) as callid from calls
         where pbx = ? and day between ? and ?
             and trim(json_extract(row, '$.callid')) in (select value from json_each(?))",
    )
    .bind_all((pbx, from, to, serde_json::to_string(callids).context("listing call ids")?))
    .all(db, "looking for calls")
    .await
}

/// Puts a call back that a `calls-<n>.jsonl` tells, and returns its row. Of several lines the last one told counts; what
/// was current before is kept as an earlier version, replaced `now` at the latest.
pub async fn restore_listed(
    tx: &mut Conn,
    pbx: &str,
    call: &NewCall,
    first_seen_at: Timestamp,
    now: Timestamp,
) -> Result<i64> {
    if let Some(id) = restore(tx, pbx, call, first_seen_at, true).await? {
        return Ok(id);
    }
    keep_current_version(tx, pbx, call, now).await?;
    sqlx::query_scalar(
        "update calls set version = ?1, told_version = ?1, day = ?2, started_at_ms = ?3, utc_offset_s = ?4,
             offset_source = ?5, zone_offset_s = ?6, talk_s = ?7, answered = ?8, row = ?9,
             recording_id = coalesce(?10, recording_id), first_seen_at_ms = min(first_seen_at_ms, ?11)
         where pbx = ?12 and identity_day = ?13 and identity = ?14 returning id",
    )
    .bind_all((&call.version, call.day, call.started_at, call.utc_offset_s))
    .bind_all((&*call.offset_source, call.zone_offset_s, call.talk_s, call.answered))
    .bind_all((&call.row, call.recording_id, first_seen_at, pbx, call.identity_day, &call.identity))
    .one(tx, "putting a later version of a call back")
    .await
}

/// Puts a call back of which only a sidecar tells: no list of its day does yet. Of one that is known it is an earlier
/// version: the lists of a day are written after its recordings.
pub async fn restore_unlisted(tx: &mut Conn, pbx: &str, call: &NewCall, seen_at: Timestamp) -> Result<()> {
    if restore(tx, pbx, call, seen_at, false).await?.is_some() {
        return Ok(());
    }
    sqlx::query(
        "insert into call_versions (call_id, version, row, replaced_at_ms)
         select id, ?1, ?2, ?3 from calls
         where pbx = ?4 and identity_day = ?5 and identity = ?6 and version <> ?1 on conflict do nothing",
    )
    .bind_all((&call.version, &call.row, seen_at, pbx, call.identity_day, &call.identity))
    .run(tx, "keeping the earlier version of a call")
    .await
}

pub async fn restore_link(tx: &mut Conn, id: i64, recording_id: i64) -> Result<()> {
    sqlx::query("update calls set recording_id = ? where id = ?")
        .bind_all((recording_id, id))
        .run(tx, "tying a call to its recording")
        .await
}

async fn keep_current_version(tx: &mut Conn, pbx: &str, call: &NewCall, now: Timestamp) -> Result<()> {
    sqlx::query(
        "insert into call_versions (call_id, version, row, replaced_at_ms)
         select id, version, row, ?1 from calls
         where pbx = ?2 and identity_day = ?3 and identity = ?4 and version <> ?5 on conflict do nothing",
    )
    .bind_all((now, pbx, call.identity_day, &call.identity, &call.version))
    .run(tx, "keeping the earlier version of a call")
    .await
}

#[cfg(test)]
mod tests {
    use crate::store::db::Db;

    /// None of these looks reads more of a million calls than it tells of.
    #[tokio::test]
    async fn each_look_is_answered_by_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).await.unwrap();
        let looks = [
            (
                "explain query plan select distinct day from calls
                 where pbx = 'hq' and answered = 1 and recording_id is null and day >= '2026-03-02' order by day",
                "USING COVERING INDEX calls_unrecorded_of_day (pbx=? AND day>?)",
            ),
            (
                "explain query plan select row from calls where pbx = 'hq' and answered = 1 and recording_id is null and day = '2026-03-02'",
                "USING INDEX calls_unrecorded_of_day (pbx=? AND day=?",
            ),
            (
                "explain query plan select row from calls where pbx = 'hq' and day = '2026-03-02' and (answered = 1 or recording_id is not null)",
                "USING INDEX calls_of_day (pbx=? AND day=?)",
            ),
        ];
        for (query, index) in looks {
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(query).fetch_all(&mut *db.read().await.unwrap()).await.unwrap();
            let steps: Vec<&str> = plan.iter().map(|(.., step)| step.as_str()).collect();
            assert!(steps[0].contains(index) && steps.len() == 1, "{query}\n{steps:?}");
        }
    }
}
