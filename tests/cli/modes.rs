//! Secrets that others can read, and files of the operator's that others can write.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::program::{Folder, PASSWORD, Pbx};

/// Users and a group that no test machine has given to anybody.
const SERVICE: u32 = 61_234;
const AUDITOR: u32 = 61_235;

const READER: &str =
    "[feed]\nenabled = true\n[[feed.reader]]\nname = \"siem\"\ntoken_file = \"siem-token\"\n";
const LEDGER: &str = "[ledger]\nkey_file = \"ledger-key\"\n";

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// An installation with a secret of each kind.
fn with_secrets(pbx: &Pbx) -> Folder {
    let folder = Folder::for_pbx(&pbx.url());
    fs::write(folder.path("siem-token"), "5f0c2e6d1b7a49c8930e4f6b2a1d8c7e\n").unwrap();
    fs::write(folder.path("ledger-key"), format!("{}\n", "07".repeat(32))).unwrap();
    for secret in ["siem-token", "ledger-key"] {
        set_mode(&folder.path(secret), 0o600);
    }
    folder.edit(|text| format!("{text}{READER}{LEDGER}"));
    folder
}

/// Runs the command that a sentence names, as root would.
fn mend(said: &str) {
    let command = said.split('`').find(|part| part.starts_with("sudo ")).unwrap_or_else(|| panic!("{said}"));
    let done = Command::new("/bin/sh").arg("-c").arg(command.replace("sudo ", "")).status().unwrap();
    assert!(done.success(), "{command}");
}

#[test]
fn a_secret_that_the_group_can_read_is_refused_with_the_command_that_mends_it() {
    let pbx = Pbx::with(1);
    for secret in ["hq-password", "siem-token", "ledger-key"] {
        for (mode, words) in [
            (0o640, "its group can read the secret in"),
            (0o660, "its group can read and change the secret in"),
            (0o620, "its group can change the secret in"),
        ] {
            let folder = with_secrets(&pbx);
            folder.run(&["config", "check"]).exits(0);
            let file = folder.path(secret);
            set_mode(&file, mode);
            for command in [&["config", "check"][..], &["backfill"], &["run"]] {
                let said = folder.run(command).exits(2).stderr;
                assert!(said.contains(words), "{command:?}: {said}");
            }
            let json = folder.run(&["config", "check", "--json"]).exits(2).json();
            assert!(json["error"]["problems"][0]["line"].as_u64().is_some_and(|line| line > 1), "{json}");
            assert!(!folder.path("state").exists() && !folder.path("archive").exists());
            assert_eq!(pbx.counters().requests, 0);
            mend(&format!("`sudo chmod 600 {}`", file.display()));
            folder.run(&["config", "check"]).exits(0);
        }
    }
}

#[test]
fn the_sentence_about_an_open_secret_names_its_line_and_the_command() {
    let folder = Folder::for_pbx("http://192.0.2.10");
    set_mode(&folder.path("hq-password"), 0o640);
    insta::assert_snapshot!(folder.run(&["config", "check"]).exits(2).err(), @"
    DIR/callvault.toml:13:17: pbx.password_file: its group can read the secret in DIR/hq-password; fix it with `sudo chmod 600 DIR/hq-password`
    1 problem
    ");
}

#[test]
fn an_installation_that_is_at_work_tells_of_open_files_and_goes_on() {
    let pbx = Pbx::with(2);
    let folder = with_secrets(&pbx);
    folder.run(&["backfill"]).exits(0);
    set_mode(&folder.path("hq-password"), 0o644);
    set_mode(&folder.path("siem-token"), 0o640);
    set_mode(&folder.config(), 0o666);
    set_mode(&folder.path("archive"), 0o777);
    let words = [
        "everyone on this machine can read the secret in",
        "its group can read the secret in",
        "everyone on this machine can write to the configuration",
        "everyone on this machine can write to the archive",
    ];
    let said = folder.run(&["backfill"]).exits(0);
    for words in words {
        assert!(said.stderr.contains(words), "{words}: {}", said.stderr);
    }
    let status = folder.run(&["status", "--json"]).exits(0).json();
    assert_eq!(status["exposed"].as_array().unwrap().len(), 4, "{status}");
    let page = folder.run(&["status"]).exits(0).stdout;
    assert!(page.starts_with("The installation needs you (open to others)"), "{page}");
    assert!(words.iter().all(|words| page.contains(words)), "{page}");
    let refused = folder.run(&["config", "check"]).exits(2).stderr;
    assert!(words.iter().all(|words| refused.contains(words)), "{refused}");

    // Each command is the one that mends it.
    for exposed in status["exposed"].as_array().unwrap() {
        mend(&format!("`{}`", exposed["command"].as_str().unwrap()));
    }
    folder.run(&["config", "check"]).exits(0);
    assert_eq!(folder.run(&["backfill"]).exits(0).stderr, "");
    assert!(folder.run(&["status", "--json"]).exits(0).json().get("exposed").is_none());
}

#[test]
fn what_others_can_write_is_refused_before_anything_is_made() {
    let pbx = Pbx::with(1);
    for (name, mode, words) in [
        ("callvault.toml", 0o646, "everyone on this machine can write to the configuration"),
        ("callvault.toml", 0o664, "its group can write to the configuration"),
        ("archive", 0o777, "everyone on this machine can write to the archive"),
        ("", 0o770, "its group can write to the folder of the configuration"),
    ] {
        let folder = Folder::for_pbx(&pbx.url());
        if name == "archive" {
            fs::create_dir(folder.path(name)).unwrap();
        }
        set_mode(&folder.path(name), mode);
        let requests = pbx.counters().requests;
        for command in [&["config", "check"][..], &["backfill"], &["run"]] {
            let said = folder.run(command).exits(2).stderr;
            assert!(said.contains(words) && said.contains("`sudo chmod "), "{command:?}: {said}");
        }
        assert!(!folder.path("state").exists());
        assert_eq!(pbx.counters().requests, requests);
        let taken = if name == "archive" { "o-w" } else { "go-w" };
        mend(&format!("`sudo chmod {taken} {}`", folder.path(name).display()));
        folder.run(&["backfill"]).exits(0);
    }
}

#[test]
fn a_group_may_write_the_archive() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    fs::create_dir(folder.path("archive")).unwrap();
    set_mode(&folder.path("archive"), 0o2770);
    folder.run(&["config", "check"]).exits(0);
    assert_eq!(folder.run(&["backfill"]).exits(0).stderr, "");
}

#[test]
fn a_credential_of_systemd_may_have_any_mode() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    fs::remove_file(folder.path("hq-password")).unwrap();
    let credentials = folder.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("hq-password"), PASSWORD).unwrap();
    set_mode(&credentials.join("hq-password"), 0o440);
    for name in ["hq-password", credentials.join("hq-password").to_str().unwrap()] {
        folder.edit(|text| {
            let lines = text.lines().map(|line| match line.starts_with("password_file") {
                true => format!("password_file = \"{name}\"\n"),
                false => format!("{line}\n"),
            });
            lines.collect()
        });
        for command in [&["config", "check"][..], &["backfill"]] {
            let mut program = folder.command(command);
            program.env("CREDENTIALS_DIRECTORY", &credentials);
            assert_eq!(folder.start(program).wait().exits(0).stderr, "");
        }
    }
    // Without systemd's word it is a file like any other.
    assert!(folder.run(&["config", "check"]).exits(2).stderr.contains("its group can read the secret"));
}

/// The attack: modes as version 0.1 documented them, and an auditor in the group.
#[test]
fn an_auditor_of_the_group_reads_no_secret_once_the_named_command_was_run() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: running commands as several users needs root, which can be every user");
        return;
    }
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    let file = folder.path("hq-password");
    chown(folder.path(""), Some(SERVICE), Some(SERVICE)).unwrap();
    set_mode(&folder.path(""), 0o750);
    chown(&file, Some(0), Some(SERVICE)).unwrap();
    set_mode(&file, 0o640);
    let auditor_reads = || {
        let mut cat = Command::new("/bin/cat");
        cat.arg(&file).uid(AUDITOR).gid(SERVICE).stdout(Stdio::null()).stderr(Stdio::null());
        cat.status().unwrap().success()
    };
    let run = |args: &[&str]| {
        let mut command = folder.command(args);
        command.uid(SERVICE).gid(SERVICE);
        folder.start(command).wait()
    };
    assert!(auditor_reads());
    let json = run(&["config", "check", "--json"]).exits(2).json();
    let remedy = json["error"]["problems"][0]["remedy"].as_str().unwrap().to_owned();
    assert!(remedy.starts_with("fix it with `sudo chown 61234 "), "{remedy}");
    run(&["backfill"]).exits(2);
    mend(&remedy);
    assert!(!auditor_reads());
    run(&["config", "check"]).exits(0);
    run(&["backfill"]).exits(0);
}
