//! What the PBX's CDR says, and how it goes wrong.

use callvault::base::counts::Counts;
use callvault::pipeline::backfill::Request;
use callvault::simulator::{Faults, SimulatorOptions};
use jiff::ToSpan as _;
use jiff::civil::date;

use crate::support::station::{NONE, Station, counts, noon, small};

#[tokio::test(flavor = "multi_thread")]
async fn rows_listed_twice_and_in_any_order_are_one_row_each() {
    let mut station = Station::new(20).await;
    station.backfill().await;
    let calls: i64 = station.value("select count(*) from calls").await;
    station.set_faults(Faults { cdr_duplicate: 0.5, cdr_reordered: 1.0, ..Faults::default() });
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 20, ..NONE });
    assert_eq!(station.value::<i64>("select count(*) from calls").await, calls);
    assert!(station.findings("cdr_shrank").await.is_empty());
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_with_fewer_rows_is_a_finding_and_removes_nothing() {
    let mut station = Station::new(20).await;
    station.backfill().await;
    let calls: i64 = station.value("select count(*) from calls").await;
    station.set_faults(Faults { cdr_missing: 0.5, ..Faults::default() });
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 20, ..NONE });
    assert_eq!(station.value::<i64>("select count(*) from calls").await, calls);
    assert_eq!(station.findings("cdr_shrank").await.len(), 3);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_one_reading_lacks_come_with_another() {
    let mut station = Station::new(30).await;
    station.set_faults(Faults { cdr_missing: 0.5, ..Faults::default() });
    station.cdr_is_whole = false;
    let first = station.backfill().await.total.archived;
    assert!(first < 30);
    station.check().await;
    station.set_faults(Faults::default());
    station.cdr_is_whole = true;
    assert_eq!(
        counts(&station.backfill().await),
        Counts { archived: 30 - first, already_archived: first, ..NONE }
    );
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cdr_that_ends_after_so_many_rows_gives_those() {
    let mut station = Station::new(30).await;
    station.set_faults(Faults { cdr_row_cap: 4, ..Faults::default() });
    station.cdr_is_whole = false;
    let report = station.backfill().await;
    assert_eq!(report.pbx["hq"].sweep.rows, 12);
    assert_eq!(report.exit_code(false), 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_rows_are_findings_with_their_line_and_the_others_are_taken() {
    let mut station = Station::new(40).await;
    station.set_faults(Faults { cdr_broken: 0.2, ..Faults::default() });
    station.cdr_is_whole = false;
    let report = station.backfill().await;
    let bad = report.pbx["hq"].sweep.bad_rows;
    assert!(bad > 0, "{report:?}");
    let findings = station.findings("bad_row").await;
    assert_eq!(u64::try_from(findings.len()).unwrap(), bad);
    for (subject, _) in &findings {
        let (of, line) = subject.rsplit_once(" line ").unwrap();
        assert!(of.starts_with("the CDR of 2024-03-1"), "{subject}");
        assert!(line.parse::<u64>().unwrap() > 1, "{subject}");
    }
    station.check().await;
    station.set_faults(Faults::default());
    station.cdr_is_whole = true;
    assert_eq!(station.backfill().await.exit_code(false), 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_takes_the_pbx_too_long_is_read_in_parts() {
    let mut station = Station::new(20).await;
    station.set_faults(Faults { cdr_504: 0.3, ..Faults::default() });
    let report = station.backfill().await;
    assert!(station.pbx.counters().faults["cdr_504"] > 0);
    assert!(station.pbx.counters().cdr_downloads > 3, "a day was read in parts");
    assert_eq!(report.pbx["hq"].sweep.days_unread, 0);
    assert_eq!(counts(&report), Counts { archived: 20, ..NONE }, "{report:?}");
    assert!(station.findings("cdr_shrank").await.is_empty());
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cdr_that_cannot_be_read_is_told_and_read_by_the_next_backfill() {
    let mut station = Station::new(3).await;
    station.days.0 = station.days.1;
    station.set_faults(Faults { errno_30001: 1.0, ..Faults::default() });
    station.section().limits.outage_patience = std::time::Duration::ZERO;
    assert_eq!(station.backfill().await.exit_code(false), 4);
    station.set_faults(Faults::default());
    let report = station.backfill().await;
    assert_eq!((report.total.archived, report.exit_code(false)), (1, 0));
    station.check().await;
}

/// The end of the connection is all that ends a CDR: one that was lost within the last row must not make another row of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cdr_that_is_cut_off_anywhere_in_its_last_row_tells_nothing_that_is_not_so() {
    for serial_number in [None, Some(String::new())] {
        let mut station = Station::new(12).await;
        station.set_faults(Faults { cdr_cut: 0.5, serial_number, ..Faults::default() });
        let was_cut = |station: &Station| station.pbx.counters().faults.contains_key("cdr_cut");
        while station.backfill().await.pbx["hq"].sweep.days_unread > 0 || !was_cut(&station) {}
        let rows = i64::try_from(station.pbx.world(|world| world.all_rows()).len()).unwrap();
        assert_eq!(station.value::<i64>("select count(*) from calls").await, rows);
        assert!(station.findings("cdr_shrank").await.is_empty());
        let recordings = counts(&station.backfill().await);
        assert_eq!(recordings.archived + recordings.already_archived, 12);
        station.check().await;
    }
}

/// What does not tell by itself that it is whole is believed when it comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_never_ends_its_last_line_is_believed() {
    for (serial_number, asked) in [(None, 1), (Some(String::new()), 2)] {
        let mut station = Station::of(SimulatorOptions { cdr_unended: true, ..small(0) }).await;
        station.set_faults(Faults { serial_number, ..Faults::default() });
        station.add_call("only.wav", 0);
        let report = station.backfill().await;
        assert_eq!(counts(&report), Counts { archived: 1, ..NONE }, "{report:?}");
        assert_eq!(report.pbx["hq"].sweep.days_unread, 0);
        assert_eq!(station.pbx.counters().cdr_downloads, asked);
        station.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_other_line_ends_and_quotes_change_nothing() {
    let options =
        SimulatorOptions { cdr_bom: true, cdr_crlf: true, cdr_quotes: true, odd_names: 27, ..small(20) };
    let mut station = Station::of(options).await;
    let report = station.backfill().await;
    assert_eq!(report.pbx["hq"].sweep.bad_rows, 0);
    assert_eq!(report.total.archived, i64::try_from(station.pbx.truth().len()).unwrap());
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_offset_that_the_cdr_shows_is_remembered() {
    let mut station = Station::new(3).await;
    station.backfill().await;
    assert_eq!(station.value::<i64>("select utc_offset_s from pbx").await, 3600);
    station.check().await;
}

/// At 03:00 the clock goes back to 02:00: local times come twice, and the callid tells which is which.
#[tokio::test(flavor = "multi_thread")]
async fn calls_on_the_day_of_the_fold_are_placed_at_their_true_times() {
    let today = Some(date(2023, 10, 29));
    let mut station = Station::of(SimulatorOptions { today, days: 1, ..small(200) }).await;
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: 200, ..NONE });
    let offsets: i64 = station.value("select count(distinct utc_offset_s) from calls").await;
    assert_eq!(offsets, 2, "both sides of the fold");
    for row in station.pbx.world(|world| world.all_rows()) {
        let epoch: i64 = row.callid.split_once('.').unwrap().0.parse().unwrap();
        if row.call_type != "Transfer" {
            assert_eq!(epoch, row.start.as_second());
        }
    }
    let misplaced: i64 = station
        .value(
            "select count(*) from calls where json_extract(row, '$.type') <> 'Transfer'
             and started_at_ms <> 1000 * cast(json_extract(row, '$.callid') as integer)",
        )
        .await;
    assert_eq!(misplaced, 0);
    station.check().await;
}

/// How many days have settled.
pub(super) const SETTLED: &str = "select count(*) from days where state = 'settled'";

/// Three days that have settled, and a call that appears on the last of them.
pub(super) async fn settled_before_a_late_call() -> Station {
    let mut station = Station::new(6).await;
    station.backfill().await;
    station.backfill().await;
    assert_eq!(station.value::<i64>(SETTLED).await, 3);
    station.add_call("late.wav", 0);
    station
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_appears_late_is_archived_and_reopens_its_day() {
    let mut station = settled_before_a_late_call().await;
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, already_archived: 6, ..NONE });
    assert_eq!(station.value::<i64>(SETTLED).await, 2);
    station.check().await;
    station.backfill().await;
    station.backfill().await;
    assert_eq!(station.value::<i64>(SETTLED).await, 3);
    assert_eq!(station.value::<i64>("select revision from days where day = '2024-03-14'").await, 2);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duration_that_is_rewritten_is_a_version_of_its_call() {
    let mut station = Station::with_call("grows.wav").await;
    station.backfill().await;
    station.pbx.world(|world| {
        world.rewrite(b"grows.wav", |row| {
            row.call_duration_s += 60;
            true
        });
    });
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 1, ..NONE });
    assert_eq!(station.value::<i64>("select count(*) from calls").await, 1);
    assert_eq!(station.value::<i64>("select count(*) from call_versions").await, 1);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_days_asked_for_are_swept_counted_and_archived() {
    let mut station = Station::new(30).await;
    let (first, last) = station.days;
    station.days = (last, last);
    let report = station.backfill().await;
    assert_eq!((report.total.listed(), report.exit_code(false)), (10, 0));
    station.check().await;
    station.days = (first, last);
    assert_eq!(counts(&station.backfill().await), Counts { archived: 20, already_archived: 10, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_without_a_call_is_complete() {
    let mut station = Station::new(0).await;
    let report = station.backfill().await;
    assert_eq!((report.total.listed(), report.exit_code(false)), (0, 0));
    station.check().await;
}

/// 180 days is the device's own default retention.
#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_without_dates_covers_the_last_180_days() {
    let today = callvault::base::clock::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let mut station = Station::of(SimulatorOptions { now: None, ..small(0) }).await;
    station.days = (today.checked_sub(179.days()).unwrap(), today);
    for (name, days_ago) in [("yesterday.wav", 1), ("oldest.wav", 179), ("too-old.wav", 190)] {
        let mut call = station.call(name, 0);
        call.start = noon(today.checked_sub(days_ago.days()).unwrap());
        call.callid = format!("{}.1", call.start.as_second());
        station.pbx.world(|world| world.add_call(call));
    }
    let report = station.run(Request::default(), Default::default()).await.unwrap();
    assert_eq!(counts(&report), Counts { archived: 2, ..NONE }, "{report:?}");
    station.check().await;
}

/// More seconds than the database can hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_talk_time_beyond_all_bounds_stops_neither_its_day_nor_the_sweep() {
    let mut station = Station::new(9).await;
    let file = station.export("cdr.csv", |table| {
        let first = table.iter().skip(1).position(|row| !row[11].is_empty()).unwrap() + 1;
        table[first][5] = u64::MAX.to_string().into_bytes();
    });
    let report = station.backfill_files(&[file]).await;
    assert_eq!(counts(&report), Counts { archived: 9, ..NONE }, "{report:?}");
    assert_eq!((report.exit_code(false), report.pbx["hq"].sweep.bad_rows), (0, 0));
    let told: i64 = station
        .value("select count(*) from calls where talk_s is null and row like '%18446744073709551615%'")
        .await;
    assert_eq!(told, 1, "what the PBX said is kept, and is no talk time");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_zone_that_was_corrected_closes_what_it_was_found_with() {
    let open = "select count(*) from findings where kind = 'offset_disagrees' and closed_at_ms is null";
    let mut station = Station::new(6).await;
    station.section().timezone = Some(jiff::tz::TimeZone::get("Asia/Tokyo").unwrap());
    station.backfill().await;
    assert_eq!(station.value::<i64>(open).await, 3, "one for each day");
    station.section().timezone = Some(jiff::tz::TimeZone::get("Europe/Berlin").unwrap());
    station.backfill().await;
    assert_eq!(station.value::<i64>(open).await, 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_does_not_show_the_offset_says_nothing_about_the_time_zone() {
    let open = "select count(*) from findings where kind = 'offset_disagrees' and closed_at_ms is null";
    let mut station = Station::with_call("telling.wav").await;
    station.section().timezone = Some(jiff::tz::TimeZone::get("Asia/Tokyo").unwrap());
    station.backfill().await;
    assert_eq!(station.value::<i64>(open).await, 1);
    station.pbx.world(|world| world.remove_rows(b"telling.wav"));
    let mut call = station.call("silent.wav", 3);
    call.callid = "no time".into();
    station.pbx.world(|world| world.add_call(call));
    station.backfill().await;
    assert_eq!(station.value::<i64>(open).await, 1);
}
