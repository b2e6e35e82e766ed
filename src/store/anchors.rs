//! The time-stamp tokens, and the standing of the authorities and witnesses: `anchors` and `anchor_standings`.

use std::collections::BTreeSet;

use anyhow::Result;
use jiff::Timestamp;

use super::db;
use crate::base::digest::Digest;
use crate::base::words::words;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Ms, Run as _};

words! {
    pub enum Kind as "kind of anchor" {
        /// Says when it saw a checkpoint.
        Authority = "authority",
        /// Says that each checkpoint continues the one before.
        Witness = "witness",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, sqlx::FromRow)]
pub struct Standing {
    /// Entries of the largest checkpoint that it has answered for; 0 before the first.
    pub size: u64,
    pub reached_at_ms: Option<Ms>,
    /// Entries of the largest checkpoint that it has vouched for, as far as that was verified.
    pub verified_size: u64,
    pub verified_at_ms: Option<Ms>,
    /// Why its word on the largest checkpoint is not verified.
    pub unverified: Option<String>,
    pub last_error: Option<String>,
    pub failing_since_ms: Option<Ms>,
}

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct TokenName {
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

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct NotedToken {
    #[sqlx(flatten)]
    pub name: TokenName,
    /// None if version 0.1 recorded it.
    pub sha256: Option<Digest>,
}

/// The standing of `name`; the default in a database of an older version.
pub async fn standing(db: &mut Conn, kind: Kind, name: &str) -> Result<Standing> {
    if !db::has_table(db, "anchor_standings").await? {
        return Ok(Standing::default());
    }
    let doing = "reading how it stands with those who anchor";
    let is_trust_kept = sqlx::query_scalar(
        "select exists (select 1 from pragma_table_info('anchor_standings') where name = 'verified_size')",
    );
    let of_trust = match is_trust_kept.one(db, doing).await? {
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
    let row = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind_all((kind, name)).maybe(db, doing).await?;
    Ok(row.unwrap_or_default())
}

pub async fn noted(db: &mut Conn) -> Result<Vec<NotedToken>> {
    sqlx::query_as("select authority, size, sha256 from anchors order by size, authority")
        .all(db, "reading the anchors")
        .await
}

pub async fn known(db: &mut Conn) -> Result<BTreeSet<(String, u64)>> {
    let rows: Vec<(String, u64)> =
        sqlx::query_as("select authority, size from anchors").all(db, "reading the anchors").await?;
    Ok(rows.into_iter().collect())
}

/// Records a token that is on disk. A recorded one of this name is the same.
pub async fn add(tx: &mut Conn, anchor: &Anchor) -> Result<()> {
    sqlx::query(
        "insert into anchors (authority, size, root, anchored_at_ms, path, sha256) values (?, ?, ?, ?, ?, ?)
         on conflict do nothing",
    )
    .bind_all((&anchor.authority, anchor.size, &anchor.root, anchor.anchored_at))
    .bind_all((&anchor.path, &anchor.sha256))
    .run(tx, "noting an anchor")
    .await?;
    let Anchor { authority, size, anchored_at, unverified, .. } = anchor;
    note_reached(tx, Kind::Authority, authority, *size, *anchored_at).await?;
    note_judged(tx, Kind::Authority, authority, *size, *anchored_at, unverified.as_deref()).await
}

/// Records whether the word of `name` on a checkpoint of `size` is verified, or why not.
pub async fn note_judged(
    tx: &mut Conn,
    kind: Kind,
    name: &str,
    size: u64,
    at: Timestamp,
    unverified: Option<&str>,
) -> Result<()> {
    sqlx::query(
        "update anchor_standings set
             verified_at_ms = iif(?1 and ?2 >= verified_size, ?3, verified_at_ms),
             verified_size = iif(?1, max(verified_size, ?2), verified_size),
             unverified = iif(?2 >= size, ?4, unverified)
         where kind = ?5 and name = ?6",
    )
    .bind_all((unverified.is_none(), size, at, unverified, kind, name))
    .run(tx, "noting what was verified")
    .await
}

/// Records that `name` has answered for a checkpoint of `size`: it no longer fails.
pub async fn note_reached(tx: &mut Conn, kind: Kind, name: &str, size: u64, at: Timestamp) -> Result<()> {
    sqlx::query(
        "insert into anchor_standings (kind, name, size, reached_at_ms) values (?, ?, ?, ?)
         on conflict (kind, name) do update set last_error = null, failing_since_ms = null,
             reached_at_ms = iif(excluded.size >= size, excluded.reached_at_ms, reached_at_ms),
             size = max(size, excluded.size)",
    )
    .bind_all((kind, name, size, at))
    .run(tx, "noting who has anchored")
    .await
}

/// Records why `name` vouches for nothing at present.
pub async fn note_failure(tx: &mut Conn, kind: Kind, name: &str, error: &str, now: Timestamp) -> Result<()> {
    sqlx::query(
        "insert into anchor_standings (kind, name, last_error, failing_since_ms) values (?, ?, ?, ?)
         on conflict (kind, name) do update set last_error = excluded.last_error,
             failing_since_ms = coalesce(failing_since_ms, excluded.failing_since_ms)",
    )
    .bind_all((kind, name, error, now))
    .run(tx, "noting why nothing is anchored")
    .await
}
