//! Recordings that the PBX lists and does not have, or not yet.

use std::time::Duration;

use callvault::base::clock::{self, Clock};
use callvault::base::counts::Counts;
use callvault::pipeline::backfill::BackfillReport;
use callvault::simulator::{Faults, Growing, SimAudio, SimulatorOptions};
use jiff::SignedDuration;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::reconciling::tamper;
use crate::support::station::{NONE, Station, counts, small};

/// Asks that make an absence final, once the calendar agrees too.
const ANSWERS: u32 = 6;

pub(super) fn reasons(report: &BackfillReport) -> Vec<(&str, &str, i64)> {
    let reasons = report.pbx["hq"].reasons.iter();
    reasons.map(|reason| (reason.state.as_str(), &*reason.reason, reason.count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_recordings_are_told_and_asked_again_at_once_by_the_next_backfill() {
    let mut station = Station::new(6).await;
    station.set_faults(Faults { missing_asks: 1, ..Faults::default() });
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { missing: 6, ..NONE });
    assert_eq!(report.exit_code(false), 3);
    assert_eq!(reasons(&report), [("missing", "missing", 6)]);
    station.check().await;

    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: 6, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absence_that_only_the_download_tells_is_one_too() {
    let options = SimulatorOptions { absence_told_at_download: true, ..small(6) };
    let mut station = Station::of(options).await;
    let gone = station.pbx.truth()[0].name.clone();
    station.pbx.world(|world| world.delete_audio(&gone));
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: 5, missing: 1, ..NONE });
    assert_eq!(reasons(&report), [("missing", "missing", 1)]);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_recording_is_counted_with_its_reason_and_the_rest_is_archived() {
    let mut station = Station::new(8).await;
    let gone = String::from_utf8(station.pbx.truth()[3].name.clone()).unwrap();
    station.set_faults(Faults { deleted: vec![gone.clone()], ..Faults::default() });
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: 7, missing: 1, ..NONE });
    assert_eq!(report.exit_code(false), 3);
    assert_eq!(reasons(&report), [("missing", "missing", 1)]);
    assert_eq!(report.pbx["hq"].reasons[0].example, gone);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_offline_is_a_finding_and_nothing_is_given_up() {
    let mut station = Station::new(21).await;
    station.config.queue.missing_final_after = Duration::from_millis(1);
    station.set_faults(Faults { store_offline: true, ..Faults::default() });
    for _ in 0..=ANSWERS {
        let report = station.backfill().await;
        assert_eq!(counts(&report), Counts { missing: 21, ..NONE });
    }
    assert_eq!(station.findings("store_offline").await.len(), 1);
    assert_eq!(station.value::<i64>("select sum(final) from recordings").await, 0);
    station.check().await;

    station.set_faults(Faults::default());
    assert_eq!(counts(&station.backfill().await), Counts { archived: 21, ..NONE });
    station.check().await;
}

/// Twenty answers in a row without a delivery are those of a store that is gone: the twentieth is not believed any more.
#[tokio::test(flavor = "multi_thread")]
async fn the_nineteenth_missing_in_a_row_is_believed_and_the_twentieth_tells_of_the_store() {
    let mut station = Station::with_call("gone.wav").await;
    station.pbx.world(|world| world.delete_audio(b"gone.wav"));
    station.backfill().await;
    tamper(&station, "update pbx set missing_streak = 18, last_delivery_at_ms = 9000000000000").await;
    for (answers, findings) in [(2, 0), (2, 1)] {
        station.backfill().await;
        assert_eq!(station.value::<i64>("select absent_answers from recordings").await, answers);
        assert_eq!(station.findings("store_offline").await.len(), findings);
    }
    assert_eq!(station.value::<i64>("select missing_streak from pbx").await, 20);
    station.check().await;
}

/// What is asked for again and again says no more about how long the PBX keeps recordings than the first time.
#[tokio::test(flavor = "multi_thread")]
async fn an_absence_tells_once_how_long_recordings_are_kept_and_a_failure_never_does() {
    let missing = "select coalesce(sum(missing), 0) from retention_evidence";
    let mut station = Station::with_call("odd.wav").await;
    station.config.queue.attempts_max = 1;
    station.set_faults(Faults { json_body: 1.0, ..Faults::default() });
    station.backfill().await;
    assert_eq!(station.value::<i64>(missing).await, 0);
    station.set_faults(Faults::default());
    station.pbx.world(|world| world.delete_audio(b"odd.wav"));
    station.retry().await;
    assert_eq!(station.value::<i64>(missing).await, 1);
    station.backfill().await;
    assert_eq!(
        station.value::<i64>("select absent_answers from recordings").await,
        1,
        "it was asked for again"
    );
    assert_eq!(station.value::<i64>(missing).await, 1);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absence_is_final_only_beside_deliveries_and_is_then_a_gap_that_a_later_entry_names() {
    let mut station = Station::with_call("gone.wav").await;
    station.config.queue.missing_final_after = Duration::from_millis(1);
    station.pbx.world(|world| world.delete_audio(b"gone.wav"));
    // Nothing else is delivered: the PBX's word counts once, however often it is given.
    for _ in 0..3 {
        station.backfill().await;
    }
    assert_eq!(station.value::<i64>("select absent_answers from recordings").await, 1);
    let mut rounds = 1;
    while station.value::<i64>("select sum(final) from recordings").await == 0 {
        assert_eq!(station.value::<i64>("select count(*) from ledger where entry like '%gap%'").await, 0);
        station.add_call(&format!("other-{rounds}.wav"), rounds);
        station.backfill().await;
        rounds += 1;
        assert!(rounds < 20, "it is never final");
    }
    assert!(rounds >= ANSWERS, "final after {rounds} answers");
    let gap: String = station.value("select entry from ledger where entry like '%\"type\":\"gap\"%'").await;
    let gap: Value = serde_json::from_str(&gap).unwrap();
    assert_eq!((gap["reason"].as_str(), gap["answers"].as_u64()), (Some("missing"), Some(6)));
    let attempts: i64 = station.value("select attempts from recordings where final = 1").await;
    assert_eq!(gap["attempts"], attempts);
    station.check().await;

    // Final: not asked any more, not even by a backfill over its day.
    let asked = station.pbx.counters().errnos[&20014];
    assert_eq!(station.backfill().await.total.missing, 1);
    assert_eq!(station.pbx.counters().errnos[&20014], asked);

    station.pbx.world(|world| world.restore_audio(b"gone.wav"));
    assert_eq!(station.retry().await.total.archived, 1);
    let number: i64 = station.value("select gap_number from recordings where gap_number is not null").await;
    let named: i64 =
        station.value("select json_extract(entry, '$.gap') from ledger order by number desc limit 1").await;
    assert_eq!(named, number);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_audio_yet_is_not_ready_and_asked_again_by_the_next_backfill() {
    let mut station = Station::new(5).await;
    station.set_faults(Faults { growing_asks: 1, ..Faults::default() });
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { pending: 5, ..NONE });
    assert_eq!(report.exit_code(false), 3);
    assert_eq!(reasons(&report), [("pending", "not_ready", 5)]);
    station.check().await;

    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: 5, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_no_bytes_at_all_is_a_failure_that_passes() {
    let mut station = Station::new(5).await;
    station.set_faults(Faults { growing_asks: 2, growing_as: Growing::Nothing, ..Faults::default() });
    assert_eq!(counts(&station.backfill().await), Counts { archived: 5, ..NONE });
    station.check().await;
}

/// Right after its call: both are archived whole once they are, and never by halves.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_file_is_never_taken_for_the_whole() {
    for growing_as in [Growing::Half, Growing::HalfUnsized] {
        let mut station = Station::new(5).await;
        station.set_faults(Faults { growing_asks: 1, growing_as, ..Faults::default() });
        let now = clock::now();
        for hours in [0, 2] {
            let clock = Clock::showing(now + SignedDuration::from_hours(hours));
            let request = station.request();
            station.run_by(clock, request, CancellationToken::new(), async |_| {}).await.unwrap();
            station.check().await;
        }
        assert_eq!(
            counts(&station.backfill().await),
            Counts { already_archived: 5, ..NONE },
            "{growing_as:?}"
        );
        let truth = station.pbx.served();
        assert_eq!(truth.len(), 5, "{truth:?}");
        assert!(truth.values().all(|served| served.whole == 1), "{truth:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_file_that_is_the_same_an_hour_later_is_archived_as_suspect() {
    let mut station = Station::new(1).await;
    station.set_faults(Faults { growing_asks: 1000, growing_as: Growing::Half, ..Faults::default() });
    let now = clock::now();
    for (minutes, archived) in [(0, 0), (58, 0), (61, 1)] {
        let clock = Clock::showing(now + SignedDuration::from_mins(minutes));
        let request = station.request();
        let report = station.run_by(clock, request, CancellationToken::new(), async |_| {}).await.unwrap();
        assert_eq!(
            counts(&report),
            Counts { archived, pending: 1 - archived, ..NONE },
            "after {minutes} minutes"
        );
    }
    let suspect: String = station.value("select suspect from archived_files").await;
    assert!(suspect.contains("header_size"), "{suspect}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_wav_is_archived_as_suspect_when_it_is_all_that_the_pbx_has() {
    let mut station = Station::new(0).await;
    station.config.queue.missing_final_after = Duration::from_millis(1);
    let mut call = station.call("empty.wav", 0);
    (call.audio, call.talk_duration_s) = (Some(SimAudio::empty_wav()), 30);
    station.pbx.world(|world| world.add_call(call));
    for _ in 0..ANSWERS {
        assert_eq!(counts(&station.backfill().await), Counts { pending: 1, ..NONE });
    }
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, ..NONE });
    let suspect: String = station.value("select suspect from archived_files").await;
    assert!(suspect.contains("empty"), "{suspect}");
    assert_eq!(station.value::<i64>("select count(*) from ledger where entry like '%suspect%'").await, 1);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_wav_of_a_call_without_talk_is_archived_as_it_is() {
    let mut station = Station::new(0).await;
    let mut call = station.call("silence.wav", 0);
    (call.audio, call.talk_duration_s) = (Some(SimAudio::empty_wav()), 0);
    station.pbx.world(|world| world.add_call(call));
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, ..NONE });
    station.check().await;
}
