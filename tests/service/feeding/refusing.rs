//! Whoever has no token, or too much appetite, is slowed down, told and counted, and holds up nobody else.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use callvault::base::clock::Clock;
use callvault::config::FeedReaderConfig;
use callvault::store::db::Db;
use jiff::ToSpan as _;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::door::{Answer, Door, TOKEN, answer};
use crate::support::program::{Folder, Pbx, eventually};
use crate::support::station::Station;

/// An archive with one recording, whose audio is that of the entry of this number.
async fn archived() -> (Station, Db, u64) {
    let mut station = Station::with_call("a.wav").await;
    station.backfill().await;
    let db = Db::open(&station.config.state.path).await.unwrap();
    let number = station.value::<i64>("select ledger_number from archived_files").await;
    (station, db, u64::try_from(number).unwrap())
}

/// The entries of this type, without their times.
async fn entries(db: &Db, word: &str) -> Vec<Value> {
    let entries = callvault::store::ledger::entries(&mut db.read().await.unwrap(), 0, 10_000).await.unwrap();
    let entries = entries.iter().map(|entry| serde_json::from_str::<Value>(&entry.entry).unwrap());
    let mut entries: Vec<Value> = entries.filter(|entry| entry["type"] == word).collect();
    entries.iter_mut().for_each(|entry| drop(entry.as_object_mut().unwrap().remove("at")));
    entries
}

async fn guess(door: &Door, from: &str, path: &str, token: &str) -> Answer {
    answer(door.ask_from(from, "GET", path, &format!("authorization: Bearer {token}\r\n")).await).await
}

#[tokio::test]
async fn who_guesses_tokens_is_slowed_down_and_counted_and_others_are_not() {
    let (station, db, number) = archived().await;
    let clock = Clock::showing("2026-03-02T23:50:00Z".parse().unwrap());
    let mut config = station.config.clone();
    config.feed.reader = vec![FeedReaderConfig::new("surveillance", TOKEN)];
    let door = Door::as_configured(&config, db.clone(), clock.clone()).await;
    let path = format!("/feed/audio/{number}");
    let mut refused = 0;
    for guessed in 0..300 {
        let answer = guess(&door, "127.0.0.1", &path, &format!("{guessed:032}")).await;
        match answer.status {
            401 => assert_eq!(refused, 0, "it is slowed down once"),
            429 => {
                assert!((1..=6).contains(&answer.header("retry-after").parse().unwrap()), "{answer:?}");
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(refused >= 260, "{refused}");
    // Otherwise each guess would be answered all the same.
    assert_eq!(guess(&door, "127.0.0.1", &path, TOKEN).await.status, 429);
    assert_eq!(guess(&door, "127.0.0.2", &path, TOKEN).await.status, 200);
    assert_eq!(door.get("/feed/checkpoint").await.status, 200);
    let metrics = door.get("/metrics").await;
    assert!(metrics.text().contains("\ncallvault_feed_refused_total 300\n"), "{}", metrics.text());
    door.close().await;
    assert!(entries(&db, "refused").await.is_empty(), "the day is not over");
    clock.set(clock.now() + 20.minutes());
    let door = Door::as_configured(&config, db.clone(), clock).await;
    while entries(&db, "refused").await.is_empty() {
        tokio::task::yield_now().await;
    }
    let sum = json!({"type": "refused", "day": "2026-03-02", "attempts": 300});
    assert_eq!(entries(&db, "refused").await, [sum], "one entry, whatever their number");
    door.close().await;
}

#[tokio::test]
async fn reads_of_one_thing_within_a_minute_are_one_entry() {
    let (station, db, number) = archived().await;
    let door = Door::open(&station.config, db.clone()).await;
    for _ in 0..50 {
        for what in ["audio", "sidecar"] {
            assert!(door.get_as_reader(&format!("/feed/{what}/{number}")).await.is_whole());
        }
    }
    let access = |what| json!({"type": "access", "reader": "surveillance", "entry": number, "what": what});
    assert_eq!(entries(&db, "access").await, [access("audio"), access("sidecar")]);
    door.close().await;
}

#[tokio::test]
async fn a_reader_reads_no_faster_than_he_may_and_another_is_not_held_up() {
    const OTHER: &str = "fedcba9876543210fedcba98";
    let (station, db, number) = archived().await;
    let mut config = station.config.clone();
    let hasty = FeedReaderConfig { reads_per_min_max: 5, ..FeedReaderConfig::new("surveillance", TOKEN) };
    config.feed.reader = vec![hasty, FeedReaderConfig::new("audit", OTHER)];
    let door = Door::as_configured(&config, db.clone(), Clock::system()).await;
    let path = format!("/feed/sidecar/{number}");
    let mut given = 0;
    for _ in 0..40 {
        let answer = door.get_as_reader(&path).await;
        given += usize::from(answer.status == 200);
        if answer.status != 200 {
            assert_eq!(answer.status, 429);
            assert!(answer.text().contains("5 files in a minute (`reads_per_min_max`)"), "{}", answer.text());
            assert!((1..=12).contains(&answer.header("retry-after").parse().unwrap()));
        }
    }
    assert!((5..10).contains(&given), "{given}");
    assert_eq!(guess(&door, "127.0.0.1", &path, OTHER).await.status, 200);
    door.close().await;
}

/// The whole answer of a service at this port.
fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_service_tells_of_many_wrong_tokens_in_one_line_and_never_the_tokens() {
    const GUESSED: &str = "guessed-guessed-guessed-guessed";
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    folder.write_secret("reader-token", TOKEN);
    folder.edit(|text| {
        format!(
            "{text}[web]\nlisten = \"127.0.0.1:{port}\"\n[feed]\nenabled = true\n[[feed.reader]]\n\
             name = \"surveillance\"\ntoken_file = \"reader-token\"\n"
        )
    });
    let service = folder.start(folder.command(["run"]));
    eventually("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let head = "HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    for _ in 0..100 {
        let request = format!("GET /feed/audio/0 {head}authorization: Bearer {GUESSED}\r\n\r\n");
        let answer = ask(port, &request);
        assert!(answer.starts_with("HTTP/1.1 401") || answer.starts_with("HTTP/1.1 429"), "{answer}");
    }
    let answer = ask(port, &format!("GET /metrics {head}\r\n"));
    assert!(answer.contains("\ncallvault_feed_refused_total 100\n"), "{answer}");
    service.signal(Signal::TERM);
    let said = service.wait().exits(0).err();
    let told = said.lines().filter(|line| line.contains("without a token or with a wrong one")).count();
    assert_eq!(told, 1, "{said}");
    assert!(!said.contains(GUESSED) && !said.contains(TOKEN), "{said}");
}

#[test]
fn a_service_whose_listener_is_not_as_it_should_be_archives_all_the_same_and_tells() {
    let pbx = Pbx::with(3);
    for (web, told) in [
        ("", "readers' tokens are taken from this machine alone; set certificate_file and key_file of [web]"),
        (
            "certificate_file = \"absent.pem\"\nkey_file = \"absent.key\"",
            "health and metrics are not served: [web] certificate_file: DIR/absent.pem cannot be read",
        ),
    ] {
        let folder = Folder::for_pbx(&pbx.url());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        folder.write_secret("reader-token", TOKEN);
        folder.edit(|text| {
            format!(
                "{text}[web]\nlisten = \"0.0.0.0:{port}\"\n{web}\n[feed]\nenabled = true\n[[feed.reader]]\n\
                 name = \"surveillance\"\ntoken_file = \"reader-token\"\n"
            )
        });
        folder.run(&["config", "check"]).exits(2);
        folder.run(&["run"]).exits(2);
        // An installation that is there already, as version 0.1 left it.
        folder.run(&["backfill", "--from", "2000-01-01", "--to", "2000-01-01"]);
        let service = folder.start(folder.command(["run"]));
        eventually("all is archived", || {
            folder.number("select count(*) from recordings where state = 'archived'") >= 3
        });
        eventually("it is told", || folder.run(&["status"]).out().contains(told));
        let said = folder.run(&["status", "--json"]).json();
        assert!(said["listener"].as_str().unwrap().contains("[web]"), "{said}");
        assert!(said["summary"].as_str().unwrap().contains("The listener needs you"), "{said}");
        service.signal(Signal::TERM);
        let log = service.wait().exits(0).err();
        assert_eq!(log.matches(told).count(), 1, "{log}");
        assert_eq!(folder.run(&["status", "--json"]).json().get("listener"), None, "nobody listens any more");
    }
}

/// An address of this machine by which others reach it; nothing where there is no network.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().unwrap().ip())
        .filter(|address| !address.is_loopback() && !address.is_unspecified())
}

#[tokio::test]
async fn tokens_are_not_taken_over_plain_http_from_other_machines_unless_in_words() {
    let Some(address) = own_address() else { return };
    let (station, db, number) = archived().await;
    let mut config = station.config.clone();
    config.feed.reader = vec![FeedReaderConfig::new("surveillance", TOKEN)];
    for (allow_plain_http, expected) in [(false, 403), (true, 200)] {
        config.web.allow_plain_http = allow_plain_http;
        let door = Door::as_configured(&config, db.clone(), Clock::system()).await;
        let path = format!("/feed/audio/{number}");
        let from = address.to_string();
        let far = guess(&door, &from, &path, TOKEN).await;
        assert_eq!(far.status, expected);
        assert_eq!(
            String::from_utf8_lossy(&far.body).contains("set certificate_file and key_file of [web]"),
            expected == 403
        );
        assert_eq!(guess(&door, "127.0.0.1", &path, TOKEN).await.status, 200);
        assert_eq!(answer(door.ask_from(&from, "GET", "/feed/entries", "").await).await.status, 200);
        door.close().await;
    }
}
