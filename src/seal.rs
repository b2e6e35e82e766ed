//! Sealing a day folder: `SHA256SUMS`, and the `calls-<n>.jsonl` that a rebuild of the database needs.

use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;
use sqlx::FromRow;
use sqlx::SqliteConnection;

use crate::archive::{Archive, ArchiveError, Folder};
use crate::catalog::{self, FolderBehind};
use crate::db::Db;
use crate::digest::hex;
use crate::queue::DayRange;
use crate::recording::Text;

/// The format of `calls-<n>.jsonl`, in its first line.
const SCHEMA: &str = "callvault-calls/1";
/// Lines of one file: a longer day gets several.
const LINES_MAX: i64 = 20_000;
const MARKS_PER_UNIT: usize = 500;

/// Brings every `SHA256SUMS` up to date with the catalog, and returns how many were written.
pub async fn write_sums(db: &Db, archive: &Arc<Archive>) -> anyhow::Result<usize> {
    let behind = catalog::folders_behind(&mut *db.read().await?).await?;
    let count = behind.len();
    for folder in behind {
        write_sums_of(db, archive, folder).await?;
    }
    Ok(count)
}

async fn write_sums_of(db: &Db, archive: &Arc<Archive>, behind: FolderBehind) -> anyhow::Result<()> {
    let files = catalog::sums_of(&mut *db.read().await?, &behind.folder).await?;
    let folder = Folder::parse(&behind.folder)?;
    let archive = archive.clone();
    blocking(move || archive.write_sums(&folder, &files)).await?;
    db.write(move |tx| Box::pin(async move { catalog::sums_written(tx, &behind).await })).await
}

/// Writes what the day folders of `pbx` do not tell yet: calls first seen, and recordings that are not archived.
pub async fn write_calls(db: &Db, archive: &Arc<Archive>, pbx: &str, days: DayRange) -> anyhow::Result<()> {
    for day in unlisted_days(&mut *db.read().await?, pbx, days).await? {
        while write_day(db, archive, pbx, &day).await? {}
    }
    Ok(())
}

/// Writes one file of a day; `false` if there was nothing to write.
async fn write_day(db: &Db, archive: &Arc<Archive>, pbx: &str, day: &str) -> anyhow::Result<bool> {
    let mut connection = db.read().await?;
    let calls = unlisted_calls(&mut connection, pbx, day).await?;
    let recordings = unlisted_recordings(&mut connection, pbx, day).await?;
    let written: Option<u32> = calls_files(&mut connection, pbx, day).await?;
    drop(connection);
    if calls.is_empty() && recordings.is_empty() {
        return Ok(false);
    }
    let folder = Folder::day(pbx, day.parse()?)?;
    let lines = lines(pbx, day, &calls, &recordings);
    let hint = written.unwrap_or(0) + 1;
    let files = publish(archive, &folder, hint, lines).await?;
    let (pbx, day, last) = (pbx.to_owned(), day.to_owned(), files.last().map_or(hint, |file| file.number));
    db.write(move |tx| {
        Box::pin(async move {
            for file in &files {
                catalog::record_day_file(tx, &format!("{folder}/{}", file.file_name), &file.sha256).await?;
            }
            note_calls_files(tx, &pbx, &day, last).await
        })
    })
    .await?;
    mark_calls(db, &calls).await?;
    mark_recordings(db, &recordings).await?;
    Ok(true)
}

/// Writes the file. Numbers that it had to skip hold files of a run that died before it could record them.
async fn publish(
    archive: &Arc<Archive>,
    folder: &Folder,
    hint: u32,
    lines: Vec<String>,
) -> anyhow::Result<Vec<crate::archive::DayFile>> {
    let (archive, folder) = (archive.clone(), folder.clone());
    blocking(move || {
        let file = archive.write_day_file(&folder, hint, lines)?;
        let mut files = (hint..file.number)
            .map(|number| archive.day_file(&folder, number))
            .collect::<Result<Vec<_>, _>>()?;
        files.push(file);
        Ok(files)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await.context("writing to the archive")??)
}

#[derive(Debug, FromRow)]
struct UnlistedCall {
    id: i64,
    identity: Vec<u8>,
    version: Vec<u8>,
    started_at_ms: Option<i64>,
    utc_offset_s: i64,
    offset_source: String,
    zone_offset_s: Option<i64>,
    first_seen_at_ms: i64,
    row: String,
    path: Option<String>,
}

#[derive(Debug, FromRow)]
struct UnlistedRecording {
    id: i64,
    kind: String,
    sn: String,
    name: Vec<u8>,
    started_at_ms: i64,
    path: String,
    salt: Vec<u8>,
    state: String,
    reason: Option<String>,
    #[sqlx(rename = "final")]
    is_final: bool,
    attempts: i64,
}

/// The first line of a file.
#[derive(Serialize)]
struct Head<'a> {
    schema: &'a str,
    pbx: &'a str,
    day: &'a str,
}

/// A line about a call.
#[derive(Serialize)]
struct CallLine<'a> {
    r#type: &'a str,
    identity: String,
    version: String,
    started_at: Option<String>,
    utc_offset_s: i64,
    offset_source: &'a str,
    zone_offset_s: Option<i64>,
    first_seen_at: Option<String>,
    recording: Option<&'a str>,
    row: Box<serde_json::value::RawValue>,
}

/// A line about a recording that is not archived.
#[derive(Serialize)]
struct RecordingLine<'a> {
    r#type: &'a str,
    path: &'a str,
    kind: &'a str,
    sn: &'a str,
    name: Text,
    started_at: Option<String>,
    state: &'a str,
    reason: Option<&'a str>,
    r#final: bool,
    attempts: i64,
    salt: String,
}

fn lines(pbx: &str, day: &str, calls: &[UnlistedCall], recordings: &[UnlistedRecording]) -> Vec<String> {
    let mut lines = vec![json(&Head { schema: SCHEMA, pbx, day })];
    lines.extend(calls.iter().map(|call| {
        json(&CallLine {
            r#type: "call",
            identity: hex(&call.identity),
            version: hex(&call.version),
            started_at: call.started_at_ms.and_then(time),
            utc_offset_s: call.utc_offset_s,
            offset_source: &call.offset_source,
            zone_offset_s: call.zone_offset_s,
            first_seen_at: time(call.first_seen_at_ms),
            recording: call.path.as_deref(),
            row: serde_json::value::RawValue::from_string(call.row.clone()).unwrap_or_default(),
        })
    }));
    lines.extend(recordings.iter().map(|recording| {
        json(&RecordingLine {
            r#type: "recording",
            path: &recording.path,
            kind: &recording.kind,
            sn: &recording.sn,
            name: Text::from_bytes(&recording.name),
            started_at: time(recording.started_at_ms),
            state: &recording.state,
            reason: recording.reason.as_deref(),
            r#final: recording.is_final,
            attempts: recording.attempts,
            salt: hex(&recording.salt),
        })
    }));
    lines
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("text, numbers and parsed JSON always serialise")
}

fn time(ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(ms).ok().map(|time| time.to_string())
}

async fn unlisted_days(db: &mut SqliteConnection, pbx: &str, days: DayRange) -> anyhow::Result<Vec<String>> {
    let (from, to) = days.bounds();
    sqlx::query_scalar(
        "select day from calls where pbx = ?1 and listed = 0 and day between ?2 and ?3
         union select day from recordings
         where pbx = ?1 and listed = 0 and state <> 'archived' and day between ?2 and ?3 order by day",
    )
    .bind(pbx)
    .bind(from)
    .bind(to)
    .fetch_all(db)
    .await
    .context("listing days with unwritten calls")
}

async fn unlisted_calls(
    db: &mut SqliteConnection,
    pbx: &str,
    day: &str,
) -> anyhow::Result<Vec<UnlistedCall>> {
    sqlx::query_as(
        "select calls.id, identity, version, calls.started_at_ms, utc_offset_s, offset_source, zone_offset_s,
             first_seen_at_ms, row, path
         from calls left join recordings on recordings.id = recording_id
         where calls.pbx = ? and calls.day = ? and calls.listed = 0 order by calls.id limit ?",
    )
    .bind(pbx)
    .bind(day)
    .bind(LINES_MAX)
    .fetch_all(db)
    .await
    .context("reading unwritten calls")
}

async fn unlisted_recordings(
    db: &mut SqliteConnection,
    pbx: &str,
    day: &str,
) -> anyhow::Result<Vec<UnlistedRecording>> {
    sqlx::query_as(
        "select id, kind, sn, name, started_at_ms, path, salt, state, reason, final, attempts from recordings
         where pbx = ? and day = ? and listed = 0 and state <> 'archived' order by id limit ?",
    )
    .bind(pbx)
    .bind(day)
    .bind(LINES_MAX)
    .fetch_all(db)
    .await
    .context("reading recordings that are not archived")
}

async fn calls_files(db: &mut SqliteConnection, pbx: &str, day: &str) -> anyhow::Result<Option<u32>> {
    sqlx::query_scalar("select calls_files from days where pbx = ? and day = ?")
        .bind(pbx)
        .bind(day)
        .fetch_optional(db)
        .await
        .context("counting a day's files")
}

async fn note_calls_files(tx: &mut SqliteConnection, pbx: &str, day: &str, last: u32) -> anyhow::Result<()> {
    sqlx::query(
        "insert into days (pbx, day, last_read_at_ms, calls_files) values (?1, ?2, 0, ?3)
         on conflict (pbx, day) do update set calls_files = max(calls_files, ?3)",
    )
    .bind(pbx)
    .bind(day)
    .bind(last)
    .execute(tx)
    .await
    .context("noting a day's file")?;
    Ok(())
}

/// Marks calls as written, unless they changed meanwhile.
async fn mark_calls(db: &Db, calls: &[UnlistedCall]) -> anyhow::Result<()> {
    for some in calls.chunks(MARKS_PER_UNIT) {
        let some: Vec<_> = some.iter().map(|call| (call.id, call.version.clone())).collect();
        db.write(move |tx| {
            Box::pin(async move {
                for (id, version) in some {
                    sqlx::query("update calls set listed = 1 where id = ? and version = ?")
                        .bind(id)
                        .bind(version)
                        .execute(&mut *tx)
                        .await?;
                }
                Ok(())
            })
        })
        .await?;
    }
    Ok(())
}

/// Marks recordings as written, unless they changed meanwhile.
async fn mark_recordings(db: &Db, recordings: &[UnlistedRecording]) -> anyhow::Result<()> {
    for some in recordings.chunks(MARKS_PER_UNIT) {
        let some: Vec<_> = some
            .iter()
            .map(|recording| (recording.id, recording.state.clone(), recording.attempts))
            .collect();
        db.write(move |tx| {
            Box::pin(async move {
                for (id, state, attempts) in some {
                    sqlx::query(
                        "update recordings set listed = 1 where id = ? and state = ? and attempts = ?",
                    )
                    .bind(id)
                    .bind(state)
                    .bind(attempts)
                    .execute(&mut *tx)
                    .await?;
                }
                Ok(())
            })
        })
        .await?;
    }
    Ok(())
}
