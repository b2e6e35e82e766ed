//! A PBX that misbehaves while it delivers.

use std::time::Duration;

use callvault::base::clock::{self, Clock};
use callvault::base::counts::Counts;
use callvault::simulator::{Faults, SimulatorOptions};
use callvault::store::db;
use jiff::ToSpan as _;
use tokio_util::sync::CancellationToken;

use crate::support::station::{NONE, Station, counts, small};

/// Whether the long runs are wanted: `CALLVAULT_FULL=1`.
fn is_full() -> bool {
    std::env::var_os("CALLVAULT_FULL").is_some()
}

/// Seeds that are tried before a fault counts as one that never happens.
const SEEDS_MAX: u64 = 20;

/// Runs under one fault, and expects that it happened and that nothing is owed in the end.
///
/// Which requests a fault strikes depends on the seed and on the order of the requests: a run that none was struck in has
/// shown nothing, and is followed by one of another seed.
async fn survives(fault: &str, faults: Faults) {
    for seed in 0..SEEDS_MAX {
        let mut station = Station::of(SimulatorOptions { seed, ..small(16) }).await;
        station.set_faults(faults.clone());
        let report = station.backfill().await;
        assert_eq!(counts(&report), Counts { archived: 16, ..NONE }, "{fault}: {report:?}");
        assert_eq!(report.exit_code(false), 0, "{fault}");
        station.check().await;
        if station.pbx.counters().faults.get(fault).is_some_and(|count| *count > 0) {
            return;
        }
    }
    panic!("{fault} never happened under any of {SEEDS_MAX} seeds");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_archived_as_the_pbx_has_it() {
    let mut station = Station::new(40).await;
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: 40, ..NONE });
    assert_eq!(report.exit_code(false), 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_fetches_no_ticket() {
    let mut station = Station::new(20).await;
    station.backfill().await;
    // The tickets of the CDR are the only ones that a second run takes: one a day.
    let before = station.pbx.counters();
    let report = station.backfill().await;
    let after = station.pbx.counters();
    assert_eq!(counts(&report), Counts { already_archived: 20, ..NONE });
    assert_eq!(after.tickets_issued - before.tickets_issued, after.cdr_downloads - before.cdr_downloads);
    assert_eq!(after.downloads_started, before.downloads_started);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_while_recordings_wait_holds_nothing_up() {
    let mut station = Station::new(8).await;
    station.set_faults(Faults { json_body: 1.0, ..Faults::default() });
    (station.config.queue.retry_base, station.config.queue.retry_max) =
        (Duration::from_secs(2), Duration::from_secs(2));
    let (clock, state, request) =
        (Clock::showing(clock::now()), station.config.state.path.clone(), station.request());
    let set_back = async |pbx: &callvault::simulator::Simulator| {
        let waiting = "select count(*) from recordings where due_at_ms is not null";
        let db = loop {
            if let Ok(Some(db)) = db::open_read_only(&state).await
                && sqlx::query_scalar::<_, i64>(waiting).fetch_one(&db).await.is_ok_and(|count| count >= 6)
            {
                break db;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        clock.set(clock.now() - 1.hour());
        pbx.set_faults(Faults::default());
        db.close().await;
    };
    let run = station.run_by(clock.clone(), request, CancellationToken::new(), set_back);
    let report =
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("it waits for the hour").unwrap();
    assert_eq!(counts(&report), Counts { archived: 8, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_spends_three_tickets_at_most() {
    let mut station = Station::new(1).await;
    station.config.queue.attempts_max = 1;
    station.set_faults(Faults { json_body: 1.0, ..Faults::default() });
    assert_eq!(counts(&station.backfill().await), Counts { stuck: 1, ..NONE });
    station.set_faults(Faults { ticket_expired: 1.0, ..Faults::default() });
    let before = station.pbx.counters().tickets_issued;
    assert_eq!(counts(&station.retry().await), Counts { stuck: 1, ..NONE });
    assert_eq!(station.pbx.counters().tickets_issued - before, 3);
    assert_eq!(station.value::<String>("select reason from recordings").await, "ticket");
    station.set_faults(Faults { token_revoked: 1.0, ..Faults::default() });
    assert_eq!(counts(&station.retry().await), Counts { stuck: 1, ..NONE });
    assert_eq!(station.value::<String>("select reason from recordings").await, "ticket", "of a lost session");
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_that_break_off_are_repeated() {
    survives("reset", Faults { reset: 0.3, ..Faults::default() }).await;
    survives("truncate", Faults { truncate: 0.3, ..Faults::default() }).await;
    survives("truncate_wav_header", Faults { truncate_wav_header: 0.3, ..Faults::default() }).await;
    survives("truncate_head", Faults { truncate_head: 0.3, ..Faults::default() }).await;
    survives("empty_body", Faults { empty_body: 0.3, ..Faults::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_audio_are_never_archived() {
    survives("json_body", Faults { json_body: 0.3, ..Faults::default() }).await;
    survives("html_200", Faults { html_200: 0.3, ..Faults::default() }).await;
    survives("html_503", Faults { html_503: 0.3, ..Faults::default() }).await;
    survives("html_504", Faults { html_504: 0.3, ..Faults::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_cut_off_and_repeated() {
    survives("endless", Faults { endless: 0.2, ..Faults::default() }).await;
}

/// Two equal halves in a row look like a header that lies, and wait for an hour or for the next backfill.
#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_lie_are_failures_until_a_whole_file_comes() {
    let mut station = Station::new(24).await;
    station.set_faults(Faults { wrong_length: 0.3, ..Faults::default() });
    let first = station.backfill().await;
    assert!(station.pbx.counters().faults["wrong_length"] > 0);
    assert_eq!(first.total.archived + first.total.pending, 24);
    station.check().await;
    station.set_faults(Faults::default());
    let second = station.backfill().await;
    assert_eq!((second.total.already_archived + second.total.archived, second.exit_code(false)), (24, 0));
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_and_a_pbx_that_never_answers_are_left_and_asked_again() {
    survives("stall", Faults { stall: 0.2, ..Faults::default() }).await;
    let mut station = Station::new(10).await;
    station.section().limits.reply_timeout = Duration::from_millis(300);
    station.section().limits.cdr_timeout = Duration::from_millis(300);
    station.set_faults(Faults { hang: 0.1, ..Faults::default() });
    let report = station.backfill().await;
    assert!(station.pbx.counters().faults.contains_key("hang"));
    assert_eq!(counts(&report), Counts { archived: 10, ..NONE }, "{report:?}");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_transfer_that_goes_on_is_waited_for() {
    survives("drip", Faults { drip: 0.1, drip_bytes_per_s: 40_000, ..Faults::default() }).await;
    survives("stall", Faults { stall: 0.5, stall_s: 0.05, ..Faults::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_tickets_and_revoked_sessions_are_renewed() {
    survives("ticket_expired", Faults { ticket_expired: 0.3, ..Faults::default() }).await;
    survives("token_revoked", Faults { token_revoked: 0.3, ..Faults::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_short_of_breath_is_asked_again() {
    survives("errno_20010", Faults { errno_20010: 0.15, ..Faults::default() }).await;
    survives("errno_30001", Faults { errno_30001: 0.15, ..Faults::default() }).await;
    survives("errno_30003", Faults { errno_30003: 0.15, ..Faults::default() }).await;
    survives("gateway_timeout", Faults { gateway_timeout: 0.1, ..Faults::default() }).await;
    survives("refuse", Faults { refuse: 0.1, ..Faults::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_flips_on_the_way_is_nothing_that_we_can_see_and_breaks_no_promise() {
    survives("bit_flip", Faults { bit_flip: 0.3, ..Faults::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_under_mixed_faults_ends_complete() {
    let recordings = if is_full() { 20_000 } else { 600 };
    let mut station = Station::of(small(recordings)).await;
    station.set_faults(Faults {
        reset: 0.03,
        truncate: 0.03,
        json_body: 0.03,
        html_200: 0.03,
        ticket_expired: 0.03,
        token_revoked: 0.03,
        html_504: 0.03,
        errno_20010: 0.03,
        stall: 0.03,
        ..Faults::default()
    });
    let report = station.backfill().await;
    assert_eq!(station.pbx.counters().faults.len(), 9);
    assert_eq!(report.total.archived, i64::try_from(recordings).unwrap(), "{report:?}");
    assert_eq!(report.exit_code(false), 0);
    station.check().await;
}

/// Everything at once, and other things for each seed. What one run leaves owed, a later one finds.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_together_some_run_is_complete_and_each_keeps_the_promises() {
    let seeds = if is_full() { 40 } else { 1 };
    for seed in 1..=seeds {
        let mut station = Station::of(SimulatorOptions { seed, odd_names: 6, ..small(30) }).await;
        station.section().limits.reply_timeout = Duration::from_millis(500);
        station.set_faults(everything(0.02));
        station.cdr_is_whole = false;
        let mut reports = vec![station.backfill().await];
        while reports.last().is_some_and(|report| report.exit_code(false) != 0) {
            station.check().await;
            // Mostly five: the order of the faults follows from the order of the requests, which is another each time.
            assert!(reports.len() < 40, "seed {seed} is never complete: {reports:#?}");
            reports.push(station.backfill().await);
        }
        station.check().await;
        station.set_faults(Faults::default());
        station.cdr_is_whole = true;
        let report = station.backfill().await;
        assert_eq!(report.total.archived + report.total.already_archived, 36, "seed {seed}: {report:?}");
        station.check().await;
    }
}

fn everything(probability: f64) -> Faults {
    Faults {
        refuse: probability,
        hang: probability,
        errno_20010: probability,
        errno_30001: probability,
        errno_30003: probability,
        gateway_timeout: probability,
        cdr_504: probability,
        ticket_expired: probability,
        token_revoked: probability,
        reset: probability,
        truncate: probability,
        truncate_wav_header: probability,
        truncate_head: probability,
        stall: probability,
        json_body: probability,
        html_200: probability,
        html_503: probability,
        html_504: probability,
        empty_body: probability,
        wrong_length: probability,
        endless: probability,
        growing_asks: 1,
        missing_asks: 1,
        cdr_duplicate: probability,
        cdr_missing: probability,
        cdr_broken: probability,
        cdr_reordered: probability,
        ..Faults::default()
    }
}
