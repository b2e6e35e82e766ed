//! The ledger in the bag: its entries and tiles up to one checkpoint, and a proof for each exported file.
//!
//! The tree is rebuilt from the entries and compared with the signed root: nothing is exported if they differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::bag::Bag;
use super::{ExportError, Stop};
use crate::base::digest::Digest;
use crate::formats::tlog::{
    Checkpoint, Frontier, Note, TILE_WIDTH, Tile, TlogProof, VerifyingKey, bundle, inclusion_proof,
    leaf_hash, path_of_bundle, tree_hash,
};
use crate::proof::anchor;
use crate::proof::notary::Published;

/// How much of the ledger goes into the bag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every entry.
    Whole,
    /// The hashes alone, which reveal nothing about the entries.
    Tree,
}

#[derive(Debug)]
pub(super) struct Log {
    pub(super) checkpoint: Checkpoint,
    note: String,
    pub(super) scope: Scope,
    keys: Vec<VerifyingKey>,
    tiles: HashMap<Tile, Vec<Digest>>,
    /// The entries to be proven, by number.
    entries: BTreeMap<u64, Vec<u8>>,
    /// The root at each stamped size up to that of the checkpoint.
    roots: BTreeMap<u64, Option<Digest>>,
    /// By stamped size, the last entry that it covers.
    stamped: BTreeMap<u64, Vec<u8>>,
    /// Entries about verifications.
    pub(super) fixity: Vec<(u64, Value)>,
}

impl Log {
    /// Copies the published ledger into the bag, and keeps the `wanted` entries.
    ///
    /// # Errors
    /// [`ExportError::Unsealed`] if the checkpoint does not cover them all, [`ExportError::Ledger`] if the published ledger
    /// differs from what was signed.
    pub(super) fn copy(
        published: &Published,
        keys: Vec<VerifyingKey>,
        wanted: &BTreeSet<u64>,
        scope: Scope,
        bag: &mut Bag,
        stop: &Stop,
    ) -> Result<Self, ExportError> {
        let (checkpoint, note) = published.checkpoint(&keys)?.ok_or(ExportError::Unsealed)?;
        if wanted.last().is_some_and(|last| *last >= checkpoint.size) {
            return Err(ExportError::Unsealed);
        }
        let stamped = anchor::tokens(published)?.into_iter().map(|token| (token.size, None));
        let mut log = Self {
            checkpoint,
            note,
            scope,
            keys,
            roots: stamped.collect(),
            stamped: BTreeMap::new(),
            tiles: HashMap::new(),
            entries: BTreeMap::new(),
            fixity: Vec::new(),
        };
        log.copy_entries(published, wanted, bag, stop)?;
        for (tile, hashes) in &log.tiles {
            bag.put(&format!("log/{}", tile.path()), Tile::to_bytes(hashes))?;
        }
        bag.put("log/checkpoint", &log.note)?;
        for key in &log.keys {
            bag.put(&format!("log/{}.vkey", key.id()), key.to_vkey() + "\n")?;
            bag.put(&format!("log/{}.pem", key.id()), key.to_pem())?;
        }
        Ok(log)
    }

    fn copy_entries(
        &mut self,
        published: &Published,
        wanted: &BTreeSet<u64>,
        bag: &mut Bag,
        stop: &Stop,
    ) -> Result<(), ExportError> {
        let size = self.checkpoint.size;
        let (mut frontier, mut full) = (Frontier::default(), Vec::new());
        for index in 0..size.div_ceil(TILE_WIDTH) {
            stop.check()?;
            let entries = published.bundle(index, size)?;
            if self.scope == Scope::Whole {
                let path = path_of_bundle(index, entries.len() as u64);
                bag.put(&format!("log/{path}"), bundle(entries.iter().map(Vec::as_slice)))?;
            }
            for (number, entry) in (index * TILE_WIDTH..).zip(entries) {
                frontier.push(leaf_hash(&entry), &mut full);
                if let Some(root) = self.roots.get_mut(&frontier.size()) {
                    *root = Some(frontier.root());
                }
                self.note_entry(number, entry, wanted);
            }
        }
        self.tiles.extend(full);
        self.tiles.extend(frontier.partial_tiles().map(|(tile, hashes)| (tile, hashes.to_vec())));
        match (frontier.size(), frontier.root()) == (size, self.checkpoint.root) {
            true => Ok(()),
            false => Err(ExportError::Ledger),
        }
    }

    fn note_entry(&mut self, number: u64, entry: Vec<u8>, wanted: &BTreeSet<u64>) {
        let is_fixity = || entry.windows(FIXITY.len()).any(|bytes| bytes == FIXITY);
        if is_fixity()
            && let Ok(value) = serde_json::from_slice(&entry)
        {
            self.fixity.push((number, value));
        }
        if self.roots.contains_key(&(number + 1)) {
            self.stamped.insert(number + 1, entry.clone());
        }
        if wanted.contains(&number) {
            self.entries.insert(number, entry);
        }
    }

    /// Whether a stamped checkpoint is of this ledger: signed with one of its keys, and with the root of this tree.
    pub(super) fn continues(&self, note: &[u8], size: u64) -> bool {
        let read = || {
            let note = Note::parse(std::str::from_utf8(note).ok()?).ok()?;
            Checkpoint::parse(note.verify(&self.keys).ok()?).ok()
        };
        let is_ours = |stamped: Checkpoint| {
            (stamped.size, &stamped.origin) == (size, &self.checkpoint.origin)
                && size <= self.checkpoint.size
                && self.roots.get(&size) == Some(&Some(stamped.root))
        };
        read().is_some_and(is_ours)
    }

    /// The last entry that a stamped checkpoint of this size covers.
    pub(super) fn last_entry(&self, size: u64) -> &[u8] {
        self.stamped.get(&size).map_or(&[], Vec::as_slice)
    }

    /// The proof of a wanted entry, verified.
    pub(super) fn prove(&self, number: u64) -> Result<String, ExportError> {
        let entry = self.entries.get(&number).ok_or(ExportError::Unsealed)?;
        let hashes = inclusion_proof(number, self.checkpoint.size, &mut |subtree| {
            let (tile, places) = Tile::of_subtree(subtree.height, subtree.index, self.checkpoint.size);
            let hashes = self.tiles.get(&tile).and_then(|hashes| hashes.get(places));
            hashes.map(tree_hash).ok_or(ExportError::Ledger)
        })?;
        let proof = TlogProof { entry: entry.clone(), index: number, hashes, checkpoint: self.note.clone() };
        match proof.verify(&self.keys) {
            Ok(_) => Ok(proof.to_text()),
            Err(_) => Err(ExportError::Ledger),
        }
    }

    /// The line of the checkpoint, counted from 1, with the signature of a key.
    pub(super) fn signature_line(&self, key: &VerifyingKey) -> Option<usize> {
        let is_of_key = |line: &str| {
            let mut words = line.strip_prefix("\u{2014} ")?.split(' ');
            let (name, signature) = (words.next()?, words.next()?);
            let bytes = BASE64.decode(signature).ok()?;
            Some(name == key.name() && bytes.starts_with(&key.id().0))
        };
        Some(self.note.lines().position(|line| is_of_key(line) == Some(true))? + 1)
    }

    /// The keys that signed the checkpoint.
    pub(super) fn signers(&self) -> impl Iterator<Item = &VerifyingKey> {
        let note = Note::parse(&self.note);
        self.keys.iter().filter(move |key| {
            note.as_ref().is_ok_and(|note| note.verify(std::slice::from_ref(*key)).is_ok())
        })
    }
}

/// Entries contain no blanks and escape quotes within texts, so this occurs only in an entry of that type.
const FIXITY: &[u8] = br#""type":"fixity""#;
