//! Exit codes, and the numbers that `--json` prints.

use std::fs;

use callvault::simulator::{Faults, SimulatorOptions};
use serde_json::Value;

use crate::support::program::{Folder, Pbx, Said};

const PARTS: [&str; 6] = ["archived", "already_archived", "missing", "excluded", "pending", "stuck"];

/// `listed` is the sum of the others, in the totals and for each PBX; the totals are the sums over the PBXs.
fn assert_sums(json: &Value) {
    let number = |value: &Value, member: &str| value[member].as_i64().unwrap();
    let pbxs = json["pbx"].as_object().unwrap();
    for counted in pbxs.values().chain([json]) {
        let sum: i64 = PARTS.iter().map(|part| number(counted, part)).sum();
        assert_eq!(number(counted, "listed"), sum, "{json}");
        assert!(counted["elapsed_s"].as_f64().unwrap() > 0.0);
    }
    for member in PARTS.iter().chain(&["listed", "bytes"]) {
        let sum: i64 = pbxs.values().map(|pbx| number(pbx, member)).sum();
        assert_eq!(number(json, member), sum, "{member} in {json}");
    }
}

#[test]
fn a_complete_backfill_exits_0_and_a_second_one_asks_for_no_ticket() {
    let pbx = Pbx::with(12);
    let folder = Folder::for_pbx(&pbx.url());
    let first = folder.run(&["backfill", "--json"]).exits(0);
    assert_sums(&first.json());
    assert_eq!((first.count("listed"), first.count("archived"), folder.recordings().len()), (12, 12, 12));
    let size: u64 = folder.recordings().iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert_eq!(first.count("bytes"), i64::try_from(size).unwrap());
    assert_eq!(first.stderr, "");

    let tickets = pbx.counters().tickets_issued;
    let second = folder.run(&["backfill", "--json"]).exits(0);
    assert_sums(&second.json());
    assert_eq!(
        (second.count("archived"), second.count("already_archived"), second.count("bytes")),
        (0, 12, 0)
    );
    // The CDR itself takes tickets too: none but those.
    let of_cdr = pbx.counters().cdr_downloads;
    assert!(pbx.counters().tickets_issued - tickets <= of_cdr, "{:?}", pbx.counters());
    assert_eq!(pbx.counters().downloads_ok, 12);
}

#[test]
fn a_recording_that_the_pbx_lacks_makes_it_exit_3_and_is_named() {
    let pbx = Pbx::with(5);
    let name = pbx.truth()[2].name.clone();
    pbx.world(|world| world.delete_audio(&name));
    let folder = Folder::for_pbx(&pbx.url());
    let said = folder.run(&["backfill"]).exits(3);
    assert!(said.stdout.contains(std::str::from_utf8(&name).unwrap()), "{}", said.stdout);
    assert!(said.stdout.contains("1 of 5 recordings listed are not archived"), "{}", said.stdout);
    let json = folder.run(&["backfill", "--json"]).exits(3);
    assert_sums(&json.json());
    assert_eq!((json.count("missing"), json.count("already_archived")), (1, 4));
    assert_eq!(json.json()["pbx"]["hq"]["reasons"][0]["reason"], "missing");
    assert_eq!(folder.run(&["status", "--json"]).exits(3).json()["pbx"]["hq"]["missing"], 1);

    pbx.world(|world| world.restore_audio(&name));
    let retried = folder.run(&["retry", "--json", std::str::from_utf8(&name).unwrap()]).exits(0);
    assert_eq!(retried.count("archived"), 1);
    folder.run(&["status"]).exits(0);
}

#[test]
fn a_dry_run_says_what_it_would_fetch_and_fetches_nothing() {
    let pbx = Pbx::with(5);
    let folder = Folder::for_pbx(&pbx.url());
    let said = folder.run(&["backfill", "--dry-run"]).exits(0);
    assert!(
        said.stdout
            .ends_with("This was a dry run: nothing was fetched. A backfill would ask for 5 recordings.\n"),
        "{}",
        said.stdout
    );
    assert_eq!(pbx.counters().downloads_started, 0);
    assert!(folder.recordings().is_empty());
    let json = folder.run(&["backfill", "--dry-run", "--json"]).exits(0);
    assert_sums(&json.json());
    assert_eq!(json.count("pending"), 5);
}

#[test]
fn one_pbx_that_is_down_does_not_hold_up_the_other() {
    let (pbx, down) = (Pbx::with(4), Pbx::with(1).stop());
    let folder = Folder::for_pbx(&pbx.url());
    folder.add_pbx("branch", &down, "outage_patience_s = 0");
    let said = folder.run(&["backfill", "--json"]).exits(4);
    let json = said.json();
    assert_sums(&json);
    assert_eq!((said.count("archived"), &json["pbx"]["branch"]["listed"]), (4, &0.into()));
    assert_eq!(json["pbx"]["branch"]["error"]["reason"], "refused");
    assert!(json["pbx"]["hq"].get("error").is_none());
    folder.run(&["backfill", "--pbx", "hq"]).exits(0);
}

#[test]
fn two_names_for_one_device_are_refused() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    folder.add_pbx("twin", &pbx.url(), "");
    let said = folder.run(&["backfill", "--json"]).exits(2);
    assert_eq!(said.json()["pbx"]["twin"]["error"]["reason"], "same_device");
    assert_eq!(folder.recordings().len(), 2);
}

#[test]
fn faults_do_not_reach_the_archive_and_no_output_tells_a_secret_at_any_log_level() {
    let pbx = Pbx::with(40);
    let few = 0.05;
    pbx.set_faults(Faults {
        reset: few,
        truncate: few,
        json_body: few,
        html_200: few,
        ticket_expired: few,
        token_revoked: few,
        errno_20010: few,
        ..Faults::default()
    });
    let folder = Folder::for_pbx(&pbx.url());
    folder.edit(|text| text.replace("outage_patience_s = 0", "outage_patience_s = 60"));
    for level in ["trace", "debug", "nonsense", "info,hyper=trace"] {
        let mut command = folder.command(["backfill", "--json"]);
        command.env("CALLVAULT_LOG", level);
        // `Said` itself looks for secrets.
        folder.start(command).wait().exits(0).json();
    }
    assert_eq!(folder.recordings().len(), 40);
    for file in folder.files("state").into_iter().chain(folder.files("archive")) {
        let bytes = fs::read(&file).unwrap();
        for secret in Said::secrets() {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a secret in {}", file.display());
        }
    }
}

#[test]
fn a_pbx_that_is_named_twice_is_logged_in_to_once() {
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    let said = folder.run(&["backfill", "--json", "--pbx", "hq", "--pbx", "hq"]).exits(0);
    assert_sums(&said.json());
    assert_eq!((said.count("archived"), pbx.logins()), (3, 1));
}

#[test]
fn a_retry_of_what_is_stuck_asks_for_nothing_where_nothing_is() {
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    let requests = pbx.counters().requests;
    folder.run(&["retry", "--stuck"]).exits(0);
    assert_eq!(folder.run(&["retry", "--stuck", "--json"]).exits(0).count("listed"), 0);
    assert_eq!(pbx.counters().requests, requests);
}

/// A run may die before it brings the sums up to date, and its PBX may be gone from the configuration after that.
#[test]
fn a_removed_pbx_whose_sums_lag_does_not_keep_the_other_from_working() {
    let other = SimulatorOptions { serial_number: "369392500002".into(), ..Pbx::options(3) };
    let (pbx, branch) = (Pbx::with(4), Pbx::start(other));
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    folder.write("update day_folders set written = 0");
    let hq = fs::read_to_string(folder.config()).unwrap();
    folder.edit(|text| text.split("[[pbx]]").next().unwrap().to_owned());
    folder.add_pbx("branch", &branch.url(), "");
    let alone = folder.run(&["backfill", "--json"]).exits(0);
    assert_eq!((alone.count("listed"), alone.count("archived")), (3, 3));
    folder.run(&["status"]).exits(0);
    let lagging = "select count(*) from day_folders where changed > written";
    assert_eq!(folder.number(lagging), 1, "what is not configured is left alone");

    folder.edit(|_| hq);
    folder.run(&["backfill", "--json"]).exits(0);
    assert_eq!(folder.number(lagging), 0, "it comes up to date when it is back");
}

#[test]
fn the_status_tells_how_long_the_oldest_that_is_owed_has_left() {
    let pbx = Pbx::with(5);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill", "--dry-run"]).exits(0);
    let json = folder.run(&["status", "--json"]).exits(3).json();
    let forecast = &json["pbx"]["hq"]["forecast"];
    assert_eq!((&forecast["horizon_source"], &forecast["horizon_days"]), (&"hint".into(), &180.0.into()));
    assert!(forecast["margin_s"].as_i64().unwrap() > 170 * 86_400, "{forecast}");
    assert!(
        folder
            .run(&["status"])
            .exits(3)
            .stdout
            .contains("the oldest recording not archived yet is overwritten in about 17")
    );

    folder.edit(|text| format!("{text}recording_days = 3\n"));
    let told = folder.run(&["status"]).exits(3).stdout;
    assert!(
        told.contains("the oldest recording not archived yet is overwritten in about")
            && told.contains("(AT RISK: "),
        "{told}"
    );
    folder.run(&["backfill"]).exits(0);
    let json = folder.run(&["status", "--json"]).exits(0).json();
    assert_eq!(json["pbx"]["hq"]["forecast"].get("margin_s"), None);
    assert!(json["pbx"]["hq"]["forecast"]["bytes_per_day"].as_f64().unwrap() > 0.0, "{json}");
}
