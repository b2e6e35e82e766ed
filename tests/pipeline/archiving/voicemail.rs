//! Voicemail from the boxes to the archive.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use callvault::base::counts::Counts;
use callvault::config::ExclusionRule;
use callvault::pipeline::backfill::BackfillReport;
use callvault::simulator::{Faults, Profile, SimAudio, SimVoicemail, SimulatorOptions, VoicemailCap};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::station::voicemail::message_counts;
use crate::support::station::{NONE, Station, counts, small};

/// Asks that make an absence final, once the calendar agrees too.
const ANSWERS: u32 = 6;

fn reasons(report: &BackfillReport) -> Vec<(String, String, i64)> {
    let voicemail = report.voicemail.clone().unwrap();
    let of_pbx = report.pbx["hq"].voicemail.clone().unwrap();
    assert_eq!(of_pbx.counts.listed(), voicemail.counts.listed());
    of_pbx.reasons.into_iter().map(|reason| (reason.state.to_string(), reason.reason, reason.count)).collect()
}

async fn sidecar(station: &Station) -> Value {
    let path: String = station.value("select path from archived_files").await;
    serde_json::from_slice(&std::fs::read(station.archive().join(path + ".json")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn voicemail_is_archived_beside_calls_and_counted_apart_from_them() {
    let mut station = Station::with_voicemail(SimulatorOptions { voicemails: 12, ..small(5) }).await;
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: 5, ..NONE });
    assert!(report.voicemail.is_none());
    assert_eq!(station.value::<i64>("select count(*) from voicemails").await, 0);

    let report = station.backfill_voicemail().await;
    assert_eq!(
        (counts(&report), message_counts(&report)),
        (Counts { already_archived: 5, ..NONE }, Counts { archived: 12, ..NONE })
    );
    assert_eq!(report.exit_code(false), 0);
    let poll = report.pbx["hq"].voicemail.clone().unwrap().poll.unwrap();
    assert_eq!((poll.messages, poll.messages_new, poll.whole), (12, 12, true));
    station.check().await;

    let asked = station.pbx.counters().tickets_issued;
    let report = station.backfill_voicemail().await;
    assert_eq!(message_counts(&report), Counts { already_archived: 12, ..NONE });
    let cdr = station.pbx.counters().cdr_downloads / 3;
    assert_eq!(station.pbx.counters().tickets_issued - asked, cdr);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_at_a_message_spends_three_tickets_at_most() {
    let mut station = Station::with_voicemail(small(0)).await;
    station.leave("1003", 200);
    station.config.queue.attempts_max = 1;
    station.set_faults(Faults { json_body: 1.0, ..Faults::default() });
    assert_eq!(message_counts(&station.backfill_voicemail().await), Counts { stuck: 1, ..NONE });
    station.set_faults(Faults { ticket_expired: 1.0, ..Faults::default() });
    let before = station.pbx.counters().tickets_issued;
    station.retry().await;
    assert_eq!(station.pbx.counters().tickets_issued - before, 3);
    station.set_faults(Faults::default());
    station.retry().await;
    assert_eq!(message_counts(&station.backfill_voicemail().await), Counts { already_archived: 1, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_generation_delivers_its_voicemail() {
    for (profile, sends_status) in
        [(Profile::V2, true), (Profile::Compatible, true), (Profile::Compatible, false)]
    {
        let options = SimulatorOptions { profile, voicemails: 0, ..small(0) };
        let mut station = Station::with_voicemail(options).await;
        station.section().voicemail.sends_status = sends_status;
        station.leave("1003", 1);
        let known = station.pbx.world(|world| world.voicemails().len()) as i64;
        let report = station.backfill_voicemail().await;
        assert_eq!(message_counts(&report), Counts { archived: known, ..NONE }, "{profile:?} {sends_status}");
        station.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_in_both_folders_is_not_asked_for_without_its_folder() {
    let options = SimulatorOptions { profile: Profile::Compatible, ..small(0) };
    let mut station = Station::with_voicemail(options).await;
    station.section().voicemail.sends_status = false;
    station.config.queue.attempts_max = 1;
    station.leave("1003", 1);
    station.leave("1003", 2);
    station.pbx.world(|world| world.voicemails().retain(|message| message.extension == "1003"));
    station.pbx.world(|world| world.voicemails()[0].read = true);
    let report = station.backfill_voicemail().await;
    assert_eq!(reasons(&report), [("stuck".to_owned(), "ambiguous".to_owned(), 2)]);
    assert_eq!(station.pbx.counters().downloads_started, 0);
    station.check().await;

    station.section().voicemail.sends_status = true;
    assert_eq!(message_counts(&station.backfill_voicemail().await), Counts { archived: 2, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_tells_what_the_box_told() {
    let mut station = Station::with_messages(1).await;
    station.pbx.world(|world| world.voicemails()[0].read = true);
    station.backfill_voicemail().await;
    let told = sidecar(&station).await;
    assert_eq!(told["recording"]["kind"], "voicemail");
    assert_eq!(told["recording"]["name"], "1003/2024-03-14 12:00:00/5550142/1");
    let expected = serde_json::json!({
        "extension": "1003",
        "caller": "5550142",
        "date": "2024-03-14 12:00:00",
        "length_s": 1,
        "status": "read",
        "ordinal": 1
    });
    assert_eq!(told["voicemail"], expected);
    assert_eq!(
        (&told["times"]["offset_source"], &told["times"]["utc_offset_s"]),
        (&"zone".into(), &3600.into())
    );
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_alike_in_all_that_is_told_are_all_kept() {
    let mut station = Station::with_messages(1).await;
    let mut twin = station.leave("1003", 1);
    twin.audio = SimAudio::pcm(2001, 777);
    station.pbx.world(|world| world.leave_message(twin.clone()));
    assert_eq!(message_counts(&station.backfill_voicemail().await), Counts { archived: 3, ..NONE });
    station.check().await;

    // A third one, while nobody can say which of the three is new.
    let third = SimVoicemail { audio: SimAudio::pcm(2001, 778), read: true, ..twin };
    station.pbx.world(|world| world.leave_message(third));
    assert_eq!(
        message_counts(&station.backfill_voicemail().await),
        Counts { archived: 1, already_archived: 3, ..NONE }
    );
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_alike_the_one_that_is_left_is_archived_once() {
    let mut station = Station::with_messages(1).await;
    let twin = station.leave("1003", 1);
    let twin = SimVoicemail { audio: SimAudio::pcm(2001, 777), ..twin };
    station.pbx.world(|world| world.leave_message(twin));
    heard_of(&mut station).await;
    station.pbx.world(|world| world.voicemails().remove(1));
    assert_eq!(
        message_counts(&station.backfill_voicemail().await),
        Counts { archived: 2, missing: 1, ..NONE }
    );
    station.check().await;
}

/// Changes the box as soon as the first ticket is out, before it is spent: the PBX takes its time for each request.
async fn renumbered(
    station: &mut Station,
    change: impl FnOnce(&mut Vec<SimVoicemail>) + Send + Sync + 'static,
) -> BackfillReport {
    station.pbx.world(|world| world.surprise_message("msg0000.wav", change));
    station.backfill_voicemail().await
}

async fn one_by_one_with_messages(messages: u32) -> Station {
    let mut station = Station::with_messages(messages).await;
    station.section().concurrency = 1;
    station
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renumbering_after_the_ticket_mixes_nothing_up_and_costs_no_attempt() {
    let mut station = one_by_one_with_messages(3).await;
    // The message in front is marked as read: the place asked for holds the next one.
    let report = renumbered(&mut station, |messages| messages[0].read = true).await;
    assert_eq!(message_counts(&report), Counts { archived: 3, ..NONE });
    assert!(station.pbx.counters().downloads_ok > 3, "the wrong audio was never delivered");
    assert_eq!(station.value::<i64>("select sum(attempts) from recordings").await, 3);
    station.check().await;
}

/// A box that is in use costs no attempt, up to a number of times.
#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_changes_under_every_ticket_costs_an_attempt_at_the_ninth() {
    for (changes, attempts) in [(8, 1), (9, 2)] {
        let mut station = one_by_one_with_messages(1).await;
        station.config.queue.retry_base = Duration::from_millis(1);
        for _ in 1..changes {
            let change = |messages: &mut Vec<SimVoicemail>| messages[0].read ^= true;
            station.pbx.world(|world| world.surprise_message("msg0000.wav", change));
        }
        let report = renumbered(&mut station, |messages| messages[0].read ^= true).await;
        assert_eq!(message_counts(&report), Counts { archived: 1, ..NONE });
        assert_eq!(station.pbx.counters().tickets_issued, changes + 1);
        let made: i64 = station.value("select sum(attempts) from recordings").await;
        assert_eq!(made, attempts, "{changes} changes");
        station.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_deleted_after_the_ticket_is_missing_and_the_others_are_themselves() {
    let mut station = one_by_one_with_messages(2).await;
    let report = renumbered(&mut station, |messages| drop(messages.remove(0))).await;
    assert_eq!(message_counts(&report), Counts { archived: 1, missing: 1, ..NONE });
    assert_eq!(reasons(&report), [("missing".to_owned(), "deleted".to_owned(), 1)]);
    assert_eq!(report.exit_code(false), 3);
    assert_eq!(station.findings("store_offline").await, []);
    station.check().await;
}

async fn heard_of(station: &mut Station) {
    let request = callvault::pipeline::backfill::Request { dry_run: true, ..station.voicemail_request() };
    let report = station.run(request, CancellationToken::new()).await.unwrap();
    assert_eq!(report.exit_code(true), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_back_is_owed_again() {
    let mut station = Station::with_messages(2).await;
    heard_of(&mut station).await;
    let gone = station.pbx.world(|world| world.voicemails().remove(0));
    assert_eq!(
        message_counts(&station.backfill_voicemail().await),
        Counts { archived: 1, missing: 1, ..NONE }
    );
    station.check().await;
    station.pbx.world(|world| world.leave_message(gone));
    let report = station.backfill_voicemail().await;
    assert_eq!(message_counts(&report), Counts { archived: 1, already_archived: 1, ..NONE });
    assert_eq!(report.pbx["hq"].voicemail.clone().unwrap().poll.unwrap().messages_back, 1);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_final_only_while_the_boxes_show_others_and_is_then_a_gap() {
    let mut station = Station::with_messages(1).await;
    station.config.queue.missing_final_after = Duration::from_millis(1);
    heard_of(&mut station).await;
    let gone = station.pbx.world(|world| world.voicemails().remove(0));
    for _ in 0..3 {
        assert_eq!(message_counts(&station.backfill_voicemail().await), Counts { missing: 1, ..NONE });
    }
    assert_eq!(station.value::<i64>("select absent_answers from recordings").await, 1);
    station.leave("1004", 5);
    for _ in 1..ANSWERS {
        assert_eq!(station.value::<i64>("select sum(final) from recordings").await, 0);
        station.backfill_voicemail().await;
    }
    assert_eq!(station.value::<i64>("select sum(final) from recordings").await, 1);
    assert_eq!(station.backfill_voicemail().await.exit_code(false), 0);
    let gap: String = station.value("select entry from ledger where entry like '%\"type\":\"gap\"%'").await;
    let gap: Value = serde_json::from_str(&gap).unwrap();
    assert_eq!((gap["reason"].as_str(), gap["answers"].as_u64()), (Some("deleted"), Some(6)));
    station.check().await;

    station.pbx.world(|world| world.leave_message(gone));
    assert_eq!(
        message_counts(&station.backfill_voicemail().await),
        Counts { archived: 1, already_archived: 1, ..NONE }
    );
    let named: i64 =
        station.value("select json_extract(entry, '$.gap') from ledger order by number desc limit 1").await;
    assert_eq!(named, station.value::<i64>("select max(gap_number) from recordings").await);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn voicemail_that_is_delivered_does_not_say_that_the_store_of_calls_works() {
    let mut station = Station::with_voicemail(small(21)).await;
    station.config.queue.missing_final_after = Duration::from_millis(1);
    station.set_faults(Faults { store_offline: true, ..Faults::default() });
    for minute in 0..=ANSWERS {
        station.leave("1003", minute);
        assert_eq!(station.backfill_voicemail().await.total.missing, 21);
    }
    assert_eq!(station.value::<i64>("select sum(final) from recordings").await, 0);
    let open = "select count(*) from findings where kind = 'store_offline' and closed_at_ms is null";
    assert_eq!(station.value::<i64>(open).await, 1);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_voicemail_is_asked_once_a_day_and_its_calls_are_archived() {
    let mut station = Station::of(SimulatorOptions { has_voicemail: false, ..small(3) }).await;
    for (archived, before) in [(3, 0), (0, 3)] {
        let report = station.backfill_voicemail().await;
        assert_eq!(counts(&report), Counts { archived, already_archived: before, ..NONE });
        assert!(report.pbx["hq"].voicemail.clone().unwrap().poll.unwrap().unsupported);
        assert_eq!(report.exit_code(false), 0);
        station.check().await;
    }
    assert_eq!(station.pbx.counters().errnos[&10003], 1);
    // Asked in another way, it may have one.
    station.section().limits.reply_timeout += Duration::from_secs(1);
    station.backfill_voicemail().await;
    assert_eq!(station.pbx.counters().errnos[&10003], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn boxes_that_cannot_be_listed_are_a_finding_and_keep_nothing_else_from_being_archived() {
    let mut station = Station::with_voicemail(small(3)).await;
    station.leave("1003", 1);
    heard_of(&mut station).await;
    // The PBX refuses to list a box that no extension has.
    station.leave("nobody", 2);
    let lists = |station: &Station| station.pbx.counters().endpoints["voicemail/query"];
    let before = lists(&station);
    let report = station.backfill_voicemail().await;
    // Five tries, the box that is known, and a look into it before and after its message.
    assert_eq!(lists(&station) - before, 5 + 1 + 2);
    assert_eq!(
        (counts(&report), message_counts(&report)),
        (Counts { archived: 3, ..NONE }, Counts { archived: 1, ..NONE })
    );
    assert!(report.pbx["hq"].voicemail.as_ref().unwrap().is_unlisted());
    assert_eq!(report.exit_code(false), 4);
    let open = "select count(*) from findings where kind = 'voicemail_unlisted' and closed_at_ms is null";
    assert_eq!(station.value::<i64>(open).await, 1);
    station.check().await;

    station.pbx.world(|world| drop(world.voicemails().pop()));
    assert_eq!(station.backfill_voicemail().await.exit_code(false), 0);
    assert_eq!(station.value::<i64>(open).await, 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_names_no_message_is_a_finding_until_there_is_none() {
    let mut station = Station::with_messages(2).await;
    station.leave("1004", 7);
    station.set_faults(Faults { voicemail_odd: 1.0, ..Faults::default() });
    let report = station.backfill_voicemail().await;
    assert_eq!(message_counts(&report), Counts { archived: 3, ..NONE });
    let poll = report.pbx["hq"].voicemail.clone().unwrap().poll.unwrap();
    assert_eq!((poll.boxes, poll.messages, poll.messages_new, poll.unreadable), (2, 3, 3, 2));
    assert_eq!(report.exit_code(false), 4);
    let open = "select count(*) from findings where kind = 'bad_message' and closed_at_ms is null";
    assert_eq!(station.value::<i64>(open).await, 2, "one for each box");
    station.check().await;
    station.set_faults(Faults::default());
    station.backfill_voicemail().await;
    assert_eq!(station.value::<i64>(open).await, 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn boxes_are_not_listed_of_a_pbx_that_is_given_up() {
    let mut station = Station::with_messages(2).await;
    station.set_faults(Faults { reply_delay_ms: 100, ..Faults::default() });
    // It has said who it is; the boxes are what is asked for next.
    let change_password = async |pbx: &callvault::simulator::Simulator| {
        while !pbx.counters().endpoints.contains_key("deviceinfo/query") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        pbx.alter_faults(|faults| faults.password = Some("another one".into()));
        pbx.revoke_tokens();
    };
    let request = station.voicemail_request();
    let run = station.run_while(request, CancellationToken::new(), change_password);
    let report = tokio::time::timeout(Duration::from_secs(60), run).await.expect("it ends").unwrap();
    assert_eq!(report.exit_code(false), 4, "{report:?}");
    assert!(station.pbx.counters().endpoints["voicemail/query"] > 0);
    assert_eq!(station.findings("voicemail_unlisted").await, []);
    station.set_faults(Faults::default());
    station.retry().await;
    assert_eq!(message_counts(&station.backfill_voicemail().await), Counts { archived: 2, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_near_its_limit_is_a_finding_until_it_is_emptied() {
    let cap = VoicemailCap { messages: 10, length_s: 6000 };
    let mut station =
        Station::with_voicemail(SimulatorOptions { voicemail_cap: Some(cap), ..small(0) }).await;
    station.section().voicemail.per_extension = 10;
    for minute in 0..12 {
        station.leave("1003", minute);
    }
    station.leave("1004", 1);
    let report = station.backfill_voicemail().await;
    let poll = report.pbx["hq"].voicemail.clone().unwrap().poll.unwrap();
    let fullest = poll.fullest.clone().unwrap();
    assert_eq!((fullest.extension.as_str(), fullest.messages, fullest.cap), ("1003", 10, 10));
    assert!(poll.nearly_full > 0);
    let open = "select count(*) from findings where kind = 'voicemail_nearly_full' and closed_at_ms is null";
    assert_eq!(station.value::<i64>(open).await, 1);
    station.check().await;

    station.pbx.world(|world| world.voicemails().truncate(7));
    let report = station.backfill_voicemail().await;
    assert_eq!(report.pbx["hq"].voicemail.clone().unwrap().poll.unwrap().nearly_full, 0);
    assert_eq!(station.value::<i64>(open).await, 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_for_an_extension_keeps_its_voicemail_out() {
    let mut station = Station::with_messages(2).await;
    station.leave("1004", 7);
    let rule = ExclusionRule {
        name: "private".to_owned(),
        extension: vec!["1004".to_owned()],
        ..ExclusionRule::default()
    };
    station.config.exclude.push(rule);
    assert_eq!(
        message_counts(&station.backfill_voicemail().await),
        Counts { archived: 2, excluded: 1, ..NONE }
    );
    station.check().await;
    station.config.exclude.clear();
    assert_eq!(
        message_counts(&station.backfill_voicemail().await),
        Counts { archived: 1, already_archived: 2, ..NONE }
    );
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_does_not_fit_is_suspect_and_never_asked_for_again() {
    let mut station = Station::with_messages(0).await;
    for (minute, length_s) in [(0, 60), (1, 0)] {
        let mut message = station.leave("1003", minute);
        message.audio = SimAudio::pcm(200_000, u64::from(minute));
        message.length_s = length_s;
        station.pbx.world(|world| *world.voicemails().last_mut().unwrap() = message);
    }
    assert_eq!(message_counts(&station.backfill_voicemail().await), Counts { archived: 2, ..NONE });
    let suspect: String = station.value("select group_concat(suspect, ' ') from archived_files").await;
    assert!(suspect.contains("short") && suspect.contains("long"), "{suspect}");
    assert_eq!(station.pbx.counters().downloads_started, 2);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_asks_for_voicemail_too() {
    let mut station = Station::with_messages(2).await;
    heard_of(&mut station).await;
    let report = station.retry().await;
    assert_eq!((counts(&report), message_counts(&report)), (NONE, Counts { archived: 2, ..NONE }));
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_that_nobody_vouches_for_is_not_taken_when_the_message_is_gone() {
    let mut station = Station::with_messages(1).await;
    heard_of(&mut station).await;
    let gone = station.pbx.world(|world| world.voicemails().remove(0));
    let path: String = station.value("select path from recordings").await;
    let path = station.archive().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, gone.audio.to_vec()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440)).unwrap();
    let report = station.backfill_voicemail().await;
    assert_eq!(message_counts(&report), Counts { pending: 1, ..NONE });
    assert_eq!(station.pbx.counters().downloads_started, 0);
    assert_eq!(station.open_findings("found").await.len(), 1);
    std::fs::remove_file(&path).unwrap();
    station.check().await;
}
