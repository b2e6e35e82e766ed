//! What no list can show: calls that should have been recorded, recording that stopped, days without calls.

use callvault::base::clock::Clock;
use callvault::base::counts::Counts;
use callvault::config::{ExclusionRule, MustRecord};
use callvault::pipeline::backfill::Request;
use callvault::simulator::{SimAudio, SimCall};
use callvault::store::db::Db;
use callvault::watch::coverage::compare_events;
use jiff::ToSpan as _;
use jiff::civil::Date;
use tokio_util::sync::CancellationToken;

use super::reconciling::tamper;
use crate::support::station::{NONE, Station, TODAY, counts, noon};

/// A conversation of twelve seconds with an extension, some minutes after noon of a day; without a recording if that has no
/// name.
fn conversation(day: Date, minute: i64, extension: &str, recording: &str) -> SimCall {
    let start = noon(day) + minute.minutes();
    let audio = SimAudio::pcm(4000, start.as_second().unsigned_abs());
    SimCall {
        callto: extension.to_owned(),
        call_duration_s: 15,
        talk_duration_s: 12,
        audio: (!recording.is_empty()).then_some(audio.clone()),
        ..SimCall::recorded(start, 7000 + minute.unsigned_abs(), recording, audio)
    }
}

fn add(station: &Station, call: SimCall) {
    station.pbx.world(|world| world.add_call(call));
}

fn days_before(days: i64) -> Date {
    TODAY.checked_sub(days.days()).unwrap()
}

/// Reads the days from `first` on, twice, so that they settle; a day and a half later.
async fn read(station: &mut Station, first: Date) {
    let now = noon(TODAY) + 36.hours();
    for _ in 0..2 {
        let request = Request { from: Some(first), to: Some(TODAY), ..Request::default() };
        let run = station.run_by(Clock::showing(now), request, CancellationToken::new(), async |_| {});
        let report = run.await.unwrap();
        let Counts { archived, already_archived, .. } = report.total;
        assert_eq!(counts(&report), Counts { archived, already_archived, ..NONE }, "{report:?}");
    }
}

/// The findings of a kind that were not mended.
async fn open(station: &Station, kind: &str) -> Vec<(String, String)> {
    let open =
        "select subject, detail from findings where kind = ? and closed_at_ms is null order by subject";
    sqlx::query_as(open).bind(kind).fetch_all(&station.database().await).await.unwrap()
}

async fn finds_nothing(station: &Station) {
    for kind in ["must_record", "recording_stopped", "silent_day", "calls_stopped"] {
        assert_eq!(open(station, kind).await, [], "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_must_be_recorded_and_are_not_are_told_by_day_and_leave_it_complete() {
    let mut station = Station::new(0).await;
    add(&station, conversation(TODAY, 0, "1003", "a.wav"));
    // A blind transfer: its first leg is never recorded.
    let second = conversation(TODAY, 1, "1004", "b.wav");
    add(&station, SimCall { callto: "6200(1003)".into(), recording: vec![], audio: None, ..second.clone() });
    add(&station, SimCall { start: second.start + 20.seconds(), call_type: "Transfer".into(), ..second });
    // Too short, and of nobody who must be recorded.
    add(&station, SimCall { talk_duration_s: 9, ..conversation(TODAY, 3, "1003", "") });
    add(&station, conversation(TODAY, 4, "1005", ""));
    read(&mut station, TODAY).await;
    finds_nothing(&station).await;

    let rule = MustRecord {
        conditions: ExclusionRule { extension: vec!["1003".into()], ..ExclusionRule::default() },
        min_talk_s: 10,
        reason: Some("trading desk".into()),
    };
    station.config.must_record = vec![rule];
    read(&mut station, TODAY).await;
    finds_nothing(&station).await;

    let missed: Vec<SimCall> = (10..17).map(|minute| conversation(TODAY, minute, "6200(1003)", "")).collect();
    missed.iter().for_each(|call| add(&station, call.clone()));
    read(&mut station, TODAY).await;
    let ids: Vec<&str> = missed.iter().take(5).map(|call| call.callid.as_str()).collect();
    let detail = format!(
        "7 answered calls that [[must_record]] names have no recording (trading desk): {}, and 2 more",
        ids.join(", ")
    );
    assert_eq!(open(&station, "must_record").await, [(TODAY.to_string(), detail)]);
    let certified = "select complete from certificates order by revision desc limit 1";
    assert_eq!(station.value::<i64>(certified).await, 1, "it stands beside the verdict");

    // Noted by a person, it comes back only if there are more of them.
    tamper(&station, "update findings set closed_at_ms = 1").await;
    read(&mut station, TODAY).await;
    finds_nothing(&station).await;
    add(&station, conversation(TODAY, 20, "1003", ""));
    read(&mut station, TODAY).await;
    assert!(open(&station, "must_record").await[0].1.starts_with("8 answered calls"));
    station.config.must_record.clear();
    read(&mut station, TODAY).await;
    finds_nothing(&station).await;
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recording_that_stops_is_told_and_is_over_with_the_next_recording() {
    let mut station = Station::new(0).await;
    let first = days_before(5);
    for days in 1..=5 {
        for minute in 0..10 {
            let name = format!("{days}-{minute}.wav");
            add(&station, conversation(days_before(days), minute, "1003", &name));
            add(&station, conversation(days_before(days), 30 + minute, "1004", ""));
        }
    }
    // Those of 1004 are never recorded: however many there are, that is no news.
    (0..30).for_each(|minute| add(&station, conversation(TODAY, minute, "1004", "")));
    (30..40).for_each(|minute| add(&station, conversation(TODAY, minute, "1003", "")));
    read(&mut station, first).await;
    finds_nothing(&station).await;

    (40..50).for_each(|minute| add(&station, conversation(TODAY, minute, "1003", "")));
    read(&mut station, first).await;
    let found = open(&station, "recording_stopped").await;
    let since =
        "since 2024-03-14 12:30 by the PBX's clock no answered one has a recording; before, most had one";
    assert_eq!(found, [("all calls".to_owned(), since.to_owned())]);

    add(&station, conversation(TODAY, 60, "1003", "again.wav"));
    read(&mut station, first).await;
    finds_nothing(&station).await;
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_without_calls_is_told_where_such_days_have_some_and_is_over_when_they_turn_up() {
    let mut station = Station::new(0).await;
    let first = days_before(58);
    let unanswered = |day: Date, minute: i64| SimCall {
        status: "NO ANSWER".into(),
        talk_duration_s: 0,
        ..conversation(day, minute, "1003", "")
    };
    let call_on = |day: Date| {
        (0..6).for_each(|minute| add(&station, unanswered(day, minute)));
    };
    (0..=58).filter(|days| *days != 2).for_each(|days| call_on(days_before(days)));
    read(&mut station, first).await;
    let detail = "the PBX listed no call on this Tuesday; such a day usually has about 6 rows";
    assert_eq!(open(&station, "silent_day").await, [("2024-03-12".to_owned(), detail.to_owned())]);

    (0..6).for_each(|minute| add(&station, unanswered(days_before(2), minute)));
    read(&mut station, first).await;
    finds_nothing(&station).await;
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_an_event_told_of_and_the_cdr_does_not_list_is_a_finding_until_it_does() {
    let mut station = Station::new(0).await;
    let (listed, late) = (conversation(TODAY, 0, "1003", "a.wav"), conversation(TODAY, 1, "1003", "b.wav"));
    add(&station, listed.clone());
    read(&mut station, TODAY).await;
    // A PBX that lost its clock is no witness, and neither is what has not the form of a call's id.
    let told = [&*listed.callid, &*late.callid, "946684800.1", "5550142"].map(str::to_owned);
    let now = noon(TODAY) + 36.hours();
    let path = station.config.state.path.clone();
    let compare = async |told: &[String]| {
        let db = Db::open(&path).await.unwrap();
        compare_events(&db, "hq", told, now).await.unwrap();
    };
    compare(&told).await;
    let detail = "an event reported this call of 2024-03-14 11:01 UTC, but the CDR still does not list it an hour later";
    assert_eq!(open(&station, "event_without_row").await, [(late.callid.clone(), detail.to_owned())]);

    add(&station, late);
    read(&mut station, TODAY).await;
    compare(&[]).await;
    assert_eq!(open(&station, "event_without_row").await, []);
    station.check().await;
}
