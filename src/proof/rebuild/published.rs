//! The published ledger as it is read back: its entries byte for byte, each compared with what was signed.

use std::sync::Arc;

use super::CannotRebuild;
use super::report::Damage;
use super::trust::{Believed, Trust, signers};
use crate::archive::Reader;
use crate::base::digest::Digest;
use crate::formats::tlog::{Checkpoint, Frontier, TILE_WIDTH, Tile, VerifyingKey, leaf_hash, path_of_bundle};
use crate::proof::notary::{FOLDER, Published, PublishedError};

/// What to do about a file of the ledger that is damaged. Nothing else has what it held.
const RESTORE: &str = "restore it from a backup, then rebuild again";

#[derive(Debug)]
pub(super) struct PublishedLedger {
    published: Published,
    /// What was signed of it; none if nothing was, if that is damaged, or if the files do not come to it.
    pub(super) signed: Option<Signed>,
    /// Entries that a trusted signer has seen there, even if they are gone now.
    pub(super) seen: u64,
    /// Entries that are there, signed or not. A crash may have come between them and their checkpoint.
    pub(super) size: u64,
}

/// What was signed, once the files have been found to come to it.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    pub(super) origin: String,
    pub(super) frontier: Frontier,
    /// The keys that signed it, as far as they are believed.
    pub(super) keys: Vec<VerifyingKey>,
    pub(super) trust: Trust,
    source: Source,
}

/// A checkpoint that may be the one to go on from.
struct Candidate {
    checkpoint: Checkpoint,
    keys: Vec<VerifyingKey>,
    trust: Trust,
}

/// Which files come to the root that was signed, where two of them disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
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
    /// Opens the ledger in the archive, and finds out what of it can be believed. What is damaged about the
    /// whole of it is returned beside it; `None` if there is nothing.
    ///
    /// # Errors
    /// [`CannotRebuild::OthersLedger`] if there is a key, and the ledger was signed by others; whatever the filesystem says.
    pub(super) fn open(
        archive: Arc<dyn Reader>,
        believed: &Believed,
    ) -> anyhow::Result<(Option<Self>, Vec<Damage>)> {
        let Some(published) = Published::of(archive)? else {
            let problem = format!("it is gone: {RESTORE}. Until then nothing proves what was archived");
            return Ok((None, vec![Damage::of("", FOLDER, problem)]));
        };
        let mut damage = Vec::new();
        let mut candidates = Vec::new();
        match read_checkpoint(&published, believed)? {
            Ok(candidate) => candidates.extend(candidate),
            Err(problem) => damage.push(Damage::of("", name("checkpoint"), problem)),
        }
        if let Some(note) = &believed.own_checkpoint
            && let Some((checkpoint, trust)) = believed.judge(note)
        {
            candidates.push(Candidate {
                keys: believed.signers(note, &checkpoint.origin),
                checkpoint,
                trust,
            });
        }
        let seen = candidates.iter().map(|candidate| candidate.checkpoint.size).max().unwrap_or(0);
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.checkpoint.size));
        let signed = candidates.into_iter().find_map(|candidate| candidate.found_in(&published));
        if seen > signed.as_ref().map_or(0, |signed| signed.frontier.size()) {
            let problem = format!(
                "its entries are not the {seen} signed ones, or some are missing: restore the folder `{FOLDER}` from a \
                 backup, then rebuild again. Until then nothing is signed"
            );
            damage.push(Damage::of("", name("checkpoint"), problem));
        }
        let size = published.bundled_size(signed.as_ref().map_or(0, |signed| signed.frontier.size()))?;
        Ok((Some(Self { published, signed, seen, size }), damage))
    }

    /// The entries to put back, page by page: those that were signed; all that are there, if that is not known.
    pub(super) fn pages(&self) -> impl Iterator<Item = Page> {
        let size = self.signed.as_ref().map_or(self.size, |signed| signed.frontier.size());
        (0..size.div_ceil(TILE_WIDTH)).map(move |index| match &self.signed {
            Some(signed) => Files::read(&self.published, index, size).checked(index, size, signed.source),
            None => self.unsigned(index),
        })
    }

    /// Entries of a page, without knowing whether they were signed.
    fn unsigned(&self, index: u64) -> Page {
        match self.published.bundle(index, self.size) {
            Ok(entries) => {
                Page { entries: (index * TILE_WIDTH..).zip(entries).collect(), damage: Vec::new() }
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
    fn leaves(&self, source: Source) -> Option<Vec<Digest>> {
        let of_entries = self.entries.as_ref().ok().map(|entries| leaves_of(entries));
        let of_tile = self.tile.as_ref().ok().cloned();
        match source {
            Source::Tiles => of_tile.or(of_entries),
            Source::Bundles => of_entries.or(of_tile),
        }
    }

    /// The entries that were signed, and what is wrong with either file.
    fn checked(self, index: u64, size: u64, source: Source) -> Page {
        let Some(leaves) = self.leaves(source) else {
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

/// The checkpoint in the archive, or what is wrong with it; none if nothing was published yet.
fn read_checkpoint(
    published: &Published,
    believed: &Believed,
) -> anyhow::Result<Result<Option<Candidate>, String>> {
    let again = "; the service will publish it again";
    let Some(bytes) = published.file("checkpoint")? else {
        let is_gone = published.bundled_size(0)? > 0;
        return Ok(if is_gone { Err(format!("it is gone{again}")) } else { Ok(None) });
    };
    let text = String::from_utf8_lossy(&bytes);
    if let Some((checkpoint, trust)) = believed.judge(&text) {
        let mut keys = believed.signers(&text, &checkpoint.origin);
        if trust == Trust::Witness {
            keys.extend(signers(&text, published.keys()?));
        }
        return Ok(Ok(Some(Candidate { checkpoint, keys, trust })));
    }
    match published.checkpoint(&published.keys()?) {
        Ok(_) if believed.has_key() => Err(CannotRebuild::OthersLedger.into()),
        // No key is left that could show to whom it belongs.
        Ok(found) => Ok(Ok(found.map(|(checkpoint, _)| Candidate {
            checkpoint,
            keys: Vec::new(),
            trust: Trust::None,
        }))),
        Err(PublishedError::Archive(error)) => Err(error.into()),
        Err(PublishedError::Damaged { error, .. }) => Ok(Err(format!("{error}{again}"))),
        Err(error) => Ok(Err(error.to_string())),
    }
}

impl Candidate {
    /// What was signed, if the published files come to its root.
    fn found_in(self, published: &Published) -> Option<Signed> {
        let Self { checkpoint, keys, trust } = self;
        let sources = [Source::Tiles, Source::Bundles];
        let mut trees = sources.map(|_| Some(Frontier::default()));
        let mut full = Vec::new();
        for index in 0..checkpoint.size.div_ceil(TILE_WIDTH) {
            let files = Files::read(published, index, checkpoint.size);
            for (tree, source) in trees.iter_mut().zip(sources) {
                match (files.leaves(source), &mut *tree) {
                    (Some(leaves), Some(tree)) => {
                        leaves.into_iter().for_each(|leaf| tree.push(leaf, &mut full))
                    }
                    (None, tree) => *tree = None,
                    (Some(_), None) => {}
                }
            }
            full.clear();
            // Whatever its size: the search ends where the files end.
            if trees.iter().all(Option::is_none) {
                return None;
            }
        }
        let is_signed = |tree: &Frontier| tree.size() == checkpoint.size && tree.root() == checkpoint.root;
        let mut found = trees.into_iter().zip(sources);
        let (frontier, source) = found.find_map(|(tree, source)| Some((tree.filter(is_signed)?, source)))?;
        Some(Signed { origin: checkpoint.origin, frontier, keys, trust, source })
    }
}

fn leaves_of(entries: &[Vec<u8>]) -> Vec<Digest> {
    entries.iter().map(|entry| leaf_hash(entry)).collect()
}

fn other_content(path: &str) -> Damage {
    Damage::of("", name(path), format!("its content is not what was signed: {RESTORE}"))
}

fn damage_of(error: &PublishedError) -> Damage {
    match error {
        PublishedError::Missing(path) => Damage::of("", name(path), format!("it is gone: {RESTORE}")),
        PublishedError::Damaged { path, error } => Damage::of("", name(path), format!("{error}: {RESTORE}")),
        PublishedError::TooLarge { path, .. } => Damage::of("", name(path), error.to_string()),
        error => Damage::of("", FOLDER, error.to_string()),
    }
}

fn name(path: &str) -> String {
    format!("{FOLDER}/{path}")
}
