//! The time-stamp tokens, and the standing of the authorities and witnesses: `anchors` and `anchor_standings`.

use std::collections::BTreeSet;

use anyhow::Context as _;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::db;
use crate::base::digest::Digest;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Says when it saw a checkpoint.
    Authority,
    /// Says that each checkpoint continues the one before.
    Witness,
}

impl Kind {
    /// The word in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Witness => "witness",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, sqlx::FromRow)]
pub struct Standing {
    /// Entries of the largest checkpoint that it has answered for; 0 before the first.
    pub size: i64,
    pub reached_at_ms: Option<i64>,
    /// Entries of the largest checkpoint that it has vouched for, as far as that was verified.
    pub verified_size: i64,
    pub verified_at_ms: Option<i64>,
    /// Why its word on the largest checkpoint is not verified.
    pub unverified: Option<String>,
    pub last_error: Option<String>,
    pub failing_since_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenName {
    /// Entries that the checkpoint covers.
    pub size: u64,
    pub authority: String,
}

/// A token that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    pub authority: String,
    pub size: u64,
    pub root: Digest,
    pub anchored_at: Timestamp,
    pub path: String,
    pub sha256: Digest,
    /// Why it is not verified; none if it is.
    pub unverified: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotedToken {
    pub name: TokenName,
    /// None if version 0.1 recorded it.
    pub sha256: Option<Digest>,
}

/// The standing of `name`; the default in a database of an older version.
pub async fn standing(db: &mut SqliteConnection, kind: Kind, name: &str) -> anyhow::Result<Standing> {
    if !db::has_table(db, "anchor_standings").await? {
        return Ok(Standing::default());
    }
    let of_trust = match is_trust_kept(db).await? {
        true => "verified_size, verified_at_ms, unverified",
        // A witness's word is verified before it is noted.
        false => {
            "iif(kind = 'witness', size, 0) as verified_size,
             iif(kind = 'witness', reached_at_ms, null) as verified_at_ms,
             iif(kind = 'witness', null, 'it was not judged yet: the service does so when it starts') as unverified"
        }
    };
    let sql = format!(
        "select size, reached_at_ms, last_error, failing_since_ms, {of_trust} from anchor_standings
         where kind = ? and name = ?"
    );
    let row = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(kind.as_str())
        .bind(name)
        .fetch_optional(db)
        .await
        .context("reading how it stands with those who anchor")?;
    Ok(row.unwrap_or_default())
}

/// Whether the database, which may be of an older version, records what was verified.
async fn is_trust_kept(db: &mut SqliteConnection) -> anyhow::Result<bool> {
    sqlx::query_scalar(
        "select exists (select 1 from pragma_table_info('anchor_standings') where name = 'verified_size')",
    )
    .fetch_one(db)
    .await
    .context("reading how it stands with those who anchor")
}

pub async fn noted(db: &mut SqliteConnection) -> anyhow::Result<Vec<NotedToken>> {
    let rows: Vec<(String, i64, Option<Vec<u8>>)> =
        sqlx::query_as("select authority, size, sha256 from anchors order by size, authority")
            .fetch_all(db)
            .await
            .context("reading the anchors")?;
    rows.into_iter()
        .map(|(authority, size, sha256)| {
            let name = TokenName { size: u64::try_from(size)?, authority };
            Ok(NotedToken { name, sha256: sha256.map(|hash| Digest::try_from(&hash[..])).transpose()? })
        })
        .collect()
}

/// The recorded tokens, by authority and size.
pub async fn known(db: &mut SqliteConnection) -> anyhow::Result<BTreeSet<(String, u64)>> {
    let rows: Vec<(String, i64)> = sqlx::query_as("select authority, size from anchors")
        .fetch_all(db)
        .await
        .context("reading the anchors")?;
    rows.into_iter().map(|(authority, size)| Ok((authority, u64::try_from(size)?))).collect()
}

/// Records a token that is on disk. A recorded one of this name is the same.
pub async fn add(tx: &mut SqliteConnection, anchor: &Anchor) -> anyhow::Result<()> {
    sqlx::query(
        "insert into anchors (authority, size, root, anchored_at_ms, path, sha256) values (?, ?, ?, ?, ?, ?)
         on conflict do nothing",
    )
    .bind(&anchor.authority)
    .bind(i64::try_from(anchor.size)?)
    .bind(&anchor.root.as_bytes()[..])
    .bind(anchor.anchored_at.as_millisecond())
    .bind(&anchor.path)
    .bind(&anchor.sha256.as_bytes()[..])
    .execute(&mut *tx)
    .await
    .context("noting an anchor")?;
    let Anchor { authority, size, anchored_at, unverified, .. } = anchor;
    note_reached(tx, Kind::Authority, authority, *size, *anchored_at).await?;
    note_judged(tx, Kind::Authority, authority, *size, *anchored_at, unverified.as_deref()).await
}

/// Records whether the word of `name` on a checkpoint of `size` is verified, or why not.
pub async fn note_judged(
    tx: &mut SqliteConnection,
    kind: Kind,
    name: &str,
    size: u64,
    at: Timestamp,
    unverified: Option<&str>,
) -> anyhow::Result<()> {
    sqlx::query(
        "update anchor_standings set
             verified_at_ms = iif(?1 and ?2 >= verified_size, ?3, verified_at_ms),
             verified_size = iif(?1, max(verified_size, ?2), verified_size),
             unverified = iif(?2 >= size, ?4, unverified)
         where kind = ?5 and name = ?6",
    )
    .bind(unverified.is_none())
    .bind(i64::try_from(size)?)
    .bind(at.as_millisecond())
    .bind(unverified)
    .bind(kind.as_str())
    .bind(name)
    .execute(tx)
    .await
    .context("noting what was verified")?;
    Ok(())
}

/// Records that `name` has answered for a checkpoint of `size`: it no longer fails.
pub async fn note_reached(
    tx: &mut SqliteConnection,
    kind: Kind,
    name: &str,
    size: u64,
    at: Timestamp,
) -> anyhow::Result<()> {
    sqlx::query(
        "insert into anchor_standings (kind, name, size, reached_at_ms) values (?, ?, ?, ?)
         on conflict (kind, name) do update set last_error = null, failing_since_ms = null,
             reached_at_ms = iif(excluded.size >= size, excluded.reached_at_ms, reached_at_ms),
             size = max(size, excluded.size)",
    )
    .bind(kind.as_str())
    .bind(name)
    .bind(i64::try_from(size)?)
    .bind(at.as_millisecond())
    .execute(tx)
    .await
    .context("noting who has anchored")?;
    Ok(())
}

/// Records why `name` vouches for nothing at present.
pub async fn note_failure(
    tx: &mut SqliteConnection,
    kind: Kind,
    name: &str,
    error: &str,
    now: Timestamp,
) -> anyhow::Result<()> {
    sqlx::query(
        "insert into anchor_standings (kind, name, last_error, failing_since_ms) values (?, ?, ?, ?)
         on conflict (kind, name) do update set last_error = excluded.last_error,
             failing_since_ms = coalesce(failing_since_ms, excluded.failing_since_ms)",
    )
    .bind(kind.as_str())
    .bind(name)
    .bind(error)
    .bind(now.as_millisecond())
    .execute(tx)
    .await
    .context("noting why nothing is anchored")?;
    Ok(())
}
