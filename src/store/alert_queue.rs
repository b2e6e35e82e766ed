//! What the operator was told of, and the messages on their way to him. All SQL on `alerts` and `outbox`.

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use crate::base::alert::Cause;
use crate::base::finding::Severity;
use crate::store::db;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Ms, Run as _};

/// Something wrong that was reported to the operator, whose end was not.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Firing {
    /// Cause, PBX and subject.
    pub key: String,
    #[sqlx(rename = "condition", try_from = "String")]
    pub cause: Cause,
    /// None if it is this machine.
    pub pbx: Option<String>,
    pub severity: Severity,
    pub message: String,
    pub first_seen_at_ms: Ms,
    pub last_seen_at_ms: Ms,
    #[sqlx(rename = "told_at_ms")]
    pub reported_at_ms: Ms,
}

/// Everything that the operator believes to be wrong, by key.
pub async fn firing(db: &mut Conn) -> Result<Vec<Firing>> {
    sqlx::query_as("select * from alerts order by key").all(db, "reading the alerts").await
}

pub async fn keep(tx: &mut Conn, alert: &Firing) -> Result<()> {
    sqlx::query(
        "insert into alerts (key, condition, pbx, severity, message, first_seen_at_ms, last_seen_at_ms, told_at_ms)
         values (?, ?, ?, ?, ?, ?, ?, ?)
         on conflict (key) do update set severity = excluded.severity, message = excluded.message,
             last_seen_at_ms = excluded.last_seen_at_ms, told_at_ms = excluded.told_at_ms",
    )
    .bind_all((&alert.key, alert.cause.as_str(), &alert.pbx, alert.severity, &alert.message))
    .bind_all((alert.first_seen_at_ms, alert.last_seen_at_ms, alert.reported_at_ms))
    .run(tx, format!("keeping the alert {}", alert.key))
    .await
}

pub async fn forget(tx: &mut Conn, key: &str) -> Result<()> {
    sqlx::query("delete from alerts where key = ?")
        .bind(key)
        .run(tx, format!("forgetting the alert {key}"))
        .await
}

/// A message that waits to be delivered over one channel.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Outgoing {
    pub id: i64,
    /// The same on every try and on every channel.
    pub message_id: String,
    pub body: String,
    pub created_at_ms: Ms,
    pub attempts: i64,
}

/// Puts a message into the outbox of a channel, due at once.
pub async fn enqueue(
    tx: &mut Conn,
    channel: &str,
    message_id: &str,
    body: &str,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "insert into outbox (message_id, channel, body, created_at_ms, due_at_ms) values (?1, ?2, ?3, ?4, ?4)",
    )
    .bind_all((message_id, channel, body, now))
    .run(tx, "putting a message into the outbox")
    .await
}

/// The message of a channel that is due first.
///
/// One that is due later than `horizon` was put off by a clock that has since been put back: it is due now.
pub async fn due(
    db: &mut Conn,
    channel: &str,
    now: Timestamp,
    horizon: Timestamp,
) -> Result<Option<Outgoing>> {
    sqlx::query_as(
        "select id, message_id, body, created_at_ms, attempts from outbox
         where channel = ? and (due_at_ms <= ? or due_at_ms > ?) order by due_at_ms, id limit 1",
    )
    .bind_all((channel, now, horizon))
    .maybe(db, "looking for a message that is due")
    .await
}

/// Removes a message: it was delivered, or nobody can want it any more.
pub async fn remove(tx: &mut Conn, id: i64) -> Result<()> {
    sqlx::query("delete from outbox where id = ?")
        .bind(id)
        .run(tx, "removing a message from the outbox")
        .await
}

pub async fn put_off(tx: &mut Conn, id: i64, due: Timestamp, error: &str) -> Result<()> {
    sqlx::query("update outbox set attempts = attempts + 1, due_at_ms = ?, last_error = ? where id = ?")
        .bind_all((due, error, id))
        .run(tx, "putting a message off")
        .await
}

/// Removes the messages of channels that are not configured any more, and returns how many.
pub async fn keep_channels(tx: &mut Conn, channels: &[String]) -> Result<u64> {
    let known = serde_json::to_string(channels)?;
    sqlx::query("delete from outbox where channel not in (select value from json_each(?))")
        .bind(known)
        .count(tx, "removing messages of former channels")
        .await
}

/// How the alerts stand, and whether they reach anybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Things that the operator was told are wrong.
    pub firing: i64,
    pub undelivered: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_undelivered: Option<Timestamp>,
    /// Why the oldest that failed was not delivered the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Why the dead man's switch could not be reached the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_error: Option<String>,
}

/// Reads how the alerts stand. A database that an older version wrote, and that nobody may migrate here, has none.
pub async fn standing(db: &mut Conn) -> Result<Standing> {
    if !db::has_table(db, "outbox").await? {
        return Ok(Standing::default());
    }
    let doing = "reading how the alerts stand";
    let (firing, undelivered, oldest): (_, _, Option<Ms>) =
        sqlx::query_as("select (select count(*) from alerts), count(*), min(created_at_ms) from outbox")
            .one(db, doing)
            .await?;
    let last_error = sqlx::query_scalar(
        "select channel || ': ' || last_error from outbox where last_error is not null order by created_at_ms, id limit 1",
    )
    .maybe(db, doing)
    .await?;
    let oldest_undelivered = oldest.map(Timestamp::from);
    Ok(Standing { firing, undelivered, oldest_undelivered, last_error, ping_error: None })
}
