//! `demo`: nothing to configure, and what it prints can be checked.

use std::fs;
use std::process::Command;

use crate::support::program::Folder;

#[test]
fn the_demo_archives_and_what_it_tells_to_check_holds() {
    let folder = Folder::for_pbx("https://192.0.2.1");
    fs::remove_file(folder.config()).unwrap();
    let first = folder.run(&["demo"]).exits(0);
    let check = first.stdout.lines().find(|line| line.contains("sha256sum -c")).unwrap();
    let checked = Command::new("sh").args(["-c", check]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(checked.stdout, b"intact\n");
    let wavs = count(&folder);
    assert!(wavs >= 300, "{wavs}");

    let kept = folder.run(&["demo", "--keep"]).exits(0);
    assert!(!kept.stdout.contains("archived now"), "{}", kept.stdout);
    assert!(kept.stdout.contains("archived before"), "{}", kept.stdout);
    assert_eq!(count(&folder), wavs);

    let anew = folder.run(&["demo"]).exits(0);
    assert!(!anew.stdout.contains("archived before"), "{}", anew.stdout);
    assert_eq!(count(&folder), wavs);
}

fn count(folder: &Folder) -> usize {
    let files = folder.files("callvault-demo/archive");
    files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "wav")).count()
}

#[test]
fn the_demo_touches_no_folder_but_its_own() {
    let folder = Folder::for_pbx("https://192.0.2.1");
    fs::create_dir(folder.path("thesis")).unwrap();
    fs::write(folder.path("thesis/chapter-1"), "mine").unwrap();
    for keep in [&[][..], &["--keep"]] {
        let said = folder.run(&[&["demo", "--dir", "thesis"], keep].concat()).exits(2);
        insta::allow_duplicates! { insta::assert_snapshot!(said.err(), @"callvault: thesis holds files that no demo made: choose another folder with --dir"); }
    }
    assert_eq!(folder.files("thesis").len(), 1);
    insta::assert_snapshot!(folder.run(&["demo", "--dir", "thesis/chapter-1"]).exits(2).err(), @"callvault: thesis/chapter-1 cannot be the demo's folder (File exists): choose another with --dir");
    assert_eq!(fs::read_to_string(folder.path("thesis/chapter-1")).unwrap(), "mine");
}
