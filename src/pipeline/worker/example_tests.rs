//! A claimed recording, for tests.

use jiff::Timestamp;
use jiff::civil::date;

use crate::base::recording::{RecordingKind, RecordingName};
use crate::base::salt::Salt;
use crate::store::queue::{Job, RecordingState};

pub(super) fn job() -> Job {
    Job {
        id: 1,
        pbx: "hq".into(),
        kind: RecordingKind::Call,
        sn: "1".into(),
        name: RecordingName::new("a.wav").unwrap(),
        day: date(2026, 1, 1),
        started_at: Timestamp::from_second(1_700_000_000).unwrap(),
        path: "hq/2026/01/01/a.wav".into(),
        salt: Salt::from([0; 32]),
        state: RecordingState::Pending,
        attempts: 0,
        reason: None,
        reason_attempts: 0,
        absent: None,
        misfit: None,
        gap_number: None,
    }
}
