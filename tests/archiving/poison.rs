//! One bad thing among many: it costs itself, and nothing else.

use std::time::Duration;

use callvault::simulator::{About, Faults, Poison, PoisonedStage, SimulatorOptions, Wrong};
use jiff::ToSpan as _;

use crate::common::{PBX, Station, numbers, small};

/// One bad thing.
fn poison(about: About, how: Wrong) -> Faults {
    Faults { poison: vec![Poison { about, how, at: PoisonedStage::Every }], ..Faults::default() }
}

/// A station on which nobody waits long for an answer that never comes.
async fn impatient(options: SimulatorOptions) -> Station {
    let mut station = Station::of(options).await;
    let limits = &mut station.section().limits;
    limits.outage_patience = Duration::ZERO;
    (limits.reply_timeout, limits.cdr_timeout) = (Duration::from_secs(2), Duration::from_millis(150));
    station
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_cannot_be_read_hides_no_other_day() {
    for how in Wrong::ALL {
        let mut station = impatient(SimulatorOptions { days: 6, ..small(60) }).await;
        // A query is waited for longer than a call list: what hangs here is the call list.
        station.cdr_is_whole = false;
        let bad = station.days.0 + 2.days();
        let at = PoisonedStage::Download;
        let poison = vec![Poison { about: About::Day(bad), how, at }];
        station.set_faults(Faults { poison, ..Faults::default() });
        let report = station.backfill().await;
        let of_pbx = &report.pbx[PBX];
        let sweep = of_pbx.sweep;
        assert_eq!(
            (sweep.days_read, sweep.days_unread, sweep.days_unasked),
            (5, 1, 0),
            "{how:?}: {report:?}"
        );
        assert_eq!((report.exit_code(false), &of_pbx.error.is_none()), (4, &true), "{how:?}: {report:?}");
        let elsewhere = "select count(*) from recordings where state <> 'archived' and day <> '2024-03-11'";
        assert_eq!(station.value::<i64>(elsewhere).await, 0, "{how:?}");
        assert!(report.total.archived > 30, "{how:?}: {report:?}");
        let findings = station.open_findings("day_unread").await;
        assert_eq!(findings.len(), 1, "{how:?}: {findings:?}");
        let (subject, detail) = &findings[0];
        assert_eq!(subject, "2024-03-11", "{how:?}");
        assert!(detail.starts_with("the calls of 2024-03-11 could not be read"), "{how:?}: {detail}");
        station.check().await;

        station.set_faults(Faults::default());
        station.cdr_is_whole = true;
        let report = station.backfill().await;
        assert_eq!(report.total.archived + report.total.already_archived, 60, "{how:?}: {report:?}");
        assert_eq!(report.exit_code(false), 0, "{how:?}");
        assert_eq!(station.open_findings("day_unread").await, [], "{how:?}");
        station.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_whose_every_day_is_redirected_is_given_up_and_the_days_not_asked_for_are_counted() {
    let mut station = impatient(SimulatorOptions { days: 20, ..small(20) }).await;
    station.cdr_is_whole = false;
    let bad = (0..20).map(|day| Poison {
        about: About::Day(station.days.0 + i64::from(day).days()),
        how: Wrong::Redirect,
        at: PoisonedStage::Every,
    });
    station.set_faults(Faults { poison: bad.collect(), ..Faults::default() });
    let report = station.backfill().await;
    let error = report.pbx[PBX].error.clone().unwrap();
    assert_eq!((report.exit_code(false), error.reason.as_str()), (4, "redirect"), "{error:?}");
    assert!(error.message.contains("(8 different requests failed in this way"), "{error:?}");
    let sweep = report.pbx[PBX].sweep;
    assert_eq!((sweep.days_read, sweep.days_unread, sweep.days_unasked), (0, 8, 12));
    assert_eq!(station.open_findings("day_unread").await, [], "it is not the days'");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_does_not_say_who_it_is_is_archived_all_the_same() {
    for how in Wrong::ALL {
        let mut station = impatient(small(6)).await;
        station.section().limits.reply_timeout = Duration::from_millis(300);
        station.set_faults(poison(About::Device, how));
        let report = station.backfill().await;
        assert_eq!(
            (numbers(&report), report.exit_code(false)),
            ([6, 0, 0, 0, 0, 0], 0),
            "{how:?}: {report:?}"
        );
        station.check().await;
    }
}
