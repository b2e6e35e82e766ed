//! Command lines that make no sense: exit 2, and a sentence that says how to ask.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use callvault::simulator::{Profile, SimulatorOptions};

use crate::support::program::{Folder, Pbx};

/// What stands on stderr, and in the JSON, for arguments that are refused.
fn refused(folder: &Folder, args: &[&str]) -> String {
    let said = folder.run(args).exits(2);
    let json = folder.run(&[args, &["--json"]].concat()).exits(2);
    let message = json.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(said.stderr.contains(&message), "{} and {message}", said.stderr);
    said.err()
}

#[test]
fn days_that_run_backwards() {
    let folder = Folder::for_pbx(&Pbx::with(1).stop());
    let args = ["backfill", "--from", "2026-02-01", "--to", "2026-01-01"];
    insta::assert_snapshot!(refused(&folder, &args), @"callvault: --from 2026-02-01 lies after --to 2026-01-01: exchange them");
}

#[test]
fn a_first_day_in_the_future() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    insta::assert_snapshot!(refused(&folder, &["backfill", "--from", "2999-02-01"]), @"callvault: --from 2999-02-01 lies in the future: there is nothing to archive yet");
    folder.run(&["backfill", "--to", "2999-02-01"]).exits(0);
}

#[test]
fn a_pbx_that_is_not_configured() {
    let folder = Folder::for_pbx(&Pbx::with(1).stop());
    insta::assert_snapshot!(refused(&folder, &["backfill", "--pbx", "hg"]), @"callvault: no pbx `hg` is configured; did you mean `hq`?");
    insta::assert_snapshot!(refused(&folder, &["retry", "--pbx", "warehouse"]), @"callvault: no pbx `warehouse` is configured; there is hq");
}

#[test]
fn a_csv_file_of_nobody_in_particular() {
    let folder = Folder::for_pbx(&Pbx::with(1).stop());
    folder.add_pbx("branch", "https://192.0.2.1", "");
    insta::assert_snapshot!(refused(&folder, &["backfill", "--cdr", "calls.csv"]), @"callvault: --cdr needs --pbx with exactly one id, because 2 PBXs are configured and a CSV file does not name its PBX");
}

#[test]
fn a_csv_file_that_is_not_there() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    insta::assert_snapshot!(refused(&folder, &["backfill", "--cdr", "calls.csv"]), @"callvault: --cdr DIR/calls.csv does not exist: correct the path");
}

#[test]
fn an_old_pbx_without_cdr_needs_a_csv_file() {
    let pbx = Pbx::start(SimulatorOptions { profile: Profile::V1_0, ..Pbx::options(1) });
    let folder = Folder::for_pbx(&pbx.url());
    folder.edit(|text| format!("{text}api_version = \"v1.0.1\"\n"));
    insta::assert_snapshot!(refused(&folder, &["backfill"]), @"callvault: pbx `hq` speaks API v1.0.1, which cannot list its calls: export the CDR in its web interface and give the file with --cdr, or set `cdr_folder`");
}

#[test]
fn a_retry_of_a_name_that_nobody_owes() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    insta::assert_snapshot!(refused(&folder, &["retry", "nosuch.wav"]), @"callvault: nothing to retry under nosuch.wav: it is archived, excluded by a rule, or unknown (with --stuck: not stuck)");
}

#[test]
fn what_the_command_line_does_not_know_is_told_as_json_too() {
    let folder = Folder::for_pbx(&Pbx::with(1).stop());
    for args in [&["backfill", "--from", "yesterday"][..], &["backfill", "--cdr"], &["status", "--josn"]] {
        folder.run(args).exits(2);
        let json = folder.run(&[args, &["--json"]].concat());
        let message = json.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(!message.is_empty());
        assert_eq!(json.code, 2);
    }
}

#[test]
fn arguments_that_are_no_utf_8_are_refused_without_a_panic() {
    let folder = Folder::for_pbx(&Pbx::with(1).stop());
    let strange = OsStr::from_bytes(b"caf\xe9");
    for args in [["backfill", "--pbx"], ["backfill", "--from"], ["backfill", "--cdr"], ["status", "--config"]]
    {
        let command = folder.command(args.map(OsStr::new).into_iter().chain([strange]));
        let said = folder.start(command).wait();
        assert!([2, 4].contains(&said.code), "{said:?}");
    }
}

#[test]
fn a_recording_whose_name_is_no_utf_8_can_be_retried() {
    let pbx = Pbx::with(2);
    let (from, to) = (pbx.truth()[0].name.clone(), b"caf\xe9.wav");
    pbx.world(|world| {
        world.rename(&from, to);
        world.delete_audio(to);
    });
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(3);
    pbx.world(|world| world.restore_audio(to));
    let command = folder.command([OsStr::new("retry"), OsStr::from_bytes(to)]);
    folder.start(command).wait().exits(0);
    assert_eq!(folder.recordings().len(), 2);
}
