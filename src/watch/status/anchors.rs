//! The authorities and witnesses that anchor the ledger: what each has vouched for, and what is wrong with it.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sqlx::SqliteConnection;

use super::time;
use crate::config::AnchorsConfig;
use crate::store::anchors::{self, Kind};
use crate::store::db;
use crate::store::ledger;

/// How long a checkpoint may wait to be anchored: a day of trouble at the authority passes by itself.
const UNANCHORED_MAX: SignedDuration = SignedDuration::from_hours(26);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AnchorStatus {
    /// `authority` or `witness`.
    pub kind: &'static str,
    pub name: String,
    /// Entries covered by the largest checkpoint that it has vouched for, as far as that was verified.
    pub entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// What it has given since that is not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified: Option<Unverified>,
    /// When the first checkpoint was signed that it has not vouched for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanchored_since: Option<Timestamp>,
    /// Why it does not vouch at present, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_since: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unverified {
    /// Entries covered by that checkpoint.
    pub entries: u64,
    pub reason: String,
}

impl AnchorStatus {
    pub(super) async fn all(db: &mut SqliteConnection, config: &AnchorsConfig) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::new();
        for authority in &config.authorities {
            all.push(Self::read(db, Kind::Authority, &authority.name).await?);
        }
        for witness in &config.witnesses {
            all.push(Self::read(db, Kind::Witness, witness.key.name()).await?);
        }
        Ok(all)
    }

    async fn read(db: &mut SqliteConnection, kind: Kind, name: &str) -> anyhow::Result<Self> {
        let standing = anchors::standing(db, kind, name).await?;
        let entries = |size| u64::try_from(size).unwrap_or(0);
        let unanchored_since = match db::has_table(db, "checkpoints").await? {
            true => ledger::first_signed_beyond(db, standing.verified_size).await?,
            false => None,
        };
        Ok(Self {
            kind: kind.as_str(),
            name: name.to_owned(),
            entries: entries(standing.verified_size),
            last: time(standing.verified_at_ms),
            unverified: standing
                .unverified
                .map(|reason| Unverified { entries: entries(standing.size), reason }),
            unanchored_since,
            error: standing.last_error,
            error_since: time(standing.failing_since_ms),
        })
    }

    /// Since when it has failed to vouch for a checkpoint; none while that may still pass by itself.
    ///
    /// A new authority, or one that was not asked while the service was off, is not overdue before it fails.
    pub fn overdue(&self, now: Timestamp) -> Option<Timestamp> {
        let since = self.unanchored_since?.max(self.error_since?);
        Some(since).filter(|since| now.duration_since(*since) > UNANCHORED_MAX)
    }
}
