//! Tiles: the tree's hashes and the entries, cut into files that never change (C2SP tlog-tiles); and the right edge of a
//! growing tree, from which the next tiles are cut.

use crate::base::digest::Digest;
use crate::formats::tlog::{TlogError, malformed, node_hash, tree_hash};

/// Levels of the tree in one tile.
pub const TILE_HEIGHT: u32 = 8;
/// Hashes, or entries, in a full tile.
pub const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;

/// Where a tile is: the hashes of the subtrees of height `8 * level` from `index * 256` on, `width` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    pub level: u32,
    pub index: u64,
    /// How many hashes it holds, 1 to 256.
    pub width: u64,
}

impl Tile {
    /// Its path below the ledger's folder: `tile/<L>/<N>[.p/<W>]`.
    pub fn path(&self) -> String {
        format!("tile/{}/{}{}", self.level, number_path(self.index), partial_suffix(self.width))
    }

    /// All tiles of a tree of `size` leaves, level by level.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        (0..u64::BITS / TILE_HEIGHT)
            .map(move |level| (level, size >> (TILE_HEIGHT * level)))
            .take_while(|(_, hashes)| *hashes > 0)
            .flat_map(|(level, hashes)| {
                let full = hashes / TILE_WIDTH;
                let widths = (0..full).map(|index| (index, TILE_WIDTH));
                let partial = Some((full, hashes % TILE_WIDTH)).filter(|(_, width)| *width > 0);
                widths.chain(partial).map(move |(index, width)| Self { level, index, width })
            })
    }

    /// The tile that holds the hash of a subtree of this height and index in a tree of `size` leaves, and the places in
    /// it over which that hash is.
    pub fn of_subtree(height: u32, index: u64, size: u64) -> (Self, std::ops::Range<usize>) {
        let (level, rest) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
        let first = index << rest;
        let tile = first / TILE_WIDTH;
        let hashes = size >> (TILE_HEIGHT * level);
        let width = (hashes - tile * TILE_WIDTH).min(TILE_WIDTH);
        let from = usize::try_from(first % TILE_WIDTH).expect("it is below 256");
        (Self { level, index: tile, width }, from..from + (1 << rest))
    }

    pub fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Its content: hash after hash.
    pub fn to_bytes(hashes: &[Digest]) -> Vec<u8> {
        hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
    }

    pub fn read(&self, bytes: &[u8]) -> Result<Vec<Digest>, TlogError> {
        let hashes: Vec<Digest> = bytes.chunks(32).filter_map(|hash| Digest::try_from(hash).ok()).collect();
        if bytes.len() as u64 != self.width * 32 || hashes.len() as u64 != self.width {
            return Err(malformed("tile", "it has another size than its name says"));
        }
        Ok(hashes)
    }
}

/// The path of the bundle that holds `width` entries from `index * 256` on, below the ledger's folder.
pub fn path_of_bundle(index: u64, width: u64) -> String {
    format!("tile/entries/{}{}", number_path(index), partial_suffix(width))
}

/// A bundle of entries: each with its length before it, 16 bits, big-endian.
///
/// # Panics
/// If an entry is longer than 65,535 bytes: the ledger bounds its entries far below.
pub fn bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).expect("entries of the ledger are at most 4 KiB");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    bytes
}

/// The entries of a bundle that should hold `width`.
pub fn entries_of_bundle(mut bytes: &[u8], width: u64) -> Result<Vec<&[u8]>, TlogError> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let entry = rest.get(..length).ok_or(malformed("bundle of entries", "it ends within one"))?;
        entries.push(entry);
        bytes = &rest[length..];
        if entries.len() as u64 > width {
            break;
        }
    }
    match bytes.is_empty() && entries.len() as u64 == width {
        true => Ok(entries),
        false => Err(malformed("bundle of entries", "it holds another number than its name says")),
    }
}

/// `1234067` is `x001/x234/067`.
fn number_path(number: u64) -> String {
    let mut path = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

fn partial_suffix(width: u64) -> String {
    if width == TILE_WIDTH { String::new() } else { format!(".p/{width}") }
}

/// The right edge of a tree. 32 bytes for each hash of the last, unfinished tile of each level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// By level, the hashes of its unfinished tile.
    rows: Vec<Vec<Digest>>,
}

/// Bytes that are no frontier of a tree of that size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored edge of the ledger's tree does not fit its size")]
pub struct FrontierError;

impl Frontier {
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf. Tiles that are full now go to `full`, the lowest level first.
    pub fn push(&mut self, leaf: Digest, full: &mut Vec<(Tile, Vec<Digest>)>) {
        let mut hash = leaf;
        self.size += 1;
        for level in 0.. {
            if self.rows.len() == level {
                self.rows.push(Vec::new());
            }
            let row = &mut self.rows[level];
            row.push(hash);
            if (row.len() as u64) < TILE_WIDTH {
                return;
            }
            hash = tree_hash(row);
            let level = u32::try_from(level).expect("a tree has few levels");
            let index = (self.size >> (TILE_HEIGHT * (level + 1))) - 1;
            full.push((Tile { level, index, width: TILE_WIDTH }, std::mem::take(row)));
        }
    }

    /// The unfinished tiles, one for each level that has one.
    pub fn partial_tiles(&self) -> impl Iterator<Item = (Tile, &[Digest])> {
        (0u32..).zip(&self.rows).filter(|(_, row)| !row.is_empty()).map(|(level, row)| {
            // Above the highest level there is nothing.
            let index = self.size.checked_shr(TILE_HEIGHT * (level + 1)).unwrap_or(0);
            (Tile { level, index, width: row.len() as u64 }, &row[..])
        })
    }

    pub fn root(&self) -> Digest {
        // From right to left, each complete subtree is the left sibling of all that is right of it.
        let mut root: Option<Digest> = None;
        for row in &self.rows {
            for subtree in complete_subtrees(row).into_iter().rev() {
                root = Some(match root {
                    None => subtree,
                    Some(right) => node_hash(&subtree, &right),
                });
            }
        }
        root.unwrap_or_else(|| tree_hash(&[]))
    }

    /// All of it as bytes, hash after hash, the lowest level first: with the size they tell everything.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.rows.iter().flat_map(|row| Tile::to_bytes(row)).collect()
    }

    /// Reads what [`Frontier::to_bytes`] wrote of a tree of `size` leaves.
    pub fn from_bytes(size: u64, mut bytes: &[u8]) -> Result<Self, FrontierError> {
        let mut rows = Vec::new();
        let mut hashes = size;
        while hashes > 0 {
            let width = hashes % TILE_WIDTH;
            let (row, rest) = bytes.split_at_checked(width as usize * 32).ok_or(FrontierError)?;
            rows.push(match width {
                0 => Vec::new(),
                _ => Tile { level: 0, index: 0, width }.read(row).map_err(|_| FrontierError)?,
            });
            (bytes, hashes) = (rest, hashes / TILE_WIDTH);
        }
        if bytes.is_empty() { Ok(Self { size, rows }) } else { Err(FrontierError) }
    }
}

/// The roots of the complete subtrees over a row, the largest first.
fn complete_subtrees(mut row: &[Digest]) -> Vec<Digest> {
    let mut subtrees = Vec::new();
    while !row.is_empty() {
        let (complete, rest) = row.split_at(1 << row.len().ilog2());
        subtrees.push(tree_hash(complete));
        row = rest;
    }
    subtrees
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let path = |level, index, width| Tile { level, index, width }.path();
        assert_eq!(path(0, 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(path(2, 0, 1), "tile/2/000.p/1");
        assert_eq!(path_of_bundle(1000, 7), "tile/entries/x001/000.p/7");
    }

    #[test]
    fn a_tree_has_the_tiles_of_the_specifications_example() {
        let tiles: Vec<Tile> = Tile::all(70_000).collect();
        let full = |level| tiles.iter().filter(|tile| tile.level == level && tile.is_full()).count();
        let partial = |level| tiles.iter().find(|tile| tile.level == level && !tile.is_full());
        assert_eq!((full(0), partial(0).unwrap().width), (273, 112));
        assert_eq!((full(1), partial(1).unwrap().width), (1, 17));
        assert_eq!((full(2), partial(2).unwrap().width), (0, 1));
        assert_eq!(Tile::all(0).count(), 0);
        let of_256: Vec<String> = Tile::all(256).map(|tile| tile.path()).collect();
        assert_eq!(of_256, ["tile/0/000", "tile/1/000.p/1"]);
    }

    #[test]
    fn a_bundle_gives_back_its_entries_and_nothing_else() {
        let entries: [&[u8]; 3] = [b"a", b"", b"ccc"];
        let bytes = bundle(entries);
        assert_eq!(entries_of_bundle(&bytes, 3).unwrap(), entries);
        assert!(entries_of_bundle(&bytes, 2).is_err());
        assert!(entries_of_bundle(&bytes[..bytes.len() - 1], 3).is_err());
        assert!(entries_of_bundle(&[0], 0).is_err());
    }
}

#[cfg(test)]
mod frontier_tests {
    use super::super::leaf_hash;
    use super::*;

    #[test]
    fn its_root_is_that_of_all_leaves_at_every_size() {
        let (mut frontier, mut leaves, mut full) = (Frontier::default(), Vec::new(), Vec::new());
        assert_eq!(frontier.root(), tree_hash(&[]));
        for number in 0..1100u32 {
            let leaf = leaf_hash(&number.to_be_bytes());
            leaves.push(leaf);
            frontier.push(leaf, &mut full);
            assert_eq!(frontier.root(), tree_hash(&leaves), "{number}");
            assert_eq!(Frontier::from_bytes(frontier.size(), &frontier.to_bytes()), Ok(frontier.clone()));
        }
        assert!(Frontier::from_bytes(1099, &frontier.to_bytes()).is_err());
    }

    #[test]
    fn the_edge_of_the_largest_trees_can_be_told() {
        let hash = leaf_hash(b"a");
        let edge = Frontier::from_bytes(1 << 56, hash.as_bytes()).unwrap();
        let tiles: Vec<_> = edge.partial_tiles().collect();
        assert_eq!(tiles, [(Tile { level: 7, index: 0, width: 1 }, &[hash][..])]);
        assert_eq!(edge.root(), hash);
    }

    #[test]
    fn its_tiles_are_all_tiles_of_the_tree_and_hold_the_right_hashes() {
        for size in [1, 255, 256, 257, 512, 65_535, 65_536, 65_537, 66_000] {
            let (mut frontier, mut full) = (Frontier::default(), Vec::new());
            let leaves: Vec<Digest> = (0..size).map(|n: u32| leaf_hash(&n.to_be_bytes())).collect();
            leaves.iter().for_each(|leaf| frontier.push(*leaf, &mut full));
            let partial = frontier.partial_tiles().map(|(tile, row)| (tile, row.to_vec()));
            let mut tiles: Vec<(Tile, Vec<Digest>)> = full.into_iter().chain(partial).collect();
            tiles.sort();
            assert!(tiles.iter().map(|(tile, _)| *tile).eq(Tile::all(size.into())), "{size}");
            for (tile, row) in tiles {
                let span = 1usize << (super::TILE_HEIGHT * tile.level);
                for (at, hash) in row.iter().enumerate() {
                    let from = (tile.index * TILE_WIDTH) as usize * span + at * span;
                    assert_eq!(*hash, tree_hash(&leaves[from..from + span]), "{tile:?} {at}");
                }
            }
        }
    }
}
