//! `config check`: everything that is wrong, at once.

use std::fs;

use crate::support::pem::certificate_of;
use crate::support::program::Folder;

#[test]
fn a_good_configuration_is_told_in_the_programs_words() {
    let folder = Folder::for_pbx("https://192.0.2.10:8088");
    insta::assert_snapshot!(folder.run(&["config", "check"]).exits(0).out(), @r"
    DIR/callvault.toml: the configuration is correct.
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

/// A configuration with a reader of the feed, and these lines below `[web]`.
fn with_reader(web: &str) -> Folder {
    let folder = Folder::for_pbx("https://192.0.2.10:8088");
    folder.write_secret("reader-token", "0123456789abcdef01234567");
    folder.edit(|text| {
        format!(
            "{text}[web]\n{web}\n[feed]\nenabled = true\n[[feed.reader]]\nname = \"audit\"\n\
             token_file = \"reader-token\"\n"
        )
    });
    folder
}

#[test]
fn tokens_over_plain_http_beyond_loopback_are_refused_unless_in_words() {
    let open = "listen = \"0.0.0.0:8377\"";
    let folder = with_reader(open);
    insta::assert_snapshot!(folder.run(&["config", "check"]).exits(2).err(), @r"
    DIR/callvault.toml:19:11: feed.enabled = true: would let readers on other machines send their tokens unencrypted; set certificate_file and key_file of [web], or listen on 127.0.0.1 behind a proxy that speaks TLS, or add allow_plain_http = true to [web]
    1 problem
    ");
    assert!(folder.run(&["run"]).exits(2).err().contains("send their tokens unencrypted"), "a first start");
    assert!(!folder.path("state").exists(), "nothing is opened");
    for fine in [
        "listen = \"127.0.0.1:8377\"".to_owned(),
        "listen = \"[::1]:8377\"".to_owned(),
        format!("{open}\nallow_plain_http = true"),
    ] {
        with_reader(&fine).run(&["config", "check"]).exits(0);
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_named() {
    let ((one, its_key, _), (_, other_key, _)) =
        (certificate_of("one.example"), certificate_of("other.example"));
    let web = "listen = \"0.0.0.0:8377\"\ncertificate_file = \"one.pem\"\nkey_file = \"one.key\"";
    let said = |pem: &str, key: &str| {
        let folder = with_reader(web);
        folder.write_secret("one.pem", pem);
        folder.write_secret("one.key", key);
        let said = folder.run(&["config", "check"]);
        if pem == one && key == its_key { said.exits(0).out() } else { said.exits(2).err() }
    };
    assert!(said(&one, &its_key).contains("the configuration is correct"));
    for (pem, key, words) in [
        (
            "nonsense",
            &*its_key,
            "web.certificate_file = \"one.pem\": DIR/one.pem holds no certificate; let it hold",
        ),
        (
            &one,
            "nonsense",
            "web.key_file = \"one.key\": DIR/one.key holds no private key; let it hold the key in PEM",
        ),
        (&one, &other_key, "web.key_file = \"one.key\": DIR/one.key cannot be used with DIR/one.pem ("),
    ] {
        let said = said(pem, key);
        assert!(said.contains(words) && !said.contains("PRIVATE KEY"), "{said}");
    }
    let absent = with_reader(web).run(&["config", "check"]).exits(2).err();
    assert!(absent.contains("DIR/one.pem cannot be read (no such file or directory)"), "{absent}");
    let lone = with_reader("certificate_file = \"one.pem\"").run(&["config", "check"]).exits(2).err();
    assert!(lone.contains("web.key_file: missing beside certificate_file"), "{lone}");
    let group = with_reader(web);
    group.write_secret("one.pem", &one);
    group.write_secret("one.key", &its_key);
    fs::set_permissions(group.path("one.key"), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let group = group.run(&["config", "check"]).exits(2).err();
    assert!(group.contains("web.key_file: its group can read the secret in DIR/one.key"), "{group}");
    let open = with_reader(web);
    open.write_secret("one.pem", &one);
    fs::write(open.path("one.key"), &its_key).unwrap();
    let open = open.run(&["config", "check"]).exits(2).err();
    assert!(
        open.contains("DIR/one.key may be read by everyone on this machine; chmod 600 DIR/one.key"),
        "{open}"
    );
}
