//! Days and readings: when each local day of a PBX was read, and whether it is settled. All SQL on `days`, `readings`.

use std::collections::BTreeSet;

use anyhow::Result;
use jiff::{Timestamp, civil::Date};

use crate::base::digest::Digest;
use crate::store::queue::DayRange;
use crate::store::sql::{BindAll as _, Conn, Day, Fetch as _, Ms, Run as _};
use crate::store::together::{Statement, statement};

pub async fn begin_reading(tx: &mut Conn, pbx: &str, source: &str, now: Timestamp) -> Result<i64> {
    sqlx::query_scalar("insert into readings (pbx, source, read_at_ms) values (?, ?, ?) returning id")
        .bind_all((pbx, source, now))
        .one(tx, "beginning a reading")
        .await
}

#[derive(Debug, Clone, Copy)]
pub struct DayReading {
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
    tx: &mut Conn,
    pbx: &str,
    day: Date,
    of_day: DayReading,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "insert into days (pbx, day, readings, last_read_at_ms, first_read_at_ms)
         values (?1, ?2, ?6, ?3, iif(?6, ?3, null))
         on conflict (pbx, day) do update set
             readings = readings + ?6, last_read_at_ms = excluded.last_read_at_ms,
             first_read_at_ms = coalesce(first_read_at_ms, excluded.first_read_at_ms),
             revision = revision + (state = 'open' and ?4 and readings > 0),
             settled_at_ms = case when ?5 then null when state = 'open' and ?4 and readings > 0 then ?3
                                  else settled_at_ms end,
             state = case when ?5 then 'open' when ?4 and readings > 0 then 'settled' else state end",
    )
    .bind_all((pbx, day, now, of_day.whole && of_day.late && of_day.added == 0))
    .bind_all((of_day.added > 0, i64::from(of_day.whole)))
    .run(tx, "closing the reading of a day")
    .await
}

/// Marks the calls known of `day` that a whole answer about it did not hold, which held `listed` of them, and returns how many
/// those are. Which ones they are is looked up only if there are any.
pub async fn note_absent(
    tx: &mut Conn,
    pbx: &str,
    day: Date,
    listed: i64,
    is_listed: impl Fn(&Digest) -> bool,
) -> Result<i64> {
    if count_of_day(tx, pbx, day).await? == listed {
        return Ok(0);
    }
    let calls: Vec<(i64, Digest)> =
        sqlx::query_as("select id, identity from calls where pbx = ? and day = ?")
            .bind_all((pbx, day))
            .all(tx, "looking for rows that are not listed any more")
            .await?;
    let absent: Vec<i64> =
        calls.iter().filter(|(_, identity)| !is_listed(identity)).map(|(id, _)| *id).collect();
    sqlx::query("update calls set absent = 1 where absent = 0 and id in (select value from json_each(?))")
        .bind_all((serde_json::to_string(&absent)?,))
        .run(tx, "noting rows that are not listed any more")
        .await?;
    Ok(i64::try_from(absent.len())?)
}

#[derive(Debug, Clone, Copy, Default, sqlx::FromRow)]
pub struct DayRow {
    /// How often all of it was read.
    pub readings: i64,
    pub first_read_at_ms: Option<Ms>,
    /// When it was read last, also in part.
    pub last_read_at_ms: Ms,
    /// When it settled; `None` while it is open.
    pub settled_at_ms: Option<Ms>,
    pub revision: i64,
}

/// Reads how a day stands; as if it was never read, if it is not known.
pub async fn day_row(db: &mut Conn, pbx: &str, day: Date) -> Result<DayRow> {
    let row = sqlx::query_as(
        "select readings, first_read_at_ms, last_read_at_ms, settled_at_ms, revision from days
         where pbx = ? and day = ?",
    )
    .bind_all((pbx, day))
    .maybe(db, "reading how a day stands")
    .await?;
    Ok(row.unwrap_or_default())
}

/// Whether an earlier reading had this very source: a file that has not changed since.
pub async fn was_read(db: &mut Conn, pbx: &str, source: &str) -> Result<bool> {
    sqlx::query_scalar("select exists (select 1 from readings where pbx = ? and source = ? and whole = 1)")
        .bind_all((pbx, source))
        .one(db, "looking for an earlier reading")
        .await
}

/// Notes that a reading came to its end.
pub async fn end_reading(tx: &mut Conn, reading: i64) -> Result<()> {
    sqlx::query("update readings set whole = 1 where id = ?").bind(reading).run(tx, "ending a reading").await
}

/// What a whole list was that left nothing open.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct KnownList {
    /// Of its bytes.
    pub sha256: Digest,
    /// Stands for all else that decides what it says.
    pub read_by_sha256: Digest,
    pub rows: u64,
    /// How many calls of its day it held.
    pub calls_of_day: i64,
}

/// Notes what the last whole list of a source was; `None` if it left anything open.
pub async fn note_list(tx: &mut Conn, pbx: &str, source: &str, list: Option<&KnownList>) -> Result<()> {
    let Some(list) = list else {
        return sqlx::query("delete from known_lists where pbx = ? and source = ?")
            .bind_all((pbx, source))
            .run(tx, "forgetting a list")
            .await;
    };
    sqlx::query(
        "insert into known_lists (pbx, source, sha256, read_by_sha256, rows, calls_of_day) values (?, ?, ?, ?, ?, ?)
         on conflict do update set sha256 = excluded.sha256, read_by_sha256 = excluded.read_by_sha256,
             rows = excluded.rows, calls_of_day = excluded.calls_of_day",
    )
    .bind_all((pbx, source, list.sha256, list.read_by_sha256, list.rows, list.calls_of_day))
    .run(tx, "noting what a list was")
    .await
}

/// What the last whole list of a source was, if it left nothing open.
pub async fn known_list(db: &mut Conn, pbx: &str, source: &str) -> Result<Option<KnownList>> {
    sqlx::query_as(
        "select sha256, read_by_sha256, rows, calls_of_day from known_lists where pbx = ? and source = ?",
    )
    .bind_all((pbx, source))
    .maybe(db, "looking for the last list of a day")
    .await
}

pub async fn count_of_day(db: &mut Conn, pbx: &str, day: Date) -> Result<i64> {
    let count: Option<i64> = sqlx::query_scalar("select calls from call_counts where pbx = ? and day = ?")
        .bind_all((pbx, day))
        .maybe(db, "counting the rows of a day")
        .await?;
    Ok(count.unwrap_or(0))
}

/// The days within `all` that are not settled, as ranges in order: those that were never read too.
pub async fn unsettled(db: &mut Conn, pbx: &str, all: DayRange) -> Result<Vec<DayRange>> {
    let (from, to) = all.bounds();
    let settled: Vec<Day> = sqlx::query_scalar(
        "select day from days where pbx = ? and state = 'settled' and day between ? and ? order by day",
    )
    .bind_all((pbx, from, to))
    .all(db, "listing settled days")
    .await?;
    let settled: BTreeSet<Date> = settled.into_iter().map(Date::from).collect();
    let mut ranges: Vec<DayRange> = Vec::new();
    let days = std::iter::successors(Some(all.from), |day| day.tomorrow().ok());
    for day in days.take_while(|day| *day <= all.to).filter(|day| !settled.contains(day)) {
        match ranges.last_mut() {
            Some(range) if range.to.tomorrow().is_ok_and(|next| next == day) => range.to = day,
            _ => ranges.push(DayRange { from: day, to: day }),
        }
    }
    Ok(ranges)
}

/// The open days with calls outside of all that is `kept`, as far as they were read over the API.
pub async fn open_outside(db: &mut Conn, pbx: &str, kept: &[DayRange]) -> Result<Vec<DayRange>> {
    let open: Vec<Day> = sqlx::query_scalar(
        "select day from days where pbx = ?1 and state = 'open'
             and exists (select 1 from calls where calls.pbx = ?1 and calls.day = days.day)
             and exists (select 1 from readings where readings.pbx = ?1 and source = days.day) order by day",
    )
    .bind(pbx)
    .all(db, "listing open days")
    .await?;
    let is_outside = |day: &Date| !kept.iter().any(|range| (range.from..=range.to).contains(day));
    Ok(open
        .into_iter()
        .map(Date::from)
        .filter(is_outside)
        .map(|day| DayRange { from: day, to: day })
        .collect())
}

/// Forgets readings from before `cutoff` that a later one of the same source follows.
pub async fn forget_readings(tx: &mut Conn, cutoff: Timestamp) -> Result<()> {
    sqlx::query(
        "delete from readings where read_at_ms < ? and exists
             (select 1 from readings later where later.pbx = readings.pbx and later.source = readings.source
                  and later.id > readings.id and later.whole >= readings.whole)",
    )
    .bind_all((cutoff,))
    .run(tx, "forgetting old readings")
    .await
}

pub async fn days_by_state(db: &mut Conn) -> Result<Vec<(String, i64, i64)>> {
    sqlx::query_as("select pbx, sum(state = 'open'), sum(state = 'settled') from days group by pbx")
        .all(db, "counting days")
        .await
}

/// Gives a settled day its certificate's revision, which may be a later one than it has: `(revision, certificate's)`.
/// `false` if it has changed since it was read.
pub async fn hold_settled(
    tx: &mut Conn,
    pbx: &str,
    day: Date,
    settled_at: Ms,
    (revision, certified): (i64, i64),
) -> Result<bool> {
    sqlx::query(
        "update days set revision = ?1
         where pbx = ?2 and day = ?3 and state = 'settled' and settled_at_ms = ?4 and revision = ?5",
    )
    .bind_all((certified, pbx, day, settled_at, revision))
    .changed(tx, "holding a settled day")
    .await
}

/// Opens a settled day again: something in it changed.
pub async fn reopen(tx: &mut Conn, pbx: &str, day: Date) -> Result<()> {
    reopening(pbx, &BTreeSet::from([day]))?.run(tx, "reopening a day").await
}

/// As [`reopen`], for several days, to be run with other statements.
pub fn reopening(pbx: &str, days: &BTreeSet<Date>) -> Result<Statement> {
    let reopen = statement(
        "update days set state = 'open', settled_at_ms = null
         where pbx = ? and day in (select value from json_each(?)) and state = 'settled'",
    );
    Ok(reopen.bind_all((pbx, serde_json::to_string(days)?)))
}

pub async fn reopen_all(tx: &mut Conn, days: &[(String, Date)]) -> Result<()> {
    for (pbx, day) in days {
        reopen(tx, pbx, *day).await?;
    }
    Ok(())
}

/// Opens the settled day of a call's recording again: its state is another one.
pub async fn reopen_for(tx: &mut Conn, recording_id: i64) -> Result<()> {
    sqlx::query(
        "update days set state = 'open', settled_at_ms = null where state = 'settled' and (pbx, day) in
             (select pbx, day from recordings where id = ? and kind = 'call')",
    )
    .bind(recording_id)
    .run(tx, "reopening the day of a recording")
    .await
}

#[derive(Debug, Clone, Default)]
pub struct RestoredDay {
    pub calls_files: u32,
    /// How often it settled, and when it did so last; none if no certificate tells.
    pub closed: Option<(u32, Timestamp)>,
    /// Whether something in it changed after it settled.
    pub reopened: bool,
}

/// Readings that a day has had at least when it settles: two, of one result.
const READINGS_OF_SETTLED: i64 = 2;

/// Puts a day back. One that no certificate tells of is open: it settles when it has been read again, twice.
pub async fn restore_day(tx: &mut Conn, pbx: &str, day: Date, restored: &RestoredDay) -> Result<()> {
    let settled_at = restored.closed.filter(|_| !restored.reopened).map(|(_, at)| at.as_millisecond());
    let readings = if restored.closed.is_some() { READINGS_OF_SETTLED } else { 0 };
    sqlx::query(
        "insert into days (pbx, day, state, readings, last_read_at_ms, settled_at_ms, revision, calls_files)
         values (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind_all((pbx, day, if settled_at.is_some() { "settled" } else { "open" }, readings))
    .bind_all((settled_at.unwrap_or(0), settled_at))
    .bind_all((restored.closed.map_or(0, |(revision, _)| revision), restored.calls_files))
    .run(tx, "putting a day back")
    .await
}
