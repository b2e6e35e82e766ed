//! Our trees, tiles, notes and proofs beside those of other libraries, which share no code with ours.

use std::convert::Infallible;

use callvault::base::digest::Digest;
use callvault::formats::tlog::{
    Checkpoint, Frontier, SigningKey, Subtree, Tile, consistency_proof, inclusion_proof, leaf_hash, sign,
    tree_hash, verify_consistency, verify_inclusion,
};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{Hash, HashReader};

/// All sizes up to four tiles and a bit.
const SIZES: u64 = 1030;

fn entry(number: u64) -> Vec<u8> {
    format!("{{\"entry\":{number}}}").into_bytes()
}

fn subtrees(leaves: &[Digest]) -> impl FnMut(Subtree) -> Result<Digest, Infallible> {
    |subtree: Subtree| {
        let from = usize::try_from(subtree.index << subtree.height).unwrap();
        Ok(tree_hash(&leaves[from..from + (1 << subtree.height)]))
    }
}

#[test]
fn every_root_is_that_of_another_library() {
    let (mut theirs, mut ours) = (MemoryBackedTree::<Sha256, Vec<u8>>::new(), Frontier::default());
    let mut full = Vec::new();
    for number in 0..=SIZES {
        assert_eq!(ours.root().as_bytes()[..], theirs.root().as_bytes()[..], "{number}");
        ours.push(leaf_hash(&entry(number)), &mut full);
        theirs.push(entry(number));
    }
}

#[test]
fn each_takes_the_proofs_of_the_other() {
    let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let (mut leaves, mut roots) = (Vec::new(), vec![theirs.root()]);
    for number in 0..300 {
        theirs.push(entry(number));
        leaves.push(leaf_hash(&entry(number)));
        roots.push(theirs.root());
    }
    let digest = |bytes: &[u8]| -> Vec<Digest> {
        bytes.chunks(32).map(|hash| Digest::try_from(hash).unwrap()).collect()
    };
    let size = leaves.len() as u64;
    let root = tree_hash(&leaves);
    for index in 0..size {
        let of_theirs = digest(theirs.prove_inclusion(usize::try_from(index).unwrap()).as_bytes());
        let of_ours = inclusion_proof(index, size, &mut subtrees(&leaves)).unwrap();
        assert_eq!(of_ours, of_theirs, "{index}");
        verify_inclusion(leaves[usize::try_from(index).unwrap()], index, (size, root), &of_theirs).unwrap();
    }
    for older in 1..size {
        let before = tree_hash(&leaves[..usize::try_from(older).unwrap()]);
        let of_theirs = theirs.prove_consistency(usize::try_from(size - older).unwrap());
        let of_ours = consistency_proof(older, size, &mut subtrees(&leaves)).unwrap();
        assert_eq!(of_ours, digest(of_theirs.as_bytes()), "{older}");
        verify_consistency((older, before), (size, root), &of_ours).unwrap();
        roots[usize::try_from(size).unwrap()]
            .verify_consistency(&roots[usize::try_from(older).unwrap()], &of_theirs)
            .unwrap();
    }
}

/// The hashes of a tree by the numbers that the Go library and its port give them.
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

#[test]
fn every_tile_has_the_bytes_of_another_librarys() {
    let mut stored = Stored(Vec::new());
    let (mut frontier, mut full) = (Frontier::default(), Vec::new());
    // Around the powers of two at which tiles of each level fill.
    let sizes = [1, 2, 3, 255, 256, 257, 511, 512, 513, 1030, 65_535, 65_536, 65_537];
    let mut number = 0;
    for size in sizes {
        while number < size {
            let new = tlog_tiles::stored_hashes(number, &entry(number), &stored).unwrap();
            stored.0.extend(new);
            frontier.push(leaf_hash(&entry(number)), &mut full);
            number += 1;
        }
        let theirs = tlog_tiles::tree_hash(size, &stored).unwrap();
        assert_eq!(frontier.root().as_bytes(), &theirs.0, "{size}");
        let partial = frontier.partial_tiles().map(|(tile, hashes)| (tile, hashes.to_vec()));
        for (tile, hashes) in full.drain(..).chain(partial) {
            let level = u8::try_from(tile.level).unwrap();
            let width = u32::try_from(tile.width).unwrap();
            let other = tlog_tiles::Tile::new(8, level, tile.index, width, false);
            assert_eq!(other.read_data(&stored).unwrap(), Tile::to_bytes(&hashes), "{tile:?} of {size}");
            // Their paths carry the height, which the specification has fixed.
            assert_eq!(other.path().replacen("tile/8/", "tile/", 1), tile.path());
        }
    }
}

#[test]
fn every_checkpoint_is_a_note_that_another_library_believes() {
    let key = SigningKey::from_seed("example.com/callvault", &[5; 32]).unwrap();
    let vkey = key.verifying_key().to_vkey();
    let verifiers = || VerifierList::new(vec![Box::new(StandardVerifier::new(&vkey).unwrap())]);
    for size in [0, 1, 256, u64::from(u32::MAX)] {
        let root = leaf_hash(&entry(size));
        let ours = Checkpoint { origin: "example.com/callvault".to_owned(), size, root };
        let note = sign(&ours.to_text(), std::slice::from_ref(&key));
        let theirs = Note::from_bytes(note.as_bytes()).unwrap();
        theirs.verify(&verifiers()).unwrap();
        let read = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
        assert_eq!((read.origin(), read.size(), &read.hash().0), (&*ours.origin, size, root.as_bytes()));
        let altered = note.replace(&format!("\n{size}\n"), "\n77\n");
        assert!(Note::from_bytes(altered.as_bytes()).unwrap().verify(&verifiers()).is_err());
    }
}
