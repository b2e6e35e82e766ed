//! Audio and sidecars: to whom, written down before, and never a wrong byte.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use callvault::base::digest::Digest;
use callvault::store::db::Db;
use serde_json::{Value, json};

use super::door::{Answer, Door, TOKEN};
use crate::support::station::Station;

/// An archive with two recordings, and its feed.
async fn archived() -> (Station, Db, Door) {
    let mut station = Station::with_call("a.wav").await;
    station.add_call("b.wav", 1);
    station.backfill().await;
    station.check().await;
    let db = Db::open(&station.config.state.path).await.unwrap();
    let door = Door::open(&station.config, db.clone()).await;
    (station, db, door)
}

/// The entries of the ledger.
async fn entries(door: &Door) -> Vec<Value> {
    let lines = door.get("/feed/entries?limit=1000").await;
    lines.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect()
}

fn of_type<'a>(entries: &'a [Value], word: &str) -> Vec<&'a Value> {
    entries.iter().filter(|line| line["entry"]["type"] == word).collect()
}

#[tokio::test]
async fn a_reader_gets_what_the_entries_vouch_for_and_is_written_down() {
    let (_station, _db, door) = archived().await;
    let before = entries(&door).await;
    let archived = of_type(&before, "archived");
    assert_eq!(archived.len(), 2);
    let mut expected = Vec::new();
    for line in archived {
        let (number, entry) = (&line["number"], &line["entry"]);
        for (what, content_type, hash) in
            [("audio", "audio/wav", "sha256"), ("sidecar", "application/json", "sidecar_sha256")]
        {
            let answer = door.get_as_reader(&format!("/feed/{what}/{number}")).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, content_type));
            assert!(answer.is_whole());
            assert_eq!(Digest::of(&answer.body).to_string(), entry[hash].as_str().unwrap());
            assert!(answer.header("repr-digest").starts_with("sha-256=:"));
            assert_eq!(answer.header("cache-control"), "private, no-store");
            expected.push(json!({"type": "access", "reader": "surveillance", "entry": number, "what": what}));
        }
    }
    let after = entries(&door).await;
    let mut told: Vec<Value> =
        of_type(&after, "access").into_iter().map(|line| line["entry"].clone()).collect();
    for entry in &mut told {
        assert!(entry.as_object_mut().unwrap().remove("at").is_some());
    }
    assert_eq!(told, expected);
    door.close().await;
}

#[tokio::test]
async fn without_a_token_nobody_gets_anything_and_nothing_is_written() {
    let (_station, _db, door) = archived().await;
    let before = entries(&door).await;
    let number = of_type(&before, "archived")[0]["number"].clone();
    let wrong = [
        String::new(),
        "authorization: Bearer\r\n".to_owned(),
        format!("authorization: {TOKEN}\r\n"),
        format!("authorization: Basic {TOKEN}\r\n"),
        format!("authorization: Bearer {TOKEN}0\r\n"),
        format!("authorization: Bearer {}\r\n", TOKEN.to_uppercase()),
        format!("authorization: Bearer {}\r\n", &TOKEN[1..]),
    ];
    for headers in &wrong {
        for path in
            [format!("/feed/audio/{number}"), format!("/feed/sidecar/{number}"), "/feed/audio/x".to_owned()]
        {
            let answer = door.get_with(&path, headers).await;
            assert_eq!(answer.status, 401, "{headers}");
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"callvault\"");
        }
    }
    let authorized = format!("authorization: Bearer {TOKEN}\r\n");
    let head = door.ask("HEAD", &format!("/feed/audio/{number}"), &authorized).await;
    assert_eq!(super::door::answer(head).await.status, 405);
    assert_eq!(entries(&door).await.len(), before.len());
    door.close().await;
}

#[tokio::test]
async fn what_an_entry_is_not_about_is_refused_in_words() {
    let (_station, db, door) = archived().await;
    crate::support::reader::append(&db, 1).await;
    let before = entries(&door).await;
    let other = of_type(&before, "clock")[0]["number"].to_string();
    for (number, status, words) in [
        (other.as_str(), 404, "has no audio"),
        ("1000000", 404, "does not exist yet"),
        ("18446744073709551615", 404, "has no audio"),
        ("18446744073709551616", 400, "is digits"),
        ("-1", 400, "is digits"),
        ("x", 400, "is digits"),
        ("..%2f..%2fetc%2fpasswd", 400, "is digits"),
    ] {
        let answer = door.get_as_reader(&format!("/feed/audio/{number}")).await;
        assert_eq!(answer.status, status, "{number}");
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    assert_eq!(entries(&door).await.len(), before.len(), "nothing was given");
    door.close().await;
}

#[tokio::test]
async fn a_file_that_is_not_what_was_archived_never_arrives_whole() {
    let (station, _db, door) = archived().await;
    let lines = entries(&door).await;
    let archived = of_type(&lines, "archived");
    let of_file = |name: &str| {
        let hash = Digest::of(fs::read(station.path_of(name)).unwrap()).to_string();
        archived.iter().find(|line| line["entry"]["sha256"] == *hash).unwrap()["number"].clone()
    };
    let (a, b) = (of_file("a.wav"), of_file("b.wav"));
    let audio =
        async |number: &Value| -> Answer { door.get_as_reader(&format!("/feed/audio/{number}")).await };

    let path = station.path_of("a.wav");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, &bytes).unwrap();
    let damaged = audio(&a).await;
    assert!(!damaged.is_whole(), "its last bytes are held back");
    // A length that is wrong is seen before anything is given.
    fs::write(&path, &bytes[1..]).unwrap();
    assert_eq!(audio(&a).await.status, 503);
    fs::remove_file(&path).unwrap();
    assert_eq!(audio(&a).await.status, 503);
    std::os::unix::fs::symlink(station.path_of("b.wav"), &path).unwrap();
    assert_eq!(audio(&a).await.status, 503);
    assert!(audio(&b).await.is_whole());
    let accesses = entries(&door).await;
    assert_eq!(of_type(&accesses, "access").len(), 2, "the damaged one and the whole one");
    door.close().await;
}

#[tokio::test]
async fn readers_who_do_not_read_leave_the_service_to_others() {
    let (_station, _db, door) = archived().await;
    let number = of_type(&entries(&door).await, "archived")[0]["number"].clone();
    let mut slow = Vec::new();
    for _ in 0..12 {
        let path = format!("/feed/audio/{number}");
        slow.push(door.ask("GET", &path, &format!("authorization: Bearer {TOKEN}\r\n")).await);
    }
    assert_eq!(door.get("/health/live").await.status, 200);
    door.close().await;
    drop(slow);
}
