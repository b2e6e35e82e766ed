//! One bad thing among many: it costs itself, and nothing else.

use std::time::{Duration, Instant};

use callvault::base::clock::Clock;
use callvault::base::counts::Counts;
use callvault::pipeline::backfill::{BackfillReport, Request};
use callvault::simulator::{About, Faults, Poison, PoisonedStage, SimulatorOptions, Wrong};
use jiff::ToSpan as _;
use tokio_util::sync::CancellationToken;

use crate::support::station::voicemail::message_counts;
use crate::support::station::{NONE, PBX, Station, counts, small};

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
            (counts(&report), report.exit_code(false)),
            (Counts { archived: 6, ..NONE }, 0),
            "{how:?}: {report:?}"
        );
        station.check().await;
    }
}

/// A station whose oldest recording is bad, and that recording's name.
async fn with_a_bad_recording(recordings: u64, how: Wrong, at: PoisonedStage) -> (Station, String) {
    let mut station = impatient(small(recordings)).await;
    station.section().limits.reply_timeout = Duration::from_millis(300);
    station.config.queue.attempts_max = 3;
    let (first, last) = station.days;
    let rows = station.pbx.world(|world| world.rows(first, last));
    let oldest = rows.into_iter().filter(|row| !row.recording.is_empty()).min_by_key(|row| row.start);
    let name = String::from_utf8(oldest.unwrap().recording).unwrap();
    let poison = vec![Poison { about: About::Recording(name.clone()), how, at }];
    station.set_faults(Faults { poison, ..Faults::default() });
    (station, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_cannot_be_had_costs_the_others_nothing_and_is_archived_when_it_can() {
    for (how, at) in
        Wrong::ALL.into_iter().zip([PoisonedStage::Download, PoisonedStage::Every].iter().cycle())
    {
        let (mut station, _) = with_a_bad_recording(24, how, *at).await;
        let report = station.backfill().await;
        assert_eq!(counts(&report), Counts { archived: 23, stuck: 1, ..NONE }, "{how:?}: {report:?}");
        assert_eq!((report.exit_code(false), report.pbx[PBX].error.is_none()), (3, true), "{how:?}");
        station.check().await;
        // It is asked for once a day, without anyone's doing.
        station.set_faults(Faults::default());
        assert_eq!(
            counts(&station.backfill().await),
            Counts { already_archived: 23, stuck: 1, ..NONE },
            "{how:?}"
        );
        let tomorrow = Clock::showing(callvault::base::clock::now() + 25.hours());
        let request = station.request();
        let run = station.run_by(tomorrow, request, CancellationToken::new(), async |_| {});
        let report = run.await.unwrap();
        assert_eq!(
            (counts(&report), report.exit_code(false)),
            (Counts { archived: 1, already_archived: 23, ..NONE }, 0),
            "{how:?}: {report:?}"
        );
        station.check().await;
    }
}

/// Neighbours are alike: several bad ones at the head of the queue are still theirs.
#[tokio::test(flavor = "multi_thread")]
async fn a_handful_of_bad_recordings_at_the_head_of_the_queue_condemns_nobody() {
    for how in [Wrong::Redirect, Wrong::Errno(10003), Wrong::Http(500)] {
        let mut station = impatient(small(30)).await;
        station.config.queue.attempts_max = 3;
        let (first, last) = station.days;
        let mut rows = station.pbx.world(|world| world.rows(first, last));
        rows.retain(|row| !row.recording.is_empty());
        rows.sort_by_key(|row| row.start);
        let bad = rows.iter().take(5).map(|row| Poison {
            about: About::Recording(String::from_utf8(row.recording.clone()).unwrap()),
            how,
            at: PoisonedStage::Download,
        });
        station.set_faults(Faults { poison: bad.collect(), ..Faults::default() });
        let report = station.backfill().await;
        assert_eq!(counts(&report), Counts { archived: 25, stuck: 5, ..NONE }, "{how:?}: {report:?}");
        assert!(report.pbx[PBX].error.is_none(), "{how:?}: {report:?}");
        station.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_fails_for_every_recording_is_at_fault_and_none_of_them_gets_stuck() {
    for (how, reason) in [(Wrong::Redirect, "redirect"), (Wrong::Http(503), "http_503")] {
        let mut station = impatient(small(20)).await;
        // One failure of its own would be the end of each.
        station.config.queue.attempts_max = 1;
        station.dry_run().await;
        let (first, last) = station.days;
        let rows = station.pbx.world(|world| world.rows(first, last));
        let bad = rows.into_iter().map(|row| Poison {
            about: About::Recording(String::from_utf8(row.recording).unwrap()),
            how,
            at: PoisonedStage::Every,
        });
        station.set_faults(Faults { poison: bad.collect(), ..Faults::default() });
        let report = station.backfill().await;
        let error = report.pbx[PBX].error.clone().unwrap();
        assert_eq!(
            (counts(&report), error.reason.as_str()),
            (Counts { pending: 20, ..NONE }, reason),
            "{error:?}"
        );
        station.check().await;
        station.set_faults(Faults::default());
        assert_eq!(counts(&station.backfill().await), Counts { archived: 20, ..NONE }, "{how:?}");
        station.check().await;
    }
}

/// The requests of a backfill with voicemail.
async fn requests_of(station: &mut Station) -> (u64, BackfillReport) {
    let before = station.pbx.counters().requests;
    let report = station.backfill_voicemail().await;
    (station.pbx.counters().requests - before, report)
}

/// One bad thing of each sort among many: the others cost no more than without them.
#[tokio::test(flavor = "multi_thread")]
async fn with_one_bad_thing_of_each_sort_the_others_cost_as_much_as_on_a_clean_pbx() {
    let is_full = std::env::var_os("CALLVAULT_FULL").is_some();
    let recordings: u64 = if is_full { 1000 } else { 400 };
    let hows =
        if is_full { Wrong::ALL.to_vec() } else { vec![Wrong::Redirect, Wrong::Hang, Wrong::Malformed] };
    let options = || SimulatorOptions { days: 12, ..small(recordings) };
    let with_messages = async |mut station: Station| {
        station.section().timezone = Some(jiff::tz::TimeZone::get("Europe/Berlin").unwrap());
        (0..20).for_each(|minute| drop(station.leave(if minute % 2 == 0 { "1003" } else { "1004" }, minute)));
        station
    };
    let mut clean = with_messages(impatient(options()).await).await;
    let began = Instant::now();
    let (clean_requests, report) = requests_of(&mut clean).await;
    let clean_time = began.elapsed();
    assert_eq!(report.exit_code(false), 0, "{report:?}");
    for how in hows {
        let mut station = with_messages(impatient(options()).await).await;
        station.section().limits.reply_timeout = Duration::from_millis(300);
        station.cdr_is_whole = false;
        let (first, last) = station.days;
        let rows = station.pbx.world(|world| world.rows(first, last));
        let oldest = rows.into_iter().filter(|row| !row.recording.is_empty()).min_by_key(|row| row.start);
        let recording = String::from_utf8(oldest.unwrap().recording).unwrap();
        let bad_day = station.days.1 - 5.days();
        let of_bad_day = station.pbx.world(|world| world.rows(bad_day, bad_day));
        let of_bad_day = of_bad_day.iter().filter(|row| !row.recording.is_empty()).count();
        let about = [
            About::Device,
            About::Recording(recording),
            About::Day(bad_day),
            About::Message("1003".to_owned(), "msg0001.wav".to_owned()),
        ];
        let at = PoisonedStage::Every;
        let poison = about.into_iter().map(|about| Poison { about, how, at }).collect();
        station.set_faults(Faults { poison, ..Faults::default() });
        let began = Instant::now();
        let (requests, report) = requests_of(&mut station).await;
        println!(
            "{how:?}: {requests} requests for {clean_requests}, {:.1} s for {:.1} s",
            began.elapsed().as_secs_f64(),
            clean_time.as_secs_f64()
        );
        let good = i64::try_from(usize::try_from(recordings).unwrap() - 1 - of_bad_day).unwrap();
        assert_eq!(report.total.archived, good, "{how:?}: {report:?}");
        let messages = report.voicemail.as_ref().unwrap();
        assert_eq!(messages.counts.archived, 19, "{how:?}: {messages:?}");
        assert!(report.pbx[PBX].error.is_none(), "{how:?}: {report:?}");
        // Each recording costs a ticket and a download.
        let due = clean_requests - 2 * of_bad_day as u64;
        assert!(requests * 10 <= due * 11, "{how:?}: {requests} requests for {due}");
        station.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_cannot_be_listed_hides_no_other_box() {
    for how in Wrong::ALL {
        let mut station = Station::with_messages(2).await;
        station.section().limits.reply_timeout = Duration::from_millis(300);
        station.section().limits.outage_patience = Duration::ZERO;
        station.leave("1004", 7);
        assert_eq!(message_counts(&station.backfill_voicemail().await), Counts { archived: 3, ..NONE });
        station.leave("1003", 21);
        station.leave("1004", 22);
        station.set_faults(poison(About::Mailbox("1003".to_owned()), how));
        let report = station.backfill_voicemail().await;
        assert_eq!(
            message_counts(&report),
            Counts { archived: 1, already_archived: 3, ..NONE },
            "{how:?}: {report:?}"
        );
        assert_eq!((report.exit_code(false), report.pbx[PBX].error.is_none()), (4, true), "{how:?}");
        let findings = station.open_findings("voicemail_unlisted").await;
        let subjects: Vec<&str> = findings.iter().map(|(subject, _)| &**subject).collect();
        assert_eq!(subjects, ["the list of voicemail", "the voicemail box of extension 1003"], "{how:?}");
        station.check().await;

        station.set_faults(Faults::default());
        let report = station.backfill_voicemail().await;
        assert_eq!(
            (message_counts(&report), report.exit_code(false)),
            (Counts { archived: 1, already_archived: 4, ..NONE }, 0),
            "{how:?}"
        );
        assert_eq!(station.open_findings("voicemail_unlisted").await, [], "{how:?}");
        station.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_read_hides_no_other_message_and_is_not_taken_for_deleted() {
    let mut station = Station::with_messages(3).await;
    station.leave("1004", 7);
    station.config.queue.attempts_max = 2;
    let heard = Request { dry_run: true, ..station.voicemail_request() };
    station.run(heard, CancellationToken::new()).await.unwrap();
    let bad = About::Message("1003".to_owned(), "msg0001.wav".to_owned());
    station.set_faults(poison(bad, Wrong::Malformed));
    let report = station.backfill_voicemail().await;
    assert_eq!(
        (message_counts(&report), report.exit_code(false)),
        (Counts { archived: 3, stuck: 1, ..NONE }, 4),
        "{report:?}"
    );
    let findings = station.open_findings("bad_message").await;
    let [(subject, detail)] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!(subject, "the voicemail box of extension 1003");
    assert!(detail.starts_with("entry 2 of the voicemail box of extension 1003 cannot be read"), "{detail}");
    station.check().await;

    station.set_faults(Faults::default());
    let tomorrow = Clock::showing(callvault::base::clock::now() + 25.hours());
    let request = station.voicemail_request();
    let report = station.run_by(tomorrow, request, CancellationToken::new(), async |_| {}).await.unwrap();
    assert_eq!(
        (message_counts(&report), report.exit_code(false)),
        (Counts { archived: 1, already_archived: 3, ..NONE }, 0),
        "{report:?}"
    );
    assert_eq!(station.open_findings("bad_message").await, []);
    station.check().await;
}

/// One PBX tells far more calls than it can have: it is slowed, what is known of it is archived, and after a day the rest is.
#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_tells_too_much_is_slowed_and_loses_nothing() {
    let mut station = Station::of(SimulatorOptions { days: 6, ..small(60) }).await;
    station.section().limits.intake_rows_per_day_max = 25;
    station.cdr_is_whole = false;
    let report = station.backfill().await;
    let sweep = report.pbx[PBX].sweep;
    let findings = station.open_findings("intake_slowed").await;
    assert!(sweep.days_unasked > 0 && sweep.rows_new >= 1, "{sweep:?}");
    assert!(findings[0].1.contains("`intake_rows_per_day_max`"), "{findings:?}");
    assert_eq!(report.exit_code(false), 4, "{report:?}");
    let known: i64 = station.value("select count(*) from recordings").await;
    assert!((1..60).contains(&known), "{known}");
    assert_eq!(report.total.archived, known, "what is known of is archived");
    assert_eq!(station.value::<i64>("select count(*) from certificates").await, 0, "no day is settled by it");
    station.check().await;
    // It stays so within the day, and is over with it.
    let again = station.backfill().await;
    assert_eq!(again.pbx[PBX].sweep.rows_new, 0);
    super::reconciling::tamper(&station, "update intake set hour = hour - 24").await;
    station.section().limits.intake_rows_per_day_max = 1000;
    station.cdr_is_whole = true;
    let report = station.backfill().await;
    assert_eq!(report.total.archived + report.total.already_archived, 60, "{report:?}");
    assert_eq!(station.open_findings("intake_slowed").await, []);
    station.check().await;
}
