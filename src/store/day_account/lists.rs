//! The lists of an account, each read only if there is anything to list.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;
use sqlx::query::QueryAs;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{FromRow, Sqlite, SqliteConnection};

use super::OfDay;
use super::entries::{Difference, Filed, Listing, Suspect, Suspects, Unarchived};
use crate::base::digest::hex;
use crate::base::recording::Text;

/// A query with the PBX, the day and the limit as its parameters.
fn query<O>(sql: &'static str, of: &OfDay<'_>) -> QueryAs<'static, Sqlite, O, SqliteArguments>
where
    O: for<'r> FromRow<'r, SqliteRow>,
{
    sqlx::query_as(sql).bind(of.pbx.to_owned()).bind(of.day.clone()).bind(of.listed_max)
}

/// Answered calls without a recording, by the identity of their row.
pub async fn unrecorded(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    count: i64,
) -> anyhow::Result<Listing<String>> {
    if count == 0 {
        return Ok(Listing::default());
    }
    let sql = "select identity from calls where pbx = ? and day = ? and answered = 1 and recording_id is null
             and coalesce(json_extract(row, '$.recording'), '') = '' order by id limit ?";
    let identities: Vec<(Vec<u8>,)> =
        query(sql, of).fetch_all(db).await.context("listing answered calls without a recording")?;
    Ok(Listing { count, items: identities.iter().map(|(identity,)| hex(identity)).collect() })
}

#[derive(FromRow)]
struct UnarchivedRow {
    path: String,
    name: Vec<u8>,
    sn: String,
    started_at_ms: i64,
    state: String,
    reason: Option<String>,
    #[sqlx(rename = "final")]
    is_final: bool,
    attempts: i64,
}

/// Recordings that are not archived, whether or not a row names them.
pub async fn unarchived(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    count: i64,
) -> anyhow::Result<Listing<Unarchived>> {
    if count == 0 {
        return Ok(Listing::default());
    }
    let sql = "select path, name, sn, started_at_ms, state, reason, final, attempts from recordings
         where pbx = ? and day = ? and kind = 'call' and state <> 'archived' order by started_at_ms, id limit ?";
    let rows: Vec<UnarchivedRow> =
        query(sql, of).fetch_all(db).await.context("listing what is not archived")?;
    let item = |row: UnarchivedRow| Unarchived {
        path: row.path,
        name: Text::from_bytes(&row.name),
        sn: row.sn,
        started_at: Timestamp::from_millisecond(row.started_at_ms).ok(),
        state: row.state,
        reason: row.reason,
        is_final: row.is_final,
        attempts: row.attempts,
    };
    Ok(Listing { count, items: rows.into_iter().map(item).collect() })
}

/// Recordings that no row names.
pub async fn unnamed(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    count: i64,
) -> anyhow::Result<Listing<Filed>> {
    let sql = "select path from recordings where pbx = ? and day = ? and kind = 'call'
             and not exists (select 1 from calls where recording_id = recordings.id) order by path limit ?";
    filed(db, of, count, sql).await
}

/// Archived recordings named only by rows that the PBX's latest whole answer about their day lacked.
macro_rules! vanished {
    ($what:literal, $rest:literal) => {
        concat!(
            "select ",
            $what,
            " from recordings where pbx = ? and day = ? and kind = 'call' and state = 'archived'
             and exists (select 1 from calls where recording_id = recordings.id)
             and not exists (select 1 from calls where recording_id = recordings.id and reading >=
                 (select coalesce(max(id), 0) from readings
                  where readings.pbx = calls.pbx and source = calls.day and whole = 1)) ",
            $rest
        )
    };
}

pub async fn vanished(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    vanished_rows: i64,
) -> anyhow::Result<Listing<Filed>> {
    if vanished_rows == 0 {
        return Ok(Listing::default());
    }
    let count: i64 = sqlx::query_scalar(vanished!("count(*)", ""))
        .bind(of.pbx)
        .bind(&of.day)
        .fetch_one(&mut *db)
        .await
        .context("counting recordings whose rows have vanished")?;
    filed(db, of, count, vanished!("path", "order by path limit ?")).await
}

/// Files kept beside others of the same name.
pub async fn conflicts(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    count: i64,
) -> anyhow::Result<Listing<Filed>> {
    let sql = "select file.path from archived_files file join recordings on recordings.id = recording_id
         where pbx = ? and day = ? and kind = 'call' and conflict = 1 order by file.path limit ?";
    filed(db, of, count, sql).await
}

async fn filed(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    count: i64,
    sql: &'static str,
) -> anyhow::Result<Listing<Filed>> {
    let items = match count {
        0 => Vec::new(),
        _ => query(sql, of).fetch_all(db).await.context("listing files of a day")?,
    };
    Ok(Listing { count, items })
}

/// Archived files with unusual audio.
pub async fn suspect(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<Suspects> {
    let groups: Vec<(String, i64)> = sqlx::query_as(
        "select suspect, count(*) from archived_files join recordings on recordings.id = recording_id
         where pbx = ? and day = ? and kind = 'call' and suspect <> '' group by suspect",
    )
    .bind(of.pbx)
    .bind(&of.day)
    .fetch_all(&mut *db)
    .await
    .context("counting unusual audio")?;
    let mut by = BTreeMap::new();
    for (words, count) in &groups {
        for word in words.split(',') {
            *by.entry(word.to_owned()).or_default() += count;
        }
    }
    let count = groups.iter().map(|(_, count)| count).sum();
    let sql = "select file.path, suspect, duration_ms,
             (select max(talk_s) from calls where calls.recording_id = recordings.id)
         from archived_files file join recordings on recordings.id = file.recording_id
         where pbx = ? and day = ? and kind = 'call' and suspect <> '' order by file.path limit ?";
    let rows: Vec<(String, String, Option<i64>, Option<i64>)> =
        query(sql, of).fetch_all(db).await.context("listing unusual audio")?;
    let items = rows.into_iter().map(|(path, words, duration_ms, talk_s)| {
        let suspect = words.split(',').map(str::to_owned).collect();
        Suspect { path, suspect, duration_ms, talk_s }
    });
    Ok(Suspects { by, files: Listing { count, items: items.collect() } })
}

/// Where queue, catalog and calls contradict each other.
pub async fn differences(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<Vec<Difference>> {
    let sql = "select iif(state = 'archived', 'archived_without_file', 'file_without_archived') as kind,
             path as subject
         from recordings where pbx = ?1 and day = ?2 and kind = 'call'
             and exists (select 1 from calls where recording_id = recordings.id)
             and (state = 'archived') <> exists (select 1 from archived_files where recording_id = recordings.id)
         union all
         select 'unqueued', lower(hex(identity)) from calls
         where pbx = ?1 and day = ?2 and recording_id is null
             and coalesce(json_extract(row, '$.recording'), '') <> ''
         order by 1, 2 limit ?3";
    query(sql, of).fetch_all(db).await.context("listing contradictions")
}
