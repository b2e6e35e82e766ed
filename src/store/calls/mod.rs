//! Calls: what the PBX said of them, every row of it. All SQL on `calls`; days and readings are in `days`.

mod answered;
mod days;
mod restore;

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use jiff::{Timestamp, civil::Date};
use sqlx::SqliteConnection;

pub use answered::{
    Leg, days_with_unrecorded, legs_of_day, listed_among, rows_by_day, settled_days, unrecorded_of_day,
};
pub use days::{
    DayReading, DayRow, RestoredDay, begin_reading, close_reading, day_row, days_by_state, end_reading,
    forget_readings, hold_settled, open_outside, reopen, reopen_all, reopen_for, restore_day, unsettled,
    was_read,
};
pub use restore::{restore_link, restore_told, restore_untold};

use crate::base::digest::Digest;
use crate::store::queue::DayRange;
use crate::store::sql::{BindAll as _, Day, Fetch as _, Run as _};

/// A CDR row, placed in time.
#[derive(Debug, Clone)]
pub struct NewCall {
    /// Hash of the columns that do not change.
    pub identity: Digest,
    /// Hash of identity, durations and status.
    pub version: Digest,
    /// The PBX-local day.
    pub day: Date,
    /// Start of the call, if its row tells.
    pub started_at: Option<Timestamp>,
    /// The PBX's offset from UTC at that time.
    pub utc_offset_s: i32,
    pub offset_source: Cow<'static, str>,
    /// The offset that the configured zone has at that time.
    pub zone_offset_s: Option<i32>,
    pub talk_s: Option<i64>,
    pub answered: bool,
    /// The row as JSON, pincode blanked.
    pub row: String,
    pub recording_id: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It was not known.
    New,
    /// It was known with other durations or another status.
    Changed,
    Known,
}

/// Stores a row: the latest version is current, earlier ones are kept.
pub async fn store(
    tx: &mut SqliteConnection,
    pbx: &str,
    reading: i64,
    call: &NewCall,
    now: Timestamp,
) -> anyhow::Result<Stored> {
    let known: Option<(i64, Vec<u8>)> =
        sqlx::query_as("select id, version from calls where pbx = ? and identity = ?")
            .bind_all((pbx, &call.identity))
            .maybe(tx, "looking up a call")
            .await?;
    match known {
        None => insert(tx, pbx, reading, call, now).await.map(|()| Stored::New),
        Some((id, version)) if version == call.version.as_bytes() => {
            mark_seen(tx, id, reading).await.map(|()| Stored::Known)
        }
        Some((id, _)) => replace_version(tx, id, reading, call, now).await,
    }
}

async fn insert(
    tx: &mut SqliteConnection,
    pbx: &str,
    reading: i64,
    call: &NewCall,
    now: Timestamp,
) -> anyhow::Result<()> {
    sqlx::query(
        "insert into calls (pbx, identity, version, day, started_at_ms, utc_offset_s, offset_source, zone_offset_s,
             talk_s, answered, row, recording_id, first_seen_at_ms, reading)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind_all((pbx, &call.identity, &call.version, call.day, call.started_at)).bind_all((call.utc_offset_s, &*call.offset_source, call.zone_offset_s, call.talk_s))
    .bind_all((call.answered, &call.row, call.recording_id, now, reading))
    .run(tx, "storing a call")
    .await
}

async fn mark_seen(tx: &mut SqliteConnection, id: i64, reading: i64) -> anyhow::Result<()> {
    sqlx::query("update calls set reading = ? where id = ?")
        .bind_all((reading, id))
        .run(tx, "marking a call as seen")
        .await
}

/// Makes a version current. One that was current before and comes back is not news: two exports may differ for ever.
async fn replace_version(
    tx: &mut SqliteConnection,
    id: i64,
    reading: i64,
    call: &NewCall,
    now: Timestamp,
) -> anyhow::Result<Stored> {
    let seen_before: bool =
        sqlx::query_scalar("select exists (select 1 from call_versions where call_id = ? and version = ?)")
            .bind_all((id, &call.version))
            .fetch_one(&mut *tx)
            .await?;
    sqlx::query(
        "insert into call_versions (call_id, version, row, replaced_at_ms)
         select id, version, row, ? from calls where id = ? on conflict do nothing",
    )
    .bind_all((now, id))
    .run(tx, "keeping the earlier version of a call")
    .await?;
    sqlx::query("update calls set version = ?, talk_s = ?, answered = ?, row = ?, reading = ? where id = ?")
        .bind_all((&call.version, call.talk_s, call.answered, &call.row, reading, id))
        .run(tx, "storing the new version of a call")
        .await?;
    Ok(if seen_before { Stored::Known } else { Stored::Changed })
}

/// A row that names a recording, and the time that it tells.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct CallOfRecording {
    /// Hash of the columns that do not change.
    pub identity: Vec<u8>,
    /// The row as JSON.
    pub row: String,
    pub talk_s: Option<i64>,
    pub started_at_ms: Option<i64>,
    /// The PBX's offset from UTC then.
    pub utc_offset_s: i32,
    pub offset_source: String,
    /// The offset of the configured zone then.
    pub zone_offset_s: Option<i32>,
}

/// Reads the rows that name a recording, the first `most` of them. The others are given to `beyond` one by one: a PBX that
/// lies may name one recording in any number of rows.
pub async fn of_recording(
    db: &mut SqliteConnection,
    id: i64,
    most: usize,
    mut beyond: impl FnMut(CallOfRecording),
) -> anyhow::Result<Vec<CallOfRecording>> {
    let mut rows = sqlx::query_as(
        "select identity, row, talk_s, started_at_ms, utc_offset_s, offset_source, zone_offset_s
         from calls where recording_id = ? order by id",
    )
    .bind(id)
    .fetch(db);
    let mut first = Vec::new();
    while let Some(row) = rows.try_next().await.context("reading the calls of a recording")? {
        if first.len() < most {
            first.push(row);
        } else {
            beyond(row);
        }
    }
    Ok(first)
}

/// The calls of one PBX, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallCounts {
    pub calls: i64,
    /// Those that were answered and name no recording.
    pub answered_without_recording: i64,
}

/// Whom callers left a message, as the PBX wrote it.
pub async fn left_messages(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<Vec<String>> {
    let callees: Vec<Option<String>> = sqlx::query_scalar(
        "select distinct json_extract(row, '$.callto') from calls
         where pbx = ? and lower(json_extract(row, '$.status')) = 'voicemail'",
    )
    .bind(pbx)
    .all(db, "listing who was left a message")
    .await?;
    Ok(callees.into_iter().flatten().collect())
}

/// Counts the calls of every PBX.
pub async fn counts(db: &mut SqliteConnection) -> anyhow::Result<BTreeMap<String, CallCounts>> {
    // Apart, for each has an index that answers it alone.
    let all: Vec<(String, i64)> =
        sqlx::query_as("select pbx, count(*) from calls group by pbx").all(db, "counting calls").await?;
    let unrecorded: Vec<(String, i64)> = sqlx::query_as(
        "select pbx, count(*) from calls where answered = 1 and recording_id is null group by pbx",
    )
    .all(db, "counting calls without a recording")
    .await?;
    let mut counts: BTreeMap<String, CallCounts> = BTreeMap::new();
    for (pbx, calls) in all {
        counts.entry(pbx).or_default().calls = calls;
    }
    for (pbx, calls) in unrecorded {
        counts.entry(pbx).or_default().answered_without_recording = calls;
    }
    Ok(counts)
}

/// Counts the calls of a range.
pub async fn count(db: &mut SqliteConnection, pbx: &str, days: DayRange) -> anyhow::Result<i64> {
    let (from, to) = days.bounds();
    sqlx::query_scalar("select count(*) from calls where pbx = ? and day between ? and ?")
        .bind_all((pbx, from, to))
        .one(db, "counting calls")
        .await
}

/// The first day with a call.
pub async fn first_day(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<Option<Date>> {
    let day: Option<Day> = sqlx::query_scalar("select min(day) from calls where pbx = ?")
        .bind(pbx)
        .one(db, "looking for the first call")
        .await?;
    Ok(day.map(Date::from))
}
