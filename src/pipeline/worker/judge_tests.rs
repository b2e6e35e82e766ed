//! The judgements as a table.

use super::*;
use crate::config::{PbxLimits, QueueConfig};
use crate::pbx::{PbxError, Policy};
use crate::pipeline::worker::example_tests::job;
use crate::store::sql::Ms;

fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + hours * 3600).unwrap()
}

fn judged(failure: &Failure, job: &Job, pbx: &Remembered, now: Timestamp) -> PutBack {
    let boxes = voicemail::Remembered::default();
    let (queue, limits) = (&QueueConfig::default(), &PbxLimits::default());
    judge(failure, &Facts { job, queue, limits, pbx, boxes: &boxes, now, jitter: 1.0 })
}

fn failed_before(reason: &str, times: u32) -> Job {
    Job { reason: Some(reason.into()), reason_attempts: times, ..job() }
}

fn absent(answers: u32, since: Timestamp, asked_at: Timestamp) -> Job {
    Job { absent: Some(Absence { since, asked_at, answers }), ..job() }
}

#[test]
fn waits_grow_twofold_up_to_the_longest() {
    let broken = Failure::NotAudio(crate::formats::audio::AudioError::NoData);
    for (failures, expected_s) in [(0, 2), (1, 4), (5, 64), (10, 2048), (11, 0)] {
        let job = failed_before("not_audio", failures);
        match judged(&broken, &job, &Remembered::default(), at(0)) {
            PutBack::Retry { due_at, .. } => assert_eq!(due_at.duration_since(at(0)).as_secs(), expected_s),
            other => {
                let stuck = PutBack::Stuck { reason: "not_audio".into(), due_at: at(24), misfit: None };
                assert_eq!((other, expected_s), (stuck, 0));
            }
        }
    }
}

/// What all recordings meet alike says nothing against the one that met it first.
#[test]
fn trouble_of_the_whole_archive_costs_no_attempt_and_trouble_of_one_file_does() {
    let path = std::path::PathBuf::from("a.wav");
    let judged = |error| judged(&Failure::Archive(error), &job(), &Remembered::default(), at(0));
    assert_eq!(judged(ArchiveError::ReadOnly { path: path.clone() }), PutBack::Unclaimed);
    assert_eq!(judged(ArchiveError::NotMounted { path: path.clone(), reason: "gone" }), PutBack::Unclaimed);
    assert!(matches!(judged(ArchiveError::Occupied { path }), PutBack::Retry { .. }));
}

/// One that is waited for in vain must not take a connection from the others again at once.
#[test]
fn one_that_is_never_answered_is_asked_for_again_after_the_others() {
    let limits = PbxLimits::default();
    let failed = |reason| Failure::Pbx(PbxError::new("hq", Policy::Retry, reason, "no reply"));
    let due_at = |reason| match judged(&failed(reason), &job(), &Remembered::default(), at(0)) {
        PutBack::Retry { due_at, .. } => due_at,
        other => panic!("{other:?}"),
    };
    assert_eq!(due_at(Reason::Timeout), later(at(0), limits.reply_timeout * 4));
    assert_eq!(due_at(Reason::Stall), later(at(0), limits.idle_timeout * 4));
    assert_eq!(due_at(Reason::Http(500)), later(at(0), QueueConfig::default().retry_base));
}

#[test]
fn another_reason_starts_to_count_anew() {
    let job = failed_before("reset", 11);
    let broken = Failure::NotAudio(crate::formats::audio::AudioError::NoData);
    assert!(matches!(judged(&broken, &job, &Remembered::default(), at(0)), PutBack::Retry { .. }));
}

#[test]
fn an_archived_recording_never_becomes_stuck_or_missing() {
    let again = Job { state: RecordingState::Archived, ..failed_before("not_audio", 11) };
    let broken = Failure::NotAudio(crate::formats::audio::AudioError::NoData);
    assert_eq!(judged(&broken, &again, &Remembered::default(), at(0)), PutBack::RefetchOver);
    assert_eq!(judged(&Failure::NotReady, &again, &Remembered::default(), at(0)), PutBack::RefetchOver);
}

#[test]
fn an_empty_file_is_asked_for_again_for_days_and_stays_pending() {
    let first = judged(&Failure::NotReady, &job(), &Remembered::default(), at(0));
    let PutBack::Absent { state, reason, absence, due_at, .. } = first else { panic!("{first:?}") };
    assert_eq!((state, reason, absence.answers), (RecordingState::Pending, "not_ready", 1));
    assert_eq!(due_at.unwrap().duration_since(at(0)).as_secs(), 600);
    let queue = QueueConfig::default();
    assert!(!empty_is_final(&absent(5, at(0), at(99)), &queue, at(100)));
    assert!(!empty_is_final(&absent(9, at(60), at(99)), &queue, at(100)));
    assert!(empty_is_final(&absent(6, at(0), at(99)), &queue, at(100)));
}

/// The answers of a recording after one more at 100 h.
fn answers_of(job: &Job, pbx: &Remembered, boxes: &voicemail::Remembered, lack: Lack) -> u32 {
    let facts = Facts {
        job,
        queue: &QueueConfig::default(),
        limits: &PbxLimits::default(),
        pbx,
        boxes,
        now: at(100),
        jitter: 1.0,
    };
    count_answer(&facts, lack).0.answers
}

/// Boxes that were seen to hold messages, and to deliver some, last at these hours.
fn boxes(listed_at: Option<i64>, delivered_at: Option<i64>) -> voicemail::Remembered {
    let ms = |hours: Option<i64>| hours.map(|hours| Ms(at(hours)));
    let (listed_at_ms, delivered_at_ms) = (ms(listed_at), ms(delivered_at));
    voicemail::Remembered { listed_at_ms, delivered_at_ms, ..voicemail::Remembered::default() }
}

#[test]
fn missing_counts_only_while_the_pbx_delivers_others() {
    let delivering =
        Remembered { last_delivery_at_ms: Some(Ms(at(98))), missing_streak: 1, ..Remembered::default() };
    let offline = Remembered { missing_streak: 20, ..delivering.clone() };
    let silent = Remembered { last_delivery_at_ms: Some(Ms(at(1))), ..delivering.clone() };
    for (pbx, answers) in [(&delivering, 6), (&offline, 5), (&silent, 5)] {
        let job = Job { state: RecordingState::Missing, ..absent(5, at(0), at(97)) };
        assert_eq!(answers_of(&job, pbx, &boxes(Some(98), Some(98)), Lack::Missing), answers, "{pbx:?}");
    }
}

#[test]
fn a_message_that_is_gone_counts_while_its_own_store_shows_or_delivers_others() {
    let job =
        Job { kind: RecordingKind::Voicemail, state: RecordingState::Missing, ..absent(5, at(0), at(97)) };
    let of_calls = Remembered { last_delivery_at_ms: Some(Ms(at(98))), ..Remembered::default() };
    let (alone, beside) = (Lack::Deleted { beside_others: false }, Lack::Deleted { beside_others: true });
    let table = [
        (alone, boxes(None, None), 5),
        (alone, boxes(Some(96), Some(96)), 5),
        (alone, boxes(Some(97), None), 6),
        (alone, boxes(None, Some(98)), 6),
        (beside, boxes(None, None), 6),
        (Lack::Missing, boxes(Some(98), None), 5),
        (Lack::Missing, boxes(None, Some(98)), 6),
    ];
    for (lack, boxes, answers) in table {
        assert_eq!(answers_of(&job, &of_calls, &boxes, lack), answers, "{lack:?} {boxes:?}");
    }
}

#[test]
fn a_deleted_message_is_missing_for_that_reason_and_final_in_the_end() {
    let deleted = Failure::Deleted { beside_others: true };
    let first = judged(&deleted, &job(), &Remembered::default(), at(0));
    let PutBack::Absent { state, reason, due_at, .. } = first else { panic!("{first:?}") };
    assert_eq!((state, reason), (RecordingState::Missing, "deleted"));
    assert_eq!(due_at.unwrap().duration_since(at(0)).as_secs(), 600);
    let asked_often = Job { state: RecordingState::Missing, ..absent(5, at(0), at(97)) };
    let last = judged(&deleted, &asked_often, &Remembered::default(), at(100));
    assert!(matches!(last, PutBack::Absent { due_at: None, .. }), "{last:?}");
}

#[test]
fn an_answer_that_is_not_believed_never_makes_an_absence_final() {
    let job = Job { state: RecordingState::Missing, ..absent(6, at(0), at(97)) };
    let offline = Remembered { missing_streak: 20, ..Remembered::default() };
    let gone = Failure::Deleted { beside_others: false };
    assert!(matches!(judged(&gone, &job, &offline, at(100)), PutBack::Absent { due_at: Some(_), .. }));
    assert_eq!(answers_of(&job, &offline, &boxes(None, None), Lack::Missing), 6);
}

#[test]
fn days_of_empty_files_do_not_count_as_days_of_missing() {
    let job = absent(6, at(0), at(97));
    let delivering = Remembered { last_delivery_at_ms: Some(Ms(at(99))), ..Remembered::default() };
    assert_eq!(answers_of(&job, &delivering, &boxes(None, None), Lack::Missing), 1);
}

#[test]
fn a_clock_that_jumps_ahead_makes_nothing_final() {
    let queue = QueueConfig::default();
    let year = at(365 * 24);
    assert!(!is_final(&Absence { since: at(0), asked_at: at(0), answers: 1 }, &queue, year));
    assert!(is_final(&Absence { since: at(0), asked_at: at(0), answers: 6 }, &queue, at(72)));
    assert!(!is_final(&Absence { since: at(0), asked_at: at(0), answers: 6 }, &queue, at(71)));
}

#[test]
fn equal_bytes_an_hour_apart_are_all_there_is() {
    let (same, other) = (Digest::of("same"), Digest::of("other"));
    let job = Job { misfit: Some((same, at(0))), ..job() };
    assert!(!is_all_there_is(&job, same, "2023-11-14T22:13:21Z".parse().unwrap()));
    assert!(!is_all_there_is(&job, other, at(2)));
    assert!(is_all_there_is(&job, same, at(1)));
    // The second equal one is not asked for before the hour is over.
    match judged(&Failure::Misfit { sha256: same, doubt: Doubt::Cut }, &job, &Remembered::default(), at(0)) {
        PutBack::Retry { due_at, misfit, .. } => assert_eq!((due_at, misfit), (at(1), Some((same, at(0))))),
        other => panic!("{other:?}"),
    }
    match judged(&Failure::Misfit { sha256: other, doubt: Doubt::Cut }, &job, &Remembered::default(), at(2)) {
        PutBack::Retry { misfit, .. } => assert_eq!(misfit, Some((other, at(2)))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_header_that_does_not_fit_costs_two_downloads_an_hour_apart() {
    for (doubt, word) in [(Doubt::Header, "header_size"), (Doubt::Untold, "unknown_length")] {
        let first = judged(
            &Failure::Misfit { sha256: Digest::of("a"), doubt },
            &job(),
            &Remembered::default(),
            at(0),
        );
        let wanted = Some((Digest::of("a"), at(0)));
        let retry = PutBack::Retry { reason: word.into(), due_at: at(1), misfit: wanted };
        assert_eq!(first, retry);
        assert!(is_all_there_is(&Job { misfit: wanted, ..job() }, Digest::of("a"), at(1)));
    }
}

/// A state of 0.1 has the hash of such a download under the reason of one that was cut off.
#[test]
fn a_misfit_that_was_remembered_as_cut_off_is_compared_all_the_same() {
    let before = Job { misfit: Some((Digest::of("a"), at(0))), ..failed_before("truncated", 2) };
    assert!(is_all_there_is(&before, Digest::of("a"), at(1)));
    let again = Failure::Misfit { sha256: Digest::of("a"), doubt: Doubt::Header };
    match judged(&again, &before, &Remembered::default(), "2023-11-14T22:43:20Z".parse().unwrap()) {
        PutBack::Retry { due_at, misfit, .. } => assert_eq!((due_at, misfit), (at(1), before.misfit)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_certainly_audio_is_never_stuck() {
    let (same, other) = (Digest::of("same"), Digest::of("other"));
    for (doubt, sha256, hours) in [
        (Doubt::Header, other, 24),
        (Doubt::Untold, other, 24),
        (Doubt::Header, same, 1),
        (Doubt::Cut, same, 1),
    ] {
        let failure = Failure::Misfit { sha256, doubt };
        let job = Job { misfit: Some((same, at(0))), ..failed_before(&failure.reason(), 50) };
        match judged(&failure, &job, &Remembered::default(), at(0)) {
            PutBack::Retry { due_at, .. } => assert_eq!(due_at, at(hours), "{doubt:?}"),
            other => panic!("{doubt:?}: {other:?}"),
        }
        let again = Job { state: RecordingState::Archived, ..job };
        assert_eq!(judged(&failure, &again, &Remembered::default(), at(0)), PutBack::RefetchOver);
    }
    let cut_elsewhere = Failure::Misfit { sha256: other, doubt: Doubt::Cut };
    let job = Job { misfit: Some((same, at(0))), ..failed_before("truncated", 11) };
    assert!(matches!(judged(&cut_elsewhere, &job, &Remembered::default(), at(0)), PutBack::Stuck { .. }));
}
