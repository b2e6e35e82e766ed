//! Reports of a PBX: heard in each form, believed in nothing, bounded in everything, and never asked for unless wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callvault::config::PushMode;
use callvault::pbx::push::http::Limits;
use callvault::pbx::push::{Counters, PushEvent, PushKind, Tally, Wakes};
use callvault::pbx::s_series::{event_stream, registration};
use callvault::pbx::{PbxClient, Reason};
use callvault::simulator::{Profile, PushOptions, SimulatorOptions};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::listening::{Listening, eventually, post, send};
use crate::support::station::{PBX, Station, small};

const REPORT: &str = r#"{"event":"NewCdr","callid":"1.1","pincode":"4711"}"#;

/// A client of the station's PBX as it is configured now.
fn client(station: &Station) -> PbxClient {
    PbxClient::new(&station.config.pbx[0]).unwrap()
}

async fn station_of(profile: Profile) -> Station {
    Station::of(SimulatorOptions { profile, ..small(0) }).await
}

/// Says to the PBX where its reports are to go, as another application would.
async fn register_as_another(station: &Station, members: &str) {
    let login = format!(r#"{{"username":"api","password":"c126898b13a07ab1dc3015408053a5d2",{members}}}"#);
    let head = format!("POST /api/v1.1.0/login HTTP/1.1\r\nContent-Length: {}\r\n\r\n", login.len());
    let stream = tokio::net::TcpStream::connect(station.pbx.address()).await.unwrap();
    let (_, answer) = send(stream, (head + &login).as_bytes()).await;
    assert_eq!(answer, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_call_is_heard_of_in_every_form_that_a_report_has() {
    for (profile, version) in [
        (Profile::V1_0, "1.0.2"),
        (Profile::V1_1, "1.0.2"),
        (Profile::V2, "2.0.0"),
        (Profile::Compatible, "1.0.2"),
    ] {
        let mut station = station_of(profile).await;
        let listening = Listening::to(&mut station, Limits::default()).await;
        client(&station).heartbeat().await.unwrap();
        let registration = station.pbx.registrations().pop().unwrap();
        assert_eq!((registration.by, registration.version.as_deref()), ("heartbeat", Some(version)));
        station.end_call("a.wav", 1);
        listening.hears_of_a_call().await;
        eventually("the report is accepted", || station.pbx.push_counters().accepted == 1).await;
        listening.end().await;
    }
}

#[tokio::test]
async fn a_report_that_is_no_json_is_heard_of_too() {
    let mut station = station_of(Profile::V1_1).await;
    let listening = Listening::to(&mut station, Limits::default()).await;
    register_as_another(&station, &format!(r#""port":"{}""#, listening.address.port())).await;
    station.end_call("a.wav", 1);
    listening.hears_of_a_call().await;
    assert_eq!(listening.counters(), Counters { accepted: 1, ..Counters::default() });
}

#[tokio::test]
async fn a_report_brings_its_recording_into_the_archive() {
    let mut station = station_of(Profile::V1_1).await;
    let listening = Listening::to(&mut station, Limits::default()).await;
    client(&station).heartbeat().await.unwrap();
    station.end_call("a.wav", 1);
    listening.hears_of_a_call().await;
    station.backfill().await;
    assert!(station.archived("a.wav").await < Duration::from_secs(5));
}

#[tokio::test]
async fn with_push_off_the_event_destination_stays_as_it_is() {
    let mut station = Station::new(6).await;
    station.backfill().await;
    assert_eq!(station.pbx.registrations(), []);
    station.check().await;
    register_as_another(&station, r#""port":"9000","url":"elsewhere""#).await;
    let before = station.pbx.registrations();
    station.add_call("new.wav", 3);
    assert_eq!(station.backfill().await.total.archived, 1);
    client(&station).heartbeat().await.unwrap();
    let counters = station.pbx.counters();
    assert_eq!((station.pbx.registrations(), counters.heartbeats), (before, 0));
    assert_eq!(counters.event_destination.as_deref(), Some("127.0.0.1:9000/elsewhere"));
}

#[tokio::test]
async fn a_heartbeat_brings_back_reports_that_went_elsewhere() {
    let mut station = station_of(Profile::V1_1).await;
    let listening = Listening::to(&mut station, Limits::default()).await;
    let client = client(&station);
    client.heartbeat().await.unwrap();
    register_as_another(&station, r#""port":"9""#).await;
    client.heartbeat().await.unwrap();
    station.end_call("a.wav", 1);
    listening.hears_of_a_call().await;
    assert_eq!(station.pbx.counters().logins_ok, 2, "one of ours, one of theirs");
}

#[tokio::test]
async fn after_a_restart_of_the_pbx_its_reports_come_again() {
    let mut station = station_of(Profile::V1_1).await;
    let listening = Listening::to(&mut station, Limits::default()).await;
    let (client, started) = (client(&station), Arc::new(Notify::new()));
    let renewal = tokio::spawn({
        let started = Arc::clone(&started);
        async move { registration::keep(&client, &started).await }
    });
    eventually("it is registered", || station.pbx.counters().heartbeats == 1).await;
    station.pbx.reboot();
    assert_eq!(listening.event().await, PushEvent { pbx: PBX.to_owned(), kind: PushKind::BootUp });
    station.end_call("lost.wav", 1);
    eventually("no token, no report", || station.pbx.push_counters().unwanted == 1).await;
    started.notify_one();
    eventually("it has logged in again", || station.pbx.counters().logins_ok == 2).await;
    station.end_call("heard.wav", 2);
    listening.hears_of_a_call().await;
    assert!(!renewal.is_finished());
    renewal.abort();
}

#[tokio::test]
async fn an_event_stream_is_followed_through_a_restart_and_leaves_the_destination_alone() {
    let push = PushOptions { stream_port: Some(0), ..PushOptions::default() };
    let mut station = Station::of(SimulatorOptions { profile: Profile::V2, push, ..small(0) }).await;
    let port = station.pbx.stream_port().unwrap();
    station.section().push = PushMode::Tcp { port };
    let (client, wakes, tally) = (client(&station), Wakes::default(), Tally::default());
    let follower = tokio::spawn({
        let (client, wakes, tally) = (client.clone(), wakes.clone(), tally.clone());
        async move { event_stream::follow(&client, port, &wakes, &tally).await }
    });
    let call = PushEvent { pbx: PBX.to_owned(), kind: PushKind::NewCdr };
    let next = async || timeout(Duration::from_secs(5), wakes.next()).await.expect("a wake was due");
    assert_eq!(next().await, call, "for what was missed before");
    eventually("it follows", || station.pbx.push_counters().streams == 1).await;
    station.end_call("a.wav", 1);
    assert_eq!(next().await, call);
    assert_eq!(tally.counters().accepted, 1);
    station.pbx.reboot();
    assert_eq!(next().await, call, "for what was missed between");
    client.heartbeat().await.unwrap();
    eventually("it follows again", || station.pbx.push_counters().streams == 2).await;
    station.end_call("b.wav", 2);
    assert_eq!(next().await, call);
    assert_eq!((station.pbx.registrations(), station.pbx.counters().heartbeats), (vec![], 0));
    assert!(!follower.is_finished());
    follower.abort();
}

#[tokio::test]
async fn an_event_stream_is_never_dialled_with_a_password_that_the_api_refused() {
    let push = PushOptions { stream_port: Some(0), ..PushOptions::default() };
    let mut station = Station::of(SimulatorOptions { profile: Profile::V2, push, ..small(0) }).await;
    station.section().password = "wrong".into();
    let port = station.pbx.stream_port().unwrap();
    let (client, wakes, tally) = (client(&station), Wakes::default(), Tally::default());
    let ended = event_stream::follow(&client, port, &wakes, &tally);
    let error = timeout(Duration::from_secs(5), ended).await.unwrap();
    assert_eq!(error.reason(), Reason::PasswordRefused);
    let pushed = station.pbx.push_counters();
    assert_eq!((pushed.streams_refused, station.pbx.counters().logins_refused), (0, 1));
}

#[tokio::test]
async fn a_stranger_is_turned_away_unread() {
    let mut station = station_of(Profile::V1_1).await;
    let listening = Listening::to(&mut station, Limits::default()).await;
    let (_, answer) = send(listening.connect_as_a_stranger().await, &post(REPORT)).await;
    assert!(["HTTP/1.1 403 Forbidden", ""].contains(&answer.as_str()), "{answer}");
    listening.hears_nothing().await;
    assert_eq!(listening.counters(), Counters { stranger: 1, ..Counters::default() });
    station.section().push_from = vec!["127.0.0.2".parse().unwrap()];
    listening.receiver.sources.replace(&station.config.pbx);
    let (_, answer) = send(listening.connect_as_a_stranger().await, &post(REPORT)).await;
    assert_eq!(answer, "HTTP/1.1 200 OK");
    listening.hears_of_a_call().await;
}

#[tokio::test]
async fn ten_megabytes_are_refused_without_being_read() {
    let mut station = station_of(Profile::V1_1).await;
    let listening = Listening::to(&mut station, Limits::default()).await;
    let large = " ".repeat(10 << 20) + REPORT;
    let head = "POST /hq HTTP/1.1\r\n\r\n";
    for message in [post(&large), [head.as_bytes(), large.as_bytes()].concat(), large.into_bytes()] {
        let (sent, answer) = send(listening.connect().await, &message).await;
        assert!(sent < message.len(), "what is not read cannot all be sent");
        assert!(["HTTP/1.1 413 Content Too Large", ""].contains(&answer.as_str()), "{answer}");
    }
    assert_eq!(listening.counters(), Counters { too_large: 3, ..Counters::default() });
    listening.hears_nothing().await;
    send(listening.connect().await, &post(REPORT)).await;
    listening.hears_of_a_call().await;
}

#[tokio::test]
async fn what_is_no_report_is_counted_and_has_no_effect() {
    let mut station = station_of(Profile::V1_1).await;
    let listening = Listening::to(&mut station, Limits::default()).await;
    for (message, expected) in [
        (b"\x16\x03\x01\x00\xa5nonsense\r\n\r\n".to_vec(), "HTTP/1.1 400 Bad Request"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "HTTP/1.1 400 Bad Request"),
        // A PBX would send it again and again if it were refused.
        (post(r#"{"event":"#), "HTTP/1.1 200 OK"),
        (post("\u{0}\u{1}"), "HTTP/1.1 200 OK"),
    ] {
        assert_eq!(send(listening.connect().await, &message).await.1, expected);
    }
    assert_eq!(listening.counters(), Counters { malformed: 4, ..Counters::default() });
    let (_, answer) = send(listening.connect().await, &post(r#"{"event":"ExtensionStatus"}"#)).await;
    assert_eq!((answer.as_str(), listening.counters().accepted), ("HTTP/1.1 200 OK", 1));
    listening.hears_nothing().await;
}

#[tokio::test]
async fn a_flood_is_bounded_and_wakes_no_more_than_a_call() {
    let mut station = station_of(Profile::V1_1).await;
    let listening = Listening::to(&mut station, Limits { per_second: 10, ..Limits::default() }).await;
    let flood = (0..400).map(|_| async { send(listening.connect().await, &post(REPORT)).await });
    futures_util::future::join_all(flood).await;
    let counters = listening.counters();
    assert_eq!(counters.accepted + counters.flood, 400);
    assert!(counters.flood >= 100 && counters.accepted >= 1, "{counters:?}");
    listening.hears_of_a_call().await;
    listening.hears_nothing().await;
    listening.end().await;
}

#[tokio::test]
async fn who_sends_slowly_holds_nobody_up_for_long() {
    let mut station = station_of(Profile::V1_1).await;
    let limits = Limits { connections_per_source: 4, patience: Duration::from_secs(1), ..Limits::default() };
    let listening = Listening::to(&mut station, limits).await;
    let mut slow = Vec::new();
    for _ in 0..10 {
        let stream = listening.connect().await;
        stream.try_write(b"POST /hq HTTP/1.1\r\nContent-").unwrap();
        slow.push(stream);
    }
    eventually("six are too many", || listening.counters().flood == 6).await;
    eventually("four are too slow", || listening.counters().too_slow == 4).await;
    drop(slow);
    let report = async {
        // Until their places are free again.
        while send(listening.connect().await, &post(REPORT)).await.1 != "HTTP/1.1 200 OK" {}
    };
    timeout(Duration::from_secs(5), report).await.unwrap();
    listening.hears_of_a_call().await;
}

#[tokio::test]
async fn a_stream_that_closes_without_a_word_is_not_dialled_into_a_lock_out() {
    let station = station_of(Profile::V2).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialled = AtomicUsize::new(0);
    let far_side = async {
        while listener.accept().await.is_ok() {
            dialled.fetch_add(1, Ordering::SeqCst);
        }
    };
    let (client, wakes, tally) = (client(&station), Wakes::default(), Tally::default());
    tokio::select! {
        ended = event_stream::follow(&client, port, &wakes, &tally) => ended,
        () = far_side => unreachable!("it accepts for ever"),
        () = tokio::time::sleep(Duration::from_secs(10)) => panic!("it goes on"),
    };
    assert_eq!(dialled.load(Ordering::SeqCst), 2);
}
