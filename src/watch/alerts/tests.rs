//! Which states are worth telling.

use std::time::Duration;

use jiff::Timestamp;

use super::condition::Cause::{self, Finding, State};
use super::condition::{Condition, all};
use crate::base::counts::Counts;
use crate::base::recording::RecordingState;
use crate::config::AlertsConfig;
use crate::pipeline::forecast::{Forecast, HorizonSource};
use crate::pipeline::gate::Trouble;
use crate::store::findings::{FindingKind, FindingRow};
use crate::store::queue::Reason;
use crate::store::sql::Ms;
use crate::watch::status::{ArchiveStatus, LedgerStatus, NearlyFullBox, PbxStatus, Status, VoicemailStatus};

const NOW: &str = "2026-03-02T09:00:00Z";

fn status(pbx: PbxStatus) -> Status {
    Status {
        at: NOW.parse().unwrap(),
        archive: ArchiveStatus {
            path: "/archive".into(),
            free_bytes: Some(100 << 30),
            free_bytes_min: 2 << 30,
            error: None,
            exposure: None,
        },
        pbx: [("hq".to_owned(), pbx)].into(),
        ..Status::default()
    }
}

fn told(status: &Status) -> Vec<Cause> {
    all(status, &AlertsConfig::default()).into_iter().map(|alert| alert.cause).collect()
}

fn trouble(reason: &str, minutes: i64) -> PbxStatus {
    let now: Timestamp = NOW.parse().unwrap();
    PbxStatus {
        error: Some(Trouble { reason: reason.into(), message: "it fails; mend it".into() }),
        error_since: Some(now - jiff::SignedDuration::from_mins(minutes)),
        ..PbxStatus::default()
    }
}

#[test]
fn a_trouble_is_told_at_once_unless_it_may_pass() {
    let table = [
        ("password_refused", 0, Some(State(Condition::PasswordRefused))),
        ("locked_out", 0, Some(State(Condition::LockedOut))),
        ("tls_pin_mismatch", 0, Some(State(Condition::CertificateChanged))),
        ("same_device", 0, Some(State(Condition::SameDevice))),
        ("unreachable", 0, None),
        ("unreachable", 14, None),
        ("unreachable", 15, Some(State(Condition::PbxDown))),
        ("a_class_of_tomorrow", 15, Some(State(Condition::PbxDown))),
        // The clock was put back.
        ("unreachable", -600, None),
    ];
    for (reason, minutes, expected) in table {
        let found = told(&status(trouble(reason, minutes)));
        assert_eq!(found, Vec::from_iter(expected), "{reason} for {minutes} min");
    }
    let config = AlertsConfig { down_after: Duration::ZERO, ..AlertsConfig::default() };
    assert_eq!(all(&status(trouble("unreachable", 0)), &config).len(), 1);
}

#[test]
fn what_is_pending_or_missing_worries_nobody_and_what_is_stuck_does() {
    let counts = Counts { pending: 9, missing: 9, excluded: 9, archived: 9, ..Counts::default() };
    assert_eq!(told(&status(PbxStatus { counts, ..PbxStatus::default() })), []);
    let reason =
        Reason { state: RecordingState::Stuck, reason: "oversize".into(), count: 1, example: "a.wav".into() };
    let counts = Counts { stuck: 1, ..counts };
    let stuck = status(PbxStatus { counts, reasons: vec![reason], ..PbxStatus::default() });
    let alerts = all(&stuck, &AlertsConfig::default());
    insta::assert_snapshot!(alerts[0].message, @"1 stuck: larger than `recording_bytes_max`, or a body without an end, such as a.wav; raise `recording_bytes_max` if such recordings exist");
    let voicemail = Some(VoicemailStatus {
        counts: Counts { stuck: 1, ..Counts::default() },
        ..VoicemailStatus::default()
    });
    assert_eq!(told(&status(PbxStatus { voicemail, ..PbxStatus::default() })), [State(Condition::Stuck)]);
}

fn forecast(margin_s: i64, at_risk: i64) -> Forecast {
    Forecast {
        recordings_per_day: 10.0,
        bytes_per_day: None,
        cdr_rows_per_day: 10.0,
        horizon_days: 180.0,
        horizon_source: HorizonSource::Hint,
        oldest_owed_at: None,
        margin_s: Some(margin_s),
        at_risk,
        cdr_margin_s: None,
    }
}

#[test]
fn what_will_be_lost_soon_is_told_per_box_and_with_hours_left() {
    let full =
        |extension: &str| NearlyFullBox { extension: extension.into(), messages: 48, messages_max: 50 };
    let pbx = PbxStatus {
        forecast: Some(forecast(5 * 3600, 7)),
        cdr_near: Some("CDR rows that were never read are overwritten in about 9 h".into()),
        nearly_full_boxes: vec![full("1001"), full("1002")],
        ..PbxStatus::default()
    };
    let alerts = all(&status(pbx), &AlertsConfig::default());
    let keys: Vec<String> = alerts.iter().map(super::condition::Alert::key).collect();
    assert_eq!(
        keys,
        ["overwrite_near/hq/", "overwrite_near/hq/cdr", "box_nearly_full/hq/1001", "box_nearly_full/hq/1002"]
    );
    assert!(alerts[0].message.contains("in about 5 h"), "{}", alerts[0].message);
    let far = PbxStatus { forecast: Some(forecast(5 * 86_400, 0)), ..PbxStatus::default() };
    assert_eq!(told(&status(far)), []);
}

#[test]
fn findings_that_a_person_has_to_judge_are_told_with_the_latest_of_them() {
    let findings = [
        FindingKind::BadRow,
        FindingKind::CdrShrank,
        FindingKind::Conflict,
        FindingKind::OffsetDisagrees,
        FindingKind::SerialNumberChanged,
    ];
    let pbx = PbxStatus {
        findings: findings.map(|kind| (kind, 2)).into(),
        latest_findings: vec![FindingRow {
            kind: FindingKind::SerialNumberChanged,
            pbx: Some("hq".into()),
            subject: "36999".into(),
            detail: "the device says 36999, it was 36111".into(),
            count: 1,
            first_seen_at_ms: Ms::default(),
            last_seen_at_ms: Ms::default(),
        }],
        ..PbxStatus::default()
    };
    let alerts = all(&status(pbx), &AlertsConfig::default());
    let conditions: Vec<Cause> = alerts.iter().map(|alert| alert.cause).collect();
    assert_eq!(
        conditions,
        [
            Finding(FindingKind::Conflict),
            Finding(FindingKind::OffsetDisagrees),
            Finding(FindingKind::SerialNumberChanged)
        ]
    );
    insta::assert_snapshot!(alerts[2].message, @"36999: the device says 36999, it was 36111; if the device was replaced, confirm it with `callvault retry --pbx hq`; otherwise correct `url`: another PBX answers there");
}

#[test]
fn a_clock_of_ours_that_cannot_be_believed_is_told() {
    let trouble = Trouble { reason: "set_back".into(), message: "it was set back".into() };
    let status = Status { clock: Some(trouble), ..status(PbxStatus::default()) };
    let alerts = all(&status, &AlertsConfig::default());
    let clock = alerts.iter().find(|alert| alert.cause == Finding(FindingKind::OwnClock)).unwrap();
    assert_eq!((clock.pbx.as_deref(), &*clock.message), (None, "it was set back"));
}

#[test]
fn every_finding_has_a_word_of_its_own_and_the_document_explains_it_and_every_alert() {
    let document = include_str!("../../../docs/watching.md");
    let mut words = std::collections::BTreeSet::new();
    for kind in FindingKind::ALL {
        let word = kind.as_str();
        assert!(words.insert(word), "{word} twice");
        assert_eq!(serde_json::to_value(kind).unwrap(), word);
        assert!(document.contains(&format!("`{word}`")), "docs/watching.md does not explain {word}");
        let found = told(&status(PbxStatus { findings: vec![(*kind, 1)], ..PbxStatus::default() }));
        assert!(found.len() <= 1 && found.iter().all(|cause| cause.as_str() == word), "{found:?}");
    }
}

#[test]
fn a_silent_day_is_told_by_itself_and_not_for_ever() {
    let finding = |subject: &str, days_ago: i64| {
        let seen = NOW.parse::<Timestamp>().unwrap() - jiff::SignedDuration::from_hours(24 * days_ago);
        FindingRow {
            kind: FindingKind::SilentDay,
            pbx: Some("hq".into()),
            subject: subject.into(),
            detail: "no call, where a Monday has 40".into(),
            count: 1,
            first_seen_at_ms: Ms(seen),
            last_seen_at_ms: Ms(seen),
        }
    };
    let pbx = PbxStatus {
        findings: vec![(FindingKind::SilentDay, 3)],
        latest_findings: vec![finding("2026-03-01", 0), finding("2026-02-24", 6), finding("2026-02-23", 7)],
        ..PbxStatus::default()
    };
    let alerts = all(&status(pbx), &AlertsConfig::default());
    let keys: Vec<String> = alerts.iter().map(super::condition::Alert::key).collect();
    assert_eq!(keys, ["silent_day/hq/2026-03-01", "silent_day/hq/2026-02-24"]);
    insta::assert_snapshot!(alerts[0].message, @"2026-03-01: no call, where a Monday has 40; if it was a holiday, or nobody called, note that with `callvault retry --pbx hq`; otherwise find out on the PBX why it listed no call");
}

#[test]
fn what_is_held_is_told_with_what_holds_it() {
    let held = |reason: &str| PbxStatus {
        counts: Counts { pending: 2, ..Counts::default() },
        reasons: vec![Reason {
            state: RecordingState::Pending,
            reason: reason.into(),
            count: 2,
            example: "a.wav".into(),
        }],
        ..PbxStatus::default()
    };
    assert_eq!(told(&status(held("waiting"))), []);
    let alerts = all(&status(held("doubtful_row")), &AlertsConfig::default());
    assert_eq!(alerts[0].key(), "held/hq/");
    insta::assert_snapshot!(alerts[0].message, @"2 held: their CDR row, or a field of it that a rule of [[exclude]] needs, cannot be read for certain, such as a.wav; look at those calls on the PBX and correct the row there, or correct the rule; the next reading decides");
}

#[test]
fn the_disk_is_told_before_it_is_full_and_when_it_is() {
    let mut status = status(PbxStatus::default());
    status.archive.free_bytes = Some(9 << 30);
    assert_eq!(told(&status), [State(Condition::DiskNearlyFull)]);
    for (reason, condition) in [
        ("disk_full", State(Condition::DiskFull)),
        ("not_mounted", State(Condition::ArchiveNotMounted)),
        ("archive", State(Condition::ArchiveUnusable)),
    ] {
        status.archive.error = Some(Trouble { reason: reason.into(), message: "mend it".into() });
        assert_eq!(told(&status), [condition]);
    }
}

#[test]
fn a_pbx_whose_calls_are_not_read_for_a_day_is_told_unless_its_trouble_is() {
    let swept = |hours: i64, pbx: PbxStatus| PbxStatus {
        last_sweep: Some(NOW.parse::<Timestamp>().unwrap() - jiff::SignedDuration::from_hours(hours)),
        ..pbx
    };
    assert_eq!(told(&status(swept(25, PbxStatus::default()))), []);
    assert_eq!(told(&status(swept(26, PbxStatus::default()))), [State(Condition::SweepOverdue)]);
    assert_eq!(told(&status(swept(-26, PbxStatus::default()))), []);
    assert_eq!(told(&status(swept(26, trouble("unreachable", 60)))), [State(Condition::PbxDown)]);
}

#[test]
fn a_ledger_that_is_refused_or_waits_too_long_is_told() {
    let mut status = status(PbxStatus::default());
    assert_eq!(told(&status), []);
    let now: Timestamp = NOW.parse().unwrap();
    status.ledger = LedgerStatus { entries: 9, signed_entries: 7, ..LedgerStatus::default() };
    status.ledger.unsigned_since = Some(now - jiff::SignedDuration::from_mins(1));
    assert_eq!(told(&status), []);
    status.ledger.unsigned_since = Some(now - jiff::SignedDuration::from_mins(16));
    assert_eq!(told(&status), [State(Condition::LedgerUnsigned)]);
    status.ledger.problem = Some("it would contradict what was signed".to_owned());
    assert_eq!(told(&status), [State(Condition::LedgerRefused)]);
}
