//! What is known of voicemail messages besides their rows in the queue. All SQL on `voicemails` and `voicemail_polls`.

use anyhow::Result;
use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::store::db;
use crate::store::queue::RecordingState;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Ms, Run as _};
use crate::store::together::{Statement, statement};

/// How exactly it is remembered when a message was last seen: a poll that changes nothing should write nothing.
const SEEN_EVERY_MS: i64 = 3_600_000;

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct KeptMessage {
    /// What it is known by.
    #[sqlx(flatten)]
    pub message: Message,
    /// Which of those alike it is, from 1.
    pub ordinal: u32,
    /// The PBX's offset from UTC when it was left.
    pub utc_offset_s: i32,
    /// How that is known.
    pub offset_source: String,
    pub zone_offset_s: Option<i32>,
    pub status: Option<String>,
}

/// Keeps what is known of a message that was just put into the queue as recording `id`.
pub async fn keep(tx: &mut Conn, id: i64, pbx: &str, kept: &KeptMessage, now: Timestamp) -> Result<()> {
    let message = &kept.message;
    sqlx::query(
        "insert into voicemails (recording_id, pbx, extension, date, caller, length, ordinal, utc_offset_s,
             offset_source, zone_offset_s, status, first_seen_at_ms, last_seen_at_ms)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12)",
    )
    .bind_all((id, pbx, &message.extension, &message.date, &message.caller, &message.length))
    .bind_all((kept.ordinal, kept.utc_offset_s, &kept.offset_source, kept.zone_offset_s))
    .bind_all((&kept.status, now))
    .run(tx, "keeping a voicemail message")
    .await
}

pub async fn note_seen(tx: &mut Conn, id: i64, status: Option<&str>, now: Timestamp) -> Result<()> {
    sqlx::query(
        "update voicemails set status = ?1, last_seen_at_ms = ?2
         where recording_id = ?3 and (status is not ?1 or last_seen_at_ms <= ?2 - ?4)",
    )
    .bind_all((status, now, id, SEEN_EVERY_MS))
    .run(tx, "noting that a voicemail message was seen")
    .await
}

pub async fn extensions(db: &mut Conn, pbx: &str) -> Result<Vec<String>> {
    sqlx::query_scalar("select distinct extension from voicemails where pbx = ? order by extension")
        .bind(pbx)
        .all(db, "listing the voicemail boxes that are known")
        .await
}

/// What is known of the message that is recording `id`; none if it is a call's.
pub async fn of_recording(db: &mut Conn, id: i64) -> Result<Option<KeptMessage>> {
    sqlx::query_as("select * from voicemails where recording_id = ?")
        .bind(id)
        .maybe(db, "reading a voicemail message")
        .await
}

/// One of the messages that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Twin {
    #[sqlx(rename = "recording_id")]
    pub id: i64,
    /// Which of them it is, from 1.
    pub ordinal: u32,
    pub state: RecordingState,
    /// The hash of its audio, once it is archived.
    pub sha256: Option<Digest>,
}

/// All messages known of the device `sn` that are alike in everything, in the order in which they were heard of.
///
/// Those that were archived before the serial number was known are among them: they keep none.
pub async fn twins(db: &mut Conn, pbx: &str, sn: &str, message: &Message) -> Result<Vec<Twin>> {
    sqlx::query_as(
        "select recording_id, ordinal, state,
             (select sha256 from archived_files where archived_files.recording_id = recordings.id and conflict = 0)
             as sha256
         from voicemails join recordings on recordings.id = recording_id
         where voicemails.pbx = ?1 and extension = ?2 and date = ?3 and caller = ?4 and length = ?5
             and (sn in (?6, '') or ?6 = '')
         order by ordinal, recording_id",
    )
    .bind_all((pbx, &message.extension, &message.date, &message.caller, &message.length, sn))
    .all(db, "looking up a voicemail message")
    .await
}

/// A whole list of all boxes, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Poll {
    pub boxes: u64,
    pub messages: u64,
    /// The fullest box and how many messages it holds.
    pub fullest: Option<(String, u64)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Remembered {
    pub polled_at_ms: Option<Ms>,
    pub listed_at_ms: Option<Ms>,
    pub delivered_at_ms: Option<Ms>,
    /// Boxes that held any message at the last poll.
    pub boxes: i64,
    pub messages: i64,
    pub fullest_extension: Option<String>,
    pub fullest_messages: u64,
    /// When the device last said that it has no voicemail API.
    pub unsupported_at_ms: Option<Ms>,
}

/// Reads what is remembered; nothing yet of a PBX that was never asked.
pub async fn remembered(db: &mut Conn, pbx: &str) -> Result<Remembered> {
    if !db::has_table(db, "voicemail_polls").await? {
        return Ok(Remembered::default());
    }
    let row = sqlx::query_as("select * from voicemail_polls where pbx = ?")
        .bind(pbx)
        .maybe(db, format!("reading what is known of the voicemail of pbx `{pbx}`"))
        .await?;
    Ok(row.unwrap_or_default())
}

pub async fn note_poll(tx: &mut Conn, pbx: &str, poll: &Poll, now: Timestamp) -> Result<()> {
    let (extension, messages) = poll.fullest.clone().unzip();
    sqlx::query(
        "insert into voicemail_polls (pbx, polled_at_ms, listed_at_ms, boxes, messages, fullest_extension,
             fullest_messages)
         values (?1, ?2, case when ?4 > 0 then ?2 end, ?3, ?4, ?5, ?6)
         on conflict (pbx) do update set polled_at_ms = ?2,
             listed_at_ms = case when ?4 > 0 then ?2 else listed_at_ms end, boxes = ?3, messages = ?4, fullest_extension = ?5, fullest_messages = ?6, unsupported_at_ms = null",
    )
    .bind_all((pbx, now, poll.boxes, poll.messages))
    .bind_all((extension, messages.unwrap_or(0)))
    .run(tx, "noting a poll of voicemail")
    .await
}

/// Notes that the PBX delivered a message: its word that it lacks another one counts again.
pub fn noting_delivery(pbx: &str, now: Timestamp) -> Statement {
    let note = statement(
        "insert into voicemail_polls (pbx, delivered_at_ms) values (?, ?)
         on conflict (pbx) do update set delivered_at_ms = excluded.delivered_at_ms",
    );
    note.bind_all((pbx, now))
}

pub async fn note_unsupported(tx: &mut Conn, pbx: &str, now: Timestamp) -> Result<()> {
    sqlx::query(
        "insert into voicemail_polls (pbx, unsupported_at_ms) values (?1, ?2)
         on conflict (pbx) do update set unsupported_at_ms = ?2",
    )
    .bind_all((pbx, now))
    .run(tx, "noting that a PBX has no voicemail API")
    .await
}

/// Forgets that the device has no voicemail API: it is asked another way now.
pub async fn probe_again(tx: &mut Conn, pbx: &str) -> Result<()> {
    sqlx::query("update voicemail_polls set unsupported_at_ms = null where pbx = ?")
        .bind(pbx)
        .run(tx, "forgetting that a PBX has no voicemail API")
        .await
}

/// Notes what the messages themselves tell of the boxes of every PBX: they were shown when the latest was left or later,
/// and the last that was archived was delivered.
pub async fn restore(tx: &mut Conn) -> Result<()> {
    sqlx::query(
        "insert into voicemail_polls (pbx, listed_at_ms, delivered_at_ms)
         select pbx, max(started_at_ms), max(archived_at_ms) from recordings
         left join archived_files on recording_id = recordings.id where kind = 'voicemail' group by pbx",
    )
    .run(tx, "noting what the messages tell of their boxes")
    .await
}
