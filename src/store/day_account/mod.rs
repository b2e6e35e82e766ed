//! What the database knows about one day of a PBX: the two sides of its account, and the lists.

pub mod entries;
pub mod lists;

use anyhow::Context as _;
use jiff::civil::Date;
use sqlx::SqliteConnection;

use super::queue::DayRange;
use crate::base::counts::Counts;
use crate::base::recording::{RecordingKind, RecordingState};

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

pub async fn recordings(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<Recordings> {
    let groups: Vec<Group> = sqlx::query_as(
        "select kind, state, is_named, has_file, count(*) as count, sum(final) as finals from
             (select kind, state, final,
                  exists (select 1 from calls where recording_id = recordings.id) as is_named,
                  exists (select 1 from archived_files where recording_id = recordings.id) as has_file
              from recordings where pbx = ? and day = ?)
         group by kind, state, is_named, has_file",
    )
    .bind(of.pbx)
    .bind(&of.day)
    .fetch_all(db)
    .await
    .context("counting the recordings of a day")?;
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

pub async fn rows(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<Rows> {
    sqlx::query_as(
        "select count(*) as rows, coalesce(sum(answered), 0) as answered,
             coalesce(sum(answered and recording_id is null and not is_unqueued), 0) as unrecorded,
             coalesce(sum(is_unqueued), 0) as unqueued, coalesce(sum(reading < latest), 0) as vanished
         from (select answered, recording_id, reading,
                   recording_id is null and coalesce(json_extract(row, '$.recording'), '') <> '' as is_unqueued,
                   (select coalesce(max(id), 0) from readings where pbx = ?1 and source = ?2 and whole = 1) as latest
               from calls where pbx = ?1 and day = ?2)",
    )
    .bind(of.pbx)
    .bind(&of.day)
    .fetch_one(db)
    .await
    .context("counting the rows of a day")
}

/// Recordings that rows of the day name and that are filed under another day.
pub async fn counted_elsewhere(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<i64> {
    sqlx::query_scalar(
        "select count(distinct recording_id) from calls join recordings on recordings.id = recording_id
         where calls.pbx = ? and calls.day = ? and recordings.day <> calls.day",
    )
    .bind(of.pbx)
    .bind(&of.day)
    .fetch_one(db)
    .await
    .context("counting recordings of other days")
}

pub async fn utc_offsets_s(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<Vec<i64>> {
    sqlx::query_scalar(
        "select distinct utc_offset_s from calls where pbx = ? and day = ? order by utc_offset_s",
    )
    .bind(of.pbx)
    .bind(&of.day)
    .fetch_all(db)
    .await
    .context("reading the offsets of a day")
}

#[derive(Debug, sqlx::FromRow)]
pub struct Files {
    pub bytes: i64,
    pub suspect: i64,
    pub conflicts: i64,
}

pub async fn files(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<Files> {
    sqlx::query_as(
        "select coalesce(sum(size_bytes), 0) as bytes, coalesce(sum(suspect <> ''), 0) as suspect,
             coalesce(sum(conflict), 0) as conflicts
         from archived_files join recordings on recordings.id = recording_id
         where pbx = ? and day = ? and kind = 'call'",
    )
    .bind(of.pbx)
    .bind(&of.day)
    .fetch_one(db)
    .await
    .context("counting the files of a day")
}

/// The last `limit` days within `range` that anything is known about, in order.
pub async fn known_days(
    db: &mut SqliteConnection,
    pbx: &str,
    range: DayRange,
    limit: i64,
) -> anyhow::Result<Vec<Date>> {
    let (from, to) = range.bounds();
    // From one day to the one before, over the indices: however many rows a day has, it costs the same.
    let days: Vec<String> = sqlx::query_scalar(
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
    .bind(pbx)
    .bind(from)
    .bind(to)
    .bind(limit)
    .fetch_all(db)
    .await
    .context("listing the days that are known")?;
    days.iter().rev().map(|day| Ok(day.parse()?)).collect()
}
