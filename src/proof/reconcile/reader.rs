//! Reads the account of a day. The SQL of its numbers; that of its lists is in `lists`.

use anyhow::Context as _;
use jiff::{Timestamp, civil::Date};
use sqlx::SqliteConnection;

use super::account::{Calls, DayAccount, Readings};
use super::entries::{DayFindings, Difference, Listing, Suspects};
use super::lists::{self, OfDay};
use crate::archive::Folder;
use crate::base::counts::Counts;
use crate::base::recording::{RecordingKind, RecordingState};
use crate::store::calls;
use crate::store::evidence;
use crate::store::findings;
use crate::store::queue::DayRange;

/// Findings that are told of each day, also where nothing else is told by name.
const FINDINGS_LISTED_MIN: i64 = 20;

/// Reads the account of one day of `pbx`; each of its lists tells at most `listed_max`.
///
/// The caller holds a transaction, so that all its numbers are of one moment.
pub async fn account(
    moment: &mut SqliteConnection,
    pbx: &str,
    day: Date,
    listed_max: i64,
) -> anyhow::Result<DayAccount> {
    let of = OfDay { pbx, day: day.to_string(), listed_max };
    let row = calls::day_row(moment, pbx, day).await?;
    let recordings = recordings(moment, &of).await?;
    let rows = rows(moment, &of).await?;
    let files = files(moment, &of).await?;
    let mut account = DayAccount {
        day,
        settled_at: time(row.settled_at_ms),
        revision: row.revision,
        readings: Readings {
            whole: row.readings,
            first_at: time(row.first_read_at_ms),
            last_at: time(Some(row.last_read_at_ms).filter(|ms| *ms > 0)),
        },
        utc_offsets_s: utc_offsets_s(moment, &of).await?,
        counts: recordings.counts,
        listed: recordings.listed + rows.unqueued,
        sums: false,
        complete: false,
        differences: differences(moment, &of, &recordings, rows.unqueued).await?,
        bytes: files.bytes,
        calls: Calls {
            rows: rows.rows,
            answered: rows.answered,
            counted_elsewhere: counted_elsewhere(moment, &of).await?,
            vanished: rows.vanished,
        },
        unrecorded: lists::unrecorded(moment, &of, rows.unrecorded).await?,
        unarchived: lists::unarchived(moment, &of, recordings.unarchived).await?,
        unnamed: lists::unnamed(moment, &of, recordings.unnamed).await?,
        vanished: lists::vanished(moment, &of, rows.vanished).await?,
        suspect: match files.suspect {
            0 => Suspects::default(),
            _ => lists::suspect(moment, &of).await?,
        },
        conflicts: lists::conflicts(moment, &of, files.conflicts).await?,
        findings: findings_of(moment, &of, day).await?,
        evidence: evidence::evidence_of(moment, pbx, day).await?,
        voicemail: recordings.voicemail,
    };
    account.judge();
    Ok(account)
}

fn time(ms: Option<i64>) -> Option<Timestamp> {
    ms.and_then(|ms| Timestamp::from_millisecond(ms).ok())
}

/// Recordings of a day as the queue has them, each against the rows that name it and the files that it has.
#[derive(Default)]
struct Recordings {
    /// Calls that rows name.
    listed: i64,
    /// Of these, the ones on whose state queue and catalog agree.
    counts: Counts,
    archived_without_file: i64,
    file_without_archived: i64,
    unnamed: i64,
    unarchived: i64,
    voicemail: Counts,
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

async fn recordings(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<Recordings> {
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

/// Call rows of a day, counted.
#[derive(sqlx::FromRow)]
struct Rows {
    rows: i64,
    answered: i64,
    /// Answered, and naming no recording.
    unrecorded: i64,
    /// Naming a recording that nobody has heard of.
    unqueued: i64,
    vanished: i64,
}

async fn rows(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<Rows> {
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
async fn counted_elsewhere(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<i64> {
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

async fn utc_offsets_s(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<Vec<i64>> {
    sqlx::query_scalar(
        "select distinct utc_offset_s from calls where pbx = ? and day = ? order by utc_offset_s",
    )
    .bind(of.pbx)
    .bind(&of.day)
    .fetch_all(db)
    .await
    .context("reading the offsets of a day")
}

/// Archived files of a day, counted.
#[derive(sqlx::FromRow)]
struct Files {
    bytes: i64,
    suspect: i64,
    conflicts: i64,
}

async fn files(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<Files> {
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

async fn differences(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    recordings: &Recordings,
    unqueued: i64,
) -> anyhow::Result<Listing<Difference>> {
    let mut differences = Listing::default();
    if recordings.archived_without_file + recordings.file_without_archived + unqueued > 0 {
        differences.items = lists::differences(db, of).await?;
    }
    differences.count = recordings.archived_without_file + recordings.file_without_archived + unqueued;
    Ok(differences)
}

async fn findings_of(db: &mut SqliteConnection, of: &OfDay<'_>, day: Date) -> anyhow::Result<DayFindings> {
    let of_day = findings::OfDay::new(of.pbx, day, Folder::day(of.pbx, day)?.as_str());
    let by = of_day.counts(db).await?;
    if by.is_empty() {
        return Ok(DayFindings::default());
    }
    let list = Listing {
        count: by.values().sum(),
        items: of_day.first(db, of.listed_max.max(FINDINGS_LISTED_MIN)).await?,
    };
    Ok(DayFindings { by, list })
}

/// The last `limit` days within `range` that anything is known of, in their order.
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
