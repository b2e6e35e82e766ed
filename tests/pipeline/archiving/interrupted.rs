//! The process is killed before each call that makes a certificate or a call list durable: the next run ends with one.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;

use callvault::base::clock::Clock;
use callvault::base::digest::Digest;
use callvault::config::{Config, PbxConfig};
use callvault::proof::seal;
use callvault::proof::sealed_vault::SealedVault;
use callvault::proof::verify::{Request, Scope, Verification};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::reconciling::tamper;
use crate::support::closing::until_closed;
use crate::support::shim::Shim;
use crate::support::station::{PBX, Station, config_at};

const ISSUING: &str = "archiving::interrupted::the_issuing_that_is_killed";
const LISTING: &str = "archiving::interrupted::the_listing_that_is_killed";

/// A day that has settled, with its call lists, and without a certificate.
async fn settled() -> Station {
    let mut station = Station::new(0).await;
    station.add_call("a.wav", 0);
    station.days.0 = station.days.1;
    station.backfill().await;
    tamper(&station, "update days set state = 'settled', settled_at_ms = last_read_at_ms, revision = 1")
        .await;
    until_closed(&station.config.state.path).await;
    station
}

/// The installation in `folder`.
fn config_in(folder: &Path) -> Config {
    let url = "http://127.0.0.1:9".parse().unwrap();
    config_at(folder, PbxConfig::for_url(PBX, url, "v1.1.0".parse().unwrap(), "api", "x".to_owned()))
}

/// Opens the installation in `folder` as a command does, and issues what is due.
async fn issue(folder: &Path, begun: impl FnOnce()) {
    let opened = SealedVault::open(config_in(folder), Clock::system()).await.unwrap();
    begun();
    opened.issuer().issue_due(&opened.vault.config.pbx[0]).await.unwrap();
    opened.seal().await.unwrap();
}

/// A day whose calls are known, and whose call list is not written.
async fn heard_of() -> Station {
    let mut station = Station::new(0).await;
    station.add_call("a.wav", 0);
    station.add_call("b.wav", 1);
    station.days.0 = station.days.1;
    station.dry_run().await;
    until_closed(&station.config.state.path).await;
    station
}

/// Opens the installation in `folder` as a command does, and writes the lists of its calls.
async fn list(folder: &Path, begun: impl FnOnce()) {
    let opened = SealedVault::open(config_in(folder), Clock::system()).await.unwrap();
    begun();
    let (db, archive) = (&opened.vault.state.db, &opened.vault.archive);
    seal::write_calls(db, archive, PBX, callvault::base::clock::now()).await.unwrap();
    opened.seal().await.unwrap();
}

/// Looks at the archive before anybody goes on: what a run that died has written is no damage.
async fn look(folder: &Path) {
    let opened = SealedVault::open(config_in(folder), Clock::system()).await.unwrap();
    let request = Request::of(Scope::Quick);
    let report = Verification::new(&opened, request, CancellationToken::new()).run().await.unwrap();
    assert!(report.damaged.is_empty(), "{:?}", report.damaged);
    drop(opened);
    until_closed(&folder.join("state")).await;
}

/// Not a test: what the next one runs in a process of its own, to be killed. Tells how many calls came before.
#[tokio::test]
async fn the_issuing_that_is_killed() {
    let Some(folder) = std::env::var_os("FAULT_SITE") else { return };
    issue(Path::new(&folder), tell_begin).await;
}

/// The same of a call list.
#[tokio::test]
async fn the_listing_that_is_killed() {
    let Some(folder) = std::env::var_os("FAULT_SITE") else { return };
    list(Path::new(&folder), tell_begin).await;
}

fn tell_begin() {
    let log = std::env::var_os("FAULT_LOG").map(std::fs::read_to_string);
    println!("BEGUN {}", log.map_or(0, |log| log.unwrap().lines().count()));
}

/// A copy of the installation, in memory where there is a folder for that.
fn copy_of(station: &Station) -> TempDir {
    let copy = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    for part in [&station.config.archive.path, &station.config.state.path] {
        assert!(Command::new("cp").arg("-a").arg(part).arg(copy.path()).status().unwrap().success());
    }
    copy
}

/// The files whose names begin so, and what they hold.
fn files(station: &Station, begin: &str) -> BTreeMap<String, Digest> {
    let files = station.files().into_iter().filter(|(path, _)| path.contains(begin));
    files.map(|(path, file)| (path, Digest::of(std::fs::read(file).unwrap()))).collect()
}

/// The calls of what `test` does alone, counted from the start of the process.
fn calls(shim: &Shim, station: &Station, test: &str) -> RangeInclusive<usize> {
    let copy = copy_of(station);
    let log = copy.path().join("log");
    let ended = run(shim, copy.path(), test).env("FAULT_LOG", &log).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let told = String::from_utf8(ended.stdout).unwrap();
    let begun = told.split_once("BEGUN ").unwrap().1.lines().next().unwrap().parse::<usize>().unwrap();
    let all = std::fs::read_to_string(log).unwrap().lines().count();
    begun + 1..=all
}

fn run(shim: &Shim, folder: &Path, test: &str) -> Command {
    let mut run = shim.run(test);
    run.env("FAULT_SITE", folder);
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_it_is_killed_the_next_run_ends_with_one_certificate() {
    let Some(shim) = Shim::build() else { return };
    let mut station = settled().await;
    let config = station.config.clone();
    let calls = calls(&shim, &station, ISSUING);
    assert!(calls.clone().count() > 30, "the shim sees the calls: {calls:?}");
    let mut halfway = 0;
    for at in calls {
        let copy = copy_of(&station);
        // The last calls come or do not: the database is closed beside the end of the process.
        run(&shim, copy.path(), ISSUING)
            .env("FAULT_AT", at.to_string())
            .env("FAULT_HOW", "kill")
            .output()
            .unwrap();
        station.config = config_at(copy.path(), config.pbx[0].clone());
        let before = files(&station, "/certificate-");
        halfway += u32::from((1..5).contains(&before.len()));
        look(copy.path()).await;
        issue(copy.path(), || {}).await;
        let after = files(&station, "/certificate-");
        assert_eq!(after.len(), 5, "call {at}: {after:?}");
        for (path, sha256) in &before {
            assert_eq!(after.get(path), Some(sha256), "call {at}: {path}");
        }
        assert_eq!(station.value::<i64>("select count(*) from certificates").await, 1, "call {at}");
        assert_eq!(station.value::<i64>("select count(*) from certificate_drafts").await, 0, "call {at}");
        station.check().await;
        station.config = config.clone();
    }
    assert!(halfway > 10, "it was killed among the files too: {halfway}");
}

/// The salts of a list are drawn once: what a run that died has written stays, and is not written a second time.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_it_is_killed_the_next_run_ends_with_one_call_list() {
    let Some(shim) = Shim::build() else { return };
    let mut station = heard_of().await;
    let config = station.config.clone();
    let calls = calls(&shim, &station, LISTING);
    assert!(calls.clone().count() > 10, "the shim sees the calls: {calls:?}");
    let mut halfway = 0;
    for at in calls {
        let copy = copy_of(&station);
        run(&shim, copy.path(), LISTING)
            .env("FAULT_AT", at.to_string())
            .env("FAULT_HOW", "kill")
            .output()
            .unwrap();
        station.config = config_at(copy.path(), config.pbx[0].clone());
        let before = files(&station, "/calls-");
        look(copy.path()).await;
        let entries = "select count(*) from ledger where entry ->> 'type' = 'lists'";
        halfway += u32::from(before.len() == 1 && station.value::<i64>(entries).await == 0);
        list(copy.path(), || {}).await;
        let after = files(&station, "/calls-");
        assert_eq!(after.len(), 1, "call {at}: {after:?}");
        assert!(before.is_empty() || before == after, "call {at}");
        assert_eq!(station.value::<i64>(entries).await, 1, "call {at}");
        station.check().await;
        station.config = config.clone();
    }
    assert!(halfway > 0, "it was killed between the file and its entry too");
}
