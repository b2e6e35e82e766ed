//! What a sweep reads, when it stops to, and what it counts.

use std::time::Duration;

use callvault::base::counts::Counts;
use callvault::pipeline::backfill::{BackfillReport, Request};
use callvault::pipeline::sweep::SweepReport;
use callvault::simulator::{Faults, Profile, Simulator, SimulatorOptions};
use jiff::{Timestamp, ToSpan as _};
use tokio_util::sync::CancellationToken;

use super::cdr::{SETTLED, settled_before_a_late_call};
use super::reconciling::tamper;
use crate::support::station::{NONE, PBX, Station, counts, small};

/// The sweep of one backfill.
async fn swept(station: &mut Station) -> SweepReport {
    station.backfill().await.pbx[PBX].sweep
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_counts_what_it_read_and_what_of_that_was_new() {
    let mut station = Station::new(30).await;
    let first = swept(&mut station).await;
    assert_eq!((first.days_read, first.days_unread, first.recordings_new), (3, 0, 30));
    assert_eq!(first.rows_new, first.rows, "{first:?}");
    assert_eq!(station.pbx.counters().cdr_downloads, 3, "each day is asked for once");
    station.add_call("later.wav", 3);
    let second = swept(&mut station).await;
    assert_eq!((second.rows, second.rows_new, second.recordings_new), (first.rows + 1, 1, 1));
    let third = swept(&mut station).await;
    assert_eq!((third.rows, third.rows_new, third.recordings_new), (first.rows + 1, 0, 0));
    station.check().await;
}

/// A day whose CDR does not come in the smallest parts either costs five tries of one of them, and one of the farthest part;
/// the days after it cost one try of a minute. Before that, each day is asked for once.
#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_could_not_tell_a_day_is_not_pressed_for_the_next_ones() {
    let mut station = Station::new(6).await;
    station.set_faults(Faults { cdr_504: 1.0, ..Faults::default() });
    let report = swept(&mut station).await;
    assert_eq!((report.days_read, report.days_unread, report.recordings_new), (0, 3, 0));
    // 86,399 s are halved ten times until they are less than two minutes.
    assert_eq!(station.pbx.counters().faults["cdr_504"], 3 + 9 + 5 + 1 + 1 + 1);
    station.set_faults(Faults::default());
    assert_eq!(counts(&station.backfill().await), Counts { archived: 6, ..NONE });
    station.check().await;
}

/// A backfill of half a year, and what happens to it while it sweeps.
async fn half_a_year(
    station: &mut Station,
    stop: &CancellationToken,
    happens: impl Fn(&Simulator),
) -> BackfillReport {
    station.days.0 = station.days.1 - 179.days();
    station.set_faults(Faults { reply_delay_ms: 20, ..Faults::default() });
    let in_the_sweep = async |pbx: &Simulator| {
        while pbx.counters().endpoints.get("cdr/get_random").is_none_or(|asked| *asked < 2) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        happens(pbx);
    };
    let report = station.run_while(station.request(), stop.clone(), in_the_sweep).await.unwrap();
    let sweep = report.pbx[PBX].sweep;
    assert!((1..10).contains(&sweep.days_read) && sweep.days_unread <= 1, "{sweep:?}");
    station.cdr_is_whole = false;
    station.check().await;
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_is_stopped_reads_no_further_day() {
    let mut station = Station::new(6).await;
    let stop = CancellationToken::new();
    assert!(half_a_year(&mut station, &stop, |_| stop.cancel()).await.interrupted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_is_given_up_is_asked_for_no_further_day() {
    let mut station = Station::new(6).await;
    let change_password = |pbx: &Simulator| {
        pbx.alter_faults(|faults| faults.password = Some("another one".into()));
        pbx.revoke_tokens();
    };
    let report = half_a_year(&mut station, &CancellationToken::new(), change_password).await;
    assert_eq!(report.exit_code(false), 4, "{report:?}");
}

/// A call is listed when it has ended: the day of the PBX, by its own clock and its own time zone, which is an hour ahead
/// of UTC, must be over for twelve hours.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_settles_twelve_hours_after_its_end_by_the_clock_of_the_pbx() {
    for (now, settled) in [("2024-03-15T10:55:00Z", 2), ("2024-03-15T11:05:00Z", 3)] {
        let now: Timestamp = now.parse().unwrap();
        let mut station = Station::of(SimulatorOptions { now: Some(now), ..small(6) }).await;
        for _ in 0..3 {
            station.backfill().await;
        }
        assert_eq!(station.value::<i64>(SETTLED).await, settled, "{now}");
        station.check().await;
    }
}

/// An export may be one of a part of the day: that rows are not in it says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_fewer_rows_than_known_is_no_finding() {
    let mut station = Station::new(30).await;
    station.backfill().await;
    // Of each day every other row.
    let file = station.export("part.csv", |table| {
        let mut at = 0;
        table.retain(|_| {
            at += 1;
            at % 2 == 1
        });
    });
    let report = station.backfill_files(&[file]).await;
    assert_eq!(counts(&report), Counts { already_archived: 30, ..NONE });
    assert!(station.findings("cdr_shrank").await.is_empty());
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_time_cannot_be_read_belongs_to_the_day_that_its_callid_tells() {
    let mut station = Station::of(SimulatorOptions { profile: Profile::V1_0, ..small(0) }).await;
    // Of 23:30 UTC, where the PBX has half an hour past midnight.
    let mut call = station.call("untimely.wav", 0);
    call.start = "2024-03-13T23:30:00Z".parse().unwrap();
    call.callid = format!("{}.1", call.start.as_second());
    station.pbx.world(|world| world.add_call(call));
    station.add_call("timely.wav", 5);
    let file = station.export("cdr.csv", |table| {
        let untimely = table.iter_mut().find(|row| row[11] == b"untimely.wav").unwrap();
        untimely[1] = b"yesterday".to_vec();
    });
    station.cdr_is_whole = false;
    let report = station.backfill_files(&[file]).await;
    assert_eq!(counts(&report), Counts { archived: 2, ..NONE }, "{report:?}");
    let day = "select cast(day as text) from recordings where name = cast('untimely.wav' as blob)";
    assert_eq!(station.value::<String>(day).await, "2024-03-14");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_ends_in_an_error_was_not_read_to_its_end() {
    let mut station = Station::of(SimulatorOptions { profile: Profile::V1_0, ..small(1) }).await;
    station.cdr_is_whole = false;
    let bad = station.write("prose.csv", b"dear PBX,\nplease send the calls\n");
    assert_eq!(station.backfill_files(&[bad]).await.exit_code(false), 2);
    assert_eq!(station.value::<i64>("select count(*) from readings where whole = 1").await, 0);
}

/// A device that does not say who it is when it is asked.
#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_a_file_tell_the_serial_number_where_the_device_does_not() {
    let mut station = Station::of(SimulatorOptions { profile: Profile::V1_0, ..small(0) }).await;
    station.set_faults(Faults { serial_number: Some(String::new()), ..Faults::default() });
    for (name, minute) in [("named.wav", 0), ("unnamed.wav", 1), ("of-another.wav", 2)] {
        station.add_call(name, minute);
    }
    let export = |table: &mut Vec<Vec<Vec<u8>>>, which: [(&str, &str); 2]| {
        table.retain(|row| {
            row[11] == b"recording" || which.iter().any(|(name, _)| row[11] == name.as_bytes())
        });
        for row in table {
            if let Some((_, sn)) = which.iter().find(|(name, _)| row[11] == name.as_bytes()) {
                *row.last_mut().unwrap() = sn.as_bytes().to_vec();
            }
        }
    };
    let first =
        station.export("first.csv", |table| export(table, [("named.wav", "3631A"), ("unnamed.wav", "")]));
    let second = station
        .export("second.csv", |table| export(table, [("unnamed.wav", ""), ("of-another.wav", "3631B")]));
    station.cdr_is_whole = false;
    assert_eq!(counts(&station.backfill_files(&[first]).await), Counts { archived: 2, ..NONE });
    assert_eq!(station.value::<String>("select sn from pbx").await, "3631A");
    assert!(station.findings("serial_number_changed").await.is_empty());
    assert_eq!(
        counts(&station.backfill_files(&[second]).await),
        Counts { archived: 1, already_archived: 2, ..NONE }
    );
    let each = "select group_concat(sn) from (select sn from recordings order by started_at_ms)";
    assert_eq!(station.value::<String>(each).await, "3631A,3631A,3631B");
    assert_eq!(station.value::<String>("select sn from pbx").await, "3631A");
    let findings = station.findings("serial_number_changed").await;
    assert_eq!(findings.iter().map(|(sn, _)| &**sn).collect::<Vec<_>>(), ["3631B"]);
    station.check().await;
}

/// What is read is stored page by page, and a run may end before a reading does: its day is not settled any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_open_as_soon_as_a_call_came_late_whatever_becomes_of_the_reading() {
    let mut station = settled_before_a_late_call().await;
    tamper(
        &station,
        "create trigger broken before update on readings begin select raise(abort, 'out of order'); end",
    )
    .await;
    // An archived recording opens its day as well.
    let request = Request { dry_run: true, from: Some(station.days.1), ..station.request() };
    let run = station.run(request, CancellationToken::new()).await;
    assert!(format!("{:#}", run.unwrap_err()).contains("out of order"));
    assert_eq!(station.value::<i64>("select count(*) from recordings").await, 7);
    assert_eq!(station.value::<i64>(SETTLED).await, 2);
    tamper(&station, "drop trigger broken").await;
    station.backfill().await;
    station.check().await;
}
