//! The keys of the ledger and its name: which key signs, which ones signed before, and how one follows the other.

use anyhow::Context as _;
use jiff::{Timestamp, ToSpan as _};
use secrecy::ExposeSecret as _;

use super::{KEY_MAY_CHANGE, NotaryError, ORIGIN};
use crate::archive::{ArchiveError, Area};
use crate::config::LedgerConfig;
use crate::formats::tlog::{SigningKey, VerifyingKey};
use crate::store::db::Db;
use crate::store::fleet;
use crate::store::ledger::{self, Entry, EntryType};
use crate::vault::state::{Seed, State, parse_seed};

/// For how many hours a former key signs beside its successor: 30 days.
const OVERLAP_H: i64 = 30 * 24;

#[derive(Debug)]
pub(super) struct Keys {
    /// Those that sign, the latest first.
    pub(super) signing: Vec<SigningKey>,
    /// Until when each former one of these signs, beside the latest.
    signs_until: Vec<(String, Timestamp)>,
    /// All that ever signed.
    pub(super) known: Vec<VerifyingKey>,
    /// Whether the operator keeps the secret.
    is_given: bool,
    /// The key that signed last, if the present one is another that was never announced: then nothing is signed.
    is_not: Option<VerifyingKey>,
}

impl Keys {
    /// Reads the keys; makes the first one. Another one than has signed last is taken over if a rebuild found that lost; else
    /// only [`Keys::rotate`] lets it sign.
    pub(super) async fn open(
        state: &State,
        origin: &str,
        config: &LedgerConfig,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let db = &state.db;
        let seed = match &config.key {
            Some(key) => parse_seed(key.expose_secret()).context("the configuration checked the key")?,
            None => state.ledger_seed()?,
        };
        let current = key_of(origin, &seed)?;
        let rows = ledger::keys(&mut *db.read().await?).await?;
        let last = rows.first().filter(|row| row.vkey != current.verifying_key().to_vkey());
        let may_change =
            fleet::meta(&mut *db.read().await?, KEY_MAY_CHANGE).await?.is_some_and(|is| is == "1");
        let is_not = match last {
            Some(row) if !may_change => Some(VerifyingKey::from_vkey(&row.vkey)?),
            _ => None,
        };
        if rows.is_empty() || last.is_some() && may_change {
            note_key(db, &current, rows.is_empty(), now).await?;
        }
        let (signing, is_given) = (vec![current], config.key.is_some());
        let mut keys = Self { signing, signs_until: Vec::new(), known: Vec::new(), is_given, is_not };
        for row in ledger::keys(&mut *db.read().await?).await? {
            let key = VerifyingKey::from_vkey(&row.vkey)?;
            let signs_until = row.signs_until_ms.filter(|_| row.retired_at_ms.is_none());
            if let Some(until) = signs_until.map(Timestamp::from)
                && let Some(seed) = state.former_ledger_seed(&key.id().to_string())?
            {
                keys.signing.push(key_of(origin, &seed)?);
                keys.signs_until.push((row.vkey, until));
            }
            keys.known.push(key);
        }
        Ok(keys)
    }

    /// Why nothing can be signed, if the present key is not the one that signed last.
    pub(super) fn check(&self) -> Result<(), NotaryError> {
        match &self.is_not {
            None => Ok(()),
            Some(last) => Err(NotaryError::OtherKey {
                present: self.current().verifying_key().id().to_string(),
                last: last.id().to_string(),
            }),
        }
    }

    pub(super) fn current(&self) -> &SigningKey {
        self.signing.first().expect("there is always one")
    }

    /// Puts the public halves where others find them, as both of their programs read them.
    pub(super) fn publish(&self, area: &Area) -> Result<(), ArchiveError> {
        let files = self.known.iter().flat_map(key_files);
        files.into_iter().try_for_each(|(path, text)| area.put(&super::key(&path)?, text.as_bytes()))
    }

    /// Makes a key that follows the present one; where another is in its place already, that one follows it.
    pub(super) async fn rotate(&mut self, state: &State, origin: &str, now: Timestamp) -> anyhow::Result<()> {
        let db = &state.db;
        if let Some(last) = self.is_not.take() {
            note_key(db, self.current(), false, now).await?;
            self.known.insert(0, self.current().verifying_key());
            if let Some(seed) = state.former_ledger_seed(&last.id().to_string())? {
                self.signing.push(key_of(origin, &seed)?);
                self.signs_until.push((last.to_vkey(), overlap_ends(now)));
            }
            return Ok(());
        }
        anyhow::ensure!(
            !self.is_given,
            "[ledger] key_file has the key: replace the key in that file, then run this command again"
        );
        let former = self.current().verifying_key();
        // After a crash the next run finds another key, and that this is allowed.
        db.write(async move |tx| fleet::set_meta(tx, KEY_MAY_CHANGE, "1").await).await?;
        let seed = state.rotate_ledger_seed(&former.id().to_string())?;
        let key = key_of(origin, &seed)?;
        note_key(db, &key, false, now).await?;
        self.known.insert(0, key.verifying_key());
        self.signing.insert(0, key);
        self.signs_until.push((former.to_vkey(), overlap_ends(now)));
        Ok(())
    }

    /// Lets former keys rest whose time is over.
    pub(super) async fn retire_overdue(&mut self, db: &Db, now: Timestamp) -> anyhow::Result<()> {
        let over: Vec<_> = self.signs_until.extract_if(.., |(_, until)| *until <= now).collect();
        for (vkey, _) in over {
            self.signing.retain(|key| key.verifying_key().to_vkey() != vkey);
            db.write(async move |tx| {
                ledger::retire_key(tx, &vkey, now).await?;
                ledger::append(tx, &entry("retired", &vkey, now)).await.map(drop)
            })
            .await?;
        }
        Ok(())
    }
}

pub(super) fn key_files(key: &VerifyingKey) -> [(String, String); 2] {
    let vkey = (format!("keys/{}.vkey", key.id()), format!("{}\n", key.to_vkey()));
    [vkey, (format!("keys/{}.pem", key.id()), key.to_pem())]
}

fn key_of(origin: &str, seed: &Seed) -> anyhow::Result<SigningKey> {
    SigningKey::from_seed(origin, seed).context("the name of the ledger cannot be that of a key")
}

/// Until when a key signs beside one that comes at `now`.
pub fn overlap_ends(now: Timestamp) -> Timestamp {
    now.checked_add(OVERLAP_H.hours()).unwrap_or(Timestamp::MAX)
}

/// Notes a key and enters it in the ledger.
async fn note_key(db: &Db, key: &SigningKey, is_first: bool, now: Timestamp) -> anyhow::Result<()> {
    let vkey = key.verifying_key().to_vkey();
    db.write(async move |tx| {
        ledger::add_key(tx, &vkey, overlap_ends(now), now).await?;
        fleet::set_meta(tx, KEY_MAY_CHANGE, "").await?;
        let action = if is_first { "created" } else { "announced" };
        ledger::append(tx, &entry(action, &vkey, now)).await.map(drop)
    })
    .await
}

fn entry(action: &str, vkey: &str, now: Timestamp) -> Entry {
    Entry::new(EntryType::Key, now).with("action", action).with("vkey", vkey)
}

/// What the ledger of a state is called, unless the operator chose.
pub fn own_origin(state_id: &str) -> String {
    // Half of the id is random enough to be nobody else's, and short enough to be compared by eye.
    format!("callvault/{}", state_id.get(..16).unwrap_or(state_id))
}

/// What the ledger is called: as it was first, whatever the configuration says now.
pub(super) async fn origin_of_state(state: &State, config: &LedgerConfig) -> anyhow::Result<String> {
    let kept = fleet::meta(&mut *state.db.read().await?, ORIGIN).await?;
    match (kept, &config.origin) {
        (Some(signed), Some(configured)) if signed != *configured => {
            Err(NotaryError::Renamed { configured: configured.clone(), signed }.into())
        }
        (Some(signed), _) => Ok(signed),
        (None, configured) => {
            let origin = configured.clone().unwrap_or_else(|| own_origin(&state.id));
            let kept = origin.clone();
            state.db.write(async move |tx| fleet::set_meta(tx, ORIGIN, &kept).await).await?;
            Ok(origin)
        }
    }
}
