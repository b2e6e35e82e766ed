//! A device that lives: calls appear when they end, under the clock that it shows then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use callvault::base::digest::Digest;
use callvault::simulator::{Faults, Growing, SimAudio, SimCall, Simulator, SimulatorOptions};
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::wire::{Client, get, read_wav, start};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn local(date: Date, hour: i8) -> Timestamp {
    date.at(hour, 0, 0, 0).in_tz("Europe/Berlin").unwrap().timestamp()
}

/// A month that begins, with calls at all hours.
async fn month(last: Date, recordings: u64, change: impl FnOnce(&mut SimulatorOptions)) -> Simulator {
    start(|options| {
        options.live = true;
        options.round_the_clock = true;
        options.days = 31;
        options.recordings = recordings;
        options.today = Some(last);
        options.now = Some(local(last.checked_sub(30.days()).unwrap(), 0));
        change(options);
    })
    .await
}

/// A device on which one call of ten minutes is going on since noon.
async fn talking(change: impl FnOnce(&mut SimulatorOptions)) -> (Simulator, Client, SimAudio) {
    let noon = local(date(2024, 3, 14), 12);
    let simulator = start(|options| {
        (options.live, options.recordings, options.now) = (true, 0, Some(noon));
        change(options);
    })
    .await;
    let audio = SimAudio::pcm(40_000, 7);
    let call = SimCall { call_duration_s: 600, ..SimCall::recorded(noon, 1, *b"talk.wav", audio.clone()) };
    simulator.world(|world| world.add_call(call));
    let client = Client::new(&simulator, "v1.1.0");
    (simulator, client, audio)
}

fn whole_cdr(simulator: &Simulator) -> Vec<csv::StringRecord> {
    let csv = Client::new(simulator, "v1.1.0").cdr("2000-01-01 00:00:00", "2040-01-01 00:00:00");
    if csv.body.starts_with(b"{") {
        assert_eq!(csv.errno(), "20021");
        return Vec::new();
    }
    csv::Reader::from_reader(&csv.body[..]).records().map(Result::unwrap).collect()
}

fn names(rows: &[csv::StringRecord]) -> BTreeSet<Vec<u8>> {
    rows.iter().map(|row| row[11].as_bytes().to_vec()).filter(|name| !name.is_empty()).collect()
}

/// `timestart` of a row minus the epoch in its `callid`: the offset at which the device stamped it.
fn offset_s(row: &csv::StringRecord) -> i64 {
    let local: jiff::civil::DateTime = row[1].parse().unwrap();
    let epoch: i64 = row[0].split('.').next().unwrap().parse().unwrap();
    local.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second() - epoch
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_listed_when_it_ends_under_the_time_when_it_began() {
    let (simulator, client, audio) = talking(|_| {}).await;
    simulator.advance(9 * MINUTE);
    assert!(whole_cdr(&simulator).is_empty());
    assert_eq!(client.ticket(b"talk.wav").errno(), "20014");
    simulator.advance(MINUTE);
    let rows = whole_cdr(&simulator);
    assert_eq!((rows.len(), &rows[0][1]), (1, "2024-03-14 12:00:00"));
    simulator.advance(Duration::from_secs(5));
    assert_eq!(Digest::of(client.download(b"talk.wav").body), audio.sha256());
}

#[tokio::test(flavor = "multi_thread")]
async fn right_after_its_call_a_recording_is_not_whole_in_the_way_chosen() {
    for growing_as in
        [Growing::Header, Growing::Nothing, Growing::Half, Growing::HalfUnsized, Growing::Absent]
    {
        let (simulator, client, audio) = talking(|options| options.ready_after = 10 * MINUTE).await;
        simulator.set_faults(Faults { growing_as, ..Faults::default() });
        simulator.advance(10 * MINUTE);
        assert_eq!(names(&whole_cdr(&simulator)).len(), 1);
        let (reply, whole) = (client.download(b"talk.wav"), audio.to_vec());
        let declared = |at: usize| u32::from_le_bytes(reply.body[at..at + 4].try_into().unwrap());
        let half = &whole[44..20_026];
        match growing_as {
            Growing::Header => assert_eq!(read_wav(&reply.body).data_bytes, 0),
            Growing::Nothing => assert!(reply.body.is_empty()),
            Growing::Half => assert_eq!(reply.body, whole[..20_026]),
            Growing::HalfUnsized => {
                assert_eq!((declared(4), declared(40), &reply.body[44..]), (0, 0, half));
            }
            Growing::Absent => assert_eq!(client.ticket(b"talk.wav").errno(), "20014"),
        }
        assert_eq!(simulator.counters().downloads_ok, 0);
        simulator.advance(10 * MINUTE);
        assert!(client.download(b"talk.wav").body == whole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_downloads_of_any_recording_can_be_half_of_it() {
    let simulator = start(|_| {}).await;
    let truth = simulator.truth()[0].clone();
    let client = Client::new(&simulator, "v1.1.0");
    simulator.set_faults(Faults { growing_asks: 1, growing_as: Growing::Half, ..Faults::default() });
    let sizes: Vec<u64> = (0..2).map(|_| client.download(&truth.name).body.len() as u64).collect();
    assert!(sizes[0] > 60 && sizes[0] < truth.size_bytes, "{sizes:?}");
    assert_eq!(sizes[1], truth.size_bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_calls_appears_day_by_day_and_at_night_too() {
    let simulator = month(date(2024, 5, 31), 400, |_| {}).await;
    let mut known = BTreeSet::new();
    let mut hours = BTreeMap::<i8, u32>::new();
    for day in 1..=32 {
        simulator.advance(DAY);
        let rows = whole_cdr(&simulator);
        let listed = names(&rows);
        assert!(listed.is_superset(&known), "what was listed stays listed");
        // The last calls of a day end after it.
        assert!(listed.len() <= 400 * day / 31 + 1, "day {day}: {}", listed.len());
        assert!(listed.len() + 3 >= (400 * day / 31).min(400), "day {day}: {}", listed.len());
        known = listed;
        if day == 32 {
            for row in rows {
                let time: jiff::civil::DateTime = row[1].parse().unwrap();
                *hours.entry(time.hour()).or_default() += 1;
            }
        }
    }
    assert_eq!(hours.len(), 24, "{hours:?}");
    let truth: BTreeMap<_, _> =
        simulator.truth().into_iter().map(|truth| (truth.name, truth.sha256)).collect();
    let listed: BTreeMap<_, _> =
        simulator.ever_listed().into_iter().map(|listed| (listed.name, listed.sha256.unwrap())).collect();
    assert_eq!((truth.len(), &truth), (400, &listed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_world_ends_as_the_same_world_without_life() {
    let options = |options: &mut SimulatorOptions| {
        options.round_the_clock = true;
        options.days = 31;
        options.recordings = 100;
        options.today = Some(date(2024, 5, 31));
    };
    let lifeless = start(options).await;
    let live = month(date(2024, 5, 31), 100, |_| {}).await;
    live.advance(40 * DAY);
    // Two legs that start at once may come in either order.
    let rows = |simulator: &Simulator| {
        let rows = simulator.world(|world| world.all_rows());
        rows.iter().map(|row| format!("{row:?}")).collect::<BTreeSet<_>>()
    };
    assert!(rows(&live) == rows(&lifeless));
    assert_eq!(live.truth(), lifeless.truth());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_bear_local_time_through_a_fold() {
    let simulator = month(date(2024, 11, 4), 3000, |_| {}).await;
    simulator.advance(32 * DAY);
    let change = local(date(2024, 10, 27), 4).as_second() - 2 * 3600;
    let mut folded = BTreeSet::new();
    for row in whole_cdr(&simulator).iter().filter(|row| &row[9] != "Transfer") {
        let epoch: i64 = row[0].split('.').next().unwrap().parse().unwrap();
        assert_eq!(offset_s(row), if epoch < change { 7200 } else { 3600 }, "{row:?}");
        if row[1].starts_with("2024-10-27 02:") {
            folded.insert(epoch < change);
        }
    }
    assert_eq!(folded.len(), 2, "the hour from 2 to 3 came twice, with calls in both");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_bear_local_time_across_a_gap() {
    let simulator = month(date(2024, 4, 4), 3000, |_| {}).await;
    simulator.advance(32 * DAY);
    let rows = whole_cdr(&simulator);
    let change = local(date(2024, 3, 31), 3).as_second();
    for row in rows.iter().filter(|row| &row[9] != "Transfer") {
        let epoch: i64 = row[0].split('.').next().unwrap().parse().unwrap();
        assert_eq!(offset_s(row), if epoch < change { 3600 } else { 7200 }, "{row:?}");
    }
    let within = |hour: &str| rows.iter().any(|row| row[1].starts_with(hour));
    assert!(within("2024-03-31 01:") && within("2024-03-31 03:") && !within("2024-03-31 02:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn setting_the_clock_stamps_the_calls_after_it_and_ends_none() {
    let simulator = month(date(2024, 5, 31), 310, |_| {}).await;
    simulator.advance_to(local(date(2024, 5, 10), 0));
    let before = names(&whole_cdr(&simulator));
    let a_year_on = simulator.clock() + jiff::SignedDuration::from_hours(365 * 24);
    simulator.set_clock(a_year_on);
    assert!(simulator.clock() >= a_year_on);
    assert_eq!(names(&whole_cdr(&simulator)), before, "no call has ended by that");
    simulator.advance(DAY);
    let during: Vec<_> = whole_cdr(&simulator)
        .into_iter()
        .filter(|row| !row[11].is_empty() && !before.contains(row[11].as_bytes()))
        .collect();
    let stamped = |row: &csv::StringRecord| row[1].starts_with("2025-05-") && row[11].starts_with("2025");
    // One call may have been going on when the clock was set.
    assert!(during.iter().filter(|row| stamped(row)).count() + 1 >= during.len(), "{during:?}");
    assert!(during.len() >= 9 && during.iter().all(|row| offset_s(row) % 3600 == 0 || &row[9] == "Transfer"));
    simulator.set_clock(local(date(2024, 5, 10), 23));
    simulator.advance(30 * DAY);
    let rows = whole_cdr(&simulator);
    assert_eq!(names(&rows).len(), 310, "no call is lost or doubled by a step");
    assert!(rows.iter().filter(|row| row[1].starts_with("2025")).count() >= during.len() - 1);
    let client = Client::new(&simulator, "v1.1.0");
    for truth in simulator.truth().iter().filter(|truth| truth.name.starts_with(b"2025")) {
        assert_eq!(Digest::of(client.download(&truth.name).body), truth.sha256);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_step_ends_neither_token_nor_ticket_unless_so_chosen() {
    for follows in [false, true] {
        let simulator = start(|options| options.timers_follow_clock = follows).await;
        let client = Client::new(&simulator, "v1.1.0");
        let name = simulator.truth()[0].name.clone();
        let random = client.ticket(&name).member("random");
        simulator.set_clock(simulator.clock() + jiff::SignedDuration::from_mins(20));
        let reply = get(client.address, &client.target(&name, &random));
        assert_eq!(reply.body.starts_with(b"RIFF"), !follows);
        simulator.set_clock(simulator.clock() + jiff::SignedDuration::from_hours(9000));
        let errno = client.post("deviceinfo/query", "").errno();
        assert_eq!(errno, if follows { "20006" } else { "" });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_listed_is_remembered_after_it_is_gone_and_what_no_reply_told_is_not() {
    let simulator = start(|options| options.recordings = 40).await;
    let all = simulator.truth();
    assert!(simulator.ever_listed().is_empty());
    let client = Client::new(&simulator, "v1.1.0");
    simulator.set_faults(Faults { cdr_missing: 0.5, cdr_broken: 0.3, ..Faults::default() });
    let csv = client.cdr("2000-01-01 00:00:00", "2040-01-01 00:00:00").text();
    let told = |name: &[u8]| {
        let name = std::str::from_utf8(name).unwrap();
        csv.lines().any(|line| line.split(',').count() == 14 && line.contains(name))
    };
    let listed = simulator.ever_listed();
    assert!(!listed.is_empty() && listed.len() < 40);
    for truth in &all {
        let known = listed.iter().find(|listed| listed.name == truth.name);
        assert_eq!(known.is_some(), told(&truth.name));
        assert!(known.is_none_or(|known| known.sha256 == Some(truth.sha256)));
    }
    simulator.world(|world| {
        for listed in &listed {
            world.delete_audio(&listed.name);
            world.remove_rows(&listed.name);
        }
    });
    assert_eq!(simulator.ever_listed(), listed);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_lives_setting_the_clock_renames_no_call() {
    let simulator = start(|options| options.today = Some(date(2024, 4, 9))).await;
    let before = simulator.truth();
    simulator.set_clock(simulator.clock() - jiff::SignedDuration::from_hours(9000));
    assert_eq!(simulator.truth(), before);
}
