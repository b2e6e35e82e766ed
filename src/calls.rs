//! Calls and days: what the PBX said of its calls, every row of it. All SQL on `calls`, `days` and `readings`.

use anyhow::Context as _;
use jiff::{Timestamp, civil::Date};
use sqlx::SqliteConnection;

use crate::digest::Digest;
use crate::queue::DayRange;

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
    /// How the offset was found.
    pub offset_source: &'static str,
    /// The offset that the configured zone has at that time.
    pub zone_offset_s: Option<i32>,
    /// Talk time.
    pub talk_s: Option<i64>,
    /// Whether somebody talked.
    pub answered: bool,
    /// The row as JSON, pincode blanked.
    pub row: String,
    /// The recording that it names.
    pub recording_id: Option<i64>,
}

/// What a stored row changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It was not known.
    New,
    /// It was known with other durations or another status.
    Changed,
    /// It was known as it is.
    Known,
}

/// Begins a reading: one look at the CDR of `pbx`.
pub async fn begin_reading(
    tx: &mut SqliteConnection,
    pbx: &str,
    source: &str,
    now: Timestamp,
) -> anyhow::Result<i64> {
    sqlx::query_scalar("insert into readings (pbx, source, read_at_ms) values (?, ?, ?) returning id")
        .bind(pbx)
        .bind(source)
        .bind(now.as_millisecond())
        .fetch_one(tx)
        .await
        .context("beginning a reading")
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
            .bind(pbx)
            .bind(&call.identity.as_bytes()[..])
            .fetch_optional(&mut *tx)
            .await
            .context("looking up a call")?;
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
    .bind(pbx)
    .bind(&call.identity.as_bytes()[..])
    .bind(&call.version.as_bytes()[..])
    .bind(call.day.to_string())
    .bind(call.started_at.map(Timestamp::as_millisecond))
    .bind(call.utc_offset_s)
    .bind(call.offset_source)
    .bind(call.zone_offset_s)
    .bind(call.talk_s)
    .bind(call.answered)
    .bind(&call.row)
    .bind(call.recording_id)
    .bind(now.as_millisecond())
    .bind(reading)
    .execute(tx)
    .await
    .context("storing a call")?;
    Ok(())
}

async fn mark_seen(tx: &mut SqliteConnection, id: i64, reading: i64) -> anyhow::Result<()> {
    sqlx::query("update calls set reading = ? where id = ?")
        .bind(reading)
        .bind(id)
        .execute(tx)
        .await
        .context("marking a call as seen")?;
    Ok(())
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
            .bind(id)
            .bind(&call.version.as_bytes()[..])
            .fetch_one(&mut *tx)
            .await?;
    sqlx::query(
        "insert into call_versions (call_id, version, row, replaced_at_ms)
         select id, version, row, ? from calls where id = ? on conflict do nothing",
    )
    .bind(now.as_millisecond())
    .bind(id)
    .execute(&mut *tx)
    .await
    .context("keeping the earlier version of a call")?;
    sqlx::query("update calls set version = ?, talk_s = ?, answered = ?, row = ?, reading = ? where id = ?")
        .bind(&call.version.as_bytes()[..])
        .bind(call.talk_s)
        .bind(call.answered)
        .bind(&call.row)
        .bind(reading)
        .bind(id)
        .execute(tx)
        .await
        .context("storing the new version of a call")?;
    Ok(if seen_before { Stored::Known } else { Stored::Changed })
}

/// How one reading left one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRead {
    /// Rows known of the day that this reading did not hold.
    pub absent_rows: i64,
    /// Whether the day is settled now.
    pub settled: bool,
}

/// What a reading did to one day.
#[derive(Debug, Clone, Copy)]
pub struct DayReading {
    /// Its row in `readings`.
    pub reading: i64,
    /// Rows that were new or changed.
    pub added: u64,
    /// Whether it was a reading of all of the day, and not one of a file that counted before.
    pub whole: bool,
    /// Whether it was late enough after the day's end to settle it.
    pub late: bool,
}

/// Ends a reading of one day.
///
/// The day settles when a whole reading that was late enough added nothing to an earlier whole one: calls are filed under
/// their start but appear at their end. A day that gained rows is open again.
pub async fn close_reading(
    tx: &mut SqliteConnection,
    pbx: &str,
    day: Date,
    of_day: DayReading,
    now: Timestamp,
) -> anyhow::Result<DayRead> {
    let absent_rows =
        sqlx::query_scalar("select count(*) from calls where pbx = ? and day = ? and reading <> ?")
            .bind(pbx)
            .bind(day.to_string())
            .bind(of_day.reading)
            .fetch_one(&mut *tx)
            .await
            .context("counting the rows of a day")?;
    let state: String = sqlx::query_scalar(
        "insert into days (pbx, day, readings, last_read_at_ms) values (?1, ?2, ?6, ?3)
         on conflict (pbx, day) do update set
             readings = readings + ?6, last_read_at_ms = excluded.last_read_at_ms,
             revision = revision + (state = 'open' and ?4 and readings > 0),
             settled_at_ms = case when ?5 then null when state = 'open' and ?4 and readings > 0 then ?3
                                  else settled_at_ms end,
             state = case when ?5 then 'open' when ?4 and readings > 0 then 'settled' else state end
         returning state",
    )
    .bind(pbx)
    .bind(day.to_string())
    .bind(now.as_millisecond())
    .bind(of_day.whole && of_day.late && of_day.added == 0)
    .bind(of_day.added > 0)
    .bind(i64::from(of_day.whole))
    .fetch_one(tx)
    .await
    .context("closing the reading of a day")?;
    Ok(DayRead { absent_rows, settled: state == "settled" })
}

/// Whether an earlier reading had this very source: a file that has not changed since.
pub async fn was_read(db: &mut SqliteConnection, pbx: &str, source: &str) -> anyhow::Result<bool> {
    sqlx::query_scalar("select exists (select 1 from readings where pbx = ? and source = ? and whole = 1)")
        .bind(pbx)
        .bind(source)
        .fetch_one(db)
        .await
        .context("looking for an earlier reading")
}

/// Notes that a reading came to its end.
pub async fn end_reading(tx: &mut SqliteConnection, reading: i64) -> anyhow::Result<()> {
    sqlx::query("update readings set whole = 1 where id = ?")
        .bind(reading)
        .execute(tx)
        .await
        .context("ending a reading")?;
    Ok(())
}

/// Opens a settled day again: something in it changed.
pub async fn reopen(tx: &mut SqliteConnection, pbx: &str, day: Date) -> anyhow::Result<()> {
    sqlx::query(
        "update days set state = 'open', settled_at_ms = null where pbx = ? and day = ? and state = 'settled'",
    )
    .bind(pbx)
    .bind(day.to_string())
    .execute(tx)
    .await
    .context("reopening a day")?;
    Ok(())
}

/// The rows that name a recording, the first seen first, and the time that each tells.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct CallOfRecording {
    /// Hash of the columns that do not change.
    pub identity: Vec<u8>,
    /// The row as JSON.
    pub row: String,
    /// Talk time.
    pub talk_s: Option<i64>,
    /// Start of the call.
    pub started_at_ms: Option<i64>,
    /// The PBX's offset from UTC then.
    pub utc_offset_s: i32,
    /// How the offset was found.
    pub offset_source: String,
    /// The offset of the configured zone then.
    pub zone_offset_s: Option<i32>,
}

/// Reads the rows that name a recording.
pub async fn of_recording(db: &mut SqliteConnection, id: i64) -> anyhow::Result<Vec<CallOfRecording>> {
    sqlx::query_as(
        "select identity, row, talk_s, started_at_ms, utc_offset_s, offset_source, zone_offset_s
         from calls where recording_id = ? order by id",
    )
    .bind(id)
    .fetch_all(db)
    .await
    .context("reading the calls of a recording")
}

/// Counts the calls of a range: all, and the answered ones that name no recording.
pub async fn counts(db: &mut SqliteConnection, pbx: &str, days: DayRange) -> anyhow::Result<(i64, i64)> {
    let (from, to) = days.bounds();
    sqlx::query_as(
        "select count(*), coalesce(sum(answered and recording_id is null), 0)
         from calls where pbx = ? and day between ? and ?",
    )
    .bind(pbx)
    .bind(from)
    .bind(to)
    .fetch_one(db)
    .await
    .context("counting calls")
}
