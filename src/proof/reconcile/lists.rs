//! What an account tells by name. The SQL of its lists, each read only if there is anything to tell.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::entries::{Difference, Filed, Listing, Suspect, Suspects, Unarchived};
use crate::base::digest::hex;
use crate::base::recording::Text;

/// The day that is read, and how much of each list.
pub(super) struct OfDay<'a> {
    pub(super) pbx: &'a str,
    pub(super) day: String,
    pub(super) listed_max: i64,
}

/// Answered calls that name no recording, by the identity of their row.
pub(super) async fn unrecorded(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    count: i64,
) -> anyhow::Result<Listing<String>> {
    if count == 0 {
        return Ok(Listing::default());
    }
    let identities: Vec<Vec<u8>> = sqlx::query_scalar(
        "select identity from calls where pbx = ? and day = ? and answered = 1 and recording_id is null
             and coalesce(json_extract(row, '$.recording'), '') = '' order by id limit ?",
    )
    .bind(of.pbx)
    .bind(&of.day)
    .bind(of.listed_max)
    .fetch_all(db)
    .await
    .context("listing answered calls without a recording")?;
    Ok(Listing { count, items: identities.iter().map(|identity| hex(identity)).collect() })
}

#[derive(sqlx::FromRow)]
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
pub(super) async fn unarchived(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    count: i64,
) -> anyhow::Result<Listing<Unarchived>> {
    if count == 0 {
        return Ok(Listing::default());
    }
    let rows: Vec<UnarchivedRow> = sqlx::query_as(
        "select path, name, sn, started_at_ms, state, reason, final, attempts from recordings
         where pbx = ? and day = ? and kind = 'call' and state <> 'archived' order by started_at_ms, id limit ?",
    )
    .bind(of.pbx)
    .bind(&of.day)
    .bind(of.listed_max)
    .fetch_all(db)
    .await
    .context("listing what is not archived")?;
    let told = |row: UnarchivedRow| Unarchived {
        path: row.path,
        name: Text::from_bytes(&row.name),
        sn: row.sn,
        started_at: Timestamp::from_millisecond(row.started_at_ms).ok(),
        state: row.state,
        reason: row.reason,
        is_final: row.is_final,
        attempts: row.attempts,
    };
    Ok(Listing { count, items: rows.into_iter().map(told).collect() })
}

/// Recordings that no row names.
pub(super) async fn unnamed(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    count: i64,
) -> anyhow::Result<Listing<Filed>> {
    if count == 0 {
        return Ok(Listing::default());
    }
    let items = sqlx::query_as(
        "select path from recordings where pbx = ? and day = ? and kind = 'call'
             and not exists (select 1 from calls where recording_id = recordings.id) order by path limit ?",
    );
    filed(db, of, count, items).await
}

/// Archived recordings that only rows name which the latest whole answer of the PBX about their day did not hold.
pub(super) async fn vanished(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    vanished_rows: i64,
) -> anyhow::Result<Listing<Filed>> {
    if vanished_rows == 0 {
        return Ok(Listing::default());
    }
    let count: i64 = sqlx::query_scalar(
        "select count(*) from recordings where pbx = ? and day = ? and kind = 'call' and state = 'archived'
             and exists (select 1 from calls where recording_id = recordings.id)
             and not exists (select 1 from calls where recording_id = recordings.id and reading >=
                 (select coalesce(max(id), 0) from readings
                  where readings.pbx = calls.pbx and source = calls.day and whole = 1))",
    )
    .bind(of.pbx)
    .bind(&of.day)
    .fetch_one(&mut *db)
    .await
    .context("counting recordings whose rows have vanished")?;
    let items = sqlx::query_as(
        "select path from recordings where pbx = ? and day = ? and kind = 'call' and state = 'archived'
             and exists (select 1 from calls where recording_id = recordings.id)
             and not exists (select 1 from calls where recording_id = recordings.id and reading >=
                 (select coalesce(max(id), 0) from readings
                  where readings.pbx = calls.pbx and source = calls.day and whole = 1))
         order by path limit ?",
    );
    filed(db, of, count, items).await
}

/// Files that were kept beside others of the same name.
pub(super) async fn conflicts(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    count: i64,
) -> anyhow::Result<Listing<Filed>> {
    if count == 0 {
        return Ok(Listing::default());
    }
    let items = sqlx::query_as(
        "select file.path from archived_files file join recordings on recordings.id = recording_id
         where pbx = ? and day = ? and kind = 'call' and conflict = 1 order by file.path limit ?",
    );
    filed(db, of, count, items).await
}

type FiledQuery<'q> = sqlx::query::QueryAs<'q, sqlx::Sqlite, Filed, sqlx::sqlite::SqliteArguments>;

async fn filed(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    count: i64,
    items: FiledQuery<'_>,
) -> anyhow::Result<Listing<Filed>> {
    let query = items.bind(of.pbx.to_owned()).bind(of.day.clone()).bind(of.listed_max);
    Ok(Listing { count, items: query.fetch_all(db).await.context("listing files of a day")? })
}

/// Archived files with something odd.
pub(super) async fn suspect(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<Suspects> {
    let groups: Vec<(String, i64)> = sqlx::query_as(
        "select suspect, count(*) from archived_files join recordings on recordings.id = recording_id
         where pbx = ? and day = ? and kind = 'call' and suspect <> '' group by suspect",
    )
    .bind(of.pbx)
    .bind(&of.day)
    .fetch_all(&mut *db)
    .await
    .context("counting odd audio")?;
    let mut by = BTreeMap::new();
    for (words, count) in &groups {
        for word in words.split(',') {
            *by.entry(word.to_owned()).or_default() += count;
        }
    }
    let count = groups.iter().map(|(_, count)| count).sum();
    Ok(Suspects { by, files: Listing { count, items: first_suspects(db, of).await? } })
}

async fn first_suspects(db: &mut SqliteConnection, of: &OfDay<'_>) -> anyhow::Result<Vec<Suspect>> {
    let rows: Vec<(String, String, Option<i64>, Option<i64>)> = sqlx::query_as(
        "select file.path, suspect, duration_ms,
             (select max(talk_s) from calls where calls.recording_id = recordings.id)
         from archived_files file join recordings on recordings.id = file.recording_id
         where pbx = ? and day = ? and kind = 'call' and suspect <> '' order by file.path limit ?",
    )
    .bind(of.pbx)
    .bind(&of.day)
    .bind(of.listed_max)
    .fetch_all(db)
    .await
    .context("listing odd audio")?;
    let told = |(path, words, duration_ms, talk_s): (String, String, Option<i64>, Option<i64>)| Suspect {
        path,
        suspect: words.split(',').map(str::to_owned).collect(),
        duration_ms,
        talk_s,
    };
    Ok(rows.into_iter().map(told).collect())
}

/// Where queue, catalog and calls contradict each other.
pub(super) async fn differences(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
) -> anyhow::Result<Vec<Difference>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select iif(state = 'archived', 'archived_without_file', 'file_without_archived'), path from recordings
         where pbx = ?1 and day = ?2 and kind = 'call'
             and exists (select 1 from calls where recording_id = recordings.id)
             and (state = 'archived') <> exists (select 1 from archived_files where recording_id = recordings.id)
         union all
         select 'unqueued', lower(hex(identity)) from calls
         where pbx = ?1 and day = ?2 and recording_id is null
             and coalesce(json_extract(row, '$.recording'), '') <> ''
         order by 1, 2 limit ?3",
    )
    .bind(of.pbx)
    .bind(&of.day)
    .bind(of.listed_max)
    .fetch_all(db)
    .await
    .context("listing contradictions")?;
    Ok(rows.into_iter().map(|(kind, subject)| Difference { kind, subject }).collect())
}
