//! Devices, servers and proxies that are old and cannot be changed: what they mean is clear, and it costs nothing more
//! than with a PBX that speaks as one does today.

use callvault::simulator::{Faults, SimulatorOptions};

use crate::support::station::{Station, small};

/// Requests that a run takes to archive everything from this device.
async fn requests_to_archive(options: SimulatorOptions, faults: Faults) -> u64 {
    let mut station = Station::of(options).await;
    station.set_faults(faults);
    let report = station.backfill().await;
    assert_eq!((report.total.listed(), report.total.archived), (8, 8), "{report:?}");
    assert_eq!(report.exit_code(false), 0, "{report:?}");
    station.check().await;
    station.pbx.counters().requests
}

/// What an old device does costs as many requests as its clean twin.
async fn costs_nothing_more(fault: &str, options: SimulatorOptions, faults: Faults) {
    let clean = requests_to_archive(small(8), Faults::default()).await;
    let old = requests_to_archive(options, faults).await;
    assert_eq!(old, clean, "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_as_firmware_prints_it_is_read() {
    let faults = Faults { misprinted_json: 1.0, ..Faults::default() };
    costs_nothing_more("misprinted_json", small(8), faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_headers_only_as_people_write_them_is_understood() {
    let options = SimulatorOptions { knows_title_case_only: true, ..small(8) };
    costs_nothing_more("knows_title_case_only", options, Faults::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_headers_than_libraries_read_are_read() {
    let faults = Faults { many_headers: 1.0, ..Faults::default() };
    costs_nothing_more("many_headers", small(8), faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_json_that_come_compressed_are_inflated() {
    let faults = Faults { gzip: 1.0, ..Faults::default() };
    costs_nothing_more("gzip", small(8), faults).await;
    let faults =
        Faults { gzip: 1.0, misprinted_json: 1.0, chunked: 1.0, many_headers: 1.0, ..Faults::default() };
    costs_nothing_more("all of it", small(8), faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_pbx_is_left_alone_and_then_archived() {
    let mut station = Station::new(6).await;
    station.set_faults(Faults { busy: 0.1, busy_s: 1, ..Faults::default() });
    station.backfill().await;
    station.check().await;
    station.set_faults(Faults::default());
    let second = station.backfill().await;
    assert_eq!(
        (second.total.already_archived + second.total.archived, second.exit_code(false)),
        (6, 0),
        "{second:?}"
    );
    station.check().await;
}
