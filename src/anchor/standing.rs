//! Which tokens there are, and how it stands with those who give them. All SQL on `anchors` and `anchor_standings`.

use std::collections::BTreeSet;

use anyhow::Context as _;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::db;
use crate::digest::Digest;

/// What somebody is who vouches for checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Somebody who says when it saw them.
    Authority,
    /// Somebody who says that each continues the one before.
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

/// How it stands with one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, sqlx::FromRow)]
pub struct Standing {
    /// Entries of the largest checkpoint that it has vouched for; 0 before the first.
    pub size: i64,
    /// When it did.
    pub reached_at_ms: Option<i64>,
    /// Why it does not at present.
    pub last_error: Option<String>,
    /// Since when.
    pub failing_since_ms: Option<i64>,
}

/// A token that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) authority: String,
    pub(super) size: u64,
    pub(super) root: Digest,
    pub(super) anchored_at: Timestamp,
    pub(super) path: String,
}

/// How it stands with `name`; also in a database that does not know of anchors yet.
pub async fn standing(db: &mut SqliteConnection, kind: Kind, name: &str) -> anyhow::Result<Standing> {
    if !db::has_table(db, "anchor_standings").await? {
        return Ok(Standing::default());
    }
    let row = sqlx::query_as(
        "select size, reached_at_ms, last_error, failing_since_ms from anchor_standings where kind = ? and name = ?",
    )
    .bind(kind.as_str())
    .bind(name)
    .fetch_optional(db)
    .await
    .context("reading how it stands with those who anchor")?;
    Ok(row.unwrap_or_default())
}

/// The tokens that are known, by authority and size.
pub(super) async fn known(db: &mut SqliteConnection) -> anyhow::Result<BTreeSet<(String, u64)>> {
    let rows: Vec<(String, i64)> = sqlx::query_as("select authority, size from anchors")
        .fetch_all(db)
        .await
        .context("reading the anchors")?;
    rows.into_iter().map(|(authority, size)| Ok((authority, u64::try_from(size)?))).collect()
}

/// Notes a token that is on disk. One that is known already is this one.
pub(super) async fn add(tx: &mut SqliteConnection, anchor: &Anchor) -> anyhow::Result<()> {
    sqlx::query(
        "insert into anchors (authority, size, root, anchored_at_ms, path) values (?, ?, ?, ?, ?) on conflict do nothing",
    )
    .bind(&anchor.authority)
    .bind(i64::try_from(anchor.size)?)
    .bind(&anchor.root.as_bytes()[..])
    .bind(anchor.anchored_at.as_millisecond())
    .bind(&anchor.path)
    .execute(&mut *tx)
    .await
    .context("noting an anchor")?;
    note_reached(tx, Kind::Authority, &anchor.authority, anchor.size, anchor.anchored_at).await
}

/// Notes that `name` has vouched for a checkpoint of `size`, so that nothing is wrong with it any more.
pub(super) async fn note_reached(
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

/// Notes why `name` vouches for nothing at present.
pub(super) async fn note_failure(
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
