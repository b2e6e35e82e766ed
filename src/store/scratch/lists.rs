//! Salted call lists, until the ledger has told what they come to.

use anyhow::Context as _;
use sqlx::{FromRow, SqliteConnection};

use crate::base::digest::Digest;
use crate::formats::ledger_entry::{ListEntry, ListFacts};

/// A list without an entry.
#[derive(Debug, FromRow)]
pub struct UnnamedList {
    pub pbx: String,
    pub day: String,
    pub n: u32,
    pub sha256: Digest,
    pub lines: i64,
    pub root: Digest,
}

pub async fn keep_list(tx: &mut SqliteConnection, list: &ListFacts<'_>) -> anyhow::Result<()> {
    sqlx::query("insert into scratch.lists (pbx, day, n, sha256, lines, root) values (?, ?, ?, ?, ?, ?)")
        .bind(list.pbx)
        .bind(list.day.to_string())
        .bind(list.number)
        .bind(list.sha256)
        .bind(i64::try_from(list.lines.count)?)
        .bind(list.lines.root)
        .execute(tx)
        .await
        .context("noting a call list")?;
    Ok(())
}

/// Gives the lists that come to the root of an entry to it; whether there are any.
pub async fn match_list(tx: &mut SqliteConnection, number: i64, entry: &ListEntry) -> anyhow::Result<bool> {
    let day = entry.day.to_string();
    let found = sqlx::query(
        "update scratch.lists set entry = ? where pbx = ? and day = ? and root = ? and lines = ?",
    )
    .bind(number)
    .bind(&entry.pbx)
    .bind(&day)
    .bind(entry.root)
    .bind(i64::try_from(entry.lines)?)
    .execute(&mut *tx)
    .await
    .context("looking for the call list of an entry")?;
    if found.rows_affected() > 0 {
        return Ok(true);
    }
    sqlx::query("update scratch.lists set entry = -1 where pbx = ? and day = ? and n = ? and entry is null")
        .bind(&entry.pbx)
        .bind(day)
        .bind(entry.n)
        .execute(tx)
        .await
        .context("setting a call list apart")?;
    Ok(false)
}

/// The lists without an entry, in their order: few, for they are the tail.
pub async fn unnamed_lists(db: &mut SqliteConnection) -> anyhow::Result<Vec<UnnamedList>> {
    sqlx::query_as(
        "select pbx, day, n, sha256, lines, root from scratch.lists where entry is null order by pbx, day, n",
    )
    .fetch_all(db)
    .await
    .context("listing call lists without an entry")
}
