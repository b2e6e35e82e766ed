//! Going on from what an earlier version left: what it wrote stays valid beside what is written now.

use std::collections::BTreeMap;
use std::fs;

use callvault::base::counts::Counts;
use callvault::proof::rebuild::{self, Request};
use callvault::proof::sealed_vault::SealedVault;
use callvault::proof::verify::{self, Scope, Verification};
use serde_json::Value;

use super::house::{self, Version, backfill, hours_later};
use crate::support::authority::openssl_accepts;
use crate::support::closing::until_closed;
use crate::support::station::voicemail::message_counts;
use crate::support::station::{NONE, Station, counts};

/// The files below the archive's root, without what is replaced or only ever added to.
fn old_files(station: &Station) -> BTreeMap<String, Vec<u8>> {
    let files = station.files().into_iter();
    let kept = files.filter(|(path, _)| !path.ends_with("SHA256SUMS") && !path.starts_with("_ledger/"));
    kept.map(|(path, file)| (path, fs::read(file).unwrap())).collect()
}

fn json(station: &Station, path: &str) -> Value {
    serde_json::from_slice(&fs::read(station.archive().join(path)).unwrap()).unwrap()
}

async fn ledger(station: &Station) -> Vec<Value> {
    let db = station.database().await;
    let entries: Vec<String> =
        sqlx::query_scalar("select entry from ledger order by number").fetch_all(&db).await.unwrap();
    db.close().await;
    entries.iter().map(|entry| serde_json::from_str(entry).unwrap()).collect()
}

/// Verifies all of it; what is wrong.
async fn verify(station: &Station, scope: Scope) -> Vec<String> {
    let opened = SealedVault::open(station.config.clone(), hours_later(40)).await.unwrap();
    let request = verify::Request::of(scope);
    let report = Verification::new(&opened, request, Default::default()).run().await.unwrap();
    assert!(report.whole);
    report.damaged.into_iter().map(|damage| damage.path).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_stamp_of_an_earlier_version_stays_as_it_is() {
    let mut station = house::left(Version::Before0_2).await;
    let anchor = |name: &str| station.archive().join("_ledger/anchor").join(name);
    let files = ["26.checkpoint", "26.tsa.tsr", "tsa.ca.pem"].map(anchor);
    let bytes = || files.each_ref().map(|file| fs::read(file).unwrap());
    let before = bytes();
    backfill(Version::Before0_2, &mut station, hours_later(24)).await;
    assert_eq!(before, bytes());
    assert!(openssl_accepts(&files[0], &files[1], &files[2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_archived_is_not_fetched_again_and_what_is_new_is_told_in_the_new_formats() {
    for version in Version::ALL {
        go_on(version).await;
    }
}

async fn go_on(version: Version) {
    let mut station = house::left(version).await;
    let (files, before) = (old_files(&station), ledger(&station).await);
    // Nothing is new: the second day, which was open, settles.
    let report = backfill(version, &mut station, hours_later(24)).await;
    assert_eq!(counts(&report), Counts { already_archived: 10, missing: 1, excluded: 1, ..NONE });
    assert_eq!(station.pbx.counters().downloads_started, 0);
    let messages = version.has_voicemail().then(|| message_counts(&report));
    assert_eq!(messages, version.has_voicemail().then_some(Counts { already_archived: 2, ..NONE }));
    station.add_call("new.wav", 40);
    backfill(version, &mut station, hours_later(25)).await;
    backfill(version, &mut station, hours_later(26)).await;
    let (now, after) = (old_files(&station), ledger(&station).await);
    assert!(
        files.iter().all(|(path, bytes)| now.get(path) == Some(bytes)),
        "a file of {version:?} has changed"
    );
    assert_eq!(after[..before.len()], before);

    // The first day has the certificate that it had.
    assert!(!now.contains_key("hq/2024/03/13/certificate-2.json"));
    let day = "hq/2024/03/14";
    // The state remembers how far the PBX's clock was from ours, and the simulator's goes on from the present: what looks like
    // a jump of that clock opens the day again, and takes a revision.
    let certified = |n: &i32| now.contains_key(&format!("{day}/certificate-{n}.json"));
    let (first, latest) = ((2..9).find(certified).unwrap(), (2..9).rfind(certified).unwrap());
    let certificate = json(&station, &format!("{day}/certificate-{latest}.json"));
    assert_eq!(certificate["schema"], "callvault-certificate/2");
    assert_eq!(certificate["archived"], 10);
    let second = json(&station, &format!("{day}/certificate-{first}.json"));
    let number = if version == Version::V0_1 { 13 } else { 23 };
    assert_eq!(
        (&second["former"]["revision"], &second["former"]["ledger_number"]),
        (&1.into(), &number.into())
    );
    let lists = after[before.len()..].iter().filter(|entry| entry["type"] == "lists");
    assert!(lists.clone().count() > 0 && lists.clone().all(|entry| entry["n"].as_u64().unwrap() > 9));
    let closed: Vec<&Value> = after.iter().filter(|entry| entry["type"] == "day_closed").collect();
    let has_page = version != Version::V0_1;
    assert_eq!(closed[0].get("page_sha256").is_some(), has_page, "an entry of {version:?} is as it was");
    assert!(closed[2]["page_sha256"].is_string());
    station.check().await;
    for scope in [Scope::Quick, Scope::Full] {
        assert_eq!(verify(&station, scope).await, Vec::<String>::new(), "{scope:?}");
    }
    station.expect_unsealed();
    station.check().await;
}

/// With the state of an earlier version and with what came since: the database that is made anew tells the same.
#[tokio::test(flavor = "multi_thread")]
async fn both_are_made_into_a_database_anew() {
    for version in Version::ALL {
        make_anew(version).await;
    }
}

async fn make_anew(version: Version) {
    let mut station = house::left(version).await;
    for has_gone_on in [false, true] {
        if has_gone_on {
            station.add_call("new.wav", 40);
            backfill(version, &mut station, hours_later(24)).await;
            backfill(version, &mut station, hours_later(25)).await;
        }
        // The entry of a rebuild tells of itself: it is the last one, and the next rebuild has it from nowhere.
        let before = (told(&station).await, ledger(&station).await);
        until_closed(&station.config.state.path).await;
        let now = hours_later(26).now();
        let report =
            rebuild::rebuild(&station.config, &Request::default(), Default::default(), now).await.unwrap();
        assert_eq!((report.damaged, report.ledger.appended), (0, 0), "{:?}", report.damage);
        let mut entries = ledger(&station).await;
        assert_eq!(entries.pop().unwrap()["type"], "rebuilt");
        assert_eq!(before, (told(&station).await, entries));
    }
    // What it tells of itself is signed by the next run.
    station.expect_unsealed();
    station.check().await;
}

/// What the database tells of calls, recordings and certificates.
async fn told(station: &Station) -> Vec<String> {
    let db = station.database().await;
    let mut told = Vec::new();
    for query in [
        "select json_array(hex(identity), hex(version), day, row, hex(told_version)) from calls order by identity",
        "select json_array(hex(name), sn, path, hex(salt), state, reason, gap_number) from recordings order by path",
        "select json_array(path, hex(sha256), hex(sidecar_sha256), ledger_number) from archived_files order by path",
        "select json_array(day, revision, hex(sha256), ledger_number, sums, complete, missing) from certificates
         order by ledger_number",
        "select json_array(path, hex(sha256)) from day_files order by path",
    ] {
        told.extend(sqlx::query_scalar::<_, String>(query).fetch_all(&db).await.unwrap());
    }
    db.close().await;
    told
}
