//! A state and the folder in which its ledger is published.

use std::fs;
use std::path::{Path, PathBuf};

use callvault::archive::{Abilities, Archive, Opening, VouchKey};
use callvault::config::LedgerConfig;
use callvault::proof::notary::{FOLDER, Leaves, Notary, PROBLEM, Published, Sealed};
use callvault::store::ledger::{self, Entry, EntryType};
use callvault::vault::state::State;
use jiff::Timestamp;
use tempfile::TempDir;

pub(crate) const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A state and a ledger's folder.
pub(crate) struct House {
    pub(crate) folder: TempDir,
}

/// A house that is open.
pub(crate) struct Open {
    pub(crate) state: State,
    pub(crate) notary: Notary,
}

impl House {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) async fn open_with(&self, config: &LedgerConfig) -> anyhow::Result<Open> {
        let state = State::open(&self.state()).await?;
        let opening = Opening {
            root: &self.root(),
            state_path: &self.state(),
            state_id: &state.id,
            vouch_key: &VouchKey::new(state.adopt_key),
            pbxs: &[],
            now: NOW,
        };
        let archive = Archive::open_with(&opening, Abilities::all())?;
        let notary = Notary::open(&self.root(), &archive, &state, config, NOW).await?;
        Ok(Open { state, notary })
    }

    pub(crate) async fn open(&self) -> Open {
        self.open_with(&LedgerConfig::default()).await.unwrap()
    }

    pub(crate) fn published(&self) -> Published {
        Published::open(&self.root()).unwrap().unwrap()
    }

    /// What an auditor finds wrong who has nothing but the files.
    pub(crate) fn damages(&self) -> Vec<String> {
        let published = self.published();
        let keys = published.keys().unwrap();
        let damages = published.check(&keys, None, &mut Leaves::unknown()).unwrap();
        damages.into_iter().map(|damage| format!("{}: {}", damage.path, damage.what)).collect()
    }

    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root().join(FOLDER).join(path)
    }
}

impl Open {
    pub(crate) async fn append(&self, count: u64) {
        self.append_after("", count).await;
    }

    /// Appends entries that say where they belong: of another history.
    pub(crate) async fn append_after(&self, what: &'static str, count: u64) {
        self.state
            .db
            .write(async move |tx| {
                for number in 0..count {
                    let entry = Entry::new(EntryType::Gap, NOW).with("n", number).with("after", what);
                    ledger::append(tx, &entry).await?;
                }
                Ok(())
            })
            .await
            .unwrap();
    }

    pub(crate) async fn seal(&self) -> Option<Sealed> {
        self.notary.seal(NOW).await.unwrap()
    }

    pub(crate) async fn problem(&self) -> String {
        let mut db = self.state.db.read().await.unwrap();
        callvault::store::fleet::meta(&mut db, PROBLEM).await.unwrap().unwrap_or_default()
    }
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}
