//! Sealing the day folders.

use std::time::Duration;

use callvault::base::clock::Clock;
use callvault::proof::seal;
use callvault::proof::sealed_vault::SealedVault;

use crate::support::station::{PBX, Station};

/// The pool of readers is small, and every PBX seals: who holds one connection must not wait for another.
#[tokio::test(flavor = "multi_thread")]
async fn call_lists_are_written_over_one_connection_at_a_time() {
    let mut station = Station::new(5).await;
    // A dry run remembers the calls and writes no lists.
    station.dry_run().await;
    let SealedVault { vault, .. } = SealedVault::open(station.config.clone(), Clock::system()).await.unwrap();
    let db = &vault.state.db;
    let _others = (db.read().await.unwrap(), db.read().await.unwrap());
    let writing = seal::write_calls(db, &vault.archive, PBX, callvault::base::clock::now());
    tokio::time::timeout(Duration::from_secs(10), writing).await.expect("it waits for itself").unwrap();
}
