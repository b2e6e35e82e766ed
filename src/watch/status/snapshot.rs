use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::ServiceStatus;
use crate::vault::snapshot;

/// More than a day, with a margin for a snapshot that takes long.
const OVERDUE_AFTER: SignedDuration = SignedDuration::from_hours(26);
/// How long a service runs before a missing snapshot counts: it catches up first.
const EXCUSED_FOR: SignedDuration = SignedDuration::from_hours(2);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotStatus {
    /// The file of the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<i64>,
    /// Why the last one was not made.
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

#[cfg(test)]
mod tests {
    use super::*;

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
