//! Modes whatever the umask, and commands that are run by another user than the one whose files these are.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::program::{Folder, Pbx, Said};

/// Users that no test machine has given to anybody, with a name (`nobody`) and without.
const NOBODY: u32 = 65534;
const SERVICE: u32 = 61_234;

/// Everything below a folder, the folder itself included, each with its mode.
fn modes(top: &Path) -> Vec<(PathBuf, bool, u32)> {
    let mut found = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.push((path, metadata.is_dir(), metadata.permissions().mode() & 0o7777));
    }
    found
}

/// Runs the program under a umask.
fn under(folder: &Folder, umask: &str, args: &[&str]) -> Said {
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(format!("umask {umask}; exec \"$0\" \"$@\""))
        .arg(env!("CARGO_BIN_EXE_callvault"))
        .args(args)
        .env_clear()
        .env("CALLVAULT_CONFIG", folder.config())
        .current_dir(folder.path(""))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    folder.start(shell).wait()
}

#[test]
fn files_and_folders_have_the_documented_modes_whatever_the_umask() {
    for umask in ["077", "000", "027", "0777"] {
        let pbx = Pbx::with(3);
        let folder = Folder::for_pbx(&pbx.url());
        let days = pbx.truth().len();
        under(&folder, umask, &["backfill"]).exits(0);
        let export = folder.path("bag").display().to_string();
        under(&folder, umask, &["export", "--out", &export]).exits(0);
        under(&folder, umask, &["verify", "--full"]).exits(0);
        assert_eq!(folder.recordings().len(), days);
        for (path, is_folder, mode) in modes(&folder.path("archive")) {
            assert_eq!(mode, if is_folder { 0o750 } else { 0o440 }, "{} under {umask}", path.display());
        }
        for (path, is_folder, mode) in modes(&folder.path("state")) {
            assert_eq!(mode, if is_folder { 0o700 } else { 0o600 }, "{} under {umask}", path.display());
        }
        for (path, is_folder, mode) in modes(&folder.path("bag")) {
            assert_eq!(mode, if is_folder { 0o750 } else { 0o640 }, "{} under {umask}", path.display());
        }
    }
}

/// Version 0.1 made them as the umask said.
#[test]
fn folders_that_are_too_tight_are_opened_with_the_next_file_in_them_and_the_root_is_left_as_it_is() {
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    for (path, is_folder, _) in modes(&folder.path("archive")) {
        if is_folder {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        }
    }
    pbx.world(|world| {
        let day = world.today();
        let mut call = world.rows(day, day)[0].clone();
        (call.recording, call.callid) = (b"late.wav".to_vec(), format!("{}.99", call.start.as_second()));
        world.add_call(call);
    });
    folder.run(&["backfill"]).exits(0);
    assert_eq!(folder.recordings().len(), 4);
    let root = folder.path("archive");
    for (path, is_folder, mode) in modes(&root) {
        // Of the ledger, tiles that are full are written to no more.
        if is_folder && path != root && !path.starts_with(root.join("_ledger/")) {
            assert_eq!(mode, 0o750, "{}", path.display());
        }
    }
    assert_eq!(fs::metadata(root).unwrap().permissions().mode() & 0o7777, 0o700);
}

/// Whether this test can be several users.
fn is_root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: {what} needs root, which can be every user");
    }
    is_root
}

/// An installation of `user`'s.
fn of_user(pbx: &Pbx, user: u32) -> Folder {
    let folder = Folder::for_pbx(&pbx.url());
    for path in ["", "callvault.toml", "hq-password"] {
        chown(folder.path(path), Some(user), Some(user)).unwrap();
    }
    fs::set_permissions(folder.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn run_as(folder: &Folder, user: u32, args: &[&str]) -> Said {
    let mut command = folder.command(args);
    command.uid(user).gid(user);
    folder.start(command).wait()
}

/// Who owns what in an installation, without the configuration.
fn owners(folder: &Folder) -> Vec<(PathBuf, u32)> {
    // Whoever reads the database last takes its logs away, and the next one makes them for the database's owner.
    let is_log = |path: &Path| path.to_string_lossy().contains("callvault.db-");
    let mut owners: Vec<_> = modes(&folder.path(""))
        .into_iter()
        .filter(|(path, ..)| !is_log(path))
        .map(|(path, ..)| (path.clone(), fs::symlink_metadata(path).unwrap().uid()))
        .collect();
    owners.sort();
    owners
}

/// Refused with exit code 2, and nothing made.
fn refuses(folder: &Folder, args: &[&str], words: &[&str]) {
    let before = owners(folder);
    let said = folder.run(args).exits(2);
    assert_eq!(owners(folder), before, "{args:?}");
    for word in words {
        assert!(said.stderr.contains(word), "{args:?}: {}", said.stderr);
    }
}

const WRITING: [&[&str]; 9] = [
    &["backfill"],
    &["retry"],
    &["verify"],
    &["pause", "hq"],
    &["resume", "hq"],
    &["rebuild"],
    &["ledger", "rotate-key"],
    &["export", "--out", "bag"],
    &["run"],
];

#[test]
fn root_writes_to_nobody_elses_installation_and_reads_it() {
    if !is_root("running commands as another user than the owner") {
        return;
    }
    let pbx = Pbx::with(3);
    for user in [NOBODY, SERVICE] {
        let folder = of_user(&pbx, user);
        let words = match user {
            NOBODY => ["belongs to nobody, and this was run by root", "`sudo -u nobody "],
            _ => ["belongs to user 61234, and this was run by root", "`sudo -u '#61234' "],
        };
        // Nothing is there yet, but the folder that it will be in tells whose it is.
        refuses(&folder, &["backfill"], &words);
        run_as(&folder, user, &["backfill"]).exits(0);
        for command in WRITING {
            refuses(&folder, command, &words);
        }
        for command in [
            &["status"][..],
            &["reconcile"],
            &["config", "check"],
            &["ledger"],
            &["ledger", "check"],
            &["feed"],
        ] {
            folder.run(command).exits(0);
        }
        for (path, ..) in modes(&folder.path("")) {
            assert_eq!(fs::symlink_metadata(&path).unwrap().uid(), user, "{}", path.display());
        }
        // The rightful user goes on as if nothing had been.
        run_as(&folder, user, &["backfill"]).exits(0);
        run_as(&folder, user, &["verify", "--full"]).exits(0);
    }
}

#[test]
fn another_user_is_refused_where_the_folders_let_him_write() {
    if !is_root("running commands as several users") {
        return;
    }
    let pbx = Pbx::with(1);
    let folder = of_user(&pbx, SERVICE);
    fs::create_dir(folder.path("state")).unwrap();
    chown(folder.path("state"), Some(SERVICE), Some(SERVICE)).unwrap();
    for open in ["", "state"] {
        fs::set_permissions(folder.path(open), fs::Permissions::from_mode(0o777)).unwrap();
    }
    chown(folder.path("hq-password"), Some(NOBODY), Some(NOBODY)).unwrap();
    chown(folder.path("callvault.toml"), Some(NOBODY), Some(NOBODY)).unwrap();
    let said = run_as(&folder, NOBODY, &["backfill"]).exits(2);
    assert!(said.stderr.contains("belongs to user 61234, and this was run by nobody"), "{}", said.stderr);
    assert!(!folder.path("archive").exists());
    assert_eq!(fs::read_dir(folder.path("state")).unwrap().count(), 0);
}

/// Folders of root's that others may write to, as the mount points of containers are, are no objection.
#[test]
fn who_works_in_folders_of_roots_is_let_be() {
    if !is_root("running commands as another user") {
        return;
    }
    let pbx = Pbx::with(1);
    let folder = of_user(&pbx, SERVICE);
    for mounted in ["state", "archive"] {
        fs::create_dir(folder.path(mounted)).unwrap();
        fs::set_permissions(folder.path(mounted), fs::Permissions::from_mode(0o777)).unwrap();
    }
    for _ in 0..2 {
        run_as(&folder, SERVICE, &["backfill"]).exits(0);
    }
}

/// What a command of version 0.1 left, which root had run.
#[test]
fn files_that_root_has_left_are_named_with_what_mends_them() {
    if !is_root("running commands as another user") {
        return;
    }
    let pbx = Pbx::with(3);
    for file in
        ["archive/_ledger/checkpoint", "archive/hq/.callvault", "state/callvault.db", "state/ledger.key"]
    {
        let folder = of_user(&pbx, SERVICE);
        run_as(&folder, SERVICE, &["backfill"]).exits(0);
        chown(folder.path(file), Some(0), Some(0)).unwrap();
        let said = run_as(&folder, SERVICE, &["backfill"]).exits(2);
        for words in [file, "belongs to root, and callvault runs as user 61234", "`sudo chown -R 61234 "] {
            assert!(said.stderr.contains(words), "{file}: {}", said.stderr);
        }
        let remedy = said.stderr.split('`').find(|part| part.starts_with("sudo chown")).unwrap();
        let words: Vec<&str> = remedy.split_whitespace().skip(1).collect();
        // The test's paths are shortened in what it said; the words of the command are as they are.
        let paths = ["state", "archive"].map(|name| folder.path(name));
        assert_eq!(words[..3], ["chown", "-R", "61234"]);
        assert!(Command::new(words[0]).args(&words[1..3]).args(paths).status().unwrap().success());
        run_as(&folder, SERVICE, &["backfill"]).exits(0);
    }
}

/// A folder of root's in the midst of the archive is met only when something is written there.
#[test]
fn a_folder_of_roots_in_the_archive_is_named_with_what_mends_it() {
    if !is_root("running commands as another user") {
        return;
    }
    let pbx = Pbx::with(3);
    let folder = of_user(&pbx, SERVICE);
    run_as(&folder, SERVICE, &["backfill"]).exits(0);
    let day = folder.recordings()[0].parent().unwrap().to_owned();
    chown(&day, Some(0), Some(0)).unwrap();
    pbx.world(|world| {
        let mut call = world.rows(world.today(), world.today())[0].clone();
        call.recording = b"late.wav".to_vec();
        call.callid = format!("{}.99", call.start.as_second());
        world.add_call(call);
    });
    let said = run_as(&folder, SERVICE, &["backfill"]);
    let words = "belongs to root, and callvault runs as user 61234: give it back with `sudo chown -R 61234 ";
    assert!(said.stderr.contains(words) || said.stdout.contains(words), "{} {}", said.stdout, said.stderr);
}
