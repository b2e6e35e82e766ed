//!
//! Table `list_drafts`, and the columns `told_version` of calls, `told` of recordings and `calls_files` of days.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use sqlx::FromRow;

use crate::base::digest::Digest;
use crate::base::recording::{RecordingKind, RecordingState, Text};
use crate::base::salt::Salt;
use crate::formats::call_lines::{self, CallLine, Line, RecordingLine};
use crate::store::queue::DayRange;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Run as _, dates};

/// Lines of one file: a longer day gets several.
const LINES_MAX: i64 = 2_000;

/// A call list that is on its way into the archive.
#[derive(Debug)]
pub struct Draft {
    pub pbx: String,
    pub day: Date,
    /// The whole file. It is kept because its salts are drawn once.
    pub text: String,
    /// The calls in it with their versions, and the recordings with their states and attempts, as JSON for SQLite.
    calls: String,
    recordings: String,
}

#[derive(FromRow)]
struct CallRow {
    id: i64,
    version: Digest,
    started_at_ms: Option<i64>,
    utc_offset_s: i32,
    offset_source: String,
    zone_offset_s: Option<i32>,
    first_seen_at_ms: i64,
    row: String,
    path: Option<String>,
}

#[derive(FromRow)]
struct RecordingRow {
    id: i64,
    kind: RecordingKind,
    sn: String,
    name: Vec<u8>,
    started_at_ms: i64,
    path: String,
    salt: Vec<u8>,
    state: RecordingState,
    reason: Option<String>,
    r#final: bool,
    attempts: u32,
}

/// Days with something that no list holds, or with a list that an earlier run began.
pub async fn days(db: &mut Conn, pbx: &str, days: DayRange) -> Result<Vec<Date>> {
    let (from, to) = days.bounds();
    let days = sqlx::query_scalar(
        "select day from calls where pbx = ?1 and told_version is not version and day between ?2 and ?3
         union select day from recordings
         where pbx = ?1 and told = 0 and state <> 'archived' and day between ?2 and ?3
         union select day from list_drafts where pbx = ?1 and day between ?2 and ?3 order by day",
    )
    .bind_all((pbx, from, to))
    .all(db, "listing days with unwritten calls")
    .await?;
    Ok(dates(days))
}

/// The same for settled days only, and every day with a list that an earlier run began.
pub async fn settled_days(db: &mut Conn, pbx: &str) -> Result<Vec<Date>> {
    let days = sqlx::query_scalar(
        "select day from days where pbx = ?1 and state = 'settled' and (
             exists (select 1 from calls
                 where calls.pbx = ?1 and calls.day = days.day and told_version is not version)
             or exists (select 1 from recordings
                 where recordings.pbx = ?1 and recordings.day = days.day and told = 0 and state <> 'archived'))
         union select day from list_drafts where pbx = ?1 order by day",
    )
    .bind(pbx)
    .all(db, "listing settled days with unwritten calls")
    .await?;
    Ok(dates(days))
}

pub async fn count(db: &mut Conn, pbx: &str, day: Date) -> Result<u32> {
    let count: Option<u32> = sqlx::query_scalar("select calls_files from days where pbx = ? and day = ?")
        .bind_all((pbx, day))
        .maybe(db, "counting a day's call lists")
        .await?;
    Ok(count.unwrap_or(0))
}

impl Draft {
    pub async fn find(db: &mut Conn, pbx: &str, day: Date) -> Result<Option<Self>> {
        let row: Option<(String, String, String)> =
            sqlx::query_as("select text, calls, recordings from list_drafts where pbx = ? and day = ?")
                .bind_all((pbx, day))
                .maybe(db, "reading a drafted call list")
                .await?;
        Ok(row.map(|(text, calls, recordings)| Self { pbx: pbx.to_owned(), day, text, calls, recordings }))
    }

    /// A new draft of what no list of the day holds; `None` if there is nothing.
    ///
    /// # Errors
    /// Also if a row is damaged: nothing that was made up goes into the archive.
    pub async fn new(db: &mut Conn, pbx: &str, day: Date) -> Result<Option<Self>> {
        let (calls, recordings) = (calls(db, pbx, day).await?, recordings(db, pbx, day).await?);
        if calls.is_empty() && recordings.is_empty() {
            return Ok(None);
        }
        let of_calls: Vec<_> = calls.iter().map(|call| (call.id, call.version)).collect();
        let of_recordings: Vec<_> =
            recordings.iter().map(|recording| (recording.id, recording.state, recording.attempts)).collect();
        let (of_calls, of_recordings) =
            (serde_json::to_string(&of_calls)?, serde_json::to_string(&of_recordings)?);
        let lines = calls
            .into_iter()
            .map(CallRow::into_line)
            .chain(recordings.into_iter().map(RecordingRow::into_line))
            .collect::<Result<Vec<_>>>()?;
        let text = call_lines::to_text(pbx, day, &lines);
        Ok(Some(Self { pbx: pbx.to_owned(), day, text, calls: of_calls, recordings: of_recordings }))
    }

    /// Keeps the draft until its file is there. If the day has one already, that one stays.
    pub async fn keep(&self, tx: &mut Conn) -> Result<()> {
        sqlx::query(
            "insert into list_drafts (pbx, day, text, calls, recordings) values (?, ?, ?, ?, ?)
             on conflict do nothing",
        )
        .bind_all((&self.pbx, self.day, &self.text, &self.calls, &self.recordings))
        .run(tx, "drafting a call list")
        .await
    }

    /// Removes the draft, whose file is there; `false` if somebody else did so before.
    pub async fn remove(&self, tx: &mut Conn) -> Result<bool> {
        sqlx::query("delete from list_drafts where pbx = ? and day = ? and text = ?")
            .bind_all((&self.pbx, self.day, &self.text))
            .changed(tx, "removing a drafted call list")
            .await
    }

    /// Marks its calls and recordings as listed, unless they changed meanwhile, and notes the number of its file.
    pub async fn mark_listed(&self, tx: &mut Conn, number: u32) -> Result<()> {
        sqlx::query(
            "insert into days (pbx, day, last_read_at_ms, calls_files) values (?1, ?2, 0, ?3)
             on conflict (pbx, day) do update set calls_files = max(calls_files, ?3)",
        )
        .bind_all((&self.pbx, self.day, number))
        .run(tx, "noting a day's call list")
        .await?;
        sqlx::query(
            "update calls set told_version = version from json_each(?) as told
             where calls.id = told.value ->> 0 and lower(hex(calls.version)) = told.value ->> 1",
        )
        .bind(&self.calls)
        .run(tx, "marking calls as listed")
        .await?;
        sqlx::query(
            "update recordings set told = 1 from json_each(?) as told where recordings.id = told.value ->> 0
                 and state = told.value ->> 1 and attempts = told.value ->> 2",
        )
        .bind(&self.recordings)
        .run(tx, "marking recordings as listed")
        .await
    }
}

async fn calls(db: &mut Conn, pbx: &str, day: Date) -> Result<Vec<CallRow>> {
    sqlx::query_as(
        "select calls.id, version, calls.started_at_ms, utc_offset_s, offset_source, zone_offset_s,
             first_seen_at_ms, row, path
         from calls left join recordings on recordings.id = recording_id
         where calls.pbx = ? and calls.day = ? and told_version is not version order by calls.id limit ?",
    )
    .bind_all((pbx, day, LINES_MAX))
    .all(db, "reading unwritten calls")
    .await
}

async fn recordings(db: &mut Conn, pbx: &str, day: Date) -> Result<Vec<RecordingRow>> {
    sqlx::query_as(
        "select id, kind, sn, name, started_at_ms, path, salt, state, reason, final, attempts from recordings
         where pbx = ? and day = ? and told = 0 and state <> 'archived' order by id limit ?",
    )
    .bind_all((pbx, day, LINES_MAX))
    .all(db, "reading recordings that are not archived")
    .await
}

impl CallRow {
    fn into_line(self) -> Result<Line> {
        let damaged = || format!("row {} of table `calls` is damaged", self.id);
        Ok(Line::Call(Box::new(CallLine {
            identity: None,
            version: None,
            started_at: self
                .started_at_ms
                .map(Timestamp::from_millisecond)
                .transpose()
                .with_context(damaged)?,
            utc_offset_s: self.utc_offset_s,
            offset_source: self.offset_source,
            zone_offset_s: self.zone_offset_s,
            first_seen_at: Timestamp::from_millisecond(self.first_seen_at_ms).with_context(damaged)?,
            recording: self.path,
            row: serde_json::from_str(&self.row).with_context(damaged)?,
            line_salt: None,
        })))
    }
}

impl RecordingRow {
    fn into_line(self) -> Result<Line> {
        let damaged = || format!("row {} of table `recordings` is damaged", self.id);
        Ok(Line::Recording(Box::new(RecordingLine {
            kind: self.kind,
            name: Text::from_bytes(&self.name),
            started_at: Timestamp::from_millisecond(self.started_at_ms).with_context(damaged)?,
            salt: Salt::try_from(&self.salt[..]).with_context(damaged)?,
            path: self.path,
            sn: self.sn,
            state: self.state,
            reason: self.reason,
            r#final: self.r#final,
            attempts: self.attempts,
        })))
    }
}
