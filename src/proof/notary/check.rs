//! Compares the published ledger with what was signed, file by file.

use std::collections::BTreeSet;
use std::fmt;

use super::published::{Published, PublishedError, larger_than};
use crate::archive::ArchiveError;
use crate::base::digest::Digest;
use crate::formats::tlog::{Checkpoint, Frontier, TILE_WIDTH, Tile, VerifyingKey, leaf_hash, path_of_bundle};

/// One file of the published ledger that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The file, relative to the ledger's folder.
    pub path: String,
    pub wrong: Wrong,
    pub what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    Missing,
    /// Its content is not what it should be.
    Altered,
    /// callvault did not put it there.
    Unlisted,
    /// It is intact but from another time or history, or the database is.
    History,
}

/// What a check compares the published files with, a page of 256 leaves at a time.
pub trait Leaves {
    /// The hashes of the leaves from `index * 256` on, as many as a ledger of `size` has there; `None` if this is not known
    /// here, and the bundle itself is to be believed.
    fn page(&mut self, index: u64, size: u64) -> anyhow::Result<Option<Vec<Digest>>>;
}

/// Nothing but the published files: what an auditor has.
#[derive(Debug, Clone, Copy)]
pub struct NoLeaves;

impl Leaves for NoLeaves {
    fn page(&mut self, _: u64, _: u64) -> anyhow::Result<Option<Vec<Digest>>> {
        Ok(None)
    }
}

/// Leaves that are read at one time: 128 KiB of hashes.
const LEAVES_AT_ONCE: u64 = 4096;

/// The leaves as the database has them. However many there are, 4096 of them are held.
pub struct StoredLeaves<F> {
    /// Reads so many leaves from a number on, and fewer at the end.
    read: F,
    /// What was read last, and its first number.
    held: (u64, Vec<Digest>),
}

impl<F> StoredLeaves<F>
where
    F: FnMut(u64, u64) -> anyhow::Result<Vec<Digest>>,
{
    /// Leaves that `read` gives: so many at most, from a number on.
    pub fn new(read: F) -> Self {
        Self { read, held: (0, Vec::new()) }
    }
}

impl<F> fmt::Debug for StoredLeaves<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredLeaves").field("from", &self.held.0).finish_non_exhaustive()
    }
}

impl<F> Leaves for StoredLeaves<F>
where
    F: FnMut(u64, u64) -> anyhow::Result<Vec<Digest>>,
{
    fn page(&mut self, index: u64, size: u64) -> anyhow::Result<Option<Vec<Digest>>> {
        let Some(first) = index.checked_mul(TILE_WIDTH).filter(|first| *first < size) else {
            return Ok(None);
        };
        let last = size.min(first + TILE_WIDTH);
        let from = first / LEAVES_AT_ONCE * LEAVES_AT_ONCE;
        if self.held.0 != from || from + (self.held.1.len() as u64) < last {
            self.held = (from, (self.read)(from, LEAVES_AT_ONCE)?);
        }
        let place = |number: u64| usize::try_from(number - from);
        Ok(self.held.1.get(place(first)?..place(last)?).map(<[Digest]>::to_vec))
    }
}

impl Published {
    /// Reads every file that the checkpoint needs, and names each that is missing or altered. Without known leaves it can
    /// only say that a bundle and its tile disagree.
    ///
    /// `expected`: the size and root that were signed last, if that is known. An older checkpoint is one that was put back.
    ///
    /// # Errors
    /// If the folder cannot be read at all, and whatever `leaves` says.
    pub fn check(
        &self,
        keys: &[VerifyingKey],
        expected: Option<(u64, Digest)>,
        leaves: &mut impl Leaves,
    ) -> anyhow::Result<Vec<Damage>> {
        let mut damages = BTreeSet::new();
        let checkpoint = match self.checkpoint(keys) {
            Ok(checkpoint) => checkpoint.map(|(checkpoint, _)| checkpoint),
            Err(PublishedError::Archive(error)) => return Err(error.into()),
            Err(error) => {
                damages.insert(damage("checkpoint", describe(&error)));
                None
            }
        };
        if damages.is_empty() {
            damages.extend(compare(checkpoint.as_ref(), expected));
        }
        if damages.is_empty() && checkpoint.is_none() && self.has_tiles()? {
            damages.insert(gone("checkpoint"));
        }
        let signed = expected.or(checkpoint.map(|Checkpoint { size, root, .. }| (size, root)));
        if let Some((size, root)) = signed {
            let computed = self.check_files(size, leaves, &mut damages)?;
            if damages.is_empty() && computed != root {
                damages.insert(damage("checkpoint", "its root is not the root over the entries".to_owned()));
            }
        }
        Ok(damages.into_iter().collect())
    }

    /// Checks bundles and tiles of a ledger of `size`; the root that they come to.
    fn check_files(
        &self,
        size: u64,
        leaves: &mut impl Leaves,
        damages: &mut BTreeSet<Damage>,
    ) -> anyhow::Result<Digest> {
        let (mut frontier, mut full) = (Frontier::default(), Vec::new());
        for index in 0..size.div_ceil(TILE_WIDTH) {
            let known = leaves.page(index, size)?;
            let bundle = self.leaves_of_bundle(index, size, damages)?;
            if let (Some(known), Some(bundle)) = (&known, &bundle)
                && known != bundle
            {
                damages.insert(damage(&self.path_of(index, size), "has other entries".to_owned()));
            }
            let Some(page) = known.or(bundle) else { return Ok(Digest::of([])) };
            page.into_iter().for_each(|leaf| frontier.push(leaf, &mut full));
            for (tile, hashes) in full.drain(..) {
                self.check_tile(tile, &hashes, damages)?;
            }
        }
        for (tile, hashes) in frontier.partial_tiles() {
            self.check_tile(tile, hashes, damages)?;
        }
        Ok(frontier.root())
    }

    fn leaves_of_bundle(
        &self,
        index: u64,
        size: u64,
        damages: &mut BTreeSet<Damage>,
    ) -> Result<Option<Vec<Digest>>, ArchiveError> {
        match self.bundle(index, size) {
            Ok(entries) => Ok(Some(entries.iter().map(|entry| leaf_hash(entry)).collect())),
            Err(error) => note(error, damages).map(|()| None),
        }
    }

    fn check_tile(
        &self,
        tile: Tile,
        hashes: &[Digest],
        damages: &mut BTreeSet<Damage>,
    ) -> Result<(), ArchiveError> {
        match self.tile(tile) {
            Ok(there) if there == hashes => {}
            Ok(_) => {
                damages.insert(damage(&tile.path(), "holds other hashes than its entries have".to_owned()));
            }
            Err(error) => note(error, damages)?,
        }
        Ok(())
    }

    fn path_of(&self, index: u64, size: u64) -> String {
        path_of_bundle(index, TILE_WIDTH.min(size - index * TILE_WIDTH))
    }
}

fn compare(checkpoint: Option<&Checkpoint>, expected: Option<(u64, Digest)>) -> Option<Damage> {
    let (size, root) = expected?;
    let what = match checkpoint {
        None => return Some(gone("checkpoint")),
        Some(there) if there.size < size => {
            format!("is older than the last one that was signed: {} entries of {size}", there.size)
        }
        Some(there) if there.size > size => {
            format!("is of {} entries; the database knows of {size} only", there.size)
        }
        Some(there) if there.root != root => "is of another history".to_owned(),
        Some(_) => return None,
    };
    Some(Damage { path: "checkpoint".to_owned(), wrong: Wrong::History, what })
}

fn damage(path: &str, what: String) -> Damage {
    Damage { path: path.to_owned(), wrong: Wrong::Altered, what }
}

fn gone(path: &str) -> Damage {
    Damage { path: path.to_owned(), wrong: Wrong::Missing, what: "is gone".to_owned() }
}

fn note(error: PublishedError, damages: &mut BTreeSet<Damage>) -> Result<(), ArchiveError> {
    match error {
        PublishedError::Archive(error) => return Err(error),
        PublishedError::Missing(path) => damages.insert(gone(&path)),
        PublishedError::Damaged { path, error } => damages.insert(damage(&path, error.to_string())),
        PublishedError::TooLarge { path, bytes_max } => damages.insert(damage(&path, larger_than(bytes_max))),
        PublishedError::NotYet { .. } => true,
    };
    Ok(())
}

fn describe(error: &PublishedError) -> String {
    match error {
        PublishedError::Damaged { error, .. } => error.to_string(),
        PublishedError::TooLarge { bytes_max, .. } => larger_than(*bytes_max),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_leaves_are_held_however_many_there_are() {
        let leaf = |number: u64| Digest::of(number.to_be_bytes());
        let (size, mut reads) = (3 * LEAVES_AT_ONCE + 300, Vec::new());
        let mut leaves = StoredLeaves::new(|from, limit| {
            reads.push((from, limit));
            Ok((from..size.min(from + limit)).map(leaf).collect())
        });
        for index in (0..size.div_ceil(TILE_WIDTH)).chain([0]) {
            let first = index * TILE_WIDTH;
            let expected: Vec<Digest> = (first..size.min(first + TILE_WIDTH)).map(leaf).collect();
            assert_eq!(leaves.page(index, size).unwrap(), Some(expected), "{index}");
        }
        assert_eq!(leaves.page(size.div_ceil(TILE_WIDTH), size).unwrap(), None);
        // Of a ledger that is longer than what is stored nothing is made up.
        assert_eq!(leaves.page(size / TILE_WIDTH, size + 1).unwrap(), None);
        let at = |chunk: u64| (chunk * LEAVES_AT_ONCE, LEAVES_AT_ONCE);
        assert_eq!(reads, [at(0), at(1), at(2), at(3), at(0), at(3)]);
    }
}
