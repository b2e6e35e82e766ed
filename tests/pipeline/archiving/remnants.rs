//! What an earlier run left: files without rows, claims, temporaries; and runs that are broken off.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use callvault::base::clock::Clock;
use callvault::base::counts::Counts;
use callvault::base::digest::{Digest, hex};
use callvault::base::recording::RecordingName;
use callvault::config::ExclusionRule;
use callvault::pipeline::worker::{self, AcceptedFile, Taken};
use callvault::proof::sealed_vault::SealedVault;
use callvault::simulator::{Faults, SimAudio, SimulatorOptions};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

use super::reconciling::tamper;
use crate::support::station::{NONE, Station, counts, small};

const NAME: &str = "call.wav";

/// A station that has heard of one recording and fetched nothing.
async fn heard_of_one() -> Station {
    let mut station = Station::with_call(NAME).await;
    let report = station.dry_run().await;
    assert_eq!(counts(&report), Counts { pending: 1, ..NONE });
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

/// The sidecar of the recording as another station wrote it, with the salt of this one.
async fn sidecar_of_others(station: &Station) -> String {
    let mut killed = Station::with_call(NAME).await;
    killed.backfill().await;
    let salt: Vec<u8> = killed.value("select salt from recordings").await;
    let own_salt: Vec<u8> = station.value("select salt from recordings").await;
    let sidecar = fs::read_to_string(killed.path_of("call.wav.json")).unwrap();
    sidecar.replace(&hex(&salt), &hex(&own_salt))
}

/// The same with the tag of this station, as `docs/archive-format.md` has it.
fn tagged(station: &Station, sidecar: &str) -> String {
    let (before, rest) = sidecar.split_once("\"tag\": \"").unwrap();
    let (_, after) = rest.split_once('"').unwrap();
    let key = fs::read(station.config.state.path.join("adopt.key")).unwrap();
    let mut hmac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    hmac.update(b"callvault-adopt/1\0hq/2024/03/14/call.wav\0");
    hmac.update(format!("{before}\"tag\": \"\"{after}").as_bytes());
    format!("{before}\"tag\": \"{}\"{after}", hex(&hmac.finalize().into_bytes()))
}

/// Leaves audio and sidecar as a run of this station would have that was killed.
async fn leave_both(station: &Station) {
    let sidecar = tagged(station, &sidecar_of_others(station).await);
    leave(&station.path_of(NAME), &audio(station));
    leave(&station.path_of("call.wav.json"), sidecar.as_bytes());
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
    assert_eq!(counts(&report), Counts { pending: 9, ..NONE });
    assert_eq!(report.exit_code(true), 0);
    assert_eq!(tickets_of_recordings(&station), 0);
    let of_pbxs = station.files().into_keys().filter(|path| !path.starts_with("_ledger/"));
    assert_eq!(of_pbxs.collect::<Vec<_>>(), ["hq/.callvault"]);
    station.check().await;
    assert_eq!(counts(&station.backfill().await), Counts { archived: 9, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_without_a_sidecar_gets_one() {
    let mut station = heard_of_one().await;
    leave(&station.path_of(NAME), &audio(&station));
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, ..NONE });
    assert!(station.findings("quarantined").await.is_empty());
    assert_eq!(station.pbx.counters().downloads_started, 1, "it is compared with what the PBX has");
    station.check().await;
}

/// Takes the file at the place of the recording on a person's word.
async fn accept(station: &Station) -> Taken {
    let opened = SealedVault::open(station.config.clone(), Clock::system()).await.unwrap();
    let name = RecordingName::new(NAME).unwrap();
    let taken = worker::accept_found(&opened.vault, None, name, "heard it".to_owned()).await.unwrap();
    opened.seal().await.unwrap();
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_place_of_what_the_pbx_has_lost_is_owed_until_a_person_takes_it() {
    let mut station = heard_of_one().await;
    leave(&station.path_of(NAME), &audio(&station));
    leave(&station.path_of("call.wav.json"), sidecar_of_others(&station).await.as_bytes());
    station.set_faults(Faults { deleted: vec![NAME.to_owned()], ..Faults::default() });
    let report = station.backfill().await;
    assert_eq!((counts(&report), report.exit_code(false)), (Counts { pending: 1, ..NONE }, 3), "{report:?}");
    assert_eq!(station.value::<String>("select reason from recordings").await, "found");
    let found = station.open_findings("found").await;
    assert!(found.len() == 1 && found[0].0 == "hq/2024/03/14/call.wav", "{found:?}");
    assert_eq!(station.value::<i64>("select count(*) from ledger where entry like '%\"gap\"%'").await, 0);
    assert_eq!(counts(&station.retry().await), Counts { pending: 1, ..NONE }, "asking again changes nothing");

    let Taken::Archived(AcceptedFile { ledger_number, .. }) = accept(&station).await else {
        panic!("it is there")
    };
    let entry = format!("select entry from ledger where number = {ledger_number}");
    let entry: String =
        sqlx::query_scalar(sqlx::AssertSqlSafe(entry)).fetch_one(&station.database().await).await.unwrap();
    assert!(entry.contains("\"accepted\"") && entry.contains("heard it"), "{entry}");
    assert_eq!(station.value::<String>("select suspect from archived_files").await, "accepted");
    assert_eq!(station.open_findings("found").await, []);
    assert!(matches!(accept(&station).await, Taken::Nothing));
    let report = station.backfill().await;
    assert_eq!(
        (counts(&report), report.exit_code(false)),
        (Counts { already_archived: 1, ..NONE }, 0),
        "{report:?}"
    );
    station.expect_login();
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_recording_is_not_taken_for_one_and_what_is_back_on_the_pbx_is_compared() {
    let mut station = heard_of_one().await;
    leave(&station.path_of(NAME), b"RIFF, and no more");
    station.set_faults(Faults { deleted: vec![NAME.to_owned()], ..Faults::default() });
    assert_eq!(counts(&station.backfill().await), Counts { pending: 1, ..NONE });
    assert!(matches!(accept(&station).await, Taken::NoAudio(_)));
    station.set_faults(Faults::default());
    assert_eq!(counts(&station.retry().await), Counts { archived: 1, ..NONE });
    assert_eq!(station.open_findings("found").await, []);
    assert_eq!(station.findings("quarantined").await.len(), 1);
    station.check().await;
}

/// Whoever can write to the archive puts other audio in the place of a recording that is owed, with a sidecar that says all
/// that ours would say; or the right audio, with another caller.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_planted_is_not_taken_for_what_the_pbx_delivers() {
    let planted_audio = SimAudio::pcm(3000, 4711).to_vec();
    for (with_other_audio, with_tag) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut station = heard_of_one().await;
        let right = audio(&station);
        let planted = if with_other_audio { &planted_audio } else { &right };
        let sidecar = sidecar_of_others(&station).await;
        let sidecar = sidecar.replace(&Digest::of(&right).to_string(), &Digest::of(planted).to_string());
        let sidecar = sidecar.replace("5550142", "5559999");
        let sidecar = if with_tag { sidecar } else { sidecar.replace("\"tag\"", "\"gat\"") };
        leave(&station.path_of(NAME), planted);
        leave(&station.path_of("call.wav.json"), sidecar.as_bytes());
        let report = station.backfill().await;
        assert_eq!(
            (counts(&report), report.exit_code(false)),
            (Counts { archived: 1, ..NONE }, 0),
            "{report:?}"
        );
        assert_eq!(fs::read(station.path_of(NAME)).unwrap(), right);
        let told = fs::read_to_string(station.path_of("call.wav.json")).unwrap();
        assert!(told.contains("5550142") && !told.contains("5559999"), "{told}");
        let moved = station.findings("quarantined").await.len();
        assert_eq!(moved, 1 + usize::from(with_other_audio), "what was planted is kept, and told");
        station.check().await;
    }
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
    assert_eq!(counts(&station.retry().await), Counts { archived: 1, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_with_its_sidecar_is_adopted_without_a_ticket() {
    let mut station = heard_of_one().await;
    leave_both(&station).await;
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, ..NONE });
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
async fn other_audio_in_the_way_is_set_aside_and_ours_takes_its_place() {
    let mut station = heard_of_one().await;
    let other = SimAudio::pcm(3000, 4711).to_vec();
    leave(&station.path_of(NAME), &other);
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, ..NONE });
    assert_eq!(station.findings("quarantined").await.len(), 1);
    assert_eq!(fs::read(station.archive().join("hq/.quarantine/2024/03/14/call.wav")).unwrap(), other);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_recording_is_moved_to_quarantine() {
    let mut station = heard_of_one().await;
    leave(&station.path_of(NAME), b"RIFF, but not for long");
    leave(&station.path_of("call.wav.json"), b"{\"schema\": ");
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, ..NONE });
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
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, ..NONE });
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
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 1, ..NONE });
    assert_eq!(tickets_of_recordings(&station), 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_what_a_killed_run_left_is_set_aside_if_a_rule_keeps_it_out_now() {
    let mut station = heard_of_one().await;
    leave(&station.path_of(NAME), &audio(&station));
    claim(&station).await;
    keep_out(&mut station);
    assert_eq!(counts(&station.backfill().await), Counts { excluded: 1, ..NONE });
    let findings = station.findings("quarantined").await;
    let [(subject, detail)] = &findings[..] else { panic!("{findings:?}") };
    assert!(subject.ends_with("2024/03/14/call.wav"), "{subject}");
    assert!(detail.contains("a rule keeps out") && detail.contains("it is now hq/.quarantine/"), "{detail}");
    assert!(!station.path_of(NAME).exists());
    station.check().await;
    assert_eq!(counts(&station.backfill().await), Counts { excluded: 1, ..NONE });
    assert_eq!(tickets_of_recordings(&station), 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_a_rule_keeps_out_now_and_of_which_nothing_is_left_just_ends() {
    let mut station = heard_of_one().await;
    claim(&station).await;
    keep_out(&mut station);
    assert_eq!(counts(&station.backfill().await), Counts { excluded: 1, ..NONE });
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
    assert_eq!(
        counts(&station.backfill().await),
        Counts { archived: 60 - first, already_archived: first, ..NONE }
    );
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
