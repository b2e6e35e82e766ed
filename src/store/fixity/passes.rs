//! What verifications came to: the last that looked at everything, and the reading of every byte that is under way.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::store::db;
use crate::store::sql::{BindAll as _, Fetch as _, Ms, Run as _};

/// The reading of every byte that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Pass {
    #[sqlx(rename = "began_at_ms", try_from = "Ms")]
    pub began_at: Timestamp,
    /// Files that were read for it so far.
    #[sqlx(try_from = "i64")]
    pub files: u64,
    #[sqlx(try_from = "i64")]
    pub bytes: u64,
}

/// Notes that a verification looked at everything (`quick`), or read every byte (`full`).
pub async fn note_whole(tx: &mut SqliteConnection, scope: &str, now: Timestamp) -> anyhow::Result<()> {
    sqlx::query(
        "insert into verifications (scope, whole_at_ms) values (?, ?)
         on conflict (scope) do update set whole_at_ms = excluded.whole_at_ms",
    )
    .bind_all((scope, now))
    .run(tx, "noting a verification")
    .await
}

/// The pass under way, if there is one.
pub async fn pass(db: &mut SqliteConnection) -> anyhow::Result<Option<Pass>> {
    sqlx::query_as("select began_at_ms, files, bytes from scrub where began_at_ms is not null")
        .maybe(db, "looking up how far the archive was read")
        .await
}

/// Begins a pass, unless one is under way.
pub async fn begin_pass(tx: &mut SqliteConnection, now: Timestamp) -> anyhow::Result<()> {
    sqlx::query(
        "insert into scrub (id, first_at_ms, began_at_ms) values (1, ?1, ?1)
         on conflict (id) do update set began_at_ms = ?1, files = 0, bytes = 0 where began_at_ms is null",
    )
    .bind_all((now,))
    .run(tx, "beginning to read the archive again")
    .await
}

/// Counts what was read for the pass under way, if there is one.
pub async fn add_to_pass(tx: &mut SqliteConnection, files: u64, bytes: u64) -> anyhow::Result<()> {
    sqlx::query("update scrub set files = files + ?, bytes = bytes + ? where began_at_ms is not null")
        .bind_all((i64::try_from(files)?, i64::try_from(bytes)?))
        .run(tx, "counting what was read")
        .await
}

/// Ends the pass under way: every byte was read since it began.
pub async fn end_pass(tx: &mut SqliteConnection) -> anyhow::Result<()> {
    sqlx::query("update scrub set began_at_ms = null").run(tx, "noting that the archive was read").await
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The end of the last look at everything.
    pub last_quick: Option<Timestamp>,
    /// The end of the last reading of every byte.
    pub last_full: Option<Timestamp>,
    /// When the service first read a part of the archive again.
    pub first_scrub: Option<Timestamp>,
}

/// What is remembered of verifications; nothing in an outdated database.
pub async fn standing(db: &mut SqliteConnection) -> anyhow::Result<Standing> {
    if !db::has_table(db, "verifications").await? {
        return Ok(Standing::default());
    }
    let (quick, full, first): (Option<Ms>, Option<Ms>, Option<Ms>) = sqlx::query_as(
        "select (select whole_at_ms from verifications where scope = 'quick'),
             (select whole_at_ms from verifications where scope = 'full'), (select first_at_ms from scrub)",
    )
    .one(db, "reading what verifications came to")
    .await?;
    let time = |ms: Option<Ms>| ms.map(Timestamp::from);
    Ok(Standing { last_quick: time(quick), last_full: time(full), first_scrub: time(first) })
}

/// How many findings about files hold at present: missing, altered, unreadable.
pub async fn found_of_files(db: &mut SqliteConnection) -> anyhow::Result<(u64, u64, u64)> {
    let count: (i64, i64, i64) = sqlx::query_as(
        "select coalesce(sum(kind = 'file_missing'), 0), coalesce(sum(kind = 'file_altered'), 0),
             coalesce(sum(kind = 'file_unreadable'), 0)
         from findings where closed_at_ms is null",
    )
    .one(db, "counting what is damaged")
    .await?;
    Ok((u64::try_from(count.0)?, u64::try_from(count.1)?, u64::try_from(count.2)?))
}
