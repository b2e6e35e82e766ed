//! The published ledger as it is read back: its entries byte for byte, each compared with what was signed.

use std::sync::Arc;

use anyhow::Result;
use secrecy::ExposeSecret as _;

use super::report::Damage;
use super::{CannotRebuild, Request};
use crate::archive::{Reader, VouchKey};
use crate::base::digest::Digest;
use crate::base::words::words;
use crate::config::Config;
use crate::formats::tlog::{
    Checkpoint, Frontier, Note, SigningKey, TILE_WIDTH, Tile, VerifyingKey, WitnessKey, leaf_hash,
    path_of_bundle,
};
use crate::proof::notary::{self, FOLDER, Published, PublishedError};
use crate::vault::state::{self, Seed, Surviving, parse_seed};

/// What to do about a file of the ledger that is damaged. Nothing else has what it held.
const RESTORE: &str = "restore it from a backup, then rebuild again";

#[derive(Debug)]
pub(super) struct PublishedLedger {
    published: Published,
    /// What was signed of it; none if nothing was, if that is damaged, or if the files do not come to it.
    pub(super) signed: Option<Signed>,
    /// Entries that a trusted signer has seen there, even if they are gone now.
    pub(super) seen: u64,
    /// Entries that are there, signed or not. A crash may have come between them and their checkpoint.
    pub(super) size: u64,
}

/// What was signed, once the files have been found to come to it.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    pub(super) by: Candidate,
    pub(super) frontier: Frontier,
    source: Source,
}

#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) checkpoint: Checkpoint,
    /// The keys that signed it, as far as they are believed.
    pub(super) keys: Vec<VerifyingKey>,
    pub(super) trust: Trust,
}

/// Which files come to the root that was signed, where two of them disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Tiles,
    Bundles,
}

/// Up to 256 entries with their numbers, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) entries: Vec<(u64, Vec<u8>)>,
    pub(super) damage: Vec<Damage>,
}

/// The two files that tell of a page of leaves.
struct Files {
    entries: Result<Vec<Vec<u8>>, PublishedError>,
    tile: Result<Vec<Digest>, PublishedError>,
}

impl PublishedLedger {
    /// Opens the ledger in the archive, and finds out what of it can be believed; `None` if there is nothing. Damage to the
    /// whole of it is returned beside it. Fails if there is a key, and others signed the ledger.
    pub(super) fn open(archive: Arc<dyn Reader>, believed: &Believed) -> Result<(Option<Self>, Vec<Damage>)> {
        let Some(published) = Published::of(archive)? else {
            let problem = format!("it is gone: {RESTORE}. Until then nothing proves what was archived");
            return Ok((None, vec![Damage::of("", FOLDER, problem)]));
        };
        let mut damage = Vec::new();
        let mut candidates = Vec::new();
        match read_checkpoint(&published, believed)? {
            Ok(candidate) => candidates.extend(candidate),
            Err(problem) => damage.push(damaged("checkpoint", problem)),
        }
        candidates.extend(believed.own_checkpoint.as_ref().and_then(|note| believed.judge(note)));
        let seen = candidates.iter().map(|candidate| candidate.checkpoint.size).max().unwrap_or(0);
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.checkpoint.size));
        let signed = candidates.into_iter().find_map(|candidate| candidate.found_in(&published));
        let signed_size = signed.as_ref().map_or(0, |signed| signed.frontier.size());
        if seen > signed_size {
            let problem = format!(
                "its entries are not the {seen} signed ones, or some are missing: restore the folder `{FOLDER}` from a \
                 backup, then rebuild again. Until then nothing is signed"
            );
            damage.push(damaged("checkpoint", problem));
        }
        let size = published.bundled_size(signed_size)?;
        Ok((Some(Self { published, signed, seen, size }), damage))
    }

    /// The entries to put back, page by page: those that were signed; all that are there, if that is not known.
    pub(super) fn pages(&self) -> impl Iterator<Item = Page> {
        let size = self.signed.as_ref().map_or(self.size, |signed| signed.frontier.size());
        (0..size.div_ceil(TILE_WIDTH)).map(move |index| match &self.signed {
            Some(signed) => Files::read(&self.published, index, size).checked(index, size, signed.source),
            None => match self.published.bundle(index, size) {
                Ok(entries) => {
                    Page { entries: (index * TILE_WIDTH..).zip(entries).collect(), ..Page::default() }
                }
                Err(error) => Page { damage: vec![damage_of(&error)], ..Page::default() },
            },
        })
    }
}

impl Files {
    fn read(published: &Published, index: u64, size: u64) -> Self {
        let width = TILE_WIDTH.min(size - index * TILE_WIDTH);
        Self { entries: published.bundle(index, size), tile: published.tile(Tile { level: 0, index, width }) }
    }

    /// The leaves of the page by the word of one of the two; by that of the other if it is not there.
    fn leaves(&self, source: Source) -> Option<Vec<Digest>> {
        let entries = self.entries.as_ref().ok();
        let of_entries = entries.map(|entries| entries.iter().map(|entry| leaf_hash(entry)).collect());
        let of_tile = self.tile.as_ref().ok().cloned();
        match source {
            Source::Tiles => of_tile.or(of_entries),
            Source::Bundles => of_entries.or(of_tile),
        }
    }

    /// The entries that were signed, and what is wrong with either file.
    fn checked(self, index: u64, size: u64, source: Source) -> Page {
        let Some(leaves) = self.leaves(source) else {
            let errors = [self.entries.err(), self.tile.err()];
            return Page { damage: errors.iter().flatten().map(damage_of).collect(), ..Page::default() };
        };
        let width = leaves.len() as u64;
        let mut page = Page::default();
        match self.tile {
            Ok(tile) if tile == leaves => {}
            Ok(_) => page.damage.push(other_content(&Tile { level: 0, index, width }.path())),
            Err(error) => page.damage.push(damage_of(&error)),
        }
        match self.entries {
            Ok(entries) => {
                let there = entries.len();
                let signed = (index * TILE_WIDTH..).zip(entries).zip(leaves);
                let signed = signed.filter(|((_, entry), leaf)| leaf_hash(entry) == *leaf);
                page.entries = signed.map(|(numbered, _)| numbered).collect();
                if page.entries.len() < there {
                    page.damage.push(other_content(&path_of_bundle(index, width)));
                }
            }
            Err(error) => page.damage.push(damage_of(&error)),
        }
        debug_assert!(page.entries.iter().all(|(number, _)| *number < size));
        page
    }
}

/// The checkpoint in the archive, or what is wrong with it; none if nothing was published yet.
fn read_checkpoint(published: &Published, believed: &Believed) -> Result<Result<Option<Candidate>, String>> {
    let again = "; the service will publish it again";
    let Some(bytes) = published.file("checkpoint")? else {
        let is_gone = published.bundled_size(0)? > 0;
        return Ok(if is_gone { Err(format!("it is gone{again}")) } else { Ok(None) });
    };
    let text = String::from_utf8_lossy(&bytes);
    if let Some(mut candidate) = believed.judge(&text) {
        if candidate.trust == Trust::Witness {
            candidate.keys.extend(signers(&text, published.keys()?));
        }
        return Ok(Ok(Some(candidate)));
    }
    match published.checkpoint(&published.keys()?) {
        Ok(_) if believed.has_key() => Err(CannotRebuild::OthersLedger.into()),
        // No key is left that could show to whom it belongs.
        Ok(found) => {
            let unproven = |(checkpoint, _)| Candidate { checkpoint, keys: Vec::new(), trust: Trust::None };
            Ok(Ok(found.map(unproven)))
        }
        Err(PublishedError::Archive(error)) => Err(error.into()),
        Err(PublishedError::Damaged { error, .. }) => Ok(Err(format!("{error}{again}"))),
        Err(error) => Ok(Err(error.to_string())),
    }
}

impl Candidate {
    /// Finds the files that come to the root of this checkpoint. The search ends where the files end, whatever its size.
    fn found_in(self, published: &Published) -> Option<Signed> {
        let Checkpoint { size, root, .. } = self.checkpoint;
        let tree_by = |source| {
            let (mut tree, mut full) = (Frontier::default(), Vec::new());
            for index in 0..size.div_ceil(TILE_WIDTH) {
                let leaves = Files::read(published, index, size).leaves(source)?;
                leaves.into_iter().for_each(|leaf| tree.push(leaf, &mut full));
                full.clear();
            }
            (tree.size() == size && tree.root() == root).then_some(tree)
        };
        let mut sources = [Source::Tiles, Source::Bundles].into_iter();
        let (frontier, source) = sources.find_map(|source| Some((tree_by(source)?, source)))?;
        Some(Signed { by: self, frontier, source })
    }
}

fn other_content(path: &str) -> Damage {
    damaged(path, format!("its content is not what was signed: {RESTORE}"))
}

fn damage_of(error: &PublishedError) -> Damage {
    match error {
        PublishedError::Missing(path) => damaged(path, format!("it is gone: {RESTORE}")),
        PublishedError::Damaged { path, error } => damaged(path, format!("{error}: {RESTORE}")),
        PublishedError::TooLarge { path, .. } => damaged(path, error.to_string()),
        error => Damage::of("", FOLDER, error.to_string()),
    }
}

fn damaged(path: &str, problem: String) -> Damage {
    Damage::of("", format!("{FOLDER}/{path}"), problem)
}

words! {
    #[derive(Default)]
    /// Whose word it is that the published ledger is the one that was signed.
    pub enum Trust as "trust" {
        /// A key of the state, which was not lost, has signed it.
        OwnKey = "own_key",
        /// The key that the operator gave has signed it.
        Vkey = "vkey",
        /// A witness of the configuration has seen it.
        Witness = "witness",
        /// Only the archive itself.
        #[default]
        None = "none",
    }
}

/// Those whose word is believed, and what is left of the state beside them.
pub(super) struct Believed {
    seeds: Vec<Seed>,
    /// Whether one of them is the operator's own, who alone changes it.
    is_given: bool,
    vkeys: Vec<VerifyingKey>,
    witnesses: Vec<WitnessKey>,
    /// What the state knows its own sidecars by; none if that is lost.
    pub(super) vouch_key: Option<VouchKey>,
    /// The checkpoint that the state signed last, if it is still known.
    pub(super) own_checkpoint: Option<String>,
    /// What the ledger is called, as far as configuration and markers tell: a witness may see the ledgers of others.
    origin: String,
}

impl Believed {
    /// Looks for keys in the state, in the configuration and in what the operator gave.
    pub(super) fn of(config: &Config, request: &Request, state_id: &str) -> Result<Self> {
        let Surviving { mut seeds, adopt_key, checkpoint } = state::surviving(&config.state.path)?;
        seeds.extend(config.ledger.key.as_ref().and_then(|key| parse_seed(key.expose_secret())));
        let parse =
            |vkey: &String| VerifyingKey::from_vkey(vkey).map_err(|_| CannotRebuild::NoKey(vkey.clone()));
        Ok(Self {
            seeds,
            is_given: config.ledger.key.is_some(),
            vkeys: request.vkeys.iter().map(parse).collect::<Result<_, _>>()?,
            witnesses: config.anchors.witnesses.iter().map(|witness| witness.key.clone()).collect(),
            vouch_key: adopt_key.map(VouchKey::new),
            own_checkpoint: checkpoint,
            origin: config.ledger.origin.clone().unwrap_or_else(|| notary::own_origin(state_id)),
        })
    }

    /// Whether there is a key without which no ledger can be this state's.
    pub(super) fn has_key(&self) -> bool {
        !(self.seeds.is_empty() && self.vkeys.is_empty())
    }

    /// Whether the key that signs is left, or the operator keeps it.
    pub(super) fn has_own_key(&self) -> bool {
        !self.seeds.is_empty()
    }

    /// What a note says, and who vouches for it; none if none of them does.
    fn judge(&self, note: &str) -> Option<Candidate> {
        let parsed = Note::parse(note).ok()?;
        let checkpoint = Checkpoint::parse(parsed.text()).ok()?;
        let is_signed = |keys: &[VerifyingKey]| parsed.verify(keys).is_ok();
        let own = self.own_keys(&checkpoint.origin);
        let lines = note.get(parsed.text().len() + 1..).unwrap_or_default();
        let is_seen = |witness: &WitnessKey| witness.cosignatures(lines, parsed.text()).is_ok();
        let trust = if is_signed(&own) {
            Trust::OwnKey
        } else if is_signed(&self.vkeys) {
            Trust::Vkey
        } else if checkpoint.origin == self.origin && self.witnesses.iter().any(is_seen) {
            Trust::Witness
        } else {
            return None;
        };
        let keys = signers(note, own.into_iter().chain(self.vkeys.iter().cloned()).collect());
        Some(Candidate { checkpoint, keys, trust })
    }

    /// The public halves of the keys that the state made by itself, under the name of a ledger; none if the operator gives them.
    pub(super) fn made_keys(&self, origin: &str) -> Vec<VerifyingKey> {
        if self.is_given { Vec::new() } else { self.own_keys(origin) }
    }

    /// The public halves of the state's keys, under the name of a ledger: what it is called is a part of what they sign.
    fn own_keys(&self, origin: &str) -> Vec<VerifyingKey> {
        let of = |seed: &Seed| SigningKey::from_seed(origin, seed).map(|key| key.verifying_key());
        self.seeds.iter().filter_map(of).collect()
    }
}

fn signers(note: &str, mut keys: Vec<VerifyingKey>) -> Vec<VerifyingKey> {
    let parsed = Note::parse(note);
    keys.retain(|key| parsed.as_ref().is_ok_and(|note| note.is_signed_by(key)));
    keys
}
