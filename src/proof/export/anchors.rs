//! Time-stamp tokens in the bag.
//!
//! For each exported file: of each authority, the first verified token that covers its entry, and the latest. Tokens that
//! were not verified are kept apart.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::bag::Bag;
use super::log::Log;
use super::{ExportError, Sources};
use crate::proof::anchor::{self, Evidence, Roots, TokenName};
use crate::proof::notary::{Published, PublishedError};

const FOLDER: &str = "anchor/";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// Entries that its checkpoint covers.
    pub(super) size: u64,
    pub(super) authority: String,
    /// When it was given, according to the token.
    pub(super) at: Timestamp,
    /// Why it is not verified. If it is, the bag holds the certificates that prove it.
    pub(super) unverified: Option<String>,
}

impl Token {
    pub(super) fn path(&self) -> String {
        format!("{FOLDER}{}.{}.tsr", self.size, self.authority)
    }

    /// The bytes that it stamps.
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

/// Copies the tokens that are about the `wanted` entries of the ledger. A token whose checkpoint is gone, or is not of this
/// ledger, is left out: it proves nothing.
pub(super) fn copy(
    sources: &Sources<'_>,
    wanted: &BTreeSet<u64>,
    log: &Log,
    bag: &mut Bag,
) -> Result<Vec<Token>, ExportError> {
    let certificates = &sources.authorities;
    let roots: BTreeMap<&str, Roots> =
        certificates.iter().map(|(name, pem)| (name.as_str(), Roots::from_pem(pem))).collect();
    let mut candidates = anchor::tokens(sources.published)?;
    let mut taken: BTreeMap<(u64, String), Token> = BTreeMap::new();
    let mut is_first = true;
    loop {
        let before = candidates.len();
        for name in chosen(candidates.clone(), wanted, log.checkpoint.size) {
            sources.stop.check()?;
            let key = (name.size, name.authority.clone());
            if taken.contains_key(&key) {
                continue;
            }
            let roots = roots.get(name.authority.as_str());
            let token = judge(&name, roots, log, sources)?;
            let is_verified = token.as_ref().is_some_and(|(token, _)| token.is_verified());
            // If nothing can be verified, there is no better token to choose.
            if !is_verified && (roots.is_some() || token.is_none()) {
                candidates.retain(|other| *other != name);
            }
            if let Some((token, files)) = token.filter(|_| is_verified || is_first) {
                put(&token, &files, bag)?;
                taken.insert(key, token);
            }
        }
        is_first = false;
        if candidates.len() == before {
            break;
        }
    }
    let verified: BTreeSet<&str> =
        taken.values().filter(|token| token.is_verified()).map(|token| token.authority.as_str()).collect();
    for (authority, pem) in certificates.iter().filter(|(name, _)| verified.contains(name.as_str())) {
        bag.put(&format!("{FOLDER}{authority}.ca.pem"), pem)?;
    }
    Ok(taken.into_values().collect())
}

/// The checkpoint, and the authority's reply.
type Files = [Vec<u8>; 2];

/// A token and how far it can be trusted; none if it is over no checkpoint of this ledger.
fn judge(
    name: &TokenName,
    roots: Option<&Roots>,
    log: &Log,
    sources: &Sources<'_>,
) -> Result<Option<(Token, Files)>, ExportError> {
    let TokenName { size, authority } = name;
    let [checkpoint, reply] = ["checkpoint".to_owned(), format!("{authority}.tsr")]
        .map(|suffix| file(sources.published, &format!("{}/{size}.{suffix}", anchor::FOLDER)));
    let (Some(checkpoint), Some(reply)) = (checkpoint?, reply?) else { return Ok(None) };
    if !log.continues(&checkpoint, *size) {
        return Ok(None);
    }
    let evidence = Evidence {
        reply: &reply,
        checkpoint: &checkpoint,
        last_entry: log.last_entry(*size),
        roots,
        now: sources.now,
    };
    let (at, trust) = evidence.judge();
    let token = Token { size: *size, authority: authority.clone(), at, unverified: trust.reason() };
    Ok(Some((token, [checkpoint, reply])))
}

/// A file beside the ledger, unless it is larger than any of its kind.
fn file(published: &Published, path: &str) -> Result<Option<Vec<u8>>, ExportError> {
    match published.file(path) {
        Err(error @ PublishedError::TooLarge { .. }) => {
            tracing::warn!("{error}; the export has no time stamp from it");
            Ok(None)
        }
        read => Ok(read?),
    }
}

fn put(token: &Token, [checkpoint, reply]: &Files, bag: &mut Bag) -> Result<(), ExportError> {
    bag.put(&token.path(), reply)?;
    if !bag.has(&token.checkpoint()) {
        bag.put(&token.checkpoint(), checkpoint)?;
    }
    Ok(())
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
