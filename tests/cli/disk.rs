//! The archive's disk: full, read-only, not mounted, somebody else's. One sentence, exit 2, and it goes on when mended.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use callvault::simulator::SimulatorOptions;
use rustix::process::Signal;

use crate::support::program::{Folder, Pbx, Said, eventually};

/// A small disk of its own, until it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// Mounts one at `path`. Without the right to do so, the test says that it is skipped.
    fn at(path: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let options = format!("size={size},mode=0700");
        if mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], &path) {
            return Some(Self(path));
        }
        eprintln!("SKIPPED: this test mounts a tmpfs, which needs root");
        None
    }

    fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], &self.0));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mount(args: &[&str], path: &Path) -> bool {
    Command::new("mount").args(args).arg(path).status().is_ok_and(|status| status.success())
}

/// The error of a backfill that this machine itself is to blame for, from both ways to print it.
fn trouble(folder: &Folder) -> String {
    let json = folder.run(&["backfill", "--json"]).exits(2);
    let message = json.json()["error"]["message"].as_str().unwrap().to_owned();
    let text = folder.run(&["backfill"]).exits(2);
    let (end, path) = (text.err(), folder.path(""));
    let message = message.replace(path.to_str().unwrap().trim_end_matches('/'), "DIR");
    assert!(!message.contains('\n'), "{message}");
    assert_eq!(end, format!("callvault: {message}"));
    message
}

fn sha256sums_hold(folder: &Folder) {
    for sums in folder.files("archive").into_iter().filter(|file| file.ends_with("SHA256SUMS")) {
        let mut check = Command::new("sha256sum");
        check.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(sums.parent().unwrap());
        assert!(check.status().unwrap().success());
    }
}

#[test]
fn a_full_archive_pauses_and_goes_on_when_there_is_room() {
    let pbx = Pbx::start(SimulatorOptions { size_bytes: (30_000, 40_000), ..Pbx::options(40) });
    let folder = Folder::for_pbx(&pbx.url());
    let Some(disk) = Disk::at(folder.path("archive"), "512k") else { return };
    let said = folder.run(&["backfill", "--json"]).exits(2);
    let (archived, pending) = (said.count("archived"), said.count("pending"));
    assert!((1..30).contains(&archived), "{archived}");
    assert_eq!(archived + pending, 40, "{}", said.stdout);
    // Which file met it first depends on how the sizes fell: the next recording, or what opening the archive writes.
    let said = trouble(&folder);
    let (place, remedy) = said.split_once(" is full ").unwrap_or_else(|| panic!("{said}"));
    assert!(place.trim_start_matches("opening the archive: ").starts_with("`DIR/archive/hq"), "{said}");
    insta::assert_snapshot!(remedy, @"(no space or no inodes left): free some space; nothing is lost, callvault downloads later what is missing");
    folder.run(&["status"]).exits(3);

    disk.remount("size=64m");
    let said = folder.run(&["backfill", "--json"]).exits(0);
    assert_eq!((said.count("already_archived"), folder.recordings().len()), (archived, 40));
    sha256sums_hold(&folder);
}

#[test]
fn an_archive_with_less_room_than_the_minimum_asks_for_no_ticket() {
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    let Some(disk) = Disk::at(folder.path("archive"), "8m") else { return };
    folder.edit(|text| text.replace("free_bytes_min = 0", "free_bytes_min = \"16 MiB\""));
    insta::assert_snapshot!(trouble(&folder), @"`DIR/archive/hq` is full (7 MiB free, `free_bytes_min` asks for 16 MiB): free some space; nothing is lost, callvault downloads later what is missing");
    assert_eq!(pbx.counters().downloads_started, 0);
    let said = folder.run(&["status"]).exits(2).out();
    let (before, after) = said.lines().nth(2).unwrap().split_once(" MiB free").unwrap();
    // How much exactly depends on what lies there besides.
    assert!(before.starts_with("  WRONG: DIR/archive has 7."), "{said}");
    insta::assert_snapshot!(after, @", less than `free_bytes_min` (16.00 MiB): make room; no recording is downloaded until then");
    disk.remount("size=64m");
    folder.run(&["backfill"]).exits(0);
}

#[test]
fn a_full_state_disk_is_told_as_such_and_loses_nothing() {
    let pbx = Pbx::with(400);
    let folder = Folder::for_pbx(&pbx.url());
    let Some(disk) = Disk::at(folder.path("state"), "640k") else { return };
    let said = folder.run(&["backfill"]).exits(2);
    assert!(said.stderr.contains("free space"), "{}", said.stderr);
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    folder.run(&["backfill", "--json"]).exits(2).json();
    disk.remount("size=64m");
    folder.run(&["backfill"]).exits(0);
    assert_eq!(folder.recordings().len(), 400);
    sha256sums_hold(&folder);
}

#[test]
fn a_read_only_archive_is_refused_and_goes_on_when_writable() {
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    let Some(disk) = Disk::at(folder.path("archive"), "8m") else { return };
    disk.remount("ro");
    insta::assert_snapshot!(trouble(&folder), @"opening the archive: `DIR/archive/hq` is on a read-only filesystem: look for disk errors in the kernel log, then remount it writable");
    disk.remount("rw");
    folder.run(&["backfill"]).exits(0);
    disk.remount("ro");
    assert!(trouble(&folder).contains("read-only"));
    folder.run(&["status"]).exits(0);
}

#[test]
fn a_file_where_the_archive_should_be_is_refused() {
    let folder = Folder::for_pbx(&Pbx::with(1).url());
    fs::write(folder.path("archive"), "mine").unwrap();
    insta::assert_snapshot!(trouble(&folder), @"opening the archive: `DIR/archive/` is not a real folder: remove it; in the archive callvault follows no symbolic links");
    assert_eq!(fs::read_to_string(folder.path("archive")).unwrap(), "mine");
}

#[test]
fn a_file_where_the_state_should_be_is_refused() {
    let folder = Folder::for_pbx(&Pbx::with(1).url());
    fs::write(folder.path("state"), "mine").unwrap();
    insta::assert_snapshot!(trouble(&folder), @"[state] path DIR/state cannot be used: File exists (os error 17); make it a directory that this user may write, with free space");
}

#[test]
fn an_archive_that_is_not_mounted_is_never_begun_anew() {
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    fs::rename(folder.path("archive"), folder.path("elsewhere")).unwrap();
    let refusal = trouble(&folder);
    insta::assert_snapshot!(refusal, @"opening the archive: `DIR/archive/hq` is not the mounted archive (the state lists recordings, but there is no `.callvault` marker): mount it or correct `[archive] path`, then start again");
    fs::create_dir(folder.path("archive")).unwrap();
    assert_eq!(trouble(&folder), refusal, "an empty mount point is no archive either");
    assert!(folder.files("archive").is_empty());
    assert_eq!(pbx.counters().downloads_ok, 3);

    fs::remove_dir(folder.path("archive")).unwrap();
    fs::rename(folder.path("elsewhere"), folder.path("archive")).unwrap();
    folder.run(&["backfill"]).exits(0);
}

#[test]
fn an_archive_of_another_state_is_refused() {
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    folder.edit(|text| text.replace("/state\"", "/other\""));
    let said = folder.run(&["backfill"]).exits(2);
    assert!(said.stderr.contains("another"), "{}", said.stderr);
}

#[test]
fn an_archive_inside_the_state_is_refused_also_behind_a_link() {
    let folder = Folder::for_pbx(&Pbx::with(1).url());
    fs::create_dir_all(folder.path("state/within")).unwrap();
    symlink(folder.path("state/within"), folder.path("archive")).unwrap();
    insta::assert_snapshot!(trouble(&folder), @"opening the archive: archive `DIR/state/within/` lies inside the state folder `DIR/state/`: set `[archive] path` to a folder outside it");
    folder.edit(|text| text.replace("/archive\"", "/state/within\""));
    insta::assert_snapshot!(folder.run(&["backfill"]).exits(2).err(), @r#"
    DIR/callvault.toml:5:8: state.path = "DIR/state": holds the archive; give archive and state separate folders, neither inside the other
    1 problem
    "#);
    assert!(folder.files("state/within").is_empty());
}

#[test]
fn a_second_process_is_refused_while_status_works_beside_the_first() {
    let pbx = Pbx::slow(200);
    let folder = Folder::for_pbx(&pbx.url());
    let first = folder.start(folder.command(["backfill"]));
    eventually("some are downloaded", || pbx.counters().downloads_ok >= 2);
    eventually("one is archived", || folder.number("select count(*) from archived_files") >= 1);
    insta::assert_snapshot!(trouble(&folder), @"DIR/state is in use by another callvault; wait until it has finished, or stop it, then run this command again");
    folder.run(&["retry"]).exits(2);
    let beside: Said = folder.run(&["status", "--json"]).exits(3);
    assert!(beside.json()["pbx"]["hq"]["archived"].as_i64().unwrap() >= 1);
    folder.run(&["status"]).exits(3);
    first.signal(Signal::INT);
    first.wait().exits(130);
}

#[test]
fn status_says_that_the_archive_is_not_mounted() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    fs::rename(folder.path("archive"), folder.path("away")).unwrap();
    fs::create_dir(folder.path("archive")).unwrap();
    let json = folder.run(&["status", "--json"]).exits(2).json();
    assert_eq!(json["archive"]["error"]["reason"], "not_mounted", "{json}");
    assert_eq!(json["pbx"]["hq"]["archived"], 2);
    let told = folder.run(&["status"]).exits(2);
    assert!(told.stdout.contains("does not hold the archive of pbx `hq`"), "{}", told.stdout);
    assert!(folder.files("archive").is_empty(), "status writes nothing");
    fs::remove_dir(folder.path("archive")).unwrap();
    fs::rename(folder.path("away"), folder.path("archive")).unwrap();
    folder.run(&["status"]).exits(0);
}
