//! What is remembered of each PBX from one run to the next. All SQL on `pbx` and `meta`.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Ms, Run as _};
use crate::store::together::{Statement, statement};

/// Answers "I do not have it" in a row after which they say more of the PBX than of the recordings.
pub const MISSING_STREAK_MAX: u32 = 20;

/// The key under which [`set_meta`] keeps why the dead man's switch could not be reached; empty while it can.
pub const PING_ERROR: &str = "ping_error";

/// The key under which is kept what is wrong with the listener of `[web]`; empty if nothing is.
pub const LISTENER_TROUBLE: &str = "listener_trouble";

#[derive(Debug, Clone, Default, sqlx::FromRow)]
pub struct Remembered {
    pub sn: Option<String>,
    /// Its offset from UTC when its CDR last showed it.
    pub utc_offset_s: Option<i32>,
    /// HMAC of the credentials that it refused.
    pub refused_credentials: Option<Vec<u8>>,
    /// The class of its trouble, if it is in any.
    pub problem_reason: Option<String>,
    /// The trouble in a sentence, with its remedy.
    pub problem_message: Option<String>,
    /// Since when.
    pub problem_since_ms: Option<Ms>,
    /// Until when it is left alone.
    pub paused_until_ms: Option<Ms>,
    pub last_delivery_at_ms: Option<Ms>,
    pub last_sweep_at_ms: Option<Ms>,
    /// Since when the operator wants it left alone. An outdated database does not know of that.
    #[sqlx(default)]
    pub paused_at_ms: Option<Ms>,
    /// "Missing" answers in a row.
    pub missing_streak: u32,
}

/// Reads what is remembered; nothing yet of a PBX never seen before.
pub async fn remembered(db: &mut Conn, pbx: &str) -> Result<Remembered> {
    let row = sqlx::query_as("select * from pbx where id = ?")
        .bind(pbx)
        .maybe(db, format!("reading what is known of pbx `{pbx}`"))
        .await?;
    Ok(row.unwrap_or_default())
}

/// What is remembered of every PBX, by id.
pub async fn all(db: &mut Conn) -> Result<BTreeMap<String, Remembered>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: String,
        #[sqlx(flatten)]
        remembered: Remembered,
    }
    let rows: Vec<Row> =
        sqlx::query_as("select * from pbx").all(db, "reading what is known of the PBXs").await?;
    Ok(rows.into_iter().map(|row| (row.id, row.remembered)).collect())
}

/// Whether this state has worked with `pbx` before: then its archive must be there.
pub async fn is_known(db: &mut Conn, pbx: &str) -> Result<bool> {
    sqlx::query_scalar("select exists (select 1 from pbx where id = ?)")
        .bind(pbx)
        .one(db, format!("looking up pbx `{pbx}`"))
        .await
}

pub async fn register(tx: &mut Conn, pbx: &str) -> Result<()> {
    sqlx::query("insert into pbx (id) values (?) on conflict do nothing")
        .bind(pbx)
        .run(tx, format!("registering pbx `{pbx}`"))
        .await
}

/// Notes why a PBX is in trouble. The time at which it began stays while the reason does.
pub async fn set_problem(
    tx: &mut Conn,
    pbx: &str,
    reason: &str,
    message: &str,
    paused_until: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "update pbx set
             problem_since_ms = case when problem_reason is ?1 then problem_since_ms else ?2 end,
             problem_reason = ?1, problem_message = ?3, paused_until_ms = ?4
         where id = ?5",
    )
    .bind_all((reason, now, message, paused_until, pbx))
    .run(tx, format!("noting the trouble of pbx `{pbx}`"))
    .await
}

/// Notes that a PBX works: it answered a request that needs a session.
pub async fn clear_problem(tx: &mut Conn, pbx: &str) -> Result<()> {
    sqlx::query(
        "update pbx set problem_reason = null, problem_message = null, problem_since_ms = null,
             paused_until_ms = null, refused_credentials = null
         where id = ?",
    )
    .bind(pbx)
    .run(tx, format!("noting that pbx `{pbx}` works"))
    .await
}

/// Remembers credentials that the PBX refused, as an HMAC: no login uses them again.
pub async fn refuse_credentials(tx: &mut Conn, pbx: &str, hmac: &[u8]) -> Result<()> {
    sqlx::query("update pbx set refused_credentials = ? where id = ?")
        .bind_all((hmac, pbx))
        .run(tx, "remembering refused credentials")
        .await
}

/// Leaves a PBX alone from now on, or lets it be followed again. Tells whether that changed anything.
pub async fn pause(tx: &mut Conn, pbx: &str, since: Option<Timestamp>) -> Result<bool> {
    sqlx::query("update pbx set paused_at_ms = ?1 where id = ?2 and (paused_at_ms is null) <> (?1 is null)")
        .bind_all((since, pbx))
        .changed(tx, format!("pausing or resuming pbx `{pbx}`"))
        .await
}

/// One device configured, or formerly known, as two PBXs: two sessions on it would be one too many.
#[derive(Debug, thiserror::Error)]
#[error(
    "pbx `{pbx}` has serial number {sn}, which pbx `{other}` has too: they are one device; remove one of the two, or give \
     this one its former id"
)]
pub struct SameDevice {
    pub pbx: String,
    /// The one that has the number already.
    pub other: String,
    pub sn: String,
}

/// Learns the serial number of a PBX and returns the one before, if it was another.
///
/// # Errors
/// [`SameDevice`] if another PBX has it.
pub async fn learn_serial_number(tx: &mut Conn, pbx: &str, sn: &str) -> Result<Option<String>> {
    let before: Option<String> = sqlx::query_scalar("select sn from pbx where id = ?")
        .bind(pbx)
        .one(tx, "reading a serial number")
        .await?;
    if before.as_deref() == Some(sn) {
        return Ok(None);
    }
    let other = sqlx::query_scalar("select id from pbx where sn = ? and id <> ? limit 1").bind_all((sn, pbx));
    if let Some(other) = other.maybe(tx, "looking up a serial number").await? {
        let sn = crate::base::recording::printable(sn.as_bytes());
        return Err(SameDevice { pbx: pbx.to_owned(), other, sn }.into());
    }
    sqlx::query("update pbx set sn = ? where id = ?")
        .bind_all((sn, pbx))
        .run(tx, "learning a serial number")
        .await?;
    if before.is_none() {
        crate::store::queue::assign_serial_number(tx, pbx, sn).await?;
    }
    Ok(before)
}

pub async fn learn_offset(tx: &mut Conn, pbx: &str, utc_offset_s: i32) -> Result<()> {
    sqlx::query("update pbx set utc_offset_s = ?1 where id = ?2 and utc_offset_s is not ?1")
        .bind_all((utc_offset_s, pbx))
        .run(tx, "learning the offset from UTC")
        .await
}

/// Notes a complete reading of a PBX's CDR: what could not be read before is no trouble any more.
pub async fn note_sweep(tx: &mut Conn, pbx: &str, now: Timestamp) -> Result<()> {
    sqlx::query(
        "update pbx set last_sweep_at_ms = ?, problem_reason = null, problem_message = null,
             problem_since_ms = null
         where id = ?",
    )
    .bind_all((now, pbx))
    .run(tx, "noting a sweep")
    .await
}

/// Notes that a PBX delivered a recording: its word that another is missing counts again.
pub fn noting_delivery(pbx: &str, now: Timestamp) -> Statement {
    let note = statement("update pbx set last_delivery_at_ms = ?, missing_streak = 0 where id = ?");
    note.bind_all((now, pbx))
}

/// Notes that a PBX said "I do not have it", and returns how often it has in a row.
pub async fn note_missing(tx: &mut Conn, pbx: &str) -> Result<u32> {
    sqlx::query_scalar(
        "update pbx set missing_streak = missing_streak + 1 where id = ? returning missing_streak",
    )
    .bind(pbx)
    .one(tx, "noting a missing recording")
    .await
}

/// Remembers the settings that decide whether a download can work, and tells whether they differ from the last ones.
pub async fn settings_changed(tx: &mut Conn, pbx: &str, settings: &Digest) -> Result<bool> {
    sqlx::query("update pbx set settings_hash = ?1 where id = ?2 and settings_hash is not ?1")
        .bind_all((settings, pbx))
        .changed(tx, "remembering settings")
        .await
}

pub async fn meta(db: &mut Conn, key: &str) -> Result<Option<String>> {
    sqlx::query_scalar("select value from meta where key = ?")
        .bind(key)
        .maybe(db, format!("reading `{key}`"))
        .await
}

pub async fn set_meta(tx: &mut Conn, key: &str, value: &str) -> Result<()> {
    sqlx::query(
        "insert into meta (key, value) values (?, ?) on conflict (key) do update set value = excluded.value",
    )
    .bind_all((key, value))
    .run(tx, format!("keeping `{key}`"))
    .await
}
