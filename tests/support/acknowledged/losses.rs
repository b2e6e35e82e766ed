//! What a crash has lost of what was acknowledged.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use callvault::base::digest::Digest;
use callvault::formats::sidecar::Sidecar;
use callvault::formats::sums::NAME as SUMS_NAME;
use callvault::formats::tlog::tree_hash;
use callvault::proof::notary::{Leaves, Published};
use sqlx::{Row as _, SqlitePool};

use super::{Acknowledged, Place, digest};

/// What is not there any more.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Recordings that the database does not know as archived.
    pub(crate) rows: usize,
    /// Files that are gone.
    pub(crate) missing: usize,
    /// Files that hold something else, or a part.
    pub(crate) wrong: usize,
    /// What else is not as it was acknowledged.
    pub(crate) other: Vec<String>,
}

impl Losses {
    /// Compares what is mounted with what was acknowledged before the cut.
    pub(crate) async fn of(place: &Place, acknowledged: &Acknowledged) -> Self {
        let mut losses = Self::default();
        let archive = &place.archive;
        let there = files_below(archive);
        losses.compare_files(&there, acknowledged);
        losses.compare_sums(archive, &there, acknowledged);
        losses.look_for_parts(place, &there, acknowledged);
        losses.check_published(archive);
        // A database of which nothing was seen may not be one yet, and is left as it is.
        if !acknowledged.leaves.is_empty()
            && let Err(error) = losses.compare_database(place, acknowledged).await
        {
            losses.rows = acknowledged.recordings.len();
            losses.other.push(format!("the database: {error}"));
        }
        losses
    }

    /// Whether nothing is lost.
    pub(crate) fn are_none(&self) -> bool {
        self.rows + self.missing + self.wrong == 0 && self.other.is_empty()
    }

    fn compare_files(&mut self, there: &Files, acknowledged: &Acknowledged) {
        for (path, sha256) in &acknowledged.files {
            match there.get(path) {
                Some(found) if found == sha256 => {}
                Some(_) => self.wrong += 1,
                None => self.missing += 1,
            }
        }
    }

    /// Whatever a folder's sums list is there, as `sha256sum -c` sees it; and those that were complete list all that they
    /// listed.
    fn compare_sums(&mut self, archive: &Path, there: &Files, acknowledged: &Acknowledged) {
        let mut listed: Files = Files::new();
        for path in there.keys().filter(|path| path.ends_with(SUMS_NAME)) {
            let folder = path.strip_suffix(SUMS_NAME).unwrap();
            for line in fs::read_to_string(archive.join(path)).unwrap_or_default().lines() {
                match line.split_once("  ").map(|(sha256, name)| (sha256.parse(), name)) {
                    Some((Ok(sha256), name)) => drop(listed.insert(format!("{folder}{name}"), sha256)),
                    _ => self.other.push(format!("{path} has the line {line:?}")),
                }
            }
        }
        let altered = listed.iter().filter(|(path, sha256)| there.get(*path) != Some(sha256));
        self.other.extend(altered.map(|(path, _)| format!("{path} is not what {SUMS_NAME} says")));
        let gone = acknowledged.listed.iter().filter(|path| !listed.contains_key(*path));
        self.other.extend(gone.map(|path| format!("{path} is not in {SUMS_NAME} any more")));
    }

    /// What has its final name is whole, also where it was not acknowledged.
    fn look_for_parts(&mut self, place: &Place, there: &Files, acknowledged: &Acknowledged) {
        let is_sidecar = |path: &str| {
            let bytes = fs::read(place.archive.join(path)).unwrap();
            Sidecar::from_bytes(&bytes).is_ok()
        };
        let others = there.iter().filter(|(path, _)| !acknowledged.files.contains_key(*path));
        let parts = others.filter(|(path, sha256)| match () {
            () if path.ends_with(".wav") => !place.truths.contains(sha256),
            () if path.ends_with(".wav.json") => !is_sidecar(path),
            () => false,
        });
        self.wrong += parts.count();
    }

    /// Whatever checkpoint others find, all that it covers is there.
    fn check_published(&mut self, archive: &Path) {
        let damaged = || -> anyhow::Result<_> {
            let Some(published) = Published::open(archive)? else { return Ok(Vec::new()) };
            let keys = published.keys()?;
            match published.checkpoint(&keys)? {
                Some(_) => published.check(&keys, None, &mut Leaves::unknown()),
                // The first is still on its way.
                None => Ok(Vec::new()),
            }
        };
        match damaged() {
            Ok(damaged) => self.other.extend(damaged.iter().map(|damage| format!("{damage:?}"))),
            Err(error) => self.other.push(format!("the published ledger: {error}")),
        }
    }

    async fn compare_database(&mut self, place: &Place, acknowledged: &Acknowledged) -> anyhow::Result<()> {
        let Some(db) = place.database().await? else { anyhow::bail!("it is not there") };
        let compared = self.compare_rows(&db, place, acknowledged).await;
        db.close().await;
        compared
    }

    async fn compare_rows(
        &mut self,
        db: &SqlitePool,
        place: &Place,
        acknowledged: &Acknowledged,
    ) -> anyhow::Result<()> {
        let intact: String = sqlx::query_scalar("pragma integrity_check").fetch_one(db).await?;
        anyhow::ensure!(intact == "ok", "{intact}");
        let known = "select path, sha256 from archived_files
             union all select path || '.json', sidecar_sha256 from archived_files
             union all select path, sha256 from day_files";
        let known = sqlx::query(known).fetch_all(db).await?;
        let known: BTreeMap<String, Digest> =
            known.iter().map(|row| (row.get("path"), digest(row.get("sha256")))).collect();
        self.rows += acknowledged.recordings.iter().filter(|path| !known.contains_key(*path)).count();
        let (files, rows) = (&acknowledged.files, &known);
        let others = files.iter().filter(|(path, sha256)| rows.get(*path).is_some_and(|row| row != *sha256));
        self.other.extend(others.map(|(path, _)| format!("the row of {path} is another")));
        let leaves = sqlx::query_scalar("select leaf_hash from ledger order by number").fetch_all(db).await?;
        let leaves: Vec<Digest> = leaves.iter().map(|leaf: &Vec<u8>| digest(leaf)).collect();
        self.compare_ledger(&leaves, acknowledged);
        let signed: Option<i64> =
            sqlx::query_scalar("select max(size) from checkpoints").fetch_one(db).await?;
        self.compare_checkpoints(&leaves, signed, place, acknowledged);
        Ok(())
    }

    fn compare_ledger(&mut self, leaves: &[Digest], acknowledged: &Acknowledged) {
        if !leaves.starts_with(&acknowledged.leaves) {
            let (seen, left) = (acknowledged.leaves.len(), leaves.len());
            self.other.push(format!("of {seen} entries of the ledger, {left} are left, or they are others"));
        }
    }

    /// What was published, before the cut or by what the cut left, was noted before and is ours.
    fn compare_checkpoints(
        &mut self,
        leaves: &[Digest],
        signed: Option<i64>,
        place: &Place,
        acknowledged: &Acknowledged,
    ) {
        let left = place.published().unwrap_or_default();
        for (size, root) in acknowledged.checkpoint.into_iter().chain(left) {
            let is_noted = signed.is_some_and(|signed| signed.unsigned_abs() >= size);
            let covered = leaves.get(..usize::try_from(size).unwrap());
            if !is_noted || covered.map(tree_hash) != Some(root) {
                self.other.push(format!("the checkpoint of {size} entries is contradicted"));
            }
        }
    }
}

/// Files by their path in the archive, and what they hash to.
type Files = BTreeMap<String, Digest>;

fn files_below(archive: &Path) -> Files {
    let mut files = Files::new();
    let mut waiting = vec![archive.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
                continue;
            }
            let path = entry.path().strip_prefix(archive).unwrap().to_owned();
            let path = path.into_os_string().into_string().expect("safe names are text");
            files.insert(path, Digest::of(fs::read(entry.path()).unwrap()));
        }
    }
    files
}
