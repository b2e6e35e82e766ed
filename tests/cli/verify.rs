//! `callvault verify`, as an operator and an auditor use it.

use std::fs;
use std::path::Path;

use callvault::formats::tlog::TlogProof;
use serde_json::Value;

use crate::support::program::{Folder, Pbx};

fn archived(recordings: u64) -> (Pbx, Folder) {
    let pbx = Pbx::with(recordings);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    (pbx, folder)
}

/// Puts other bytes in place of a file that is read-only.
fn rewrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn relative(folder: &Folder, path: &Path) -> String {
    path.strip_prefix(folder.path("archive")).unwrap_or(path).to_str().unwrap().to_owned()
}

/// The latest entry of the ledger.
fn last_entry(folder: &Folder) -> Value {
    let last = folder.number("select max(number) from ledger").to_string();
    let said = folder.run(&["ledger", "prove", &last]).exits(0);
    serde_json::from_slice(&TlogProof::parse(&said.stdout).unwrap().entry).unwrap()
}

#[test]
fn what_is_as_it_was_is_told_in_a_line_and_signed() {
    let (_pbx, folder) = archived(3);
    let quick = folder.run(&["verify"]).exits(0).out();
    assert!(quick.contains("checked: no damage found") && quick.contains("verify --full"), "{quick}");
    let full = folder.run(&["verify", "--full"]).exits(0).out();
    assert!(full.contains("read") && full.contains("no damage found."), "{full}");
    let entry = last_entry(&folder);
    let told = [&entry["type"], &entry["scope"], &entry["altered"], &entry["whole"]];
    assert_eq!(told, [&Value::from("fixity"), &"full".into(), &0.into(), &1.into()]);
    let json = folder.run(&["verify", "--full", "--json"]).exits(0).json();
    assert_eq!(json["damaged"], Value::Array(Vec::new()));
}

#[test]
fn one_bit_that_changed_is_named_with_exit_code_5_until_it_is_mended() {
    let (_pbx, folder) = archived(3);
    let audio = folder.recordings()[1].clone();
    let whole = fs::read(&audio).unwrap();
    let mut bent = whole.clone();
    *bent.last_mut().unwrap() ^= 1;
    rewrite(&audio, &bent);
    // Its size is right: a quick look cannot see it.
    folder.run(&["verify"]).exits(0);
    let json = folder.run(&["verify", "--full", "--json"]).exits(5).json();
    let damaged = json["damaged"].as_array().unwrap();
    assert_eq!(damaged.len(), 1, "{json}");
    let told = (&damaged[0]["class"], &damaged[0]["path"], &damaged[0]["pbx"]);
    assert_eq!(told, (&"altered".into(), &relative(&folder, &audio).into(), &"hq".into()));
    let text = folder.run(&["verify", "--full"]).exits(5).stdout;
    assert!(text.starts_with("altered: hq/") && text.contains("backup"), "{text}");
    assert!(folder.run(&["status"]).exits(0).out().contains("file altered"));
    // Once found, every look reads it again.
    folder.run(&["verify"]).exits(5);
    rewrite(&audio, &whole);
    folder.run(&["verify"]).exits(0);
    assert!(folder.run(&["status"]).exits(0).out().starts_with("1 PBX, all well."));
}

#[test]
fn what_nobody_archived_is_named_and_set_aside_if_that_is_wanted() {
    let (_pbx, folder) = archived(2);
    let stranger = folder.recordings()[0].with_file_name("stranger.wav");
    fs::write(&stranger, "no recording of ours").unwrap();
    let json = folder.run(&["verify", "--json"]).exits(5).json();
    let place = relative(&folder, &stranger);
    assert_eq!(
        (&json["damaged"][0]["class"], &json["damaged"][0]["path"]),
        (&"unlisted".into(), &place.into())
    );
    let json = folder.run(&["verify", "--quarantine", "--json"]).exits(5).json();
    let aside = json["damaged"][0]["quarantined"].as_str().unwrap().to_owned();
    assert!(!stranger.exists());
    let kept = fs::read_to_string(folder.path("archive").join(&aside)).unwrap();
    assert_eq!(kept, "no recording of ours");
    folder.run(&["verify", "--full"]).exits(0);
}

#[test]
fn sums_that_were_rewritten_to_match_hide_nothing() {
    let (_pbx, folder) = archived(2);
    let audio = folder.recordings()[0].clone();
    let sums = audio.with_file_name("SHA256SUMS");
    let mut bent = fs::read(&audio).unwrap();
    let before = callvault::base::digest::Digest::of(&bent).to_string();
    bent[60] ^= 8;
    let after = callvault::base::digest::Digest::of(&bent).to_string();
    let lines = fs::read_to_string(&sums).unwrap().replace(&before, &after);
    rewrite(&audio, &bent);
    rewrite(&sums, lines.as_bytes());
    let json = folder.run(&["verify", "--full", "--json"]).exits(5).json();
    let damaged = json["damaged"].as_array().unwrap();
    let mut named: Vec<&str> = damaged.iter().map(|one| one["path"].as_str().unwrap()).collect();
    named.sort_unstable();
    let mut expected = [relative(&folder, &sums), relative(&folder, &audio)];
    expected.sort();
    assert_eq!(named, expected);
}

#[test]
fn a_reading_that_ends_in_time_goes_on_with_the_rest() {
    let (_pbx, folder) = archived(4);
    let json = folder.run(&["verify", "--full", "--time-limit", "0s", "--json"]).exits(0).json();
    assert_eq!(json["whole"], false, "{json}");
    let json = folder.run(&["verify", "--full", "--json"]).exits(0).json();
    assert_eq!(json["whole"], true, "{json}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (_pbx, folder) = archived(1);
    let limit = folder.run(&["verify", "--time-limit", "5m"]).exits(2);
    assert!(limit.stderr.contains("--time-limit is for --full"), "{limit:?}");
    let unknown = folder.run(&["verify", "--pbx", "lion"]).exits(2);
    assert!(unknown.stderr.contains("lion"), "{unknown:?}");
    folder.run(&["verify", "--quick", "--full"]).exits(2);
}

/// Copies that a file manager made, beside the files of the ledger.
#[test]
fn names_that_the_ledger_never_has_are_named_and_hide_nothing_else() {
    let (_pbx, folder) = archived(2);
    let ledger = folder.path("archive").join("_ledger");
    let planted = ["tile/0/000 (2)", "keys/copy of a key.vkey", "note to self"];
    for path in planted {
        fs::write(ledger.join(path), "theirs").unwrap();
    }
    let audio = folder.recordings()[0].clone();
    fs::remove_file(&audio).unwrap();
    let json = folder.run(&["verify", "--json"]).exits(5).json();
    let mut named: Vec<&str> =
        json["damaged"].as_array().unwrap().iter().map(|damage| damage["path"].as_str().unwrap()).collect();
    named.sort_unstable();
    let mut expected: Vec<String> = planted.iter().map(|path| format!("_ledger/{path}")).collect();
    expected.push(relative(&folder, &audio));
    expected.sort_unstable();
    assert_eq!(named, expected);
    folder.run(&["ledger", "check"]).exits(0);
    folder.run(&["rebuild"]).exits(0);
}
