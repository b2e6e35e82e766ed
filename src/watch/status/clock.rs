//! This machine's own clock, if it cannot be believed.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::store::clocks::{self, OwnDoubt};
use crate::store::db;

/// What is wrong with this machine's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClockTrouble {
    /// The class: `before_release`, `set_back` or `unsynchronised`.
    pub reason: String,
    /// The sentence, with its remedy.
    pub message: String,
}

impl ClockTrouble {
    /// What is known against the clock, which shows `now`. An outdated database knows nothing of clocks.
    pub(super) async fn read(db: &mut SqliteConnection, now: Timestamp) -> anyhow::Result<Option<Self>> {
        if !db::has_table(db, "own_clock").await? {
            return Ok(None);
        }
        let told = |doubt: OwnDoubt| Self { reason: doubt.reason().to_owned(), message: doubt.message(now) };
        Ok(clocks::own_doubt(db, now).await?.map(told))
    }
}
