//! What the program says of voicemail: apart from calls, in numbers and in words.

use callvault::simulator::SimulatorOptions;

use crate::support::program::{Folder, Pbx};

const WITH_VOICEMAIL: [&str; 3] = ["backfill", "--voicemail", "--json"];

#[test]
fn voicemail_has_numbers_of_its_own_in_json() {
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    let without = folder.run(&["backfill", "--json"]).exits(0).json();
    assert!(without.get("voicemail").is_none() && without["pbx"]["hq"].get("voicemail").is_none());
    let with = folder.run(&WITH_VOICEMAIL).exits(0).json();
    assert_eq!((&with["listed"], &with["already_archived"]), (&3.into(), &3.into()));
    for voicemail in [&with["voicemail"], &with["pbx"]["hq"]["voicemail"]] {
        assert_eq!((&voicemail["known"], &voicemail["archived"]), (&6.into(), &6.into()), "{with}");
    }
    assert_eq!(with["pbx"]["hq"]["voicemail"]["poll"]["messages"], 6);

    let status = folder.run(&["status", "--json"]).exits(0).json();
    let of_hq = &status["pbx"]["hq"];
    assert_eq!((&of_hq["listed"], &of_hq["voicemail"]["archived"]), (&3.into(), &6.into()), "{status}");
    assert_eq!(of_hq["voicemail"]["fullest"]["cap"], 50);
    let files: i64 =
        folder.recordings().iter().map(|file| i64::try_from(file.metadata().unwrap().len()).unwrap()).sum();
    let bytes = |value: &serde_json::Value| value["bytes"].as_i64().unwrap();
    assert_eq!(bytes(of_hq) + bytes(&of_hq["voicemail"]), files);
}

#[test]
fn voicemail_has_a_line_of_its_own_in_words() {
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    let dry = folder.run(&["backfill", "--voicemail", "--dry-run"]).exits(0);
    assert!(dry.stdout.contains("\n  voicemail: 6 messages: 6 would be fetched\n"), "{}", dry.stdout);
    assert!(dry.stdout.contains("A backfill would ask for 9 recordings"), "{}", dry.stdout);
    pbx.world(|world| world.voicemails().truncate(5));
    let said = folder.run(&["backfill", "--voicemail"]).exits(3);
    let line = "\n  voicemail: 6 messages: 5 archived now (4.88 KiB), 1 deleted or missing on the PBX\n";
    assert!(said.stdout.contains(line), "{}", said.stdout);
    assert!(said.stdout.contains("deleted from the voicemail box before it was archived"), "{}", said.stdout);
    assert!(said.stdout.contains("1 of 9 recordings listed are not archived"), "{}", said.stdout);
    let status = folder.run(&["status"]).exits(3);
    let line = "\n  voicemail: 6 messages: 5 archived (4.88 KiB), 1 missing; the fullest box is that of ";
    assert!(status.stdout.contains(line), "{}", status.stdout);
}

#[test]
fn a_device_without_voicemail_is_told_and_is_no_trouble() {
    let pbx = Pbx::start(SimulatorOptions { has_voicemail: false, ..Pbx::options(2) });
    let folder = Folder::for_pbx(&pbx.url());
    let said = folder.run(&["backfill", "--voicemail"]).exits(0);
    assert!(said.stdout.contains("\n  voicemail: this PBX has no API for it\n"), "{}", said.stdout);
    assert!(said.stdout.contains("Complete:"), "{}", said.stdout);
    let status = folder.run(&["status"]).exits(0);
    assert!(
        status.stdout.contains("has no API for it; callvault asks again once a day"),
        "{}",
        status.stdout
    );
}
