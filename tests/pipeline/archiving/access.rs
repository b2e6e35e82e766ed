//! A PBX that refuses us, locks us out, or is not there.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use callvault::base::counts::Counts;
use callvault::base::digest::Digest;
use callvault::pbx::{Pbx as _, PbxClient};
use callvault::pipeline::backfill::{BackfillReport, Request};
use callvault::proof::sealed_vault::SealedVault;
use callvault::service::backfill::Backfill;
use callvault::simulator::{Faults, Profile, SimAudio, Simulator, SimulatorOptions};
use callvault::store::queue::DayRange;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::station::{NONE, Station, counts, noon, small};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once_and_not_again_until_it_changes() {
    let mut station = Station::new(4).await;
    station.cdr_is_whole = false;
    let right = station.section().password.clone();
    station.section().password = "Guessed1".to_owned().into();
    station.section().password_source = "/etc/callvault/hq-password".into();
    for _ in 0..3 {
        let report = station.backfill().await;
        assert_eq!(report.exit_code(false), 4);
        let error = report.pbx["hq"].error.clone().unwrap();
        assert_eq!(error.reason, "password_refused");
        assert!(error.message.contains("/etc/callvault/hq-password"), "{}", error.message);
        assert_eq!(station.pbx.counters().logins_refused, 1);
        station.check().await;
    }
    station.section().password = right;
    station.cdr_is_whole = true;
    assert_eq!(counts(&station.backfill().await), Counts { archived: 4, ..NONE });
    station.check().await;
}

/// One compatible device says 30003 (its service is down) where it means a wrong password.
async fn ambiguous() -> Station {
    let options = SimulatorOptions { profile: Profile::V1_1, bad_login_errno: 30003, ..small(4) };
    let mut station = Station::of(options).await;
    station.cdr_is_whole = false;
    station.section().password = "Guessed1".to_owned().into();
    station
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_may_mean_a_refusal_costs_two_logins_a_run_at_most() {
    let mut station = ambiguous().await;
    // Patience for a third login, after waits of one and two seconds.
    station.section().limits.outage_patience = Duration::from_secs(4);
    assert_eq!(station.backfill().await.exit_code(false), 4);
    let logins = station.pbx.counters().logins_refused;
    assert!((1..=2).contains(&logins), "{logins} logins");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_may_mean_a_refusal_costs_two_logins_whoever_waits() {
    let mut station = ambiguous().await;
    let client = PbxClient::new(station.section()).unwrap();
    let asked = (0..6).map(|_| client.device());
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(Result::is_err));
    let counters = station.pbx.counters();
    assert_eq!((counters.logins_refused, counters.logins_locked), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_out_is_remembered_also_when_a_download_in_flight_still_succeeds() {
    // The days after the call keep the sweep asking while the recording drips.
    let options = SimulatorOptions { days: 30, latency: Duration::from_millis(20), ..small(0) };
    let mut station = Station::of(options).await;
    station.cdr_is_whole = false;
    station.section().limits.idle_timeout = Duration::from_secs(5);
    let mut call = station.call("slow.wav", 0);
    call.start = noon(station.days.0);
    call.callid = format!("{}.1", call.start.as_second());
    call.audio = Some(SimAudio::pcm(40_000, 1));
    station.pbx.world(|world| world.add_call(call));
    station.set_faults(Faults { drip: 1.0, drip_bytes_per_s: 20_000, ..Faults::default() });

    let opened =
        SealedVault::open(station.config.clone(), callvault::base::clock::Clock::system()).await.unwrap();
    let backfill = Backfill::new(&opened, station.request(), Default::default(), Default::default()).unwrap();
    let lock_out = async {
        let began = Instant::now();
        while station.pbx.counters().downloads_started == 0 && began.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        station.set_faults(Faults { locked_out: true, ..Faults::default() });
        station.pbx.revoke_tokens();
    };
    let mut nobody = ();
    let (report, ()) = tokio::join!(backfill.run(&mut nobody), lock_out);
    let report = report.unwrap();
    drop(backfill);
    drop(opened);
    assert_eq!(reason(&report), "locked_out");
    assert_eq!(report.total.archived, 1, "what was in flight is kept: {report:?}");
    station.check().await;

    assert_eq!(reason(&station.backfill().await), "locked_out");
    assert_eq!(station.pbx.counters().logins_locked, 1, "nothing is asked before the lock-out ends");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_lifts_the_pause_after_a_refused_password() {
    let mut station = Station::new(0).await;
    station.section().password = "Guessed1".to_owned().into();
    station.backfill().await;
    assert_eq!(station.retry().await.exit_code(false), 4);
    assert_eq!(station.pbx.counters().logins_refused, 2);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_out_is_waited_out_by_later_runs_too() {
    let mut station = Station::new(4).await;
    station.cdr_is_whole = false;
    station.set_faults(Faults { locked_out: true, ..Faults::default() });
    for _ in 0..3 {
        let report = station.backfill().await;
        assert_eq!(report.exit_code(false), 4);
        assert_eq!(report.pbx["hq"].error.clone().unwrap().reason, "locked_out");
        assert_eq!(station.pbx.counters().logins_locked, 1);
        station.check().await;
    }
    station.set_faults(Faults::default());
    station.retry().await;
    station.cdr_is_whole = true;
    assert_eq!(counts(&station.backfill().await), Counts { archived: 4, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_is_not_there_is_exit_code_4_and_nothing_is_lost() {
    let mut station = Station::new(4).await;
    let here = station.section().url.clone();
    station.backfill().await;
    station.add_call("later.wav", 0);
    station.section().limits.outage_patience = Duration::ZERO;
    // Port 9 of this machine is nobody's.
    station.section().url = "http://127.0.0.1:9".parse().unwrap();
    let report = station.backfill().await;
    assert_eq!(report.exit_code(false), 4);
    assert_eq!(counts(&report), Counts { already_archived: 4, ..NONE });
    let error = report.pbx["hq"].error.clone().unwrap();
    assert!(error.message.contains("127.0.0.1:9"), "{}", error.message);
    station.section().url = here;
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, already_archived: 4, ..NONE });
    station.check().await;
}

/// One silence is that of one recording, and costs it an attempt; those of eight recordings in a row are the PBX's, and
/// what they cost is given back.
#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_falls_silent_is_taken_for_down_at_the_eighth_question() {
    let mut station = Station::new(40).await;
    (station.section().limits.outage_patience, station.section().limits.reply_timeout) =
        (Duration::ZERO, Duration::from_millis(300));
    station.dry_run().await;
    let fall_silent = async |pbx: &Simulator| {
        while pbx.counters().downloads_ok < 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        pbx.set_faults(Faults { hang: 1.0, ..Faults::default() });
    };
    let request = Request { queue_only: Some(DayRange::ALL), ..Request::default() };
    let report = station.run_while(request, Default::default(), fall_silent).await.unwrap();
    assert_eq!((report.exit_code(false), reason(&report)), (4, "timeout"), "{report:?}");
    let failed: i64 = station.value("select sum(attempts) from recordings where state = 'pending'").await;
    assert!((8..16).contains(&failed), "{failed} attempts failed");
    assert_eq!(station.value::<i64>("select sum(reason_attempts) from recordings").await, 0);
    station.check().await;
    station.set_faults(Faults::default());
    station.section().limits.reply_timeout = Duration::from_secs(5);
    assert_eq!(station.retry().await.total.pending, 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_told_and_not_followed() {
    let mut station = Station::new(2).await;
    station.cdr_is_whole = false;
    station.set_faults(Faults { redirect: 1.0, ..Faults::default() });
    let report = station.backfill().await;
    assert_eq!((report.exit_code(false), report.total.listed()), (4, 0));
    assert_eq!(station.pbx.counters().requests, 1);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_where_https_is_configured_is_told_in_a_sentence() {
    let mut station = Station::new(2).await;
    station.cdr_is_whole = false;
    station.section().limits.outage_patience = Duration::ZERO;
    let plain = station.section().url.as_str().replace("http://", "https://");
    station.section().url = plain.parse().unwrap();
    let report = station.backfill().await;
    assert_eq!(report.exit_code(false), 4);
    assert_eq!(report.pbx["hq"].error.clone().unwrap().reason, "not_https", "{report:?}");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_is_down_does_not_hold_up_another() {
    let mut station = Station::new(5).await;
    let mut down = station.section().clone();
    (down.id, down.url) = ("branch".into(), "http://127.0.0.1:9".parse().unwrap());
    down.limits.outage_patience = Duration::ZERO;
    station.config.pbx.insert(0, down);
    let report = station.backfill().await;
    assert_eq!(report.exit_code(false), 4);
    assert_eq!((report.pbx["branch"].counts.listed(), report.pbx["hq"].counts.archived), (0, 5));
    assert!(report.pbx["branch"].error.is_some() && report.pbx["hq"].error.is_none());
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_the_pinned_key_is_trusted() {
    let mut station = Station::of(SimulatorOptions { tls: true, ..small(4) }).await;
    station.cdr_is_whole = false;
    assert_eq!(reason(&station.backfill().await), "tls_unknown_certificate");
    station.check().await;

    let certificate = station.pbx.certificate().unwrap().unwrap().into();
    let key = rustls::pki_types::CertificateDer::clone(&certificate);
    let key = webpki::EndEntityCert::try_from(&key).unwrap().subject_public_key_info();
    station.section().tls_pin_sha256 = Some(Digest::of(key));
    station.cdr_is_whole = true;
    assert_eq!(counts(&station.backfill().await), Counts { archived: 4, ..NONE });
    station.check().await;

    station.set_faults(Faults { certificate: 1, ..Faults::default() });
    let (logins, report) = (station.pbx.counters().logins_ok, station.backfill().await);
    assert_eq!(reason(&report), "tls_pin_mismatch");
    assert_eq!(station.pbx.counters().logins_ok, logins, "nothing is told to a stranger");
    station.check().await;
}

/// Why the PBX was given up.
fn reason(report: &BackfillReport) -> &str {
    assert_eq!(report.exit_code(false), 4);
    &report.pbx["hq"].error.as_ref().unwrap().reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_between_two_runs_costs_one_login() {
    let mut station = Station::new(4).await;
    station.backfill().await;
    station.pbx.reboot();
    station.add_call("new.wav", 0);
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, already_archived: 4, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_is_enough_if_the_operator_says_so() {
    let mut station = Station::new(12).await;
    station.section().concurrency = 1;
    assert_eq!(station.backfill().await.total.archived, 12);
    assert_eq!(station.pbx.counters().connections_peak, 1);
    station.check().await;
}

/// What is logged, all of it, of every test in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_the_log_even_at_its_most_talkative() {
    let log = Log::default();
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).init();
    let mut station = Station::new(30).await;
    station.set_faults(Faults {
        reset: 0.1,
        truncate_head: 0.1,
        html_504: 0.1,
        ticket_expired: 0.1,
        token_revoked: 0.1,
        errno_20010: 0.05,
        ..Faults::default()
    });
    let report = station.backfill().await;
    assert_eq!(report.total.archived, 30);
    let logged = log.0.lock().unwrap().clone();
    assert!(!logged.is_empty());
    assert_eq!(station.secrets().find_in(&logged), None);
    let told = format!("{:?} {}", station.config, serde_json::to_string(&report).unwrap());
    assert_eq!(station.secrets().find_in(told.as_bytes()), None);
    station.check().await;
}
