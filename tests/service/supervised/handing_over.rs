//! Commands beside the service: it does their work over its own session, and they do it themselves where it is gone.

use std::time::Duration;

use callvault::simulator::SimulatorOptions;
use rustix::process::Signal;
use serde_json::Value;

use super::{ARCHIVED, CLAIMS};
use crate::support::program::{Folder, Pbx, Said, eventually};
use crate::support::supervisor::Service;

/// A PBX that takes its time, so that something can happen meanwhile.
fn slow(recordings: u64) -> Pbx {
    let latency = Duration::from_millis(6);
    Pbx::start(SimulatorOptions { latency, voicemails: 0, ..Pbx::options(recordings) })
}

/// The object without what differs from run to run.
fn numbers(said: &Said) -> Value {
    let mut json = said.json();
    json["elapsed_s"] = Value::Null;
    json["pbx"]["hq"]["elapsed_s"] = Value::Null;
    json
}

#[test]
fn beside_the_service_a_backfill_says_what_it_says_without() {
    let pbx = slow(6);
    let (alone, beside) = (Folder::for_pbx(&pbx.url()), Folder::for_pbx(&pbx.url()));
    alone.run(&["backfill"]).exits(0);
    let expected = alone.run(&["backfill", "--json"]).exits(0);
    let logins = pbx.logins();
    let service = Service::ready(&beside);
    eventually("all are archived", || beside.number(ARCHIVED) == 6);
    let said = beside.run(&["backfill", "--json"]).exits(0);
    assert_eq!(numbers(&said), numbers(&expected));
    assert!(
        said.stdout.starts_with("{\"listed\":6,\"archived\":0,\"already_archived\":6,"),
        "{}",
        said.stdout
    );
    assert!(said.stderr.contains("handed to the service"), "{}", said.stderr);
    beside.run(&["retry", "--pbx", "hq"]).exits(0);
    beside.run(&["pause", "hq"]).exits(0);
    beside.run(&["resume", "hq"]).exits(0);
    service.stop().0.exits(0);
    assert_eq!(pbx.logins(), logins + 1, "one session for all of it");
    assert!(pbx.counters().connections_peak <= 2);
}

#[test]
fn two_backfills_at_once_share_the_work_of_the_service() {
    let pbx = slow(30);
    let folder = Folder::for_pbx(&pbx.url());
    let service = Service::ready(&folder);
    let both = [(); 2].map(|()| folder.start(folder.command(["backfill", "--json"])));
    for said in both.map(|running| running.wait().exits(0)) {
        let done = said.count("archived") + said.count("already_archived");
        assert_eq!((said.count("listed"), done), (30, 30), "{}", said.stdout);
    }
    service.stop().0.exits(0);
    let counters = pbx.counters();
    assert_eq!((counters.downloads_ok, pbx.logins()), (30, 1));
    assert!(counters.connections_peak <= 2, "{counters:?}");
}

#[test]
fn ctrl_c_on_the_client_ends_its_backfill_and_not_the_service() {
    let pbx = slow(60);
    let folder = Folder::for_pbx(&pbx.url());
    let service = Service::ready(&folder);
    let client = folder.start(folder.command(["backfill"]));
    client.until_it_says("handed to the service");
    eventually("some are downloaded", || pbx.counters().downloads_ok >= 2);
    client.signal(Signal::INT);
    client.wait().exits(130);
    eventually("all are archived", || folder.number(ARCHIVED) == 60);
    service.stop().0.exits(0);
    assert_eq!((pbx.counters().downloads_ok, pbx.logins()), (60, 1));
}

#[test]
fn where_the_service_ends_meanwhile_the_client_finishes_the_work() {
    for signal in [Signal::KILL, Signal::TERM] {
        let pbx = slow(40);
        let folder = Folder::for_pbx(&pbx.url());
        let service = Service::ready(&folder);
        let client = folder.start(folder.command(["backfill", "--json"]));
        client.until_it_says("handed to the service");
        eventually("some are downloaded", || pbx.counters().downloads_ok >= 4);
        service.signal(signal);
        let _ = service.wait();
        let said = client.wait().exits(0);
        let done = said.count("archived") + said.count("already_archived");
        assert_eq!((said.count("listed"), done), (40, 40), "{}", said.stdout);
        assert_eq!((folder.number(ARCHIVED), folder.number(CLAIMS)), (40, 0));
        assert_eq!(folder.recordings().len(), 40);
        assert!(pbx.counters().connections_peak <= 2);
    }
}

#[test]
fn verification_is_handed_over_too() {
    let pbx = Pbx::with(5);
    let folder = Folder::for_pbx(&pbx.url());
    let service = Service::ready(&folder);
    eventually("all are archived", || folder.number(ARCHIVED) == 5);
    let json = folder.run(&["verify", "--full", "--json"]).exits(0).json();
    assert_eq!(json["damaged"], serde_json::json!([]));
    let audio = folder.recordings()[0].clone();
    std::fs::rename(&audio, folder.path("aside")).unwrap();
    assert_eq!(folder.run(&["verify", "--json"]).exits(5).json()["damaged"][0]["class"], "missing");
    std::fs::rename(folder.path("aside"), &audio).unwrap();
    folder.run(&["verify"]).exits(0);
    service.stop().0.exits(0);
}

#[test]
fn where_the_service_is_started_again_at_once_the_client_goes_on_with_it() {
    let pbx = slow(40);
    let folder = Folder::for_pbx(&pbx.url());
    let mut service = Service::ready(&folder);
    let client = folder.start(folder.command(["backfill", "--json"]));
    client.until_it_says("handed to the service");
    for _ in 0..3 {
        service.signal(Signal::KILL);
        let _ = service.wait();
        // The command goes on by itself where it is faster than we are.
        service = Service::ready_at_last(&folder);
    }
    let said = client.wait().exits(0);
    assert_eq!(said.count("listed"), 40, "{}", said.stdout);
    service.stop().0.exits(0);
    assert_eq!(folder.number(ARCHIVED), 40);
}

#[test]
fn a_paused_pbx_is_left_alone_until_it_is_resumed() {
    let pbx = slow(3);
    let folder = Folder::for_pbx(&pbx.url());
    folder.edit(|text| format!("[schedule]\nsweep = \"* * * * * *\"\nvoicemail = \"* * * * * *\"\n{text}"));
    let service = Service::ready(&folder);
    eventually("all are archived", || folder.number(ARCHIVED) == 3);
    folder.run(&["pause", "hq"]).exits(0);
    eventually("nothing is in flight", || {
        let before = pbx.counters().requests;
        std::thread::sleep(Duration::from_millis(300));
        pbx.counters().requests == before
    });
    let asked = pbx.counters().requests;
    // Two sweeps would be due by then.
    std::thread::sleep(Duration::from_millis(2200));
    folder.run(&["backfill"]).exits(4);
    assert_eq!(pbx.counters().requests, asked, "a paused PBX is asked nothing");
    folder.run(&["resume", "hq"]).exits(0);
    eventually("it is asked again", || pbx.counters().requests > asked);
    service.stop().0.exits(0);
    assert_eq!(pbx.logins(), 1);
}
