//! What becomes of a received recording, whatever stands at its place.

use std::os::unix::fs::{PermissionsExt, symlink};

use callvault::archive::{Abilities, ArchiveError, Key, Outcome};
use callvault::base::digest::Digest;
use callvault::formats::sidecar::Sidecar;

use crate::{EVERY_WAY, Site, keep, place, sidecar, try_keep};

const AUDIO: &str = "hq/2026/11/21/a.wav";
const SIDECAR: &str = "hq/2026/11/21/a.wav.json";

fn read_sidecar(site: &Site, path: &str) -> Sidecar {
    Sidecar::from_bytes(&std::fs::read(site.at(path)).unwrap()).unwrap()
}

#[test]
fn a_recording_is_kept_read_only_with_a_sidecar_that_tells_its_hash() {
    for abilities in EVERY_WAY {
        let site = Site::new(abilities);
        let archive = site.open();
        let kept = keep(&archive, b"RIFF1");
        assert_eq!(kept.outcome, Outcome::New);
        assert!(kept.quarantined.is_empty());
        assert_eq!((kept.file.path(), kept.file.size_bytes()), (AUDIO, 5));
        assert_eq!(kept.file.sha256(), Digest::of("RIFF1"));
        assert_eq!(site.paths(), [AUDIO, SIDECAR], "{abilities:?}");
        let on_disk = read_sidecar(&site, SIDECAR);
        assert_eq!(&on_disk, kept.file.sidecar());
        assert_eq!((on_disk.file.path.as_str(), on_disk.file.sha256), (AUDIO, Digest::of("RIFF1")));
        assert_eq!(kept.file.sidecar_sha256(), Digest::of(std::fs::read(site.at(SIDECAR)).unwrap()));
        for path in [AUDIO, SIDECAR] {
            let mode = std::fs::metadata(site.at(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o440, "{abilities:?}: {path}");
        }
    }
}

#[test]
fn a_download_that_is_dropped_leaves_nothing() {
    for abilities in EVERY_WAY {
        let site = Site::new(abilities);
        let archive = site.open();
        let mut incoming = archive.begin(&place()).unwrap();
        incoming.write(b"RIFF").unwrap();
        drop(incoming);
        drop(archive.begin(&place()).unwrap().finish(Vec::new()));
        assert!(site.paths().is_empty(), "{abilities:?}");
    }
}

#[test]
fn the_same_bytes_again_change_nothing() {
    for abilities in EVERY_WAY {
        let site = Site::new(abilities);
        let archive = site.open();
        let first = keep(&archive, b"RIFF1");
        let before = site.files();
        let again = keep(&archive, b"RIFF1");
        assert_eq!(again.outcome, Outcome::AlreadyThere);
        assert_eq!(again.file, first.file, "the first sidecar stays, with its salt");
        assert_eq!(site.files(), before, "{abilities:?}");
    }
}

#[test]
fn audio_whose_sidecar_was_not_written_in_time_gets_one() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    site.plant(AUDIO, b"RIFF1");
    let kept = keep(&archive, b"RIFF1");
    assert_eq!(kept.outcome, Outcome::AlreadyThere);
    assert_eq!(&read_sidecar(&site, SIDECAR), kept.file.sidecar());
}

#[test]
fn a_sidecar_whose_audio_was_lost_gets_it_back() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    let first = keep(&archive, b"RIFF1");
    std::fs::remove_file(site.at(AUDIO)).unwrap();
    let again = keep(&archive, b"RIFF1");
    assert_eq!((again.outcome, again.file), (Outcome::New, first.file));
}

#[test]
fn other_audio_of_the_same_name_is_kept_beside() {
    for abilities in EVERY_WAY {
        let site = Site::new(abilities);
        let archive = site.open();
        keep(&archive, b"RIFF1");
        let before = site.files();
        let beside = format!("hq/2026/11/21/a~conflict-{}.wav", Digest::of("RIFF2").short());
        for _ in 0..2 {
            let kept = keep(&archive, b"RIFF2");
            assert_eq!(kept.outcome, Outcome::Conflict { occupied: AUDIO.to_owned() });
            assert_eq!(kept.file.path(), beside);
            assert_eq!(read_sidecar(&site, &format!("{beside}.json")).file.path, beside);
        }
        let after = site.files();
        assert_eq!(after.len(), 4, "{abilities:?}: the second time is the same conflict");
        assert!(before.iter().all(|file| after.contains(file)), "nothing was touched");
    }
}

#[test]
fn the_same_bytes_of_another_recording_are_not_taken_for_ours() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    keep(&archive, b"RIFF1");
    let mut incoming = archive.begin(&place()).unwrap();
    incoming.write(b"RIFF1").unwrap();
    let kept = archive.keep(incoming.finish(Vec::new()), sidecar("b.wav"), &[]).unwrap();
    assert!(matches!(kept.outcome, Outcome::Conflict { .. }));
    assert_eq!(kept.file.sidecar().recording, sidecar("b.wav").recording);
}

#[test]
fn an_orphan_that_is_no_audio_moves_to_quarantine() {
    for abilities in EVERY_WAY {
        let site = Site::new(abilities);
        let archive = site.open();
        for (round, copy) in [(0, ""), (1, ".1"), (2, ".2")] {
            site.plant(AUDIO, b"");
            let kept = keep(&archive, b"RIFF1");
            assert_eq!(kept.outcome, Outcome::New);
            assert_eq!(kept.quarantined.len(), 1);
            assert_eq!(kept.quarantined[0].from, AUDIO);
            assert_eq!(kept.quarantined[0].to, format!("hq/.quarantine/2026/11/21/a.wav{copy}"));
            assert_eq!(std::fs::read(site.at(&kept.quarantined[0].to)).unwrap(), b"", "round {round}");
            std::fs::remove_file(site.at(AUDIO)).unwrap();
            std::fs::remove_file(site.at(SIDECAR)).unwrap();
        }
    }
}

#[test]
fn a_damaged_recording_is_moved_aside_for_its_right_bytes() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    let first = keep(&archive, b"RIFF1");
    std::fs::remove_file(site.at(AUDIO)).unwrap();
    site.plant(AUDIO, b"\0\0\0\0\0");
    let again = keep(&archive, b"RIFF1");
    assert_eq!((again.outcome, again.file), (Outcome::New, first.file));
    assert_eq!(again.quarantined.len(), 1);
}

#[test]
fn a_sidecar_that_cannot_be_read_moves_to_quarantine() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    site.plant(AUDIO, b"RIFF1");
    site.plant(SIDECAR, b"{");
    let kept = keep(&archive, b"RIFF1");
    assert_eq!(kept.outcome, Outcome::AlreadyThere);
    assert_eq!(kept.quarantined[0].from, SIDECAR);
    assert_eq!(std::fs::read(site.at(&kept.quarantined[0].to)).unwrap(), b"{");
}

#[test]
fn a_planted_link_leads_nowhere() {
    for abilities in EVERY_WAY {
        let site = Site::new(abilities);
        let archive = site.open();
        let elsewhere = tempfile::tempdir().unwrap();
        let victim = elsewhere.path().join("victim");
        std::fs::write(&victim, "theirs").unwrap();
        std::fs::create_dir_all(site.at("hq/2026/11/21")).unwrap();
        symlink(&victim, site.at(AUDIO)).unwrap();
        symlink(elsewhere.path().join("new"), site.at(SIDECAR)).unwrap();
        let kept = keep(&archive, b"RIFF1");
        assert_eq!((kept.outcome, kept.quarantined.len()), (Outcome::New, 2), "{abilities:?}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "theirs");
        assert!(!elsewhere.path().join("new").exists());
        assert!(site.at("hq/.quarantine/2026/11/21/a.wav").is_symlink());
    }
}

#[test]
fn a_day_that_is_a_planted_link_is_refused() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(site.at("hq/2026/11")).unwrap();
    symlink(elsewhere.path(), site.at("hq/2026/11/21")).unwrap();
    let error = try_keep(&archive, &place(), b"RIFF1").unwrap_err();
    assert!(matches!(error, ArchiveError::Planted { .. }), "{error}");
    assert!(archive.write_sums(&crate::day(), &[]).is_err());
    assert!(std::fs::read_dir(elsewhere.path()).unwrap().next().is_none());
}

#[test]
fn what_a_killed_run_left_is_adopted_without_asking_the_pbx() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    assert_eq!(archive.adopt(&place(), |_| true).unwrap(), None);
    let kept = keep(&archive, b"RIFF1");
    let next_run = site.try_open("s1", true).unwrap();
    let recording = sidecar("a.wav").recording;
    let adopted = next_run.adopt(&place(), |there| there.recording == recording).unwrap();
    assert_eq!(adopted, Some(kept.file));
    assert_eq!(next_run.adopt(&place(), |_| false).unwrap(), None, "of another recording");
}

#[test]
fn what_does_not_match_its_sidecar_is_not_adopted() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    keep(&archive, b"RIFF1");
    std::fs::remove_file(site.at(AUDIO)).unwrap();
    assert_eq!(archive.adopt(&place(), |_| true).unwrap(), None, "no audio");
    site.plant(AUDIO, b"RIFF2");
    assert_eq!(archive.adopt(&place(), |_| true).unwrap(), None, "other audio");
    std::fs::remove_file(site.at(SIDECAR)).unwrap();
    assert_eq!(archive.adopt(&place(), |_| true).unwrap(), None, "no sidecar");
}

#[test]
fn many_threads_keep_in_one_new_day() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let archive = &archive;
            scope.spawn(move || {
                for number in 0..10 {
                    let name = format!("{worker}-{number}.wav");
                    let place = callvault::archive::Destination::new(crate::day(), &name).unwrap();
                    try_keep(archive, &place, format!("RIFF{worker}{number}").as_bytes()).unwrap();
                }
            });
        }
    });
    assert_eq!(site.paths().len(), 80);
}

#[test]
fn what_is_set_aside_goes_to_the_same_path_in_quarantine_and_what_is_gone_is_gone() {
    for abilities in EVERY_WAY {
        let site = Site::new(abilities);
        let archive = site.open();
        assert_eq!(archive.set_aside(&Key::parse(AUDIO).unwrap()).unwrap(), None, "no folder of the day");
        site.plant("hq/2026/11/21/other.wav", b"stays");
        assert_eq!(archive.set_aside(&Key::parse(AUDIO).unwrap()).unwrap(), None, "no file in it");
        for (content, to) in [("one", "a.wav"), ("two", "a.wav.1"), ("three", "a.wav.2")] {
            site.plant(AUDIO, content.as_bytes());
            let moved = archive.set_aside(&Key::parse(AUDIO).unwrap()).unwrap().expect("it was there");
            assert_eq!(moved.from, AUDIO, "{abilities:?}");
            assert_eq!(moved.to, format!("hq/.quarantine/2026/11/21/{to}"), "{abilities:?}");
            assert_eq!(std::fs::read(site.at(&moved.to)).unwrap(), content.as_bytes());
        }
        let in_the_way = site.at("hq/.quarantine/2026/11/22");
        std::fs::write(&in_the_way, "a file").unwrap();
        site.plant("hq/2026/11/22/b.wav", b"stays too");
        let error = archive.set_aside(&Key::parse("hq/2026/11/22/b.wav").unwrap()).unwrap_err();
        assert!(error.to_string().contains(".quarantine/2026/11/22"), "{error}");
        assert_eq!(std::fs::read(site.at("hq/2026/11/22/b.wav")).unwrap(), b"stays too");
        let impossible = format!("hq/2026/11/21/{}", "n".repeat(300));
        archive.set_aside(&Key::found(impossible).unwrap()).expect_err("no filesystem has such a name");
    }
}
