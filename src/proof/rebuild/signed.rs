//! What was signed of the ledger: the last checkpoint and the keys, so that the service goes on from there.

use super::plan::Plan;
use super::published::{PublishedLedger, Signed};
use super::replay::entry_name;
use super::{Damage, Rebuild, Trust};
use crate::base::blocking::blocking;
use crate::formats::ledger_entry::KeyEntry;
use crate::formats::tlog::{Frontier, TILE_WIDTH, VerifyingKey};
use crate::proof::notary;
use crate::store::db;
use crate::store::fleet;
use crate::store::ledger;
use crate::store::ledger::{Entry, EntryType, Numbered, RebuiltOn};

impl Rebuild<'_> {
    /// Opens the published ledger, unless it is another state's.
    pub(super) async fn open_ledger(&mut self, plan: &Plan) -> anyhow::Result<Option<PublishedLedger>> {
        if !plan.has_ledger {
            return Ok(None);
        }
        let (archive, believed) = (self.archive.clone(), self.believed.clone());
        let opened = blocking(move || PublishedLedger::open(archive, &believed));
        let (ledger, damage) = opened.await?;
        damage.into_iter().for_each(|damage| self.damaged(damage));
        Ok(ledger)
    }

    pub(super) async fn take_key(&mut self, number: i64, entry: KeyEntry) -> anyhow::Result<()> {
        let KeyEntry { action, vkey, at } = entry;
        let tx = self.building.tx();
        let noted = match action.as_str() {
            "retired" => ledger::retire_key(tx, &vkey, at).await,
            "created" | "announced" if VerifyingKey::from_vkey(&vkey).is_ok() => {
                ledger::add_key(tx, &vkey, notary::overlap_ends(at), at).await
            }
            _ => {
                self.damaged(Damage::of("", entry_name(number), "it names no valid key"));
                Ok(())
            }
        };
        match noted {
            // One that came back is known already.
            Err(error) if db::is_refused(&error) => Ok(()),
            noted => noted,
        }
    }

    /// Notes what was signed last. It stays unknown if an entry is gone with which the next ones would be published
    /// together: then nothing is signed, rather than something else under its number.
    pub(super) async fn note_signed(&mut self, published: &PublishedLedger) -> anyhow::Result<()> {
        let ledger = &mut self.report.ledger;
        let Some(signed) = &published.signed else {
            ledger.unsigned = ledger.published;
            ledger.lost = i64::try_from(published.seen)?.saturating_sub(ledger.published).max(0);
            return self.note_origin_by_its_keys().await;
        };
        ledger.lost = i64::try_from(published.seen.max(signed.frontier.size()))? - ledger.published;
        ledger.unsigned = i64::try_from(published.size.saturating_sub(signed.frontier.size()))?;
        fleet::set_meta(self.building.tx(), notary::ORIGIN, &signed.origin).await?;
        self.note_untold_keys(signed).await?;
        match self.last_of_whole_page(signed).await? {
            // A checkpoint does not tell when it was signed: it was soon after its last entry.
            Some(last) => {
                let signed_at = last.at().unwrap_or(self.now);
                ledger::note_checkpoint(self.building.tx(), &signed.frontier, signed_at).await
            }
            None => Ok(()),
        }
    }

    /// Tells in the ledger itself on whose word it goes on.
    pub(super) async fn note_rebuilt(&mut self, published: Option<&PublishedLedger>) -> anyhow::Result<()> {
        let signed = published.and_then(|published| published.signed.as_ref());
        let edge = signed.map_or_else(Frontier::default, |signed| signed.frontier.clone());
        let trust = signed.map_or(Trust::None, |signed| signed.trust);
        self.report.ledger.trust = trust;
        let entry = Entry::new(EntryType::Rebuilt, self.now)
            .with("size", edge.size())
            .with("root", edge.root().to_string())
            .with("trust", trust.as_str())
            .with("unsigned", self.report.ledger.unsigned);
        let tx = self.building.tx();
        let ledger_number = ledger::append(tx, &entry).await?;
        if trust != Trust::OwnKey {
            self.rebuilt.push(RebuiltOn { ledger_number, trust: trust.as_str().to_owned() });
        }
        fleet::set_meta(tx, ledger::REBUILT, &serde_json::to_string(&self.rebuilt)?).await?;
        if !self.believed.has_own_key() {
            fleet::set_meta(tx, notary::KEY_MAY_CHANGE, "1").await?;
        }
        Ok(())
    }

    /// Without a checkpoint the keys still tell what the ledger is called, for ever.
    async fn note_origin_by_its_keys(&mut self) -> anyhow::Result<()> {
        let tx = self.building.tx();
        let latest = ledger::keys(tx).await?.into_iter().next();
        match latest.map(|row| VerifyingKey::from_vkey(&row.vkey)).transpose()? {
            Some(key) => fleet::set_meta(tx, notary::ORIGIN, key.name()).await,
            None => Ok(()),
        }
    }

    /// Notes a key that signed what is published, but whose entry is gone.
    async fn note_untold_keys(&mut self, signed: &Signed) -> anyhow::Result<()> {
        let told = ledger::keys(self.building.tx()).await?;
        for key in &signed.keys {
            let vkey = key.to_vkey();
            if told.iter().all(|row| row.vkey != vkey) {
                let overlap_ends = notary::overlap_ends(self.now);
                ledger::add_key(self.building.tx(), &vkey, overlap_ends, self.now).await?;
            }
        }
        Ok(())
    }

    /// The last entry that was signed, if all of its page are there.
    async fn last_of_whole_page(&mut self, signed: &Signed) -> anyhow::Result<Option<Numbered>> {
        let size = signed.frontier.size();
        let from = size.saturating_sub(1) / TILE_WIDTH * TILE_WIDTH;
        let mut page = ledger::entries(self.building.tx(), from, size - from).await?;
        page.retain(|entry| entry.number < size);
        let is_whole = page.len() as u64 == size - from;
        Ok(page.pop().filter(|_| is_whole))
    }
}
