//! How much each PBX may add to the database in a day.
//!
//! One that lies, or has lost its mind, must not fill the disk on which the calls of all others are kept. Its intake is
//! slowed, never its downloads, and nothing that was taken in is dropped.
//!
//! All SQL on `intake`.

use std::fmt;

use anyhow::Result;
use indicatif::HumanBytes;
use jiff::Timestamp;

use crate::config::PbxLimits;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Run as _};

/// Over so many hours it is summed.
const WINDOW_H: i64 = 24;
const HOUR_MS: i64 = 3_600_000;

/// Why nothing more is taken in at present.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeSlowed {
    /// The PBX has used up its share of the day.
    #[error(
        "the PBX listed {spent} of calls within 24 hours, more than `{key}` allows: callvault reads no more of its calls until the 24 hours are over, and archives the recordings that it knows. If it really has so many, raise `{key}` of this \
         [[pbx]]; if not, find out what answers in its place"
    )]
    Spent {
        spent: String,
        /// The key that bounds it.
        key: &'static str,
    },
    /// The disk of the database is nearly full.
    #[error(
        "the disk of the state folder has {} free: no calls are read before it has more, and what is known of is archived all \
         the same; make room at {path}", HumanBytes(*.free_bytes)
    )]
    Disk { path: String, free_bytes: u64 },
}

/// What a page of rows, or a poll, has added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Added {
    pub rows: u64,
    /// The bytes of their text.
    pub bytes: u64,
}

impl fmt::Display for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows and {}", self.rows, HumanBytes(self.bytes))
    }
}

/// Notes what `pbx` has added, and forgets what is older than a day.
pub async fn note(tx: &mut Conn, pbx: &str, added: Added, now: Timestamp) -> Result<()> {
    if added == Added::default() {
        return Ok(());
    }
    let hour = now.as_millisecond() / HOUR_MS;
    sqlx::query(
        "insert into intake (pbx, hour, rows, bytes) values (?, ?, ?, ?)
         on conflict (pbx, hour) do update set rows = rows + excluded.rows, bytes = bytes + excluded.bytes",
    )
    .bind_all((pbx, hour, added.rows, added.bytes))
    .run(tx, "noting what a PBX has added")
    .await?;
    sqlx::query("delete from intake where pbx = ? and hour <= ?")
        .bind_all((pbx, hour - WINDOW_H))
        .run(tx, "forgetting what a PBX has added")
        .await
}

/// What `pbx` has added within 24 hours.
pub async fn spent(db: &mut Conn, pbx: &str, now: Timestamp) -> Result<Added> {
    sqlx::query_as(
        "select coalesce(sum(rows), 0) as rows, coalesce(sum(bytes), 0) as bytes from intake where pbx = ? and hour > ?",
    )
    .bind_all((pbx, now.as_millisecond() / HOUR_MS - WINDOW_H))
    .one(db, "counting what a PBX has added")
    .await
}

/// Whether a PBX may add more.
///
/// # Errors
/// [`IntakeSlowed::Spent`] if not; whatever the database says.
pub async fn check(db: &mut Conn, pbx: &str, limits: &PbxLimits, now: Timestamp) -> Result<()> {
    let spent = spent(db, pbx, now).await?;
    let key = if spent.rows >= limits.intake_rows_per_day_max {
        "intake_rows_per_day_max"
    } else if spent.bytes >= limits.intake_bytes_per_day_max {
        "intake_bytes_per_day_max"
    } else {
        return Ok(());
    };
    Err(IntakeSlowed::Spent { spent: spent.to_string(), key }.into())
}
