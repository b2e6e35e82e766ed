//! The end: nothing misbehaves any more, and everything must be there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::Command;
use std::time::Duration;

use callvault::base::digest::Digest;
use callvault::simulator::{Faults, Store};
use sqlx::Row as _;

use super::device::{Device, name_of};
use super::gauge;
use super::house::House;
use super::keeper::Kept;
use crate::support::program::eventually;

/// A recording or message as the database has it.
struct Known {
    state: String,
    sha256: Option<Digest>,
}

/// Brings the installation to rest, and asserts every promise.
pub(crate) fn check(house: &House, kept: &Kept) {
    for device in &house.devices {
        device.pbx.set_faults(Faults::default());
        house.folder.run(&["resume", device.id]).exits(0);
    }
    house.folder.run(&["retry"]);
    let mut left = Vec::new();
    until_true(|| {
        left = unaccounted(house);
        left.is_empty()
    })
    .unwrap_or_else(|()| panic!("{}: not accounted for: {left:#?}", house.name));
    house.receiver.behave(crate::support::receiver::Manner::Takes);
    let entries = || house.folder.number("select count(*) from ledger") as usize;
    eventually("the reader of the feed has all of it", || {
        house.reader.lock().unwrap().read.len() == entries()
    });
    eventually("the ledger is delivered", || house.receiver.read().len() == entries());
    kept.stop();
    check_at_rest(house);
}

/// Waits as `eventually` does, and lets the caller say what is wrong.
fn until_true(mut holds: impl FnMut() -> bool) -> Result<(), ()> {
    let began = std::time::Instant::now();
    while !holds() {
        if began.elapsed() > crate::support::program::LIMIT {
            return Err(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// What a PBX ever listed, or has in its boxes, that is neither archived as it is nor known to be gone.
fn unaccounted(house: &House) -> Vec<String> {
    let mut left = Vec::new();
    for device in &house.devices {
        let known = known(house, device.id);
        left.extend(unaccounted_calls(device, &known));
        left.extend(unaccounted_messages(device, &known));
        let owed = known.iter().filter(|(_, known)| known.state == "pending" || known.state == "stuck");
        left.extend(
            owed.map(|((_, name), known)| format!("{}: {} is {}", device.id, text(name), known.state)),
        );
    }
    left
}

fn unaccounted_calls(device: &Device, known: &HashMap<(String, Vec<u8>), Known>) -> Vec<String> {
    let lost: BTreeSet<Vec<u8>> = device
        .pbx
        .overwritten()
        .into_iter()
        .filter(|lost| lost.store == Store::Recordings)
        .map(|lost| lost.name)
        .collect();
    let mut left = Vec::new();
    for listed in device.pbx.ever_listed() {
        let found = known.get(&("call".to_owned(), listed.name.clone()));
        let is_right = match found {
            None => false,
            Some(found) if found.state == "archived" => device.flips_bits || found.sha256 == listed.sha256,
            Some(found) => found.state == "missing" && lost.contains(&listed.name),
        };
        if !is_right {
            let state = found.map_or("unknown", |found| &found.state);
            left.push(format!("{}: {} is {state}", device.id, text(&listed.name)));
        }
    }
    left
}

fn unaccounted_messages(device: &Device, known: &HashMap<(String, Vec<u8>), Known>) -> Vec<String> {
    let mut left = Vec::new();
    let ever: BTreeMap<String, BTreeSet<Digest>> = device.messages.lock().unwrap().clone();
    for message in device.pbx.world(|world| world.voicemails().clone()) {
        let name = name_of(&message);
        let found = known.get(&("voicemail".to_owned(), name.clone().into_bytes()));
        if found.is_none_or(|found| found.state != "archived") {
            left.push(format!("{}: message {name} is {:?}", device.id, found.map(|found| &found.state)));
        }
    }
    for ((kind, name), found) in known {
        if kind == "voicemail" && found.state == "archived" && !device.flips_bits {
            let sounds = ever.get(&text(name));
            let is_right = sounds.zip(found.sha256).is_some_and(|(sounds, sha256)| sounds.contains(&sha256));
            if !is_right {
                left.push(format!("{}: message {} is not what it was", device.id, text(name)));
            }
        }
    }
    left
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// All of a PBX that the database knows, by kind and name.
fn known(house: &House, pbx: &str) -> HashMap<(String, Vec<u8>), Known> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = callvault::store::db::open_read_only(&house.folder.path("state")).await.unwrap().unwrap();
        let rows = sqlx::query(
            "select kind, name, state, sha256 from recordings left join archived_files on recording_id = recordings.id
             where pbx = ?",
        );
        let rows = rows.bind(pbx).fetch_all(&pool).await.unwrap();
        pool.close().await;
        let known = |row: sqlx::sqlite::SqliteRow| {
            let sha256 = row.get::<Option<&[u8]>, _>("sha256").map(|bytes| Digest::try_from(bytes).unwrap());
            ((row.get("kind"), row.get("name")), Known { state: row.get("state"), sha256 })
        };
        let all = rows.len();
        let known: HashMap<_, _> = rows.into_iter().map(known).collect();
        assert_eq!(known.len(), all, "something is archived twice");
        known
    })
}

/// With the service stopped: others' tools agree, and nothing is left lying about.
fn check_at_rest(house: &House) {
    let folder = &house.folder;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let entries = folder.number("select count(*) from ledger") as usize;
    let reader = house.reader.lock().unwrap();
    // What the service wrote when it stopped is for the next time.
    let since = entries - reader.read.len();
    runtime.block_on(reader.read.is_all_but(since, &folder.path("state")));
    let delivered = house.receiver.read();
    runtime.block_on(delivered.is_all_but(entries - delivered.len(), &folder.path("state")));
    folder.run(&["verify", "--full", "--json"]).exits(0);
    folder.run(&["ledger", "check", "--json"]).exits(0);
    let mut sums = 0;
    for file in folder.files("archive").into_iter().filter(|file| file.ends_with("SHA256SUMS")) {
        let mut sha256sum = Command::new("sha256sum");
        sha256sum.args(["-c", "--strict", "--quiet", "SHA256SUMS"]).current_dir(file.parent().unwrap());
        assert!(sha256sum.status().unwrap().success(), "{}", file.display());
        sums += 1;
    }
    assert!(sums > 0);
    for place in ["archive", "state"] {
        assert_eq!(gauge::count(&folder.path(place)).0, 0, "temporaries stay in {place}");
    }
    for device in &house.devices {
        let counters = device.pbx.counters();
        assert_eq!(counters.tickets_reused, 0, "{}: {counters:?}", device.id);
        assert_eq!(counters.logins_refused, 0, "{}: {counters:?}", device.id);
    }
    println!("{}: findings by kind: {:?}", house.name, findings(house));
    println!("{}: {entries} entries in the ledger; {sums} folders accepted by sha256sum", house.name);
}

/// How many findings of each kind there are.
fn findings(house: &House) -> Vec<(String, i64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = callvault::store::db::open_read_only(&house.folder.path("state")).await.unwrap().unwrap();
        let rows = sqlx::query_as("select kind, count(*) from findings group by kind order by kind");
        let rows = rows.fetch_all(&pool).await.unwrap();
        pool.close().await;
        rows
    })
}
