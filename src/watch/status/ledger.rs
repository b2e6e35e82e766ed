//! The ledger: how much of it is signed, and why not more.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::proof::notary::PROBLEM;
use crate::store::db;
use crate::store::fleet;
use crate::store::ledger;

/// How long an entry may wait for a signature.
const UNSIGNED_MAX: SignedDuration = SignedDuration::from_mins(15);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LedgerStatus {
    pub entries: u64,
    /// Entries that the published checkpoint covers.
    pub signed_entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<Timestamp>,
    /// When the first unsigned entry was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsigned_since: Option<Timestamp>,
    /// Why nothing is signed at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl LedgerStatus {
    /// Reads it. Nothing is known if an older version wrote the database.
    pub(super) async fn read(db: &mut SqliteConnection) -> anyhow::Result<Self> {
        if !db::has_table(db, "checkpoints").await? {
            return Ok(Self::default());
        }
        let entries = ledger::size(db).await?;
        let latest = ledger::latest_checkpoint(db).await?;
        let signed_entries = latest.map_or(0, |latest| latest.size);
        let first_unsigned = ledger::entries(db, signed_entries, 1).await?;
        Ok(Self {
            entries,
            signed_entries,
            signed_at: latest.map(|latest| latest.signed_at),
            unsigned_since: first_unsigned.first().and_then(ledger::Numbered::at),
            problem: fleet::meta(db, PROBLEM).await?.filter(|problem| !problem.is_empty()),
        })
    }

    /// The number of entries that have waited too long, and since when.
    pub fn overdue(&self, now: Timestamp) -> Option<(u64, Timestamp)> {
        let since = self.unsigned_since.filter(|since| now.duration_since(*since) > UNSIGNED_MAX)?;
        Some((self.entries.saturating_sub(self.signed_entries), since))
    }
}
