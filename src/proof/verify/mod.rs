//! Verification: is the archive what it was when it was written, and nothing else?
//!
//! ```text
//!  each folder ─► listing │ account by the database ─► compare ─► suspects, strays
//!                                                                     │        │ still unaccounted for?
//!  the longest unread first ─► units ─────────────────────────────────┴─► read, judge ─► settle: findings,
//!  ledger │ catalog ─► leaf hashes, numbers, what an entry says of its file ─────────────► quarantine, when read
//! ```
//!
//! A look compares what is there with what should be. It reads only files that look wrong or were wrong before, and those of
//! certificates, which people are given. A full verification then reads every byte of audio, sidecars, call lists and sums,
//! the longest unread first. It notes its progress, so it can stop at any time and continue later. It reports nothing that
//! it has not seen twice, because the archive is written at the same time.

mod anchors;
mod ledger;
mod look;
mod read;
mod report;
mod settle;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use report::{Class, Counts, Damage, Report, Scope, TimeStamps, UnverifiedToken};

use crate::archive::Reader;
use crate::proof::notary::Notary;
use crate::proof::seal;
use crate::proof::sealed_vault::SealedVault;
use crate::store::catalog;
use crate::store::db::Db;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fixity::{self, Cursor, Pass, ToRead};
use crate::store::ledger::append;
use crate::vault::Vault;
use settle::Tally;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub scope: Scope,
    pub pbx: Vec<String>,
    /// After how long nothing more is begun. A full verification goes on where it ended.
    pub time_limit: Option<Duration>,
    /// Whether what is altered or unlisted is moved to quarantine.
    pub quarantine: bool,
}

impl Request {
    /// A verification of everything that changes nothing.
    pub fn of(scope: Scope) -> Self {
        Self { scope, pbx: Vec::new(), time_limit: None, quarantine: false }
    }
}

#[derive(Debug)]
pub struct Verification<'a> {
    vault: &'a Vault,
    db: &'a Db,
    notary: &'a Notary,
    reader: Arc<dyn Reader>,
    request: Request,
    /// Files that are read at one time.
    threads: usize,
    budget: Arc<Budget>,
}

impl<'a> Verification<'a> {
    /// Prepares a verification; nothing is read yet. `stop` ends it in good order.
    pub fn new(opened: &'a SealedVault, request: Request, stop: CancellationToken) -> Self {
        Self::of(opened, Arc::new(opened.vault.archive.reader()), request, stop)
    }

    /// Prepares a verification of what `reader` reads: it should hold the same as the archive.
    pub fn of(
        opened: &'a SealedVault,
        reader: Arc<dyn Reader>,
        request: Request,
        stop: CancellationToken,
    ) -> Self {
        let SealedVault { vault, notary } = opened;
        let budget = Arc::new(Budget::new(stop, request.time_limit));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { vault, db: &vault.state.db, notary, reader, request, threads, budget }
    }

    /// Verifies. What is wrong is in the report, and a finding each; what was read is remembered, and the ledger gets an
    /// entry, also if it was stopped. It fails if the archive as a whole cannot be read.
    pub async fn run(&self) -> Result<Report> {
        let began = Instant::now();
        let pbxs = self.pbxs();
        let mut tally = Tally::new(self);
        tally.look_at(&pbxs).await?;
        tally.check_ledger().await?;
        if self.request.scope == Scope::Full {
            let what = ToRead { pbxs: pbxs.clone(), before: tally.report.began_at, also_damaged: true };
            tally.read_all(what, None).await?;
        }
        if tally.sums_are_behind {
            seal::write_sums(self.db, &self.vault.archive).await?;
        }
        let mut report = tally.report;
        report.interrupted = self.budget.is_stopped();
        report.elapsed_s = began.elapsed().as_secs_f64();
        self.conclude(&report, pbxs).await?;
        Ok(report)
    }

    fn pbxs(&self) -> Vec<String> {
        let chosen = &self.request.pbx;
        let configured = self.vault.config.pbx.iter().map(|pbx| pbx.id.clone());
        configured.filter(|id| chosen.is_empty() || chosen.contains(id)).collect()
    }

    /// Enters the verification in the ledger, and notes what it says of the archive as a whole.
    async fn conclude(&self, report: &Report, pbxs: Vec<String>) -> Result<()> {
        let now = self.vault.clock.now();
        let entry = report.entry(&pbxs, now);
        let is_of_all = report.whole && pbxs.len() == self.vault.config.pbx.len();
        let is_full = report.scope == Scope::Full;
        let mut same_audio = Vec::new();
        for pbx in pbxs.iter().filter(|_| is_full && report.whole) {
            same_audio.extend(catalog::same_audio(&mut *self.db.read().await?, pbx).await?);
        }
        self.db
            .write(async move |tx| {
                append(tx, &entry).await?;
                if is_of_all {
                    fixity::note_whole(tx, Scope::Quick.as_str(), now).await?;
                }
                if is_of_all && is_full {
                    fixity::note_whole(tx, Scope::Full.as_str(), now).await?;
                    // What was under way has nothing left to read.
                    fixity::end_pass(tx).await?;
                }
                // The PBX listed each name, so all are kept, but a person should listen.
                for same in same_audio {
                    let detail = format!("same audio as {}, which belongs to another call", same.first_path);
                    let finding = Finding { kind: FindingKind::SameAudio, subject: same.path, detail };
                    findings::record_news(tx, &same.pbx, &finding, now).await?;
                }
                Ok(())
            })
            .await
    }

    /// Reads the next of so many parts of the archive, the longest unread first, so that every byte is read in time.
    ///
    /// After the last part the ledger gets the entry of them all. It fails if the archive as a whole cannot be read.
    pub async fn scrub(mut self, parts: u32) -> Result<Report> {
        // The service has better to do than to read as fast as it can.
        self.threads = 1;
        let (db, pbxs) = (self.db, self.pbxs());
        for pbx in &pbxs {
            self.vault.archive.check_place(pbx)?;
        }
        let mut tally = Tally::new(&self);
        let now = tally.report.began_at;
        db.write(async move |tx| fixity::begin_pass(tx, now).await).await?;
        let pass = fixity::pass(&mut *db.read().await?).await?;
        let pass = pass.unwrap_or(Pass { began_at: now, files: 0, bytes: 0 });
        let bytes = fixity::audio_bytes(&mut *db.read().await?, &pbxs).await?;
        let share = bytes.div_ceil(u64::from(parts.max(1)));
        let what = ToRead { pbxs: pbxs.clone(), before: pass.began_at, also_damaged: false };
        // Units without audio count nothing: a part without any quota left still reads them.
        tally.read_all(what.clone(), Some(share.max(1))).await?;
        let left = fixity::oldest(&mut *db.read().await?, &what, Cursor::START, 1).await?;
        let mut report = tally.report;
        report.interrupted = self.budget.is_stopped();
        report.whole = left.is_empty() && !report.interrupted;
        self.conclude_part(&report, pass, pbxs).await?;
        Ok(report)
    }

    /// Counts the part; after the last one, the ledger gets the entry of all of them together.
    async fn conclude_part(&self, report: &Report, pass: Pass, pbxs: Vec<String>) -> Result<()> {
        let (now, files, bytes, is_last) = (self.vault.clock.now(), report.files, report.bytes, report.whole);
        let mut whole = Report { began_at: pass.began_at, damaged: Vec::new(), ..report.clone() };
        whole.files += pass.files;
        whole.bytes += pass.bytes;
        self.db
            .write(async move |tx| {
                if !is_last {
                    return fixity::add_to_pass(tx, files, bytes).await;
                }
                let (missing, altered, unreadable) = fixity::found_of_files(tx).await?;
                whole.counts = Counts { missing, altered, unreadable, ..whole.counts };
                append(tx, &whole.entry(&pbxs, now)).await?;
                fixity::note_whole(tx, Scope::Full.as_str(), now).await?;
                fixity::end_pass(tx).await
            })
            .await
    }
}

#[derive(Debug)]
struct Budget {
    stop: CancellationToken,
    deadline: Option<Instant>,
}

impl Budget {
    fn new(stop: CancellationToken, time_limit: Option<Duration>) -> Self {
        // A limit beyond what the clock can tell is none.
        Self { stop, deadline: time_limit.and_then(|limit| Instant::now().checked_add(limit)) }
    }

    fn is_over(&self) -> bool {
        self.is_stopped() || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether somebody has asked for the end. What was begun is then not read to its end; for a deadline it is, or a large
    /// file would never be.
    fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_ends_what_is_not_begun_and_a_stop_everything() {
        let stop = CancellationToken::new();
        let budget = Budget::new(stop.clone(), Some(Duration::ZERO));
        assert!(budget.is_over() && !budget.is_stopped());
        stop.cancel();
        assert!(budget.is_stopped());
        assert!(!Budget::new(CancellationToken::new(), Some(Duration::MAX)).is_over());
    }
}
