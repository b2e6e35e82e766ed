use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

type Row = (Option<i64>, Option<DateTime>);

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn epoch(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second()
}

/// A row of a call at `utc` on a device in `zone`.
fn call(utc: &str, zone: &TimeZone) -> Row {
    leg(utc, 0, zone)
}

/// A row that starts `later_s` after the call at `utc`.
fn leg(utc: &str, later_s: i64, zone: &TimeZone) -> Row {
    let at = Timestamp::from_second(epoch(utc) + later_s).unwrap();
    (Some(epoch(utc)), Some(at.to_zoned(zone.clone()).datetime()))
}

fn resolve(zone: Option<&TimeZone>, learnt: Option<i32>, page: &[Row]) -> Vec<(String, i32, OffsetSource)> {
    let mut resolver = OffsetResolver::new(zone.cloned(), learnt);
    let resolved = resolver.resolve(page);
    resolved
        .iter()
        .map(|row| (row.at.map(|at| at.to_string()).unwrap_or_default(), row.utc_offset_s, row.source))
        .collect()
}

#[test]
fn local_times_are_read_as_exports_write_them() {
    for (text, wanted) in [
        ("2024-03-01 12:05:02", "2024-03-01T12:05:02"),
        (" 2024/03/01  9:05:02.125 ", "2024-03-01T09:05:02"),
        ("2024-3-1T09:05:02", "2024-03-01T09:05:02"),
        ("2024-02-29 00:00:00", "2024-02-29T00:00:00"),
    ] {
        assert_eq!(parse_local(text).unwrap().to_string(), wanted, "{text}");
    }
    for text in [
        "",
        "2024-03-01",
        "2024-02-30 00:00:00",
        "24-03-01 00:00:00",
        "2024-03-01 24:00:00",
        "2024-03-01 12:05",
        "2024-03-01 12:05:02 PM",
        "2024-03-01 12:05:02.",
        "2024-03/01 12:05:02",
        "+024-03-01 12:05:02",
        "2024-03-01 999:05:02",
        "2024-03-01 12:05:60",
        "2024-03-01-01 12:05:02",
    ] {
        assert_eq!(parse_local(text), None, "{text}");
    }
}

#[test]
fn the_devices_time_comes_with_its_offset_if_it_says_one() {
    for (zone, wanted) in [
        ("UTC+1", Some(3600)),
        ("UTC+05:30", Some(19800)),
        ("UTC-8", Some(-28800)),
        ("UTC", Some(0)),
        ("GMT-0330", Some(-12600)),
        ("UTC+15", None),
        ("UTC+", None),
        ("UTC1:99", None),
        ("CST", None),
        ("", None),
    ] {
        let (local, offset) = parse_systemtime(&format!("2024-03-01 12:00:00 {zone}")).unwrap();
        assert_eq!((local.to_string().as_str(), offset), ("2024-03-01T12:00:00", wanted), "{zone}");
    }
    assert_eq!(parse_systemtime("UTC+1"), None);
}

#[test]
fn the_hour_shown_twice_is_told_apart_by_the_calls_ids() {
    for (name, utc) in [
        (
            "Europe/Berlin",
            ["2024-10-27T00:10:00Z", "2024-10-27T00:40:00Z", "2024-10-27T01:10:00Z", "2024-10-27T01:40:00Z"],
        ),
        (
            "Australia/Sydney",
            ["2024-04-06T15:10:00Z", "2024-04-06T15:40:00Z", "2024-04-06T16:10:00Z", "2024-04-06T16:40:00Z"],
        ),
    ] {
        let zone = zone(name);
        let page: Vec<Row> = utc.iter().map(|utc| call(utc, &zone)).collect();
        for known in [None, Some(&zone)] {
            for (row, utc) in resolve(known, None, &page).iter().zip(utc) {
                assert_eq!((row.0.as_str(), row.2), (utc, OffsetSource::Callid), "{name}");
            }
        }
        let offsets: Vec<_> = resolve(None, None, &page).iter().map(|row| row.1).collect();
        assert_eq!(offsets[0] - offsets[2], 3600);
    }
}

#[test]
fn the_hour_left_out_moves_the_offset_between_two_calls() {
    for (name, utc) in [
        (
            "Europe/Berlin",
            ["2024-03-31T00:30:00Z", "2024-03-31T00:59:59Z", "2024-03-31T01:00:00Z", "2024-03-31T01:30:00Z"],
        ),
        (
            "Australia/Sydney",
            ["2024-10-05T15:30:00Z", "2024-10-05T15:59:59Z", "2024-10-05T16:00:00Z", "2024-10-05T16:30:00Z"],
        ),
    ] {
        let zone = zone(name);
        let page: Vec<Row> = utc.iter().map(|utc| call(utc, &zone)).collect();
        for (row, utc) in resolve(None, None, &page).iter().zip(utc) {
            assert_eq!((row.0.as_str(), row.2), (utc, OffsetSource::Callid), "{name}");
        }
    }
}

#[test]
fn an_offset_of_a_quarter_of_an_hour_is_found() {
    let kathmandu = zone("Asia/Kathmandu");
    let page = [call("2024-03-01T04:00:00Z", &kathmandu), (None, parse_local("2024-03-01 09:46:00"))];
    let rows = resolve(None, None, &page);
    assert_eq!(rows[0], ("2024-03-01T04:00:00Z".to_owned(), 20_700, OffsetSource::Callid));
    assert_eq!(rows[1], ("2024-03-01T04:01:00Z".to_owned(), 20_700, OffsetSource::Neighbour));
}

#[test]
fn a_transfer_leg_that_hits_a_multiple_by_chance_deceives_nobody() {
    let berlin = zone("Europe/Berlin");
    for later_s in [900, 3600, 7200] {
        let after = Timestamp::from_second(epoch("2024-06-01T10:00:00Z") + later_s).unwrap().to_string();
        let transfer = leg("2024-06-01T10:00:00Z", later_s, &berlin);
        let with_its_call = [transfer, call("2024-06-01T10:00:00Z", &berlin)];
        assert_eq!(resolve(None, None, &with_its_call)[0], (after.clone(), 7200, OffsetSource::Callid));

        let between =
            [call("2024-06-01T09:00:00Z", &berlin), transfer, call("2024-06-01T11:00:00Z", &berlin)];
        assert_eq!(resolve(None, None, &between)[1], (after.clone(), 7200, OffsetSource::Neighbour));
        let beside_one = [transfer, call("2024-06-01T11:00:00Z", &berlin)];
        assert_eq!(resolve(None, None, &beside_one)[0], (after.clone(), 7200, OffsetSource::Neighbour));

        assert_eq!(resolve(None, Some(7200), &[transfer])[0], (after.clone(), 7200, OffsetSource::Learnt));
        assert_eq!(resolve(Some(&berlin), None, &[transfer])[0], (after, 7200, OffsetSource::Zone));
    }
}

#[test]
fn a_leg_on_the_other_side_of_a_clock_change_is_placed_after_its_call() {
    let berlin = zone("Europe/Berlin");
    // The call begins at 02:50 summer time; 30 minutes later it is 02:20 winter time.
    let fold = [
        call("2024-10-27T00:20:00Z", &berlin),
        call("2024-10-27T00:50:00Z", &berlin),
        leg("2024-10-27T00:50:00Z", 1800, &berlin),
        call("2024-10-27T01:30:00Z", &berlin),
        call("2024-10-27T01:45:00Z", &berlin),
    ];
    for known in [None, Some(&berlin)] {
        let rows = resolve(known, None, &fold);
        assert_eq!((rows[2].0.as_str(), rows[2].1), ("2024-10-27T01:20:00Z", 3600));
        assert_eq!((rows[1].0.as_str(), rows[1].1), ("2024-10-27T00:50:00Z", 7200));
    }
    let gap = [call("2024-03-31T00:50:00Z", &berlin), leg("2024-03-31T00:50:00Z", 1234, &berlin)];
    assert_eq!(resolve(Some(&berlin), None, &gap)[1].0, "2024-03-31T01:10:34Z");
}

#[test]
fn a_device_whose_clock_runs_in_utc_is_believed_against_the_zone() {
    let shanghai = zone("Asia/Shanghai");
    let one = [call("2024-06-01T10:00:00Z", &TimeZone::UTC)];
    let mut resolver = OffsetResolver::new(Some(shanghai), None);
    let row = resolver.resolve(&one)[0];
    assert_eq!((row.utc_offset_s, row.source, row.zone_offset_s), (0, OffsetSource::Callid, Some(28_800)));
    assert_eq!(resolver.learnt(), Some(0));
}

#[test]
fn a_device_further_east_than_the_zone_is_believed_once_two_calls_agree() {
    let (berlin, shanghai) = (zone("Europe/Berlin"), zone("Asia/Shanghai"));
    let mut resolver = OffsetResolver::new(Some(berlin), None);
    let lone = resolver.resolve(&[call("2024-06-01T10:00:00Z", &shanghai)])[0];
    assert_eq!((lone.utc_offset_s, lone.source), (7200, OffsetSource::Zone));
    let second = resolver.resolve(&[call("2024-06-01T11:00:00Z", &shanghai)])[0];
    assert_eq!(
        (second.utc_offset_s, second.source, second.zone_offset_s),
        (28_800, OffsetSource::Callid, Some(7200))
    );
}

#[test]
fn the_same_lone_call_read_again_does_not_agree_with_itself() {
    let berlin = zone("Europe/Berlin");
    let transfer = leg("2024-06-01T10:00:00Z", 900, &berlin);
    let mut resolver = OffsetResolver::new(None, Some(7200));
    for _ in 0..3 {
        assert_eq!(resolver.resolve(&[transfer])[0].source, OffsetSource::Learnt);
    }
}

#[test]
fn a_row_without_an_offset_of_its_own_takes_the_best_there_is() {
    let berlin = zone("Europe/Berlin");
    let noon = (None, parse_local("2024-06-01 12:00:00"));
    assert_eq!(
        resolve(None, None, &[noon])[0],
        ("2024-06-01T12:00:00Z".to_owned(), 0, OffsetSource::Assumed)
    );
    assert_eq!(
        resolve(Some(&berlin), None, &[noon])[0],
        ("2024-06-01T10:00:00Z".to_owned(), 7200, OffsetSource::Zone)
    );
    assert_eq!(
        resolve(Some(&berlin), Some(3600), &[noon])[0],
        ("2024-06-01T11:00:00Z".to_owned(), 3600, OffsetSource::Learnt)
    );
    let page = [
        noon,
        call("2024-06-01T10:30:00Z", &berlin),
        (Some(epoch("2024-06-01T10:30:07Z")), None),
        (None, None),
    ];
    let rows = resolve(None, None, &page);
    assert_eq!(rows[0], ("2024-06-01T10:00:00Z".to_owned(), 7200, OffsetSource::Neighbour));
    assert_eq!(rows[2], ("2024-06-01T10:30:07Z".to_owned(), 7200, OffsetSource::Neighbour));
    assert_eq!(rows[3].0, "");
}

#[test]
fn the_zone_alone_reads_the_hour_shown_twice_by_the_calls_epoch_or_as_the_first() {
    let berlin = zone("Europe/Berlin");
    let local = parse_local("2024-10-27 02:30:00");
    assert_eq!(resolve(Some(&berlin), None, &[(None, local)])[0].0, "2024-10-27T00:30:00Z");
    assert_eq!(
        resolve(Some(&berlin), None, &[(Some(epoch("2024-10-27T01:29:01Z")), local)])[0].0,
        "2024-10-27T01:30:00Z"
    );
    assert_eq!(
        resolve(Some(&berlin), None, &[(Some(epoch("2024-10-27T00:29:01Z")), local)])[0].0,
        "2024-10-27T00:30:00Z"
    );
    let gap = parse_local("2024-03-31 02:30:00");
    assert_eq!(resolve(Some(&berlin), None, &[(None, gap)])[0].0, "2024-03-31T01:30:00Z");
}

proptest! {
    #[test]
    fn any_calls_of_one_zone_are_placed_exactly(starts in prop::collection::vec(1_700_000_000_i64..1_760_000_000, 2..40), configured: bool) {
        let sydney = zone("Australia/Sydney");
        let page: Vec<Row> = starts.iter().map(|&start| {
            (Some(start), Some(Timestamp::from_second(start).unwrap().to_zoned(sydney.clone()).datetime()))
        }).collect();
        let mut resolver = OffsetResolver::new(configured.then_some(sydney), None);
        for (row, start) in resolver.resolve(&page).iter().zip(starts) {
            // Without a zone, a lone call between two clock changes has nobody who agrees with it.
            if configured {
                prop_assert_eq!(row.at.unwrap().as_second(), start);
            }
            prop_assert!((row.at.unwrap().as_second() - start).abs() <= 3600);
        }
    }

    #[test]
    fn any_numbers_are_answered(page in prop::collection::vec((any::<Option<i64>>(), any::<Option<(i16, u8, u8)>>()), 0..20), learnt: Option<i32>) {
        let page: Vec<Row> = page.into_iter().map(|(epoch, date)| {
            (epoch, date.and_then(|(year, month, day)| jiff::civil::DateTime::new(year, month as i8, day as i8, 3, 0, 0, 0).ok()))
        }).collect();
        prop_assert_eq!(OffsetResolver::new(None, learnt).resolve(&page).len(), page.len());
    }
}
