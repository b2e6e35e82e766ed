//! Names and identities: odd names, legs of one call, one name for two things.

use std::fs;

use callvault::base::counts::Counts;
use callvault::simulator::{Faults, Profile, SimAudio, SimulatorOptions};
use jiff::ToSpan as _;
use serde_json::Value;

use crate::support::station::{NONE, Station, counts, small};

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_are_archived_under_safe_ones() {
    let mut station = Station::of(SimulatorOptions { odd_names: 99, ..small(0) }).await;
    let names = station.pbx.truth().len();
    assert!(names > 20);
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: i64::try_from(names).unwrap(), ..NONE }, "{report:?}");
    for path in station.files().keys() {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/%._+=@()~-".contains(&byte);
        assert!(path.bytes().all(plain), "{path}");
    }
    station.check().await;
    assert_eq!(station.backfill().await.total.archived, 0);
    station.check().await;
}

/// Names that are, or look like, files of our own.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_our_own_files_are_names_like_any_other() {
    let mut station = Station::new(0).await;
    let names = [
        "x.wav",
        "x.wav.json",
        "x.wav.json.wav",
        "X.WAV",
        "SHA256SUMS",
        "sha256sums.wav",
        "calls-1.jsonl",
        ".callvault",
        ".callvault-0123456789abcdef.part",
        ".quarantine",
        "voicemail",
        "x~0123456789abcdef.wav",
        "%78.wav",
        "x.wav ",
        " x.wav",
        "x",
        ".",
        "/",
        "~",
    ];
    for (minute, name) in (0..).zip(names) {
        station.add_call(name, minute);
    }
    // The CDR's fields are trimmed: with its spaces taken off, a name is another one that is there already.
    let report = station.backfill().await;
    assert_eq!(report.exit_code(false), 0, "{report:?}");
    assert_eq!(report.total.archived, 17, "{report:?}");
    station.cdr_is_whole = false;
    station.check().await;
    assert_eq!(station.backfill().await.total.archived, 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_legs_of_a_transfer_lead_to_their_one_recording() {
    let mut station = Station::new(0).await;
    let first = station.add_call("shared.wav", 0);
    let mut leg = first.clone();
    (leg.start, leg.callto, leg.call_type) = (first.start + 9.seconds(), "1007".into(), "Transfer".into());
    station.pbx.world(|world| world.add_call(leg));
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, ..NONE });
    let sidecar = fs::read(station.path_of("shared.wav.json")).unwrap();
    let sidecar: Value = serde_json::from_slice(&sidecar).unwrap();
    let other_rows = sidecar["call"]["other_rows"].as_array().unwrap();
    assert_eq!(sidecar["call"]["raw"]["callto"], "1003");
    assert_eq!((other_rows.len(), &other_rows[0]["raw"]["callto"]), (1, &Value::from("1007")));
    assert_eq!(station.value::<i64>("select count(*) from calls").await, 2);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_that_is_listed_when_the_recording_is_archived_asks_for_it_no_more() {
    let mut station = Station::new(0).await;
    let first = station.add_call("shared.wav", 0);
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, ..NONE });
    let mut leg = first.clone();
    (leg.start, leg.callto, leg.call_type) = (first.start + 9.seconds(), "1007".into(), "Transfer".into());
    station.pbx.world(|world| world.add_call(leg));
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 1, ..NONE });
    assert_eq!(station.value::<i64>("select count(*) from calls").await, 2);
    assert_eq!(station.pbx.counters().downloads_started, 1);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legs_of_a_queue_with_one_callid_have_a_recording_each() {
    let mut station = Station::new(0).await;
    let first = station.add_call("agent-1.wav", 0);
    let mut leg = station.call("agent-2.wav", 1);
    (leg.callid, leg.callto) = (first.callid.clone(), "6200(1004)".into());
    station.pbx.world(|world| world.add_call(leg));
    assert_eq!(counts(&station.backfill().await), Counts { archived: 2, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_on_two_days_is_one_recording_on_the_day_of_the_first() {
    let mut station = Station::new(0).await;
    station.add_earlier_call("twice.wav");
    station.add_call("twice.wav", 0);
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, ..NONE });
    assert_eq!(station.value::<String>("select day from recordings").await, "2024-03-12");
    station.check().await;
    assert_eq!(station.backfill().await.total.archived, 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_call_with_an_archived_name_and_the_same_audio_changes_nothing() {
    let mut station = Station::new(0).await;
    let early = station.add_earlier_call("again.wav");
    station.backfill().await;
    let mut late = station.call("again.wav", 0);
    late.audio = early.audio;
    station.pbx.world(|world| world.add_call(late));
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { already_archived: 1, ..NONE }, "{report:?}");
    assert_eq!(station.pbx.counters().downloads_started, 2, "it is looked at once more");
    assert_eq!(station.value::<i64>("select count(*) from archived_files").await, 1);
    assert!(station.findings("conflict").await.is_empty());
    station.check().await;
    station.backfill().await;
    assert_eq!(station.pbx.counters().downloads_started, 2, "but only once");
    station.check().await;
}

/// Nothing is left to compare with but its hash, and the other audio lies where it lay.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_call_whose_name_lost_its_file_is_a_conflict_if_the_audio_is_another() {
    let mut station = Station::new(0).await;
    station.add_earlier_call("gone.wav");
    station.backfill().await;
    for (_, file) in station.files().into_iter().filter(|(path, _)| path.contains("/gone.wav")) {
        std::fs::remove_file(file).unwrap();
    }
    let mut late = station.call("gone.wav", 5);
    late.audio = Some(SimAudio::pcm(6000, 99));
    station.pbx.world(|world| world.add_call(late));
    station.backfill().await;
    let findings = station.findings("conflict").await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].1.contains("was gone, and the PBX gave other audio"), "{findings:?}");
    assert_eq!(station.value::<i64>("select count(*) from archived_files").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_call_with_an_archived_name_and_other_audio_is_a_conflict_kept_beside() {
    let mut station = Station::new(0).await;
    station.add_earlier_call("reused.wav");
    station.backfill().await;
    let mut late = station.call("reused.wav", 5);
    late.audio = Some(SimAudio::pcm(6000, 99));
    station.pbx.world(|world| world.add_call(late));
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { already_archived: 1, ..NONE }, "{report:?}");
    assert_eq!(station.value::<i64>("select count(*) from archived_files").await, 2);
    assert_eq!(station.value::<i64>("select sum(conflict) from archived_files").await, 1);
    assert_eq!(station.findings("conflict").await.len(), 1);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_call_whose_audio_cannot_be_had_again_is_a_finding() {
    let mut station = Station::new(0).await;
    station.add_earlier_call("lost.wav");
    station.backfill().await;
    station.add_call("lost.wav", 0);
    station.pbx.world(|world| world.delete_audio(b"lost.wav"));
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 1, ..NONE });
    assert_eq!(station.findings("refetch_failed").await.len(), 1);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_swap_of_the_device_the_same_names_are_other_recordings() {
    let mut station = Station::new(4).await;
    station.backfill().await;
    station.set_faults(Faults { serial_number: Some("369392599999".into()), ..Faults::default() });
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: 4, already_archived: 4, ..NONE }, "{report:?}");
    assert!(!station.findings("serial_number_changed").await.is_empty());
    station.check().await;
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 8, ..NONE });
    station.check().await;
}

async fn archives_all(profile: Profile) {
    let mut station = Station::of(SimulatorOptions { profile, odd_names: 12, ..small(15) }).await;
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: 27, ..NONE }, "{profile:?}: {report:?}");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_generation_of_the_api_with_a_cdr_is_archived_from_end_to_end() {
    archives_all(Profile::V1_1).await;
    archives_all(Profile::V2).await;
    archives_all(Profile::Compatible).await;
}
