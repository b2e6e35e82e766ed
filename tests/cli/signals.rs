//! Ctrl-C finishes what is in flight, a second one stops at once; SIGTERM is the same.

use std::time::{Duration, Instant};

use callvault::simulator::Faults;
use rustix::process::Signal;

use crate::support::program::{Folder, Pbx, eventually};

const CLAIMS: &str = "select count(*) from recordings where run_id is not null";

#[test]
fn one_signal_finishes_what_is_in_flight_and_says_what_is_left() {
    for signal in [Signal::INT, Signal::TERM] {
        let pbx = Pbx::slow(60);
        let folder = Folder::for_pbx(&pbx.url());
        let running = folder.start(folder.command(["backfill"]));
        eventually("some are downloaded", || pbx.counters().downloads_ok >= 4);
        running.signal(signal);
        let said = running.wait().exits(130);
        assert!(said.stderr.contains("finishing what is in flight"), "{}", said.stderr);
        let archived = folder.recordings().len();
        assert!((4..60).contains(&archived));
        let left = format!(
            "\nInterrupted: {} recordings are left; run the same command to continue.\n",
            60 - archived
        );
        assert!(said.stdout.ends_with(&left), "{}", said.stdout);
        assert_eq!(folder.number(CLAIMS), 0);

        folder.run(&["backfill"]).exits(0);
        assert_eq!(
            (folder.recordings().len(), pbx.counters().downloads_ok),
            (60, 60),
            "none is fetched twice"
        );
    }
}

#[test]
fn an_interrupted_run_says_so_in_json_too() {
    let pbx = Pbx::slow(60);
    let folder = Folder::for_pbx(&pbx.url());
    let running = folder.start(folder.command(["backfill", "--json"]));
    eventually("one is downloaded", || pbx.counters().downloads_ok >= 1);
    running.signal(Signal::INT);
    let said = running.wait().exits(130);
    assert_eq!(said.json()["interrupted"], true);
    assert_eq!(said.count("listed"), said.count("archived") + said.count("pending"));
}

#[test]
fn a_second_signal_stops_at_once_and_loses_nothing() {
    let pbx = Pbx::with(6);
    pbx.set_faults(Faults { stall: 1.0, ..Faults::default() });
    let folder = Folder::for_pbx(&pbx.url());
    let running = folder.start(folder.command(["backfill"]));
    eventually("a download stalls", || pbx.counters().downloads_started >= 1);
    running.signal(Signal::INT);
    running.until_it_says("press Ctrl-C again to stop at once");
    let began = Instant::now();
    running.signal(Signal::INT);
    let said = running.wait().exits(130);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(said.stderr.contains("stopped at once"), "{}", said.stderr);

    pbx.set_faults(Faults::default());
    folder.run(&["backfill"]).exits(0);
    assert_eq!(folder.recordings().len(), 6);
    assert_eq!(folder.number(CLAIMS), 0);
}

#[test]
fn a_signal_ends_the_wait_for_a_pbx_that_is_down() {
    let folder = Folder::for_pbx(&Pbx::with(1).stop());
    folder.edit(|text| text.replace("outage_patience_s = 0", "outage_patience_s = 600"));
    let running = folder.start(folder.command(["backfill", "--json"]));
    running.until_it_says("trying again in 4.0 s");
    let began = Instant::now();
    running.signal(Signal::INT);
    running.wait().exits(130).json();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_signal_before_anything_was_asked_does_no_harm() {
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    for moment in 0..8 {
        let running = folder.start(folder.command(["backfill"]));
        let files = || folder.path("state").is_dir() && folder.files("state").len() >= moment;
        eventually("the state is being made", || files() || moment > 4);
        running.signal(Signal::TERM);
        let said = running.wait();
        // Before it listens to signals, one ends it as it ends any program.
        assert!([0, 130, 128 + 15].contains(&said.code), "{said:?}");
    }
    folder.run(&["backfill"]).exits(0);
    assert_eq!(folder.recordings().len(), 3);
}
