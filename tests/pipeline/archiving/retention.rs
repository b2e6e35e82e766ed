//! Racing the clean-up: what a PBX still has is learnt, and what it is about to overwrite is told in time.

use callvault::base::clock::Clock;
use callvault::pipeline::backfill::Request;
use callvault::pipeline::forecast::{self, Forecast, HorizonSource};
use callvault::proof::sealed_vault::SealedVault;
use callvault::simulator::{Faults, SimulatorOptions};
use jiff::{Timestamp, ToSpan as _};

use crate::support::station::{Station, small};

/// What the simulator's clock shows.
fn today() -> Timestamp {
    "2024-03-15T12:00:00Z".parse().unwrap()
}

/// Runs a backfill as of today, and notes the forecast as the service does.
async fn run(station: &mut Station, request: Request) -> Forecast {
    station.run_by(Clock::showing(today()), request, Default::default(), async |_| {}).await.unwrap();
    note(station, today()).await
}

async fn note(station: &Station, now: Timestamp) -> Forecast {
    let SealedVault { vault, .. } =
        SealedVault::open(station.config.clone(), Clock::showing(now)).await.unwrap();
    forecast::note(&vault.state.db, &station.config.pbx[0], now).await.unwrap()
}

async fn open_findings(station: &Station) -> i64 {
    station
        .value("select count(*) from findings where kind = 'overwrite_near' and closed_at_ms is null")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_horizon_is_learnt_from_what_the_pbx_does_not_have_any_more() {
    let options =
        SimulatorOptions { days: 30, recordings: 90, size_bytes: (500, 900), now: Some(today()), ..small(0) };
    let mut station = Station::of(options).await;
    let (first, last) = station.days;
    let kept_from = today() - (20 * 24).hours();
    let gone =
        station.pbx.world(|world| world.rows(first, last)).into_iter().filter(|row| row.start < kept_from);
    let gone: Vec<String> = gone.map(|row| String::from_utf8(row.recording).unwrap()).collect();
    station.set_faults(Faults { deleted: gone.clone(), ..Faults::default() });

    let all_days = station.request();
    let learnt = run(&mut station, all_days.clone()).await;
    assert_eq!(learnt.horizon_source, HorizonSource::Learnt);
    assert!((learnt.horizon_days - 20.0).abs() <= 1.5, "{learnt:?}");
    assert!((2.0..4.5).contains(&learnt.recordings_per_day), "{learnt:?}");
    let mean_bytes = learnt.bytes_per_day.unwrap() / learnt.recordings_per_day;
    assert!((400.0..1100.0).contains(&mean_bytes), "{learnt:?}");
    assert!(learnt.cdr_rows_per_day >= learnt.recordings_per_day, "{learnt:?}");
    assert_eq!((learnt.oldest_owed_at, learnt.at_risk, open_findings(&station).await), (None, 0, 0));

    // One that is heard of late: known, not fetched yet.
    let mut late = station.call("late.wav", 0);
    late.start = today() - (18 * 24).hours();
    late.callid = format!("{}.1", late.start.as_second());
    station.pbx.world(|world| world.add_call(late.clone()));
    let owed = run(&mut station, Request { dry_run: true, ..all_days.clone() }).await;
    assert_eq!((owed.oldest_owed_at, owed.at_risk), (Some(late.start), 1), "{owed:?}");
    let margin_h = owed.margin_s.unwrap() / 3600;
    assert!((10..=84).contains(&margin_h), "{margin_h} h");
    assert_eq!(open_findings(&station).await, 1);
    let findings = station.findings("overwrite_near").await;
    assert!(
        findings[0].1.contains("the oldest recording not archived yet is overwritten in about"),
        "{findings:?}"
    );

    let archived = run(&mut station, all_days).await;
    assert_eq!((archived.at_risk, open_findings(&station).await), (0, 0), "{archived:?}");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cdr_that_is_not_read_for_long_is_told_before_its_rows_are_overwritten() {
    let mut station = Station::of(SimulatorOptions { days: 10, now: Some(today()), ..small(60) }).await;
    station.section().retention.cdr_rows = 200;
    let swept = run(&mut station, Request::default()).await;
    let lasts_s = swept.cdr_margin_s.unwrap();
    assert!((10 * 86_400..50 * 86_400).contains(&lasts_s), "{swept:?}");
    assert_eq!(open_findings(&station).await, 0);
    let later = today() + lasts_s.seconds() - 20.hours();
    let near = note(&station, later).await;
    assert!(near.cdr_margin_s.unwrap() <= 21 * 3600 && near.at_risk == 0, "{near:?}");
    let findings = station.findings("overwrite_near").await;
    assert_eq!(findings[0].0, "cdr");
    assert!(findings[0].1.contains("never read are overwritten in about"), "{findings:?}");
    station.check().await;
}
