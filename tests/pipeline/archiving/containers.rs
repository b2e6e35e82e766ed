//! Audio that is no plain WAV file, headers that do not fit, and transfers that end oddly after all of the audio.

use callvault::base::clock::{self, Clock};
use callvault::base::counts::Counts;
use callvault::pipeline::backfill::BackfillReport;
use callvault::proof::sealed_vault::SealedVault;
use callvault::simulator::{Faults, Packing, SimAudio};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::absence::reasons;
use crate::support::station::{NONE, Station, counts};

/// Seconds that each of these calls lasts, and plays.
const SECONDS: u32 = 20;

impl Station {
    /// Adds a call of 20 s that is recorded as this.
    fn record(&self, name: &str, minute: u32, audio: SimAudio) {
        let mut call = self.call(name, minute);
        (call.audio, call.talk_duration_s) = (Some(audio), SECONDS);
        self.pbx.world(|world| world.add_call(call));
    }

    /// Runs a backfill by a clock that is ahead.
    async fn backfill_later(&mut self, minutes: i64) -> BackfillReport {
        let clock = Clock::showing(clock::now() + SignedDuration::from_mins(minutes));
        let request = self.request();
        self.run_by(clock, request, CancellationToken::new(), async |_| {}).await.unwrap()
    }

    fn downloads(&self) -> i64 {
        self.pbx.counters().downloads_started.cast_signed()
    }

    /// What is odd about an archived file, and how long it plays.
    async fn judged(&self, name: &str) -> (String, Option<i64>) {
        let query = "select suspect, duration_ms from archived_files where path like ?";
        let file = sqlx::query_as(query).bind(format!("%/{name}")).fetch_one(&self.database().await).await;
        file.unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

fn pcm(key: u64) -> SimAudio {
    SimAudio::pcm(44 + 16_000 * u64::from(SECONDS), key)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_container_is_archived_as_it_is_at_once_where_it_tells_its_length() {
    let mut station = Station::new(0).await;
    for (minute, packing) in (0..).zip(Packing::ALL) {
        station.record(
            &format!("{packing:?}.wav"),
            minute,
            SimAudio::packed(packing, SECONDS, minute.into()),
        );
    }
    let all = Packing::ALL.len() as i64;
    let told = Packing::ALL.iter().filter(|packing| packing.tells_its_length()).count() as i64;
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: told, pending: all - told, ..NONE });
    assert_eq!(reasons(&report), [("pending", "unknown_length", all - told)]);
    assert_eq!(station.downloads(), all, "nothing is asked for twice within the hour");
    station.check().await;

    assert_eq!(
        counts(&station.backfill_later(61).await),
        Counts { archived: all - told, already_archived: told, ..NONE }
    );
    assert_eq!(station.downloads(), all + (all - told));
    for packing in Packing::ALL {
        let (suspect, duration_ms) = station.judged(&format!("{packing:?}.wav")).await;
        assert_eq!(suspect, if packing == Packing::Tagged { "" } else { "container" }, "{packing:?}");
        let off = duration_ms.map(|ms| (ms - i64::from(SECONDS) * 1000).abs());
        assert!(off.is_some_and(|off| off <= 130), "{packing:?} plays {duration_ms:?} ms");
    }
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_was_cut_off_is_not_archived() {
    for packing in Packing::ALL.into_iter().filter(|packing| packing.tells_its_length()) {
        let mut station = Station::new(0).await;
        station.config.queue.attempts_max = 2;
        station.record("cut.wav", 0, SimAudio::packed(packing, SECONDS, 1));
        station.set_faults(Faults { truncate: 1.0, ..Faults::default() });
        station.backfill().await;
        let archived: i64 = station.value("select count(*) from archived_files").await;
        assert_eq!(archived, 0, "{packing:?}");
        station.set_faults(Faults::default());
        station.retry().await;
        let report = station.backfill_later(62).await;
        assert_eq!((report.total.pending, report.total.stuck), (0, 0), "{packing:?}: {:?}", reasons(&report));
        station.check().await;
    }
}

/// Sizes that writers leave in headers: of the file, and of the audio, which has 320,000 bytes.
const SIZES: [(u32, u32); 8] = [
    (u32::MAX, u32::MAX),
    (0, 0),
    (0x7fff_f024, 0x7fff_f000),
    (0x7fff_ffff, 0x7fff_ffff),
    (640_036, 640_000),
    (320_040, 320_004),
    (320_080, 320_044),
    (36, 100),
];

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_never_fit_cost_two_downloads_each() {
    let mut station = Station::new(0).await;
    for (minute, (riff, data)) in (0..).zip(SIZES) {
        station.record(&format!("{riff}.wav"), minute, pcm(minute.into()).with_sizes(riff, data));
    }
    let all = SIZES.len() as i64;
    let report = station.backfill().await;
    assert_eq!(reasons(&report), [("pending", "header_size", all)]);
    assert_eq!(counts(&station.backfill_later(30).await), Counts { pending: all, ..NONE });
    assert_eq!(station.downloads(), all, "the second is not tried before the hour is over");
    assert_eq!(counts(&station.backfill_later(61).await), Counts { archived: all, ..NONE });
    assert_eq!(station.downloads(), 2 * all);
    for (riff, _) in SIZES {
        assert!(station.judged(&format!("{riff}.wav")).await.0.contains("header_size"), "{riff}");
    }
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_block_align_neither_halves_a_recording_nor_hides_half_of_one() {
    let mut station = Station::new(0).await;
    station.record("whole.wav", 0, pcm(1));
    station.record("whole4.wav", 1, pcm(2).with_block_align(4));
    let half = SimAudio::pcm(44 + 8000 * u64::from(SECONDS), 3);
    station.record("half1.wav", 2, half.with_block_align(1));
    assert_eq!(counts(&station.backfill().await), Counts { archived: 3, ..NONE });
    assert_eq!(station.judged("whole.wav").await, (String::new(), Some(20_000)));
    assert_eq!(station.judged("whole4.wav").await, (String::new(), Some(20_000)));
    assert_eq!(station.judged("half1.wav").await, ("short".to_owned(), Some(10_000)));
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_conversation_is_told_and_a_whole_one_is_not() {
    let mut station = Station::new(0).await;
    station.record("both.wav", 0, SimAudio::stereo(SECONDS, [true, true], 1));
    station.record("left.wav", 1, SimAudio::stereo(SECONDS, [true, false], 2));
    station.record("right.wav", 2, SimAudio::stereo(SECONDS, [false, true], 3));
    assert_eq!(counts(&station.backfill().await), Counts { archived: 3, ..NONE });
    assert_eq!(station.judged("both.wav").await.0, "");
    assert_eq!(station.judged("left.wav").await.0, "one_sided");
    assert_eq!(station.judged("right.wav").await.0, "one_sided");
    let found = station.findings("one_sided").await;
    let mut paths: Vec<&str> = found.iter().map(|(subject, _)| &**subject).collect();
    paths.sort_unstable();
    assert!(
        matches!(paths[..], [left, right] if left.ends_with("/left.wav") && right.ends_with("/right.wav"))
    );
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_calls_with_one_audio_are_both_archived_and_a_full_verification_tells_of_them() {
    let mut station = Station::new(0).await;
    station.record("first.wav", 0, pcm(1));
    station.record("same.wav", 5, pcm(1));
    station.record("other.wav", 6, pcm(2));
    // Silence and calls at one time are alike for a reason.
    station.record("silent1.wav", 7, SimAudio::stereo(SECONDS, [false, false], 1));
    station.record("silent2.wav", 8, SimAudio::stereo(SECONDS, [false, false], 1));
    station.record("leg1.wav", 9, pcm(3));
    station.record("leg2.wav", 9, pcm(3));
    assert_eq!(counts(&station.backfill().await), Counts { archived: 7, ..NONE });
    let opened = SealedVault::open(station.config.clone(), Clock::system()).await.unwrap();
    let request = callvault::proof::verify::Request::of(callvault::proof::verify::Scope::Full);
    let report =
        callvault::proof::verify::Verification::new(&opened, request, CancellationToken::new()).run().await;
    assert_eq!(report.unwrap().counts.all(), 0);
    drop(opened);
    let found = station.findings("same_audio").await;
    let [(subject, detail)] = &found[..] else { panic!("{found:?}") };
    assert!(subject.ends_with("/same.wav") && detail.contains("/first.wav"), "{found:?}");
}

/// A header without audio is all there is only where somebody proves that nobody talked.
#[tokio::test(flavor = "multi_thread")]
async fn a_bare_header_is_not_final_where_the_talk_time_is_not_known() {
    let mut station = Station::new(0).await;
    for (minute, written) in (0..).zip(["", "a while", "0:20", "20 s"]) {
        let mut call = station.call(&format!("{minute}.wav"), minute);
        call.talk_written = Some(written.to_owned());
        station.pbx.world(|world| world.add_call(call));
    }
    let mut silent = station.call("silent.wav", 9);
    silent.talk_written = Some("0".to_owned());
    station.pbx.world(|world| world.add_call(silent));
    station.set_faults(Faults { growing_asks: 1, ..Faults::default() });
    let report = station.backfill().await;
    assert_eq!(reasons(&report), [("pending", "not_ready", 4)]);
    assert_eq!(station.judged("silent.wav").await.0, "empty");
    let report = station.backfill().await;
    assert_eq!(
        counts(&report),
        Counts { archived: 4, already_archived: 1, ..NONE },
        "{:?}",
        reasons(&report)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_after_the_last_byte_of_a_recording_costs_nothing() {
    for content_length in [false, true] {
        let options =
            callvault::simulator::SimulatorOptions { content_length, ..crate::support::station::small(6) };
        let mut station = Station::of(options).await;
        station.set_faults(Faults { reset_after: 1.0, ..Faults::default() });
        station.backfill().await;
        let archived: i64 = station.value("select count(*) from archived_files").await;
        assert_eq!(archived, 6, "content length: {content_length}");
        station.set_faults(Faults::default());
        station.backfill().await;
        station.check().await;
    }
}
