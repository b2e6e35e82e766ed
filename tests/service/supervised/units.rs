//! The units say the same as the program and as each other.

use std::fs;
use std::path::Path;

const HARDENING: &str = "# Hardening: the same lines in both units.\n";

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

fn hardening_of(unit: &str) -> &str {
    let (_, after) = unit.split_once(HARDENING).expect("the unit has a part of hardening");
    after.split("\n[Install]").next().unwrap_or(after).trim_end()
}

/// The value of a key that stands once.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let found = values.next().unwrap_or_else(|| panic!("there is no {key}"));
    assert_eq!(values.next(), None, "{key} stands twice");
    found
}

#[test]
fn both_units_are_hardened_alike() {
    let (service, backfill) =
        (read("systemd/callvault.service"), read("systemd/callvault-backfill@.service"));
    assert!(!hardening_of(&service).is_empty());
    assert_eq!(hardening_of(&service), hardening_of(&backfill));
}

#[test]
fn the_supervisor_waits_longer_for_the_end_than_the_service_takes() {
    let example = read("config.example.toml");
    let default = example.lines().find_map(|line| line.strip_prefix("# stop_timeout_s = "));
    let stop_timeout_s: u64 = default.expect("the example shows the default").parse().unwrap();
    for unit in ["systemd/callvault.service", "systemd/callvault-backfill@.service"] {
        let waits: u64 = value(&read(unit), "TimeoutStopSec").parse().unwrap();
        assert!(waits > stop_timeout_s, "{unit}: {waits}");
    }
}

#[test]
fn a_configuration_that_a_person_must_mend_is_not_tried_again_and_again() {
    let service = read("systemd/callvault.service");
    assert_eq!(value(&service, "RestartPreventExitStatus"), "2");
    assert_eq!(value(&service, "Restart"), "on-failure");
}
