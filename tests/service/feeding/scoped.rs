//! Readers who may read some PBXs alone.

use callvault::base::clock::Clock;
use callvault::config::{Config, FeedReaderConfig};
use callvault::store::db::Db;
use callvault::store::ledger::{self, Entry, EntryType};
use serde_json::Value;

use super::door::{Answer, Door, TOKEN};
use crate::support::station::Station;

const LYON: &str = "fedcba9876543210fedcba98";

/// An archive of the PBX `hq`, with entries of another one, and a door for a reader of all and one of `lyon` alone.
async fn archived() -> (Station, Door, u64) {
    let mut station = Station::with_call("a.wav").await;
    station.backfill().await;
    let db = Db::open(&station.config.state.path).await.unwrap();
    // More than fit into one page, so that the other's entries lie beyond what is read at one time.
    append(&db, 1200, |number| {
        Entry::new(EntryType::Suspect, Clock::system().now()).with("pbx", "hq").with("archived", number)
    })
    .await;
    append(&db, 3, |number| {
        Entry::new(EntryType::Gap, Clock::system().now()).with("pbx", "lyon").with("attempts", number)
    })
    .await;
    let number = station.value::<i64>("select ledger_number from archived_files").await;
    let door = Door::as_configured(&scoped(&station.config), db, Clock::system()).await;
    (station, door, u64::try_from(number).unwrap())
}

fn scoped(config: &Config) -> Config {
    let mut config = config.clone();
    let lyon = FeedReaderConfig { pbx: vec!["lyon".to_owned()], ..FeedReaderConfig::new("lyon", LYON) };
    config.feed.reader = vec![FeedReaderConfig::new("surveillance", TOKEN), lyon];
    config
}

async fn append(db: &Db, count: u64, entry: fn(u64) -> Entry) {
    let append = db.write(async move |tx| {
        for number in 0..count {
            ledger::append(tx, &entry(number)).await?;
        }
        Ok(())
    });
    append.await.unwrap();
}

async fn get(door: &Door, path: &str, token: &str) -> Answer {
    door.get_with(path, &format!("authorization: Bearer {token}\r\n")).await
}

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_reader_of_one_pbx_is_given_nothing_of_another() {
    let (_station, door, number) = archived().await;
    for what in ["audio", "sidecar"] {
        let path = format!("/feed/{what}/{number}");
        let (his, absent) = (
            get(&door, &path, LYON).await,
            get(&door, &path.replace(&number.to_string(), "9999"), LYON).await,
        );
        assert_eq!((his.status, absent.status), (404, 404));
        assert_eq!(his.text().replace(&number.to_string(), "N"), absent.text().replace("9999", "N"));
        assert_eq!(get(&door, &path, TOKEN).await.status, 200);
    }
    // What was given to the other one is none of his business either.
    let told = lines(&get(&door, "/feed/entries?limit=1000", LYON).await);
    let of =
        |line: &Value| (line["entry"]["type"].as_str().unwrap().to_owned(), line["entry"]["pbx"].clone());
    assert_eq!(told.iter().filter(|line| line["entry"]["pbx"] == "lyon").count(), 3);
    let foreign = told.iter().map(of).filter(|(kind, pbx)| kind != "key" && pbx != "lyon");
    assert_eq!(foreign.collect::<Vec<_>>(), []);
    door.close().await;
}

#[tokio::test]
async fn a_reader_of_one_pbx_follows_its_entries_over_all_the_others() {
    let (_station, door, _) = archived().await;
    let told = lines(&get(&door, "/feed/entries?limit=1000", LYON).await);
    let last = told.last().unwrap()["number"].as_u64().unwrap();
    let one_by_one = {
        let (mut numbers, mut after) = (Vec::new(), String::new());
        loop {
            let page = lines(&get(&door, &format!("/feed/entries?limit=1{after}"), LYON).await);
            let Some(line) = page.first() else { break numbers };
            numbers.push(line["number"].clone());
            after = format!("&after={}", line["number"]);
        }
    };
    assert_eq!(one_by_one, told.iter().map(|line| line["number"].clone()).collect::<Vec<_>>());
    assert!(lines(&get(&door, &format!("/feed/entries?after={last}"), LYON).await).is_empty());
    assert_eq!(get(&door, &format!("/feed/entries?after={}", last + 1), LYON).await.status, 409);
    // Who reads all reads all, in the same numbers.
    let all = lines(&get(&door, &format!("/feed/entries?limit=3&after={}", last - 3), TOKEN).await);
    assert_eq!(all, told[told.len() - 3..]);
    door.close().await;
}

#[tokio::test]
async fn where_a_reader_has_a_scope_entries_are_for_readers_and_the_proof_for_all() {
    let (station, door, _) = archived().await;
    let bundle = "/feed/tile/entries/000.p/255";
    for (path, nobody, lyon, all) in [
        ("/feed/entries", 401, 200, 200),
        (bundle, 401, 403, 404),
        ("/feed/checkpoint", 200, 200, 200),
        // As some filesystems take it for the same.
        ("/feed/tile/Entries/000.p/2", 401, 403, 404),
    ] {
        let statuses = [
            door.get(path).await.status,
            get(&door, path, LYON).await.status,
            get(&door, path, TOKEN).await.status,
        ];
        assert_eq!(statuses, [nobody, lyon, all], "{path}");
    }
    let ledger = station.archive().join("_ledger/tile");
    for (folder, nobody) in [("0", 200), ("entries", 401)] {
        let mut found = std::fs::read_dir(ledger.join(folder)).unwrap().flatten().map(|entry| entry.path());
        let mut path = found.next().unwrap();
        while path.is_dir() {
            path = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
        }
        let path = format!("/feed/tile/{}", path.strip_prefix(&ledger).unwrap().display());
        assert_eq!(door.get(&path).await.status, nobody, "{path}");
        let answer = get(&door, &path, TOKEN).await;
        assert_eq!(answer.status, 200, "{path}");
        let is_cached = answer.header("cache-control").starts_with("public");
        assert_eq!(is_cached, nobody == 200, "a cache would give it to anybody: {path}");
    }
    door.close().await;
}
