//! With reports on, a recording is in the archive soon after its call; with reports off, the PBX keeps its destination.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use callvault::config::{PushAddress, PushMode};
use callvault::simulator::{Profile, PushOptions, SimulatorOptions};

use jiff::tz::TimeZone;

use crate::support::following::{Following, Time, hours};
use crate::support::station::{PBX, Station, followed};

/// The promise.
const SOON: Duration = Duration::from_secs(5);

/// Lets calls end one by one, and waits until each is archived.
async fn calls_are_archived_soon(mut station: Station) {
    let time = Time::of(&station);
    let service = Following::start(&mut station, &time.ours).await;
    service.until_quiet().await;
    service
        .until("the PBX reports to us", async || {
            let (counters, push) = (station.pbx.counters(), station.pbx.push_counters());
            counters.heartbeats > 0 || push.streams > 0
        })
        .await;
    for minute in 0..3 {
        let name = format!("reported-{minute}.wav");
        station.pbx.end_call(station.call(&name, minute));
        let began = std::time::Instant::now();
        let sidecar = station.path_of(&name).with_file_name(format!("{name}.json"));
        service.until(&name, async || sidecar.exists()).await;
        assert!(began.elapsed() < SOON, "{name} took {:?}", began.elapsed());
    }
    service.until_number("select count(*) from recordings where state <> 'archived'", 0).await;
    service.stop().await;
    station.check().await;
}

/// A port that nobody listens on.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reported_call_is_archived_soon_in_every_form_of_report() {
    for profile in [Profile::V1_1, Profile::V2, Profile::Compatible] {
        let mut station = Station::of(SimulatorOptions { profile, ..followed(2) }).await;
        let listen = free_address();
        station.config.push.listen = listen;
        let address = PushAddress { host: None, port: listen.port(), path: PBX.to_owned() };
        station.section().push = PushMode::Http(address);
        // A message of another season is dated by the zone only.
        station.section().timezone = Some(TimeZone::get("Europe/Berlin").unwrap());
        calls_are_archived_soon(station).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_told_by_an_event_stream_is_archived_soon() {
    // On a device that is busy a row is listed a moment after its report.
    let row_after = Duration::from_millis(300);
    let push =
        PushOptions { stream_port: Some(0), row_after, file_after: row_after, ..PushOptions::default() };
    let options = SimulatorOptions { profile: Profile::V2, push, ..followed(2) };
    let mut station = Station::of(options).await;
    let port = station.pbx.stream_port().unwrap();
    station.section().push = PushMode::Tcp { port };
    calls_are_archived_soon(station).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_reports_off_a_day_of_following_leaves_the_destination_alone() {
    let mut station = Station::followed(3).await;
    let mut time = Time::of(&station);
    let service = Following::start(&mut station, &time.ours).await;
    service.until_quiet().await;
    for _ in 0..12 {
        station.expect_login();
        time.pass(&station, hours(2));
        service.until_quiet().await;
    }
    service.stop().await;
    assert_eq!(station.pbx.registrations(), []);
    station.check().await;
}
