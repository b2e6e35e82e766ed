//! Clocks that are wrong: the PBX's, and ours.

use callvault::base::clock::{Clock, Sync};
use callvault::pipeline::backfill::Request;
use callvault::proof::sealed_vault::SealedVault;
use callvault::simulator::SimulatorOptions;
use callvault::store::clocks::{self, OwnDoubt};
use jiff::{Timestamp, ToSpan as _};
use tokio_util::sync::CancellationToken;

use crate::support::station::{PBX, Station, small};

const OPEN_SKEWS: &str = "select count(*) from findings where kind = 'clock_skewed' and closed_at_ms is null";

/// A PBX that has lost its clock, with calls of that time.
async fn lost(now: &str, day: jiff::civil::Date) -> Station {
    let options = SimulatorOptions { now: Some(now.parse().unwrap()), today: Some(day), days: 1, ..small(3) };
    Station::of(options).await
}

/// Clean twin: nothing is told of a clock that is right, and nothing costs a request more.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_right_is_no_finding() {
    let mut station = Station::new(3).await;
    station.backfill().await;
    assert_eq!(station.value::<i64>(OPEN_SKEWS).await, 0);
    assert_eq!(station.value::<i64>("select count(*) from clocks where jump_s is null").await, 1);
    assert!(station.value::<i64>("select abs(skew_s) from clocks").await <= 60);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_time_that_a_pbx_imagines_are_archived_and_its_clock_is_told() {
    for (now, day) in [
        ("1970-01-01T10:20:00Z", jiff::civil::date(1970, 1, 1)),
        ("2000-01-01T10:20:00Z", jiff::civil::date(2000, 1, 1)),
        ("2036-02-07T10:20:00Z", jiff::civil::date(2036, 2, 7)),
    ] {
        let mut station = lost(now, day).await;
        let listed = station.pbx.truth().len() as i64;
        let report = station.run(Request::default(), CancellationToken::new()).await.unwrap();
        assert_eq!((report.total.listed(), report.total.archived), (listed, listed), "{now}: {report:?}");
        let findings = station.findings("clock_skewed").await;
        assert_eq!(findings.len(), 1, "{findings:?}");
        let year = now.split('-').next().unwrap();
        assert!(findings[0].1.contains(&format!("(in {year})")), "{findings:?}");

        // Set right, it is told no more, and that it was set is known.
        let before = callvault::base::clock::now() - 1.hour();
        station.pbx.set_clock(callvault::base::clock::now());
        station.run(Request::default(), CancellationToken::new()).await.unwrap();
        assert_eq!(station.value::<i64>(OPEN_SKEWS).await, 0);
        let jumps = station.findings("clock_jumped").await;
        let way = if year == "2036" { "it was set back by 9 years" } else { "it was set forward by " };
        assert!(jumps.len() == 1 && jumps[0].1.contains(way), "{jumps:?}");
        let SealedVault { vault, .. } =
            SealedVault::open(station.config.clone(), Clock::system()).await.unwrap();
        let mut db = vault.state.db.read().await.unwrap();
        let jump = clocks::of(&mut db, PBX).await.unwrap().unwrap().jump.unwrap();
        assert!(jump.after.max(jump.before) >= before, "{jump:?}");
        drop((db, vault));
        station.expect_unsealed();
        station.check().await;
    }
}

/// What speaks against our own clock after a run by it.
async fn doubt(station: &Station, clock: &Clock) -> Option<OwnDoubt> {
    let SealedVault { vault, .. } = SealedVault::open(station.config.clone(), clock.clone()).await.unwrap();
    let mut db = vault.state.db.read().await.unwrap();
    clocks::own_doubt(&mut db, clock.now()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_clock_is_doubted_on_evidence_and_believed_again_by_itself() {
    let mut station = Station::new(3).await;
    let real = callvault::base::clock::now();
    let run = async |station: &mut Station, clock: &Clock| {
        let request = station.request();
        station.run_by(clock.clone(), request, CancellationToken::new(), async |_| {}).await.unwrap();
    };
    // Without a time server, but in step with the PBX: nothing is wrong.
    let clock = Clock::showing(real);
    clock.set_sync(Sync::Unsynchronised);
    run(&mut station, &clock).await;
    assert_eq!(doubt(&station, &clock).await, None);

    // Set a month ahead: nobody agrees.
    clock.set(real + (30 * 24).hours());
    run(&mut station, &clock).await;
    assert_eq!(doubt(&station, &clock).await, Some(OwnDoubt::Unsynchronised));
    assert_eq!(station.value::<i64>(OPEN_SKEWS).await, 1);

    // Set back: less than it has shown, until the PBX vouches for it.
    clock.set(real);
    assert!(matches!(doubt(&station, &clock).await, Some(OwnDoubt::SetBack { .. })));
    run(&mut station, &clock).await;
    assert_eq!(doubt(&station, &clock).await, None);
    assert_eq!(station.value::<i64>(OPEN_SKEWS).await, 0);

    // A time server outweighs all that.
    clock.set(real - (48).hours());
    clock.set_sync(Sync::Synchronised);
    assert_eq!(doubt(&station, &clock).await, None);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_a_clock_of_its_own_is_told_that_it_is_wrong() {
    let station = Station::new(0).await;
    let clock = Clock::showing(Timestamp::UNIX_EPOCH + 20.minutes());
    clock.set_sync(Sync::Unknown);
    assert_eq!(doubt(&station, &clock).await, Some(OwnDoubt::BeforeRelease));
}
