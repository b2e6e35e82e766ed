//! It is ready when it has cleaned up after the last run, and not before; what it cannot work with, it refuses.

use std::fs;
use std::process::Command;

use callvault::simulator::Faults;
use rustix::process::Signal;

use super::{ARCHIVED, CLAIMS, other_pbx};
use crate::support::program::{Folder, PASSWORD, Pbx, eventually};
use crate::support::supervisor::{Service, Supervision};

/// A status is read in the one line that `systemctl status` has for it.
const STATUS_CHARACTERS_MAX: usize = 200;

fn frozen_when_ready(folder: &Folder) -> Service {
    Service::start(folder, &Supervision { freezes_when_ready: true, ..Supervision::default() }).until_ready()
}

#[test]
fn it_is_ready_when_claims_are_released_and_sums_written() {
    let pbx = Pbx::slow(40);
    let folder = Folder::for_pbx(&pbx.url());
    let killed = folder.start(folder.command(["backfill"]));
    eventually("some are archived", || pbx.counters().downloads_ok >= 4);
    pbx.set_faults(Faults { stall: 1.0, ..Faults::default() });
    let started = pbx.counters().downloads_started;
    eventually("one is being downloaded", || pbx.counters().downloads_started > started);
    killed.signal(Signal::KILL);
    killed.wait().exits(128 + 9);
    assert!(folder.number(CLAIMS) > 0, "the killed run leaves its claims");
    assert!(!folder.files("archive").iter().any(|file| file.ends_with("SHA256SUMS")), "and no sums");
    folder.write(
        "create table claims_of_the_killed as select id, run_id from recordings where run_id is not null",
    );

    let service = frozen_when_ready(&folder);
    let kept = "select count(*) from recordings join claims_of_the_killed using (id, run_id)";
    assert_eq!(folder.number(kept), 0, "no claim of the killed run is left");
    for recording in folder.recordings() {
        let sums = fs::read_to_string(recording.with_file_name("SHA256SUMS")).unwrap();
        let name = recording.file_name().unwrap().to_str().unwrap();
        assert!(sums.contains(name), "{name} is not in SHA256SUMS when the service is ready");
    }

    pbx.set_faults(Faults::default());
    // Frozen, it may hold the database.
    service.signal(Signal::CONT);
    folder.write("drop table claims_of_the_killed");
    eventually("all are archived", || folder.number(ARCHIVED) == 40);
    service.stop().0.exits(0);
}

#[test]
fn it_archives_what_its_pbx_has_and_says_how_it_stands() {
    let pbx = Pbx::with(6);
    let folder = Folder::for_pbx(&pbx.url());
    let service = Service::ready(&folder);
    eventually("all are archived", || folder.number(ARCHIVED) == 6);
    let (said, reports) = service.stop();
    said.exits(0);

    let ready = reports.iter().find(|report| report.get("READY") == Some("1")).expect("it was ready");
    assert!(ready.get("STATUS").is_some(), "READY comes with a status: {ready:?}");
    let tokens = pbx.secrets();
    for status in reports.iter().filter_map(|report| report.get("STATUS")) {
        assert!((1..=STATUS_CHARACTERS_MAX).contains(&status.trim().chars().count()), "{status:?}");
        assert!(!tokens.iter().any(|token| status.contains(token)), "{status:?}");
    }
}

#[test]
fn without_a_supervisor_it_just_runs() {
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    let mut command: Command = folder.command(["run"]);
    command.env("CALLVAULT_LOG", "info");
    let mut running = folder.start(command);
    eventually("all are downloaded", || pbx.counters().downloads_ok >= 3 || running.has_ended());
    running.signal(Signal::TERM);
    let said = running.wait().exits(0);
    assert!(!said.stderr.contains('\u{1b}'), "no colours where no terminal is: {}", said.stderr);
    assert!(!said.stderr.is_empty(), "it tells what happens");
    assert!(said.stdout.is_empty(), "{}", said.stdout);
}

#[test]
fn all_mistakes_in_the_configuration_are_told_before_anything_is_opened() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    folder.edit(|text| text.replace("retry_base_s", "retry_bass_s").replace("username", "user_name"));
    let (said, reports) = Service::start(&folder, &Supervision::default()).wait();
    let said = said.exits(2);
    assert!(said.stderr.contains("retry_bass_s") && said.stderr.contains("user_name"), "{}", said.stderr);
    assert!(reports.iter().all(|report| report.get("READY").is_none()), "{reports:?}");
    assert!(!folder.path("state").exists() && !folder.path("archive").exists());
    assert_eq!(pbx.counters().requests, 0);
}

#[test]
fn a_second_service_on_the_same_state_is_refused() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    let first = Service::ready(&folder);
    let (said, reports) = Service::start(&folder, &Supervision::default()).wait();
    let said = said.exits(1);
    assert!(said.stderr.contains("in use by another callvault"), "{}", said.stderr);
    assert!(reports.iter().all(|report| report.get("READY").is_none()), "{reports:?}");
    eventually("the first goes on", || folder.number(ARCHIVED) == 2);
    first.stop().0.exits(0);
}

#[test]
fn an_archive_that_is_not_mounted_is_refused_and_stays_empty() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    fs::rename(folder.path("archive"), folder.path("elsewhere")).unwrap();
    fs::create_dir(folder.path("archive")).unwrap();
    let (said, reports) = Service::start(&folder, &Supervision::default()).wait();
    let said = said.exits(1);
    let remedy = "is not the mounted archive (the state lists recordings, but there is no `.callvault` marker): \
                  mount it or correct `[archive] path`, then start again";
    assert!(said.stderr.contains(remedy), "{}", said.stderr);
    assert!(reports.iter().all(|report| report.get("READY").is_none()), "{reports:?}");
    assert!(folder.files("archive").is_empty());

    fs::remove_dir(folder.path("archive")).unwrap();
    fs::rename(folder.path("elsewhere"), folder.path("archive")).unwrap();
    Service::ready(&folder).stop().0.exits(0);
}

#[test]
fn a_refused_password_keeps_nobody_else_from_being_served() {
    let (good, bad) = (Pbx::with(3), other_pbx(3));
    let folder = Folder::for_pbx(&good.url());
    folder.add_pbx("branch", &bad.url(), "");
    let wrong = folder.path("wrong-password");
    fs::copy(folder.path("hq-password"), &wrong).unwrap();
    fs::write(&wrong, "Wrong-Horse-9\n").unwrap();
    folder.edit(|text| {
        let (before, branch) = text.split_once("id = \"branch\"").unwrap();
        format!("{before}id = \"branch\"{}", branch.replace("hq-password", "wrong-password"))
    });
    let service = Service::ready(&folder);
    eventually("the good one is archived", || folder.number(ARCHIVED) == 3);
    eventually("the bad one is asked", || bad.logins() == 1);
    let (said, _) = service.stop();
    let said = said.exits(0);
    assert!(said.stderr.contains("`branch`"), "{}", said.stderr);
    assert!(!said.stderr.contains(PASSWORD));
    assert_eq!(bad.logins(), 1, "no login is tried again");
}
