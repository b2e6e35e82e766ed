//! An archive that fails while the service runs: it is told, and the service goes on by itself when it is mended.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::support::program::{Folder, Pbx, eventually};

/// A disk of its own, unmounted in the end.
struct Disk<'a>(&'a Path);

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

/// Takes all the room that is left.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for size_bytes in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![0; size_bytes]).is_ok() {}
    }
}

#[test]
fn a_full_archive_is_told_and_the_service_goes_on_when_there_is_room() {
    let pbx = Pbx::slow(40);
    let folder = Folder::for_pbx(&pbx.url());
    folder.edit(|text| text.replace("[[pbx]]", "[schedule]\nsweep = \"*/10 * * * * *\"\n[[pbx]]"));
    let archive = folder.path("archive");
    fs::create_dir_all(&archive).unwrap();
    let tmpfs = ["-t", "tmpfs", "-o", "size=16m,mode=0755", "tmpfs"];
    if !Command::new("mount").args(tmpfs).arg(&archive).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this test mounts a tmpfs, which needs root");
        return;
    }
    let _disk = Disk(&archive);
    let mut running = folder.start(folder.command(["run"]));
    eventually("some are downloaded", || pbx.counters().downloads_ok >= 2 || running.has_ended());
    // Beside the PBX's folder, as another program would.
    let filler = archive.join("filler");
    fill(&filler);
    eventually("status says why", || {
        let status = folder.run(&["status", "--json"]).json();
        let error = &status["pbx"]["hq"]["error"];
        error["message"].as_str().is_some_and(|message| message.contains("is full"))
    });
    assert!(!running.has_ended(), "{}", running.so_far());
    fs::remove_file(&filler).unwrap();
    eventually("all are archived", || folder.recordings().len() >= 40);
    eventually("no trouble is told any more", || {
        folder.run(&["status", "--json"]).json()["pbx"]["hq"]["error"].is_null()
    });
    running.signal(Signal::TERM);
    running.wait().exits(0);
}
