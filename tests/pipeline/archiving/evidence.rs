//! What it rests on that a list is whole: lists that a PBX cuts, lines that cannot be believed, calls of a lost clock.

use callvault::base::clock::Clock;
use callvault::base::counts::Counts;
use callvault::simulator::{Faults, SimAudio, SimCall, SimulatorOptions};
use callvault::store::evidence::{self, Acceptance, Verdict};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use tokio_util::sync::CancellationToken;

use super::reconciling::account;
use crate::support::station::{NONE, PBX, Station, TODAY, counts, small};

/// A station whose last day has this many recorded calls, one a second, and no other.
async fn busy(calls: u32) -> Station {
    let station = Station::new(0).await;
    for second in 0..calls {
        let mut call = station.call(&format!("{second}.wav"), 0);
        call.start += SignedDuration::from_secs(second.into());
        call.callid = format!("{}.{second}", call.start.as_second());
        call.audio = Some(SimAudio::pcm(400, u64::from(second)));
        station.pbx.world(|world| world.add_call(call));
    }
    station
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_cuts_its_lists_is_asked_for_shorter_times() {
    let mut station = busy(70).await;
    station.set_faults(Faults { cdr_row_cap: 30, ..Faults::default() });
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: 70, ..NONE }, "{report:?}");
    assert_eq!(report.exit_code(false), 0);
    assert_eq!(station.findings("limit_suspected").await.len(), 1);
    let day = account(&station, TODAY).await;
    assert!(day.evidence.unwrap().readings.unwrap().parts > 2);

    // It gives more again: the limit is lifted when that is seen.
    station.set_faults(Faults::default());
    let asked = station.pbx.counters().cdr_downloads;
    assert_eq!(station.backfill().await.exit_code(false), 0);
    assert_eq!(station.backfill().await.exit_code(false), 0);
    assert!(station.pbx.counters().cdr_downloads > asked);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_one_second_that_are_cut_are_never_called_complete() {
    let mut station = Station::new(0).await;
    for number in 0..40 {
        let mut call = station.call(&format!("{number}.wav"), 0);
        call.callid = format!("{}.{number}", call.start.as_second());
        station.pbx.world(|world| world.add_call(call));
    }
    for second in 1..10 {
        let mut call = station.call(&format!("later-{second}.wav"), 0);
        call.start += SignedDuration::from_secs(second);
        call.callid = format!("{}.{second}", call.start.as_second());
        station.pbx.world(|world| world.add_call(call));
    }
    station.cdr_is_whole = false;
    station.set_faults(Faults { cdr_row_cap: 25, ..Faults::default() });
    let report = station.backfill().await;
    assert_eq!(report.exit_code(false), 4, "{report:?}");
    assert_eq!(report.verdicts().short, 1, "{report:?}");
    assert!(!account(&station, TODAY).await.complete);
    station.set_faults(Faults::default());
    station.cdr_is_whole = true;
    let report = station.backfill().await;
    assert_eq!((report.exit_code(false), report.total.listed()), (0, 49), "it heals by itself: {report:?}");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_cuts_nothing_is_looked_at_twice_once() {
    let mut station = busy(70).await;
    station.backfill().await;
    let first = station.pbx.counters().cdr_downloads;
    assert_eq!(first, 1 + 2, "the one list that there is, and once more in two parts");
    station.backfill().await;
    assert_eq!(station.pbx.counters().cdr_downloads, first + 1, "that length is proven");
    assert!(station.findings("limit_suspected").await.is_empty());
    station.check().await;
}

/// What proves that lists are whole costs a clean PBX a tenth more requests at most than only reading them: login, device, a
/// ticket and a download for each day with calls and each recording, an answer for each other day, logout.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_pbx_is_asked_a_tenth_more_at_most() {
    for (recordings, days) in [(5, 1), (12, 3), (20, 1), (60, 3), (300, 3), (5, 184), (200, 30)] {
        let mut station = Station::of(SimulatorOptions { days, ..small(recordings) }).await;
        let (first, last) = station.days;
        let with_calls = (0..i64::from(days))
            .map(|day| first + day.days())
            .filter(|day| !station.pbx.world(|world| world.rows(*day, *day)).is_empty())
            .count() as u64;
        assert!(last >= first && with_calls > 0);
        let report = station.backfill().await;
        assert_eq!(report.exit_code(false), 0, "{report:?}");
        let without = 3 + u64::from(days) + with_calls + 2 * recordings;
        let requests = station.pbx.counters().requests;
        println!("{recordings} recordings in {days} days: {requests} requests for {without}");
        assert!(requests * 10 <= without * 11, "{recordings} in {days} days: {requests} for {without}");
        station.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_list_is_not_looked_at_twice() {
    let mut station = busy(10).await;
    assert_eq!(station.backfill().await.exit_code(false), 0);
    assert_eq!(station.pbx.counters().cdr_downloads, 1);
    let evidence = account(&station, TODAY).await.evidence.unwrap();
    assert_eq!(
        (evidence.verdict, evidence.provenance[0].transport.as_deref()),
        (Verdict::Whole, Some("plain"))
    );
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_cannot_be_believed_is_in_doubt_until_its_call_is_known_or_the_day_is_accepted() {
    let mut station = Station::of(SimulatorOptions { seed: 3, ..small(9) }).await;
    station.set_faults(Faults { cdr_broken: 0.5, ..Faults::default() });
    station.cdr_is_whole = false;
    let report = station.backfill().await;
    assert_eq!(report.exit_code(false), 4, "{report:?}");
    let told = report.verdicts().sentence().unwrap();
    assert!(told.contains("may lack calls") && told.contains("cannot be believed"), "{told}");
    let day = report.verdicts().first.unwrap().day;
    assert!(account(&station, day).await.is_doubtful());

    let now = callvault::base::clock::now();
    let db = callvault::store::db::Db::open(&station.config.state.path).await.unwrap();
    let accepted = db.write(async move |tx| evidence::accept(tx, PBX, day, "seen on the PBX", now).await);
    assert!(matches!(accepted.await.unwrap(), Acceptance::Accepted { verdict: Verdict::Doubtful, .. }));
    drop(db);
    let of_day = account(&station, day).await;
    assert!(of_day.is_accepted() || of_day.counts.owed() > 0, "{of_day:?}");
    assert!(!of_day.complete, "what was accepted is not proven");

    station.set_faults(Faults::default());
    station.cdr_is_whole = true;
    assert_eq!(station.backfill().await.exit_code(false), 0);
    assert!(!account(&station, day).await.complete, "and stays so");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_a_lost_clock_filed_elsewhere_are_archived() {
    let mut station = Station::new(3).await;
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    for (number, start) in (1..).zip(["1970-01-01T08:03:10Z", "2000-01-01T00:05:00Z", "2036-02-07T06:28:16Z"])
    {
        let name = format!("lost-{number}.wav");
        let call = SimCall::recorded(at(start), number, name.as_str(), SimAudio::pcm(4000, number));
        station.pbx.world(|world| world.add_call(call));
    }
    // As on the day of the station's calls: what it keeps ends there.
    let clock = Clock::showing(crate::support::station::noon(TODAY));
    let request = callvault::pipeline::backfill::Request::default();
    let stop = CancellationToken::new();
    let report = station.run_by(clock, request, stop, async |_| {}).await.unwrap();
    assert_eq!(report.total.archived, 6, "{report:?}");
    assert_eq!(report.pbx[PBX].sweep.recordings_outside, 3);
    for folder in ["1970/01/01", "2000/01/01", "2036/02/07"] {
        assert!(station.archive().join(PBX).join(folder).is_dir(), "{folder}");
    }
}
