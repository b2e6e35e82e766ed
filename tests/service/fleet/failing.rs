//! Five of fifty fail, each in its own way: the others are archived as if they were alone, the five are told with cause
//! and remedy, and are archived too when they heal, without anybody's help.

use std::time::{Duration, Instant};

use callvault::simulator::Faults;
use serde_json::Value;

use super::fifty::{Fleet, PBXS, RECORDINGS, concurrency_of, id_of, is_whole, write_password};
use crate::support::program::{Folder, PASSWORD, eventually};

const DOWN: usize = 7;
const HANGS: usize = 17;
const REFUSES: usize = 27;
const OTHER_KEY: usize = 37;
const MUTE: usize = 47;

/// The failing five, each with the class of its trouble and the remedy that is told.
const FAILING: [(usize, &str, &str); 5] = [
    (DOWN, "refused", "check `url` and that the PBX's API is enabled"),
    (HANGS, "timeout", "check that the PBX is not overloaded"),
    (REFUSES, "password_refused", "callvault retry --pbx pbx-27"),
    (OTHER_KEY, "tls_pin_mismatch", "callvault trust pbx-37"),
    (
        MUTE,
        "http_504",
        "the PBX took too long for a proxy, or for its own web server; if this persists, restart it",
    ),
];

/// Who heals is archived within this time, though nobody tells callvault: also on a machine that has other things to do.
const HEALS_WITHIN: Duration = Duration::from_secs(120);

fn is_failing(number: usize) -> bool {
    FAILING.iter().any(|(failing, ..)| *failing == number)
}

/// Whether it has sent all that it has. Cheaper to ask than for the files, and it does not hold the PBX up.
fn has_delivered(fleet: &Fleet, number: usize) -> bool {
    fleet.pbx(number).counters().downloads_ok >= RECORDINGS
}

fn fail(fleet: &Fleet) {
    fleet.runtime.block_on(fleet.pbx(DOWN).set_down(true)).unwrap();
    fleet.pbx(HANGS).set_faults(Faults { hang: 1.0, ..Faults::default() });
    fleet.pbx(OTHER_KEY).set_faults(Faults { certificate: 1, ..Faults::default() });
    fleet.pbx(MUTE).set_faults(Faults { cdr_504: 1.0, ..Faults::default() });
}

fn heal(fleet: &Fleet, folder: &Folder) {
    fleet.runtime.block_on(fleet.pbx(DOWN).set_down(false)).unwrap();
    write_password(folder, "another-password", PASSWORD);
    for number in [HANGS, OTHER_KEY, MUTE] {
        fleet.pbx(number).set_faults(Faults::default());
    }
}

fn keys(number: usize) -> String {
    match number {
        HANGS => "reply_timeout_s = 0.5".to_owned(),
        _ => String::new(),
    }
}

#[test]
fn five_that_fail_are_told_touch_no_other_and_come_back_by_themselves() {
    let fleet = Fleet::start(|number| number == OTHER_KEY);
    let folder = fleet.folder(keys);
    fail(&fleet);
    write_password(&folder, "another-password", "Wrong-Horse-9");
    folder.edit(|text| {
        let (before, after) = text.split_once(&format!("id = \"{}\"", id_of(REFUSES))).unwrap();
        format!("{before}id = \"{}\"{}", id_of(REFUSES), after.replacen("hq-password", "another-password", 1))
    });
    let mut command = folder.command(["run"]);
    command.env("CALLVAULT_LOG", "warn");
    let mut running = folder.start(command);

    let healthy = (0..PBXS).filter(|number| !is_failing(*number));
    eventually("those that are well are asked", || {
        healthy.clone().all(|number| has_delivered(&fleet, number))
    });
    eventually("they are archived", || {
        healthy.clone().all(|number| is_whole(&folder, number, fleet.pbx(number)))
    });
    let mut status = Value::Null;
    eventually("the five are told", || {
        status = folder.run(&["status", "--json"]).exits(4).json();
        FAILING.iter().all(|(number, ..)| !status["pbx"][id_of(*number)]["error"].is_null())
    });
    for (number, reason, remedy) in FAILING {
        let error = &status["pbx"][id_of(number)]["error"];
        let message = error["message"].as_str().unwrap();
        assert!(error["reason"] == reason && message.contains(remedy), "{}: {error}", id_of(number));
        assert!(message.contains(&id_of(number)), "it names the PBX: {message}");
    }

    heal(&fleet, &folder);
    let healed = Instant::now();
    for (number, ..) in FAILING {
        eventually("one that healed is archived", || {
            assert!(!running.has_ended(), "it ended: {}", running.so_far());
            has_delivered(&fleet, number)
        });
    }
    eventually("all are on the disk", || {
        (0..PBXS).all(|number| is_whole(&folder, number, fleet.pbx(number)))
    });
    assert!(healed.elapsed() < HEALS_WITHIN, "{:?}", healed.elapsed());
    eventually("no trouble is told any more", || folder.run(&["status", "--json"]).code == 0);
    running.signal(rustix::process::Signal::TERM);
    running.wait().exits(0);
    for number in 0..PBXS {
        let counters = fleet.pbx(number).counters();
        let at_once = concurrency_of(number) as u64;
        assert!(counters.connections_peak <= at_once, "{}: {counters:?}", id_of(number));
        let logins = counters.logins_ok;
        assert!(logins == 1 || is_failing(number), "{} logged in {logins} times", id_of(number));
        assert!(counters.logins_refused <= 1, "{}: {counters:?}", id_of(number));
    }
}
