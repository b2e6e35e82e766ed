//! Opening what an earlier version left.

use std::collections::BTreeMap;
use std::fs;

use callvault::proof::sealed_vault::SealedVault;
use callvault::store::db::database_file;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use super::house::{self, Version};
use crate::support::closing::until_closed;
use crate::support::station::Station;

/// What an upgrade leaves as it is, one query each: rows of text.
const KEPT: [&str; 5] = [
    "select json_array(hex(identity), hex(version), day, row, hex(told_version)) from calls order by id",
    "select json_array(hex(name), sn, path, hex(salt), state, gap_number) from recordings order by id",
    "select json_array(path, hex(sha256), hex(sidecar_sha256), ledger_number) from archived_files order by id",
    "select json_array(pbx, day, revision, path, hex(sha256), ledger_number) from certificates order by ledger_number",
    "select json_array(number, entry, hex(leaf_hash)) from ledger order by number",
];

/// What must be the same before and after.
async fn kept(station: &Station) -> Vec<String> {
    let file = database_file(&station.config.state.path);
    let db = SqlitePool::connect_with(SqliteConnectOptions::new().filename(file)).await.unwrap();
    let mut kept = Vec::new();
    for query in KEPT {
        kept.extend(sqlx::query_scalar::<_, String>(query).fetch_all(&db).await.unwrap());
    }
    db.close().await;
    kept
}

fn bytes_of(station: &Station) -> BTreeMap<String, Vec<u8>> {
    station.files().into_iter().map(|(path, file)| (path, fs::read(file).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_identity_no_version_and_no_byte_of_the_ledger_or_the_archive_changes() {
    for version in Version::ALL {
        let station = house::left(version).await;
        let (before, files) = (kept(&station).await, bytes_of(&station));
        assert!(before.len() > 20, "{before:#?}");
        drop(SealedVault::open(station.config.clone(), house::hours_later(3)).await.unwrap());
        until_closed(&station.config.state.path).await;
        assert_eq!(before, kept(&station).await);
        assert_eq!(files, bytes_of(&station));
    }
}
