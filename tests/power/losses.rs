//! What a power cut has lost of what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use callvault::archive::{SUMS_NAME, Sidecar};
use callvault::digest::Digest;
use callvault::tlog::tree_hash;
use sqlx::{Row as _, SqlitePool};

use crate::acknowledged::{Acknowledged, digest, published};
use crate::installation::Installation;

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
    pub(crate) async fn of(installation: &Installation<'_>, acknowledged: &Acknowledged) -> Self {
        let mut losses = Self::default();
        losses.compare_files(installation, acknowledged);
        losses.compare_sums(installation, acknowledged);
        losses.look_for_parts(installation, acknowledged);
        // A database of which nothing was seen may not be one yet, and is left as it is.
        if !acknowledged.leaves.is_empty()
            && let Err(error) = losses.compare_database(installation, acknowledged).await
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

    fn compare_files(&mut self, installation: &Installation<'_>, acknowledged: &Acknowledged) {
        for (path, sha256) in &acknowledged.files {
            match fs::read(installation.archive().join(path)) {
                Ok(bytes) if Digest::of(&bytes) == *sha256 => {}
                Ok(_) => self.wrong += 1,
                Err(error) if error.kind() == ErrorKind::NotFound => self.missing += 1,
                Err(error) => self.other.push(format!("{path}: {error}")),
            }
        }
    }

    /// Folders whose sums were complete list all that they listed.
    fn compare_sums(&mut self, installation: &Installation<'_>, acknowledged: &Acknowledged) {
        let mut sums: BTreeMap<&str, String> = BTreeMap::new();
        for path in &acknowledged.listed {
            let (folder, name) = path.rsplit_once('/').expect("files lie in folders");
            let read = || fs::read_to_string(installation.archive().join(folder).join(SUMS_NAME));
            let sums = sums.entry(folder).or_insert_with(|| read().unwrap_or_default());
            let expected = format!("{}  {name}", acknowledged.files[path]);
            if !sums.lines().any(|line| line == expected) {
                self.other.push(format!("{folder}/{SUMS_NAME} does not list {name}"));
            }
        }
    }

    /// What has its final name is whole, also where it was not acknowledged.
    fn look_for_parts(&mut self, installation: &Installation<'_>, acknowledged: &Acknowledged) {
        let truths = installation.truths();
        let archive = installation.archive();
        for file in files_below(&archive) {
            let path = file.strip_prefix(&archive).unwrap().to_str().expect("safe names are text").to_owned();
            if acknowledged.files.contains_key(&path) {
                continue;
            }
            let bytes = fs::read(&file).unwrap();
            let is_whole = match () {
                () if path.ends_with(".wav") => truths.contains(&Digest::of(&bytes)),
                () if path.ends_with(".wav.json") => Sidecar::from_bytes(&bytes).is_ok(),
                () => true,
            };
            if !is_whole {
                self.wrong += 1;
            }
        }
    }

    async fn compare_database(
        &mut self,
        installation: &Installation<'_>,
        acknowledged: &Acknowledged,
    ) -> anyhow::Result<()> {
        let Some(db) = installation.database().await? else { anyhow::bail!("it is not there") };
        let compared = self.compare_rows(&db, installation, acknowledged).await;
        db.close().await;
        compared
    }

    async fn compare_rows(
        &mut self,
        db: &SqlitePool,
        installation: &Installation<'_>,
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
        self.compare_checkpoints(&leaves, signed, installation, acknowledged);
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
        installation: &Installation<'_>,
        acknowledged: &Acknowledged,
    ) {
        let left = published(installation).unwrap_or_else(|error| {
            self.other.push(format!("the published ledger: {error}"));
            None
        });
        for (size, root) in acknowledged.checkpoint.into_iter().chain(left) {
            let is_noted = signed.is_some_and(|signed| signed.unsigned_abs() >= size);
            let covered = leaves.get(..usize::try_from(size).unwrap());
            if !is_noted || covered.map(tree_hash) != Some(root) {
                self.other.push(format!("the checkpoint of {size} entries is contradicted"));
            }
        }
    }
}

fn files_below(folder: &Path) -> BTreeSet<std::path::PathBuf> {
    let mut files = BTreeSet::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            } else {
                files.insert(entry.path());
            }
        }
    }
    files
}
