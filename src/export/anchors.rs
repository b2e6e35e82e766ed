//! Time-stamp tokens in the bag: for each exported file the first one of each authority that covers its entry, and the
//! latest.

use std::collections::{BTreeMap, BTreeSet};

use super::ExportError;
use super::bag::Bag;
use super::log::Log;
use crate::anchor::{self, TokenName};
use crate::notary::Published;

/// Where they are in the bag.
const FOLDER: &str = "anchor/";

/// A token that is in the bag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// Entries that its checkpoint covers.
    pub(super) size: u64,
    pub(super) authority: String,
    /// Whether the certificates by which it is verified are beside it.
    pub(super) has_certificates: bool,
}

impl Token {
    /// Its file in the bag.
    pub(super) fn path(&self) -> String {
        format!("{FOLDER}{}.{}.tsr", self.size, self.authority)
    }

    /// The bytes that it stamps.
    pub(super) fn checkpoint(&self) -> String {
        format!("{FOLDER}{}.checkpoint", self.size)
    }

    /// The certificates of its authority.
    pub(super) fn certificates(&self) -> String {
        format!("{FOLDER}{}.ca.pem", self.authority)
    }
}

/// Copies those tokens that say something of the `wanted` entries of the ledger.
///
/// # Errors
/// If the ledger's folder cannot be read or the bag not be written. A token whose checkpoint is gone, or is none of this
/// ledger, is left out: it says nothing.
pub(super) fn copy(
    published: &Published,
    wanted: &BTreeSet<u64>,
    log: &Log,
    bag: &mut Bag,
) -> Result<Vec<Token>, ExportError> {
    let mut tokens = Vec::new();
    let mut checkpoints = BTreeSet::new();
    let mut authorities = BTreeMap::new();
    for TokenName { size, authority } in chosen(anchor::tokens(published)?, wanted, log.checkpoint.size) {
        let name = |suffix: &str| format!("{}/{size}.{suffix}", anchor::FOLDER);
        let [checkpoint, token] = [name("checkpoint"), name(&format!("{authority}.tsr"))];
        let (Some(checkpoint), Some(token)) = (published.file(&checkpoint)?, published.file(&token)?) else {
            continue;
        };
        if !log.continues(&checkpoint, size) {
            continue;
        }
        let has_certificates = match authorities.get(&authority) {
            Some(has) => *has,
            None => {
                let pem = published.file(&format!("{}/{authority}.ca.pem", anchor::FOLDER))?;
                if let Some(pem) = &pem {
                    bag.put(&format!("{FOLDER}{authority}.ca.pem"), pem)?;
                }
                authorities.insert(authority.clone(), pem.is_some());
                pem.is_some()
            }
        };
        let kept = Token { size, authority, has_certificates };
        bag.put(&kept.path(), token)?;
        if checkpoints.insert(size) {
            bag.put(&kept.checkpoint(), checkpoint)?;
        }
        tokens.push(kept);
    }
    Ok(tokens)
}

/// Those of `tokens` that say something: by authority, the first that covers each entry, and the last of all.
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
