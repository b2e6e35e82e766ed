//! Disks that are full or read-only, and system calls that fail, one after the other, each in every way.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use callvault::archive::{Abilities, Archive, ArchiveError, Destination, Reaction, is_temporary};
use callvault::base::digest::Digest;

use crate::support::shim::Shim;
use crate::{EVERY_WAY, Site, day, sidecar, try_keep};

/// What one run of the scenario leaves, in the end, whatever happened.
const EXPECTED: [&str; 6] = [
    "hq/2026/11/21/SHA256SUMS",
    "hq/2026/11/21/a.wav",
    "hq/2026/11/21/a.wav.json",
    "hq/2026/11/21/b.wav",
    "hq/2026/11/21/b.wav.json",
    "hq/2026/11/21/calls-1.jsonl",
];

/// A tmpfs of 1 MiB where the archive will be, unmounted in the end; `None` if we may not mount.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(site: &Site) -> Option<Self> {
        let root = site.root();
        std::fs::create_dir_all(&root).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs"]).arg(&root).stderr(Stdio::null());
        match mount.status() {
            Ok(status) if status.success() => Some(Self(root)),
            _ => {
                eprintln!(
                    "SKIPPED: cannot mount a tmpfs (it needs root); disk full and read-only are not tested"
                );
                None
            }
        }
    }

    fn remount(&self, option: &str) {
        let options = format!("remount,{option}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_costs_one_download_and_nothing_else() {
    for abilities in EVERY_WAY {
        let site = Site::new(abilities);
        let Some(_disk) = SmallDisk::mount(&site) else { return };
        let archive = site.open();
        let audio = [b"RIFF".as_slice(), &[7; 100_000]].concat();
        let place = |number: u32| Destination::new(day(), &format!("{number}.wav")).unwrap();
        let (full_at, error) = (0..100)
            .find_map(|number| try_keep(&archive, &place(number), &audio).err().map(|error| (number, error)))
            .expect("1 MiB is full after 100 files");
        assert!(matches!(error, ArchiveError::Full { .. }), "{error}");
        assert_eq!(error.reaction(), Reaction::Pause);
        assert_eq!(site.paths().len() as u32, 2 * full_at, "{abilities:?}: pairs only, no temporary");
        std::fs::remove_file(site.at(&place(0).path())).unwrap();
        // A process that another test has just forked may hold what was given up, until it is the program that it runs.
        let kept = (0..500).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            try_keep(&archive, &place(full_at), &audio).ok()
        });
        kept.expect("it goes on once there is room");
        assert_eq!(archive.abilities(), abilities, "a full disk is not taken for a lack of abilities");
    }
}

#[test]
fn a_read_only_disk_is_said_in_one_sentence() {
    let site = Site::new(Abilities::all());
    let Some(disk) = SmallDisk::mount(&site) else { return };
    let archive = site.open();
    disk.remount("ro");
    for error in [
        try_keep(&archive, &crate::place(), b"RIFF1").unwrap_err(),
        site.try_open("s1", true).unwrap_err(),
        archive.write_sums(&day(), &[]).unwrap_err(),
    ] {
        assert!(matches!(error, ArchiveError::ReadOnly { .. }), "{error}");
        assert_eq!(error.reaction(), Reaction::Pause);
    }
    disk.remount("rw");
    try_keep(&archive, &crate::place(), b"RIFF1").expect("it goes on once it is writable");
}

#[test]
fn an_archive_whose_disk_was_unmounted_is_refused() {
    let site = Site::new(Abilities::all());
    let Some(disk) = SmallDisk::mount(&site) else { return };
    drop(site.open());
    drop(disk);
    assert!(matches!(site.try_open("s1", true).unwrap_err(), ArchiveError::NotMounted { .. }));
}

/// Does what a worker and a seal do for a day of two recordings; tells each thing that was acknowledged.
fn archive_a_day(archive: &Archive, mut tell: impl FnMut(&str)) {
    archive.remove_temporaries(&day()).unwrap_or_default();
    let mut files = Vec::new();
    for name in ["a.wav", "b.wav"] {
        let place = Destination::new(day(), name).unwrap();
        match adopt_or_keep(archive, &place) {
            Ok(file) => {
                tell(&format!("ACK {name} {} {}", file.sha256(), file.sidecar_sha256()));
                files.push((name.to_owned(), file.sha256()));
                files.push((place.sidecar_name(), file.sidecar_sha256()));
            }
            Err(error) => tell(&format!("ERR {name} {error}")),
        }
    }
    match archive.write_day_file(&day(), 1, ["{}".to_owned()]) {
        Ok(written) => files.push((written.file_name, written.sha256)),
        Err(error) => tell(&format!("ERR calls {error}")),
    }
    if let Err(error) = archive.write_sums(&day(), &files) {
        tell(&format!("ERR sums {error}"));
    }
}

fn adopt_or_keep(
    archive: &Archive,
    place: &Destination,
) -> Result<callvault::archive::ArchivedFile, ArchiveError> {
    let name = place.file_name();
    if let Some(file) = archive.adopt(place, |there| there.recording == sidecar(name).recording)? {
        return Ok(file);
    }
    let mut incoming = archive.begin(place)?;
    incoming.write(b"RIFF")?;
    incoming.write(name.as_bytes())?;
    Ok(archive.keep(incoming.finish(Vec::new()), sidecar(name), &[])?.file)
}

/// The scenario in a process of its own, its calls counted.
fn run(shim: &Shim, site: &Site, way: usize) -> Command {
    let mut run = shim.run("failing::the_run_with_a_fault");
    run.env("FAULT_SITE", site.root().parent().unwrap()).env("FAULT_WAY", way.to_string());
    run
}

/// Not a test: what the next ones run in a process of its own, with a fault.
#[test]
fn the_run_with_a_fault() {
    let (Ok(base), Ok(way)) = (std::env::var("FAULT_SITE"), std::env::var("FAULT_WAY")) else { return };
    let abilities = EVERY_WAY[way.parse::<usize>().unwrap()];
    match Site::at_path(Path::new(&base), abilities).try_open("s1", false) {
        Ok(archive) => archive_a_day(&archive, |line| println!("{line}")),
        Err(error) => println!("ERR open {error}"),
    }
}

#[test]
fn whichever_system_call_fails_or_is_the_last_the_archive_ends_whole() {
    let Some(shim) = Shim::build() else { return };
    for (way, abilities) in EVERY_WAY.iter().enumerate() {
        for how in ["before", "after", "again", "kill"] {
            let points = (1..1000).find(|at| !break_once(&shim, *abilities, way, how, *at)).unwrap() - 1;
            assert!(points > 40, "the shim sees the calls: {points} {how} with {abilities:?}");
        }
    }
}

#[test]
fn the_system_calls_come_in_the_order_that_makes_them_durable() {
    let Some(shim) = Shim::build() else { return };
    for (way, name) in ["linkat", "renameat2", "linkat unlinkat"].into_iter().enumerate() {
        let site = Site::new(EVERY_WAY[way]);
        let log = site.state().with_file_name("log");
        assert!(run(&shim, &site, way).env("FAULT_LOG", &log).output().unwrap().status.success());
        let calls = std::fs::read_to_string(log).unwrap().replace('\n', " ");
        let one_file = format!("openat write fsync {name} fsync");
        let recording = format!("openat write write fsync openat write fsync {name} {name} fsync");
        let expected = [
            "mkdirat fsync mkdirat fsync",               // the root, the PBX
            &format!("{one_file} unlinkat {one_file}"),  // the probe, the marker
            "mkdirat fsync mkdirat fsync mkdirat fsync", // year, month, day
            &recording,
            &recording,
            &one_file,                            // calls-1.jsonl
            "openat write fsync renameat fsync ", // SHA256SUMS
        ];
        assert_eq!(calls, expected.join(" "));
    }
}

/// Runs the scenario with a fault at the given call, then what the next start would do, and checks everything.
/// `false` if there were fewer calls.
fn break_once(shim: &Shim, abilities: Abilities, way: usize, how: &str, at: u32) -> bool {
    let site = Site::in_memory(abilities);
    let fired = site.state().with_file_name("fired");
    let output = run(shim, &site, way)
        .envs([("FAULT_AT", at.to_string()), ("FAULT_HOW", how.to_owned())])
        .env("FAULT_FIRED", &fired)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let context =
        format!("{how} call {at} with {abilities:?}:\n{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(how == "kill" || output.status.success(), "{context}");
    assert!(how != "again" || !told.contains("ERR"), "an interrupted call is repeated: {context}");
    check_what_is_left(&site, how, &told, &context);
    let mut acknowledged: Vec<String> =
        told.lines().filter(|line| line.starts_with("ACK")).map(str::to_owned).collect();
    archive_a_day(&site.open(), |line| match line.strip_prefix("ACK ") {
        Some(_) => acknowledged.retain(|before| before != line),
        None => panic!("{line}, after {context}"),
    });
    assert!(acknowledged.is_empty(), "what was acknowledged has changed: {acknowledged:?}, {context}");
    assert_eq!(site.paths(), EXPECTED, "{context}");
    fired.exists()
}

/// Before any repair: what is visible is whole, and what was reported as failed is not there.
fn check_what_is_left(site: &Site, how: &str, told: &str, context: &str) {
    for (path, content) in site.files() {
        let name = path.rsplit('/').next().unwrap();
        if name.ends_with(".wav") {
            assert_eq!(content, format!("RIFF{name}").into_bytes(), "{path}: {context}");
        } else if name.ends_with(".json") {
            callvault::formats::sidecar::Sidecar::from_bytes(&content).expect(context);
        } else if name.ends_with(".jsonl") {
            assert_eq!(Digest::of(&content), Digest::of("{}\n"), "{path}: {context}");
        } else {
            assert!(name == "SHA256SUMS" || is_temporary(name), "{path}: {context}");
        }
    }
    for name in ["a.wav", "b.wav"].into_iter().filter(|name| told.contains(&format!("ERR {name}"))) {
        assert_ne!(how, "kill");
        assert!(!site.at(&format!("{}/{name}", day())).exists(), "{context}");
    }
}
