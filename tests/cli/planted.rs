//! Whoever writes to the archive plants files of 1.5 GB in the ledger's folder: nobody reads them into memory.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use crate::hostile::{PEAK_KIB_MAX, measured, peak_of};
use crate::support::program::{Folder, Pbx, eventually};

/// More than a machine for callvault has to spare. No block of it is on the disk.
const PLANTED_BYTES: u64 = 1_500_000_000;

/// An archive with one recording, and so many signed entries.
fn archived() -> (Pbx, Folder, i64) {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    let size = folder.number("select max(size) from checkpoints");
    (pbx, folder, size)
}

/// Puts a large file in a place, and what was there beside it, until it is taken away again.
struct Planted {
    place: PathBuf,
    before: Option<Vec<u8>>,
}

impl Planted {
    fn at(place: &Path) -> Self {
        let before = fs::read(place).ok();
        drop(fs::remove_file(place));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        File::create_new(place).unwrap().set_len(PLANTED_BYTES).unwrap();
        Self { place: place.to_owned(), before }
    }

    fn take_away(self) {
        fs::remove_file(&self.place).unwrap();
        if let Some(before) = self.before {
            fs::write(&self.place, before).unwrap();
        }
    }
}

#[test]
fn no_file_in_the_folder_of_the_ledger_takes_much_memory() {
    let (_pbx, folder, _) = archived();
    let ledger = folder.path("archive/_ledger");
    let names = [
        "tile/0/000.p/SIZE",
        "tile/entries/000.p/SIZE",
        "keys/01234567.vkey",
        "anchor/SIZE.tsa.tsr",
        "anchor/SIZE.checkpoint",
        "anchor/tsa.ca.pem",
    ];
    for name in names {
        let size = folder.number("select max(size) from checkpoints");
        let planted = Planted::at(&ledger.join(name.replace("SIZE", &size.to_string())));
        let commands =
            [&["ledger", "check"][..], &["ledger", "prove", "0"], &["verify"], &["export", "--out", "bag"]];
        for command in commands {
            let (peak_kib, said) = measured(&folder, command);
            assert!((1..=PEAK_KIB_MAX).contains(&peak_kib), "{name}: {command:?}: {peak_kib} KiB");
            let said = said.stdout + &said.stderr;
            // The export signs a ledger that has grown since, of other tiles.
            let is_told = name.starts_with("tile") && command[0] != "export";
            assert!(
                !is_told || said.contains("bytes, the limit for such a file"),
                "{name}: {command:?}: {said}"
            );
        }
        drop(fs::remove_dir_all(folder.path("bag")));
        planted.take_away();
    }
    folder.run(&["verify"]).exits(0);
}

#[test]
fn a_rebuild_reads_no_file_of_the_ledger_that_is_too_large_to_be_one() {
    let (_pbx, folder, size) = archived();
    let ledger = folder.path("archive/_ledger");
    for name in ["checkpoint".to_owned(), format!("tile/entries/000.p/{size}")] {
        let planted = Planted::at(&ledger.join(&name));
        fs::remove_dir_all(folder.path("state")).unwrap();
        let (peak_kib, said) = measured(&folder, &["rebuild"]);
        assert!((1..=PEAK_KIB_MAX).contains(&peak_kib), "{name}: {peak_kib} KiB");
        let said = said.stdout + &said.stderr;
        assert!(said.contains(&name) && said.contains("bytes, the limit for such a file"), "{name}: {said}");
        planted.take_away();
    }
}

/// One anonymous request for such a file took 3 GB.
#[test]
fn the_service_sends_no_file_that_is_too_large_to_be_of_the_ledger() {
    let (_pbx, folder, size) = archived();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    folder.edit(|text| format!("{text}[web]\nlisten = \"{free}\"\n[feed]\nenabled = true\n"));
    let ledger = folder.path("archive/_ledger");
    let names = [format!("anchor/{size}.tsa.tsr"), "anchor/x".to_owned(), "tile/0/001".to_owned()];
    let planted: Vec<Planted> = names.iter().map(|name| Planted::at(&ledger.join(name))).collect();
    let running = folder.start(folder.command(["run"]));
    eventually("it listens", || TcpStream::connect(free).is_ok());
    for name in &names {
        let mut stream = TcpStream::connect(free).unwrap();
        write!(stream, "GET /feed/{name} HTTP/1.1\r\nHost: {free}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503"), "{name}: {}", &answer[..answer.len().min(200)]);
    }
    let peak_kib = peak_of(&running);
    assert!((1..=PEAK_KIB_MAX).contains(&peak_kib), "{peak_kib} KiB");
    running.signal(rustix::process::Signal::TERM);
    running.wait().exits(0);
    planted.into_iter().for_each(Planted::take_away);
}
