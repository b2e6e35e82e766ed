//! When the archive was last looked at and read, and whether its ledger is whole.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::config::Config;
use crate::store::db;
use crate::store::fixity;

/// Grace period beyond `full_days` before a file is reported as overdue.
const GRACE: SignedDuration = SignedDuration::from_hours(7 * 24);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerificationStatus {
    /// The last look at everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_quick: Option<Timestamp>,
    /// When every byte had been read the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_full: Option<Timestamp>,
    /// When the longest unread file was last read, or archived. Damaged files do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_read: Option<Timestamp>,
    /// Every byte should be read within so many days.
    pub full_days: u32,
    /// Damaged parts of the ledger.
    pub ledger_damaged: i64,
}

impl VerificationStatus {
    /// Reads it. Nothing is known if an older version wrote the database.
    pub(super) async fn read(
        db: &mut SqliteConnection,
        config: &Config,
        ledger_damaged: i64,
    ) -> anyhow::Result<Self> {
        let full_days = config.verify.full_days;
        if !db::has_table(db, "file_checks").await? {
            return Ok(Self { full_days, ..Self::default() });
        }
        let standing = fixity::standing(db).await?;
        let mut oldest_read = None;
        for pbx in &config.pbx {
            let of_pbx = fixity::oldest_read(db, &pbx.id).await?;
            oldest_read = oldest_read.into_iter().chain(of_pbx).min();
        }
        let (last_quick, last_full) = (standing.last_quick, standing.last_full);
        Ok(Self { last_quick, last_full, oldest_read, full_days, ledger_damaged })
    }

    /// When the longest unread file was read, if that is overdue.
    pub fn overdue(&self, now: Timestamp) -> Option<Timestamp> {
        let within = SignedDuration::from_hours(i64::from(self.full_days) * 24) + GRACE;
        self.oldest_read.filter(|read| now.duration_since(*read) > within)
    }
}
