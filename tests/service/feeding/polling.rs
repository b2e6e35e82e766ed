//! `/feed/entries`: in order, resumed, waited for.

use callvault::store::db::Db;
use tokio::io::AsyncReadExt as _;

use super::door::{Door, answer, within};
use crate::support::reader::{Read, Writing, append, lives};
use crate::support::station::Station;

async fn empty() -> (Station, Db) {
    let station = Station::new(0).await;
    std::fs::create_dir_all(&station.config.state.path).unwrap();
    let db = Db::open(&station.config.state.path).await.unwrap();
    (station, db)
}

fn path(read: &Read, rest: &str) -> String {
    let after = read.after().map(|after| format!("after={after}&")).unwrap_or_default();
    format!("/feed/entries?{after}{rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whose_connections_break_ends_with_exactly_the_ledger() {
    let station = Station::new(0).await;
    let state = station.config.state.path.clone();
    let writing = Writing::begin(&state);
    let mut read = Read::default();
    for life in 0..lives() {
        // The service starts anew for every life, beside whoever writes.
        let db = Db::open(&state).await.unwrap();
        let door = Door::open(&station.config, db).await;
        // The head of the answer has lines too.
        let wanted = 8 + life % 7 * 10;
        let mut stream = door.ask("GET", &path(&read, "wait_s=25&limit=100"), "").await;
        let mut heard = Vec::new();
        // It breaks somewhere within the answer, or is read to its end.
        let mut chunk = [0; 300];
        while heard.iter().filter(|byte| **byte == b'\n').count() < wanted {
            match within("an answer", stream.read(&mut chunk)).await.unwrap() {
                0 => break,
                count => heard.extend_from_slice(&chunk[..count]),
            }
        }
        drop(stream);
        let body = heard.windows(4).position(|four| four == b"\r\n\r\n").map_or(heard.len(), |at| at + 4);
        read.take(&heard[body..]);
        door.close().await;
    }
    tokio::task::spawn_blocking(|| writing.end()).await.unwrap();
    let door = Door::open(&station.config, Db::open(&state).await.unwrap()).await;
    while read.take(&door.get(&path(&read, "limit=1000")).await.body) > 0 {}
    door.close().await;
    read.is_all_of(&state).await;
}

#[tokio::test]
async fn who_waits_is_answered_when_something_comes() {
    let (station, db) = empty().await;
    let door = Door::open(&station.config, db.clone()).await;
    let nothing = door.get("/feed/entries").await;
    assert_eq!((nothing.status, nothing.text()), (200, ""));
    assert_eq!(nothing.header("content-type"), "application/x-ndjson");
    assert_eq!(nothing.header("cache-control"), "no-store");
    let waiting = tokio::spawn(answer(door.ask("GET", "/feed/entries?wait_s=25", "").await));
    append(&db, 3).await;
    let mut read = Read::default();
    assert_eq!(read.take(&within("it comes", waiting).await.unwrap().body), 3);
    assert_eq!(read.take(&door.get(&path(&read, "limit=2")).await.body), 0);
    append(&db, 3).await;
    assert_eq!(read.take(&door.get(&path(&read, "limit=2")).await.body), 2);
    door.close().await;
}

#[tokio::test]
async fn who_waits_holds_up_nobody_at_the_end() {
    let (station, db) = empty().await;
    let door = Door::open(&station.config, db).await;
    let stream = door.ask("GET", "/feed/entries?wait_s=25", "").await;
    assert_eq!(door.get("/health/live").await.status, 200);
    door.close().await;
    drop(stream);
}

#[tokio::test]
async fn many_who_wait_leave_places_for_those_who_watch() {
    let (station, db) = empty().await;
    let door = Door::open(&station.config, db.clone()).await;
    let mut waiting = Vec::new();
    for _ in 0..24 {
        let stream = door.ask("GET", "/feed/entries?wait_s=25", "").await;
        waiting.push(tokio::spawn(answer(stream)));
    }
    assert_eq!(door.get("/health/live").await.status, 200);
    // Eight of them found all places taken, and were told so at once.
    within("they are told", async {
        while waiting.iter().filter(|waiting| waiting.is_finished()).count() < 8 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await;
    append(&db, 1).await;
    let (mut read, mut refused) = (0, 0);
    for waiting in waiting {
        let answer = within("all are answered", waiting).await.unwrap();
        match answer.status {
            200 => read += Read::default().take(&answer.body),
            503 => {
                assert_eq!((answer.header("retry-after"), answer.header("connection")), ("5", "close"));
                refused += 1;
            }
            other => panic!("{other}: {answer:?}"),
        }
    }
    assert_eq!((read, refused), (16, 8));
    door.close().await;
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_answered_in_words() {
    let (station, db) = empty().await;
    append(&db, 2).await;
    let door = Door::open(&station.config, db).await;
    for (query, status, sentence) in [
        ("after=x", 400, "`after` must be a whole number.\n"),
        ("limit=0", 400, "`limit` must be a whole number from 1 to 1000.\n"),
        ("wait_s=60", 400, "`wait_s` must be a whole number from 0 to 25.\n"),
        ("from=1", 400, "The only parameters are after, limit and wait_s.\n"),
        (
            "after=2",
            409,
            "Entry 2 is not in this ledger, which has 2 entries: the cursor belongs to another ledger, or the state was \
             restored from an older copy.\n",
        ),
    ] {
        let answer = door.get(&format!("/feed/entries?{query}")).await;
        assert_eq!((answer.status, answer.text()), (status, sentence), "{query}");
    }
    assert_eq!(door.get("/feed/entries?after=18446744073709551615").await.status, 409);
    assert_eq!(door.get("/feed/entries?after=1").await.text(), "");
    assert_eq!(door.get("/feed/nothing").await.status, 404);
    assert_eq!(door.get("/feed/").await.status, 404);
    door.close().await;
}
