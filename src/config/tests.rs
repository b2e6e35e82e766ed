//! Whole configurations, right and wrong. What needs files on a disk is in `tests/cli/config.rs`.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::{Config, ConfigErrors, Generation, Origin, QueueOrder, VoicemailConfig};

pub(super) fn parse(text: &str) -> Result<Config, ConfigErrors> {
    let origin = Origin { file: Path::new("callvault.toml"), mode: 0o600, credentials_directory: None };
    Config::parse(text, &origin)
}

/// What is said about a configuration that is right but for what `pbx` and `rest` add.
pub(super) fn said(pbx: &str, rest: &str) -> String {
    let text = format!("{MINIMAL}{pbx}\n{rest}");
    parse(&text).map_or_else(|error| error.to_string(), |_| "fine".to_owned())
}

pub(super) const MINIMAL: &str = "\
[archive]
path = '/srv/archive'
[state]
path = '/srv/state'
[[pbx]]
id = 'hq'
url = 'https://192.0.2.10:8088'
username = 'api'
password = 's3cret'
";

#[test]
fn ten_lines_are_enough() {
    let config = parse(MINIMAL).unwrap();
    let pbx = &config.pbx[0];
    assert_eq!((pbx.api_version.segment.as_str(), pbx.api_version.generation), ("v1.1.0", Generation::V1_1));
    assert_eq!((pbx.download_api_version.segment.as_str(), pbx.concurrency), ("v1.1.0", 2));
    assert_eq!((pbx.cdr_api, config.queue.concurrency_total), (true, 128));
    assert_eq!(pbx.voicemail, VoicemailConfig { is_polled: true, sends_status: true, per_extension: 50 });
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn voicemail_has_its_keys() {
    let keys = "voicemail = false\nvoicemail_status = false\nvoicemail_per_extension = 300\n";
    let config = parse(&format!("{MINIMAL}{keys}")).unwrap();
    let chosen = VoicemailConfig { is_polled: false, sends_status: false, per_extension: 300 };
    assert_eq!(config.pbx[0].voicemail, chosen);
    let said = said("voicemail = 1\nvoicemail_per_extension = 0", "");
    assert!(said.contains("pbx.voicemail = 1: must be true or false"), "{said}");
    assert!(said.contains("pbx.voicemail_per_extension = 0: must be 1 to 100000"), "{said}");
}

#[test]
fn ids_are_names_that_every_folder_can_have() {
    for id in ["hq", "0", "site-2_b", &"a".repeat(32), "com10", "console"] {
        assert!(parse(&MINIMAL.replace("'hq'", &format!("'{id}'"))).is_ok(), "{id}");
    }
    for id in ["", "-hq", "_hq", "Hq", "h q", "h/q", "..", "hé", &"a".repeat(33), "con", "com1", "nul"] {
        assert!(parse(&MINIMAL.replace("'hq'", &format!("'{id}'"))).is_err(), "{id}");
    }
}

#[test]
fn urls_are_scheme_host_and_port() {
    let table = [
        ("https://192.0.2.10:8088/", "fine"),
        ("https://[2001:db8::1]:8088", "fine"),
        ("https://pbx.example", "fine"),
        ("pbx.example:8088", "must begin with https://"),
        ("ftp://pbx.example", "must begin with https://"),
        ("https://", "is not a URL"),
        ("https://pbx.example:0", "has the port 0"),
        ("https://pbx.example:99999", "is not a URL"),
        ("https://pbx.example/api/v1.1.0", "goes on after the host"),
        ("https://pbx.example/?token=hunter2", "pbx.url: goes on after the host"),
        ("https://api:hunter2@pbx.example", "pbx.url: holds credentials"),
        ("https://api:hunter2@pbx.example:99999", "pbx.url: is not a URL"),
        ("http://pbx.example", "add allow_plain_http = true"),
    ];
    for (url, expected) in table {
        let text = MINIMAL.replace("https://192.0.2.10:8088", url);
        let said = parse(&text).map_or_else(|error| error.to_string(), |_| "fine".to_owned());
        assert!(said.contains(expected) && !said.contains("hunter2"), "{url}: {said}");
    }
    let plain = MINIMAL.replace("https:", "http:");
    assert!(parse(&format!("{plain}allow_plain_http = true\n")).is_ok());
    let pinned = format!("{plain}allow_plain_http = true\ntls_pin_sha256 = '{}'\n", "ab".repeat(32));
    assert!(parse(&pinned).unwrap_err().to_string().contains("an http address has none"));
    let backend = format!("{plain}allow_plain_http = true\ntls_backend = 'rustls'\n");
    assert!(
        parse(&backend).unwrap_err().to_string().contains("pbx.tls_backend = 'rustls': is about TLS, but")
    );
}

#[test]
fn old_tls_needs_openssl_and_openssl_a_pin() {
    let pin = format!("tls_pin_sha256 = '{}'", "ab".repeat(32));
    let table = [
        ("tls_backend = 'rustls'\ntls_version_min = '1.2'".to_owned(), "fine", "fine"),
        (
            "tls_version_min = '1.0'".to_owned(),
            "add tls_backend = \"openssl\"",
            "add tls_backend = \"openssl\"",
        ),
        ("tls_version_min = '1.3'".to_owned(), "must be \"1.0\", \"1.1\" or \"1.2\"", "must be \"1.0\""),
        ("tls_backend = 'boring'".to_owned(), "must be \"rustls\" or \"openssl\"", "must be \"rustls\""),
        ("tls_backend = 'openssl'".to_owned(), "run `callvault trust hq`", "built without OpenSSL"),
        (format!("tls_backend = 'openssl'\n{pin}"), "fine", "install its package, or build it with"),
        (format!("tls_backend = 'openssl'\ntls_version_min = '1.0'\n{pin}"), "fine", "built without OpenSSL"),
    ];
    for (keys, with, without) in table {
        let expected = if cfg!(feature = "legacy-tls") { with } else { without };
        let said = said(&keys, "");
        assert!(said.contains(expected), "{keys}: {said}");
    }
}

#[test]
fn what_is_quoted_cannot_play_tricks_on_a_terminal() {
    let said = said("\"\\u001B[2Jx\" = 1\n\"\u{200b}id\" = 2\ntimezone = '\u{202e}UTC'", "");
    assert!(said.contains("pbx.\\u{1b}[2Jx: unknown key"), "{said}");
    assert!(said.contains("'\\u{202e}UTC'") && said.contains("\\u{200b}id"), "{said}");
}

#[test]
fn problems_are_objects_in_json() {
    let error = parse(&MINIMAL.replace("'hq'", "'HQ'")).unwrap_err();
    let json = serde_json::to_value(error.problems()).unwrap();
    assert_eq!(json[0]["key"], "pbx.id");
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&6.into(), &6.into()));
    assert_eq!(json[0]["value"], "'HQ'");
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_do_not_matter() {
    let text = format!("\u{feff}{}", MINIMAL.replace('\n', "\r\n"));
    assert!(parse(&text).is_ok());
    let error = parse(&text.replace("[archive]", "[archiv]")).unwrap_err();
    assert_eq!(error.problems()[0].position.map(|position| (position.line, position.column)), Some((1, 1)));
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let text = include_str!("testdata/mistakes.toml");
    let said = parse(text).unwrap_err().to_string();
    for secret in ["s3cret", "hunter2"] {
        assert!(!said.contains(secret), "{said}");
    }
    insta::assert_snapshot!(said, @r#"
    callvault.toml:2:1: verbose: unknown section or key; the sections are [archive], [state], [queue], [service], [schedule], [snapshots], [verify], [push], [[pbx]], [[exclude]], [[must_record]], [ledger], [anchors], [[anchor]], [[witness]], [web], [feed], [alerts]
    callvault.toml:5:8: archive.path = "recordings": is not a path from the root; write the whole path, beginning with /
    callvault.toml:6:18: archive.free_bytes_min = "2 GB": must be a number of bytes; write such as 2147483648 or "2 GiB", or remove the line for the default, 2147483648
    callvault.toml:9:8: state.path = "/srv/callvault/../state": holds `..`; write the path that it leads to
    callvault.toml:10:1: state.sync: unknown key; remove it; [state] knows path
    callvault.toml:13:9: queue.order = "random": must be "oldest_first" or "newest_first"; write one of them
    callvault.toml:14:21: queue.concurrency_total = 0: must be 1 to 256; write a number in that range, or remove the line for the default, 128
    callvault.toml:16:15: queue.retry_max_s = 5: is less than retry_base_s, 10; make it the longer of the two
    callvault.toml:17:16: queue.attempts_max = 2.5: must be a whole number; write it without quotes or unit, or remove the line for the default, 12
    callvault.toml:18:28: queue.missing_final_after_days = nan: must be 0.000001 to 365 days; write a number in that range, or remove the line for the default, 3
    callvault.toml:21:6: pbx.id = "HQ": must be 1 to 32 of a-z, 0-9, _ and -, the first a letter or digit; write a short name such as "hq"; it becomes a folder of the archive
    callvault.toml:22:7: pbx.url: holds credentials; move them to username and password_file
    callvault.toml:23:15: pbx.api_version = "1.1.0": is not an API version; versions look like v1.1.0; write the version that the PBX's API page names, v and all
    callvault.toml:24:12: pbx.username = "": is empty; give it a value
    callvault.toml:25:1: pbx.pasword: unknown key; did you mean `password`?
    callvault.toml:26:12: pbx.password: must be text; put it in double quotes
    callvault.toml:27:12: pbx.timezone = "Asia/Shangai": is not a known time zone; did you mean "Asia/Shanghai"?
    callvault.toml:28:15: pbx.concurrency = 9: must be 1 to 8; write a number in that range, or remove the line for the default, 2
    callvault.toml:29:20: pbx.allow_plain_http = "yes": must be true or false; write it without quotes, or remove the line for the default, false
    callvault.toml:30:18: pbx.tls_pin_sha256 = "ab:cd": is not a SHA-256 in hex; write the 64 hex digits that `callvault trust` shows
    callvault.toml:31:14: pbx.login_port = 70000: must be 1 to 65535; write a number in that range
    callvault.toml:32:14: pbx.allowed_ip = "here": is not an IP address; write this machine's address as the PBX sees it, such as "192.0.2.20"
    callvault.toml:33:21: pbx.connect_timeout_s = -1: must be 0.001 to 86400 seconds; write a number in that range, or remove the line for the default, 10
    callvault.toml:34:18: pbx.idle_timeout_s = "20s": must be a number of seconds; write it without quotes or unit, or remove the line for the default, 20
    callvault.toml:35:20: pbx.ticket_age_max_s = 31: must be 0.001 to 30 seconds; write a number in that range, or remove the line for the default, 25
    callvault.toml:36:23: pbx.recording_bytes_max = 10: must be at least 1024 bytes; write a larger number, or remove the line for the default, 2147483648
    callvault.toml:37:14: pbx.cdr_folder = "./cdr": is not a path from the root; write the whole path, beginning with /
    callvault.toml:38:26: pbx.cdr_columns.callID = "Call ID": is not a CDR column; did you mean `callid`?
    callvault.toml:38:62: pbx.cdr_columns.sn = "File": is the heading of another column too; give each column its own heading
    callvault.toml:38:77: pbx.cdr_columns.type = 3: must be text; put it in double quotes
    callvault.toml:39:1: pbx.concurrency_total: unknown key; `concurrency_total` belongs below [queue]
    callvault.toml:41:1: pbx.password_file: missing; add password_file = "…", a file that holds nothing but the password
    callvault.toml:43:7: pbx.url = "192.0.2.11:8088": is not a URL (relative URL without a base); write scheme, host and port, such as https://192.0.2.10:8088
    callvault.toml:47:6: pbx.id = "branch": is taken by line 42; choose another
    callvault.toml:48:7: pbx.url = "http://192.0.2.12": would send the password and all audio unencrypted; use https, or add allow_plain_http = true
    callvault.toml:50:12: pbx.password: stands beside password_file; keep password_file and remove password
    callvault.toml:55:1: exclude.shorter: unknown key; did you mean `shorter_than_s`?
    callvault.toml:58:8: exclude.name = "short": is taken by line 54; choose another
    callvault.toml:59:18: exclude.pbx = "brunch": no [[pbx]] has this id; did you mean "branch"?
    callvault.toml:60:13: exclude.extension: must be text; put it in double quotes
    callvault.toml:62:3: excluded: unknown section or key; did you mean [[exclude]]?
    callvault.toml:65:1: must_record: does not say which calls must be recorded; add a condition such as extension = ["1001"], or pbx = "…" for all calls of a PBX
    callvault.toml:66:14: must_record.min_talk_s = 2.5: must be a whole number; write it without quotes or unit, or remove the line for the default, 10
    callvault.toml:70:1: must_record.extensions: unknown key; did you mean `extension`?
    callvault.toml:71:7: must_record.pbx = "brunch": no [[pbx]] has this id; did you mean "branch"?
    callvault.toml:72:9: must_record.trunk: is an empty list; remove the line if it should not matter
    callvault.toml:73:10: must_record.reason = "": is empty; give it a value
    47 problems
    "#);
}

#[test]
fn syntax_errors_are_reported_with_their_place_and_without_values() {
    let text = MINIMAL.replace("'s3cret'", "s3cret").replace("'/srv/state'", "'/srv/state");
    insta::assert_snapshot!(parse(&text).unwrap_err(), @r#"
    callvault.toml:4:19: is not TOML: invalid literal string, expected `'`; write key = value, with text in double quotes
    callvault.toml:9:12: is not TOML: string values must be quoted, expected literal string; write key = value, with text in double quotes
    2 problems; the rest can be checked when the file is valid TOML
    "#);
    insta::assert_snapshot!(said("username = 'again'", "[state]\npath = '/'"), @r#"
    callvault.toml:10:1: is not TOML: duplicate key; keep one of the two; a further PBX begins with [[pbx]]
    callvault.toml:11:2: is not TOML: duplicate key; keep one of the two; a further PBX begins with [[pbx]]
    callvault.toml:12:1: is not TOML: duplicate key; keep one of the two; a further PBX begins with [[pbx]]
    3 problems; the rest can be checked when the file is valid TOML
    "#);
}

#[test]
fn an_empty_file_says_what_it_lacks() {
    insta::assert_snapshot!(parse("").unwrap_err(), @r#"
    callvault.toml:1:1: archive: missing; add [archive] with path = "/var/lib/callvault/archive"
    callvault.toml:1:1: state: missing; add [state] with path = "/var/lib/callvault/state"
    callvault.toml:1:1: pbx: missing; add a [[pbx]] section with id, url, username and password_file
    3 problems
    "#);
}

#[test]
fn a_section_of_the_wrong_kind_is_still_looked_at() {
    let text = MINIMAL.replace("[[pbx]]", "[pbx]").replace("[state]", "[[state]]");
    insta::assert_snapshot!(parse(&format!("{text}concurrency = 0\n[[exclude]]\nname='x'\npbx='hq'\ndid=1")).unwrap_err(), @r#"
    callvault.toml:3:1: state: must be one section; write [state] once, and its keys below
    callvault.toml:5:1: pbx: must be a list of sections; write [[pbx]] above each, and its keys below
    callvault.toml:10:15: pbx.concurrency = 0: must be 1 to 8; write a number in that range, or remove the line for the default, 2
    callvault.toml:14:5: exclude.did = 1: must be text; put it in double quotes
    4 problems
    "#);
    insta::assert_snapshot!(parse("archive = '/srv'\nstate = {path='/srv/state'}\npbx = ['hq']\nexclude = 3").unwrap_err(), @r#"
    callvault.toml:1:11: archive: must be one section; write [archive] once, and its keys below
    callvault.toml:3:8: pbx: must be a list of sections; write [[pbx]] above each, and its keys below
    callvault.toml:4:11: exclude: must be a list of sections; write [[exclude]] above each, and its keys below
    3 problems
    "#);
}

#[test]
fn archive_and_state_must_be_apart() {
    for (archive, state, apart) in [
        ("/srv/a", "/srv/b", true),
        ("/srv/a", "/srv/ab", true),
        ("/srv/a", "/srv/a/", false),
        ("/srv/a", "/srv//a/./state", false),
        ("/srv/a/archive", "/srv/a", false),
        ("/", "/srv/a", false),
    ] {
        let text = MINIMAL.replace("/srv/archive", archive).replace("/srv/state", state);
        assert_eq!(parse(&text).is_ok(), apart, "{archive} {state}");
    }
}

#[test]
fn every_optional_key_is_read() {
    let config = parse(&format!(
        "{MINIMAL}api_version = 'v0.0.1'\ndownload_api_version = 'v1.1.0'\ntimezone = 'Asia/Shanghai'\n\
         concurrency = 8\ntls_pin_sha256 = 'sha256:{}'\nlogin_port = 8260\nallowed_ip = '2001:db8::1'\n\
         idle_timeout_s = 0.2\noutage_patience_s = 0\nrecording_bytes_max = '3 GiB'\ncdr_folder = '/srv/cdr'\n\
         cdr_columns = {{ callid = 'Call ID' }}\ncdr_keep_columns = ['Department']\ncdr_api = false\n[queue]\norder = 'newest_first'\n\
         retry_base_s = 0.05\nmissing_final_after_days = 0.5\n[[exclude]]\nname = 'short'\npbx = 'hq'\n\
         direction = ['Internal', 'Transfer']\nshorter_than_s = 2.5\n",
        ["AB"; 32].join(":")
    ))
    .unwrap();
    let pbx = &config.pbx[0];
    assert_eq!(pbx.api_version.generation, Generation::Compatible);
    assert_eq!(pbx.download_api_version.segment, "v1.1.0");
    assert_eq!(pbx.tls_pin_sha256.unwrap().to_string(), "ab".repeat(32));
    assert_eq!((pbx.login_port, pbx.cdr_api), (Some(8260), false));
    assert_eq!(pbx.limits.idle_timeout, Duration::from_millis(200));
    assert_eq!((pbx.limits.outage_patience, pbx.limits.recording_bytes_max), (Duration::ZERO, 3 << 30));
    assert_eq!(pbx.cdr_columns["callid"], "Call ID");
    assert_eq!(pbx.cdr_keep_columns, ["Department"]);
    assert_eq!(config.queue.order, QueueOrder::NewestFirst);
    assert_eq!(config.queue.missing_final_after, Duration::from_secs(43_200));
    let rule = &config.exclude[0];
    assert_eq!((rule.shorter_than_s, rule.direction.len(), rule.pbx[0].as_str()), (Some(3), 2, "hq"));
}

#[test]
fn a_pbx_without_cdr_download_takes_its_calls_from_files() {
    let config = parse(&format!("{MINIMAL}api_version = 'v1.0.6'\n")).unwrap();
    assert!(!config.pbx[0].cdr_api);
    assert!(said("api_version = 'v1.0.6'\ncdr_api = true", "").contains("cannot download the CDR"));
}

#[test]
fn cron_lines_that_can_never_serve_are_refused() {
    let schedule = |line: &str| said("", &format!("[schedule]\n{line}\n"));
    insta::assert_snapshot!(schedule("sweep = \"0 0 30 2 *\""), @r#"
    callvault.toml:12:9: schedule.sweep = "0 0 30 2 *": never fires; choose a date that exists
    1 problem
    "#);
    insta::assert_snapshot!(schedule("sweep = \"* * *\""), @r#"
    callvault.toml:12:9: schedule.sweep = "* * *": has 3 fields; write minute, hour, day, month and weekday, such as "*/5 * * * *"
    1 problem
    "#);
    insta::assert_snapshot!(schedule("timezone = \"Europe/Berln\""), @r#"
    callvault.toml:12:12: schedule.timezone = "Europe/Berln": is not a known time zone; did you mean "Europe/Berlin"?
    1 problem
    "#);
    insta::assert_snapshot!(schedule("seal = \"*/20 * 8-17 * * *\""), @r#"
    callvault.toml:12:8: schedule.seal = "*/20 * 8-17 * * *": leaves minutes out, and SHA256SUMS may not lag by one; write seconds and five stars, such as "*/20 * * * * *", or remove the line
    1 problem
    "#);
    insta::assert_snapshot!(schedule("verify = { cron = \"0 3 * * *\", zone = \"UTC\" }"), @r#"
    callvault.toml:12:10: schedule.verify: has the unknown key zone; write such as { cron = "0 3 * * *", timezone = "Europe/Berlin" }
    1 problem
    "#);
    insta::assert_snapshot!(schedule("verify = { cron = \"0 3 * * *\", timezone = \"Asia/Shanghai\" }"), @"fine");
}

#[test]
fn rules_that_match_everything_or_nothing_are_refused() {
    for (conditions, expected) in [
        ("", "exclude every recording"),
        ("shorter_than_s = 0", "no call is shorter"),
        ("shorter_than_s = 3\nlonger_than_s = 2", "no call is longer"),
        ("shorter_than_s = 3\nlonger_than_s = 1", "fine"),
        ("extension = []", "is an empty list"),
        ("extension = [1001]", "must be text"),
        ("pbx = 'hr'", "the ids are hq"),
        ("short_than_s = 3", "exclude.short_than_s: unknown key; did you mean `shorter_than_s`?\n1 problem"),
    ] {
        let said = said("", &format!("[[exclude]]\nname = 'rule'\n{conditions}"));
        assert!(said.contains(expected), "{conditions}: {said}");
    }
}

proptest! {
    #[test]
    fn a_damaged_file_is_refused_with_reasons_or_read_but_never_leaks(
        at in 0..MINIMAL.len(),
        cut in 0_usize..4,
        put in "[\\PC\n\t\"'=\\[\\]#.]{0,3}",
    ) {
        // The password itself stays whole, and in its quotes: elsewhere nobody could know that it is one.
        let password = MINIMAL.find("'s3cret'").expect("it is there");
        prop_assume!(at + cut < password);
        let text = format!("{}{put}{}", &MINIMAL[..at], &MINIMAL[at + cut..]);
        if let Err(error) = parse(&text) {
            prop_assert!(!error.problems().is_empty());
            prop_assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}

#[test]
fn health_and_metrics_stay_on_this_machine_unless_told_otherwise() {
    let listen = |text: &str| parse(&format!("{MINIMAL}[web]\nlisten = '{text}'\n"));
    assert_eq!(parse(MINIMAL).unwrap().web.listen.unwrap().to_string(), "127.0.0.1:8377");
    assert_eq!(listen("off").unwrap().web.listen, None);
    assert_eq!(listen("[::]:9000").unwrap().web.listen.unwrap().to_string(), "[::]:9000");
    for wrong in ["localhost:8377", "127.0.0.1", "8377", "on"] {
        assert!(listen(wrong).unwrap_err().to_string().contains("is not an address with a port"), "{wrong}");
    }
}

#[test]
fn every_mistake_about_alerts_is_told_and_no_address_that_may_hold_a_token() {
    let alerts = "\
[alerts]
timezone = 'Mars/Olympus'
digest_hour = 24
ping_url = 'ftp://hunter2.example'
[alerts.email]
host = 'mail.example.org'
tls = 'none'
from = 'nobody'
to = ['you@example.org', 'hunter']
username = 'me'
[[alerts.webhook]]
url = 'http://example.org/hunter2'
";
    insta::assert_snapshot!(said("", alerts), @r#"
    callvault.toml:12:12: alerts.timezone = 'Mars/Olympus': is not a known time zone; write a name such as "Europe/Berlin"
    callvault.toml:13:15: alerts.digest_hour = 24: must be 0 to 23; write a number in that range, or remove the line for the default, 7
    callvault.toml:14:12: alerts.ping_url: must begin with https:// or http://; write the whole address, such as https://example.org/hooks/…
    callvault.toml:15:1: alerts.email.password_file: missing; give both username and password_file, or neither
    callvault.toml:17:7: alerts.email.tls = 'none': would send alerts and password unencrypted; use "starttls" or "implicit", or add allow_plain_smtp = true
    callvault.toml:18:8: alerts.email.from = 'nobody': is not a mail address; write such as "you@example.org" or "You <you@example.org>"
    callvault.toml:19:26: alerts.email.to = 'hunter': is not a mail address; write such as "you@example.org" or "You <you@example.org>"
    callvault.toml:21:1: alerts.webhook.secret_file: missing; add secret_file = "…", a file that holds the secret that messages are signed with
    callvault.toml:22:7: alerts.webhook.url: would send the alerts unencrypted; use https, or add allow_plain_http = true
    9 problems
    "#);
    let loopback =
        "[alerts.email]\nhost = '127.0.0.1'\ntls = 'none'\nfrom = 'a@b.example'\nto = 'c@d.example'\n";
    let email = parse(&format!("{MINIMAL}{loopback}")).unwrap().alerts.email.unwrap();
    assert_eq!((email.port, email.to.len(), email.credentials.is_none()), (25, 1, true));
}
