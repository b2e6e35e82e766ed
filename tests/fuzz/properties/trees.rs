//! The ledger's tree: tiles, bundles and edges read what they wrote, and a proof holds for one leaf of one tree.

use std::convert::Infallible;

use callvault::base::digest::Digest;
use callvault::formats::tlog::{
    Frontier, Subtree, TILE_WIDTH, Tile, bundle, consistency_proof, entries_of_bundle, inclusion_proof,
    leaf_hash, tree_hash, verify_consistency, verify_inclusion,
};

use super::{Draw, pieces};

/// Leaves of a tree at most: one page and a bit.
const LEAVES_MAX: usize = 260;

pub(crate) fn hold(input: &[u8]) {
    read_tiles(input);
    read_edge(input);
    refuse_strange_proofs(input);
    grow(input);
}

fn read_tiles(input: &[u8]) {
    let Some((&width, bytes)) = input.split_first() else { return };
    let tile = Tile { level: 0, index: 0, width: u64::from(width) };
    if let Ok(hashes) = tile.read(bytes) {
        assert_eq!(Tile::to_bytes(&hashes), bytes);
    }
    if let Ok(entries) = entries_of_bundle(bytes, tile.width) {
        assert_eq!(entries.len() as u64, tile.width);
        assert_eq!(bundle(entries), bytes);
    }
}

/// An edge that can be read is written the same way again, and has the tiles that a tree of its size has.
fn read_edge(input: &[u8]) {
    let Some((size, bytes)) = input.split_first_chunk::<8>() else { return };
    let size = u64::from_le_bytes(*size);
    if let Ok(edge) = Frontier::from_bytes(size, bytes) {
        assert_eq!((edge.size(), &edge.to_bytes()[..]), (size, bytes));
        let widths: u64 =
            edge.partial_tiles().map(|(tile, hashes)| tile.width.max(hashes.len() as u64)).sum();
        assert_eq!(widths, bytes.len() as u64 / 32);
        let _ = edge.root();
    }
}

/// Numbers and hashes that nobody computed prove nothing, however large they are.
fn refuse_strange_proofs(input: &[u8]) {
    let number = |at: usize| {
        let bytes = input.get(8 * at..8 * at + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        u64::from_le_bytes(bytes)
    };
    let proof: Vec<Digest> = input.chunks_exact(32).filter_map(|hash| Digest::try_from(hash).ok()).collect();
    let (leaf, root) = (leaf_hash(input), Digest::of(b"nobody's root"));
    for (index, size) in [(number(0), number(1)), (number(0) % 1000, number(0)), (0, number(0))] {
        assert!(verify_inclusion(leaf, index, (size, root), &proof).is_err());
        let older = (index, Digest::of(input));
        if older.0 > 0 {
            assert!(verify_consistency(older, (size, root), &proof).is_err());
        }
    }
}

/// A tree whose leaves are pieces of the input.
fn grow(input: &[u8]) {
    let entries: Vec<&[u8]> = pieces(input).into_iter().take(LEAVES_MAX).collect();
    let leaves: Vec<Digest> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let (mut edge, mut full) = (Frontier::default(), Vec::new());
    leaves.iter().for_each(|leaf| edge.push(*leaf, &mut full));
    let (size, root) = (leaves.len() as u64, tree_hash(&leaves));
    assert_eq!((edge.size(), edge.root()), (size, root));
    assert_eq!(Frontier::from_bytes(size, &edge.to_bytes()), Ok(edge.clone()));
    let page = &entries[..entries.len().min(256)];
    let bytes = bundle(page.iter().copied());
    assert_eq!(entries_of_bundle(&bytes, page.len() as u64).as_deref(), Ok(page));
    let mut tiles: Vec<Tile> = full.iter().map(|(tile, _)| *tile).collect();
    tiles.extend(edge.partial_tiles().map(|(tile, _)| tile));
    tiles.sort();
    assert!(tiles.into_iter().eq(Tile::all(size)));
    if size > 0 {
        prove(&mut Draw::from(input), &leaves, root);
    }
}

fn prove(draw: &mut Draw, leaves: &[Digest], root: Digest) {
    let size = leaves.len() as u64;
    let hash = &mut |subtree: Subtree| {
        let from = usize::try_from(subtree.index << subtree.height).expect("it is small");
        let (tile, places) = Tile::of_subtree(subtree.height, subtree.index, size);
        assert!(tile.width <= TILE_WIDTH && places.end as u64 <= tile.width, "{tile:?} {places:?}");
        Ok::<_, Infallible>(tree_hash(&leaves[from..from + (1 << subtree.height)]))
    };
    let at = draw.below(leaves.len());
    let Ok(proof) = inclusion_proof(at as u64, size, hash);
    let Ok(()) = verify_inclusion(leaves[at], at as u64, (size, root), &proof) else {
        panic!("leaf {at} of {size}")
    };
    let other = draw.below(leaves.len() + 2) as u64;
    let elsewhere = verify_inclusion(leaves[at], other, (size, root), &proof);
    assert!(other == at as u64 || elsewhere.is_err() || leaves.get(other as usize) == Some(&leaves[at]));
    let changed = changed(draw, &proof);
    assert!(changed == proof || verify_inclusion(leaves[at], at as u64, (size, root), &changed).is_err());

    let older = draw.below(leaves.len()) + 1;
    let before = (older as u64, tree_hash(&leaves[..older]));
    let Ok(proof) = consistency_proof(older as u64, size, hash);
    assert_eq!(verify_consistency(before, (size, root), &proof), Ok(()), "{older} to {size}");
    let changed = self::changed(draw, &proof);
    assert!(changed == proof || verify_consistency(before, (size, root), &changed).is_err());
    assert!(verify_consistency((before.0, Digest::of(b"forged")), (size, root), &proof).is_err());
}

/// A proof with one hash changed, taken out or put in.
fn changed(draw: &mut Draw, proof: &[Digest]) -> Vec<Digest> {
    let (mut changed, at) = (proof.to_vec(), draw.below(proof.len()));
    let other = Digest::of([u8::try_from(draw.below(256)).unwrap_or_default()]);
    match (draw.below(3), changed.get_mut(at)) {
        (0, Some(hash)) => *hash = other,
        (1, Some(_)) => drop(changed.remove(at)),
        _ => changed.insert(at, other),
    }
    changed
}
