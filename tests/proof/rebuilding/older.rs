//! A ledger that knows less than the archive: the tail that was not published yet, and what a restored older database did.

use std::fs;
use std::time::Duration;

use callvault::archive::{self, survey};
use callvault::base::counts::Counts;
use callvault::proof::rebuild::{CannotRebuild, Request, Trust};
use callvault::simulator::SimAudio;
use callvault::vault::state::{StateError, StateLock};
use jiff::ToSpan as _;

use super::compare::dump;
use crate::support::eventful::printed;
use crate::support::station::{NONE, Station, counts};

/// Whatever the ledger does not tell of is archived all the same if this state wrote it, and told from now on.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_published_yet_is_appended_and_never_dropped() {
    let mut station = Station::eventful().await;
    let ledger = station.ledger().await;
    let files = station.recordings();
    for published in [ledger.len() - 1, ledger.len() / 2, 0] {
        station.lose_database().await;
        station.publish_only(&ledger[..published]);
        let report = station.rebuild().await;
        assert_eq!((report.damaged, report.ledger.gone), (0, 0), "{:?}", report.damage);
        assert_eq!(report.ledger.published, published as i64);
        assert!(report.ledger.appended > 0);
        assert_eq!(report.ledger.found, 0, "they are known by their tags");
        assert_eq!(station.ledger().await[..published], ledger[..published]);
        // The check looks for the entry of each file and each absence.
        station.check().await;
    }
    let report = station.backfill_voicemail().await;
    assert_eq!(
        report.total.archived + report.voicemail.unwrap().counts.archived,
        0,
        "nothing is fetched again"
    );
    assert_eq!(files, station.recordings());
    station.check().await;
}

/// Without the state nobody can tell who wrote what no signed entry tells of: it is owed, and stays where it is. What the
/// PBX delivers again is archived; the rest waits for a person, and is never complete.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_signed_is_owed_where_the_state_is_lost() {
    let mut station = Station::eventful().await;
    let ledger = station.ledger().await;
    let (files, archived) = (station.recordings(), station.count("archived").await);
    for published in [ledger.len() / 2, 0] {
        station.lose_state().await;
        station.publish_only(&ledger[..published]);
        let report = station.rebuild().await;
        assert_eq!((report.damaged, report.ledger.gone), (0, 0), "{:?}", report.damage);
        assert_eq!(report.ledger.trust, Trust::None);
        assert!(report.ledger.found > 0);
        assert!(station.count("archived").await < archived);
        station.check().await;
    }
    station.pbx.world(|world| world.delete_audio(b"other-3.wav"));
    station.backfill_voicemail().await;
    let there = station.recordings();
    assert!(files.iter().all(|path| there.contains(path)), "nothing is lost");
    assert!(
        there.iter().all(|path| files.contains(path) || path.contains("/.quarantine/")),
        "the sidecars of nobody knows whom are aside: {there:?}"
    );
    let waiting =
        "select group_concat(name || ' ' || state || ' ' || reason) from recordings where reason = 'found'";
    assert_eq!(station.value::<String>(waiting).await, "other-3.wav pending found");
    // An empty one is asked for again before it is believed.
    let empty: String =
        station.value("select reason from recordings where name = cast('empty.wav' as blob)").await;
    assert_eq!(empty, "not_ready");
    assert_eq!(station.count("archived").await, archived - 2);
    station.check().await;
}

/// Only an entry makes an absence final: one that was never published is counted anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_absence_without_its_entry_is_asked_for_again() {
    let mut station = Station::eventful().await;
    let finals = "select count(*) from recordings where final = 1";
    assert!(station.value::<i64>(finals).await > 0);
    let ledger = station.ledger().await;
    let is_gap = |entry: &[u8]| String::from_utf8_lossy(entry).contains("\"type\":\"gap\"");
    let first_gap = ledger.iter().position(|(_, entry)| is_gap(entry)).unwrap();
    station.lose_state().await;
    station.publish_only(&ledger[..first_gap]);
    let report = station.rebuild().await;
    assert!(report.ledger.asked_again > 0);
    assert_eq!(station.value::<i64>(finals).await, 0);
    station.check().await;
}

/// A database of yesterday goes on from there: what it archives is told by no published entry, and what it has forgotten
/// lies in the archive.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_restored_older_database_did_is_kept_beside_what_it_had_forgotten() {
    let mut station = Station::followed(4).await;
    station.backfill().await;
    let yesterday = station.snapshot().await;
    for minute in 0..3 {
        station.add_call(&format!("today-{minute}.wav"), minute);
    }
    assert_eq!(counts(&station.backfill().await), Counts { archived: 3, already_archived: 4, ..NONE });
    let published = station.ledger().await;

    station.restore(&yesterday).await;
    for minute in 3..5 {
        station.add_call(&format!("today-{minute}.wav"), minute);
    }
    assert_eq!(
        counts(&station.backfill().await),
        Counts { archived: 5, already_archived: 4, ..NONE },
        "three of them adopted"
    );
    let before = printed(&station.backfill().await);

    let report = station.rebuild().await;
    assert_eq!((report.damaged, report.ledger.published, report.ledger.appended), (0, 14, 3));
    let former = report.former.unwrap();
    assert!(former.file_name().unwrap().to_str().unwrap().starts_with("callvault.db.before-rebuild-"));
    assert_eq!(station.ledger().await[..14], published);
    station.check().await;
    let downloads = station.pbx.counters().downloads_started;
    assert_eq!(before, printed(&station.backfill().await));
    assert_eq!(station.pbx.counters().downloads_started, downloads);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_repeated_comes_to_the_same() {
    let mut station = Station::eventful().await;
    let first = dump(&station.database().await).await;
    for times in 1..=3 {
        let report = station.rebuild().await;
        assert_eq!(report.damaged, 0);
        let names = fs::read_dir(&station.config.state.path).unwrap();
        let aside = names
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("before-rebuild"));
        assert_eq!(aside.count(), times, "each former database is kept, and is one file");
        super::compare::assert_equal(&first, &dump(&station.database().await).await);
    }
    station.check().await;
}

/// What only the sidecars tell, for the list of the day was never written: the rest of the day is read again.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_no_list_tells_yet_are_known_from_the_sidecars() {
    let mut station = Station::followed(0).await;
    let first = station.add_call("shared.wav", 0);
    let mut leg = first.clone();
    (leg.start, leg.callto) = (first.start + 9.seconds(), "1007".into());
    station.pbx.world(|world| world.add_call(leg));
    station.backfill().await;
    let list = station.path_of("calls-1.jsonl");
    let calls = "select json_group_array(json_array(hex(identity), hex(version), day, started_at_ms, utc_offset_s, talk_s,
                     answered, row, recording_id is null))
                 from (select * from calls order by identity)";
    let before: String = station.value(calls).await;
    fs::remove_file(list).unwrap();
    fs::remove_file(station.path_of("SHA256SUMS")).unwrap();
    let ledger = station.ledger().await;
    station.lose_state().await;
    // Nor does the ledger.
    station.publish_only(&ledger[..2]);
    assert_eq!(station.rebuild().await.damaged, 0);
    assert_eq!(station.value::<String>(calls).await, before);
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 1, ..NONE });
    station.check().await;
}

/// A file that no entry tells of must be what its sidecar says: an entry is a promise about the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_tail_that_is_not_whole_is_owed_again() {
    let mut station = Station::followed(3).await;
    station.backfill().await;
    let ledger = station.ledger().await;
    let path: String = station.value("select path from archived_files order by id desc limit 1").await;
    let audio = station.archive().join(&path);
    fs::remove_file(&audio).unwrap();
    station.lose_state().await;
    station.publish_only(&ledger[..3]);
    let report = station.rebuild().await;
    assert_eq!((report.damaged, report.ledger.appended), (1, 3), "only call lists: {:?}", report.damage);
    assert_eq!(report.damage[0].subject, path);
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, already_archived: 2, ..NONE });
    assert!(audio.exists());
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_another_owner_of_the_state_nothing_is_done() {
    let mut station = Station::followed(1).await;
    station.backfill().await;
    let lock = StateLock::take(&station.config.state.path).await.unwrap();
    let refused = station.try_rebuild(Request::default()).await.unwrap_err();
    assert!(matches!(refused.downcast_ref(), Some(StateError::Locked(_))), "{refused:#}");
    drop(lock);
    assert_eq!(station.rebuild().await.damaged, 0);
}

/// Two callvaults share one root, each with PBXs of its own, and one of them configures both.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_states_in_one_archive_the_operator_says_which() {
    let mut station = Station::followed(2).await;
    station.backfill().await;
    let theirs = station.archive().join("lyon");
    fs::create_dir(&theirs).unwrap();
    let marker = fs::read_to_string(station.archive().join("hq/.callvault")).unwrap();
    let ours = survey::owner(&*archive::require(station.archive()).unwrap(), "hq").unwrap().unwrap().state_id;
    fs::write(theirs.join(".callvault"), marker.replace(&ours, "0123456789abcdef0123456789abcdef")).unwrap();
    let mut lyon = station.config.pbx[0].clone();
    lyon.id = "lyon".to_owned();
    station.config.pbx.push(lyon);
    station.lose_state().await;

    let refused = station.try_rebuild(Request::default()).await.unwrap_err();
    assert!(matches!(refused.downcast_ref(), Some(CannotRebuild::SeveralStates { .. })), "{refused:#}");
    assert!(refused.to_string().contains("lyon: 0123456789abcdef"), "{refused:#}");
    let request = Request { state_id: Some(ours.clone()), ..Request::default() };
    let report = station.try_rebuild(request).await.unwrap();
    assert_eq!((report.damaged, report.state_id), (0, ours));
    assert!(report.left_out["lyon"].contains("another state"));
    assert_eq!(report.pbx.keys().collect::<Vec<_>>(), ["hq"]);
    station.config.pbx.pop();
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 2, ..NONE });
}

/// A PBX that was removed from the configuration is still in the archive, and known again when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_is_not_configured_any_more_is_rebuilt_too() {
    let mut station = Station::followed(2).await;
    station.backfill().await;
    station.config.pbx[0].id = "lyon".to_owned();
    station.lose_state().await;
    let report = station.rebuild().await;
    assert_eq!(report.pbx["hq"].counts.archived, 2);
    assert!(report.left_out["lyon"].contains("not mounted"), "{report:?}");
}

/// Two recordings of a device that was swapped, and more that its successor made under the same names.
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_device_is_known_by_its_latest_serial_number() {
    let mut station = Station::followed(3).await;
    station.backfill().await;
    station.pbx.alter_faults(|faults| faults.serial_number = Some("369392599999".into()));
    station.backfill().await;
    let lost = dump(&station.database().await).await;
    station.lose_state().await;
    assert_eq!(station.rebuild().await.damaged, 0);
    let rebuilt = dump(&station.database().await).await;
    super::compare::assert_equal(&lost, &rebuilt);
    assert!(rebuilt["pbx"][0].contains("369392599999"));
}

/// A recording that is asked for a second time has no trace of that but the call that names it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_twice_is_not_fetched_a_third_time() {
    let mut station = Station::followed(0).await;
    station.config.queue.missing_final_after = Duration::from_millis(1);
    let mut early = station.call("again.wav", 0);
    early.start -= 48.hours();
    station.pbx.world(|world| world.add_call(early));
    station.backfill().await;
    let mut late = station.call("again.wav", 0);
    late.audio = Some(SimAudio::pcm(4000, 0));
    station.pbx.world(|world| world.add_call(late));
    station.backfill().await;
    let downloads = station.pbx.counters().downloads_started;
    station.lose_state().await;
    station.rebuild().await;
    station.backfill().await;
    assert_eq!(station.pbx.counters().downloads_started, downloads);
}
