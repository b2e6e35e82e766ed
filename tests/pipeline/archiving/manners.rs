//! What a PBX is spared: requests, bytes, haste; and that a slow one costs the others nothing.

use std::time::{Duration, Instant};

use callvault::base::clock::Clock;
use callvault::base::counts::Counts;
use callvault::base::recording::RecordingName;
use callvault::pbx::{Expected, Pbx as _, PbxClient, PbxError, Reason};
use callvault::proof::sealed_vault::SealedVault;
use callvault::service::backfill::Backfill;
use callvault::simulator::{Faults, SimAudio, Simulator, SimulatorOptions};
use jiff::civil::date;
use tokio_util::sync::CancellationToken;

use crate::support::station::{NONE, Station, counts, small};

#[tokio::test(flavor = "multi_thread")]
async fn requests_come_no_faster_than_the_operator_allows() {
    let mut station = Station::new(6).await;
    station.section().manners.requests_per_min_max = std::num::NonZeroU32::new(601);
    let began = Instant::now();
    assert_eq!(counts(&station.backfill().await), Counts { archived: 6, ..NONE });
    let (elapsed, requests) = (began.elapsed().as_secs_f64(), station.pbx.counters().requests);
    // Two at once, then one every tenth of a second.
    let most = 2.0 + elapsed / 0.1;
    assert!(requests > 15 && requests as f64 <= most, "{requests} requests in {elapsed:.2} s");
    let counters = station.pbx.counters();
    assert_eq!((counters.tickets_expired, counters.tickets_issued), (0, counters.tickets_used));
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_to_be_admitted_can_be_stopped() {
    let mut station = Station::new(6).await;
    station.section().manners.requests_per_min_max = std::num::NonZeroU32::new(2);
    let opened = SealedVault::open(station.config.clone(), Clock::system()).await.unwrap();
    let stop = CancellationToken::new();
    let backfill = Backfill::new(&opened, station.request(), Default::default(), stop.clone()).unwrap();
    let began = Instant::now();
    let stopper = async {
        // The login and the question who it is may come at once; the third request would take a minute.
        while station.pbx.counters().requests < 2 {
            assert!(began.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stop.cancel();
    };
    let mut nobody = ();
    let (report, ()) = tokio::join!(backfill.run(&mut nobody), stopper);
    assert!(report.unwrap().interrupted && began.elapsed() < Duration::from_secs(20));
    assert_eq!(station.pbx.counters().requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_connections_together_keep_within_the_bandwidth() {
    let mut station = Station::of(SimulatorOptions { size_bytes: (60_000, 100_000), ..small(10) }).await;
    station.section().manners.bytes_s_max = std::num::NonZeroU32::new(300_000);
    // Our own slowness must not look like the PBX's.
    station.section().limits.throughput_bytes_s_min = 280_000;
    let client = PbxClient::new(station.section()).unwrap();
    let names: Vec<_> = station.pbx.truth().into_iter().map(|truth| truth.name).collect();
    let began = Instant::now();
    let (one, other) = names.split_at(names.len() / 2);
    let (one, other) = tokio::join!(download(&client, one), download(&client, other));
    let bytes_s = (one + other) as f64 / began.elapsed().as_secs_f64();
    assert!((0.85..1.15).contains(&(bytes_s / 300_000.0)), "{bytes_s:.0} bytes a second");
}

/// Downloads these, one after the other; the bytes that came.
async fn download(client: &PbxClient, names: &[Vec<u8>]) -> u64 {
    let mut received = 0;
    for name in names {
        let name = RecordingName::new(name.clone()).unwrap();
        let mut download = client.slot().await.recording(&name).await.unwrap();
        while let Some(bytes) = download.next().await.unwrap() {
            received += bytes.len() as u64;
        }
    }
    received
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_answers_slower_than_usual_is_asked_less_over_one_connection() {
    let mut station = Station::new(4).await;
    let client = PbxClient::new(station.section()).unwrap();
    let ask = async || {
        let name = RecordingName::new(b"none.wav".to_vec()).unwrap();
        let _ = client.slot().await.recording(&name).await;
    };
    for _ in 0..8 {
        ask().await;
    }
    assert!(!client.pace().is_slow());
    station.set_faults(Faults { reply_delay_ms: 450, ..Faults::default() });
    let began = Instant::now();
    while !client.pace().is_slow() {
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", client.pace());
        ask().await;
    }
    let pause = client.pace().pause();
    assert!(pause > Duration::from_millis(300), "{pause:?}");
    // One slot at a time, and a pause before its request.
    let held = client.slot().await;
    let second = tokio::time::timeout(Duration::from_millis(100), client.slot()).await;
    assert!(second.is_err(), "a second connection is given out");
    drop(held);
    let began = Instant::now();
    ask().await;
    assert!(began.elapsed() > Duration::from_millis(700), "{:?}", began.elapsed());

    station.set_faults(Faults::default());
    let began = Instant::now();
    while client.pace().is_slow() {
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", client.pace());
        ask().await;
    }
    let _both = (client.slot().await, client.slot().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_out_stops_every_kind_of_request_until_it_ends() {
    let mut station = Station::with_call("a.wav").await;
    station.section().limits.lockout_wait = Duration::from_millis(1500);
    let client = PbxClient::new(station.section()).unwrap();
    client.device().await.unwrap();
    station.set_faults(Faults { locked_out: true, ..Faults::default() });
    station.pbx.revoke_tokens();
    let began = Instant::now();
    assert_eq!(client.device().await.unwrap_err().reason(), Reason::LockedOut);
    let requests = station.pbx.counters().requests;
    for _ in 0..3 {
        for refused in every_kind(&client).await {
            assert_eq!(refused.unwrap_err().reason(), Reason::LockedOut);
        }
    }
    assert!(began.elapsed() < Duration::from_millis(1500), "too slow to tell");
    assert_eq!(station.pbx.counters().requests, requests, "something was asked during the lock-out");

    station.set_faults(Faults::default());
    loop {
        let answers = every_kind(&client).await;
        if answers.iter().all(Result::is_ok) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{answers:?}");
        tokio::task::yield_now().await;
    }
    assert!(began.elapsed() >= Duration::from_millis(1500));
}

/// The identity as a heartbeat would ask for it, a recording, and the CDR.
async fn every_kind(client: &PbxClient) -> [Result<(), PbxError>; 3] {
    let day = date(2024, 3, 14);
    let name = RecordingName::new(b"a.wav".to_vec()).unwrap();
    let recording = client.slot().await.recording(&name).await.map(drop);
    let calls = client
        .slot()
        .await
        .calls(day.at(0, 0, 0, 0), day.at(23, 59, 59, 0), Expected::default())
        .await
        .map(drop);
    [client.device().await.map(drop), recording, calls]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_drips_holds_no_turn_that_another_needs() {
    let mut station = Station::new(8).await;
    // Two turns for all, and a PBX whose two connections would hold both for five seconds.
    station.config.queue.concurrency_total = 2;
    let slow = Simulator::start(SimulatorOptions { serial_number: "369392500002".to_owned(), ..small(0) })
        .await
        .unwrap();
    for (minute, name) in [(0, "slow-1.wav"), (1, "slow-2.wav")] {
        let mut call = station.call(name, minute);
        call.audio = Some(SimAudio::pcm(10_000, 1));
        slow.world(|world| world.add_call(call));
    }
    slow.set_faults(Faults { drip: 1.0, drip_bytes_per_s: 4000, ..Faults::default() });
    let mut section = station.section().clone();
    (section.id, section.url) = ("branch".into(), slow.url().parse().unwrap());
    section.limits.idle_timeout = Duration::from_secs(5);
    station.config.pbx.push(section);

    let opened = SealedVault::open(station.config.clone(), Clock::system()).await.unwrap();
    let backfill = Backfill::new(&opened, station.request(), Default::default(), Default::default()).unwrap();
    let archived = |id: &str| {
        let site = backfill.sites().iter().find(|site| site.id() == id).unwrap();
        site.progress().archived
    };
    let healthy = async {
        // They begin when the slow one has both turns.
        let began = Instant::now();
        while archived("hq") < 8 {
            assert!(began.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        archived("branch")
    };
    let mut nobody = ();
    let (report, dripped) = tokio::join!(backfill.run(&mut nobody), healthy);
    assert_eq!(dripped, 0, "the healthy one waited for the slow one");
    assert_eq!(report.unwrap().total.archived, 10);
}
