//! Somebody who gives commands beside the service now and then.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::house::House;
use super::stop::Stop;
use crate::support::chance::Chance;
use crate::support::program::Said;

/// How often each command ended with each code.
pub(crate) type Codes = BTreeMap<(String, i32), u64>;

/// Gives commands until told to stop; how they ended, and what was wrong with that.
pub(crate) fn operate(house: &House, every: Duration, seed: u64, stop: &Stop) -> (Codes, Vec<String>) {
    let (mut chance, mut codes, mut number) = (Chance(seed), Codes::new(), 0_u64);
    let mut wrong = Vec::new();
    while !stop.comes_within(every) {
        let pbx = house.devices[chance.below(house.devices.len() as u64) as usize].id;
        let out = house.folder.path(&format!("export-{number}"));
        let out = out.to_str().unwrap();
        let today = house.devices[0].pbx.world(|world| world.today()).to_string();
        let commands: [&[&str]; 12] = [
            &["status", "--json"],
            &["backfill", "--json", "--pbx", pbx, "--from", &today],
            &["retry", "--json"],
            &["verify", "--json"],
            &["export", "--json", "--out", out, "--from", &today, "--pbx", pbx],
            &["retry", "--json", "--pbx", pbx],
            &["pause", "--json", pbx],
            &["reconcile", "--json"],
            &["verify", "--full", "--json"],
            &["feed"],
            &["ledger", "check", "--json"],
            &["status"],
        ];
        let command = commands[number as usize % commands.len()];
        let said = house.folder.run(command);
        wrong.extend(judge(house, command, &said));
        *codes.entry((command[0].to_owned(), said.code)).or_default() += 1;
        if command[0] == "pause" {
            stop.comes_within(every);
            for device in &house.devices {
                let said = house.folder.run(&["resume", "--json", device.id]);
                *codes.entry(("resume".to_owned(), said.code)).or_default() += 1;
            }
        }
        if command[0] == "export" {
            // It is large, and there are many.
            drop(fs::remove_dir_all(out));
        }
        number += 1;
    }
    (codes, wrong)
}

/// Whatever befalls the service meanwhile: no command finds damage, and none ends in a way that nobody foresaw.
fn judge(house: &House, command: &[&str], said: &Said) -> Option<String> {
    if [0, 3, 4].contains(&said.code) {
        return None;
    }
    let told = format!(
        "{}: {command:?} exits {}: {} {}",
        house.name,
        said.code,
        said.stdout.trim_end(),
        said.stderr.trim_end()
    );
    println!("{told}");
    (![1, 2].contains(&said.code)).then_some(told)
}
