//! Whose archive it is, and whether it is there at all.

use std::os::unix::fs::symlink;

use callvault::archive::{
    Abilities, Archive, ArchiveError, Folder, Key, Opening, PbxPresence, Reaction, Reader as _, VouchKey,
    marker,
};
use jiff::Timestamp;

use crate::{EVERY_WAY, Site, keep};

#[test]
fn an_empty_archive_and_an_empty_state_make_a_first_start() {
    for abilities in EVERY_WAY {
        let site = Site::new(abilities);
        let first = site.open();
        let marker: serde_json::Value =
            serde_json::from_slice(&std::fs::read(site.at("hq/.callvault")).unwrap()).unwrap();
        assert_eq!(marker["format"], "callvault-archive/1");
        assert_eq!(marker["state_id"], "s1");
        assert_eq!(marker["archive_id"], first.id());
        assert_eq!(first.id().len(), 32);
        assert_eq!(first.abilities(), abilities);
        let again = site.try_open("s1", true).unwrap();
        assert_eq!(again.id(), first.id());
        assert!(site.paths().is_empty(), "probes are gone");
    }
}

#[test]
fn a_new_pbx_shares_the_archive_id_of_the_others() {
    let site = Site::new(Abilities::all());
    let first = site.open();
    let pbxs = [PbxPresence { id: "hq", has_rows: true }, PbxPresence { id: "branch", has_rows: false }];
    let (root, state_path) = (site.root(), site.state());
    let opening = Opening {
        root: &root,
        state_path: &state_path,
        state_id: "s1",
        vouch_key: &VouchKey::new([7; 32]),
        pbxs: &pbxs,
        now: Timestamp::UNIX_EPOCH,
    };
    assert_eq!(Archive::open(&opening).unwrap().id(), first.id());
    assert!(std::fs::read_to_string(site.at("branch/.callvault")).unwrap().contains(first.id()));
}

#[test]
fn the_archive_of_another_state_is_refused_with_the_remedy() {
    let site = Site::new(Abilities::all());
    site.open();
    let error = site.try_open("s2", false).unwrap_err();
    assert!(matches!(error, ArchiveError::Foreign { .. }));
    assert_eq!(error.reaction(), Reaction::Stop);
    let text = error.to_string();
    assert!(text.contains("hq/.callvault") && text.contains("state s1, ours is s2"), "{text}");
    assert!(text.contains("set `[state] path`"), "{text}");
}

#[test]
fn an_archive_that_is_not_mounted_is_refused_and_nothing_is_made_there() {
    let site = Site::new(Abilities::all());
    for _ in 0..2 {
        let error = site.try_open("s1", true).unwrap_err();
        assert!(matches!(error, ArchiveError::NotMounted { .. }), "{error}");
        assert!(error.to_string().contains("mount it"), "{error}");
        assert!(!site.at("hq").exists());
        // Next, a bare mount point.
        std::fs::create_dir_all(site.root()).unwrap();
    }
}

#[test]
fn files_without_a_marker_are_not_ours_to_write_beside() {
    let site = Site::new(Abilities::all());
    site.plant("hq/holiday.jpg", b"x");
    let error = site.try_open("s1", false).unwrap_err();
    assert!(matches!(error, ArchiveError::Unmarked { .. }), "{error}");
    assert_eq!(site.paths(), ["hq/holiday.jpg"]);
}

#[test]
fn a_first_start_that_was_cut_short_is_continued() {
    let site = Site::new(Abilities::all());
    site.plant("hq/.callvault-0123456789abcdef.part", b"{");
    std::fs::create_dir(site.at("hq/lost+found")).unwrap();
    site.open();
    assert!(site.paths().is_empty());
}

#[test]
fn a_damaged_marker_is_neither_trusted_nor_replaced() {
    let site = Site::new(Abilities::all());
    site.plant("hq/.callvault", b"");
    let error = site.try_open("s1", false).unwrap_err();
    assert!(matches!(error, ArchiveError::DamagedMarker { .. }), "{error}");
    assert_eq!(std::fs::read(site.at("hq/.callvault")).unwrap(), b"");
}

#[test]
fn an_archive_inside_the_state_folder_is_refused_however_it_is_written() {
    let site = Site::new(Abilities::all());
    std::fs::create_dir_all(site.state().join("deep")).unwrap();
    symlink(site.state().join("deep"), site.root()).unwrap();
    let error = site.try_open("s1", false).unwrap_err();
    assert!(matches!(error, ArchiveError::InsideState { .. }), "{error}");
    assert!(std::fs::read_dir(site.state().join("deep")).unwrap().next().is_none());
}

#[test]
fn a_root_that_is_a_file_is_refused() {
    let site = Site::new(Abilities::all());
    std::fs::write(site.root(), "x").unwrap();
    let error = site.try_open("s1", false).unwrap_err();
    assert!(error.to_string().contains("is not a real folder"), "{error}");
    assert!(matches!(error, ArchiveError::Planted { path, .. } if path == site.root()));
}

#[test]
fn an_archive_serves_the_pbxs_that_it_was_opened_for() {
    let archive = Site::new(Abilities::all()).open();
    assert!(archive.serves(&crate::day()));
    assert!(!archive.serves(&Folder::parse("branch/2026/11/21").unwrap()));
}

#[test]
fn a_folder_that_another_one_took_the_place_of_is_noticed() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    archive.check_place("hq").unwrap();
    std::fs::rename(site.at("hq"), site.at("away")).unwrap();
    for taken in [false, true] {
        if taken {
            std::fs::create_dir(site.at("hq")).unwrap();
        }
        let error = archive.check_place("hq").unwrap_err();
        assert!(matches!(error, ArchiveError::NotMounted { .. }), "{error}");
    }
    std::fs::remove_dir(site.at("hq")).unwrap();
    std::fs::rename(site.at("away"), site.at("hq")).unwrap();
    archive.check_place("hq").unwrap();
}

#[test]
fn a_marker_counts_only_if_it_is_of_this_archive() {
    let (site, other) = (Site::new(Abilities::all()), Site::new(Abilities::all()));
    let archive = site.open();
    other.open();
    assert!(marker::is_of(&archive.reader(), "hq", archive.id()).unwrap());
    for bytes in [std::fs::read(other.at("hq/.callvault")).unwrap(), b"{".to_vec()] {
        std::fs::write(site.at("hq/.callvault"), bytes).unwrap();
        assert!(!marker::is_of(&archive.reader(), "hq", archive.id()).unwrap());
    }
    std::fs::remove_file(site.at("hq/.callvault")).unwrap();
    assert!(!marker::is_of(&archive.reader(), "hq", archive.id()).unwrap());
}

#[test]
fn a_reader_names_a_path_that_is_in_no_folder() {
    let archive = Site::new(Abilities::all()).open();
    for path in ["a.wav", "hq", "..", "/"] {
        let error = Key::found(path).and_then(|key| archive.reader().read(&key, 1)).unwrap_err();
        assert!(error.to_string().contains(&format!("`{path}`")), "{error}");
    }
}

#[test]
fn the_folder_of_a_pbx_is_no_symbolic_link() {
    let site = Site::new(Abilities::all());
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(site.root()).unwrap();
    symlink(elsewhere.path(), site.at("hq")).unwrap();
    assert!(matches!(site.try_open("s1", false).unwrap_err(), ArchiveError::Planted { .. }));
    assert!(std::fs::read_dir(elsewhere.path()).unwrap().next().is_none());
}

#[test]
fn the_temporaries_of_a_crash_are_removed_and_nothing_else_is() {
    let site = Site::new(EVERY_WAY[1]);
    let archive = site.open();
    keep(&archive, b"RIFF1");
    site.plant("hq/2026/11/21/.callvault-0123456789abcdef.part", b"half");
    site.plant("hq/2026/11/21/notes.part", b"an operator's");
    assert_eq!(archive.remove_temporaries(&crate::day()).unwrap(), 1);
    assert_eq!(archive.remove_temporaries(&crate::day()).unwrap(), 0);
    let expected = ["hq/2026/11/21/a.wav", "hq/2026/11/21/a.wav.json", "hq/2026/11/21/notes.part"];
    assert_eq!(site.paths(), expected);
}

#[test]
fn too_little_space_is_said_before_a_ticket_is_taken() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    archive.check_space("hq", 1).unwrap();
    assert!(archive.free_bytes("hq").unwrap() > 1);
    let error = archive.check_space("hq", u64::MAX).unwrap_err();
    assert_eq!(error.reaction(), Reaction::Pause);
    assert!(error.to_string().contains("MiB free"), "{error}");
    assert!(archive.check_space("unknown", 1).is_err());
}
