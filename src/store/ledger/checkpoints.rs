//! What was signed: checkpoints, the edge of the tree, and keys. All SQL on `checkpoints`, `ledger_frontier`, `ledger_keys`.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::base::digest::Digest;
use crate::formats::tlog::Frontier;
use crate::store::sql::{BindAll as _, Fetch as _, Ms, Run as _};

/// A size and root that were signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Signed {
    #[sqlx(try_from = "i64")]
    pub size: u64,
    pub root: Digest,
    #[sqlx(rename = "signed_at_ms", try_from = "Ms")]
    pub signed_at: Timestamp,
}

pub async fn latest_checkpoint(db: &mut SqliteConnection) -> anyhow::Result<Option<Signed>> {
    sqlx::query_as("select size, root, signed_at_ms from checkpoints order by size desc limit 1")
        .maybe(db, "reading the latest checkpoint")
        .await
}

/// The checkpoint of exactly this size, if it is still known.
pub async fn checkpoint_of(db: &mut SqliteConnection, size: u64) -> anyhow::Result<Option<Signed>> {
    sqlx::query_as("select size, root, signed_at_ms from checkpoints where size = ?")
        .bind(i64::try_from(size)?)
        .maybe(db, "looking up a checkpoint")
        .await
}

/// When the first checkpoint was signed that covers more than `size` entries; of those long ago, one of each day is known.
pub async fn first_signed_beyond(db: &mut SqliteConnection, size: i64) -> anyhow::Result<Option<Timestamp>> {
    let signed_at: Option<Ms> =
        sqlx::query_scalar("select signed_at_ms from checkpoints where size > ? order by size limit 1")
            .bind(size)
            .maybe(db, "looking up the checkpoint after another")
            .await?;
    Ok(signed_at.map(Timestamp::from))
}

/// Notes what is about to be signed, and the edge of its tree.
pub async fn note_checkpoint(
    tx: &mut SqliteConnection,
    frontier: &Frontier,
    now: Timestamp,
) -> anyhow::Result<()> {
    let size = i64::try_from(frontier.size())?;
    sqlx::query("insert into checkpoints (size, root, signed_at_ms) values (?, ?, ?) on conflict do nothing")
        .bind_all((size, &frontier.root().as_bytes()[..], now))
        .run(tx, "noting a checkpoint")
        .await?;
    sqlx::query(
        "insert into ledger_frontier (id, size, hashes) values (1, ?, ?)
         on conflict (id) do update set size = excluded.size, hashes = excluded.hashes",
    )
    .bind_all((size, frontier.to_bytes()))
    .run(tx, "noting the edge of the ledger's tree")
    .await
}

/// The edge of the tree at the latest checkpoint; of no leaf at all if nothing was ever signed.
pub async fn frontier(db: &mut SqliteConnection) -> anyhow::Result<Frontier> {
    let row: Option<(i64, Vec<u8>)> = sqlx::query_as("select size, hashes from ledger_frontier")
        .maybe(db, "reading the edge of the ledger's tree")
        .await?;
    let Some((size, hashes)) = row else { return Ok(Frontier::default()) };
    Ok(Frontier::from_bytes(u64::try_from(size)?, &hashes)?)
}

/// Forgets checkpoints from before `cutoff`, but for the last one of each day.
pub async fn forget_checkpoints(tx: &mut SqliteConnection, cutoff: Timestamp) -> anyhow::Result<()> {
    sqlx::query(
        "delete from checkpoints where signed_at_ms < ? and size not in
             (select max(size) from checkpoints group by signed_at_ms / 86400000)",
    )
    .bind_all((cutoff,))
    .run(tx, "forgetting old checkpoints")
    .await
}

/// A key as it is kept: its public half.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct KeyRow {
    /// As verifiers take it.
    pub vkey: String,
    pub created_at_ms: i64,
    /// Until when a former key signs beside the latest; `None` of the latest.
    pub signs_until_ms: Option<i64>,
    /// When it stopped to sign; `None` while it signs.
    pub retired_at_ms: Option<i64>,
}

/// All keys that ever signed, the latest first.
pub async fn keys(db: &mut SqliteConnection) -> anyhow::Result<Vec<KeyRow>> {
    sqlx::query_as(
        "select vkey, created_at_ms, signs_until_ms, retired_at_ms from ledger_keys order by ordinal desc",
    )
    .all(db, "reading the keys of the ledger")
    .await
}

/// Notes a key that signs from now on; the one before signs beside it until `overlap_ends`.
pub async fn add_key(
    tx: &mut SqliteConnection,
    vkey: &str,
    overlap_ends: Timestamp,
    now: Timestamp,
) -> anyhow::Result<()> {
    sqlx::query("update ledger_keys set signs_until_ms = ? where signs_until_ms is null")
        .bind(overlap_ends.as_millisecond())
        .run(tx, "ending a key of the ledger")
        .await?;
    sqlx::query(
        "insert into ledger_keys (vkey, ordinal, created_at_ms)
         values (?, (select coalesce(max(ordinal), 0) + 1 from ledger_keys), ?)",
    )
    .bind_all((vkey, now))
    .run(tx, "adding a key of the ledger")
    .await
}

/// Notes that a former key signs no more.
pub async fn retire_key(tx: &mut SqliteConnection, vkey: &str, now: Timestamp) -> anyhow::Result<()> {
    sqlx::query("update ledger_keys set retired_at_ms = ? where vkey = ?")
        .bind_all((now, vkey))
        .run(tx, "retiring a key of the ledger")
        .await
}
