//! What the day folders do not tell yet. The SQL of sealing.

use anyhow::Context as _;
use sqlx::{FromRow, SqliteConnection};

use crate::store::queue::DayRange;

/// Lines of one file: a longer day gets several.
const LINES_MAX: i64 = 2_000;

/// A call, or a new version of one, that no file tells yet.
#[derive(Debug, FromRow)]
pub(super) struct UntoldCall {
    pub(super) id: i64,
    pub(super) version: Vec<u8>,
    pub(super) started_at_ms: Option<i64>,
    pub(super) utc_offset_s: i64,
    pub(super) offset_source: String,
    pub(super) zone_offset_s: Option<i64>,
    pub(super) first_seen_at_ms: i64,
    pub(super) row: String,
    pub(super) path: Option<String>,
}

/// A recording that is not archived, in a state that no file tells yet.
#[derive(Debug, FromRow)]
pub(super) struct UntoldRecording {
    pub(super) id: i64,
    pub(super) kind: String,
    pub(super) sn: String,
    pub(super) name: Vec<u8>,
    pub(super) started_at_ms: i64,
    pub(super) path: String,
    pub(super) salt: Vec<u8>,
    pub(super) state: String,
    pub(super) reason: Option<String>,
    #[sqlx(rename = "final")]
    pub(super) is_final: bool,
    pub(super) attempts: i64,
}

pub(super) async fn days(
    db: &mut SqliteConnection,
    pbx: &str,
    days: DayRange,
) -> anyhow::Result<Vec<String>> {
    let (from, to) = days.bounds();
    sqlx::query_scalar(
        "select day from calls where pbx = ?1 and told_version is not version and day between ?2 and ?3
         union select day from recordings
         where pbx = ?1 and told = 0 and state <> 'archived' and day between ?2 and ?3
         union select day from list_drafts where pbx = ?1 and day between ?2 and ?3 order by day",
    )
    .bind(pbx)
    .bind(from)
    .bind(to)
    .fetch_all(db)
    .await
    .context("listing days with unwritten calls")
}

/// Days that have settled and have something that no file tells, and days whose file a run has begun that died.
pub(super) async fn settled_days(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<Vec<String>> {
    sqlx::query_scalar(
        "select day from days where pbx = ?1 and state = 'settled' and (
             exists (select 1 from calls
                 where calls.pbx = ?1 and calls.day = days.day and told_version is not version)
             or exists (select 1 from recordings
                 where recordings.pbx = ?1 and recordings.day = days.day and told = 0 and state <> 'archived'))
         union select day from list_drafts where pbx = ?1 order by day",
    )
    .bind(pbx)
    .fetch_all(db)
    .await
    .context("listing settled days with unwritten calls")
}

pub(super) async fn calls(
    db: &mut SqliteConnection,
    pbx: &str,
    day: &str,
) -> anyhow::Result<Vec<UntoldCall>> {
    sqlx::query_as(
        "select calls.id, version, calls.started_at_ms, utc_offset_s, offset_source, zone_offset_s,
             first_seen_at_ms, row, path
         from calls left join recordings on recordings.id = recording_id
         where calls.pbx = ? and calls.day = ? and told_version is not version order by calls.id limit ?",
    )
    .bind(pbx)
    .bind(day)
    .bind(LINES_MAX)
    .fetch_all(db)
    .await
    .context("reading unwritten calls")
}

pub(super) async fn recordings(
    db: &mut SqliteConnection,
    pbx: &str,
    day: &str,
) -> anyhow::Result<Vec<UntoldRecording>> {
    sqlx::query_as(
        "select id, kind, sn, name, started_at_ms, path, salt, state, reason, final, attempts from recordings
         where pbx = ? and day = ? and told = 0 and state <> 'archived' order by id limit ?",
    )
    .bind(pbx)
    .bind(day)
    .bind(LINES_MAX)
    .fetch_all(db)
    .await
    .context("reading recordings that are not archived")
}

pub(super) async fn calls_files(
    db: &mut SqliteConnection,
    pbx: &str,
    day: &str,
) -> anyhow::Result<Option<u32>> {
    sqlx::query_scalar("select calls_files from days where pbx = ? and day = ?")
        .bind(pbx)
        .bind(day)
        .fetch_optional(db)
        .await
        .context("counting a day's files")
}

pub(super) async fn note_calls_files(
    tx: &mut SqliteConnection,
    pbx: &str,
    day: &str,
    last: u32,
) -> anyhow::Result<()> {
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
