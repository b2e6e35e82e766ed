//! The queue: one row per recording that a PBX was heard to hold. All SQL on `recordings`.
//!
//! A recording is in exactly one state, and nothing is ever dropped. A claim does not change the state: it notes the
//! run that holds it. The next run releases what an older one still holds; no clock is asked, for a clock that steps
//! must neither repeat nor lose work. Claiming costs the same with a thousand rows and with a million: those that
//! are ready lie in an index of their own, in the order in which they are served.

mod intake;
mod restore;
mod settle;
mod tally;

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use jiff::civil::Date;

use crate::base::digest::Digest;
use crate::base::recording::{RecordingKind, RecordingName};
use crate::base::salt::Salt;
use crate::config::QueueOrder;
use crate::store::sql::{BindAll as _, Conn, Day, Fetch as _, Ms, Run as _};

pub use crate::base::recording::RecordingState;
pub use intake::*;
pub use restore::*;
pub use settle::*;
pub use tally::*;

/// When one that is stuck is asked for again, once each time: what it failed by may be mended by then.
pub(crate) const STUCK_AGAIN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Waits beyond this were set under another clock.
const DUE_MAX_MS: i64 = 48 * 3_600_000;
/// How long what is made due leaves to what is ready already.
const OTHERS_FIRST_MS: i64 = 100;
/// Recordings whose wait is over that one claim makes ready.
const PROMOTED_PER_CLAIM: i64 = 64;

/// Days, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DayRange {
    pub from: Date,
    pub to: Date,
}

impl DayRange {
    pub const ALL: Self = Self { from: Date::MIN, to: Date::MAX };

    /// Both ends as SQL compares them. (Years of four digits sort as text; the extremes are written so that they do.)
    pub fn bounds(&self) -> (String, String) {
        let text = |day: Date, extreme: &str| {
            if (1..=9999).contains(&day.year()) && day != Date::MAX {
                day.to_string()
            } else {
                extreme.to_owned()
            }
        };
        (text(self.from, "0000"), text(self.to, "9999-99-99"))
    }
}

/// A recording that this run has claimed.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Job {
    pub id: i64,
    pub pbx: String,
    pub kind: RecordingKind,
    /// The serial number that is part of its identity.
    pub sn: String,
    pub name: RecordingName,
    /// The PBX-local day it is filed under.
    #[sqlx(try_from = "Day")]
    pub day: Date,
    #[sqlx(rename = "started_at_ms", try_from = "Ms")]
    pub started_at: Timestamp,
    /// Where it goes, relative to the archive's root.
    pub path: String,
    /// Hides what the ledger says of it.
    pub salt: Salt,
    /// The state it is in while claimed.
    pub state: RecordingState,
    /// Attempts so far, this one not counted.
    pub attempts: u32,
    pub reason: Option<String>,
    /// Failures in a row for that reason.
    pub reason_attempts: u32,
    /// Since when the PBX has not had it.
    #[sqlx(flatten, try_from = "AbsenceColumns")]
    pub absent: Option<Absence>,
    /// A download whose declared size did not fit, and when.
    #[sqlx(flatten, try_from = "MisfitColumns")]
    pub misfit: Option<(Digest, Timestamp)>,
    /// The ledger's entry of its absence.
    pub gap_number: Option<i64>,
}

/// How long and how often a PBX has said that it has no audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    pub since: Timestamp,
    pub asked_at: Timestamp,
    pub answers: u32,
}

/// Which recordings a claim takes.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub pbx: String,
    pub days: DayRange,
    pub kinds: Kinds,
    pub order: QueueOrder,
    pub at_most: u32,
}

/// Claims the next recordings that are ready, in the order in which they are to be worked on. None if none is ready.
pub async fn claim(tx: &mut Conn, wanted: &Wanted, run_id: &str, now: Timestamp) -> Result<Vec<Job>> {
    let Wanted { pbx, days, kinds, order, at_most } = wanted;
    let ((from, to), (first, last)) = (days.bounds(), kinds.bounds());
    // First those are made ready whose wait is over.
    let claim = match order {
        QueueOrder::OldestFirst => {
            "update recordings set ready = 1, due_at_ms = null where id in
                 (select id from recordings where pbx = $1 and due_at_ms <= $2 order by due_at_ms limit $3);
             update recordings set ready = 0, run_id = $4 where id in
                 (select id from recordings where pbx = $1 and ready = 1 and day between $5 and $6
                      and kind between $7 and $8
                  order by day, started_at_ms, id limit $9) returning *"
        }
        QueueOrder::NewestFirst => {
            "update recordings set ready = 1, due_at_ms = null where id in
                 (select id from recordings where pbx = $1 and due_at_ms <= $2 order by due_at_ms limit $3);
             update recordings set ready = 0, run_id = $4 where id in
                 (select id from recordings where pbx = $1 and ready = 1 and day between $5 and $6
                      and kind between $7 and $8
                  order by day desc, started_at_ms desc, id desc limit $9) returning *"
        }
    };
    let query = sqlx::query_as(claim).bind_all((pbx, now, PROMOTED_PER_CLAIM, run_id));
    let query = query.bind_all((from, to, first, last, *at_most));
    let mut jobs: Vec<Job> = query.all(tx, "claiming recordings").await?;
    // They come back in no order.
    jobs.sort_by_key(|job| (job.day, job.started_at, job.id));
    if *order == QueueOrder::NewestFirst {
        jobs.reverse();
    }
    Ok(jobs)
}

/// Claims the recording at `path`, if a rule keeps it out: for what a run left of it, not to ask for it.
pub async fn claim_excluded(tx: &mut Conn, path: &str, run_id: &str) -> Result<Option<Job>> {
    let claim = "update recordings set run_id = ? where path = ? and state = 'excluded' returning *";
    let query = sqlx::query_as(claim).bind_all((run_id, path));
    Ok(query.all(tx, "claiming a recording that is kept out").await?.pop())
}

/// Claims what is called `name`, of `pbx` or of any, if a file was found at its place that nobody vouches for; all that are.
pub async fn claim_found(
    tx: &mut Conn,
    pbx: Option<&str>,
    name: &RecordingName,
    run_id: &str,
) -> Result<Vec<Job>> {
    let claim = "update recordings set run_id = ?1, ready = 0, due_at_ms = null where name = ?2 and (?3 is null or pbx = ?3)
         and state = 'pending' and reason = 'found' and run_id is null returning *";
    let query = sqlx::query_as(claim).bind_all((run_id, name, pbx));
    query.all(tx, "claiming a recording that was found").await
}

/// The paths that older runs were working on when they ended.
pub async fn claimed_paths(db: &mut Conn) -> Result<Vec<String>> {
    sqlx::query_scalar("select path from recordings where run_id is not null")
        .all(db, "listing the claims of the last run")
        .await
}

/// Releases what older runs still hold, which costs no attempt. Waits that a clock set back made absurd are ended.
pub async fn recover(tx: &mut Conn, now: Timestamp) -> Result<()> {
    sqlx::query(
        "update recordings set ready = (state <> 'excluded' and reason is not 'doubtful_row'), run_id = null
         where run_id is not null",
    )
    .run(tx, "releasing the claims of the last run")
    .await?;
    end_waits_by_another_clock(tx, now).await
}

/// Ends waits that are longer than any: they were set by a clock that has since been put back.
pub async fn end_waits_by_another_clock(tx: &mut Conn, now: Timestamp) -> Result<()> {
    sqlx::query("update recordings set ready = 1, due_at_ms = null where due_at_ms > ?")
        .bind(now.as_millisecond() + DUE_MAX_MS)
        .run(tx, "ending waits from another clock")
        .await
}

/// Makes everything of these `kinds` in `days` due now that is owed and waits: pending, not ready, missing but not final.
///
/// What is stuck waits on, and what waits to be compared with a second download until its hour is over: earlier, that
/// proves nothing.
///
/// It is due a moment from now, and what has not been asked for yet comes first: what failed last is not the first thing
/// that the next run meets.
pub async fn make_due(tx: &mut Conn, pbx: &str, days: DayRange, kinds: Kinds, now: Timestamp) -> Result<u64> {
    let ((from, to), (first, last)) = (days.bounds(), kinds.bounds());
    sqlx::query(
        "update recordings set due_at_ms = min(due_at_ms, ?1)
         where pbx = ?2 and due_at_ms is not null and state <> 'stuck' and day between ?3 and ?4
             and kind between ?5 and ?6
             and not (coalesce(reason, '') in ('header_size', 'unknown_length')
                      and due_at_ms - coalesce(misfit_at_ms, 0) <= 3600000)",
    )
    .bind_all((now.as_millisecond() + OTHERS_FIRST_MS, pbx, from, to, first, last))
    .count(tx, "making waiting recordings due")
    .await
}

/// What a row of `recordings` says of an absence.
#[derive(sqlx::FromRow)]
struct AbsenceColumns {
    absent_since_ms: Option<Ms>,
    absent_asked_at_ms: Option<Ms>,
    absent_answers: u32,
}

impl From<AbsenceColumns> for Option<Absence> {
    fn from(row: AbsenceColumns) -> Self {
        let (Ms(since), Ms(asked_at)) = row.absent_since_ms.zip(row.absent_asked_at_ms)?;
        Some(Absence { since, asked_at, answers: row.absent_answers })
    }
}

/// What a row of `recordings` says of a download whose declared size did not fit.
#[derive(sqlx::FromRow)]
struct MisfitColumns {
    misfit_sha256: Option<Digest>,
    misfit_at_ms: Option<Ms>,
}

impl From<MisfitColumns> for Option<(Digest, Timestamp)> {
    fn from(row: MisfitColumns) -> Self {
        row.misfit_sha256.zip(row.misfit_at_ms.map(Timestamp::from))
    }
}

/// Which kinds of recordings somebody works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    Calls,
    Voicemail,
    All,
}

impl Kinds {
    /// The first and the last kind's word in SQL, in the order of text.
    fn bounds(self) -> (&'static str, &'static str) {
        match self {
            Self::Calls => ("call", "call"),
            Self::Voicemail => ("voicemail", "voicemail"),
            Self::All => ("call", "voicemail"),
        }
    }
}
