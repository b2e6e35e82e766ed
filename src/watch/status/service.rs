//! The service, as others see it: running or not, and since when.

use jiff::Timestamp;
use serde::Serialize;

use super::time;
use crate::store::owner::ServiceRow;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    pub running: bool,
    /// The last start, if there was one.
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
            started: time(row.map(|row| row.started_at_ms)),
            last_beat: time(row.map(|row| row.beat_at_ms)),
            stopped: time(row.and_then(|row| row.stopped_at_ms)).filter(|_| !running),
        }
    }

    /// Whether it ended although nobody stopped it.
    pub fn has_died(&self) -> bool {
        !self.running && self.started.is_some() && self.stopped.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_neither_runs_nor_was_stopped_has_died() {
        let row = |stopped_at_ms| Some(ServiceRow { pid: 1, started_at_ms: 0, beat_at_ms: 1, stopped_at_ms });
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
}
