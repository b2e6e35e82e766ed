//! What the polls of a PBX's boxes came to.

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::store::db;
use crate::store::sql::{BindAll as _, Run as _};

/// A whole list of all boxes, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Poll {
    pub boxes: u64,
    pub messages: u64,
    /// The fullest box and how many messages it holds.
    pub fullest: Option<(String, u64)>,
}

/// What is remembered of a PBX's voicemail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Remembered {
    /// The last whole list.
    pub polled_at_ms: Option<i64>,
    /// The last list that held any message.
    pub listed_at_ms: Option<i64>,
    /// The last message that was delivered.
    pub delivered_at_ms: Option<i64>,
    /// Boxes that held any message at the last poll.
    pub boxes: i64,
    pub messages: i64,
    pub fullest_extension: Option<String>,
    pub fullest_messages: i64,
    /// When the device last said that it has no voicemail API.
    pub unsupported_at_ms: Option<i64>,
}

/// Reads what is remembered; nothing yet of a PBX that was never asked.
pub async fn remembered(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<Remembered> {
    if !db::has_table(db, "voicemail_polls").await? {
        return Ok(Remembered::default());
    }
    let row = sqlx::query_as("select * from voicemail_polls where pbx = ?")
        .bind(pbx)
        .fetch_optional(db)
        .await
        .with_context(|| format!("reading what is known of the voicemail of pbx `{pbx}`"))?;
    Ok(row.unwrap_or_default())
}

/// Notes a whole list of all boxes.
pub async fn note_poll(
    tx: &mut SqliteConnection,
    pbx: &str,
    poll: &Poll,
    now: Timestamp,
) -> anyhow::Result<()> {
    let (extension, messages) = poll.fullest.clone().unzip();
    sqlx::query(
        "insert into voicemail_polls (pbx, polled_at_ms, listed_at_ms, boxes, messages, fullest_extension,
             fullest_messages)
         values (?1, ?2, case when ?4 > 0 then ?2 end, ?3, ?4, ?5, ?6)
         on conflict (pbx) do update set polled_at_ms = ?2,
             listed_at_ms = case when ?4 > 0 then ?2 else listed_at_ms end, boxes = ?3, messages = ?4, fullest_extension = ?5, fullest_messages = ?6, unsupported_at_ms = null",
    )
    .bind_all((pbx, now, i64::try_from(poll.boxes)?, i64::try_from(poll.messages)?))
    .bind_all((extension, i64::try_from(messages.unwrap_or(0))?))
    .run(tx, "noting a poll of voicemail")
    .await
}

/// Notes that the PBX delivered a message: its word that it lacks another one counts again.
pub async fn note_delivery(tx: &mut SqliteConnection, pbx: &str, now: Timestamp) -> anyhow::Result<()> {
    sqlx::query(
        "insert into voicemail_polls (pbx, delivered_at_ms) values (?1, ?2)
         on conflict (pbx) do update set delivered_at_ms = ?2",
    )
    .bind_all((pbx, now))
    .run(tx, "noting that a message was delivered")
    .await
}

/// Notes that the device has no voicemail API.
pub async fn note_unsupported(tx: &mut SqliteConnection, pbx: &str, now: Timestamp) -> anyhow::Result<()> {
    sqlx::query(
        "insert into voicemail_polls (pbx, unsupported_at_ms) values (?1, ?2)
         on conflict (pbx) do update set unsupported_at_ms = ?2",
    )
    .bind_all((pbx, now))
    .run(tx, "noting that a PBX has no voicemail API")
    .await
}

/// Forgets that the device has no voicemail API: it is asked another way now.
pub async fn probe_again(tx: &mut SqliteConnection, pbx: &str) -> anyhow::Result<()> {
    sqlx::query("update voicemail_polls set unsupported_at_ms = null where pbx = ?")
        .bind(pbx)
        .run(tx, "forgetting that a PBX has no voicemail API")
        .await
}

/// Notes what the messages themselves tell of the boxes of every PBX: they were shown when the latest was left or later,
/// and the last that was archived was delivered.
pub async fn restore(tx: &mut SqliteConnection) -> anyhow::Result<()> {
    sqlx::query(
        "insert into voicemail_polls (pbx, listed_at_ms, delivered_at_ms)
         select pbx, max(started_at_ms), max(archived_at_ms) from recordings
         left join archived_files on recording_id = recordings.id where kind = 'voicemail' group by pbx",
    )
    .run(tx, "noting what the messages tell of their boxes")
    .await
}
