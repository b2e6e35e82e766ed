//! The published ledger, replayed over what was found: each entry finds its file, each absence its recording. Then what
//! was signed of it is noted, so that the service continues from there.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Result;
use jiff::civil::Date;
use tokio::sync::mpsc;

use super::published::{Page, PublishedLedger, Signed};
use super::{Rebuild, Trust};
use crate::archive::{Folder, day_file_name};
use crate::base::blocking::blocking;
use crate::base::recording::RecordingKind;
use crate::formats::ledger_entry::{DayEntry, FileEntry, GapEntry, KeyEntry, LedgerEntry, ListEntry};
use crate::formats::salted::Lines;
use crate::formats::tlog::{Frontier, TILE_WIDTH, VerifyingKey};
use crate::proof::certificate::Names;
use crate::proof::notary;
use crate::store::certificates::{self, Certified};
use crate::store::ledger::{self, Entry, EntryType, ListFacts, Numbered, RebuiltOn, commitment};
use crate::store::scratch::{self, Naming, UnnamedList};
use crate::store::{catalog, db, fleet, queue};

const PAGES_WAITING: usize = 4;
const RECORDINGS_PER_PAGE: i64 = 1000;

impl Rebuild<'_> {
    /// Restores every entry, and links it to what it is about.
    pub(super) async fn replay(&mut self, ledger: Option<PublishedLedger>) -> Result<()> {
        scratch::index_files(self.building.tx()).await?;
        self.note_absences().await?;
        let Some(ledger) = ledger else { return self.note_rebuilt(None).await };
        let ledger = Arc::new(ledger);
        let mut pages = read(ledger.clone());
        while let Some(page) = pages.recv().await {
            self.progress.entries.fetch_add(page.entries.len() as u64, Relaxed);
            page.damage.into_iter().for_each(|damage| self.report.note(damage));
            for (number, bytes) in page.entries {
                self.take_entry(number, bytes, ledger.signed.is_some()).await?;
            }
        }
        self.note_signed(&ledger).await?;
        self.note_rebuilt(Some(&ledger)).await
    }

    /// Notes what the ledger may name each recording by that is not archived: without a serial number, or with the one that
    /// became known later, which no list repeats.
    async fn note_absences(&mut self) -> Result<()> {
        let mut after = 0;
        loop {
            let page = queue::absent_after(self.building.tx(), after, RECORDINGS_PER_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            for absent in page {
                let learnt =
                    self.serial_number(&absent.pbx).filter(|_| absent.sn.is_empty()).map(str::to_owned);
                for sn in [absent.sn].into_iter().chain(learnt) {
                    let named = commitment(&absent.salt, absent.kind, &absent.pbx, &sn, &absent.name);
                    scratch::keep_absence(self.building.tx(), named, absent.id, &sn).await?;
                }
                self.building.wrote().await?;
            }
        }
    }

    /// The serial number of a PBX, as far as its files tell.
    pub(super) fn serial_number(&self, pbx: &str) -> Option<&str> {
        let learnt = self.learnt.get(pbx)?;
        learnt.sn.as_ref().or(learnt.sn_of_files.as_ref()).map(|(_, sn)| sn.as_str())
    }

    /// Restores an entry. Its content counts only if it `is_signed`.
    async fn take_entry(&mut self, number: u64, bytes: Vec<u8>, is_signed: bool) -> Result<()> {
        let (of, number) = (number, i64::try_from(number)?);
        let Ok(entry) = String::from_utf8(bytes) else {
            self.damaged("", entry_name(number), "it is not text");
            return Ok(());
        };
        ledger::restore(self.building.tx(), of, &entry).await?;
        self.building.wrote().await?;
        self.report.ledger.published += 1;
        if !is_signed {
            return Ok(());
        }
        let entry = match LedgerEntry::read(&entry) {
            Ok(entry) => entry,
            Err(error) => {
                self.damaged("", entry_name(number), format!("callvault cannot read it: {error}"));
                return Ok(());
            }
        };
        match entry {
            LedgerEntry::Archived(file) => self.take_file_entry(number, false, &file).await,
            LedgerEntry::Conflict(file) => self.take_file_entry(number, true, &file).await,
            LedgerEntry::Gap(gap) => self.take_gap(number, gap).await,
            LedgerEntry::Suspect { archived, suspect } => {
                scratch::keep_suspicion(self.building.tx(), archived, &suspect).await
            }
            LedgerEntry::Lists(list) => self.take_list_entry(number, &list).await,
            LedgerEntry::DayClosed(closed) => self.take_day_closed(number, closed).await,
            LedgerEntry::Key(key) => self.take_key(number, key).await,
            LedgerEntry::Config { settings } => {
                fleet::set_meta(self.building.tx(), ledger::SETTINGS, &settings).await
            }
            LedgerEntry::Rebuilt { trust } => {
                if trust != Trust::OwnKey.as_str() {
                    self.rebuilt.push(RebuiltOn { ledger_number: number, trust });
                }
                Ok(())
            }
            LedgerEntry::Other => Ok(()),
        }
    }

    async fn take_file_entry(&mut self, number: i64, conflict: bool, entry: &FileEntry) -> Result<()> {
        self.gaps.remove(&entry.recording);
        let naming = Naming { number, conflict, gap: entry.gap, at_ms: entry.at.as_millisecond() };
        let kind = scratch::match_file(self.building.tx(), entry.sidecar_sha256, naming).await?;
        if kind != Some(RecordingKind::Voicemail) {
            self.reopen_day(&entry.pbx, entry.day);
        }
        match kind {
            Some(_) => Ok(()),
            None => scratch::keep_entry(self.building.tx(), naming, entry).await,
        }
    }

    async fn take_gap(&mut self, number: i64, entry: GapEntry) -> Result<()> {
        self.reopen_day(&entry.pbx, entry.day);
        match scratch::absence(self.building.tx(), entry.recording).await? {
            Some((id, sn)) => queue::restore_gap(self.building.tx(), id, &sn, number, &entry).await,
            None => {
                self.gaps.insert(entry.recording, (number, entry));
                Ok(())
            }
        }
    }

    /// What became of a recording since a day settled opens it again.
    pub(super) fn reopen_day(&mut self, pbx: &str, day: Date) {
        if let Some(found) = self.days.get_mut(&(pbx.to_owned(), day)) {
            found.reopened = true;
        }
    }

    pub(super) async fn open_ledger(&mut self) -> Result<Option<PublishedLedger>> {
        let (archive, believed) = (self.archive.clone(), self.believed.clone());
        let (ledger, damage) = blocking(move || PublishedLedger::open(archive, &believed)).await?;
        damage.into_iter().for_each(|damage| self.report.note(damage));
        Ok(ledger)
    }

    async fn take_key(&mut self, number: i64, entry: KeyEntry) -> Result<()> {
        let KeyEntry { action, vkey, at } = entry;
        let tx = self.building.tx();
        let noted = match action.as_str() {
            "retired" => ledger::retire_key(tx, &vkey, at).await,
            "created" | "announced" if VerifyingKey::from_vkey(&vkey).is_ok() => {
                ledger::add_key(tx, &vkey, notary::overlap_ends(at), at).await
            }
            _ => {
                self.damaged("", entry_name(number), "it names no valid key");
                Ok(())
            }
        };
        // One that came back is known already.
        db::unless_refused(noted).map(drop)
    }

    /// Notes what was signed last. It stays unknown if an entry is gone with which the next ones would be published
    /// together: then nothing is signed, rather than something else under its number.
    async fn note_signed(&mut self, published: &PublishedLedger) -> Result<()> {
        let ledger = &mut self.report.ledger;
        let Some(signed) = &published.signed else {
            ledger.unsigned = ledger.published;
            ledger.lost = i64::try_from(published.seen)?.saturating_sub(ledger.published).max(0);
            return self.note_origin_by_its_keys().await;
        };
        ledger.lost = i64::try_from(published.seen.max(signed.frontier.size()))? - ledger.published;
        ledger.unsigned = i64::try_from(published.size.saturating_sub(signed.frontier.size()))?;
        fleet::set_meta(self.building.tx(), notary::ORIGIN, &signed.by.checkpoint.origin).await?;
        self.note_keys_without_entry(signed).await?;
        match self.last_of_whole_page(signed).await? {
            // A checkpoint does not tell when it was signed: it was soon after its last entry.
            Some(last) => {
                let signed_at = last.at().unwrap_or(self.now);
                ledger::note_checkpoint(self.building.tx(), &signed.frontier, signed_at).await
            }
            None => Ok(()),
        }
    }

    /// The ledger itself says on whose word it continues.
    async fn note_rebuilt(&mut self, published: Option<&PublishedLedger>) -> Result<()> {
        let signed = published.and_then(|published| published.signed.as_ref());
        let edge = signed.map_or_else(Frontier::default, |signed| signed.frontier.clone());
        let trust = signed.map_or(Trust::None, |signed| signed.by.trust);
        self.report.ledger.trust = trust;
        let entry = Entry::new(EntryType::Rebuilt, self.now)
            .with("size", edge.size())
            .with("root", edge.root().to_string())
            .with("trust", trust.as_str())
            .with("unsigned", self.report.ledger.unsigned);
        let may_change = !self.believed.has_own_key() || self.is_key_changing().await?;
        let tx = self.building.tx();
        let ledger_number = ledger::append(tx, &entry).await?;
        if trust != Trust::OwnKey {
            self.rebuilt.push(RebuiltOn { ledger_number, trust: trust.as_str().to_owned() });
        }
        fleet::set_meta(tx, ledger::REBUILT, &serde_json::to_string(&self.rebuilt)?).await?;
        if may_change {
            fleet::set_meta(tx, notary::KEY_MAY_CHANGE, "1").await?;
        }
        Ok(())
    }

    /// Whether the state has the key that was announced last and one that was not: a change of keys was cut short.
    async fn is_key_changing(&mut self) -> Result<bool> {
        let announced = ledger::keys(self.building.tx()).await?;
        let Some(last) = announced.first() else { return Ok(false) };
        let own = self.believed.made_keys(VerifyingKey::from_vkey(&last.vkey)?.name());
        let is_announced = |key: &VerifyingKey| announced.iter().any(|row| row.vkey == key.to_vkey());
        Ok(own.iter().any(|key| key.to_vkey() == last.vkey) && !own.iter().all(is_announced))
    }

    /// Without a checkpoint the keys still have the name of the ledger.
    async fn note_origin_by_its_keys(&mut self) -> Result<()> {
        let tx = self.building.tx();
        let latest = ledger::keys(tx).await?.into_iter().next();
        match latest.map(|row| VerifyingKey::from_vkey(&row.vkey)).transpose()? {
            Some(key) => fleet::set_meta(tx, notary::ORIGIN, key.name()).await,
            None => Ok(()),
        }
    }

    /// Notes keys that signed what is published, but whose entries are gone.
    async fn note_keys_without_entry(&mut self, signed: &Signed) -> Result<()> {
        let known = ledger::keys(self.building.tx()).await?;
        for key in &signed.by.keys {
            let vkey = key.to_vkey();
            if known.iter().all(|row| row.vkey != vkey) {
                let overlap_ends = notary::overlap_ends(self.now);
                ledger::add_key(self.building.tx(), &vkey, overlap_ends, self.now).await?;
            }
        }
        Ok(())
    }

    /// The last entry that was signed, if all of its page are there.
    async fn last_of_whole_page(&mut self, signed: &Signed) -> Result<Option<Numbered>> {
        let size = signed.frontier.size();
        let from = size.saturating_sub(1) / TILE_WIDTH * TILE_WIDTH;
        let mut page = ledger::entries(self.building.tx(), from, size - from).await?;
        page.retain(|entry| entry.number < size);
        let is_whole = page.len() as u64 == size - from;
        Ok(page.pop().filter(|_| is_whole))
    }

    /// Finds the list of an entry: under its number, or as an edition without some lines under a later one.
    async fn take_list_entry(&mut self, number: i64, entry: &ListEntry) -> Result<()> {
        if scratch::match_list(self.building.tx(), number, entry).await? {
            return Ok(());
        }
        self.name_lost(number, &entry.pbx, entry.day, &day_file_name(entry.n), "this call list")
    }

    /// Appends an entry for each salted list without one: the unpublished tail, or what a restored older database wrote.
    pub(super) async fn name_lists_without_an_entry(&mut self) -> Result<()> {
        for list in scratch::unnamed_lists(self.building.tx()).await? {
            let UnnamedList { pbx, day, n, sha256, lines, root } = list;
            let lines = Lines { count: lines, erased: 0, root };
            let facts = ListFacts { pbx: &pbx, day, number: n, sha256, lines };
            // A list has no tag that shows who wrote it.
            let entry = ledger::list(&facts, self.now).with("found", 1);
            ledger::append(self.building.tx(), &entry).await?;
            self.report.ledger.appended += 1;
            self.building.wrote().await?;
        }
        Ok(())
    }

    /// Puts a certificate back, and the day that it closed.
    async fn take_day_closed(&mut self, number: i64, entry: DayEntry) -> Result<()> {
        let found = self.certificates.remove(&entry.certificate_sha256);
        let names = Names { revision: entry.revision.into() };
        let certified = Certified {
            pbx: &entry.pbx,
            day: entry.day,
            revision: names.revision,
            path: names.path(&entry.pbx, entry.day)?,
            sha256: entry.certificate_sha256,
            ledger_number: number,
            at: entry.at,
            sums: entry.sums(),
            // What cannot be read vouches for nothing.
            complete: found.as_ref().is_some_and(|found| found.is_complete),
            missing: entry.counts.missing,
        };
        let recorded = certificates::record(self.building.tx(), &certified).await;
        if db::unless_refused(recorded)?.is_none() {
            let problem = "another entry has a certificate of the same day and revision";
            self.damaged(&entry.pbx, entry_name(number), problem);
            return Ok(());
        }
        self.believe_entry(&entry).await?;
        let (pbx, day) = (&entry.pbx, entry.day);
        match &found {
            None => self.name_lost(number, pbx, day, &names.document(), "this certificate")?,
            Some(found) if entry.page_sha256.is_some() && found.page_sha256 != entry.page_sha256 => {
                self.name_lost(number, pbx, day, &names.page(), "this page of a certificate")?;
            }
            Some(_) => {}
        }
        let found = self.days.entry((entry.pbx, day)).or_default();
        (found.closed, found.reopened) = (Some((entry.revision, entry.at)), false);
        Ok(())
    }

    /// The ledger knows what was issued, whatever the folder and its sums hold.
    async fn believe_entry(&mut self, entry: &DayEntry) -> Result<()> {
        let folder = Folder::day(&entry.pbx, entry.day)?;
        for (name, sha256) in Names::proven_by(entry) {
            let path = format!("{folder}/{name}");
            if catalog::correct_day_file(self.building.tx(), &path, &sha256).await? {
                self.in_step.remove(folder.as_str());
            }
        }
        Ok(())
    }

    fn name_lost(&mut self, number: i64, pbx: &str, day: Date, file: &str, what: &str) -> Result<()> {
        let path = format!("{}/{file}", Folder::day(pbx, day)?);
        // `SHA256SUMS` usually lists it too.
        if self.report.damage.iter().any(|damage| damage.subject == path) {
            return Ok(());
        }
        let problem = format!(
            "{} names {what}, but the file is missing or different: restore it from a backup",
            entry_name(number)
        );
        self.damaged(pbx, path, problem);
        Ok(())
    }
}

fn read(ledger: Arc<PublishedLedger>) -> mpsc::Receiver<Page> {
    let (sender, pages) = mpsc::channel(PAGES_WAITING);
    tokio::task::spawn_blocking(move || ledger.pages().try_for_each(|page| sender.blocking_send(page)));
    pages
}

pub(super) fn entry_name(number: i64) -> String {
    format!("entry {number} of the ledger")
}
