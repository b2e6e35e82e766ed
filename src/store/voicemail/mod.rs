//! What is known of voicemail messages besides their rows in the queue. All SQL on `voicemails` and `voicemail_polls`.

mod polls;

use jiff::Timestamp;
use sqlx::SqliteConnection;

pub use polls::{
    Poll, Remembered, note_delivery, note_poll, note_unsupported, probe_again, remembered, restore,
};

use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::store::queue::RecordingState;
use crate::store::sql::{BindAll as _, Fetch as _, Run as _};

/// How exactly it is remembered when a message was last seen: a poll that changes nothing should write nothing.
const SEEN_EVERY_MS: i64 = 3_600_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptMessage {
    /// What it is known by.
    pub message: Message,
    /// Which of those alike it is, from 1.
    pub ordinal: u32,
    /// The PBX's offset from UTC when it was left.
    pub utc_offset_s: i32,
    /// How that is known.
    pub offset_source: String,
    /// The offset of the configured zone then.
    pub zone_offset_s: Option<i32>,
    /// The folder it was last seen in.
    pub status: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    extension: String,
    date: String,
    caller: String,
    length: String,
    ordinal: u32,
    utc_offset_s: i32,
    offset_source: String,
    zone_offset_s: Option<i32>,
    status: Option<String>,
}

impl From<Row> for KeptMessage {
    fn from(row: Row) -> Self {
        let Row { extension, date, caller, length, .. } = row;
        Self {
            message: Message { extension, date, caller, length },
            ordinal: row.ordinal,
            utc_offset_s: row.utc_offset_s,
            offset_source: row.offset_source,
            zone_offset_s: row.zone_offset_s,
            status: row.status,
        }
    }
}

/// Keeps what is known of a message that was just put into the queue as recording `id`.
pub async fn keep(
    tx: &mut SqliteConnection,
    id: i64,
    pbx: &str,
    kept: &KeptMessage,
    now: Timestamp,
) -> anyhow::Result<()> {
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

/// Notes that a message was seen, and in which folder.
pub async fn note_seen(
    tx: &mut SqliteConnection,
    id: i64,
    status: Option<&str>,
    now: Timestamp,
) -> anyhow::Result<()> {
    sqlx::query(
        "update voicemails set status = ?1, last_seen_at_ms = ?2
         where recording_id = ?3 and (status is not ?1 or last_seen_at_ms <= ?2 - ?4)",
    )
    .bind_all((status, now, id, SEEN_EVERY_MS))
    .run(tx, "noting that a voicemail message was seen")
    .await
}

/// The extensions whose boxes were listed before.
pub async fn extensions(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<Vec<String>> {
    sqlx::query_scalar("select distinct extension from voicemails where pbx = ? order by extension")
        .bind(pbx)
        .all(db, "listing the voicemail boxes that are known")
        .await
}

/// What is known of the message that is recording `id`; none if it is a call's.
pub async fn of_recording(db: &mut SqliteConnection, id: i64) -> anyhow::Result<Option<KeptMessage>> {
    let row: Option<Row> = sqlx::query_as("select * from voicemails where recording_id = ?")
        .bind(id)
        .maybe(db, "reading a voicemail message")
        .await?;
    Ok(row.map(KeptMessage::from))
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
pub async fn twins(
    db: &mut SqliteConnection,
    pbx: &str,
    sn: &str,
    message: &Message,
) -> anyhow::Result<Vec<Twin>> {
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
