//! Whose word it is that the published ledger is the one that this installation signed. The archive's own word counts for
//! nothing: anyone who can write there can sign another ledger with a key of their own, and put that key beside it.

use secrecy::ExposeSecret as _;

use super::{CannotRebuild, Request};
use crate::archive::VouchKey;
use crate::base::words::words;
use crate::config::Config;
use crate::formats::tlog::{Checkpoint, Note, SigningKey, VerifyingKey, WitnessKey};
use crate::proof::notary;
use crate::vault::state::{self, Seed, Surviving, parse_seed};

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
    pub(super) fn of(config: &Config, request: &Request, state_id: &str) -> anyhow::Result<Self> {
        let Surviving { mut seeds, adopt_key, checkpoint } = state::surviving(&config.state.path)?;
        seeds.extend(config.ledger.key.as_ref().and_then(|key| parse_seed(key.expose_secret())));
        let parse =
            |vkey: &String| VerifyingKey::from_vkey(vkey).map_err(|_| CannotRebuild::NoKey(vkey.clone()));
        Ok(Self {
            seeds,
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
    pub(super) fn judge(&self, note: &str) -> Option<(Checkpoint, Trust)> {
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
        Some((checkpoint, trust))
    }

    /// Those of their keys that have signed a note of the ledger that is called `origin`.
    pub(super) fn signers(&self, note: &str, origin: &str) -> Vec<VerifyingKey> {
        let mut keys = self.own_keys(origin);
        keys.extend(self.vkeys.iter().cloned());
        signers(note, keys)
    }

    /// The public halves of the state's keys, under the name of a ledger: what it is called is a part of what they sign.
    fn own_keys(&self, origin: &str) -> Vec<VerifyingKey> {
        let of = |seed: &Seed| SigningKey::from_seed(origin, seed).map(|key| key.verifying_key());
        self.seeds.iter().filter_map(of).collect()
    }
}

/// Those of some keys that have signed a note.
pub(super) fn signers(note: &str, mut keys: Vec<VerifyingKey>) -> Vec<VerifyingKey> {
    let parsed = Note::parse(note);
    keys.retain(|key| parsed.as_ref().is_ok_and(|note| note.verify(std::slice::from_ref(key)).is_ok()));
    keys
}
