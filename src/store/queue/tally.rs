//! What the queue holds, counted.

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::SqliteConnection;

use super::{DayRange, Kinds};
use crate::base::recording::{RecordingName, printable};

/// Recordings by state; the states sum to what the PBX listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// In the archive.
    pub archived: i64,
    /// The PBX says that it does not have them.
    pub missing: i64,
    /// Of these, not asked for any more by itself.
    #[serde(skip)]
    pub missing_final: i64,
    /// Kept out by a rule.
    pub excluded: i64,
    /// Owed.
    pub pending: i64,
    /// Failed too often for one reason.
    pub stuck: i64,
}

impl Counts {
    /// All recordings that the PBX listed.
    pub fn listed(&self) -> i64 {
        self.archived + self.missing + self.excluded + self.pending + self.stuck
    }
}

/// Counts the recordings of `pbx` of these `kinds` within `days`.
pub async fn counts(
    db: &mut SqliteConnection,
    pbx: &str,
    days: DayRange,
    kinds: Kinds,
) -> anyhow::Result<Counts> {
    let ((from, to), (first, last)) = (days.bounds(), kinds.bounds());
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "select state, count(*), sum(final) from recordings
         where pbx = ? and day between ? and ? and kind between ? and ? group by state",
    )
    .bind(pbx)
    .bind(from)
    .bind(to)
    .bind(first)
    .bind(last)
    .fetch_all(db)
    .await
    .context("counting recordings")?;
    let mut counts = Counts::default();
    for (state, count, finals) in rows {
        match state.as_str() {
            "archived" => counts.archived = count,
            "missing" => (counts.missing, counts.missing_final) = (count, finals),
            "excluded" => counts.excluded = count,
            "stuck" => counts.stuck = count,
            _ => counts.pending = count,
        }
    }
    Ok(counts)
}

/// Counts the recordings of every PBX and kind.
pub async fn counts_of_all(db: &mut SqliteConnection) -> anyhow::Result<Vec<(String, String, Counts)>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        pbx: String,
        kind: String,
        archived: i64,
        missing: i64,
        missing_final: i64,
        excluded: i64,
        pending: i64,
        stuck: i64,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "select pbx, kind, sum(state = 'archived') as archived, sum(state = 'missing') as missing,
             sum(final) as missing_final, sum(state = 'excluded') as excluded, sum(state = 'pending') as pending,
             sum(state = 'stuck') as stuck
         from recordings group by pbx, kind",
    )
    .fetch_all(db)
    .await
    .context("counting recordings")?;
    let counted = |row: Row| {
        let Row { pbx, kind, archived, missing, missing_final, excluded, pending, stuck } = row;
        (pbx, kind, Counts { archived, missing, missing_final, excluded, pending, stuck })
    };
    Ok(rows.into_iter().map(counted).collect())
}

/// Recordings that are not archived, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Their state.
    pub state: String,
    /// The class of the last error or the name of the rule; `waiting` if none was tried yet.
    pub reason: String,
    /// How many.
    pub count: i64,
    /// The name of one of them, safe to print.
    pub example: String,
}

/// What is not archived, grouped by state and reason, the largest group first.
pub async fn reasons(
    db: &mut SqliteConnection,
    pbx: &str,
    days: DayRange,
    kinds: Kinds,
) -> anyhow::Result<Vec<Reason>> {
    let ((from, to), (first, last)) = (days.bounds(), kinds.bounds());
    let rows: Vec<(String, String, i64, Vec<u8>)> = sqlx::query_as(
        "select state, coalesce(reason, 'waiting'), count(*) as n, min(name) from recordings
         where pbx = ? and day between ? and ? and kind between ? and ? and state <> 'archived'
         group by state, reason order by n desc, state, reason",
    )
    .bind(pbx)
    .bind(from)
    .bind(to)
    .bind(first)
    .bind(last)
    .fetch_all(db)
    .await
    .context("grouping what is not archived")?;
    let told = |(state, reason, count, name): (String, String, i64, Vec<u8>)| {
        let example = RecordingName::new(name).map(|name| name.to_string()).unwrap_or_default();
        Reason { state, reason: printable(reason.as_bytes()), count, example }
    };
    Ok(rows.into_iter().map(told).collect())
}

/// Whether a claim may find something: a recording of these `kinds` within `days` is ready, or any wait is over.
pub async fn may_claim(
    db: &mut SqliteConnection,
    pbx: &str,
    days: DayRange,
    kinds: Kinds,
    now: Timestamp,
) -> anyhow::Result<bool> {
    let ((from, to), (first, last)) = (days.bounds(), kinds.bounds());
    sqlx::query_scalar(
        "select exists (select 1 from recordings
                 where pbx = ?1 and ready = 1 and day between ?2 and ?3 and kind between ?5 and ?6)
             or exists (select 1 from recordings where pbx = ?1 and due_at_ms <= ?4)",
    )
    .bind(pbx)
    .bind(from)
    .bind(to)
    .bind(now.as_millisecond())
    .bind(first)
    .bind(last)
    .fetch_one(db)
    .await
    .context("looking for ready recordings")
}

/// Whether any recording of `pbx` within `days` is claimed.
pub async fn any_claimed(db: &mut SqliteConnection, pbx: &str, days: DayRange) -> anyhow::Result<bool> {
    let (from, to) = days.bounds();
    sqlx::query_scalar(
        "select exists (select 1 from recordings where run_id is not null and pbx = ? and day between ? and ?)",
    )
    .bind(pbx)
    .bind(from)
    .bind(to)
    .fetch_one(db)
    .await
    .context("looking for claimed recordings")
}

/// When the next waiting recording of `pbx` of these `kinds` within `days` is due; `None` if none waits.
pub async fn next_due(
    db: &mut SqliteConnection,
    pbx: &str,
    days: DayRange,
    kinds: Kinds,
) -> anyhow::Result<Option<Timestamp>> {
    let ((from, to), (first, last)) = (days.bounds(), kinds.bounds());
    let due: Option<i64> = sqlx::query_scalar(
        "select due_at_ms from recordings where pbx = ? and due_at_ms is not null and day between ? and ?
             and kind between ? and ? order by due_at_ms limit 1",
    )
    .bind(pbx)
    .bind(from)
    .bind(to)
    .bind(first)
    .bind(last)
    .fetch_optional(db)
    .await
    .context("looking for the next due recording")?;
    Ok(due.map(Timestamp::from_millisecond).transpose()?)
}

/// The start of the oldest call recording of `pbx` that is owed.
pub async fn oldest_owed(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<Option<Timestamp>> {
    let oldest: Option<i64> = sqlx::query_scalar(
        "select min(started_at_ms) from recordings
         where pbx = ? and kind = 'call' and state in ('pending', 'stuck')",
    )
    .bind(pbx)
    .fetch_one(db)
    .await
    .context("looking for the oldest owed recording")?;
    Ok(oldest.map(Timestamp::from_millisecond).transpose()?)
}

/// Counts the call recordings of `pbx` that are owed and began before `before`.
pub async fn owed_before(db: &mut SqliteConnection, pbx: &str, before: Timestamp) -> anyhow::Result<i64> {
    sqlx::query_scalar(
        "select count(*) from recordings
         where pbx = ? and kind = 'call' and started_at_ms < ? and state in ('pending', 'stuck')",
    )
    .bind(pbx)
    .bind(before.as_millisecond())
    .fetch_one(db)
    .await
    .context("counting what is owed and old")
}
