//! A PBX that cannot be asked for a while: what ends that by itself, and what is never done meanwhile.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use callvault::simulator::{Faults, SimulatorOptions};

use crate::support::following::{Following, Time, hours};
use crate::support::station::{Station, followed};

const ARCHIVED: &str = "select count(*) from recordings where state = 'archived'";
const REFUSED: &str = "select count(*) from pbx where refused_credentials is not null";
const LOCKED_OUT: &str = "select count(*) from pbx where problem_reason = 'locked_out'";

/// A PBX with some recordings, that is tried again soon.
async fn station(recordings: u64) -> Station {
    let mut station = Station::of(SimulatorOptions { lockout: LOCKOUT, ..followed(recordings) }).await;
    let limits = &mut station.section().limits;
    (limits.outage_patience, limits.outage_retry_max) = (Duration::ZERO, Duration::from_millis(50));
    station
}

const LOCKOUT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn ten_days_of_outage_heal_themselves() {
    let mut station = station(6).await;
    let mut time = Time::of(&station);
    let service = Following::start(&mut station, &time.ours).await;
    service.until_quiet().await;
    station.pbx.set_down(true).await.unwrap();
    for day in 0..10 {
        time.pass(&station, hours(24));
        service.until_in_trouble(true).await;
        station.add_call(&format!("while-down-{day}.wav"), day);
    }
    station.pbx.set_down(false).await.unwrap();
    station.expect_login();
    service.until_number(ARCHIVED, 16).await;
    service.until_in_trouble(false).await;
    service.until_quiet().await;
    service.stop().await;
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_password_is_found_in_its_file() {
    let mut station = station(3).await;
    write_configuration(&mut station, "Simulated1");
    station.set_faults(Faults { password: Some("Changed-2".to_owned()), ..Faults::default() });
    let mut time = Time::of(&station);
    let service = Following::start(&mut station, &time.ours).await;
    service.until_number(REFUSED, 1).await;
    for _ in 0..6 {
        time.pass(&station, hours(4));
        service.until_in_trouble(true).await;
    }
    assert_eq!(station.pbx.counters().logins_refused, 1, "a refused password is not tried again");
    write_configuration(&mut station, "Changed-2");
    time.pass(&station, hours(1));
    service.until_number(ARCHIVED, 3).await;
    service.until_in_trouble(false).await;
    assert_eq!(service.number(REFUSED).await, 0);
    assert_eq!(station.pbx.counters().logins_refused, 1);
    service.until_quiet().await;
    service.stop().await;
    station.section().password = "Changed-2".into();
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changes_back_on_the_pbx_is_tried_when_the_operator_says_so() {
    let mut station = station(3).await;
    station.set_faults(Faults { password: Some("Changed-2".to_owned()), ..Faults::default() });
    let mut time = Time::of(&station);
    let service = Following::start(&mut station, &time.ours).await;
    service.until_number(REFUSED, 1).await;
    station.set_faults(Faults::default());
    time.pass(&station, hours(24));
    service.until_in_trouble(true).await;
    assert_eq!(station.pbx.counters().logins_ok, 0);
    let mut db = callvault::store::db::open_for_requests(&station.config.state.path).await.unwrap();
    let request = r#"{"retry":{"pbx":"hq","stuck":false,"names":[]}}"#;
    callvault::store::requests::ask(&mut db, request, time.ours.now()).await.unwrap();
    service.until_number(ARCHIVED, 3).await;
    service.until_quiet().await;
    service.stop().await;
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_out_is_waited_out_in_silence() {
    let mut station = station(3).await;
    station.section().limits.lockout_wait = LOCKOUT + Duration::from_millis(300);
    station.pbx.lock_out(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let time = Time::of(&station);
    let service = Following::start(&mut station, &time.ours).await;
    service.until_number(LOCKED_OUT, 1).await;
    let asked = station.pbx.counters().requests;
    service.until_number(ARCHIVED, 3).await;
    let counters = station.pbx.counters();
    assert_eq!((asked, counters.logins_locked, counters.logins_ok), (1, 1, 1));
    service.until_in_trouble(false).await;
    service.until_quiet().await;
    service.stop().await;
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_device_under_the_same_id_is_a_finding_and_its_calls_are_archived() {
    let mut station = station(3).await;
    let mut time = Time::of(&station);
    let service = Following::start(&mut station, &time.ours).await;
    service.until_quiet().await;
    assert!(station.findings("serial_number_changed").await.is_empty());
    let other = Some("369392500099".to_owned());
    station.set_faults(Faults { serial_number: other, ..Faults::default() });
    for (name, minute) in [("on-the-other.wav", 1), ("on-the-first-again.wav", 2)] {
        station.add_call(name, minute);
        station.expect_login();
        time.pass(&station, hours(13));
        service.until_quiet().await;
        station.set_faults(Faults::default());
    }
    let findings = station.findings("serial_number_changed").await;
    let told: Vec<&str> = findings.iter().map(|(sn, _)| &**sn).collect();
    assert_eq!(told, ["369392500001", "369392500099"], "there and back: {findings:?}");
    for name in ["on-the-other.wav", "on-the-first-again.wav"] {
        assert!(station.path_of(name).exists(), "{name}");
    }
    service.stop().await;
    station.check().await;
}

/// The configuration as a file, with this password.
fn write_configuration(station: &mut Station, password: &str) {
    let file = station.input().join("callvault.toml");
    let (archive, state) = (station.archive().display(), station.config.state.path.display());
    let text = format!(
        "[archive]\npath = \"{archive}\"\n[state]\npath = \"{state}\"\n[[pbx]]\nid = \"hq\"\nurl = \"{}\"\n\
         username = \"api\"\npassword = \"{password}\"\nallow_plain_http = true\n",
        station.pbx.url()
    );
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    station.config.file = file;
}
