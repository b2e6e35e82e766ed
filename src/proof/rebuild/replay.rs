//! The published ledger, replayed over what was found: each entry finds its file, each absence its recording.

use std::sync::Arc;

use jiff::civil::Date;
use tokio::sync::mpsc;

use super::published::{Page, PublishedLedger};
use super::{Damage, OpenGap, Rebuild, Trust};
use crate::base::recording::RecordingKind;
use crate::formats::ledger_entry::{FileEntry, GapEntry, LedgerEntry};
use crate::store::fleet;
use crate::store::ledger::{self, RebuiltOn, commitment};
use crate::store::queue::{self, Gap};
use crate::store::scratch::{self, Naming};

/// Pages of entries that wait to be taken.
const PAGES_WAITING: usize = 4;
const RECORDINGS_PER_PAGE: i64 = 1000;

impl Rebuild<'_> {
    /// Restores every entry, and links it to what it is about.
    pub(super) async fn replay(&mut self, ledger: Option<PublishedLedger>) -> anyhow::Result<()> {
        scratch::index_files(self.building.tx()).await?;
        self.note_absences().await?;
        let Some(ledger) = ledger else { return self.note_rebuilt(None).await };
        let ledger = Arc::new(ledger);
        let mut pages = read(ledger.clone());
        while let Some(page) = pages.recv().await {
            self.progress.add_entries(page.entries.len());
            page.damage.into_iter().for_each(|damage| self.damaged(damage));
            for (number, bytes) in page.entries {
                self.take_entry(number, bytes, ledger.signed.is_some()).await?;
            }
        }
        self.note_signed(&ledger).await?;
        self.note_rebuilt(Some(&ledger)).await
    }

    /// Notes what the ledger may name each recording by that is not archived. One that was heard of before the serial
    /// number was known may have it since, which no list repeats.
    async fn note_absences(&mut self) -> anyhow::Result<()> {
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
    async fn take_entry(&mut self, number: u64, bytes: Vec<u8>, is_signed: bool) -> anyhow::Result<()> {
        let (of, number) = (number, i64::try_from(number)?);
        let Ok(entry) = String::from_utf8(bytes) else {
            self.damaged(Damage::of("", entry_name(number), "it is not text"));
            return Ok(());
        };
        ledger::restore(self.building.tx(), of, &entry).await?;
        self.building.wrote().await?;
        self.report.ledger.published += 1;
        if !is_signed {
            return Ok(());
        }
        match LedgerEntry::read(&entry) {
            Ok(LedgerEntry::Archived(file)) => self.take_file_entry(number, false, &file).await,
            Ok(LedgerEntry::Conflict(file)) => self.take_file_entry(number, true, &file).await,
            Ok(LedgerEntry::Gap(gap)) => self.take_gap(number, gap).await,
            Ok(LedgerEntry::Suspect { archived, suspect }) => {
                scratch::keep_suspicion(self.building.tx(), archived, &suspect).await
            }
            Ok(LedgerEntry::Lists(list)) => self.take_list_entry(number, &list).await,
            Ok(LedgerEntry::DayClosed(closed)) => self.take_day_closed(number, closed).await,
            Ok(LedgerEntry::Key(key)) => self.take_key(number, key).await,
            Ok(LedgerEntry::Config { settings }) => {
                fleet::set_meta(self.building.tx(), ledger::SETTINGS, &settings).await
            }
            Ok(LedgerEntry::Rebuilt { trust }) => {
                if trust != Trust::OwnKey.as_str() {
                    self.rebuilt.push(RebuiltOn { ledger_number: number, trust });
                }
                Ok(())
            }
            Ok(LedgerEntry::Other) => Ok(()),
            Err(error) => {
                self.damaged(Damage::of(
                    "",
                    entry_name(number),
                    format!("callvault cannot read it: {error}"),
                ));
                Ok(())
            }
        }
    }

    async fn take_file_entry(
        &mut self,
        number: i64,
        conflict: bool,
        entry: &FileEntry,
    ) -> anyhow::Result<()> {
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

    async fn take_gap(&mut self, number: i64, entry: GapEntry) -> anyhow::Result<()> {
        let GapEntry { pbx, day, recording, reason, attempts } = entry;
        self.reopen_day(&pbx, day);
        match scratch::absence(self.building.tx(), recording).await? {
            Some((id, sn)) => {
                let gap = Gap { number, reason: &reason, attempts };
                queue::restore_gap(self.building.tx(), id, &sn, &gap).await
            }
            None => {
                self.gaps.insert(recording, OpenGap { number, pbx, day });
                Ok(())
            }
        }
    }

    /// What became of a recording since a day settled opens it again.
    pub(super) fn reopen_day(&mut self, pbx: &str, day: Date) {
        if let Some(told) = self.days.get_mut(&(pbx.to_owned(), day)) {
            told.reopened = true;
        }
    }
}

fn read(ledger: Arc<PublishedLedger>) -> mpsc::Receiver<Page> {
    let (sender, pages) = mpsc::channel(PAGES_WAITING);
    tokio::task::spawn_blocking(move || ledger.pages().try_for_each(|page| sender.blocking_send(page)));
    pages
}

/// How an entry is called where people read of it.
pub(super) fn entry_name(number: i64) -> String {
    format!("entry {number} of the ledger")
}
