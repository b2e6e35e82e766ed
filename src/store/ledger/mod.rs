//! The ledger: an append-only, numbered list of all that happened to the archive, and the leaves of its Merkle tree.

mod checkpoints;
mod rebuilt;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::SqliteConnection;

pub use checkpoints::{
    KeyRow, Signed, add_key, checkpoint_of, first_signed_beyond, forget_checkpoints, frontier, keys,
    latest_checkpoint, note_checkpoint, retire_key,
};
pub use rebuilt::{REBUILT, RebuiltOn};

pub use crate::formats::ledger_entry::{
    ArchivedFacts, ENTRY_BYTES_MAX, Entry, EntryType, HowCame, ListFacts, archived, commitment, found, list,
    suspect,
};

use crate::base::digest::Digest;
use crate::formats::tlog::leaf_hash;
use crate::store::sql::{BindAll as _, Fetch as _};

/// The key under which the database keeps for which of the operator's choices there is an entry.
pub const SETTINGS: &str = "ledger_settings";

/// Appends an entry and returns its number. The caller's transaction makes it durable together with its cause.
pub async fn append(tx: &mut SqliteConnection, entry: &Entry) -> anyhow::Result<i64> {
    let json = entry.to_canonical_json();
    anyhow::ensure!(
        json.len() <= ENTRY_BYTES_MAX,
        "a ledger entry of {} bytes is longer than 4 KiB",
        json.len()
    );
    let leaf = leaf_hash(json.as_bytes());
    sqlx::query_scalar(
        "insert into ledger (number, entry, leaf_hash)
         values ((select coalesce(max(number) + 1, 0) from ledger), ?, ?) returning number",
    )
    .bind_all((json, &leaf))
    .one(tx, "appending to the ledger")
    .await
}

/// An entry as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Numbered {
    #[sqlx(try_from = "i64")]
    pub number: u64,
    /// Its bytes: canonical JSON.
    pub entry: String,
    pub leaf_hash: Digest,
}

impl Numbered {
    pub fn at(&self) -> Option<Timestamp> {
        let entry: Value = serde_json::from_str(&self.entry).ok()?;
        entry.get("at")?.as_str()?.parse().ok()
    }
}

/// How many entries there are: the number of the next one.
pub async fn size(db: &mut SqliteConnection) -> anyhow::Result<u64> {
    let size: i64 = sqlx::query_scalar("select coalesce(max(number) + 1, 0) from ledger")
        .one(db, "counting the entries of the ledger")
        .await?;
    Ok(u64::try_from(size)?)
}

/// The next `limit` entries from `from` on, in their order.
pub async fn entries(db: &mut SqliteConnection, from: u64, limit: u64) -> anyhow::Result<Vec<Numbered>> {
    sqlx::query_as("select number, entry, leaf_hash from ledger where number >= ? order by number limit ?")
        .bind_all((i64::try_from(from)?, i64::try_from(limit)?))
        .all(db, "reading the ledger")
        .await
}

/// The hashes of up to `limit` leaves from `from` on, in their order.
pub async fn leaf_hashes(db: &mut SqliteConnection, from: u64, limit: u64) -> anyhow::Result<Vec<Digest>> {
    sqlx::query_scalar("select leaf_hash from ledger where number >= ? order by number limit ?")
        .bind_all((i64::try_from(from)?, i64::try_from(limit)?))
        .all(db, "reading the leaves of the ledger")
        .await
}

/// Takes over an entry of a ledger that was published: byte for byte, under its own number.
pub async fn restore(tx: &mut SqliteConnection, number: u64, entry: &str) -> anyhow::Result<()> {
    sqlx::query("insert into ledger (number, entry, leaf_hash) values (?, ?, ?)")
        .bind_all((i64::try_from(number)?, entry, &leaf_hash(entry.as_bytes()).as_bytes()[..]))
        .execute(tx)
        .await
        .with_context(|| format!("putting entry {number} of the ledger back"))?;
    Ok(())
}
