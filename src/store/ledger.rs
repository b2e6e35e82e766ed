//! The ledger: an append-only, numbered list of all that happened to the archive, and the leaves of its Merkle tree.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::formats::tlog::{Frontier, leaf_hash};
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Ms, Run as _};
use crate::store::together::{Statement, statement};

pub use crate::formats::ledger_entry::{
    ArchivedFacts, ENTRY_BYTES_MAX, Entry, EntryType, HowCame, ListFacts, archived, commitment, found, list,
    suspect,
};

/// The key under which the database keeps for which of the operator's choices there is an entry.
pub const SETTINGS: &str = "ledger_settings";

/// Appends an entry and returns its number. The caller's transaction makes it durable together with its cause.
pub async fn append(tx: &mut Conn, entry: &Entry) -> Result<i64> {
    let number = next_number(tx).await?;
    appending(number, std::slice::from_ref(entry))?.run(tx, "appending to the ledger").await?;
    Ok(number)
}

/// The number that the next entry gets.
pub async fn next_number(tx: &mut Conn) -> Result<i64> {
    Ok(i64::try_from(size(tx).await?)?)
}

/// Appends entries in their order, the first of which gets the next number, `first`.
pub fn appending(first: i64, entries: &[Entry]) -> Result<Statement> {
    let mut texts = Vec::with_capacity(entries.len());
    let mut leaves = Vec::with_capacity(entries.len() * Digest::BYTES);
    for entry in entries {
        let json = entry.to_canonical_json();
        let bytes = json.len();
        anyhow::ensure!(bytes <= ENTRY_BYTES_MAX, "a ledger entry of {bytes} bytes is longer than 4 KiB");
        leaves.extend_from_slice(leaf_hash(json.as_bytes()).as_bytes());
        texts.push(json);
    }
    let append = statement(
        "insert into ledger (number, entry, leaf_hash)
         select ? + key, value, substr(?, key * 32 + 1, 32) from json_each(?)",
    );
    Ok(append.bind_all((first, leaves, serde_json::to_string(&texts)?)))
}

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Numbered {
    pub number: u64,
    /// Its bytes: canonical JSON.
    pub entry: String,
    pub leaf_hash: Digest,
}

impl Numbered {
    pub fn at(&self) -> Result<Timestamp> {
        #[derive(serde::Deserialize)]
        struct Dated {
            at: Timestamp,
        }
        let dated: Dated = serde_json::from_str(&self.entry)
            .with_context(|| format!("entry {} of the ledger in the database is damaged", self.number))?;
        Ok(dated.at)
    }
}

/// How many entries there are: the number of the next one.
pub async fn size(db: &mut Conn) -> Result<u64> {
    sqlx::query_scalar("select coalesce(max(number) + 1, 0) from ledger")
        .one(db, "counting the entries of the ledger")
        .await
}

/// The next `limit` entries from `from` on, in their order.
pub async fn entries(db: &mut Conn, from: u64, limit: u64) -> Result<Vec<Numbered>> {
    sqlx::query_as("select number, entry, leaf_hash from ledger where number >= ? order by number limit ?")
        .bind_all((from, limit))
        .all(db, "reading the ledger")
        .await
}

/// The hashes of up to `limit` leaves from `from` on, in their order.
pub async fn leaf_hashes(db: &mut Conn, from: u64, limit: u64) -> Result<Vec<Digest>> {
    sqlx::query_scalar("select leaf_hash from ledger where number >= ? order by number limit ?")
        .bind_all((from, limit))
        .all(db, "reading the leaves of the ledger")
        .await
}

/// Takes over an entry of a ledger that was published: byte for byte, under its own number.
pub async fn restore(tx: &mut Conn, number: u64, entry: &str) -> Result<()> {
    sqlx::query("insert into ledger (number, entry, leaf_hash) values (?, ?, ?)")
        .bind_all((number, entry, leaf_hash(entry.as_bytes())))
        .run(tx, format!("putting entry {number} of the ledger back"))
        .await
}

/// A size and root that were signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Signed {
    pub size: u64,
    pub root: Digest,
    #[sqlx(rename = "signed_at_ms", try_from = "Ms")]
    pub signed_at: Timestamp,
}

pub async fn latest_checkpoint(db: &mut Conn) -> Result<Option<Signed>> {
    sqlx::query_as("select size, root, signed_at_ms from checkpoints order by size desc limit 1")
        .maybe(db, "reading the latest checkpoint")
        .await
}

/// The checkpoint of exactly this size, if it is still known.
pub async fn checkpoint_of(db: &mut Conn, size: u64) -> Result<Option<Signed>> {
    sqlx::query_as("select size, root, signed_at_ms from checkpoints where size = ?")
        .bind_all((size,))
        .maybe(db, "looking up a checkpoint")
        .await
}

/// When the first checkpoint was signed that covers more than `size` entries; of those long ago, one of each day is known.
pub async fn first_signed_beyond(db: &mut Conn, size: u64) -> Result<Option<Timestamp>> {
    let signed_at: Option<Ms> =
        sqlx::query_scalar("select signed_at_ms from checkpoints where size > ? order by size limit 1")
            .bind_all((size,))
            .maybe(db, "looking up the checkpoint after another")
            .await?;
    Ok(signed_at.map(Timestamp::from))
}

/// Notes what is about to be signed, and the edge of its tree.
pub async fn note_checkpoint(tx: &mut Conn, frontier: &Frontier, now: Timestamp) -> Result<()> {
    sqlx::query("insert into checkpoints (size, root, signed_at_ms) values (?, ?, ?) on conflict do nothing")
        .bind_all((frontier.size(), frontier.root(), now))
        .run(tx, "noting a checkpoint")
        .await?;
    sqlx::query(
        "insert into ledger_frontier (id, size, hashes) values (1, ?, ?)
         on conflict (id) do update set size = excluded.size, hashes = excluded.hashes",
    )
    .bind_all((frontier.size(), frontier.to_bytes()))
    .run(tx, "noting the edge of the ledger's tree")
    .await
}

/// The edge of the tree at the latest checkpoint; of no leaf at all if nothing was ever signed.
pub async fn frontier(db: &mut Conn) -> Result<Frontier> {
    let row: Option<(u64, Vec<u8>)> = sqlx::query_as("select size, hashes from ledger_frontier")
        .maybe(db, "reading the edge of the ledger's tree")
        .await?;
    let Some((size, hashes)) = row else { return Ok(Frontier::default()) };
    Ok(Frontier::from_bytes(size, &hashes)?)
}

/// Forgets checkpoints from before `cutoff`, but for the last one of each day.
pub async fn forget_checkpoints(tx: &mut Conn, cutoff: Timestamp) -> Result<()> {
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
    pub created_at_ms: Ms,
    /// Until when a former key signs beside the latest; `None` of the latest.
    pub signs_until_ms: Option<Ms>,
    /// When it stopped to sign; `None` while it signs.
    pub retired_at_ms: Option<Ms>,
}

/// All keys that ever signed, the latest first.
pub async fn keys(db: &mut Conn) -> Result<Vec<KeyRow>> {
    sqlx::query_as(
        "select vkey, created_at_ms, signs_until_ms, retired_at_ms from ledger_keys order by ordinal desc",
    )
    .all(db, "reading the keys of the ledger")
    .await
}

/// Notes a key that signs from now on; the one before signs beside it until `overlap_ends`.
pub async fn add_key(tx: &mut Conn, vkey: &str, overlap_ends: Timestamp, now: Timestamp) -> Result<()> {
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

pub async fn retire_key(tx: &mut Conn, vkey: &str, now: Timestamp) -> Result<()> {
    sqlx::query("update ledger_keys set retired_at_ms = ? where vkey = ?")
        .bind_all((now, vkey))
        .run(tx, "retiring a key of the ledger")
        .await
}

/// The key under which the database keeps them, as JSON.
pub const REBUILT: &str = "ledger_rebuilt";

/// A rebuild after which what came before rests on the word of others than our own key: certificates say so for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuiltOn {
    /// The entry that tells of it.
    pub ledger_number: i64,
    /// Whose word it is: `vkey`, `witness` or `none`.
    pub trust: String,
}

impl RebuiltOn {
    pub fn vouched_by(&self) -> &'static str {
        match self.trust.as_str() {
            "vkey" => "a key that the operator gave",
            "witness" => "a witness",
            _ => "only the archive itself",
        }
    }
}
