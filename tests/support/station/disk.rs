//! What must hold on the disk, whatever happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use callvault::archive::is_temporary;
use callvault::base::digest::{Digest, hex};
use callvault::base::recording::Text;
use callvault::formats::tlog::tree_hash;
use callvault::proof::notary::{Leaves, Published};
use callvault::store::ledger;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::Station;

impl Station {
    /// The files of the archive, by their path relative to its root.
    pub(crate) fn files(&self) -> BTreeMap<String, PathBuf> {
        let mut files = BTreeMap::new();
        walk(self.archive(), &mut |path| {
            let relative = path.strip_prefix(self.archive()).unwrap();
            files.insert(relative.to_str().expect("safe names are text").to_owned(), path.to_owned());
        });
        files
    }

    pub(super) async fn check_disk(&self) {
        self.check_top();
        let db = self.database().await;
        let files = self.files();
        let markers = self.config.pbx.iter().map(|pbx| format!("{}/.callvault", pbx.id));
        let mut explained: BTreeSet<String> = markers.collect();
        let rows = sqlx::query(
            "select archived_files.*, name, salt, kind from archived_files
             join recordings on recordings.id = recording_id",
        );
        for row in rows.fetch_all(&db).await.unwrap() {
            self.check_archived(&row);
            let path: String = row.get("path");
            explained.insert(format!("{path}.json"));
            explained.insert(path);
        }
        for row in sqlx::query("select path, sha256 from day_files").fetch_all(&db).await.unwrap() {
            let path: String = row.get("path");
            assert_eq!(sealed_hash(&self.archive().join(&path)), hex(row.get("sha256")));
            explained.insert(path);
        }
        self.check_all_explained(&files, &explained).await;
        self.check_published_ledger(&db).await;
        if self.sealed {
            self.check_call_lists(&files).await;
        }
        db.close().await;
    }

    /// Nothing outside the archive, the state and what a scenario made itself.
    fn check_top(&self) {
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(
                ["archive", "state", "input"].contains(&name.to_str().unwrap()),
                "{name:?} lies outside the archive"
            );
        }
    }

    /// Promise 2: audio and sidecar are there, read-only, and hash to what the catalog says; the bytes are the PBX's.
    fn check_archived(&self, row: &SqliteRow) {
        let path: &str = row.get("path");
        let audio = self.archive().join(path);
        let sha256: &[u8] = row.get("sha256");
        assert_eq!(sealed_hash(&audio), hex(sha256), "{path}");
        let sidecar = self.archive().join(format!("{path}.json"));
        assert_eq!(sealed_hash(&sidecar), hex(row.get("sidecar_sha256")), "{path}");
        let told: Value = serde_json::from_slice(&fs::read(&sidecar).unwrap()).unwrap();
        assert_eq!(told["schema"], "callvault-sidecar/1");
        assert_eq!(told["file"]["path"], path);
        assert_eq!(told["file"]["sha256"], hex(sha256), "{path}");
        assert_eq!(told["file"]["size_bytes"], fs::metadata(&audio).unwrap().len());
        assert_eq!(told["salt"], hex(row.get("salt")));
        let name: &[u8] = row.get("name");
        assert_eq!(told["recording"]["name"], serde_json::to_value(Text::from_bytes(name)).unwrap());
        assert_eq!(told["recording"]["kind"], row.get::<&str, _>("kind"));
        if row.get::<&str, _>("kind") == "voicemail" {
            return;
        }
        let pincode = told["call"]["raw"].get("pincode");
        assert!(pincode.is_none_or(|pincode| pincode == ""), "{path}");
        assert_eq!(told.get("voicemail"), None);
        if !self.pbx.counters().faults.contains_key("bit_flip") {
            let truths = &self.contents[name];
            assert!(truths.contains(&Digest::try_from(sha256).unwrap()), "{path} is not what the PBX has");
        }
    }

    /// Every file is in the catalog, is a call list, is a folder's sums, was quarantined with a finding, or is told of by
    /// an entry of what a rebuild found.
    async fn check_all_explained(&self, files: &BTreeMap<String, PathBuf>, explained: &BTreeSet<String>) {
        let quarantined = self.findings("quarantined").await;
        let found = self.found().await;
        let mut folders: BTreeSet<&Path> = BTreeSet::new();
        for (path, file) in files {
            let name = path.rsplit('/').next().unwrap();
            assert!(!is_temporary(name), "the temporary {path} was left");
            if path.starts_with("_ledger/") {
                continue;
            }
            let told = quarantined.iter().any(|(_, detail)| detail.contains(path))
                || !explained.contains(path) && found.contains(&sealed_hash(file));
            if explained.contains(path) && name != ".callvault" {
                folders.insert(file.parent().unwrap());
            }
            assert!(name == "SHA256SUMS" || told || explained.contains(path), "nothing explains {path}");
        }
        for path in explained {
            assert!(files.contains_key(path), "{path} is not on the disk");
        }
        for folder in folders {
            check_sums(folder, &found);
        }
    }

    /// The hashes of what rebuilds found, as hex.
    async fn found(&self) -> BTreeSet<String> {
        let db = self.database().await;
        let entries: Vec<String> =
            sqlx::query_scalar("select entry from ledger where entry like '%\"type\":\"found\"%'")
                .fetch_all(&db)
                .await
                .unwrap();
        db.close().await;
        let entries = entries.iter().map(|entry| serde_json::from_str::<Value>(entry).unwrap());
        let hashes = entries.flat_map(|entry| [entry["sha256"].clone(), entry["sidecar_sha256"].clone()]);
        hashes.map(|hash| hash.as_str().unwrap().to_owned()).collect()
    }

    /// What is published of the ledger is whole by its own signature, and nothing but a beginning of ours.
    async fn check_published_ledger(&self, db: &sqlx::SqlitePool) {
        let Some(published) = Published::open(self.archive()).unwrap() else { return };
        let keys = published.keys().unwrap();
        assert_eq!(published.check(&keys, None, &mut Leaves::unknown()).unwrap(), Vec::new());
        let Some((checkpoint, _)) = published.checkpoint(&keys).unwrap() else { return };
        let entries = ledger::entries(&mut db.acquire().await.unwrap(), 0, checkpoint.size).await.unwrap();
        let leaves: Vec<Digest> = entries.iter().map(|entry| entry.leaf_hash).collect();
        assert_eq!((leaves.len() as u64, tree_hash(&leaves)), (checkpoint.size, checkpoint.root));
        if self.sealed {
            let all = ledger::size(&mut db.acquire().await.unwrap()).await.unwrap();
            assert_eq!(checkpoint.size, all, "entries were left unsigned");
        }
    }
}

/// The hash of a file that nobody may change.
fn sealed_hash(path: &Path) -> String {
    let metadata = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(metadata.is_file(), "{}", path.display());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o440, "{}", path.display());
    Digest::of(fs::read(path).unwrap()).to_string()
}

/// Promise 10: `sha256sum` itself accepts the folder, and its list names every file but those that were merely found.
fn check_sums(folder: &Path, found: &BTreeSet<String>) {
    let checked = Command::new("sha256sum")
        .args(["-c", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}: {checked:?}", folder.display());
    let sums = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    let listed: BTreeSet<&str> = sums.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    let there: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "SHA256SUMS")
        .filter(|name| listed.contains(&**name) || !found.contains(&sealed_hash(&folder.join(name))))
        .collect();
    assert_eq!(there.iter().map(String::as_str).collect::<BTreeSet<_>>(), listed, "{}", folder.display());
}

fn walk(folder: &Path, see: &mut impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            walk(&path, see);
        } else {
            see(&path);
        }
    }
}
