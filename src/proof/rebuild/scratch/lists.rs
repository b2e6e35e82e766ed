//! Salted call lists, until the ledger has told what they come to.

use anyhow::Context as _;
use sqlx::{FromRow, SqliteConnection};

use crate::proof::rebuild::entry::ListEntry;
use crate::store::ledger::ListFacts;

/// `entry` is the number of the entry that tells of a list; -1 of a list that is not what its entry tells.
pub(super) const TABLE: &str = "create table scratch.lists (
         pbx text not null, day text not null, n integer not null, sha256 blob not null, lines integer not null,
         root blob not null, entry integer, primary key (pbx, day, n)) without rowid";

/// Notes a list that was found.
pub(in crate::proof::rebuild) async fn keep_list(
    tx: &mut SqliteConnection,
    list: &ListFacts<'_>,
) -> anyhow::Result<()> {
    sqlx::query("insert into scratch.lists (pbx, day, n, sha256, lines, root) values (?, ?, ?, ?, ?, ?)")
        .bind(list.pbx)
        .bind(list.day.to_string())
        .bind(list.number)
        .bind(&list.sha256.as_bytes()[..])
        .bind(i64::try_from(list.lines.count)?)
        .bind(&list.lines.root.as_bytes()[..])
        .execute(tx)
        .await
        .context("noting a call list")?;
    Ok(())
}

/// Ties what comes to the root of entry `number` to it; whether there is anything that does.
pub(in crate::proof::rebuild) async fn match_list(
    tx: &mut SqliteConnection,
    number: i64,
    entry: &ListEntry,
) -> anyhow::Result<bool> {
    let day = entry.day.to_string();
    let found = sqlx::query(
        "update scratch.lists set entry = ? where pbx = ? and day = ? and root = ? and lines = ?",
    )
    .bind(number)
    .bind(&entry.pbx)
    .bind(&day)
    .bind(&entry.root.as_bytes()[..])
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

/// A list of which no entry tells.
#[derive(Debug, FromRow)]
pub(in crate::proof::rebuild) struct UnnamedList {
    pub(in crate::proof::rebuild) pbx: String,
    pub(in crate::proof::rebuild) day: String,
    pub(in crate::proof::rebuild) n: i64,
    pub(in crate::proof::rebuild) sha256: Vec<u8>,
    pub(in crate::proof::rebuild) lines: i64,
    pub(in crate::proof::rebuild) root: Vec<u8>,
}

/// The lists of which no entry tells, in their order: few, for they are the tail.
pub(in crate::proof::rebuild) async fn unnamed_lists(
    db: &mut SqliteConnection,
) -> anyhow::Result<Vec<UnnamedList>> {
    sqlx::query_as(
        "select pbx, day, n, sha256, lines, root from scratch.lists where entry is null order by pbx, day, n",
    )
    .fetch_all(db)
    .await
    .context("listing call lists of which no entry tells")
}
