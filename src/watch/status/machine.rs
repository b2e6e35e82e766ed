//! The state of this machine: its ledger and who receives it, its service, clock, snapshots and verifications.

use std::path::Path;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::config::{AnchorsConfig, Config, FeedConfig};
use crate::pipeline::gate::Trouble;
use crate::proof::notary::PROBLEM;
use crate::store::anchors::{self, Kind};
use crate::store::clocks::{self, OwnDoubt};
use crate::store::db;
use crate::store::feed_webhooks;
use crate::store::fixity;
use crate::store::fleet;
use crate::store::ledger;
use crate::store::requests::ServiceRow;
use crate::store::sql::Conn;
use crate::vault::snapshot;

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
    pub entries: u64,
    pub reason: String,
}

impl AnchorStatus {
    pub(super) async fn all(db: &mut Conn, config: &AnchorsConfig) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for authority in &config.authorities {
            all.push(Self::read(db, Kind::Authority, &authority.name).await?);
        }
        for witness in &config.witnesses {
            all.push(Self::read(db, Kind::Witness, witness.key.name()).await?);
        }
        Ok(all)
    }

    async fn read(db: &mut Conn, kind: Kind, name: &str) -> Result<Self> {
        let standing = anchors::standing(db, kind, name).await?;
        let unanchored_since = match db::has_table(db, "checkpoints").await? {
            true => ledger::first_signed_beyond(db, standing.verified_size).await?,
            false => None,
        };
        Ok(Self {
            kind: kind.as_str(),
            name: name.to_owned(),
            entries: standing.verified_size,
            last: standing.verified_at_ms.map(Timestamp::from),
            unverified: standing.unverified.map(|reason| Unverified { entries: standing.size, reason }),
            unanchored_since,
            error: standing.last_error,
            error_since: standing.failing_since_ms.map(Timestamp::from),
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

/// What is wrong with this machine's clock: `before_release`, `set_back` or `unsynchronised`. An older database has no record
/// of clocks.
pub(super) async fn clock_trouble(db: &mut Conn, now: Timestamp) -> Result<Option<Trouble>> {
    if !db::has_table(db, "own_clock").await? {
        return Ok(None);
    }
    let trouble =
        |doubt: OwnDoubt| Trouble { reason: doubt.reason().to_owned(), message: doubt.message(now) };
    Ok(clocks::own_doubt(db, now).await?.map(trouble))
}

/// How long a receiver may fail before it is reported: nothing is lost while it restarts.
const FAILING_MAX: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeedWebhookStatus {
    pub name: String,
    /// Up to the last entry that it accepted, or that it has according to `after`.
    pub delivered_entries: u64,
    /// Signed entries that it has not been given yet.
    pub behind_entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivery: Option<Timestamp>,
    pub failures: i64,
    /// Why the last try failed, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_since: Option<Timestamp>,
}

impl FeedWebhookStatus {
    pub(super) async fn all(db: &mut Conn, config: &FeedConfig, signed_entries: u64) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for webhook in &config.webhook {
            let standing = feed_webhooks::standing(db, webhook).await?;
            let delivered_entries = standing.next;
            all.push(Self {
                name: webhook.name.clone(),
                delivered_entries,
                behind_entries: signed_entries.saturating_sub(delivered_entries),
                last_delivery: standing.delivered_at_ms.map(Timestamp::from),
                failures: standing.failures,
                error: standing.last_error,
                error_since: standing.failing_since_ms.map(Timestamp::from),
            });
        }
        Ok(all)
    }

    /// Since when it has failed, if that is longer than it may.
    pub fn overdue(&self, now: Timestamp) -> Option<Timestamp> {
        self.error_since.filter(|since| now.duration_since(*since) > FAILING_MAX)
    }
}

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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl LedgerStatus {
    /// Reads it. Nothing is known if an older version wrote the database.
    pub(super) async fn read(db: &mut Conn) -> Result<Self> {
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
            unsigned_since: first_unsigned.first().map(ledger::Numbered::at).transpose()?,
            problem: fleet::meta(db, PROBLEM).await?.filter(|problem| !problem.is_empty()),
        })
    }

    /// The number of entries that have waited too long, and since when.
    pub fn overdue(&self, now: Timestamp) -> Option<(u64, Timestamp)> {
        let since = self.unsigned_since.filter(|since| now.duration_since(*since) > UNSIGNED_MAX)?;
        Some((self.entries.saturating_sub(self.signed_entries), since))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    pub running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it last showed progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_beat: Option<Timestamp>,
    /// When it ended in good order; none while it runs, or if it ended otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Timestamp>,
}

impl ServiceStatus {
    pub(super) fn of(row: Option<ServiceRow>, running: bool) -> Self {
        Self {
            running,
            started: row.map(|row| row.started_at_ms.0),
            last_beat: row.map(|row| row.beat_at_ms.0),
            stopped: row.and_then(|row| row.stopped_at_ms).map(Timestamp::from).filter(|_| !running),
        }
    }

    /// Whether it ended although nobody stopped it.
    pub fn has_died(&self) -> bool {
        !self.running && self.started.is_some() && self.stopped.is_none()
    }
}

/// More than a day, with a margin for a snapshot that takes long.
const OVERDUE_AFTER: SignedDuration = SignedDuration::from_hours(26);
/// How long a service runs before a missing snapshot counts: it catches up first.
const EXCUSED_FOR: SignedDuration = SignedDuration::from_hours(2);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl SnapshotStatus {
    pub(super) fn look(state: &Path, error: Option<String>, now: Timestamp) -> Self {
        let (latest, error) = match snapshot::latest(state, now) {
            Ok(latest) => (latest, error),
            Err(unlisted) => (None, Some(format!("the snapshots cannot be listed: {unlisted}"))),
        };
        let at = latest.as_ref().map(|latest| latest.at);
        Self {
            latest: latest.map(|latest| latest.file.display().to_string()),
            at,
            age_s: at.map(|at| now.duration_since(at).as_secs()),
            error,
        }
    }

    /// Since when a snapshot is overdue.
    pub fn overdue_since(&self, service: &ServiceStatus, now: Timestamp) -> Option<Timestamp> {
        let started = service.started.filter(|_| service.running)?;
        let since = self.at.unwrap_or(started);
        let is_overdue = now.duration_since(since) > OVERDUE_AFTER;
        (is_overdue && now.duration_since(started) > EXCUSED_FOR).then_some(since)
    }
}

/// Grace period beyond `full_days` before a file is reported as overdue.
const GRACE: SignedDuration = SignedDuration::from_hours(7 * 24);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerificationStatus {
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
    pub ledger_damaged: i64,
}

impl VerificationStatus {
    /// Reads it. Nothing is known if an older version wrote the database.
    pub(super) async fn read(db: &mut Conn, config: &Config, ledger_damaged: i64) -> Result<Self> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sql::Ms;

    #[test]
    fn a_service_that_neither_runs_nor_was_stopped_has_died() {
        let at = |ms: i64| Ms(Timestamp::from_millisecond(ms).unwrap());
        let row = |stopped: Option<i64>| {
            let stopped_at_ms = stopped.map(at);
            Some(ServiceRow { pid: 1, started_at_ms: at(0), beat_at_ms: at(1), stopped_at_ms })
        };
        let table = [
            (None, false, false),
            (row(None), true, false),
            // It begins again: the end of the last run is still noted.
            (row(Some(2)), true, false),
            (row(Some(2)), false, false),
            (row(None), false, true),
        ];
        for (row, running, has_died) in table {
            let service = ServiceStatus::of(row, running);
            assert_eq!(service.has_died(), has_died, "{service:?}");
        }
    }

    #[test]
    fn a_snapshot_is_overdue_after_a_day_and_only_of_a_service_that_had_time_for_one() {
        let now: Timestamp = "2026-11-25T20:00:00Z".parse().unwrap();
        let ago = |hours: i64| now - SignedDuration::from_hours(hours);
        let table = [
            (Some(1), Some(100), None),
            (Some(26), Some(100), None),
            (Some(27), Some(100), Some(27)),
            (Some(100), Some(1), None),
            (Some(100), Some(3), Some(100)),
            (Some(100), None, None),
            (None, Some(20), None),
            (None, Some(27), Some(27)),
        ];
        for (made, started, expected) in table {
            let status = SnapshotStatus { latest: None, at: made.map(ago), age_s: None, error: None };
            let service = ServiceStatus {
                running: started.is_some(),
                started: started.map(ago),
                ..ServiceStatus::default()
            };
            assert_eq!(status.overdue_since(&service, now), expected.map(ago), "{made:?} {started:?}");
        }
    }
}
