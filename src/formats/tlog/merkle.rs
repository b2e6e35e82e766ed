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
    let mut proof = Vec::new();
    path(index, (0, size), hash, &mut proof)?;
    Ok(proof)
}

fn path<E>(
    leaf: u64,
    (from, to): (u64, u64),
    hash: &mut impl FnMut(Subtree) -> Result<Digest, E>,
    proof: &mut Vec<Digest>,
) -> Result<(), E> {
    if to - from == 1 {
        return Ok(());
    }
    let middle = from + split(to - from);
    let (own, sibling) =
        if leaf < middle { ((from, middle), (middle, to)) } else { ((middle, to), (from, middle)) };
    path(leaf, own, hash, proof)?;
    proof.push(range_hash(sibling, hash)?);
    Ok(())
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
    let mut proof = Vec::new();
    if older > 0 && older < size {
        subproof(older, (0, size), true, hash, &mut proof)?;
    }
    Ok(proof)
}

/// `is_known`: the verifier has the hash of this range already, for it is the whole older tree.
fn subproof<E>(
    older: u64,
    (from, to): (u64, u64),
    is_known: bool,
    hash: &mut impl FnMut(Subtree) -> Result<Digest, E>,
    proof: &mut Vec<Digest>,
) -> Result<(), E> {
    if older == to {
        if !is_known {
            proof.push(range_hash((from, to), hash)?);
        }
        return Ok(());
    }
    let middle = from + split(to - from);
    if older <= middle {
        subproof(older, (from, middle), is_known, hash, proof)?;
        proof.push(range_hash((middle, to), hash)?);
    } else {
        subproof(older, (middle, to), false, hash, proof)?;
        proof.push(range_hash((from, middle), hash)?);
    }
    Ok(())
}

/// The hash over the leaves `from..to` of a tree: ranges that the recursion meets begin at a multiple of their width.
fn range_hash<E>(
    (from, to): (u64, u64),
    hash: &mut impl FnMut(Subtree) -> Result<Digest, E>,
) -> Result<Digest, E> {
    let width = to - from;
    if width.is_power_of_two() {
        let height = width.trailing_zeros();
        return hash(Subtree { height, index: from >> height });
    }
    let middle = from + split(width);
    let left = range_hash((from, middle), hash)?;
    let right = range_hash((middle, to), hash)?;
    Ok(node_hash(&left, &right))
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
    if index >= size {
        return Err(TlogError::WrongProof);
    }
    let (mut place, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return Err(TlogError::WrongProof);
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    if last == 0 && hash == root { Ok(()) } else { Err(TlogError::WrongProof) }
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
    for sibling in rest {
        if last == 0 {
            return None;
        }
        if place & 1 == 1 || place == last {
            (of_older, of_newer) = (node_hash(sibling, &of_older), node_hash(sibling, &of_newer));
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            of_newer = node_hash(&of_newer, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    (last == 0).then_some((of_older, of_newer))
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
