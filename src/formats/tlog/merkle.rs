//! The Merkle tree of RFC 6962, section 2.1: hashes, proofs, and their verification (RFC 9162, section 2.1.3 and 2.1.4).

use sha2::{Digest as _, Sha256};

use super::TlogError;
use crate::base::digest::Digest;

/// The hash of a leaf: SHA-256(0x00 ‖ entry).
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Sha256::new().chain_update([0]).chain_update(entry).into()
}

/// The hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Sha256::new().chain_update([1]).chain_update(left.as_bytes()).chain_update(right.as_bytes()).into()
}

/// The root of a tree of these leaves; of no leaf at all, the hash of nothing.
pub fn tree_hash(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of([]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
            node_hash(&tree_hash(left), &tree_hash(right))
        }
    }
}

/// A complete subtree: the leaves from `index << height` on, `1 << height` of them. Its hash never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subtree {
    pub height: u32,
    /// Its place among the subtrees of this height.
    pub index: u64,
}

/// The proof that leaf `index` is in the tree of `size` leaves: the siblings from the leaf's up to below the root.
///
/// `hash` gives the hash of complete subtrees.
///
/// # Panics
/// If `index` is not below `size`.
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    hash: &mut impl FnMut(Subtree) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    assert!(index < size, "leaf {index} of a tree of {size}");
    let mut proof = Proof { hash, hashes: Vec::new() };
    proof.lead_to(index, (0, size))?;
    Ok(proof.hashes)
}

/// The proof that the tree of `size` leaves continues the one of `older` leaves. Empty if there is nothing to prove.
///
/// # Panics
/// If `older` is larger than `size`.
pub fn consistency_proof<E>(
    older: u64,
    size: u64,
    hash: &mut impl FnMut(Subtree) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    assert!(older <= size, "a tree of {size} does not continue one of {older}");
    let mut proof = Proof { hash, hashes: Vec::new() };
    if older > 0 && older < size {
        proof.lead_on_from(older, (0, size), true)?;
    }
    Ok(proof.hashes)
}

/// A proof in the making.
struct Proof<'a, F> {
    /// Gives the hash of complete subtrees.
    hash: &'a mut F,
    hashes: Vec<Digest>,
}

impl<E, F: FnMut(Subtree) -> Result<Digest, E>> Proof<'_, F> {
    /// Adds what leads from a leaf to the root of the range around it.
    fn lead_to(&mut self, leaf: u64, (from, to): (u64, u64)) -> Result<(), E> {
        if to - from == 1 {
            return Ok(());
        }
        let middle = from + split(to - from);
        if leaf < middle {
            self.lead_to(leaf, (from, middle))?;
            return self.add((middle, to));
        }
        self.lead_to(leaf, (middle, to))?;
        self.add((from, middle))
    }

    /// Adds what leads from the older tree to the root of the range. `is_known`: the verifier has the hash of this range
    /// already, for it is the whole older tree.
    fn lead_on_from(&mut self, older: u64, (from, to): (u64, u64), is_known: bool) -> Result<(), E> {
        if older == to {
            return if is_known { Ok(()) } else { self.add((from, to)) };
        }
        let middle = from + split(to - from);
        if older <= middle {
            self.lead_on_from(older, (from, middle), is_known)?;
            return self.add((middle, to));
        }
        self.lead_on_from(older, (middle, to), false)?;
        self.add((from, middle))
    }

    fn add(&mut self, range: (u64, u64)) -> Result<(), E> {
        let hash = self.range_hash(range)?;
        self.hashes.push(hash);
        Ok(())
    }

    /// The hash over the leaves `from..to` of a tree: ranges that the recursion meets begin at a multiple of their width.
    fn range_hash(&mut self, (from, to): (u64, u64)) -> Result<Digest, E> {
        let width = to - from;
        if width.is_power_of_two() {
            let height = width.trailing_zeros();
            return (self.hash)(Subtree { height, index: from >> height });
        }
        let middle = from + split(width);
        Ok(node_hash(&self.range_hash((from, middle))?, &self.range_hash((middle, to))?))
    }
}

/// The largest power of two below `width`: where RFC 6962 parts a tree in two.
fn split(width: u64) -> u64 {
    debug_assert!(width > 1);
    1 << (u64::BITS - 1 - (width - 1).leading_zeros())
}

/// Whether `proof` shows that a leaf of this hash is number `index` of the tree with this size and root.
pub fn verify_inclusion(
    leaf: Digest,
    index: u64,
    (size, root): (u64, Digest),
    proof: &[Digest],
) -> Result<(), TlogError> {
    let mut hash = leaf;
    let take = |sibling: &Digest, is_left: bool| {
        hash = if is_left { node_hash(sibling, &hash) } else { node_hash(&hash, sibling) };
    };
    let is_whole = index < size && climb(index, size - 1, proof, take);
    if is_whole && hash == root { Ok(()) } else { Err(TlogError::WrongProof) }
}

/// Goes up from the node at `place` of a row whose last one is at `last`, with a sibling and its side for each step.
/// Whether they lead to the root, and no further.
fn climb(mut place: u64, mut last: u64, siblings: &[Digest], mut take: impl FnMut(&Digest, bool)) -> bool {
    for sibling in siblings {
        if last == 0 {
            return false;
        }
        let is_left = place & 1 == 1 || place == last;
        take(sibling, is_left);
        while is_left && place & 1 == 0 && place != 0 {
            (place, last) = (place >> 1, last >> 1);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0
}

/// Whether `proof` shows that the tree `(size, root)` continues the `older` one.
pub fn verify_consistency(
    older: (u64, Digest),
    newer: (u64, Digest),
    proof: &[Digest],
) -> Result<(), TlogError> {
    match root_pair(older, newer.0, proof) {
        Some(roots) if roots == (older.1, newer.1) => Ok(()),
        None if older == newer && proof.is_empty() => Ok(()),
        // Every tree continues the empty one.
        None if older == (0, tree_hash(&[])) && newer.0 > 0 && proof.is_empty() => Ok(()),
        _ => Err(TlogError::WrongProof),
    }
}

/// The roots of both trees as the proof has them; `None` where there is nothing to compute, or the proof is of a wrong length.
fn root_pair((older, older_root): (u64, Digest), size: u64, proof: &[Digest]) -> Option<(Digest, Digest)> {
    if older == 0 || older >= size {
        return None;
    }
    let (mut place, mut last) = (older - 1, size - 1);
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    // Of an older tree that is complete, the verifier has the first hash: its root.
    let (first, rest) = if older.is_power_of_two() {
        (older_root, proof)
    } else {
        proof.split_first().map(|(a, b)| (*a, b))?
    };
    let (mut of_older, mut of_newer) = (first, first);
    let take = |sibling: &Digest, is_left: bool| {
        if is_left {
            (of_older, of_newer) = (node_hash(sibling, &of_older), node_hash(sibling, &of_newer));
        } else {
            of_newer = node_hash(&of_newer, sibling);
        }
    };
    climb(place, last, rest, take).then_some((of_older, of_newer))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn leaves(size: u64) -> Vec<Digest> {
        (0..size).map(|number| leaf_hash(format!("entry {number}").as_bytes())).collect()
    }

    fn source(leaves: &[Digest]) -> impl FnMut(Subtree) -> Result<Digest, Infallible> {
        |subtree: Subtree| {
            let from = (subtree.index << subtree.height) as usize;
            Ok(tree_hash(&leaves[from..from + (1 << subtree.height)]))
        }
    }

    #[test]
    fn every_leaf_of_every_tree_is_proven_and_no_other() {
        let all = leaves(70);
        for size in 1..=70 {
            let tree = &all[..size as usize];
            let root = tree_hash(tree);
            for index in 0..size {
                let proof = inclusion_proof(index, size, &mut source(tree)).unwrap();
                let leaf = tree[index as usize];
                verify_inclusion(leaf, index, (size, root), &proof).unwrap();
                assert!(verify_inclusion(leaf, index + 1, (size, root), &proof).is_err());
                assert!(verify_inclusion(root, index, (size, root), &proof).is_err() || size == 1);
                assert!(verify_inclusion(leaf, index, (size, leaf_hash(b"")), &proof).is_err());
                let longer = [&proof[..], &[root]].concat();
                assert!(verify_inclusion(leaf, index, (size, root), &longer).is_err());
                if let [shorter @ .., _] = &proof[..] {
                    assert!(verify_inclusion(leaf, index, (size, root), shorter).is_err());
                }
            }
        }
    }

    #[test]
    fn every_tree_continues_every_older_one_and_no_other() {
        let all = leaves(70);
        for size in 0..=70 {
            let newer = (size, tree_hash(&all[..size as usize]));
            for older in 0..=size {
                let proof = consistency_proof(older, size, &mut source(&all[..size as usize])).unwrap();
                let before = (older, tree_hash(&all[..older as usize]));
                verify_consistency(before, newer, &proof).unwrap();
                let forged = (older, leaf_hash(b"forged"));
                assert!(verify_consistency(forged, newer, &proof).is_err());
                let longer = [&proof[..], &[newer.1]].concat();
                assert!(verify_consistency(before, newer, &longer).is_err());
                // Whatever there is continues the empty tree.
                let other = verify_consistency(before, (size, leaf_hash(b"")), &proof);
                assert!(other.is_err() || (older == 0 && size > 0));
            }
        }
    }

    #[test]
    fn the_hashes_are_those_of_the_rfc() {
        // The test vectors of RFC 6962's reference implementation.
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(tree_hash(&[]).to_string(), nothing);
        let empty_leaf = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(leaf_hash(b"").to_string(), empty_leaf);
        let node = "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb";
        let computed: Digest = Sha256::new().chain_update([1]).chain_update(b"N123N456").into();
        assert_eq!(computed.to_string(), node);
    }
}
