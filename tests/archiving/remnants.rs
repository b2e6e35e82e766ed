//! What an earlier run left: files without rows, claims, temporaries; and runs that are broken off.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use callvault::config::ExclusionRule;
use callvault::digest::hex;
use callvault::simulator::{Faults, SimAudio, SimulatorOptions};
use tokio_util::sync::CancellationToken;

use super::reconciling::tamper;
use crate::common::{Station, numbers, small};

const NAME: &str = "call.wav";

/// A station that has heard of one recording and fetched nothing.
async fn heard_of_one() -> Station {
    let mut station = Station::with_call(NAME).await;
    let report = station.dry_run().await;
    assert_eq!(numbers(&report), [0, 0, 0, 0, 1, 0]);
    station
}

/// Leaves a file as a run would have.
fn leave(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o440)).unwrap();
}

fn audio(station: &Station) -> Vec<u8> {
    station.call(NAME, 0).audio.unwrap().to_vec()
}

/// Leaves audio and sidecar. What another station archived of the same call is what a killed run of this one would have left.
async fn leave_both(station: &Station) {
    let mut killed = Station::with_call(NAME).await;
    killed.backfill().await;
    let salt: Vec<u8> = killed.value("select salt from recordings").await;
    let sidecar = fs::read_to_string(killed.path_of("call.wav.json")).unwrap();
    let own_salt: Vec<u8> = station.value("select salt from recordings").await;
    leave(&station.path_of(NAME), &audio(station));
    leave(&station.path_of("call.wav.json"), sidecar.replace(&hex(&salt), &hex(&own_salt)).as_bytes());
}

/// Has a run claim the recording that died.
async fn claim(station: &Station) {
    tamper(station, "update recordings set run_id = 'dead', ready = 0").await;
}

/// A rule that keeps it out, which came after it was claimed.
fn keep_out(station: &mut Station) {
    let rule =
        ExclusionRule { name: "all".into(), direction: vec!["inbound".into()], ..ExclusionRule::default() };
    station.config.exclude = vec![rule];
}

fn tickets_of_recordings(station: &Station) -> u64 {
    let counters = station.pbx.counters();
    counters.tickets_issued - counters.cdr_downloads
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_fetches_nothing_and_writes_nothing() {
    let mut station = Station::new(9).await;
    let report = station.dry_run().await;
    assert_eq!(numbers(&report), [0, 0, 0, 0, 9, 0]);
    assert_eq!(report.exit_code(true), 0);
    assert_eq!(tickets_of_recordings(&station), 0);
    let of_pbxs = station.files().into_keys().filter(|path| !path.starts_with("_ledger/"));
    assert_eq!(of_pbxs.collect::<Vec<_>>(), ["hq/.callvault"]);
    station.check().await;
    assert_eq!(numbers(&station.backfill().await), [9, 0, 0, 0, 0, 0]);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_without_a_sidecar_gets_one() {
    let mut station = heard_of_one().await;
    leave(&station.path_of(NAME), &audio(&station));
    assert_eq!(numbers(&station.backfill().await), [1, 0, 0, 0, 0, 0]);
    assert!(station.findings("quarantined").await.is_empty());
    assert_eq!(station.pbx.counters().downloads_started, 1, "it is compared with what the PBX has");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_without_a_sidecar_that_the_pbx_has_lost_is_adopted() {
    let mut station = heard_of_one().await;
    // A day without calls is an absence too.
    station.days.0 = station.days.1;
    let absences = station.pbx.counters().absences_told;
    leave(&station.path_of(NAME), &audio(&station));
    station.set_faults(Faults { deleted: vec![NAME.to_owned()], ..Faults::default() });
    let report = station.backfill().await;
    assert_eq!(numbers(&report), [1, 0, 0, 0, 0, 0], "{report:?}");
    assert_eq!(report.exit_code(false), 0);
    let counters = station.pbx.counters();
    assert_eq!((counters.absences_told, counters.downloads_started), (absences + 1, 0), "the PBX was asked");
    assert!(station.path_of("call.wav.json").exists());
    station.check().await;
    assert_eq!(numbers(&station.backfill().await), [0, 1, 0, 0, 0, 0]);
    assert_eq!(station.pbx.counters().absences_told, absences + 1, "and is not asked again");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_without_a_sidecar_is_no_recording_while_the_pbx_fails_to_deliver_it() {
    let mut station = heard_of_one().await;
    leave(&station.path_of(NAME), &audio(&station));
    station.set_faults(Faults { json_body: 1.0, ..Faults::default() });
    let report = station.backfill().await;
    assert_eq!(report.total.archived, 0, "{report:?}");
    assert_eq!(station.value::<i64>("select count(*) from archived_files").await, 0);
    station.set_faults(Faults::default());
    assert_eq!(numbers(&station.retry().await), [1, 0, 0, 0, 0, 0]);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_with_its_sidecar_is_adopted_without_a_ticket() {
    let mut station = heard_of_one().await;
    leave_both(&station).await;
    assert_eq!(numbers(&station.backfill().await), [1, 0, 0, 0, 0, 0]);
    assert_eq!(tickets_of_recordings(&station), 0);
    station.check().await;
}

/// It may be copied from another archive, or belong to another device: then it is no proof of this recording.
#[tokio::test(flavor = "multi_thread")]
async fn audio_with_the_sidecar_of_another_recording_is_not_adopted() {
    let mut killed = Station::with_call(NAME).await;
    killed.backfill().await;
    let salt: Vec<u8> = killed.value("select salt from recordings").await;
    let sn: String = killed.value("select sn from recordings").await;
    let sidecar = fs::read_to_string(killed.path_of("call.wav.json")).unwrap();
    for (of, other) in [
        ("\"id\": \"hq\"".to_owned(), "\"id\": \"branch\""),
        (format!("\"sn\": \"{sn}\""), "\"sn\": \"1\""),
        ("\"kind\": \"call\"".to_owned(), "\"kind\": \"voicemail\""),
        ("\"name\": \"call.wav\"".to_owned(), "\"name\": \"cull.wav\""),
    ] {
        let mut station = heard_of_one().await;
        let own_salt: Vec<u8> = station.value("select salt from recordings").await;
        let sidecar = sidecar.replace(&hex(&salt), &hex(&own_salt));
        assert!(sidecar.contains(&of), "{of} is not in {sidecar}");
        leave(&station.path_of(NAME), &audio(&station));
        leave(&station.path_of("call.wav.json"), sidecar.replace(&of, other).as_bytes());
        station.backfill().await;
        assert_eq!(tickets_of_recordings(&station), 1, "{other}: the PBX is asked for it");
        assert_eq!(station.value::<i64>("select count(*) from archived_files").await, 1, "{other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_audio_in_the_way_stays_and_ours_is_kept_beside_it() {
    let mut station = heard_of_one().await;
    let other = SimAudio::pcm(3000, 4711).to_vec();
    leave(&station.path_of(NAME), &other);
    assert_eq!(numbers(&station.backfill().await), [1, 0, 0, 0, 0, 0]);
    assert_eq!(station.findings("conflict").await.len(), 1);
    assert_eq!(station.value::<i64>("select conflict from archived_files").await, 1);
    assert_eq!(fs::read(station.path_of(NAME)).unwrap(), other);
    // Nobody of ours wrote it, and nothing explains it: with it gone, all promises hold.
    fs::remove_file(station.path_of(NAME)).unwrap();
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_recording_is_moved_to_quarantine() {
    let mut station = heard_of_one().await;
    leave(&station.path_of(NAME), b"RIFF, but not for long");
    leave(&station.path_of("call.wav.json"), b"{\"schema\": ");
    assert_eq!(numbers(&station.backfill().await), [1, 0, 0, 0, 0, 0]);
    assert_eq!(station.findings("quarantined").await.len(), 2);
    let quarantined = station.files().into_keys().filter(|path| path.contains("/.quarantine/")).count();
    assert_eq!(quarantined, 2);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_temporaries_of_a_killed_run_are_cleared_at_the_next_start() {
    let mut station = heard_of_one().await;
    claim(&station).await;
    leave(&station.path_of(".callvault-0123456789abcdef.part"), b"RIFF");
    assert_eq!(numbers(&station.backfill().await), [1, 0, 0, 0, 0, 0]);
    assert_eq!(station.value::<i64>("select attempts from recordings").await, 1);
    station.check().await;
}

/// Nobody asks for it any more: without a row it would lie in the archive for ever, and nothing would tell of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_is_archived_though_a_rule_keeps_it_out_now() {
    let mut station = heard_of_one().await;
    leave_both(&station).await;
    claim(&station).await;
    keep_out(&mut station);
    assert_eq!(numbers(&station.backfill().await), [0, 1, 0, 0, 0, 0]);
    assert_eq!(tickets_of_recordings(&station), 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_what_a_killed_run_left_is_set_aside_if_a_rule_keeps_it_out_now() {
    let mut station = heard_of_one().await;
    leave(&station.path_of(NAME), &audio(&station));
    claim(&station).await;
    keep_out(&mut station);
    assert_eq!(numbers(&station.backfill().await), [0, 0, 0, 1, 0, 0]);
    let findings = station.findings("quarantined").await;
    let [(subject, detail)] = &findings[..] else { panic!("{findings:?}") };
    assert!(subject.ends_with("2024/03/14/call.wav"), "{subject}");
    assert!(detail.contains("a rule keeps it out now; it is now hq/.quarantine/"), "{detail}");
    assert!(!station.path_of(NAME).exists());
    station.check().await;
    assert_eq!(numbers(&station.backfill().await), [0, 0, 0, 1, 0, 0]);
    assert_eq!(tickets_of_recordings(&station), 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_a_rule_keeps_out_now_and_of_which_nothing_is_left_just_ends() {
    let mut station = heard_of_one().await;
    claim(&station).await;
    keep_out(&mut station);
    assert_eq!(numbers(&station.backfill().await), [0, 0, 0, 1, 0, 0]);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_finishes_what_is_in_flight_and_the_next_one_the_rest() {
    let latency = Duration::from_millis(5);
    let mut station = Station::of(SimulatorOptions { latency, ..small(60) }).await;
    let stop = CancellationToken::new();
    let request = station.request();
    // The archive fills while the run goes on; it is stopped when some are there.
    let (archive, stopper) = (station.archive().to_owned(), stop.clone());
    let watching = tokio::spawn(async move {
        let began = Instant::now();
        while count_audio(&archive) < 5 && began.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stopper.cancel();
    });
    let report = station.run(request, stop).await.unwrap();
    watching.await.unwrap();
    assert_eq!(report.exit_code(false), 130, "{report:?}");
    let first = report.total.archived;
    assert!((5..60).contains(&first), "{report:?}");
    station.cdr_is_whole = false;
    station.check().await;

    station.cdr_is_whole = true;
    assert_eq!(numbers(&station.backfill().await), [60 - first, first, 0, 0, 0, 0]);
    assert_eq!(station.pbx.counters().downloads_started, 60, "nothing was fetched twice");
    station.check().await;
}

fn count_audio(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.map(|path| if path.is_dir() { count_audio(&path) } else { is_audio(&path) }).sum()
}

fn is_audio(path: &Path) -> usize {
    usize::from(path.extension().is_some_and(|extension| extension == "wav"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_before_it_begins_changes_nothing() {
    let mut station = Station::new(5).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let report = station.run(station.request(), stop).await.unwrap();
    assert_eq!(report.exit_code(false), 130);
    station.cdr_is_whole = false;
    station.check().await;
}
