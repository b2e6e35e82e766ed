//! `SHA256SUMS` and the day files.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use callvault::archive::{Abilities, ArchiveError, Key, Sums, day_file_name};
use callvault::base::digest::Digest;
use callvault::formats::sums::NAME as SUMS_NAME;

use crate::{EVERY_WAY, Site, day, keep};

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

#[test]
fn sha256sum_accepts_what_we_write() {
    for abilities in EVERY_WAY {
        let site = Site::new(abilities);
        let archive = site.open();
        let kept = keep(&archive, b"RIFF1");
        let calls = archive.write_day_file(&day(), 1, lines(&["{}", "{\"a\":1}"])).unwrap();
        let files = [
            (calls.file_name, calls.sha256),
            ("a.wav.json".to_owned(), kept.file.sidecar_sha256()),
            ("a.wav".to_owned(), kept.file.sha256()),
        ];
        assert_eq!(archive.write_sums(&day(), &files).unwrap(), Sums::Written);
        assert_eq!(archive.write_sums(&day(), &files).unwrap(), Sums::Unchanged);
        let mut sha256sum = Command::new("sha256sum");
        let output = sha256sum
            .args(["-c", "--strict", SUMS_NAME])
            .current_dir(site.at(day().as_str()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "a.wav: OK\na.wav.json: OK\ncalls-1.jsonl: OK\n"
        );
        assert_eq!(archive.write_sums(&day(), &files[1..]).unwrap(), Sums::Written);
        assert_eq!(site.paths().len(), 4, "{abilities:?}: no temporary is left");
    }
}

#[test]
fn sums_list_safe_names_only() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    for name in ["../a.wav", "a\nb.wav", "a\\b.wav", ""] {
        let error = archive.write_sums(&day(), &[(name.to_owned(), Digest::of(""))]).unwrap_err();
        assert!(matches!(error, ArchiveError::UnsafePath { .. }));
    }
    assert!(site.paths().is_empty());
}

#[test]
fn a_day_file_is_written_once_under_the_next_free_number() {
    for abilities in EVERY_WAY {
        let site = Site::new(abilities);
        let archive = site.open();
        let first = archive.write_day_file(&day(), 1, lines(&["one"])).unwrap();
        let second = archive.write_day_file(&day(), 1, lines(&["two"])).unwrap();
        assert_eq!((first.number, second.number), (1, 2));
        assert_eq!((second.size_bytes, second.sha256), (4, Digest::of("two\n")));
        assert_eq!(std::fs::read(site.at("hq/2026/11/21/calls-1.jsonl")).unwrap(), b"one\n");
        let mode = std::fs::metadata(site.at("hq/2026/11/21/calls-1.jsonl")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o440);
        assert_eq!(site.paths().len(), 2, "{abilities:?}");
    }
}

#[test]
fn a_day_file_written_by_a_killed_run_is_found_again() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    archive.write_day_file(&day(), 1, lines(&["one"])).unwrap();
    let second = archive.write_day_file(&day(), 2, lines(&["two"])).unwrap();
    assert_eq!(archive.write_day_file(&day(), 2, lines(&["two"])).unwrap(), second);
    assert_eq!(site.paths().len(), 2);
}

#[test]
fn a_day_file_of_many_lines_has_them_all() {
    let site = Site::new(Abilities::all());
    let archive = site.open();
    let many = (0..20_000).map(|number| format!("{{\"number\":{number}}}"));
    let written = archive.write_day_file(&day(), 0, many).unwrap();
    assert_eq!(written.file_name, day_file_name(1));
    let bytes = std::fs::read(site.at("hq/2026/11/21/calls-1.jsonl")).unwrap();
    assert_eq!((bytes.len() as u64, Digest::of(&bytes)), (written.size_bytes, written.sha256));
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 20_000);
    assert!(archive.write_day_file(&day(), 1, lines(&["a\nb"])).is_err());
}

#[test]
fn a_file_of_a_name_of_its_own_is_written_once_and_found_again() {
    for abilities in EVERY_WAY {
        let site = Site::new(abilities);
        let archive = site.open();
        let keys =
            ["certificate-1.json", "certificate-1.html"].map(|name| Key::from(&day()).join(name.as_bytes()));
        assert!(keys.iter().all(|key| !archive.is_taken(key).unwrap()));
        assert!(site.paths().is_empty(), "looking makes no folder");
        for _ in 0..2 {
            archive.put(&keys[0], b"{}").unwrap();
        }
        assert!(archive.is_taken(&keys[0]).unwrap() && !archive.is_taken(&keys[1]).unwrap());
        let error = archive.put(&keys[0], b"{ }").unwrap_err();
        assert!(matches!(error, ArchiveError::OtherBytes { .. }), "{error}");
        let path = "hq/2026/11/21/certificate-1.json";
        assert_eq!(std::fs::read(site.at(path)).unwrap(), b"{}");
        assert_eq!(std::fs::metadata(site.at(path)).unwrap().permissions().mode() & 0o7777, 0o440);
        assert_eq!(site.paths(), [path], "{abilities:?}: no temporary is left");
        for name in ["../a.json", ".a", "a b", ""] {
            let error = archive.put(&Key::from(&day()).join(name.as_bytes()), b"{}").unwrap_err();
            assert!(matches!(error, ArchiveError::UnsafePath { .. }), "{error}");
        }
    }
}
