//! SIGTERM: what is in flight may end, within the stop time; a second signal ends it at once. Nothing is lost.

use std::time::{Duration, Instant};

use callvault::simulator::{Faults, SimulatorOptions};
use rustix::process::Signal;

use super::{ARCHIVED, CLAIMS};
use crate::support::program::{Folder, Pbx, eventually};
use crate::support::supervisor::{Service, Supervision};

/// A folder whose service may take so long to stop.
fn folder_with_stop_timeout(pbx: &Pbx, seconds: &str) -> Folder {
    let folder = Folder::for_pbx(&pbx.url());
    folder.edit(|text| format!("[service]\nstop_timeout_s = {seconds}\n{text}"));
    folder
}

fn until_a_download_is_in_flight(pbx: &Pbx) {
    eventually("a download is in flight", || {
        let counters = pbx.counters();
        counters.downloads_started > counters.downloads_ok
    });
}

#[test]
fn a_download_in_flight_ends_and_is_archived() {
    for signal in [Signal::TERM, Signal::INT] {
        let pbx =
            Pbx::start(SimulatorOptions { size_bytes: (20_000, 20_001), voicemails: 0, ..Pbx::options(12) });
        pbx.set_faults(Faults { drip: 1.0, drip_bytes_per_s: 20_000, ..Faults::default() });
        let folder = folder_with_stop_timeout(&pbx, "60");
        let service = Service::ready(&folder);
        until_a_download_is_in_flight(&pbx);
        service.signal(signal);
        let (said, reports) = service.wait();
        said.exits(0);
        assert!(reports.iter().any(|report| report.get("STOPPING") == Some("1")), "{reports:?}");
        let archived = folder.number(ARCHIVED);
        assert!((1..12).contains(&archived), "what was in flight, and no more: {archived}");
        assert_eq!(folder.number(CLAIMS), 0);
        for recording in folder.recordings() {
            let sums = std::fs::read_to_string(recording.with_file_name("SHA256SUMS")).unwrap();
            assert!(sums.contains(recording.file_name().unwrap().to_str().unwrap()), "{sums}");
        }
        assert_eq!(pbx.counters().downloads_started, archived.unsigned_abs(), "no download was given up");
    }
}

#[test]
fn a_download_that_does_not_end_is_given_up_when_the_stop_time_is_over() {
    let pbx = Pbx::with(4);
    pbx.set_faults(Faults { stall: 1.0, ..Faults::default() });
    let folder = folder_with_stop_timeout(&pbx, "1");
    let service = Service::ready(&folder);
    until_a_download_is_in_flight(&pbx);
    let began = Instant::now();
    service.stop().0.exits(0);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(900), "it waits for what is in flight: {took:?}");
    assert!(took < Duration::from_secs(10), "and not longer than it may: {took:?}");
    assert!(folder.recordings().is_empty());

    pbx.set_faults(Faults::default());
    let service = Service::ready(&folder);
    eventually("all are archived", || folder.number(ARCHIVED) == 4);
    service.stop().0.exits(0);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let pbx = Pbx::with(4);
    pbx.set_faults(Faults { stall: 1.0, ..Faults::default() });
    let folder = folder_with_stop_timeout(&pbx, "60");
    let mut service = Service::ready(&folder);
    until_a_download_is_in_flight(&pbx);
    service.signal(Signal::TERM);
    service.until("STOPPING", |value| value == "1");
    let began = Instant::now();
    service.signal(Signal::TERM);
    service.wait().0.exits(130);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    pbx.set_faults(Faults::default());
    let service = Service::ready(&folder);
    eventually("all are archived", || folder.number(ARCHIVED) == 4);
    service.stop().0.exits(0);
}

#[test]
fn a_pbx_that_is_down_does_not_hold_the_stop_up() {
    let folder = Folder::for_pbx(&Pbx::with(1).stop());
    folder.edit(|text| text.replace("outage_patience_s = 0", "outage_patience_s = 600"));
    let service = Service::ready(&folder);
    let began = Instant::now();
    service.stop().0.exits(0);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_signal_at_any_moment_of_the_start_does_no_harm() {
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    for files in 0..5 {
        let mut service = Service::start(&folder, &Supervision::default());
        let so_far = || if folder.path("state").is_dir() { folder.files("state").len() } else { 0 };
        eventually("so many files of the state are there", || so_far() >= files || service.has_ended());
        let (said, _) = service.stop();
        // Before it listens to signals, one ends it as it ends any program.
        assert!([0, 128 + 15].contains(&said.code), "{said:?}");
    }
    let service = Service::ready(&folder);
    eventually("all are archived", || folder.number(ARCHIVED) == 3);
    service.stop().0.exits(0);
}
