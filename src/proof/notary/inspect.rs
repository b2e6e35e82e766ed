//! The check by the owner of the ledger: it knows all entries, so it names every altered file, also those that no
//! checkpoint needs any more.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime::Handle;

use super::check::{Damage, Leaves, NoLeaves, StoredLeaves, Wrong};
use super::keys::key_files;
use super::published::{bytes_max, larger_than};
use super::{CHECKPOINT, FOLDER, Notary, Published, key};
use crate::archive::area::files;
use crate::archive::{ArchiveError, Area, Key, Reader};
use crate::base::blocking::on_thread;
use crate::base::digest::Digest;
use crate::formats::tlog::{Frontier, TILE_WIDTH, Tile, VerifyingKey, entries_of_bundle, leaf_hash};
use crate::store::ledger::{self, Signed};

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
    /// Entries in the database.
    size: u64,
}

impl Notary {
    /// Checks every file of the published ledger. Nothing is sealed meanwhile.
    ///
    /// # Errors
    /// If the folder cannot be read at all, and whatever the database says.
    pub async fn check(&self) -> anyhow::Result<Checked> {
        let sealer = self.sealer.lock().await;
        let keys = self.keys.lock().await.known().to_vec();
        let mut db = self.db.read().await?;
        let signed = ledger::latest_checkpoint(&mut db).await?;
        let size = ledger::size(&mut db).await?;
        drop(db);
        let (area, known) = (self.area.clone(), Known { keys, signed, size });
        let (db, runtime) = (self.db.clone(), Handle::current());
        let leaves = StoredLeaves::new(move |from, limit| {
            runtime.block_on(async { ledger::leaf_hashes(&mut *db.read().await?, from, limit).await })
        });
        let checked = on_thread(move || check(&area, &known, leaves)).await;
        drop(sealer);
        checked.context("checking the published ledger")?
    }
}

fn check(area: &Area, known: &Known, leaves: impl Leaves) -> anyhow::Result<Checked> {
    let Known { keys, signed, size } = known;
    // Opened again: an open folder stays readable after another one took its place.
    let reader: Option<Arc<dyn Reader>> = area.root_reader()?.map(|disk| Arc::new(disk) as _);
    let published = reader.clone().map(Published::of).transpose()?.flatten();
    let (Some(published), Some(reader)) = (published, reader) else {
        let damages =
            vec![wrong("checkpoint", Wrong::Missing, "is missing, with the whole published ledger")];
        return Ok(Checked { damages, ..Checked::default() });
    };
    let expected = signed.as_ref().map(|signed| (signed.size, signed.root));
    let mut tree = Tree::of(leaves, *size, expected.map_or(0, |(size, _)| size))?;
    let is_ours = expected.is_none_or(|(_, root)| tree.signed_root == Some(root));
    let found = match is_ours {
        true => published.check(keys, expected, &mut tree.leaves)?,
        false => published.check(keys, expected, &mut NoLeaves)?,
    };
    let mut damages: BTreeSet<Damage> = found.into_iter().collect();
    let below = |key: &Key| Some(key.to_string().strip_prefix(FOLDER)?.strip_prefix('/')?.to_owned());
    let files: Vec<String> = files(&*reader, FOLDER)?.iter().filter_map(below).collect();
    check_keys(&*reader, keys, &files, &mut damages)?;
    let alone = files.iter().filter(|path| !path.contains('/') && *path != CHECKPOINT && !is_aside(path));
    damages.extend(alone.map(|path| wrong(path, Wrong::Unlisted, "is no file of the ledger")));
    let mut tiles: Vec<&String> =
        files.iter().filter(|path| is_ours && path.starts_with("tile/") && !is_aside(path)).collect();
    // In the order of the leaves, so that each of these is read once.
    tiles.sort_by_key(|path| parse(path).map(|(level, index, _)| (level.unwrap_or(0), index)));
    for path in tiles {
        if damages.iter().all(|damage| damage.path != *path) {
            damages.extend(tree.judge(path, || reader.read(&key(path)?, bytes_max(path)))?);
        }
    }
    let mut checked = Checked { files: files.len() as u64, database_is_other: !is_ours, damages: Vec::new() };
    checked.damages.extend(damages);
    Ok(checked)
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
        damages.extend(found.map(|(class, what)| wrong(&path, class, what)));
        ours.insert(path);
    }
    let others =
        files.iter().filter(|path| path.starts_with("keys/") && !ours.contains(*path) && !is_aside(path));
    damages.extend(others.map(|path| wrong(path, Wrong::Unlisted, "is no key of this ledger")));
    Ok(())
}

fn wrong(path: &str, wrong: Wrong, what: &str) -> Damage {
    Damage { path: path.to_owned(), wrong, what: what.to_owned() }
}

/// All hashes that tiles can hold. Of the leaves, which are the most by far, a few are held at a time.
struct Tree<L> {
    leaves: L,
    size: u64,
    /// Of the levels above the leaves, by level and index: one hash for each 255 leaves.
    upper: HashMap<(u32, u64), Vec<Digest>>,
    /// The root of as many leaves as were signed; none if there are fewer.
    signed_root: Option<Digest>,
}

impl<L: Leaves> Tree<L> {
    /// The tree of `size` leaves, of which `signed` were signed.
    fn of(mut leaves: L, size: u64, signed: u64) -> anyhow::Result<Self> {
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

    /// The first `width` hashes of a tile.
    fn hashes(&mut self, level: u32, index: u64, width: u64) -> anyhow::Result<Option<Vec<Digest>>> {
        let row = match level {
            0 => self.leaves.page(index, self.size)?,
            _ => self.upper.get(&(level, index)).cloned(),
        };
        let width = usize::try_from(width)?;
        Ok(row.filter(|row| row.len() >= width).map(|mut row| {
            row.truncate(width);
            row
        }))
    }

    /// What is wrong with a file among the tiles. Only one that has the name of a tile is read.
    fn judge(
        &mut self,
        path: &str,
        read: impl FnOnce() -> Result<Option<Vec<u8>>, ArchiveError>,
    ) -> anyhow::Result<Option<Damage>> {
        let unlisted = || Ok(Some(wrong(path, Wrong::Unlisted, "is no tile of this ledger")));
        let Some((level, index, width)) = parse(path) else { return unlisted() };
        let Some(hashes) = self.hashes(level.unwrap_or(0), index, width)? else { return unlisted() };
        let bytes = match read() {
            Err(ArchiveError::TooLarge { bytes_max, .. }) => {
                return Ok(Some(wrong(path, Wrong::Altered, &larger_than(bytes_max))));
            }
            bytes => bytes?.unwrap_or_default(),
        };
        let is_right = match level {
            Some(_) => bytes == Tile::to_bytes(&hashes),
            None => entries_of_bundle(&bytes, width)
                .is_ok_and(|entries| entries.into_iter().map(leaf_hash).eq(hashes.iter().copied())),
        };
        Ok((!is_right).then(|| wrong(path, Wrong::Altered, "is not what it was")))
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
        None => crate::formats::tlog::path_of_bundle(index, width),
    };
    (written == path && width > 0 && width <= TILE_WIDTH).then_some((level, index, width))
}

#[cfg(test)]
mod tests {
    use super::*;

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
