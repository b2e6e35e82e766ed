//! An archive that fails while the service runs: it is told, and the service goes on by itself when it is mended.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::program::{Folder, Pbx, eventually};

/// A disk of its own, unmounted in the end.
struct Disk<'a>(&'a Path);

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

fn mount(args: &[&str], path: &Path) -> bool {
    Command::new("mount").args(args).arg(path).status().is_ok_and(|status| status.success())
}

#[test]
fn a_read_only_archive_is_told_and_the_service_goes_on_when_it_is_mended() {
    let pbx = Pbx::slow(40);
    let folder = Folder::for_pbx(&pbx.url());
    folder.edit(|text| text.replace("[[pbx]]", "[schedule]\nsweep = \"*/10 * * * * *\"\n[[pbx]]"));
    let archive = folder.path("archive");
    fs::create_dir_all(&archive).unwrap();
    if !mount(&["-t", "tmpfs", "-o", "size=16m", "tmpfs"], &archive) {
        eprintln!("SKIPPED: this test mounts a tmpfs, which needs root");
        return;
    }
    let _disk = Disk(&archive);
    let mut running = folder.start(folder.command(["run"]));
    eventually("some are downloaded", || pbx.counters().downloads_ok >= 2 || running.has_ended());
    eventually("it is read-only", || mount(&["-o", "remount,ro"], &archive));
    eventually("status says why", || {
        let status = folder.run(&["status", "--json"]).json();
        let error = &status["pbx"]["hq"]["error"];
        error["message"].as_str().is_some_and(|message| message.contains("read-only filesystem"))
    });
    assert!(!running.has_ended(), "{}", running.so_far());
    assert!(mount(&["-o", "remount,rw"], &archive));
    eventually("all are archived", || folder.recordings().len() >= 40);
    eventually("no trouble is told any more", || {
        folder.run(&["status", "--json"]).json()["pbx"]["hq"]["error"].is_null()
    });
    running.signal(Signal::TERM);
    running.wait().exits(0);
}
