//! `status`: of all, of one, again and again.

use std::io::Write as _;
use std::process::{Command, Stdio};

use callvault::simulator::SimulatorOptions;

use crate::support::program::{Folder, LIMIT, Pbx, eventually};

#[test]
fn watching_is_for_a_terminal() {
    let folder = Folder::for_pbx(&Pbx::with(1).stop());
    for args in [&["status", "--watch"][..], &["status", "--watch", "--json"]] {
        let said = folder.run(args).exits(2);
        assert!(format!("{}{}", said.stdout, said.stderr).contains("--watch redraws a terminal"), "{said:?}");
    }
}

#[test]
fn on_a_terminal_it_redraws_until_ctrl_c_which_is_no_failure() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    // `exec`, or else the Ctrl-C reaches a shell in between too, whose exit code is what one would see.
    let program = format!("exec {} status --watch", env!("CARGO_BIN_EXE_callvault"));
    // util-linux's script gives it a terminal.
    let mut command = Command::new("script");
    command.args(["-qec", &program, "/dev/null"]).env("CALLVAULT_CONFIG", folder.config());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else {
        return println!("skipped: there is no `script` here");
    };
    let mut keyboard = child.stdin.take().unwrap();
    let mut running = folder.adopt(child);
    eventually("it has redrawn", || running.so_far().matches("1 PBX, all well.").count() >= 2);
    keyboard.write_all(b"\x03").unwrap();
    eventually("it ends", || running.has_ended());
    assert_eq!(running.wait().code, 0, "within {LIMIT:?}");
}

#[test]
fn one_pbx_is_told_alone_and_an_unknown_one_is_refused() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    let other = Pbx::start(SimulatorOptions { serial_number: "369392500002".into(), ..Pbx::options(1) });
    folder.add_pbx("lyon", &other.url(), "");
    folder.run(&["backfill"]).exits(0);
    let one = folder.run(&["status", "--pbx", "lyon", "--json"]).exits(0).json();
    assert_eq!(one["pbx"].as_object().unwrap().keys().collect::<Vec<_>>(), ["lyon"]);
    assert_eq!(one["summary"], "2 PBXs, all well.");
    let text = folder.run(&["status", "--pbx", "hq"]).exits(0).out();
    assert!(text.contains("\nhq\n") && !text.contains("\nlyon\n"), "{text}");
    folder.run(&["status", "--pbx", "lion"]).exits(2);
}

#[test]
fn who_names_a_pbx_in_a_retry_has_seen_its_findings() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    folder.write(
        "insert into findings (kind, pbx, subject, detail, first_seen_at_ms, last_seen_at_ms)
         values ('conflict', 'hq', 'hq/a.wav', 'two contents', 0, 0)",
    );
    let said = folder.run(&["status"]).exits(0).out();
    assert!(said.starts_with("1 of 1 PBX needs you: hq (conflict).\n"), "{said}");
    assert!(said.contains("What to do about conflict: both files are kept"), "{said}");
    folder.run(&["retry"]).exits(0);
    assert_eq!(folder.number("select count(*) from findings where closed_at_ms is null"), 1);
    folder.run(&["retry", "--pbx", "hq"]).exits(0);
    let said = folder.run(&["status"]).exits(0).out();
    assert!(said.starts_with("1 PBX, all well.\n"), "{said}");
}

/// Makes the database of this version one of version 0.1.
const UNDONE: &[&str] = &[
    "drop table voicemails",
    "drop table voicemail_polls",
    "drop table jobs",
    "drop table service",
    "drop table requests",
    "alter table pbx drop column paused_at_ms",
    "drop table outbox",
    "drop table alerts",
    "drop index calls_unrecorded_of_day",
    "drop index findings_open",
    "drop table retention_evidence",
    "drop table certificate_drafts",
    "drop table list_drafts",
    "drop table certificates",
    "alter table days drop column first_read_at_ms",
    "drop trigger archived_files_are_checked",
    "drop trigger day_folders_are_checked",
    "drop table file_checks",
    "drop table verifications",
    "drop table scrub",
    "drop table markers",
    "drop index archived_files_by_entry",
    "drop table checkpoints",
    "drop table ledger_frontier",
    "drop table ledger_keys",
    "drop table anchors",
    "drop table anchor_standings",
    "drop table feed_webhooks",
    "drop table intake",
    "drop table clocks",
    "drop table own_clock",
    "drop table accepted_doubts",
    "drop table accepted_days",
    "drop table provenance",
    "drop table outlooks",
    "drop table list_limits",
    "drop table doubts",
    "drop index days_not_whole",
    "alter table days drop column verdict_parts",
    "alter table days drop column verdict_rows",
    "alter table days drop column verdict_at_ms",
    "alter table days drop column verdict_late",
    "alter table days drop column verdict_cause",
    "alter table days drop column verdict",
    "drop table known_lists",
    "drop table call_counts",
    "drop table recording_counts",
    "drop trigger calls_are_counted",
    "drop trigger calls_are_counted_anew",
    "drop trigger calls_are_counted_off",
    "drop trigger recordings_are_counted",
    "drop trigger recordings_are_counted_anew",
    "drop trigger recordings_are_counted_off",
    "drop index recordings_of_day",
    "create index recordings_state on recordings (pbx, day, state, kind, final)",
    "create table old_calls as select * from calls",
    "drop table calls",
    "create table calls (id integer primary key, pbx text not null references pbx (id), identity blob not null,
         version blob not null, day text not null, started_at_ms integer, utc_offset_s integer not null,
         offset_source text not null, zone_offset_s integer, talk_s integer, answered integer not null,
         row text not null, recording_id integer references recordings (id), first_seen_at_ms integer not null,
         told_version blob, absent integer not null default 0, unique (pbx, identity)) strict",
    "insert into calls select id, pbx, identity, version, day, started_at_ms, utc_offset_s, offset_source,
         zone_offset_s, talk_s, answered, row, recording_id, first_seen_at_ms, told_version, absent from old_calls",
    "drop table old_calls",
    "create index calls_of_day on calls (pbx, day)",
    "create index calls_untold on calls (pbx, day) where told_version is not version",
    "create index calls_of_recording on calls (recording_id) where recording_id is not null",
    "drop index calls_of_day",
    "alter table calls drop column absent",
    "alter table calls add column reading integer not null default 0",
    "create index calls_of_day on calls (pbx, day, reading)",
    "delete from _sqlx_migrations where version > 5",
];

#[test]
fn a_database_that_nobody_has_migrated_yet_can_be_looked_at() {
    const SENTENCE: &str = "the database is of an older version";
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    for sql in UNDONE {
        folder.write(sql);
    }
    let said = folder.run(&["status"]).exits(0).out();
    assert!(said.starts_with("1 PBX, all well.\n") && said.contains(SENTENCE), "{said}");
    let json = folder.run(&["status", "--json"]).exits(0).json();
    assert_eq!((&json["database_outdated"], &json["pbx"]["hq"]["archived"]), (&true.into(), &2.into()));
    folder.run(&["backfill"]).exits(0);
    assert!(!folder.run(&["status"]).exits(0).out().contains(SENTENCE));
}

#[test]
fn who_paused_a_pbx_is_told_how_to_resume_it() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    folder.run(&["pause", "hq"]).exits(0);
    let said = folder.run(&["status"]).exits(0).out();
    assert!(said.starts_with("1 PBX (1 paused), all well.\n"), "{said}");
    assert!(said.contains("callvault does not contact it until `callvault resume hq`"), "{said}");
    folder.run(&["resume", "hq"]).exits(0);
    assert!(!folder.run(&["status"]).exits(0).out().contains("paused"));
}

#[test]
fn a_service_that_ran_and_does_not_is_told() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    assert!(!folder.run(&["status"]).exits(0).out().contains("service"), "backfills need none");
    folder
        .write("insert into service (id, pid, version, started_at_ms, beat_at_ms) values (1, 1, '0', 0, 0)");
    let said = folder.run(&["status"]).exits(0).out();
    assert!(said.starts_with("The service needs you (not running); no PBX does.\n"), "{said}");
    assert!(said.contains("WRONG: the service is not running: it ended by itself"), "{said}");
    folder.write("update service set stopped_at_ms = 1000");
    let said = folder.run(&["status"]).exits(0).out();
    assert!(said.starts_with("1 PBX, all well.\n"), "{said}");
    assert!(said.contains("\nthe service is not running: it was stopped"), "{said}");
    let service = &folder.run(&["status", "--json"]).exits(0).json()["service"];
    assert_eq!((&service["running"], &service["stopped"]), (&false.into(), &"1970-01-01T00:00:01Z".into()));
}
