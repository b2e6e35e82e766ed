//! The published ledger as it is read back: its entries byte for byte, each compared with what was signed.

use std::path::Path;

use super::report::Damage;
use crate::archive::ArchiveError;
use crate::digest::Digest;
use crate::notary::{FOLDER, Published, PublishedError};
use crate::tlog::{Checkpoint, Frontier, Note, TILE_WIDTH, Tile, VerifyingKey, leaf_hash, path_of_bundle};

/// What to do about a file of the ledger that is damaged. Nothing else has what it held.
const RESTORE: &str = "restore it from a backup, then rebuild again";

/// What is published of the ledger.
#[derive(Debug)]
pub(super) struct PublishedLedger {
    published: Published,
    /// What it is called and what was signed of it; none if nothing was, or if that is damaged.
    pub(super) signed: Option<Signed>,
    /// Entries that are there. A crash may have come between them and their checkpoint.
    size: u64,
}

/// What was signed, once the files have been found to come to it.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    pub(super) origin: String,
    /// The edge of its tree.
    pub(super) frontier: Frontier,
    /// The keys beside it that signed it.
    pub(super) keys: Vec<VerifyingKey>,
    believed: Believed,
}

/// Which files come to the root that was signed, where two of them disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Believed {
    Tiles,
    Bundles,
}

/// Up to 256 entries with their numbers, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) entries: Vec<(u64, Vec<u8>)>,
    pub(super) damage: Vec<Damage>,
}

/// The two files that tell of a page of leaves.
struct Files {
    entries: Result<Vec<Vec<u8>>, PublishedError>,
    tile: Result<Vec<Digest>, PublishedError>,
}

impl PublishedLedger {
    /// Opens the ledger in the archive at `root`, and finds out what of it can be believed. What is damaged about the
    /// whole of it is told beside; `None` if there is nothing.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(super) fn open(root: &Path) -> Result<(Option<Self>, Vec<Damage>), ArchiveError> {
        let Some(published) = Published::open(root)? else {
            let problem = format!("it is gone: {RESTORE}. Until then every file gets a new entry");
            return Ok((None, vec![Damage::of("", FOLDER, problem)]));
        };
        let (signed, damage) = match read_checkpoint(&published)? {
            (Some((checkpoint, keys)), _) => believe(&published, checkpoint, keys),
            (None, damage) => (None, damage),
        };
        let size = published.bundled_size(signed.as_ref().map_or(0, |signed| signed.frontier.size()))?;
        Ok((Some(Self { published, signed, size }), damage.into_iter().collect()))
    }

    /// Entries that were signed.
    pub(super) fn signed_size(&self) -> u64 {
        self.signed.as_ref().map_or(0, |signed| signed.frontier.size())
    }

    /// All entries that can be believed, page by page.
    pub(super) fn pages(&self) -> impl Iterator<Item = Page> {
        (0..self.size.div_ceil(TILE_WIDTH)).map(|index| self.page(index))
    }

    fn page(&self, index: u64) -> Page {
        let Some(signed) = &self.signed else { return self.unsigned(index, 0) };
        let size = signed.frontier.size();
        let mut page = Page::default();
        if index * TILE_WIDTH < size {
            page = Files::read(&self.published, index, size).checked(index, size, signed.believed);
        }
        // Who bends entries that were signed is found out; what follows them is only as good as the archive.
        let rest = self.unsigned(index, size);
        page.entries.extend(rest.entries);
        page.damage.extend(rest.damage);
        page
    }

    /// Entries of a page that were published after what was signed.
    fn unsigned(&self, index: u64, signed: u64) -> Page {
        let from = index * TILE_WIDTH;
        if from + TILE_WIDTH <= signed || self.size <= signed {
            return Page::default();
        }
        match self.published.bundle(index, self.size) {
            Ok(entries) => {
                let new = (from..).zip(entries).filter(|(number, _)| *number >= signed);
                Page { entries: new.collect(), damage: Vec::new() }
            }
            Err(error) => Page { entries: Vec::new(), damage: vec![damage_of(&error)] },
        }
    }
}

impl Files {
    fn read(published: &Published, index: u64, size: u64) -> Self {
        let width = TILE_WIDTH.min(size - index * TILE_WIDTH);
        Self { entries: published.bundle(index, size), tile: published.tile(Tile { level: 0, index, width }) }
    }

    /// The leaves of the page by the word of one of the two; by that of the other if it is not there.
    fn leaves(&self, believed: Believed) -> Option<Vec<Digest>> {
        let of_entries = self.entries.as_ref().ok().map(|entries| leaves_of(entries));
        let of_tile = self.tile.as_ref().ok().cloned();
        match believed {
            Believed::Tiles => of_tile.or(of_entries),
            Believed::Bundles => of_entries.or(of_tile),
        }
    }

    /// The entries that were signed, and what is wrong with either file.
    fn checked(self, index: u64, size: u64, believed: Believed) -> Page {
        let Some(leaves) = self.leaves(believed) else {
            let errors = [self.entries.err(), self.tile.err()];
            return Page { entries: Vec::new(), damage: errors.iter().flatten().map(damage_of).collect() };
        };
        let width = leaves.len() as u64;
        let mut page = Page::default();
        match self.tile {
            Ok(tile) if tile == leaves => {}
            Ok(_) => page.damage.push(other_content(&Tile { level: 0, index, width }.path())),
            Err(error) => page.damage.push(damage_of(&error)),
        }
        match self.entries {
            Ok(entries) => {
                let there = entries.len();
                let signed = (index * TILE_WIDTH..).zip(entries).zip(leaves);
                let signed = signed.filter(|((_, entry), leaf)| leaf_hash(entry) == *leaf);
                page.entries = signed.map(|(numbered, _)| numbered).collect();
                if page.entries.len() < there {
                    page.damage.push(other_content(&path_of_bundle(index, width)));
                }
            }
            Err(error) => page.damage.push(damage_of(&error)),
        }
        debug_assert!(page.entries.iter().all(|(number, _)| *number < size));
        page
    }
}

/// A checkpoint, and the keys beside it that signed it.
type SignedBy = (Checkpoint, Vec<VerifyingKey>);

/// The checkpoint, or what is wrong with it; neither if nothing was published yet.
fn read_checkpoint(published: &Published) -> Result<(Option<SignedBy>, Option<Damage>), ArchiveError> {
    let damaged = |problem| Ok((None, Some(Damage::of("", name("checkpoint"), problem))));
    let keys = published.keys()?;
    match published.checkpoint(&keys) {
        Ok(Some((checkpoint, note))) => {
            let mut signed = keys;
            signed.retain(|key| {
                Note::parse(&note).is_ok_and(|note| note.verify(std::slice::from_ref(key)).is_ok())
            });
            Ok((Some((checkpoint, signed)), None))
        }
        Ok(None) if published.bundled_size(0)? > 0 => {
            damaged("it is gone; the service publishes it again".to_owned())
        }
        Ok(None) => Ok((None, None)),
        Err(PublishedError::Archive(error)) => Err(error),
        Err(PublishedError::Damaged { error, .. }) => {
            damaged(format!("{error}; the service publishes it again"))
        }
        Err(error) => damaged(error.to_string()),
    }
}

/// Finds out which files come to the root that was signed.
fn believe(
    published: &Published,
    checkpoint: Checkpoint,
    keys: Vec<VerifyingKey>,
) -> (Option<Signed>, Option<Damage>) {
    let words = [Believed::Tiles, Believed::Bundles];
    let mut trees = words.map(|_| Some(Frontier::default()));
    let mut full = Vec::new();
    for index in 0..checkpoint.size.div_ceil(TILE_WIDTH) {
        let files = Files::read(published, index, checkpoint.size);
        for (tree, believed) in trees.iter_mut().zip(words) {
            match (files.leaves(believed), &mut *tree) {
                (Some(leaves), Some(tree)) => leaves.into_iter().for_each(|leaf| tree.push(leaf, &mut full)),
                (None, tree) => *tree = None,
                (Some(_), None) => {}
            }
        }
        full.clear();
    }
    let is_signed = |tree: &Frontier| tree.size() == checkpoint.size && tree.root() == checkpoint.root;
    let found =
        trees.into_iter().zip(words).find_map(|(tree, believed)| Some((tree.filter(is_signed)?, believed)));
    match found {
        Some((frontier, believed)) => {
            (Some(Signed { origin: checkpoint.origin, frontier, keys, believed }), None)
        }
        None => {
            let problem = format!(
                "its entries are not those that were signed, or some are gone: restore the folder `{FOLDER}` from a \
                 backup, then rebuild again. Until then nothing is signed"
            );
            (None, Some(Damage::of("", name("checkpoint"), problem)))
        }
    }
}

fn leaves_of(entries: &[Vec<u8>]) -> Vec<Digest> {
    entries.iter().map(|entry| leaf_hash(entry)).collect()
}

fn other_content(path: &str) -> Damage {
    Damage::of("", name(path), format!("it holds something else than was signed: {RESTORE}"))
}

fn damage_of(error: &PublishedError) -> Damage {
    match error {
        PublishedError::Missing(path) => Damage::of("", name(path), format!("it is gone: {RESTORE}")),
        PublishedError::Damaged { path, error } => Damage::of("", name(path), format!("{error}: {RESTORE}")),
        error => Damage::of("", FOLDER, error.to_string()),
    }
}

fn name(path: &str) -> String {
    format!("{FOLDER}/{path}")
}
