//! `reconcile`: what was listed against what became of it, and the certificates that are due.

use std::fs;

use callvault::simulator::{SimAudio, SimCall};

use crate::support::program::{Folder, Pbx};

/// The days settle, as if they had been read again half a day after their end.
const SETTLE: &str = "update days set state = 'settled', settled_at_ms = last_read_at_ms, revision = 1";

/// How many certificates of the first revision the archive holds.
fn certificates(folder: &Folder) -> usize {
    folder.files("archive").iter().filter(|file| file.ends_with("certificate-1.json")).count()
}

#[test]
fn before_anything_is_known_nothing_is_complete() {
    let folder = Folder::for_pbx(&Pbx::with(1).stop());
    let said = folder.run(&["reconcile"]).exits(3).out();
    assert!(said.ends_with("Nothing is known yet: run `callvault backfill`."), "{said}");
    assert_eq!(folder.run(&["reconcile", "--json"]).exits(3).json()["complete"], false);
}

#[test]
fn what_is_owed_is_told_by_day_with_its_reason_and_what_is_complete_in_a_sentence() {
    let pbx = Pbx::with(3);
    let name = pbx.truth()[1].name.clone();
    pbx.world(|world| world.delete_audio(&name));
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(3);
    let said = folder.run(&["reconcile"]).exits(3).out();
    assert!(said.contains("\nNot complete: of 3 recordings listed, 1 not archived (1 missing)."), "{said}");
    assert!(said.contains("1 missing (missing): the PBX lists them"), "{said}");
    let json = folder.run(&["reconcile", "--json"]).exits(3).json();
    assert_eq!((&json["listed"], &json["archived"], &json["missing"]), (&3.into(), &2.into(), &1.into()));

    pbx.world(|world| world.restore_audio(&name));
    folder.run(&["backfill"]).exits(0);
    let said = folder.run(&["reconcile"]).exits(0).out();
    assert!(said.contains("\nComplete: of 3 recordings listed, all are archived."), "{said}");
}

#[test]
fn it_issues_the_certificates_that_are_due() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    assert_eq!(certificates(&folder), 0, "no day has settled");
    folder.write(SETTLE);
    let json = folder.run(&["reconcile", "--json"]).exits(0).json();
    assert_eq!(json.get("certificates_error"), None);
    let days = json["pbx"]["hq"]["days"].as_array().unwrap();
    assert!(days.iter().all(|day| day["certificate"]["revision"] == 1), "{json}");
    assert_eq!(certificates(&folder) as i64, folder.number("select count(*) from days"));
    let said = folder.run(&["status"]).exits(0).out();
    assert!(said.contains(" certified, the latest of ") && said.contains("revision 1: complete"), "{said}");
}

#[test]
fn a_certificate_whose_run_died_before_the_ledger_was_published_is_told_of_by_the_next_one() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    let checkpoint = folder.path("archive/_ledger/checkpoint");
    let before = fs::read(&checkpoint).unwrap();
    folder.write(SETTLE);
    folder.run(&["reconcile"]).exits(0);
    let after = fs::read(&checkpoint).unwrap();
    assert_ne!(before, after);
    fs::rename(&checkpoint, folder.path("archive/_ledger/checkpoint~1")).unwrap();
    fs::write(&checkpoint, before).unwrap();
    folder.run(&["reconcile"]).exits(0);
    assert_eq!(fs::read(&checkpoint).unwrap(), after);
}

#[test]
fn a_certificate_whose_run_died_before_the_sums_were_written_is_listed_by_the_next_one() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    folder.write(SETTLE);
    folder.run(&["reconcile"]).exits(0);
    folder.write("update day_folders set written = 0");
    folder.run(&["reconcile"]).exits(0);
    assert_eq!(folder.number("select count(*) from day_folders where written < changed"), 0);
}

#[test]
fn numbers_that_do_not_add_up_are_said_first() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    folder.write("update recordings set state = 'stuck', reason = 'timeout' where id = 1");
    let said = folder.run(&["reconcile"]).exits(3).out();
    assert!(said.contains("DOES NOT ADD UP: 1 unaccounted for"), "{said}");
    assert!(said.contains("1 day with numbers that DO NOT ADD UP."), "{said}");
}

#[test]
fn days_that_are_none_and_a_pbx_that_is_unknown_are_refused() {
    let folder = Folder::for_pbx(&Pbx::with(1).stop());
    folder.run(&["reconcile", "--pbx", "lion"]).exits(2);
    folder.run(&["reconcile", "--from", "2026-03-02", "--to", "2026-03-01"]).exits(2);
}

#[test]
fn calls_that_must_be_recorded_are_told_beside_the_verdict() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    let config = fs::read_to_string(folder.config()).unwrap();
    let rule = "[[must_record]]\nextension = \"4711\"\nreason = \"trading desk\"\n";
    fs::write(folder.config(), format!("{config}\n{rule}")).unwrap();
    let said = folder.run(&["config", "check"]).exits(0).out();
    let line = "must be recorded  extension 4711, from 10 s of talk on (trading desk)";
    assert!(said.contains(line), "{said}");
    folder.run(&["backfill"]).exits(0);
    let said = folder.run(&["reconcile"]).exits(0).out();
    assert!(!said.contains("must_record"), "{said}");

    let start = callvault::base::clock::now() - jiff::SignedDuration::from_hours(2);
    let call = SimCall::recorded(start, 9, "", SimAudio::pcm(4000, 9));
    let call =
        SimCall { callto: "4711".into(), talk_duration_s: 30, call_duration_s: 35, audio: None, ..call };
    let callid = call.callid.clone();
    pbx.world(|world| world.add_call(call));
    folder.run(&["backfill"]).exits(0);
    let said = folder.run(&["reconcile"]).exits(0).out();
    let detail =
        format!("1 answered call that [[must_record]] names has no recording (trading desk): {callid}\n");
    assert!(said.contains(&detail), "{said}");
    assert!(
        said.contains("Complete: ") && said.contains("1 day with calls that [[must_record]] names"),
        "{said}"
    );
    let json = folder.run(&["reconcile", "--json"]).exits(0).json();
    let days = json["pbx"]["hq"]["days"].as_array().unwrap();
    assert!(days.iter().any(|day| day["findings"]["by"]["must_record"] == 1), "{json}");
    assert_eq!(json["complete"], true);
    let said = folder.run(&["status"]).out();
    assert!(said.starts_with("1 of 1 PBX needs you: hq (must record).\n"), "{said}");
    assert!(
        said.contains("What to do about must_record: see on the PBX whether recording is switched on"),
        "{said}"
    );
    folder.run(&["retry", "--pbx", "hq"]).exits(0);
    let said = folder.run(&["status"]).exits(0).out();
    assert!(said.starts_with("1 PBX, all well.\n"), "what is noted does not come back: {said}");
}
