//! `backup`: all that the archive does not hold, whole, for its owner alone, and enough to go on with.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::program::{Folder, Pbx, Said, eventually};

const FILES: [&str; 9] = [
    "RESTORE.txt",
    "SHA256SUMS",
    "callvault.toml",
    "manifest.json",
    "state/adopt.key",
    "state/callvault.db",
    "state/checkpoint",
    "state/credentials.key",
    "state/ledger.key",
];

fn backup(folder: &Folder, name: &str) -> Said {
    folder.run(&["backup", folder.path(name).to_str().unwrap()])
}

/// What is in a backup, by its path within.
fn names(folder: &Folder, name: &str) -> Vec<String> {
    let top = folder.path(name);
    let within = |file: PathBuf| file.strip_prefix(&top).unwrap().to_str().unwrap().to_owned();
    folder.files(name).into_iter().map(within).collect()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn shell(script: &str, folder: &Path) -> Said {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-euc", script]).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    let out = shell.output().unwrap();
    Said::new(out.status, &out.stdout, &out.stderr, folder)
}

fn is_whole(folder: &Folder, name: &str) {
    shell("sha256sum --check --strict --quiet SHA256SUMS", &folder.path(name)).exits(0);
    let database = folder.path(name).join("state/callvault.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database).read_only(true);
        let pool = sqlx::SqlitePool::connect_with(options.immutable(true)).await.unwrap();
        let word: String = sqlx::query_scalar("pragma integrity_check").fetch_one(&pool).await.unwrap();
        assert_eq!(word, "ok");
        pool.close().await;
    });
}

#[test]
fn nobody_but_its_owner_can_read_anything_of_a_backup_whatever_the_umask() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    for umask in ["000", "022", "077"] {
        let name = format!("backup-{umask}");
        let mut command = Command::new("/bin/sh");
        command
            .args([
                "-c",
                &format!("umask {umask}; exec \"$0\" \"$@\""),
                env!("CARGO_BIN_EXE_callvault"),
                "backup",
            ])
            .arg(folder.path(&name))
            .env_clear()
            .env("CALLVAULT_CONFIG", folder.config())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        folder.start(command).wait().exits(0);
        assert_eq!(names(&folder, &name), FILES);
        for file in folder.files(&name) {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
        for within in [folder.path(&name), folder.path(&name).join("state")] {
            assert_eq!(mode(&within), 0o700, "{}", within.display());
        }
        is_whole(&folder, &name);
    }
    // Nothing else was left beside them.
    let hidden = fs::read_dir(folder.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!hidden.into_iter().any(|name| name.to_string_lossy().starts_with('.')));
}

/// Neither database has a write-ahead log before somebody writes to it.
#[test]
fn a_database_can_be_backed_up_right_after_it_was_rebuilt_or_restored() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    folder.run(&["rebuild"]).exits(0);
    backup(&folder, "rebuilt").exits(0);
    is_whole(&folder, "rebuilt");
    fs::copy(folder.path("rebuilt/state/callvault.db"), folder.path("state/callvault.db")).unwrap();
    backup(&folder, "restored").exits(0);
    is_whole(&folder, "restored");
}

#[test]
fn a_backup_tells_what_it_is() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    let said = backup(&folder, "first").exits(0).out();
    let bytes =
        said.split(": 9 files, ").nth(1).and_then(|rest| rest.split(", readable").next()).unwrap().to_owned();
    insta::assert_snapshot!(said.replace(&bytes, "N KiB"), @"
    Backed up to DIR/first: 9 files, N KiB, readable by their owner only. RESTORE.txt there says how to restore.
    It contains the key that signs the ledger, and who called whom: encrypt it before it leaves this machine.
    ");
    let json = folder.run(&["backup", "second", "--json"]).exits(0).json();
    assert_eq!(
        (&json["files"], json["path"].as_str().unwrap().ends_with("/second")),
        (&9.into(), true),
        "{json}"
    );
    let manifest = fs::read(folder.path("second/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["format"], "callvault-backup/1");
    assert_eq!(manifest["secrets_elsewhere"], serde_json::json!([folder.path("hq-password")]));
    let files: Vec<&String> = manifest["files"].as_object().unwrap().keys().collect();
    assert_eq!(
        files,
        [
            "callvault.toml",
            "state/adopt.key",
            "state/callvault.db",
            "state/checkpoint",
            "state/credentials.key",
            "state/ledger.key"
        ]
    );
}

/// By the very commands of its `RESTORE.txt`.
#[test]
fn what_was_lost_goes_on_from_a_backup_archiving_and_signing() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: RESTORE.txt is for root");
        return;
    }
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    folder.run(&["ledger", "rotate-key"]).exits(0);
    backup(&folder, "backup").exits(0);
    let keys = |place: &str| {
        let files =
            folder.files(place).into_iter().filter(|file| file.extension().is_some_and(|end| end == "key"));
        files.map(|file| (file.file_name().unwrap().to_owned(), fs::read(file).unwrap())).collect::<Vec<_>>()
    };
    let known = keys("state");
    assert_eq!(known.len(), 4, "the former key is there too");
    // The archive goes on, and is signed, before all else is lost.
    let call_again = |name: &'static [u8]| {
        pbx.world(|world| {
            let mut call = world.rows(world.today(), world.today())[0].clone();
            call.recording = name.to_vec();
            call.callid = format!("{}.{}", call.start.as_second(), name.len());
            world.add_call(call);
        });
    };
    call_again(b"later.wav");
    folder.run(&["backfill"]).exits(0);
    assert_eq!(folder.recordings().len(), 4);
    let signed = folder.run(&["ledger", "--json"]).exits(0).json();
    fs::remove_dir_all(folder.path("state")).unwrap();
    fs::remove_file(folder.config()).unwrap();

    let text = fs::read_to_string(folder.path("backup/RESTORE.txt")).unwrap();
    let commands = text.lines().filter_map(|line| line.strip_prefix("    "));
    let commands = commands.filter(|line| !line.starts_with("systemctl "));
    let script: String = commands.map(|line| format!("{line}\n")).collect();
    let script =
        script.replace(" callvault --config", &format!(" {} --config", env!("CARGO_BIN_EXE_callvault")));
    assert!(script.lines().count() >= 8, "{script}");
    shell(&script, &folder.path("backup")).exits(0);

    assert_eq!(keys("state"), known);
    assert_eq!(mode(&folder.path("state")), 0o700);
    folder.run(&["verify", "--full"]).exits(0);
    call_again(b"last-one.wav");
    folder.run(&["backfill"]).exits(0);
    assert_eq!(folder.recordings().len(), 5);
    folder.run(&["ledger", "check"]).exits(0);
    let after = folder.run(&["ledger", "--json"]).exits(0).json();
    assert_eq!(after["origin"], signed["origin"]);
    folder.run(&["verify", "--full"]).exits(0);
    folder.run(&["reconcile"]).exits(0);
}

#[test]
fn a_backup_is_made_while_the_service_runs_and_works() {
    let pbx = Pbx::with(40);
    let folder = Folder::for_pbx(&pbx.url());
    let service = folder.start(folder.command(["run"]));
    eventually("the service archives", || folder.path("archive/hq").exists());
    for number in 0..3 {
        let name = format!("backup-{number}");
        backup(&folder, &name).exits(0);
        is_whole(&folder, &name);
    }
    service.signal(Signal::TERM);
    service.wait().exits(0);
}

#[test]
fn what_cannot_be_a_backup_is_refused_in_one_sentence_and_leaves_nothing() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    let refused = |name: &str, words: &str| {
        let before = folder.files("");
        let said = backup(&folder, name).exits(2).stderr;
        assert!(said.contains(words) && said.trim_end().lines().count() == 1, "{name}: {said}");
        let json = folder.run(&["backup", folder.path(name).to_str().unwrap(), "--json"]).exits(2).json();
        assert!(json["error"]["message"].as_str().unwrap().contains(words), "{json}");
        let is_log = |path: &PathBuf| path.to_string_lossy().contains("callvault.db-");
        let lasting = |mut files: Vec<PathBuf>| {
            files.retain(|path| !is_log(path));
            files
        };
        assert_eq!(lasting(folder.files("")), lasting(before));
    };
    refused("backup", "there is nothing to back up");
    folder.run(&["backfill"]).exits(0);
    fs::create_dir(folder.path("full")).unwrap();
    fs::write(folder.path("full/theirs"), "").unwrap();
    symlink(folder.path("full"), folder.path("link")).unwrap();
    symlink(folder.path("state"), folder.path("way-in")).unwrap();
    fs::write(folder.path("file"), "").unwrap();
    refused("full", "is there already, and no backup is overwritten");
    refused("file", "is there already, and no backup is overwritten");
    refused("link", "is a link, or where a filesystem is mounted");
    refused("archive/backup", "is in the archive or in the state folder");
    refused("archive/hq/backup", "is in the archive or in the state folder");
    refused("state/backup", "is in the archive or in the state folder");
    refused("way-in/backup", "is in the archive or in the state folder");
    refused("no/such", "does not exist: create that folder first");
    refused("..", "is no name for a new folder");

    backup(&folder, "backup").exits(0);
    let before = fs::read(folder.path("backup/SHA256SUMS")).unwrap();
    refused("backup", "is there already, and no backup is overwritten");
    assert_eq!(fs::read(folder.path("backup/SHA256SUMS")).unwrap(), before);
}

#[test]
fn a_full_disk_is_refused_with_what_is_needed() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    let small = folder.path("small");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&small).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this test mounts a tmpfs, which needs root");
        return;
    }
    let said = backup(&folder, "small/backup").exits(2).stderr;
    let left = fs::read_dir(&small).unwrap().count();
    Command::new("umount").arg("--lazy").arg(&small).status().unwrap();
    assert!(said.contains("has room for 65536 bytes, and the backup needs "), "{said}");
    assert_eq!(left, 0);
}

/// A secret of the operator's in the state folder would be lost with it; one elsewhere is his to keep.
#[test]
fn secrets_are_in_a_backup_only_if_they_lie_in_the_state_folder() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    fs::create_dir(folder.path("state")).unwrap();
    fs::set_permissions(folder.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
    let password = fs::read(folder.path("hq-password")).unwrap();
    fs::rename(folder.path("hq-password"), folder.path("state/hq-password")).unwrap();
    let inside = folder.path("state/hq-password").display().to_string();
    folder.edit(|text| text.replace("\"hq-password\"", &format!("\"{inside}\"")));
    folder.run(&["backfill"]).exits(0);
    backup(&folder, "backup").exits(0);
    assert_eq!(fs::read(folder.path("backup/state/hq-password")).unwrap(), password);
    assert_eq!(mode(&folder.path("backup/state/hq-password")), 0o600);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path("backup/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["secrets_elsewhere"], serde_json::json!([]));
}

/// Root keeps backups from the service; that leaves nothing in the state that the service could not use.
#[test]
fn root_backs_up_what_belongs_to_the_service_and_leaves_nothing_there() {
    const SERVICE: u32 = 61_234;
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: running commands as another user needs root");
        return;
    }
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    for path in ["", "callvault.toml", "hq-password"] {
        chown(folder.path(path), Some(SERVICE), Some(SERVICE)).unwrap();
    }
    let run = |args: &[&str]| {
        let mut command = folder.command(args);
        command.uid(SERVICE).gid(SERVICE);
        folder.start(command).wait()
    };
    run(&["backfill"]).exits(0);
    // What systemd hands to the service, root's shell does not have.
    fs::remove_file(folder.path("hq-password")).unwrap();
    backup(&folder, "backup").exits(0);
    is_whole(&folder, "backup");
    for file in folder.files("state") {
        assert_eq!(fs::metadata(&file).unwrap().uid(), SERVICE, "{}", file.display());
    }
    let text = fs::read_to_string(folder.path("backup/RESTORE.txt")).unwrap();
    assert!(text.contains("    chown -R 61234 "), "{text}");
    folder.write_password(crate::support::program::PASSWORD);
    chown(folder.path("hq-password"), Some(SERVICE), Some(SERVICE)).unwrap();
    run(&["backfill"]).exits(0);
}
