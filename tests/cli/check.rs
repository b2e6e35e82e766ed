//! `config check`: everything that is wrong, at once.

use std::fs;

use crate::program::Folder;

#[test]
fn a_good_configuration_is_told_in_the_programs_words() {
    let folder = Folder::for_pbx("https://192.0.2.10:8088");
    insta::assert_snapshot!(folder.run(&["config", "check"]).exits(0).out(), @r"
    DIR/callvault.toml: nothing is wrong with it.
      archive  DIR/archive
      state    DIR/state
      pbx      hq: https://192.0.2.10:8088/ as api, API v1.1.0, 2 connections, password from DIR/hq-password
    ");
    let json = folder.run(&["config", "check", "--json"]).exits(0).json();
    assert_eq!(json["pbx"], serde_json::json!(["hq"]));
    assert!(!folder.path("state").exists(), "nothing is opened");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let folder = Folder::for_pbx("https://192.0.2.10:8088");
    folder.edit(|text| {
        text.replace("free_bytes_min = 0", "free_bytes_mim = 0")
            .replace("retry_max_s = 0.05", "retry_max_s = -1")
            .replace("\"https://", "\"ftp://")
            + "concurrency = 0\n"
    });
    insta::assert_snapshot!(folder.run(&["config", "check"]).exits(2).err(), @r#"
    DIR/callvault.toml:3:1: archive.free_bytes_mim: unknown key; did you mean `free_bytes_min`?
    DIR/callvault.toml:8:15: queue.retry_max_s = -1: must be 0.001 to 31536000 seconds; write a number in that range, or remove the line for the default, 3600
    DIR/callvault.toml:11:7: pbx.url = "ftp://192.0.2.10:8088": must begin with https:// or http://; write scheme, host and port, such as https://192.0.2.10:8088
    DIR/callvault.toml:16:15: pbx.concurrency = 0: must be 1 to 8; write a number in that range, or remove the line for the default, 2
    4 problems
    "#);
    let json = folder.run(&["config", "check", "--json"]).exits(2).json();
    assert_eq!(json["error"]["reason"], "configuration");
    let problems = json["error"]["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 4, "{json}");
    let lines: Vec<_> = problems.iter().map(|problem| problem["line"].as_u64().unwrap()).collect();
    assert!(lines.is_sorted(), "{json}");
    folder.run(&["backfill", "--json"]).exits(2).json();
    folder.run(&["status", "--json"]).exits(2).json();
}

#[test]
fn a_configuration_that_is_not_there_names_the_way_to_one() {
    let folder = Folder::for_pbx("https://192.0.2.10:8088");
    fs::remove_file(folder.config()).unwrap();
    insta::assert_snapshot!(folder.run(&["status"]).exits(2).err(), @"DIR/callvault.toml: there is no such file; copy config.example.toml there and edit it, or name another file with --config");
    folder.run(&["--config", "nosuch.toml", "config", "check", "--json"]).exits(2).json();
}

#[test]
fn who_hears_of_alerts_is_told_without_what_may_be_a_token() {
    let folder = Folder::for_pbx("http://192.0.2.1");
    folder.edit(|text| {
        format!(
            "{text}[alerts]\nping_url = \"https://ping.example/hunter2\"\n[alerts.email]\nhost = \"mail.example\"\n\
             from = \"a@b.example\"\nto = \"you@example.org\"\n"
        )
    });
    let said = folder.run(&["config", "check"]).exits(0).out();
    let alerts: Vec<&str> = said.lines().filter(|line| line.starts_with("  alerts")).collect();
    assert_eq!(
        alerts,
        ["  alerts   mail to you@example.org over mail.example:587", "  alerts   ping to ping.example"]
    );
}
