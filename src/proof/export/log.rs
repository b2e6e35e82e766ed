//! The ledger in the bag: its entries and tiles up to one checkpoint, and a proof for each exported file.
//!
//! The tree is rebuilt from the entries and compared with the signed root: nothing is exported if they differ. For each
//! exported file there are time stamps too: of each authority, the first verified token that covers its entry, and the
//! latest. Tokens that were not verified are kept apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::Value;

use super::{ExportError, Packing, Result, Sources};
use crate::base::digest::Digest;
use crate::formats::tlog::{
    Checkpoint, Frontier, Note, TILE_WIDTH, Tile, TlogProof, VerifyingKey, bundle, inclusion_proof,
    leaf_hash, path_of_bundle, tree_hash,
};
use crate::proof::anchor::{self, Evidence, Roots, TokenName};
use crate::proof::notary::{Published, PublishedError};

/// Entries contain no blanks and escape quotes within texts, so this occurs only in an entry of that type.
const FIXITY: &[u8] = br#""type":"fixity""#;

const FOLDER: &str = "anchor/";

/// How much of the ledger goes into the bag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
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
    entries: BTreeMap<u64, Vec<u8>>,
    /// By stamped size up to that of the checkpoint, the root and the last entry under it.
    stamped: BTreeMap<u64, Option<(Digest, Vec<u8>)>>,
    pub(super) fixity: Vec<(u64, Value)>,
}

impl Packing<'_> {
    /// Copies the published ledger into the bag, and keeps the wanted entries. Fails if the checkpoint does not cover them
    /// all, or if the published ledger differs from what was signed.
    pub(super) fn copy_log(&mut self, scope: Scope) -> Result<Log> {
        let Sources { published, keys, .. } = self.sources;
        let (checkpoint, note) = published.checkpoint(keys)?.ok_or(ExportError::Unsealed)?;
        if self.wanted.last().is_some_and(|last| *last >= checkpoint.size) {
            return Err(ExportError::Unsealed);
        }
        let stamped = anchor::tokens(published)?.into_iter().map(|token| (token.size, None));
        let mut log = Log {
            checkpoint,
            note,
            scope,
            keys: keys.clone(),
            stamped: stamped.collect(),
            tiles: HashMap::new(),
            entries: BTreeMap::new(),
            fixity: Vec::new(),
        };
        log.copy_entries(self)?;
        for (tile, hashes) in &log.tiles {
            self.bag.put(&format!("log/{}", tile.path()), Tile::to_bytes(hashes))?;
        }
        self.bag.put("log/checkpoint", &log.note)?;
        for key in keys {
            self.bag.put(&format!("log/{}.vkey", key.id()), key.to_vkey() + "\n")?;
            self.bag.put(&format!("log/{}.pem", key.id()), key.to_pem())?;
        }
        Ok(log)
    }

    /// Copies the tokens that are about the wanted entries of the ledger. A token whose checkpoint is gone, or is not of this
    /// ledger, is left out: it proves nothing.
    pub(super) fn copy_tokens(&mut self, log: &Log) -> Result<Vec<Token>> {
        let certificates = &self.sources.authorities;
        let roots: BTreeMap<&str, Roots> =
            certificates.iter().map(|(name, pem)| (name.as_str(), Roots::from_pem(pem))).collect();
        let mut candidates = anchor::tokens(self.sources.published)?;
        let mut taken: BTreeMap<(u64, String), Token> = BTreeMap::new();
        let mut is_first = true;
        loop {
            let before = candidates.len();
            for name in chosen(candidates.clone(), &self.wanted, log.checkpoint.size) {
                self.sources.check_stop()?;
                let key = (name.size, name.authority.clone());
                if taken.contains_key(&key) {
                    continue;
                }
                let roots = roots.get(name.authority.as_str());
                let token = log.judge(&name, roots, self.sources)?;
                let is_verified = token.as_ref().is_some_and(|(token, _)| token.is_verified());
                // If nothing can be verified, there is no better token to choose.
                if !is_verified && (roots.is_some() || token.is_none()) {
                    candidates.retain(|other| *other != name);
                }
                if let Some((token, [checkpoint, reply])) = token.filter(|_| is_verified || is_first) {
                    self.bag.put(&token.path(), reply)?;
                    if !self.bag.has(&token.checkpoint()) {
                        self.bag.put(&token.checkpoint(), checkpoint)?;
                    }
                    taken.insert(key, token);
                }
            }
            is_first = false;
            if candidates.len() == before {
                break;
            }
        }
        let verified = taken.values().filter(|token| token.is_verified());
        let verified: BTreeSet<&str> = verified.map(|token| token.authority.as_str()).collect();
        for (authority, pem) in certificates.iter().filter(|(name, _)| verified.contains(name.as_str())) {
            self.bag.put(&format!("{FOLDER}{authority}.ca.pem"), pem)?;
        }
        Ok(taken.into_values().collect())
    }
}

impl Log {
    fn copy_entries(&mut self, packing: &mut Packing<'_>) -> Result<()> {
        let Packing { sources, wanted, bag, .. } = packing;
        let size = self.checkpoint.size;
        let (mut frontier, mut full) = (Frontier::default(), Vec::new());
        for index in 0..size.div_ceil(TILE_WIDTH) {
            sources.check_stop()?;
            let entries = sources.published.bundle(index, size)?;
            if self.scope == Scope::Whole {
                let path = path_of_bundle(index, entries.len() as u64);
                bag.put(&format!("log/{path}"), bundle(entries.iter().map(Vec::as_slice)))?;
            }
            for (number, entry) in (index * TILE_WIDTH..).zip(entries) {
                frontier.push(leaf_hash(&entry), &mut full);
                if let Some(stamped) = self.stamped.get_mut(&frontier.size()) {
                    *stamped = Some((frontier.root(), entry.clone()));
                }
                let is_fixity = entry.windows(FIXITY.len()).any(|bytes| bytes == FIXITY);
                if is_fixity && let Ok(value) = serde_json::from_slice(&entry) {
                    self.fixity.push((number, value));
                }
                if wanted.contains(&number) {
                    self.entries.insert(number, entry);
                }
            }
        }
        self.tiles.extend(full);
        self.tiles.extend(frontier.partial_tiles().map(|(tile, hashes)| (tile, hashes.to_vec())));
        match (frontier.size(), frontier.root()) == (size, self.checkpoint.root) {
            true => Ok(()),
            false => Err(ExportError::Ledger),
        }
    }

    /// The last entry under a stamped checkpoint, if it is of this ledger: signed with one of its keys, and with the root of
    /// this tree.
    fn covered_by(&self, note: &[u8], size: u64) -> Option<&[u8]> {
        let stamped = Checkpoint::signed(note, &self.keys).ok()?;
        let (root, last_entry) = self.stamped.get(&size)?.as_ref()?;
        let is_ours = (stamped.size, &stamped.origin, &stamped.root) == (size, &self.checkpoint.origin, root);
        is_ours.then_some(last_entry)
    }

    pub(super) fn prove(&self, number: u64) -> Result<String> {
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

    pub(super) fn signers(&self) -> impl Iterator<Item = &VerifyingKey> {
        let note = Note::parse(&self.note);
        self.keys.iter().filter(move |key| note.as_ref().is_ok_and(|note| note.is_signed_by(key)))
    }

    /// A token and how far it can be trusted; none if it is over no checkpoint of this ledger.
    fn judge(
        &self,
        name: &TokenName,
        roots: Option<&Roots>,
        sources: &Sources<'_>,
    ) -> Result<Option<(Token, Files)>> {
        let TokenName { size, authority } = name;
        let [checkpoint, reply] = ["checkpoint".to_owned(), format!("{authority}.tsr")]
            .map(|suffix| file(sources.published, &format!("{}/{size}.{suffix}", anchor::FOLDER)));
        let (Some(checkpoint), Some(reply)) = (checkpoint?, reply?) else { return Ok(None) };
        let Some(last_entry) = self.covered_by(&checkpoint, *size) else { return Ok(None) };
        let evidence =
            Evidence { reply: &reply, checkpoint: &checkpoint, last_entry, roots, now: sources.now };
        let (at, trust) = evidence.judge();
        let token = Token {
            size: *size,
            authority: authority.clone(),
            at,
            unverified: trust.err().map(|why| why.to_string()),
        };
        Ok(Some((token, [checkpoint, reply])))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) size: u64,
    pub(super) authority: String,
    pub(super) at: Timestamp,
    /// Why it is not verified. If it is, the bag holds the certificates that prove it.
    pub(super) unverified: Option<String>,
}

impl Token {
    pub(super) fn path(&self) -> String {
        format!("{FOLDER}{}.{}.tsr", self.size, self.authority)
    }

    pub(super) fn checkpoint(&self) -> String {
        format!("{FOLDER}{}.checkpoint", self.size)
    }

    pub(super) fn certificates(&self) -> String {
        format!("{FOLDER}{}.ca.pem", self.authority)
    }

    pub(super) fn is_verified(&self) -> bool {
        self.unverified.is_none()
    }
}

/// The checkpoint, and the authority's reply.
type Files = [Vec<u8>; 2];

/// A file beside the ledger, unless it is larger than any of its kind.
fn file(published: &Published, path: &str) -> Result<Option<Vec<u8>>> {
    match published.file(path) {
        Err(error @ PublishedError::TooLarge { .. }) => {
            tracing::warn!("{error}; the export has no time stamp from it");
            Ok(None)
        }
        read => Ok(read?),
    }
}

/// The tokens that matter: of each authority the first that covers each entry, and the last of all.
fn chosen(tokens: Vec<TokenName>, wanted: &BTreeSet<u64>, size: u64) -> Vec<TokenName> {
    let mut by_authority: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for token in tokens.into_iter().filter(|token| token.size <= size) {
        by_authority.entry(token.authority).or_default().insert(token.size);
    }
    let mut chosen = Vec::new();
    for (authority, sizes) in by_authority {
        let first_after = |number: &u64| sizes.range(number + 1..).next();
        let covering: BTreeSet<u64> =
            wanted.iter().filter_map(first_after).chain(sizes.last()).copied().collect();
        chosen.extend(covering.into_iter().map(|size| TokenName { size, authority: authority.clone() }));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_has_the_first_token_after_it_and_all_the_last() {
        let token = |size: u64, authority: &str| TokenName { size, authority: authority.to_owned() };
        let tokens: Vec<TokenName> =
            [2, 5, 9, 12, 20].map(|size| token(size, "a")).into_iter().chain([token(5, "b")]).collect();
        let sizes = |wanted: &[u64], size: u64| -> Vec<(u64, String)> {
            let chosen = chosen(tokens.clone(), &wanted.iter().copied().collect(), size);
            chosen.into_iter().map(|token| (token.size, token.authority)).collect()
        };
        let of = |sizes: &[u64]| -> Vec<(u64, String)> {
            sizes.iter().map(|size| (*size, "a".to_owned())).chain([(5, "b".to_owned())]).collect()
        };
        assert_eq!(sizes(&[1, 2, 4, 5], 12), of(&[2, 5, 9, 12]));
        assert_eq!(sizes(&[], 9), of(&[9]));
        assert_eq!(sizes(&[30], 100), of(&[20]));
    }
}
