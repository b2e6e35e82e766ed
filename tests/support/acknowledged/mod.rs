//! What another process has seen acknowledged, and so must never be lost.

mod losses;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use callvault::base::digest::Digest;
use callvault::proof::notary::{Published, PublishedError};
use sqlx::{Row as _, SqliteConnection, SqlitePool};

pub(crate) use self::losses::Losses;

/// Where an installation keeps what must not be lost, and what its PBX has.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The archive's root.
    pub(crate) archive: PathBuf,
    /// The folder of the database.
    pub(crate) state: PathBuf,
    /// What all audio on the PBX hashes to.
    pub(crate) truths: BTreeSet<Digest>,
}

impl Place {
    /// The database, to look into.
    pub(crate) async fn database(&self) -> anyhow::Result<Option<SqlitePool>> {
        callvault::store::db::open_read_only(&self.state).await
    }

    /// Size and root of the checkpoint that is published, if one is.
    pub(crate) fn published(&self) -> Result<Option<(u64, Digest)>, PublishedError> {
        let Some(published) = Published::open(&self.archive)? else { return Ok(None) };
        let checkpoint = published.checkpoint(&published.keys()?)?;
        Ok(checkpoint.map(|(checkpoint, _)| (checkpoint.size, checkpoint.root)))
    }
}

/// All that was seen, up to some moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acknowledged {
    /// Audio, in the order of the catalog.
    pub(crate) recordings: Vec<String>,
    /// Files that rows of the database vouch for, audio among them, and what they hold.
    pub(crate) files: BTreeMap<String, Digest>,
    /// Those of them that the sums of their folder list.
    pub(crate) listed: BTreeSet<String>,
    /// The leaves of the ledger.
    pub(crate) leaves: Vec<Digest>,
    /// Size and root of the checkpoint that was published.
    pub(crate) checkpoint: Option<(u64, Digest)>,
}

impl Acknowledged {
    /// Adds all that is to be seen now.
    pub(crate) async fn look(&mut self, place: &Place, db: &SqlitePool) {
        self.look_at_checkpoint(place);
        // One transaction: rows of one moment. Whoever reads sees only what was committed.
        let mut tx = db.begin().await.unwrap();
        self.look_at_catalog(&mut tx).await;
        self.look_at_ledger(&mut tx).await;
        self.look_at_sums(&mut tx).await;
        tx.rollback().await.unwrap();
    }

    async fn look_at_catalog(&mut self, db: &mut SqliteConnection) {
        let seen = i64::try_from(self.recordings.len()).unwrap();
        let rows = "select path, sha256, sidecar_sha256 from archived_files order by id limit -1 offset ?";
        for row in sqlx::query(rows).bind(seen).fetch_all(&mut *db).await.unwrap() {
            let path: String = row.get("path");
            self.files.insert(path.clone(), digest(row.get("sha256")));
            self.files.insert(format!("{path}.json"), digest(row.get("sidecar_sha256")));
            self.recordings.push(path);
        }
        for row in sqlx::query("select path, sha256 from day_files").fetch_all(db).await.unwrap() {
            self.files.insert(row.get("path"), digest(row.get("sha256")));
        }
    }

    async fn look_at_ledger(&mut self, db: &mut SqliteConnection) {
        let seen = i64::try_from(self.leaves.len()).unwrap();
        let leaves = "select leaf_hash from ledger where number >= ? order by number";
        let leaves: Vec<Vec<u8>> = sqlx::query_scalar(leaves).bind(seen).fetch_all(db).await.unwrap();
        self.leaves.extend(leaves.iter().map(|leaf| digest(leaf)));
    }

    async fn look_at_sums(&mut self, db: &mut SqliteConnection) {
        let current = "select folder from day_folders where written >= changed";
        for folder in sqlx::query_scalar::<_, String>(current).fetch_all(db).await.unwrap() {
            let inside = |path: &&String| path.rsplit_once('/').is_some_and(|(parent, _)| parent == folder);
            self.listed.extend(self.files.keys().filter(inside).cloned());
        }
    }

    fn look_at_checkpoint(&mut self, place: &Place) {
        self.checkpoint = place.published().unwrap().or(self.checkpoint);
    }

    /// How many entries of the ledger the checkpoint covers.
    pub(crate) fn size(&self) -> u64 {
        self.checkpoint.map_or(0, |(size, _)| size)
    }

    /// What still holds when the database is lost and made anew from what `place` has: entries of the ledger that were not
    /// published may come again as others.
    pub(crate) fn without_database(&self, place: &Place) -> Self {
        let published = place.published().unwrap().map_or(0, |(size, _)| size).max(self.size());
        let mut holds = self.clone();
        holds.leaves.truncate(usize::try_from(published).unwrap());
        holds
    }
}

/// A hash as the database keeps it.
fn digest(bytes: &[u8]) -> Digest {
    Digest::try_from(bytes).unwrap()
}
