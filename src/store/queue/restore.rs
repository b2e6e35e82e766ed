//! Recordings as the archive tells of them, put back into a queue that is made anew.

use anyhow::Result;
use jiff::civil::Date;

use super::RecordingState;
use crate::base::recording::{RecordingKind, RecordingName};
use crate::base::salt::Salt;
use crate::formats::call_lines::RecordingLine;
use crate::formats::ledger_entry::GapEntry;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Run as _};

/// Puts a recording back, and returns its row. Of what is told twice of one path the later counts, but for what is
/// archived: that stays. `None` if it did.
///
/// What is owed is due at once: when it was to be asked for again nobody knows any more.
pub async fn restore(
    tx: &mut Conn,
    pbx: &str,
    day: Date,
    name: &RecordingName,
    line: &RecordingLine,
) -> Result<Option<i64>> {
    let is_owed = match line.state {
        RecordingState::Pending => line.reason.as_deref() != Some(super::DOUBTFUL_ROW),
        RecordingState::Missing => !line.r#final,
        RecordingState::Archived | RecordingState::Excluded | RecordingState::Stuck => false,
    };
    sqlx::query_scalar(
        "insert into recordings (pbx, kind, sn, name, day, started_at_ms, path, salt, state, reason, final, attempts,
             ready, told)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 1)
         on conflict (path) do update set sn = excluded.sn, state = excluded.state, reason = excluded.reason,
             final = excluded.final, attempts = max(attempts, excluded.attempts), ready = excluded.ready
         where state <> 'archived' or excluded.state = 'archived'
         returning id",
    )
    .bind_all((pbx, line.kind, &line.sn, name, day, line.started_at, &line.path, &line.salt))
    .bind_all((line.state, &line.reason, line.r#final, line.attempts, is_owed))
    .maybe(tx, format!("putting {name} back")).await
}

/// Notes that a recording was archived, whatever else is told of it, and returns its path.
pub async fn restore_archived(tx: &mut Conn, id: i64) -> Result<String> {
    sqlx::query_scalar(
        "update recordings set state = 'archived', reason = null, final = 0, ready = 0 where id = ? returning path",
    )
    .bind(id)
    .one(tx, "noting that a recording was archived")
    .await
}

/// Owes every recording again that is in the archive by its sidecar's word alone, and not in the catalog.
pub async fn owe_unfiled(tx: &mut Conn) -> Result<()> {
    sqlx::query(
        "update recordings set state = 'pending', ready = 1, told = 0 where state = 'archived'
             and not exists (select 1 from archived_files where recording_id = recordings.id)",
    )
    .run(tx, "owing what is not in the catalog")
    .await
}

/// A recording that is not archived, and what the ledger may name it by.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Absent {
    pub id: i64,
    pub pbx: String,
    pub kind: RecordingKind,
    /// The serial number that is part of its identity.
    pub sn: String,
    pub name: RecordingName,
    /// Hides what the ledger says of it.
    pub salt: Salt,
}

/// The next `limit` recordings after row `after` that are not archived.
pub async fn absent_after(db: &mut Conn, after: i64, limit: i64) -> Result<Vec<Absent>> {
    sqlx::query_as(
        "select id, pbx, kind, sn, name, salt from recordings where id > ? and state <> 'archived'
         order by id limit ?",
    )
    .bind_all((after, limit))
    .all(db, "reading what is not archived")
    .await
}

/// Ties a recording to the entry of its absence, which named it with the serial number `sn`.
///
/// It is missing for good, unless as many attempts as the entry tells are known of it: then what is known of it is the
/// later word.
pub async fn restore_gap(tx: &mut Conn, id: i64, sn: &str, number: i64, gap: &GapEntry) -> Result<()> {
    sqlx::query(
        "update recordings set gap_number = ?1, sn = ?5, attempts = max(attempts, ?2),
             state = case when attempts < ?2 then 'missing' else state end,
             reason = case when attempts < ?2 then ?3 else reason end,
             final = case when attempts < ?2 then 1 else final end,
             ready = case when attempts < ?2 then 0 else ready end
         where id = ?4",
    )
    .bind_all((number, gap.attempts, &gap.reason, id, sn))
    .run(tx, "tying a recording to the entry of its absence")
    .await
}

/// Notes which entry told of a recording's absence before it was archived.
pub async fn note_gap(tx: &mut Conn, id: i64, number: i64) -> Result<()> {
    sqlx::query("update recordings set gap_number = ? where id = ?")
        .bind_all((number, id))
        .run(tx, "noting the entry of an absence")
        .await
}

/// Lets what is missing for good without an entry that says so be asked for again: only an entry makes it so.
pub async fn reopen_unproven(tx: &mut Conn) -> Result<u64> {
    sqlx::query(
        "update recordings set final = 0, ready = 1, told = 0
         where state = 'missing' and final = 1 and gap_number is null",
    )
    .count(tx, "asking again for what is missing without an entry")
    .await
}

/// Notes that a recording was fetched once more, where a call more than a day away from the first one named it after it
/// was archived: it is not fetched a third time.
pub async fn restore_refetches(tx: &mut Conn) -> Result<()> {
    sqlx::query(
        "update recordings set refetch = 2 where state = 'archived' and id in
             (select named.id from calls
              join recordings named on named.id = calls.recording_id
              join archived_files first on first.recording_id = named.id and first.conflict = 0
              where abs(calls.started_at_ms - named.started_at_ms) > 86400000
                  and calls.first_seen_at_ms > first.archived_at_ms)",
    )
    .run(tx, "noting what was fetched once more")
    .await
}

/// The row of the recording at `path`, without regard to case.
pub async fn id_of_path(db: &mut Conn, path: &str) -> Result<Option<i64>> {
    sqlx::query_scalar("select id from recordings where path = ?")
        .bind(path)
        .maybe(db, "looking for the recording of a path")
        .await
}
