//! When the archive was last looked at and read, and whether its ledger is whole.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::config::Config;
use crate::store::db;
use crate::store::fixity;

/// How much longer than the operator asked for bytes may stay unread before that is told: runs are missed now and then.
const GRACE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What verifications came to, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerificationStatus {
    /// The last look at everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_quick: Option<Timestamp>,
    /// When every byte had been read the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_full: Option<Timestamp>,
    /// When the longest unread file was last read, or archived; damaged ones do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_read: Option<Timestamp>,
    /// Days within which the operator wants every byte read.
    pub full_days: u32,
    /// Things of the ledger that are not as they should be.
    pub ledger_damaged: i64,
}

impl VerificationStatus {
    /// Reads it. Of a database that an older version wrote, nothing is known.
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

    /// Since when a file was not read that should have been.
    pub fn overdue(&self, now: Timestamp) -> Option<Timestamp> {
        let within = SignedDuration::from_hours(i64::from(self.full_days) * 24) + GRACE;
        self.oldest_read.filter(|read| now.duration_since(*read) > within)
    }
}
