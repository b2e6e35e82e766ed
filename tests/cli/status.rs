//! `status`: of all, of one, again and again.

use std::io::Write as _;
use std::process::{Command, Stdio};

use callvault::simulator::SimulatorOptions;

use crate::program::{Folder, LIMIT, Pbx, eventually};

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
    let program = format!("{} status --watch", env!("CARGO_BIN_EXE_callvault"));
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

#[test]
fn a_database_that_nobody_has_migrated_yet_can_be_looked_at() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    folder.write("drop table outbox");
    folder.write("drop table alerts");
    assert_eq!(folder.run(&["status", "--json"]).exits(0).json()["pbx"]["hq"]["archived"], 2);
}
