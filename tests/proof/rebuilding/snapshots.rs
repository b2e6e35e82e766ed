//! Copies of the database, made while everything goes on.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use callvault::base::counts::Counts;
use callvault::config::SnapshotsConfig;
use callvault::store::db::Db;
use callvault::vault::snapshot::{self, NoRoom};
use callvault::watch::status::Reader;
use jiff::Timestamp;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};

use crate::support::following::{Following, Time, hours};
use crate::support::station::{NONE, Station, counts};

const KEEP: SnapshotsConfig = SnapshotsConfig { hourly: 3, daily: 2 };

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

async fn open(file: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(file).read_only(true).connect().await.unwrap()
}

/// The names in the folder of snapshots, sorted.
fn names(state: &Path) -> Vec<String> {
    let entries = fs::read_dir(state.join("snapshots")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Each holds all that was written before it was asked for, and is whole, however much is written meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_whole_while_writes_go_on() {
    let state = tempfile::tempdir().unwrap();
    let db = Db::open(state.path()).await.unwrap();
    db.write(async move |tx| callvault::store::fleet::register(tx, "hq").await).await.unwrap();
    let end = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write_until(db.clone(), end.clone()));
    for second in 0..5 {
        let mut reader = db.read().await.unwrap();
        let before = messages(&mut reader).await;
        drop(reader);
        let now = at("2026-11-25T20:00:00Z") + jiff::SignedDuration::from_secs(second);
        let made = snapshot::take(state.path(), &SnapshotsConfig::default(), 0, now).await.unwrap();
        let mut copy = open(&made.file).await;
        let intact: String = sqlx::query_scalar("pragma integrity_check").fetch_one(&mut copy).await.unwrap();
        assert_eq!(intact, "ok");
        assert!(messages(&mut copy).await >= before);
    }
    end.store(true, SeqCst);
    writing.await.unwrap();
    assert_eq!(snapshot::all(state.path()).unwrap().len(), 5);
}

async fn write_until(db: Db, end: Arc<AtomicBool>) {
    let mut number = 0_u32;
    while !end.load(SeqCst) {
        number += 1;
        let id = number.to_string();
        db.write(async move |tx| {
            callvault::store::alert_queue::enqueue(tx, "email", &id, "{}", Timestamp::UNIX_EPOCH).await
        })
        .await
        .unwrap();
    }
}

async fn messages(db: &mut SqliteConnection) -> i64 {
    sqlx::query_scalar("select count(*) from outbox").fetch_one(db).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_snapshots_are_ever_removed() {
    let state = tempfile::tempdir().unwrap();
    let _db = Db::open(state.path()).await.unwrap();
    let folder = state.path().join("snapshots");
    fs::create_dir(&folder).unwrap();
    for theirs in ["mine.db", "callvault-old.db", "callvault-20200101T000000Z.db.gz"] {
        fs::write(folder.join(theirs), "").unwrap();
    }
    for ours in ["callvault-20200101T000000Z.db", "callvault-20200101T010000Z.db.part"] {
        fs::write(folder.join(ours), "").unwrap();
    }
    let keep = SnapshotsConfig { hourly: 1, daily: 0 };
    snapshot::take(state.path(), &keep, 0, at("2026-11-25T20:00:00Z")).await.unwrap();
    let expected =
        ["callvault-20200101T000000Z.db.gz", "callvault-20261125T200000Z.db", "callvault-old.db", "mine.db"];
    assert_eq!(names(state.path()), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_none_is_made_and_none_is_removed() {
    let state = tempfile::tempdir().unwrap();
    let _db = Db::open(state.path()).await.unwrap();
    let keep = SnapshotsConfig { hourly: 1, daily: 0 };
    snapshot::take(state.path(), &keep, 0, at("2026-11-25T20:00:00Z")).await.unwrap();
    let before = names(state.path());
    let error =
        snapshot::take(state.path(), &keep, u64::MAX >> 1, at("2026-11-25T21:00:00Z")).await.unwrap_err();
    assert!(error.is::<NoRoom>(), "{error:#}");
    assert!(error.to_string().contains("`free_bytes_min` keeps"), "{error:#}");
    assert_eq!(names(state.path()), before);
}

/// Sixty hours: the latest three stay, and the last of each of two days.
#[tokio::test(flavor = "multi_thread")]
async fn the_service_makes_one_every_hour_and_keeps_some() {
    let mut station = Station::followed(2).await;
    station.config.snapshots = KEEP;
    let mut time = Time::of(&station);
    let service = Following::start(&mut station, &time.ours).await;
    // Its agenda is drawn up: time may pass.
    service.until_quiet().await;
    for _ in 0..60 {
        station.expect_login();
        time.pass(&station, hours(1));
        let hour = time.now().as_millisecond() / 3_600_000 * 3_600_000;
        service
            .until("a snapshot of this hour", async || {
                let latest = snapshot::latest(&station.config.state.path, time.now()).unwrap();
                latest.is_some_and(|latest| latest.at.as_millisecond() >= hour)
            })
            .await;
        service.until_quiet().await;
    }
    service.stop().await;
    let stay = snapshot::all(&station.config.state.path).unwrap();
    let ages: Vec<i64> = stay.iter().map(|made| time.now().duration_since(made.at).as_hours()).collect();
    assert_eq!(&ages[ages.len() - 3..], [2, 1, 0]);
    assert!(stay.len() <= 5, "{ages:?}");
    let db = station.database().await;
    let status =
        Reader::new(&station.config).read(&mut db.acquire().await.unwrap(), time.now()).await.unwrap();
    let told = status.snapshot.unwrap();
    assert_eq!((told.at, told.error), (Some(stay.last().unwrap().at), None));
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_made_is_told_and_holds_nothing_up() {
    let mut station = Station::followed(2).await;
    fs::create_dir_all(&station.config.state.path).unwrap();
    // Where the folder should be, a file is.
    fs::write(station.config.state.path.join("snapshots"), "").unwrap();
    let mut time = Time::of(&station);
    let service = Following::start(&mut station, &time.ours).await;
    // Its agenda is drawn up: time may pass.
    service.until_quiet().await;
    station.expect_login();
    time.pass(&station, hours(1));
    let told = "select count(*) from meta where key = 'snapshot_error' and value <> ''";
    service.until_number(told, 1).await;
    service.until_number("select count(*) from archived_files", 2).await;
    let db = station.database().await;
    let status =
        Reader::new(&station.config).read(&mut db.acquire().await.unwrap(), time.now()).await.unwrap();
    assert!(status.snapshot.unwrap().error.unwrap().contains("snapshots"));
    service.stop().await;
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_in_the_place_of_the_database_is_the_state_of_its_moment() {
    let mut station = Station::followed(5).await;
    station.backfill().await;
    let made = station.snapshot().await;
    station.add_call("later.wav", 0);
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, already_archived: 5, ..NONE });
    station.restore(&made).await;
    // What was archived since is found on the disk.
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, already_archived: 5, ..NONE });
    assert_eq!(station.pbx.counters().downloads_started, 6);
}
