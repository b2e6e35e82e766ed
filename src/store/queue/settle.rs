//! How a claim ends.

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;

use super::{Absence, Job, RecordingState};
use crate::base::digest::Digest;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Run as _};
use crate::store::together::{Statement, statement};

/// A claim that did not end in the archive.
#[derive(Debug, Clone, PartialEq)]
pub enum PutBack {
    /// Nothing was learnt of the recording: as if it had not been claimed.
    Unclaimed,
    /// The PBX failed and not the recording: it costs nothing, and others come first.
    Postponed {
        /// Not before this.
        due_at: Timestamp,
    },
    /// Failed; tried again at `due_at`.
    Retry {
        reason: String,
        /// Not before this.
        due_at: Timestamp,
        /// The content of a download whose declared size did not fit, and when it was first seen.
        misfit: Option<(Digest, Timestamp)>,
    },
    /// Failed too often for one reason: asked for again at `due_at`, a long time from now.
    Stuck {
        reason: String,
        /// Not before this.
        due_at: Timestamp,
        misfit: Option<(Digest, Timestamp)>,
    },
    /// The PBX has no audio (yet): asked again at `due_at`; never, if that is `None`.
    Absent {
        /// `Missing`, or `Pending` while an empty file says that the audio is not ready.
        state: RecordingState,
        /// `missing` or `not_ready`.
        reason: &'static str,
        /// The answers so far, this one included.
        absence: Absence,
        /// Not before this; `None` makes it final.
        due_at: Option<Timestamp>,
        /// The ledger's entry, once it is final.
        gap_number: Option<i64>,
    },
    /// A second fetch of an archived recording came to nothing.
    RefetchOver,
}

/// Gives a recording back `attempts` that failed for `reason`, but were not its own failures. Whether it was stuck by them
/// and is owed again, due at `due_at`.
pub async fn give_back(
    tx: &mut Conn,
    id: i64,
    reason: &str,
    attempts: u32,
    due_at: Timestamp,
) -> Result<bool> {
    let stuck = "select exists (select 1 from recordings where id = ? and state = 'stuck' and reason = ?)";
    let was_stuck =
        sqlx::query_scalar(stuck).bind_all((id, reason)).one(tx, "looking for a stuck recording").await?;
    sqlx::query(
        "update recordings set reason_attempts = max(reason_attempts - ?1, 0),
             told = case state when 'stuck' then 0 else told end,
             due_at_ms = case state when 'stuck' then ?2 else due_at_ms end,
             state = case state when 'stuck' then 'pending' else state end
         where id = ?3 and reason = ?4 and state in ('pending', 'missing', 'stuck') and run_id is null",
    )
    .bind_all((attempts, due_at, id, reason))
    .run(tx, "giving attempts back")
    .await?;
    Ok(was_stuck)
}

/// Settles claims of this run whose recordings are in the archive: with the catalog's rows in the same transaction.
///
/// It returns the ids of those that this run still held; [`ensure_settled`] makes sure that those are all.
pub fn settling(jobs: &[&Job], run_id: &str) -> Result<Statement> {
    let ids: Vec<i64> = jobs.iter().map(|job| job.id).collect();
    let settle = statement(
        "update recordings set state = 'archived', reason = null, final = 0, attempts = attempts + 1,
             reason_attempts = 0, refetch = case state when 'archived' then 2 else refetch end,
             absent_since_ms = null, absent_asked_at_ms = null, absent_answers = 0,
             misfit_sha256 = null, misfit_at_ms = null, due_at_ms = null, ready = 0, run_id = null
         where id in (select value from json_each(?)) and run_id = ? returning id",
    );
    Ok(settle.bind_all((serde_json::to_string(&ids)?, run_id)))
}

/// Fails if one of these is not among what [`settling`] returned.
pub fn ensure_settled(jobs: &[&Job], settled: &[(i64,)]) -> Result<()> {
    jobs.iter().try_for_each(|job| ensure_held(job, u64::from(settled.contains(&(job.id,)))))
}

pub async fn put_back(tx: &mut Conn, job: &Job, run_id: &str, how: &PutBack) -> Result<()> {
    let held = match how {
        PutBack::Unclaimed => release(tx, job, run_id).await,
        PutBack::Postponed { due_at } => postpone(tx, job, run_id, *due_at).await,
        PutBack::Retry { reason, due_at, misfit } => {
            fail(tx, job, run_id, RecordingState::Pending, reason, *due_at, *misfit).await
        }
        PutBack::Stuck { reason, due_at, misfit } => {
            fail(tx, job, run_id, RecordingState::Stuck, reason, *due_at, *misfit).await
        }
        PutBack::Absent { state, reason, absence, due_at, gap_number } => {
            let absent =
                AbsentRow { state: *state, reason, absence, due_at: *due_at, gap_number: *gap_number };
            put_back_absent(tx, job, run_id, &absent).await
        }
        PutBack::RefetchOver => end_refetch(tx, job, run_id).await,
    };
    ensure_held(job, held.with_context(|| format!("putting {} back", job.name))?)
}

/// Every claim ends exactly once: an update that hits no row means that somebody else ended this one.
fn ensure_held(job: &Job, rows: u64) -> Result<()> {
    ensure!(rows == 1, "{} was not claimed by this run any more", job.name);
    Ok(())
}

async fn release(tx: &mut Conn, job: &Job, run_id: &str) -> Result<u64> {
    sqlx::query(
        "update recordings set ready = (state <> 'excluded' and reason is not 'doubtful_row'), run_id = null
         where id = ? and run_id = ?",
    )
    .bind_all((job.id, run_id))
    .count(tx, "ending a claim")
    .await
}

async fn postpone(tx: &mut Conn, job: &Job, run_id: &str, due_at: Timestamp) -> Result<u64> {
    sqlx::query(
        "update recordings set due_at_ms = case state when 'excluded' then null else ? end, run_id = null
         where id = ? and run_id = ?",
    )
    .bind_all((due_at, job.id, run_id))
    .count(tx, "ending a claim")
    .await
}

/// Failed: waits until `due_at`, `state` being pending or stuck. What is archived already stays archived, and what a rule
/// excluded while it was claimed stays excluded.
async fn fail(
    tx: &mut Conn,
    job: &Job,
    run_id: &str,
    state: RecordingState,
    reason: &str,
    due_at: Timestamp,
    misfit: Option<(Digest, Timestamp)>,
) -> Result<u64> {
    sqlx::query(
        "update recordings set
             reason_attempts = case when reason is ?2 then reason_attempts + 1 else 1 end,
             reason = case when state = 'excluded' or reason is 'doubtful_row' then reason else ?2 end,
             due_at_ms = case when state = 'excluded' or reason is 'doubtful_row' then null else ?3 end,
             state = case when state in ('archived', 'excluded') or reason is 'doubtful_row' then state
                          when state = 'missing' and ?1 = 'pending' then state else ?1 end,
             attempts = attempts + 1, misfit_sha256 = ?4, misfit_at_ms = ?5,
             told = 0, ready = 0, run_id = null
         where id = ?6 and run_id = ?7",
    )
    .bind_all((state, reason, due_at, misfit.map(|(sha256, _)| sha256)))
    .bind_all((misfit.map(|(_, at)| at), job.id, run_id))
    .count(tx, "ending a claim")
    .await
}

struct AbsentRow<'a> {
    state: RecordingState,
    reason: &'a str,
    absence: &'a Absence,
    due_at: Option<Timestamp>,
    gap_number: Option<i64>,
}

async fn put_back_absent(tx: &mut Conn, job: &Job, run_id: &str, absent: &AbsentRow<'_>) -> Result<u64> {
    sqlx::query(
        "update recordings set
             reason = case state when 'excluded' then reason else ?2 end,
             final = case state when 'excluded' then 0 else ?3 end,
             due_at_ms = case state when 'excluded' then null else ?7 end,
             state = case state when 'excluded' then state else ?1 end, attempts = attempts + 1, reason_attempts = 0,
             absent_since_ms = ?4, absent_asked_at_ms = ?5, absent_answers = ?6,
             gap_number = coalesce(?8, gap_number), told = 0, ready = 0, run_id = null
         where id = ?9 and run_id = ?10",
    )
    .bind_all((absent.state, absent.reason, absent.due_at.is_none(), absent.absence.since)).bind_all((absent.absence.asked_at, absent.absence.answers, absent.due_at))
    .bind_all((absent.gap_number, job.id, run_id))
    .count(tx, "ending a claim")
    .await
}

async fn end_refetch(tx: &mut Conn, job: &Job, run_id: &str) -> Result<u64> {
    sqlx::query(
        "update recordings set refetch = 2, reason = null, attempts = attempts + 1, ready = 0, due_at_ms = null,
             run_id = null where id = ? and run_id = ?",
    )
    .bind_all((job.id, run_id))
    .count(tx, "ending a claim")
    .await
}
