//! The check that the owner of the ledger makes: he knows all entries, so he can name each file that is not what it was,
//! also those that no checkpoint needs any more.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use super::check::{Damage, KnownLeaves, NoLeaves, Wrong};
use super::{CHECKPOINT, FOLDER, Notary, Published};
use crate::archive::{ArchiveError, Shelf};
use crate::digest::Digest;
use crate::ledger::{self, Signed};
use crate::tlog::{Frontier, TILE_WIDTH, Tile, VerifyingKey, entries_of_bundle, leaf_hash};

/// What a check of the published ledger came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Files that are not as they should be.
    pub damages: Vec<Damage>,
    /// How many files were looked at.
    pub files: u64,
    /// Whether the entries in the database are not those that were signed. Then files are compared among themselves only.
    pub database_is_other: bool,
}

/// What the files are compared with.
struct Known {
    keys: Vec<VerifyingKey>,
    signed: Option<Signed>,
    leaves: Vec<Digest>,
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
        let leaves = ledger::leaf_hashes(&mut db, size).await?;
        drop(db);
        let (shelf, known) = (self.shelf.clone(), Known { keys, signed, leaves });
        let checked = tokio::task::spawn_blocking(move || check(&shelf, known)).await;
        drop(sealer);
        Ok(checked.context("checking the published ledger")??)
    }
}

fn check(shelf: &Arc<Shelf>, known: Known) -> Result<Checked, ArchiveError> {
    let Known { keys, signed, leaves } = known;
    // Opened anew: an open folder stays readable when another one was put in its place.
    let root = shelf.path().parent().unwrap_or(Path::new("/"));
    let (Some(published), Some(shelf)) = (Published::open(root)?, Shelf::open_to_read(root, FOLDER)?) else {
        let damages = vec![wrong("checkpoint", Wrong::Missing, "is gone, with all of the published ledger")];
        return Ok(Checked { damages, ..Checked::default() });
    };
    let expected = signed.map(|signed| (signed.size, signed.root));
    let tree = Tree::of(leaves);
    let is_ours = signed.is_none_or(|signed| tree.root_at(signed.size) == Some(signed.root));
    let found = match is_ours {
        true => published.check(&keys, expected, &mut KnownLeaves(tree.leaves.clone()))?,
        false => published.check(&keys, expected, &mut NoLeaves)?,
    };
    let mut damages: BTreeSet<Damage> = found.into_iter().collect();
    let files = shelf.files()?;
    check_keys(&shelf, &keys, &files, &mut damages)?;
    let alone = files.iter().filter(|path| !path.contains('/') && *path != CHECKPOINT && !is_aside(path));
    damages.extend(alone.map(|path| wrong(path, Wrong::Unlisted, "is no file of the ledger")));
    for path in files.iter().filter(|path| is_ours && path.starts_with("tile/") && !is_aside(path)) {
        if damages.iter().all(|damage| damage.path != *path) {
            damages.extend(tree.judge(path, || shelf.read(path))?);
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

/// The public keys: each as verifiers take it, and no other beside them that somebody might believe.
fn check_keys(
    shelf: &Shelf,
    keys: &[VerifyingKey],
    files: &[String],
    damages: &mut BTreeSet<Damage>,
) -> Result<(), ArchiveError> {
    let mut ours = BTreeSet::new();
    for key in keys {
        let vkey = (format!("keys/{}.vkey", key.id()), format!("{}\n", key.to_vkey()));
        for (path, text) in [vkey, (format!("keys/{}.pem", key.id()), key.to_pem())] {
            match shelf.read(&path)? {
                Some(there) if there == text.as_bytes() => {}
                Some(_) => drop(damages.insert(wrong(&path, Wrong::Altered, "is not the key that it was"))),
                None => drop(damages.insert(wrong(&path, Wrong::Missing, "is gone"))),
            }
            ours.insert(path);
        }
    }
    let others =
        files.iter().filter(|path| path.starts_with("keys/") && !ours.contains(*path) && !is_aside(path));
    damages.extend(others.map(|path| wrong(path, Wrong::Unlisted, "is no key of this ledger")));
    Ok(())
}

fn wrong(path: &str, wrong: Wrong, what: &str) -> Damage {
    Damage { path: path.to_owned(), wrong, what: what.to_owned() }
}

/// All hashes that tiles can hold.
struct Tree {
    leaves: Vec<Digest>,
    /// Of the levels above the leaves, by level and index.
    upper: HashMap<(u32, u64), Vec<Digest>>,
}

impl Tree {
    fn of(leaves: Vec<Digest>) -> Self {
        let (mut frontier, mut full) = (Frontier::default(), Vec::new());
        let mut upper = HashMap::new();
        for leaf in &leaves {
            frontier.push(*leaf, &mut full);
            upper.extend(
                full.drain(..)
                    .filter(|(tile, _)| tile.level > 0)
                    .map(|(tile, hashes)| ((tile.level, tile.index), hashes)),
            );
        }
        let partial = frontier.partial_tiles().filter(|(tile, _)| tile.level > 0);
        upper.extend(partial.map(|(tile, hashes)| ((tile.level, tile.index), hashes.to_vec())));
        Self { leaves, upper }
    }

    /// The root of the first `size` leaves, if there are as many.
    fn root_at(&self, size: u64) -> Option<Digest> {
        let (mut frontier, mut full) = (Frontier::default(), Vec::new());
        for leaf in self.leaves.get(..usize::try_from(size).ok()?)? {
            frontier.push(*leaf, &mut full);
            full.clear();
        }
        Some(frontier.root())
    }

    /// The first `width` hashes of a tile.
    fn hashes(&self, level: u32, index: u64, width: u64) -> Option<&[Digest]> {
        let width = usize::try_from(width).ok()?;
        match level {
            0 => {
                let from = usize::try_from(index.checked_mul(TILE_WIDTH)?).ok()?;
                self.leaves.get(from..from.checked_add(width)?)
            }
            _ => self.upper.get(&(level, index))?.get(..width),
        }
    }

    /// What is wrong with a file among the tiles. Only one that has the name of a tile is read.
    fn judge(
        &self,
        path: &str,
        read: impl FnOnce() -> Result<Option<Vec<u8>>, ArchiveError>,
    ) -> Result<Option<Damage>, ArchiveError> {
        let expected = parse(path).and_then(|(level, index, width)| {
            let hashes = self.hashes(level.unwrap_or(0), index, width)?;
            Some((level, width, hashes))
        });
        let Some((level, width, hashes)) = expected else {
            return Ok(Some(wrong(path, Wrong::Unlisted, "is no tile of this ledger")));
        };
        let bytes = read()?.unwrap_or_default();
        let is_right = match level {
            Some(_) => bytes == Tile::to_bytes(hashes),
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
        None => crate::tlog::path_of_bundle(index, width),
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
