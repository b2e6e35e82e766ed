//! Compares the published ledger with what was signed, file by file: as an auditor, who has these files only, and as the
//! owner, who knows all entries and so names every altered file, also those that no checkpoint needs any more.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime::Handle;

use super::keys::key_files;
use super::published::larger_than;
use super::{CHECKPOINT, FOLDER, Notary, Published, PublishedError, bytes_max, key};
use crate::archive::area::files;
use crate::archive::{ArchiveError, Area, Key, Reader};
use crate::base::blocking::on_thread;
use crate::base::digest::Digest;
use crate::formats::tlog::{
    Checkpoint, Frontier, TILE_WIDTH, Tile, VerifyingKey, entries_of_bundle, leaf_hash, path_of_bundle,
};
use crate::store::ledger::{self, Signed};

/// One file of the published ledger that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    pub path: String,
    pub wrong: Wrong,
    pub what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    Missing,
    Altered,
    /// callvault did not put it there.
    Unlisted,
    /// It is intact but from another time or history, or the database is.
    History,
}

/// Leaves that are read at one time: 128 KiB of hashes.
const LEAVES_AT_ONCE: u64 = 4096;

/// Reads so many leaves from a number on, and fewer at the end.
type ReadLeaves<'a> = Box<dyn FnMut(u64, u64) -> anyhow::Result<Vec<Digest>> + Send + 'a>;

/// What a check compares the published files with, a page of 256 leaves at a time.
pub struct Leaves<'a> {
    read: Option<ReadLeaves<'a>>,
    /// What was read last, and its first number.
    held: (u64, Vec<Digest>),
}

impl fmt::Debug for Leaves<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaves").field("from", &self.held.0).finish_non_exhaustive()
    }
}

impl<'a> Leaves<'a> {
    /// Nothing but the published files: what an auditor has.
    pub fn unknown() -> Self {
        Self { read: None, held: (0, Vec::new()) }
    }

    /// The leaves as the database has them. However many there are, 4096 of them are held.
    pub fn stored(read: impl FnMut(u64, u64) -> anyhow::Result<Vec<Digest>> + Send + 'a) -> Self {
        Self { read: Some(Box::new(read)), ..Self::unknown() }
    }

    /// The hashes of the leaves from `index * 256` on, as many as a ledger of `size` has there; `None` if this is not known
    /// here, and the bundle itself is to be believed.
    fn page(&mut self, index: u64, size: u64) -> anyhow::Result<Option<Vec<Digest>>> {
        let first = index.checked_mul(TILE_WIDTH).filter(|first| *first < size);
        let (Some(read), Some(first)) = (&mut self.read, first) else { return Ok(None) };
        let last = size.min(first + TILE_WIDTH);
        let from = first / LEAVES_AT_ONCE * LEAVES_AT_ONCE;
        if self.held.0 != from || from + (self.held.1.len() as u64) < last {
            self.held = (from, read(from, LEAVES_AT_ONCE)?);
        }
        let place = |number: u64| usize::try_from(number - from);
        Ok(self.held.1.get(place(first)?..place(last)?).map(<[Digest]>::to_vec))
    }
}

impl Damage {
    fn new(path: &str, wrong: Wrong, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), wrong, what: what.into() }
    }

    fn altered(path: &str, what: impl Into<String>) -> Self {
        Self::new(path, Wrong::Altered, what)
    }

    fn gone(path: &str) -> Self {
        Self::new(path, Wrong::Missing, "is gone")
    }
}

impl Published {
    /// Reads every file that the checkpoint needs, and names each that is missing or altered. Without known leaves it can
    /// only say that a bundle and its tile disagree. `expected` is what was signed last, if that is known.
    pub fn check(
        &self,
        keys: &[VerifyingKey],
        expected: Option<(u64, Digest)>,
        leaves: &mut Leaves<'_>,
    ) -> anyhow::Result<Vec<Damage>> {
        let mut checking = Checking { published: self, damages: BTreeSet::new() };
        let checkpoint = match self.checkpoint(keys) {
            Ok(checkpoint) => checkpoint.map(|(checkpoint, _)| checkpoint),
            Err(error) => checking.note(error).map(|()| None)?,
        };
        if checking.damages.is_empty() {
            checking.damages.extend(compare(checkpoint.as_ref(), expected));
        }
        if checking.damages.is_empty() && checkpoint.is_none() && self.has_tiles()? {
            checking.damages.insert(Damage::gone(CHECKPOINT));
        }
        let signed = expected.or(checkpoint.map(|Checkpoint { size, root, .. }| (size, root)));
        if let Some((size, root)) = signed {
            let computed = checking.check_files(size, leaves)?;
            if checking.damages.is_empty() && computed != root {
                let what = "its root is not the root over the entries";
                checking.damages.insert(Damage::altered(CHECKPOINT, what));
            }
        }
        Ok(checking.damages.into_iter().collect())
    }
}

/// A check of the files that a checkpoint needs, and what is wrong with them.
struct Checking<'a> {
    published: &'a Published,
    damages: BTreeSet<Damage>,
}

impl Checking<'_> {
    /// Checks bundles and tiles of a ledger of `size`; the root that they come to.
    fn check_files(&mut self, size: u64, leaves: &mut Leaves<'_>) -> anyhow::Result<Digest> {
        let (mut frontier, mut full) = (Frontier::default(), Vec::new());
        for index in 0..size.div_ceil(TILE_WIDTH) {
            let known = leaves.page(index, size)?;
            let bundle = match self.published.bundle(index, size) {
                Ok(entries) => Some(entries.iter().map(|entry| leaf_hash(entry)).collect()),
                Err(error) => self.note(error).map(|()| None)?,
            };
            if let (Some(known), Some(bundle)) = (&known, &bundle)
                && known != bundle
            {
                let path = path_of_bundle(index, TILE_WIDTH.min(size - index * TILE_WIDTH));
                self.damages.insert(Damage::altered(&path, "has other entries"));
            }
            let Some(page) = known.or(bundle) else { return Ok(Digest::of([])) };
            page.into_iter().for_each(|leaf| frontier.push(leaf, &mut full));
            for (tile, hashes) in full.drain(..) {
                self.check_tile(tile, &hashes)?;
            }
        }
        for (tile, hashes) in frontier.partial_tiles() {
            self.check_tile(tile, hashes)?;
        }
        Ok(frontier.root())
    }

    fn check_tile(&mut self, tile: Tile, hashes: &[Digest]) -> Result<(), ArchiveError> {
        match self.published.tile(tile) {
            Ok(there) if there == hashes => {}
            Ok(_) => {
                let what = "holds other hashes than its entries have";
                self.damages.insert(Damage::altered(&tile.path(), what));
            }
            Err(error) => self.note(error)?,
        }
        Ok(())
    }

    fn note(&mut self, error: PublishedError) -> Result<(), ArchiveError> {
        self.damages.insert(match error {
            PublishedError::Archive(error) => return Err(error),
            PublishedError::Missing(path) => Damage::gone(&path),
            PublishedError::Damaged { path, error } => Damage::altered(&path, error.to_string()),
            PublishedError::TooLarge { path, bytes_max } => Damage::altered(&path, larger_than(bytes_max)),
            PublishedError::NotYet { .. } => return Ok(()),
        });
        Ok(())
    }
}

fn compare(checkpoint: Option<&Checkpoint>, expected: Option<(u64, Digest)>) -> Option<Damage> {
    let (size, root) = expected?;
    let what = match checkpoint {
        None => return Some(Damage::gone(CHECKPOINT)),
        Some(there) if there.size < size => {
            format!("is older than the last one that was signed: {} entries of {size}", there.size)
        }
        Some(there) if there.size > size => {
            format!("is of {} entries; the database knows of {size} only", there.size)
        }
        Some(there) if there.root != root => "is of another history".to_owned(),
        Some(_) => return None,
    };
    Some(Damage::new(CHECKPOINT, Wrong::History, what))
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    pub damages: Vec<Damage>,
    pub files: u64,
    /// Whether the entries in the database are not those that were signed. Then files are compared among themselves only.
    pub database_is_other: bool,
}

struct Known {
    keys: Vec<VerifyingKey>,
    signed: Option<Signed>,
    size: u64,
}

impl Notary {
    /// Checks every file of the published ledger. Nothing is sealed meanwhile.
    pub async fn check(&self) -> anyhow::Result<Checked> {
        let sealer = self.sealer.lock().await;
        let keys = self.keys.lock().await.known.clone();
        let mut db = self.db.read().await?;
        let signed = ledger::latest_checkpoint(&mut db).await?;
        let size = ledger::size(&mut db).await?;
        drop(db);
        let (area, known) = (self.area.clone(), Known { keys, signed, size });
        let (db, runtime) = (self.db.clone(), Handle::current());
        let leaves = Leaves::stored(move |from, limit| {
            runtime.block_on(async { ledger::leaf_hashes(&mut *db.read().await?, from, limit).await })
        });
        let checked = on_thread(move || check(&area, &known, leaves)).await;
        drop(sealer);
        checked.context("checking the published ledger")?
    }
}

fn check(area: &Area, known: &Known, leaves: Leaves<'_>) -> anyhow::Result<Checked> {
    let Known { keys, signed, size } = known;
    // Opened again: an open folder stays readable after another one took its place.
    let reader: Option<Arc<dyn Reader>> = area.root_reader()?.map(|disk| Arc::new(disk) as _);
    let published = reader.clone().map(Published::of).transpose()?.flatten();
    let (Some(published), Some(reader)) = (published, reader) else {
        let damages =
            vec![Damage::new(CHECKPOINT, Wrong::Missing, "is missing, with the whole published ledger")];
        return Ok(Checked { damages, ..Checked::default() });
    };
    let expected = signed.as_ref().map(|signed| (signed.size, signed.root));
    let mut tree = Tree::of(leaves, *size, expected.map_or(0, |(size, _)| size))?;
    let is_ours = expected.is_none_or(|(_, root)| tree.signed_root == Some(root));
    let leaves = if is_ours { &mut tree.leaves } else { &mut Leaves::unknown() };
    let mut damages = BTreeSet::from_iter(published.check(keys, expected, leaves)?);
    let below = |key: &Key| Some(key.to_string().strip_prefix(FOLDER)?.strip_prefix('/')?.to_owned());
    let files: Vec<String> = files(&*reader, FOLDER)?.iter().filter_map(below).collect();
    check_keys(&*reader, keys, &files, &mut damages)?;
    let alone = files.iter().filter(|path| !path.contains('/') && *path != CHECKPOINT && !is_aside(path));
    damages.extend(alone.map(|path| Damage::new(path, Wrong::Unlisted, "is no file of the ledger")));
    let mut tiles: Vec<&String> =
        files.iter().filter(|path| is_ours && path.starts_with("tile/") && !is_aside(path)).collect();
    // In the order of the leaves, so that each of these is read once.
    tiles.sort_by_key(|path| parse(path).map(|(level, index, _)| (level.unwrap_or(0), index)));
    for path in tiles {
        if damages.iter().all(|damage| damage.path != *path) {
            damages.extend(tree.judge(path, || reader.read(&key(path)?, bytes_max(path)))?);
        }
    }
    let (files, damages) = (files.len() as u64, damages.into_iter().collect());
    Ok(Checked { damages, files, database_is_other: !is_ours })
}

/// A file that we moved aside ourselves.
fn is_aside(path: &str) -> bool {
    path.rsplit_once('~').is_some_and(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The public keys: each must be as verifiers read it, and no other key may be beside them.
fn check_keys(
    reader: &dyn Reader,
    keys: &[VerifyingKey],
    files: &[String],
    damages: &mut BTreeSet<Damage>,
) -> Result<(), ArchiveError> {
    let mut ours = BTreeSet::new();
    for (path, text) in keys.iter().flat_map(key_files) {
        let found = match reader.read(&key(&path)?, text.len() as u64) {
            Ok(Some(there)) if there == text.as_bytes() => None,
            Ok(Some(_)) | Err(ArchiveError::TooLarge { .. }) => {
                Some((Wrong::Altered, "is not the key that it was"))
            }
            Ok(None) => Some((Wrong::Missing, "is gone")),
            Err(error) => return Err(error),
        };
        damages.extend(found.map(|(class, what)| Damage::new(&path, class, what)));
        ours.insert(path);
    }
    let others =
        files.iter().filter(|path| path.starts_with("keys/") && !ours.contains(*path) && !is_aside(path));
    damages.extend(others.map(|path| Damage::new(path, Wrong::Unlisted, "is no key of this ledger")));
    Ok(())
}

/// All hashes that tiles can hold. Of the leaves, which are the most by far, a few are held at a time.
struct Tree<'a> {
    leaves: Leaves<'a>,
    size: u64,
    /// Of the levels above the leaves, by level and index: one hash for each 255 leaves.
    upper: HashMap<(u32, u64), Vec<Digest>>,
    /// The root of as many leaves as were signed; none if there are fewer.
    signed_root: Option<Digest>,
}

impl<'a> Tree<'a> {
    /// The tree of `size` leaves, of which `signed` were signed.
    fn of(mut leaves: Leaves<'a>, size: u64, signed: u64) -> anyhow::Result<Self> {
        let (mut frontier, mut full) = (Frontier::default(), Vec::new());
        let mut upper = HashMap::new();
        let mut signed_root = (signed == 0).then(|| frontier.root());
        for index in 0..size.div_ceil(TILE_WIDTH) {
            let Some(page) = leaves.page(index, size)? else { break };
            for leaf in page {
                frontier.push(leaf, &mut full);
                upper.extend(
                    full.drain(..)
                        .filter(|(tile, _)| tile.level > 0)
                        .map(|(tile, hashes)| ((tile.level, tile.index), hashes)),
                );
                if frontier.size() == signed {
                    signed_root = Some(frontier.root());
                }
            }
        }
        let partial = frontier.partial_tiles().filter(|(tile, _)| tile.level > 0);
        upper.extend(partial.map(|(tile, hashes)| ((tile.level, tile.index), hashes.to_vec())));
        Ok(Self { leaves, size, upper, signed_root })
    }

    /// What is wrong with a file among the tiles. Only one that has the name of a tile is read.
    fn judge(
        &mut self,
        path: &str,
        read: impl FnOnce() -> Result<Option<Vec<u8>>, ArchiveError>,
    ) -> anyhow::Result<Option<Damage>> {
        let unlisted = || Ok(Some(Damage::new(path, Wrong::Unlisted, "is no tile of this ledger")));
        let Some((level, index, width)) = parse(path) else { return unlisted() };
        let row = match level {
            None | Some(0) => self.leaves.page(index, self.size)?,
            Some(level) => self.upper.get(&(level, index)).cloned(),
        };
        let row = row.unwrap_or_default();
        let Some(hashes) = row.get(..usize::try_from(width)?) else { return unlisted() };
        let bytes = match read() {
            Err(ArchiveError::TooLarge { bytes_max, .. }) => {
                return Ok(Some(Damage::altered(path, larger_than(bytes_max))));
            }
            bytes => bytes?.unwrap_or_default(),
        };
        let is_right = match level {
            Some(_) => bytes == Tile::to_bytes(hashes),
            None => entries_of_bundle(&bytes, width)
                .is_ok_and(|entries| entries.into_iter().map(leaf_hash).eq(hashes.iter().copied())),
        };
        Ok((!is_right).then(|| Damage::altered(path, "is not what it was")))
    }
}

/// Level (none of a bundle), index and width of a tile's path, as C2SP tlog-tiles has it.
fn parse(path: &str) -> Option<(Option<u32>, u64, u64)> {
    let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let level = if level == "entries" { None } else { Some(level.parse().ok()?) };
    let (number, width) = match rest.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok()?),
        None => (rest, TILE_WIDTH),
    };
    let mut index: u64 = 0;
    for part in number.split('/') {
        let part: u64 = part.strip_prefix('x').unwrap_or(part).parse().ok().filter(|part| *part < 1000)?;
        index = index.checked_mul(1000)?.checked_add(part)?;
    }
    // Only as we write it.
    let written = match level {
        Some(level) => Tile { level, index, width }.path(),
        None => path_of_bundle(index, width),
    };
    (written == path && width > 0 && width <= TILE_WIDTH).then_some((level, index, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_leaves_are_held_however_many_there_are() {
        let leaf = |number: u64| Digest::of(number.to_be_bytes());
        let (size, mut reads) = (3 * LEAVES_AT_ONCE + 300, Vec::new());
        let mut leaves = Leaves::stored(|from, limit| {
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
        drop(leaves);
        let at = |chunk: u64| (chunk * LEAVES_AT_ONCE, LEAVES_AT_ONCE);
        assert_eq!(reads, [at(0), at(1), at(2), at(3), at(0), at(3)]);
    }

    #[test]
    fn a_path_is_read_only_as_it_is_written() {
        assert_eq!(parse("tile/0/x001/234.p/5"), Some((Some(0), 1234, 5)));
        assert_eq!(parse("tile/entries/007"), Some((None, 7, 256)));
        for other in
            ["tile/0/7", "tile/0/007.p/0", "tile/0/007.p/257", "tile/00/007", "tile/a/007", "tile/0/007.p/05"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
