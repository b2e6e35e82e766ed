//! What the queue holds, counted.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{DayRange, Kinds};
use crate::base::counts::Counts;
use crate::base::recording::{RecordingKind, RecordingName, RecordingState, printable};
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Ms};

pub use crate::base::remedy::Reason;

/// Counts the recordings of `pbx` of these `kinds` within `days`.
pub async fn counts(db: &mut Conn, pbx: &str, days: DayRange, kinds: Kinds) -> Result<Counts> {
    let ((from, to), (first, last)) = (days.bounds(), kinds.bounds());
    let rows: Vec<(RecordingState, i64, i64)> = sqlx::query_as(
        "select state, sum(recordings), sum(recordings * final) from recording_counts
         where pbx = ? and day between ? and ? and kind between ? and ? group by state",
    )
    .bind_all((pbx, from, to, first, last))
    .all(db, "counting recordings")
    .await?;
    let mut counts = Counts::default();
    for (state, count, finals) in rows {
        counts.count(state, count, finals);
    }
    Ok(counts)
}

/// Counts the recordings of every PBX and kind.
pub async fn counts_of_all(db: &mut Conn) -> Result<BTreeMap<(String, RecordingKind), Counts>> {
    let rows: Vec<(String, RecordingKind, RecordingState, i64, i64)> = sqlx::query_as(
        "select pbx, kind, state, sum(recordings), sum(recordings * final) from recording_counts group by pbx, kind, state",
    )
    .all(db, "counting recordings")
    .await?;
    let mut counts: BTreeMap<_, Counts> = BTreeMap::new();
    for (pbx, kind, state, count, finals) in rows {
        counts.entry((pbx, kind)).or_default().count(state, count, finals);
    }
    Ok(counts)
}

/// What is not archived, grouped by state and reason, the largest group first.
pub async fn reasons(db: &mut Conn, pbx: &str, days: DayRange, kinds: Kinds) -> Result<Vec<Reason>> {
    let ((from, to), (first, last)) = (days.bounds(), kinds.bounds());
    let rows: Vec<(RecordingState, String, i64, RecordingName)> = sqlx::query_as(
        "select state, iif(reason = '', 'waiting', reason), n, coalesce((select min(name) from recordings
             where recordings.pbx = ?1 and recordings.day = first_day and kind between ?4 and ?5
                 and recordings.state = groups.state and coalesce(recordings.reason, '') = groups.reason), 'none')
         from (select state, reason, sum(recordings) as n, min(day) as first_day from recording_counts
             where pbx = ?1 and day between ?2 and ?3 and kind between ?4 and ?5 and state <> 'archived'
             group by state, reason) groups
         order by n desc, state, reason",
    )
    .bind_all((pbx, from, to, first, last))
    .all(db, "grouping what is not archived")
    .await?;
    let reason = |(state, reason, count, name): (RecordingState, String, i64, RecordingName)| Reason {
        state,
        reason: printable(reason.as_bytes()),
        count,
        example: name.to_string(),
    };
    Ok(rows.into_iter().map(reason).collect())
}

/// Whether a claim may find something: a recording of these `kinds` within `days` is ready, or any wait is over.
pub async fn may_claim(
    db: &mut Conn,
    pbx: &str,
    days: DayRange,
    kinds: Kinds,
    now: Timestamp,
) -> Result<bool> {
    let ((from, to), (first, last)) = (days.bounds(), kinds.bounds());
    sqlx::query_scalar(
        "select exists (select 1 from recordings
                 where pbx = ?1 and ready = 1 and day between ?2 and ?3 and kind between ?5 and ?6)
             or exists (select 1 from recordings where pbx = ?1 and due_at_ms <= ?4)",
    )
    .bind_all((pbx, from, to, now, first, last))
    .one(db, "looking for ready recordings")
    .await
}

/// Whether any recording of `pbx` within `days` is claimed.
pub async fn any_claimed(db: &mut Conn, pbx: &str, days: DayRange) -> Result<bool> {
    let (from, to) = days.bounds();
    sqlx::query_scalar(
        "select exists (select 1 from recordings where run_id is not null and pbx = ? and day between ? and ?)",
    )
    .bind_all((pbx, from, to))
    .one(db, "looking for claimed recordings")
    .await
}

/// When the next waiting recording of `pbx` of these `kinds` within `days` is due; `None` if none waits.
pub async fn next_due(db: &mut Conn, pbx: &str, days: DayRange, kinds: Kinds) -> Result<Option<Timestamp>> {
    let ((from, to), (first, last)) = (days.bounds(), kinds.bounds());
    let due: Option<Ms> = sqlx::query_scalar(
        "select due_at_ms from recordings where pbx = ? and due_at_ms is not null and day between ? and ?
             and kind between ? and ? order by due_at_ms limit 1",
    )
    .bind_all((pbx, from, to, first, last))
    .maybe(db, "looking for the next due recording")
    .await?;
    Ok(due.map(Timestamp::from))
}

/// The start of the oldest call recording of `pbx` that is owed.
pub async fn oldest_owed(db: &mut Conn, pbx: &str) -> Result<Option<Timestamp>> {
    let oldest: Option<Ms> = sqlx::query_scalar(
        "select min(started_at_ms) from recordings
         where pbx = ?1 and kind = 'call' and state in ('pending', 'stuck') and day =
             (select min(day) from recording_counts
              where pbx = ?1 and kind = 'call' and state in ('pending', 'stuck'))",
    )
    .bind(pbx)
    .one(db, "looking for the oldest owed recording")
    .await?;
    Ok(oldest.map(Timestamp::from))
}

/// Counts the call recordings of `pbx` that are owed and began before `before`: all of the days before, and those of the days
/// that it may be part of.
pub async fn owed_before(db: &mut Conn, pbx: &str, before: Timestamp) -> Result<i64> {
    let day = before.to_zoned(TimeZone::UTC).date();
    let near = (day.yesterday().unwrap_or(day), day.tomorrow().unwrap_or(day));
    sqlx::query_scalar(
        "select (select coalesce(sum(recordings), 0) from recording_counts
             where pbx = ?1 and day < ?3 and kind = 'call' and state in ('pending', 'stuck'))
         + (select count(*) from recordings
             where pbx = ?1 and day between ?3 and ?4 and kind = 'call' and started_at_ms < ?2
                 and state in ('pending', 'stuck'))",
    )
    .bind_all((pbx, before, near.0, near.1))
    .one(db, "counting what is owed and old")
    .await
}

/// Recordings of one PBX and kind that are not archived, in one state for one reason.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Unarchived {
    pub pbx: String,
    pub kind: RecordingKind,
    pub state: RecordingState,
    /// The class of the last error or the name of the rule; none if nothing was tried yet.
    pub reason: Option<String>,
    /// Whether they are not asked for any more by themselves.
    pub is_final: bool,
    pub count: i64,
    pub oldest_at_ms: Ms,
    example_id: i64,
}

pub async fn unarchived(db: &mut Conn) -> Result<Vec<Unarchived>> {
    sqlx::query_as(
        // Of those of its first day: a look at each of a million costs seconds.
        "select groups.pbx, groups.kind, groups.state, groups.reason, groups.final as is_final, groups.count,
             min(started_at_ms) as oldest_at_ms, min(id) as example_id
         from (select pbx, kind, state, nullif(reason, '') as reason, final, sum(recordings) as count, min(day) as day
             from recording_counts where state <> 'archived' group by pbx, kind, state, reason, final) groups
         join recordings on recordings.pbx = groups.pbx and recordings.day = groups.day
             and recordings.kind = groups.kind and recordings.state = groups.state
             and recordings.reason is groups.reason and recordings.final = groups.final
         group by groups.pbx, groups.kind, groups.state, groups.reason, groups.final",
    )
    .all(db, "grouping what is not archived")
    .await
}

pub fn counted<'a>(groups: impl Iterator<Item = &'a Unarchived>) -> Counts {
    let mut counts = Counts::default();
    for group in groups {
        let finals = if group.is_final { group.count } else { 0 };
        counts.count(group.state, group.count, finals);
    }
    counts
}

/// The groups as reasons that people read, the largest first, each with the name of one recording.
pub async fn reasons_of<'a>(
    db: &mut Conn,
    groups: impl Iterator<Item = &'a Unarchived>,
) -> Result<Vec<Reason>> {
    let mut reasons: Vec<Reason> = Vec::new();
    for group in groups {
        let reason = group.reason.as_deref().unwrap_or("waiting");
        let reason = printable(reason.as_bytes());
        // Final or not is no difference to who reads the reason.
        match reasons.iter_mut().find(|other| other.state == group.state && other.reason == reason) {
            Some(known) => known.count += group.count,
            None => reasons.push(Reason {
                state: group.state,
                reason,
                count: group.count,
                example: name_of(db, group.example_id).await?,
            }),
        }
    }
    reasons.sort_by(|one, other| {
        let order = |reason: &Reason| (-reason.count, reason.state.as_str(), reason.reason.clone());
        order(one).cmp(&order(other))
    });
    Ok(reasons)
}

async fn name_of(db: &mut Conn, id: i64) -> Result<String> {
    let name: RecordingName = sqlx::query_scalar("select name from recordings where id = ?")
        .bind(id)
        .one(db, "reading a recording's name")
        .await?;
    Ok(name.to_string())
}
