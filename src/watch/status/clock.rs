//! This machine's own clock, if it is doubtful.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::store::clocks::{self, OwnDoubt};
use crate::store::db;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClockTrouble {
    /// `before_release`, `set_back` or `unsynchronised`.
    pub reason: String,
    /// With its remedy.
    pub message: String,
}

impl ClockTrouble {
    /// An older database has no record of clocks.
    pub(super) async fn read(db: &mut SqliteConnection, now: Timestamp) -> anyhow::Result<Option<Self>> {
        if !db::has_table(db, "own_clock").await? {
            return Ok(None);
        }
        let told = |doubt: OwnDoubt| Self { reason: doubt.reason().to_owned(), message: doubt.message(now) };
        Ok(clocks::own_doubt(db, now).await?.map(told))
    }
}
