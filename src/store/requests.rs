//! The process that owns the state, and what others ask of it. All SQL on `service` and `requests`.
//!
//! A process without the lock writes nothing but rows of `requests`; the owner executes them and answers there.

use anyhow::Result;
use jiff::Timestamp;

use crate::store::db;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Ms, Run as _};

#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct ServiceRow {
    pub pid: i64,
    pub started_at_ms: Ms,
    /// When it last proved that it makes progress.
    pub beat_at_ms: Ms,
    /// When it ended in good order.
    pub stopped_at_ms: Option<Ms>,
}

pub async fn note_start(tx: &mut Conn, pid: u32, now: Timestamp) -> Result<()> {
    sqlx::query(
        "insert into service (id, pid, version, started_at_ms, beat_at_ms) values (1, ?1, ?2, ?3, ?3)
         on conflict (id) do update set pid = excluded.pid, version = excluded.version,
             started_at_ms = excluded.started_at_ms, beat_at_ms = excluded.beat_at_ms, stopped_at_ms = null",
    )
    .bind_all((pid, env!("CARGO_PKG_VERSION"), now))
    .run(tx, "noting the start of the service")
    .await
}

/// Notes that the service makes progress: the commit itself is the proof.
pub async fn note_beat(tx: &mut Conn, now: Timestamp) -> Result<()> {
    sqlx::query("update service set beat_at_ms = ?")
        .bind_all((now,))
        .run(tx, "noting the progress of the service")
        .await
}

pub async fn note_stop(tx: &mut Conn, now: Timestamp) -> Result<()> {
    sqlx::query("update service set stopped_at_ms = ?")
        .bind_all((now,))
        .run(tx, "noting the end of the service")
        .await
}

/// What is known of the service; `None` if none ever ran here.
pub async fn service(db: &mut Conn) -> Result<Option<ServiceRow>> {
    if !db::has_table(db, "service").await? {
        return Ok(None);
    }
    sqlx::query_as("select pid, started_at_ms, beat_at_ms, stopped_at_ms from service")
        .maybe(db, "reading what is known of the service")
        .await
}

/// A request as its maker sees it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Answer {
    pub progress: Option<String>,
    /// What came of it, as JSON; `None` while it is not done.
    pub outcome: Option<String>,
}

/// Makes a request, and returns its number. Needs no lock.
pub async fn ask(db: &mut Conn, request: &str, now: Timestamp) -> Result<i64> {
    sqlx::query_scalar("insert into requests (request, made_at_ms) values (?, ?) returning id")
        .bind_all((request, now))
        .one(db, "handing the work to the service")
        .await
}

/// Gives a request up. Needs no lock. What is in flight for it is finished.
pub async fn cancel(db: &mut Conn, id: i64) -> Result<()> {
    sqlx::query("update requests set cancelled = 1 where id = ?")
        .bind(id)
        .run(db, "giving a request up")
        .await
}

/// How a request stands; `None` if it is forgotten.
pub async fn answer(db: &mut Conn, id: i64) -> Result<Option<Answer>> {
    sqlx::query_as("select progress, outcome from requests where id = ?")
        .bind(id)
        .maybe(db, "asking how a request stands")
        .await
}

/// Requests that nobody works on, and the numbers of those that were given up while somebody does.
pub async fn open_requests(db: &mut Conn) -> Result<(Vec<(i64, String)>, Vec<i64>)> {
    let rows: Vec<(i64, String, String, bool)> = sqlx::query_as(
        "select id, request, state, cancelled from requests where state <> 'done' order by id",
    )
    .all(db, "looking for requests")
    .await?;
    let given_up = rows.iter().filter(|(_, _, state, cancelled)| state == "running" && *cancelled);
    let given_up = given_up.map(|(id, ..)| *id).collect();
    let waiting = rows.into_iter().filter(|(_, _, state, cancelled)| state == "waiting" && !cancelled);
    Ok((waiting.map(|(id, request, ..)| (id, request)).collect(), given_up))
}

pub async fn take_up(tx: &mut Conn, id: i64) -> Result<()> {
    sqlx::query("update requests set state = 'running' where id = ?")
        .bind(id)
        .run(tx, "taking a request up")
        .await
}

pub async fn note_progress(tx: &mut Conn, id: i64, progress: &str) -> Result<()> {
    sqlx::query("update requests set progress = ? where id = ?")
        .bind_all((progress, id))
        .run(tx, "telling how far a request is")
        .await
}

pub async fn finish(tx: &mut Conn, id: i64, outcome: &str) -> Result<()> {
    sqlx::query("update requests set state = 'done', outcome = ? where id = ?")
        .bind_all((outcome, id))
        .run(tx, "telling what came of a request")
        .await
}

/// What a service that died was working on waits again; what its maker gave up meanwhile is done.
pub async fn recover_requests(tx: &mut Conn) -> Result<()> {
    sqlx::query(
        "update requests set state = case cancelled when 1 then 'done' else 'waiting' end where state <> 'done'",
    )
    .run(tx, "taking up the requests of the last run")
    .await
}

/// Forgets requests that were done before `cutoff`.
pub async fn forget_requests(tx: &mut Conn, cutoff: Timestamp) -> Result<()> {
    sqlx::query("delete from requests where (state = 'done' or cancelled = 1) and made_at_ms < ?")
        .bind_all((cutoff,))
        .run(tx, "forgetting old requests")
        .await
}
