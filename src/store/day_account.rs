//! What the database knows about one day of a PBX: the two sides of its account, and the lists.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use sqlx::query::QueryAs;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{FromRow, Sqlite};

use super::queue::DayRange;
use crate::base::counts::Counts;
use crate::base::digest::hex;
use crate::base::recording::{RecordingKind, RecordingState, Text};
use crate::store::findings::{FindingKind, FindingRow};
use crate::store::sql::{BindAll as _, Conn, Day, Fetch as _, Ms};

/// The day that is read, and how many items of each list.
#[derive(Debug)]
pub struct OfDay<'a> {
    pub pbx: &'a str,
    pub day: String,
    pub listed_max: i64,
}

/// The recordings of a day in the queue, each compared with the rows that name it and the files that it has.
#[derive(Debug, Default)]
pub struct Recordings {
    /// Named by rows.
    pub listed: i64,
    /// Of these, those on whose state queue and catalog agree.
    pub counts: Counts,
    pub archived_without_file: i64,
    pub file_without_archived: i64,
    pub unnamed: i64,
    pub unarchived: i64,
    pub voicemail: Counts,
}

#[derive(sqlx::FromRow)]
struct Group {
    kind: RecordingKind,
    state: RecordingState,
    is_named: bool,
    has_file: bool,
    count: i64,
    finals: i64,
}

pub async fn recordings(db: &mut Conn, of: &OfDay<'_>) -> Result<Recordings> {
    let groups: Vec<Group> = sqlx::query_as(
        "select kind, state, is_named, has_file, count(*) as count, sum(final) as finals from
             (select kind, state, final,
                  exists (select 1 from calls where recording_id = recordings.id) as is_named,
                  exists (select 1 from archived_files where recording_id = recordings.id) as has_file
              from recordings where pbx = ? and day = ?)
         group by kind, state, is_named, has_file",
    )
    .bind_all((of.pbx, &of.day))
    .all(db, "counting the recordings of a day")
    .await?;
    Ok(groups.iter().fold(Recordings::default(), Recordings::with))
}

impl Recordings {
    fn with(mut self, group: &Group) -> Self {
        let Group { state, count, finals, .. } = group;
        let is_archived = *state == RecordingState::Archived;
        if group.kind == RecordingKind::Voicemail {
            self.voicemail.count(*state, *count, *finals);
            return self;
        }
        if !is_archived {
            self.unarchived += count;
        }
        match (group.is_named, is_archived, group.has_file) {
            (false, ..) => self.unnamed += count,
            (true, true, false) => self.archived_without_file += count,
            (true, false, true) => self.file_without_archived += count,
            (true, ..) => self.counts.count(*state, *count, *finals),
        }
        if group.is_named {
            self.listed += count;
        }
        self
    }
}

#[derive(Debug, sqlx::FromRow)]
pub struct Rows {
    pub rows: i64,
    pub answered: i64,
    /// Answered, without a recording.
    pub unrecorded: i64,
    /// Naming an unknown recording.
    pub unqueued: i64,
    pub vanished: i64,
}

pub async fn rows(db: &mut Conn, of: &OfDay<'_>) -> Result<Rows> {
    sqlx::query_as(
        "select count(*) as rows, coalesce(sum(answered), 0) as answered,
             coalesce(sum(answered and recording_id is null and not is_unqueued), 0) as unrecorded,
             coalesce(sum(is_unqueued), 0) as unqueued, coalesce(sum(absent), 0) as vanished
         from (select answered, recording_id, absent,
                   recording_id is null and coalesce(json_extract(row, '$.recording'), '') <> '' as is_unqueued
               from calls where pbx = ?1 and day = ?2)",
    )
    .bind_all((of.pbx, &of.day))
    .one(db, "counting the rows of a day").await
}

/// Recordings that rows of the day name and that are filed under another day.
pub async fn counted_elsewhere(db: &mut Conn, of: &OfDay<'_>) -> Result<i64> {
    sqlx::query_scalar(
        "select count(distinct recording_id) from calls join recordings on recordings.id = recording_id
         where calls.pbx = ? and calls.day = ? and recordings.day <> calls.day",
    )
    .bind_all((of.pbx, &of.day))
    .one(db, "counting recordings of other days")
    .await
}

pub async fn utc_offsets_s(db: &mut Conn, of: &OfDay<'_>) -> Result<Vec<i64>> {
    sqlx::query_scalar(
        "select distinct utc_offset_s from calls where pbx = ? and day = ? order by utc_offset_s",
    )
    .bind_all((of.pbx, &of.day))
    .all(db, "reading the offsets of a day")
    .await
}

#[derive(Debug, sqlx::FromRow)]
pub struct Files {
    pub bytes: i64,
    pub suspect: i64,
    pub conflicts: i64,
}

pub async fn files(db: &mut Conn, of: &OfDay<'_>) -> Result<Files> {
    sqlx::query_as(
        "select coalesce(sum(size_bytes), 0) as bytes, coalesce(sum(suspect <> ''), 0) as suspect,
             coalesce(sum(conflict), 0) as conflicts
         from archived_files join recordings on recordings.id = recording_id
         where pbx = ? and day = ? and kind = 'call'",
    )
    .bind_all((of.pbx, &of.day))
    .one(db, "counting the files of a day")
    .await
}

pub async fn known_days(db: &mut Conn, pbx: &str, range: DayRange, limit: i64) -> Result<Vec<Date>> {
    let (from, to) = range.bounds();
    // From one day to the one before, over the indices: however many rows a day has, it costs the same.
    let days: Vec<Day> = sqlx::query_scalar(
        "with recursive known (day) as (
             select max(day) from (
                 select max(day) as day from days where pbx = ?1 and day between ?2 and ?3
                 union all select max(day) from calls where pbx = ?1 and day between ?2 and ?3
                 union all select max(day) from recordings where pbx = ?1 and day between ?2 and ?3)
             union all
             select (select max(day) from (
                 select max(day) as day from days where pbx = ?1 and day >= ?2 and day < known.day
                 union all select max(day) from calls where pbx = ?1 and day >= ?2 and day < known.day
                 union all select max(day) from recordings where pbx = ?1 and day >= ?2 and day < known.day))
             from known where known.day is not null)
         select day from known where day is not null limit ?4",
    )
    .bind_all((pbx, from, to, limit))
    .all(db, "listing the days that are known")
    .await?;
    Ok(days.into_iter().rev().map(Date::from).collect())
}

/// A list that may be cut off: `count` is of all, `items` are the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing<T> {
    pub count: i64,
    pub items: Vec<T>,
}

/// A contradiction within the database: it leaves a recording in no number but `listed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Difference {
    /// `archived_without_file` (archived, but the catalog has no file), `file_without_archived` (the catalog has a file, but
    /// it is not archived), or `unqueued` (a row names an unknown recording).
    pub kind: String,
    /// The recording's path, or the identity of the row.
    pub subject: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct Unarchived {
    pub path: String,
    /// As the PBX calls it.
    #[sqlx(try_from = "Vec<u8>")]
    pub name: Text,
    pub sn: String,
    #[sqlx(rename = "started_at_ms", try_from = "Ms")]
    pub started_at: Timestamp,
    pub state: String,
    /// The class of the last error, or the name of the excluding rule; none if it was never tried.
    pub reason: Option<String>,
    /// Whether a missing recording is no longer asked for.
    #[serde(rename = "final")]
    #[sqlx(rename = "final")]
    pub is_final: bool,
    pub attempts: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Filed {
    /// Relative to the archive's root.
    pub path: String,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct DayFindings {
    pub by: BTreeMap<FindingKind, i64>,
    #[serde(flatten)]
    pub list: Listing<FindingRow>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Suspects {
    pub by: BTreeMap<String, i64>,
    #[serde(flatten)]
    pub files: Listing<Suspect>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suspect {
    pub path: String,
    pub suspect: Vec<String>,
    pub duration_ms: Option<i64>,
    /// Of the calls that name it, the longest.
    pub talk_s: Option<i64>,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { count: 0, items: Vec::new() }
    }
}

impl<T> Listing<T> {
    pub fn left_out(&self) -> i64 {
        self.count - i64::try_from(self.items.len()).unwrap_or(self.count)
    }
}

/// A query with the PBX, the day and the limit as its parameters.
fn query<O>(sql: &'static str, of: &OfDay<'_>) -> QueryAs<'static, Sqlite, O, SqliteArguments>
where
    O: for<'r> FromRow<'r, SqliteRow>,
{
    sqlx::query_as(sql).bind(of.pbx.to_owned()).bind(of.day.clone()).bind(of.listed_max)
}

/// Answered calls without a recording, by the identity of their row.
pub async fn unrecorded(db: &mut Conn, of: &OfDay<'_>, count: i64) -> Result<Listing<String>> {
    if count == 0 {
        return Ok(Listing::default());
    }
    let sql = "select identity from calls where pbx = ? and day = ? and answered = 1 and recording_id is null
             and coalesce(json_extract(row, '$.recording'), '') = '' order by id limit ?";
    let identities: Vec<(Vec<u8>,)> =
        query(sql, of).all(db, "listing answered calls without a recording").await?;
    Ok(Listing { count, items: identities.iter().map(|(identity,)| hex(identity)).collect() })
}

/// Recordings that are not archived, whether or not a row names them.
pub async fn unarchived(db: &mut Conn, of: &OfDay<'_>, count: i64) -> Result<Listing<Unarchived>> {
    if count == 0 {
        return Ok(Listing::default());
    }
    let sql = "select path, name, sn, started_at_ms, state, reason, final, attempts from recordings
         where pbx = ? and day = ? and kind = 'call' and state <> 'archived' order by started_at_ms, id limit ?";
    let items = query(sql, of).all(db, "listing what is not archived").await?;
    Ok(Listing { count, items })
}

pub async fn unnamed(db: &mut Conn, of: &OfDay<'_>, count: i64) -> Result<Listing<Filed>> {
    let sql = "select path from recordings where pbx = ? and day = ? and kind = 'call'
             and not exists (select 1 from calls where recording_id = recordings.id) order by path limit ?";
    filed(db, of, count, sql).await
}

/// Archived recordings named only by rows that the PBX's latest whole answer about their day lacked.
macro_rules! vanished {
    ($what:literal, $rest:literal) => {
        concat!(
            "select ",
            $what,
            " from recordings where pbx = ? and day = ? and kind = 'call' and state = 'archived'
             and exists (select 1 from calls where recording_id = recordings.id)
             and not exists (select 1 from calls where recording_id = recordings.id and absent = 0) ",
            $rest
        )
    };
}

pub async fn vanished(db: &mut Conn, of: &OfDay<'_>, vanished_rows: i64) -> Result<Listing<Filed>> {
    if vanished_rows == 0 {
        return Ok(Listing::default());
    }
    let count: i64 = sqlx::query_scalar(vanished!("count(*)", ""))
        .bind_all((of.pbx, &of.day))
        .one(db, "counting recordings whose rows have vanished")
        .await?;
    filed(db, of, count, vanished!("path", "order by path limit ?")).await
}

/// Files kept beside others of the same name.
pub async fn conflicts(db: &mut Conn, of: &OfDay<'_>, count: i64) -> Result<Listing<Filed>> {
    let sql = "select file.path from archived_files file join recordings on recordings.id = recording_id
         where pbx = ? and day = ? and kind = 'call' and conflict = 1 order by file.path limit ?";
    filed(db, of, count, sql).await
}

async fn filed(db: &mut Conn, of: &OfDay<'_>, count: i64, sql: &'static str) -> Result<Listing<Filed>> {
    let items = match count {
        0 => Vec::new(),
        _ => query(sql, of).all(db, "listing files of a day").await?,
    };
    Ok(Listing { count, items })
}

pub async fn suspect(db: &mut Conn, of: &OfDay<'_>) -> Result<Suspects> {
    let groups: Vec<(String, i64)> = sqlx::query_as(
        "select suspect, count(*) from archived_files join recordings on recordings.id = recording_id
         where pbx = ? and day = ? and kind = 'call' and suspect <> '' group by suspect",
    )
    .bind_all((of.pbx, &of.day))
    .all(db, "counting unusual audio")
    .await?;
    let mut by = BTreeMap::new();
    for (words, count) in &groups {
        for word in words.split(',') {
            *by.entry(word.to_owned()).or_default() += count;
        }
    }
    let count = groups.iter().map(|(_, count)| count).sum();
    let sql = "select file.path, suspect, duration_ms,
             (select max(talk_s) from calls where calls.recording_id = recordings.id)
         from archived_files file join recordings on recordings.id = file.recording_id
         where pbx = ? and day = ? and kind = 'call' and suspect <> '' order by file.path limit ?";
    let rows: Vec<(String, String, Option<i64>, Option<i64>)> =
        query(sql, of).all(db, "listing unusual audio").await?;
    let items = rows.into_iter().map(|(path, words, duration_ms, talk_s)| {
        let suspect = words.split(',').map(str::to_owned).collect();
        Suspect { path, suspect, duration_ms, talk_s }
    });
    Ok(Suspects { by, files: Listing { count, items: items.collect() } })
}

/// Where queue, catalog and calls contradict each other.
pub async fn differences(db: &mut Conn, of: &OfDay<'_>) -> Result<Vec<Difference>> {
    let sql = "select iif(state = 'archived', 'archived_without_file', 'file_without_archived') as kind,
             path as subject
         from recordings where pbx = ?1 and day = ?2 and kind = 'call'
             and exists (select 1 from calls where recording_id = recordings.id)
             and (state = 'archived') <> exists (select 1 from archived_files where recording_id = recordings.id)
         union all
         select 'unqueued', lower(hex(identity)) from calls
         where pbx = ?1 and day = ?2 and recording_id is null
             and coalesce(json_extract(row, '$.recording'), '') <> ''
         order by 1, 2 limit ?3";
    query(sql, of).all(db, "listing contradictions").await
}
