//! A state, a ledger, and somebody who has it anchored, under a clock that the tests set.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use callvault::archive::{Abilities, Archive, Opening, VouchKey};
use callvault::base::clock::Clock;
use callvault::config::{AnchorsConfig, Config, LedgerConfig};
use callvault::proof::anchor::Anchorer;
use callvault::proof::notary::{FOLDER, Leaves, Notary, Published, Sealed};
use callvault::store::ledger::{self, Entry, EntryType};
use callvault::vault::state::State;
use callvault::watch::alerts::condition::{self, Alert};
use callvault::watch::status::{AnchorStatus, Reader, Status};
use jiff::SignedDuration;
use tempfile::TempDir;

/// When every test begins.
const BEGIN: &str = "2026-03-02T09:00:00Z";

/// A state and a ledger's folder.
pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) clock: Clock,
}

/// A house at work.
pub(crate) struct Open {
    pub(crate) state: State,
    pub(crate) notary: Arc<Notary>,
    pub(crate) anchorer: Anchorer,
    config: Config,
    clock: Clock,
}

impl House {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: Clock::showing(BEGIN.parse().unwrap()) }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    /// A file below the ledger's folder.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root().join(FOLDER).join(path)
    }

    /// The names in the folder of anchors, sorted.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.file("anchor")) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn config(&self, lines: &str) -> Config {
        let dir = self.folder.path();
        let text = format!(
            "[archive]\npath = '{0}/archive'\nfree_bytes_min = 0\n[state]\npath = '{0}/state'\n[[pbx]]\nid = 'hq'\n\
             url = 'http://127.0.0.1:1'\nusername = 'api'\npassword = 'Correct-Horse-9'\nallow_plain_http = true\n\
             [web]\nlisten = 'off'\n{lines}",
            dir.display()
        );
        let file = dir.join("callvault.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Config::load(&file).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Opens it with these sections.
    pub(crate) async fn open(&self, lines: &str) -> Open {
        let config = self.config(lines);
        self.open_as(config.clone(), config.anchors).await
    }

    pub(crate) async fn open_as(&self, config: Config, anchors: AnchorsConfig) -> Open {
        let state = State::open(&config.state.path).await.unwrap();
        let (root, now) = (&config.archive.path, self.clock.now());
        let opening = Opening {
            root,
            state_path: &config.state.path,
            state_id: &state.id,
            vouch_key: &VouchKey::new(state.adopt_key),
            pbxs: &[],
            now,
        };
        let archive = Archive::open_with(&opening, Abilities::all()).unwrap();
        let notary = Notary::open(root, &archive, &state, &LedgerConfig::default(), now).await.unwrap();
        let notary = Arc::new(notary);
        let clock = self.clock.clone();
        let anchorer = Anchorer::new(anchors, root.clone(), notary.clone(), clock.clone()).unwrap();
        Open { state, notary, anchorer, config, clock }
    }

    pub(crate) fn pass(&self, minutes: i64) {
        self.clock.set(self.clock.now() + SignedDuration::from_mins(minutes));
    }

    /// What an auditor finds wrong with the published ledger.
    pub(crate) fn damages(&self) -> Vec<String> {
        let published = Published::open(&self.root()).unwrap().unwrap();
        let keys = published.keys().unwrap();
        let damages = published.check(&keys, None, &mut Leaves::unknown()).unwrap();
        damages.into_iter().map(|damage| format!("{}: {}", damage.path, damage.what)).collect()
    }
}

impl Open {
    /// Appends entries and seals them.
    pub(crate) async fn grow(&self, count: u64) -> Sealed {
        let now = self.clock.now();
        self.state
            .db
            .write(async move |tx| {
                for number in 0..count {
                    ledger::append(tx, &Entry::new(EntryType::Gap, now).with("n", number)).await?;
                }
                Ok(())
            })
            .await
            .unwrap();
        self.notary.seal(now).await.unwrap().unwrap()
    }

    pub(crate) async fn round(&self) {
        self.anchorer.round().await.unwrap();
    }

    pub(crate) async fn status(&self) -> Status {
        let mut db = self.state.db.read().await.unwrap();
        Reader::new(&self.config).read(&mut db, self.clock.now()).await.unwrap()
    }

    /// How it stands with the first who anchors.
    pub(crate) async fn standing(&self) -> AnchorStatus {
        self.status().await.anchors.remove(0)
    }

    pub(crate) async fn error(&self) -> String {
        self.standing().await.error.unwrap_or_default()
    }

    /// The alerts about anchors.
    pub(crate) async fn alerts(&self) -> Vec<Alert> {
        let alerts = condition::all(&self.status().await, &self.config.alerts);
        alerts.into_iter().filter(|alert| alert.cause.as_str() == "anchor_overdue").collect()
    }

    /// The rows of tokens: authority, size, path.
    pub(crate) async fn rows(&self) -> Vec<(String, i64, String)> {
        let mut db = self.state.db.read().await.unwrap();
        sqlx::query_as("select authority, size, path from anchors order by size, authority")
            .fetch_all(&mut *db)
            .await
            .unwrap()
    }
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .unwrap_or_else(|_| panic!("it never came to this: {what}"));
}

/// Puts other bytes in place of a read-only file.
pub(crate) fn rewrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}
