//! From the bag beside its place to the one that is handed out: beside a service, interrupted, as one ZIP.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::process::Signal;

use super::bag::House;

const EXPORTS: &str = "select count(*) from ledger where json_extract(entry, '$.type') = 'export'";

#[test]
fn beside_a_running_service_it_is_the_same_and_the_service_enters_it() {
    let house = House::with(3);
    let service = house.folder.start(house.folder.command(["run"]));
    let owner = house.folder.path("state");
    crate::support::program::eventually("the service owns the state", || {
        callvault::vault::state::is_owned_by_service(&owner)
    });
    let bag = house.export(&[], 0);
    assert_eq!((bag.count("files"), house.folder.number(EXPORTS)), (3, 1));
    service.signal(Signal::TERM);
    service.wait().exits(0);
    let entry =
        "select count(*) from ledger where json_extract(entry, '$.type') = 'export' and number < (select size
                 from checkpoints order by size desc limit 1)";
    assert_eq!(house.folder.number(entry), 1, "and signed");
}

#[test]
fn a_zip_holds_what_the_folder_holds() {
    let house = House::with(3);
    let said = house.folder.run(&["export", "--out", "case-7", "--zip", "--json"]).exits(0).json();
    let zip = house.folder.path("case-7.zip");
    assert_eq!(said["path"], "case-7.zip");
    assert!(!house.folder.path("case-7").exists());
    let said =
        Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&zip).arg(house.folder.path("")).output();
    assert!(said.unwrap().status.success());
    let bag = super::bag::Bag { path: house.folder.path("case-7"), report: serde_json::Value::Null };
    assert_eq!(bag.audio().len(), 3);
    let mut sums = Command::new("sha256sum");
    sums.args(["-c", "--quiet", "--strict", "manifest-sha256.txt"]).current_dir(&bag.path);
    assert!(sums.status().unwrap().success());
    assert_eq!(zip.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    house.folder.run(&["export", "--out", "case-8.zip", "--zip"]).exits(0);
    assert!(house.folder.path("case-8.zip").exists());
    let said = house.folder.run(&["export", "--out", "case-7/", "--zip"]).exits(2);
    assert!(said.stderr.contains("`case-7.zip` already exists"), "{}", said.stderr);
}

#[test]
fn killed_anywhere_it_leaves_nothing_that_looks_like_an_export() {
    let house = House::with(40);
    let parts = || {
        let names = fs::read_dir(house.folder.path("")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".part")).collect::<Vec<_>>()
    };
    for wait_ms in [0, 5, 20, 60] {
        let mut running = house.folder.start(house.folder.command(["export", "--out", "bag"]));
        crate::support::program::eventually("it has begun or ended", || {
            !parts().is_empty() || running.has_ended()
        });
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        running.signal(Signal::KILL);
        drop(running);
        if house.folder.path("bag").exists() {
            // It was quicker: then all of it is there, and the ledger tells of it.
            assert!(house.folder.path("bag/tagmanifest-sha256.txt").exists());
            fs::remove_dir_all(house.folder.path("bag")).unwrap();
        }
    }
    let bag = house.export(&[], 0);
    assert_eq!(bag.count("files"), 40);
    // What a killed one left has a name that says what it is.
    for part in parts() {
        assert!(part.starts_with(".bag.callvault-"), "{part}");
    }
}

#[test]
fn one_that_is_interrupted_leaves_nothing_and_says_so() {
    let house = House::with(60);
    let before = house.folder.number(EXPORTS);
    let running = house.folder.start(house.folder.command(["export", "--out", "bag"]));
    let is_packing = || {
        let names = fs::read_dir(house.folder.path("")).unwrap();
        names
            .into_iter()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(".bag.callvault-"))
    };
    crate::support::program::eventually("it packs or has ended", || {
        is_packing() || house.folder.path("bag").exists()
    });
    running.signal(Signal::INT);
    let said = running.wait();
    if said.code == 0 {
        return println!("skipped: it was done before the signal came");
    }
    let said = said.exits(130);
    assert!(said.stderr.contains("interrupted: nothing was exported"), "{}", said.stderr);
    assert!(!house.folder.path("bag").exists() && !is_packing());
    assert_eq!(house.folder.number(EXPORTS), before);
}
