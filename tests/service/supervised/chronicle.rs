//! What the service writes into the ledger of itself.

use serde_json::Value;

use super::ARCHIVED;
use super::reloading::reload;
use crate::support::program::{Folder, Pbx, eventually};
use crate::support::supervisor::Service;

/// The entries so far, in their order.
fn entries(folder: &Folder) -> Vec<Value> {
    let count = folder.number("select count(*) from ledger");
    let proof = |number: i64| {
        let said = folder.run(&["ledger", "prove", &number.to_string()]).exits(0);
        let proof = callvault::formats::tlog::TlogProof::parse(&said.stdout).unwrap();
        serde_json::from_slice(&proof.entry).unwrap()
    };
    (0..count).map(proof).collect()
}

fn words(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["type"].as_str().unwrap()).collect()
}

#[test]
fn that_it_began_and_ended_and_under_which_choices_and_all_of_it_is_signed() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    let mut service = Service::ready(&folder);
    eventually("all are archived", || folder.number(ARCHIVED) == 2);
    // A reload that changes nothing is not told; one that changes a rule is.
    reload(&mut service);
    folder.edit(|text| text + "\n[[exclude]]\nname = \"private\"\nextension = [\"1001\"]\n");
    reload(&mut service);
    service.stop().0.exits(0);
    Service::ready(&folder).stop().0.exits(0);
    let shown = folder.run(&["ledger", "--json"]).exits(0).json();
    assert_eq!(shown["entries"], shown["signed_entries"]);
    // What became of the recordings and days meanwhile is not the point: voicemail comes when it comes, and after one
    // o'clock at night yesterday is closed.
    let elsewhere = |entry: &Value| entry["type"] == "archived" || entry["type"] == "day_closed";
    let entries: Vec<Value> = entries(&folder).into_iter().filter(|entry| !elsewhere(entry)).collect();
    let expected = ["key", "start", "config", "config", "stop", "start", "stop"];
    assert_eq!(words(&entries), expected);
    assert_eq!(entries[2]["pbx"], serde_json::json!(["hq"]));
    assert_eq!(entries[3]["exclude"], serde_json::json!(["private"]));
    assert_ne!(entries[2]["settings"], entries[3]["settings"]);
}
