//! The right edge of a growing tree: all that is needed to add leaves, to know the root, and to cut the next tiles.

use super::tile::{TILE_WIDTH, Tile, hash_of_full};
use super::{node_hash, tree_hash};
use crate::base::digest::Digest;

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
            hash = hash_of_full(row);
            let level = u32::try_from(level).expect("a tree has few levels");
            let index = (self.size >> (super::TILE_HEIGHT * (level + 1))) - 1;
            full.push((Tile { level, index, width: TILE_WIDTH }, std::mem::take(row)));
        }
    }

    /// The unfinished tiles, one for each level that has one.
    pub fn partial_tiles(&self) -> impl Iterator<Item = (Tile, &[Digest])> {
        (0u32..).zip(&self.rows).filter(|(_, row)| !row.is_empty()).map(|(level, row)| {
            // Above the highest level there is nothing.
            let index = self.size.checked_shr(super::TILE_HEIGHT * (level + 1)).unwrap_or(0);
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
    ///
    /// # Errors
    /// If there are more or fewer bytes than such a tree has.
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
                let span = 1usize << (super::super::TILE_HEIGHT * tile.level);
                for (at, hash) in row.iter().enumerate() {
                    let from = (tile.index * TILE_WIDTH) as usize * span + at * span;
                    assert_eq!(*hash, tree_hash(&leaves[from..from + span]), "{tile:?} {at}");
                }
            }
        }
    }
}
