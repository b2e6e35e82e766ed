//! How recordings come into the queue, and how an operator's rules keep them out.

use anyhow::Context as _;
use jiff::{Timestamp, civil::Date};
use sqlx::SqliteConnection;

use super::RecordingState;
use crate::base::recording::{RecordingKind, RecordingName};
use crate::base::salt::Salt;
use crate::store::sql::{BindAll as _, Fetch as _, Ms, Run as _};

/// The reason of a pending recording that is held: a rule may keep it out, and its row cannot be read.
pub const DOUBTFUL_ROW: &str = "doubtful_row";

/// A recording that a CDR row names, or a message in a voicemail box.
#[derive(Debug, Clone)]
pub struct NewRecording<'a> {
    pub pbx: &'a str,
    pub kind: RecordingKind,
    /// The device's serial number; empty while nobody knows it.
    pub sn: &'a str,
    pub name: &'a RecordingName,
    /// The local day of the row.
    pub day: Date,
    pub started_at: Timestamp,
    /// Paths to choose from, the best first: the first that nobody holds is taken, for ever.
    pub paths: &'a [String],
}

/// What became of a recording that was offered to the queue.
#[derive(Debug, Clone, Copy)]
pub struct Enqueued {
    pub id: i64,
    /// Whether it was unknown until now.
    pub new: bool,
    pub state: RecordingState,
    /// Start of the first call that named it.
    pub started_at: Timestamp,
}

/// Puts a recording into the queue, ready at once, unless it is there already.
pub async fn enqueue(tx: &mut SqliteConnection, recording: &NewRecording<'_>) -> anyhow::Result<Enqueued> {
    if let Some(known) = find(tx, recording).await? {
        return Ok(known);
    }
    let path = free_path(tx, recording.paths).await?;
    let id = sqlx::query_scalar(
        "insert into recordings (pbx, kind, sn, name, day, started_at_ms, path, salt, ready)
         values (?, ?, ?, ?, ?, ?, ?, ?, 1) returning id",
    )
    .bind_all((recording.pbx, recording.kind, recording.sn, recording.name.as_bytes()))
    .bind_all((recording.day, recording.started_at, path, &Salt::random().as_bytes()[..]))
    .fetch_one(tx)
    .await
    .with_context(|| format!("putting {} into the queue", recording.name))?;
    Ok(Enqueued { id, new: true, state: RecordingState::Pending, started_at: recording.started_at })
}

async fn find(tx: &mut SqliteConnection, recording: &NewRecording<'_>) -> anyhow::Result<Option<Enqueued>> {
    let row: Option<(i64, RecordingState, Ms)> = sqlx::query_as(
        // One that was archived before the serial number was known is the same one.
        "select id, state, started_at_ms from recordings
         where pbx = ? and kind = ? and sn in (?, '') and name = ? order by sn desc limit 1",
    )
    .bind_all((recording.pbx, recording.kind, recording.sn, recording.name.as_bytes()))
    .maybe(tx, "looking up a recording")
    .await?;
    Ok(row.map(|(id, state, Ms(started_at))| Enqueued { id, new: false, state, started_at }))
}

async fn free_path<'a>(tx: &mut SqliteConnection, paths: &'a [String]) -> anyhow::Result<&'a str> {
    for path in paths {
        let taken: bool = sqlx::query_scalar(
            "select exists (select 1 from recordings where path = ?1)
                 or exists (select 1 from archived_files where path = ?1)",
        )
        .bind(path)
        .one(tx, "looking for a free path")
        .await?;
        if !taken {
            return Ok(path);
        }
    }
    anyhow::bail!("every path for this recording is taken: {}", paths.join(", "))
}

/// Gives the learnt serial number to recordings that were heard of before it was known. What the ledger tells of, or is
/// about to, keeps the name by which it was told.
pub async fn assign_serial_number(tx: &mut SqliteConnection, pbx: &str, sn: &str) -> anyhow::Result<()> {
    sqlx::query(
        "update or ignore recordings set sn = ? where pbx = ? and sn = '' and run_id is null and gap_number is null
             and not exists (select 1 from archived_files where recording_id = recordings.id)",
    )
    .bind_all((sn, pbx))
    .run(tx, "assigning the serial number")
    .await
}

/// Keeps a recording out because of `rule`, and tells whether that changed anything. An archived one stays archived; one
/// that is claimed is excluded once its claim has ended in anything else.
pub async fn exclude(tx: &mut SqliteConnection, id: i64, rule: &str) -> anyhow::Result<bool> {
    let done = sqlx::query(
        "update recordings set state = 'excluded', reason = ?1, ready = 0, due_at_ms = null, told = 0
         where id = ?2 and (state in ('pending', 'missing', 'stuck') or state = 'excluded' and reason <> ?1)",
    )
    .bind_all((rule, id))
    .count(tx, "excluding a recording")
    .await?;
    Ok(done > 0)
}

/// Lets a recording back in that no rule keeps out or holds any more, and tells whether that changed anything.
pub async fn include(tx: &mut SqliteConnection, id: i64) -> anyhow::Result<bool> {
    let done = sqlx::query(
        "update recordings set state = 'pending', reason = null, ready = (run_id is null), told = 0
         where id = ?1 and (state = 'excluded' or state = 'pending' and reason = ?2)",
    )
    .bind_all((id, DOUBTFUL_ROW))
    .count(tx, "letting a recording back in")
    .await?;
    Ok(done > 0)
}

/// Holds a recording of which the rules cannot tell whether they keep it out, and tells whether that changed anything.
///
/// It is owed and not asked for, until its row can be read. One that is claimed is held once its claim has ended in anything
/// else than the archive.
pub async fn hold(tx: &mut SqliteConnection, id: i64) -> anyhow::Result<bool> {
    let done = sqlx::query(
        "update recordings set state = 'pending', reason = ?1, ready = 0, due_at_ms = null, told = 0
         where id = ?2 and (state in ('stuck', 'excluded') or state = 'pending' and reason is not ?1)",
    )
    .bind_all((DOUBTFUL_ROW, id))
    .count(tx, "holding a recording")
    .await?;
    Ok(done > 0)
}

/// Asks once more for an archived recording: a later call names it too, and may mean other audio.
pub async fn schedule_refetch(tx: &mut SqliteConnection, id: i64) -> anyhow::Result<()> {
    sqlx::query(
        "update recordings set refetch = 1, ready = 1, reason_attempts = 0
         where id = ? and state = 'archived' and refetch = 0 and run_id is null",
    )
    .bind(id)
    .run(tx, "asking for a recording once more")
    .await
}

/// Makes a missing recording pending and ready: the PBX shows it again. Also where its absence was final.
pub async fn revive(tx: &mut SqliteConnection, id: i64) -> anyhow::Result<()> {
    sqlx::query(
        "update recordings set state = 'pending', reason = null, final = 0, told = 0, due_at_ms = null,
             ready = (run_id is null), absent_since_ms = null, absent_asked_at_ms = null, absent_answers = 0
         where id = ? and state = 'missing'",
    )
    .bind(id)
    .run(tx, "queueing a recording that is there again")
    .await
}

/// The next `limit` recordings of `pbx` after row `after` that a change of rules can concern: all that are not archived,
/// or, where there are no rules any more, those that one excluded or held.
pub async fn concerned_by_rules(
    db: &mut SqliteConnection,
    pbx: &str,
    after: i64,
    limit: i64,
    any_rules: bool,
) -> anyhow::Result<Vec<i64>> {
    sqlx::query_scalar(
        "select id from recordings
         where pbx = ?1 and id > ?2 and (state = 'excluded' or state = 'pending' and reason = ?5
             or ?3 and state <> 'archived') order by id limit ?4",
    )
    .bind_all((pbx, after, any_rules, limit, DOUBTFUL_ROW))
    .all(db, "listing recordings")
    .await
}

/// Where a recording is, or would be.
pub async fn path_of(db: &mut SqliteConnection, id: i64) -> anyhow::Result<Option<String>> {
    sqlx::query_scalar("select path from recordings where id = ?")
        .bind(id)
        .maybe(db, "reading the path of a recording")
        .await
}
