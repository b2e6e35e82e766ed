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

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    opened: &'a SealedVault,
    reader: Arc<dyn Reader>,
    request: Request,
    stop: CancellationToken,
    progress: Arc<Progress>,
}

#[derive(Debug)]
struct Tools<'a> {
    vault: &'a Vault,
    db: &'a Db,
    notary: &'a Notary,
    reader: Arc<dyn Reader>,
    scope: Scope,
    quarantine: bool,
    /// Files that are read at one time.
    threads: usize,
    budget: Arc<Budget>,
    progress: Arc<Progress>,
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
        Self { opened, reader, request, stop, progress: Arc::default() }
    }

    pub fn progress(&self) -> Snapshot {
        self.progress.snapshot()
    }

    /// Verifies. What is wrong is in the report, and a finding each; what was read is remembered, and the ledger gets an
    /// entry, also if it was stopped. It fails if the archive as a whole cannot be read.
    pub async fn run(&self) -> anyhow::Result<Report> {
        let began = Instant::now();
        let SealedVault { vault, notary } = self.opened;
        let pbxs = self.pbxs();
        let tools = Tools {
            vault,
            db: &vault.state.db,
            notary,
            reader: self.reader.clone(),
            scope: self.request.scope,
            quarantine: self.request.quarantine,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            budget: Arc::new(Budget::new(self.stop.clone(), self.request.time_limit)),
            progress: self.progress.clone(),
        };
        let mut tally = Tally::new(Report::new(self.request.scope, vault.clock.now()));
        look::look_at(&tools, &mut tally, &pbxs).await?;
        ledger::check(&tools, &mut tally).await?;
        if self.request.scope == Scope::Full {
            let what = ToRead { pbxs: pbxs.clone(), before: tally.report.began_at, also_damaged: true };
            read::read_all(&tools, &mut tally, what, None).await?;
        }
        if tally.sums_are_behind {
            seal::write_sums(&vault.state.db, &vault.archive).await?;
        }
        let mut report = tally.report;
        report.interrupted = self.stop.is_cancelled();
        report.elapsed_s = began.elapsed().as_secs_f64();
        self.conclude(&report, pbxs).await?;
        Ok(report)
    }

    fn pbxs(&self) -> Vec<String> {
        let chosen = &self.request.pbx;
        let configured = self.opened.vault.config.pbx.iter().map(|pbx| pbx.id.clone());
        configured.filter(|id| chosen.is_empty() || chosen.contains(id)).collect()
    }

    /// Enters the verification in the ledger, and notes what it says of the archive as a whole.
    async fn conclude(&self, report: &Report, pbxs: Vec<String>) -> anyhow::Result<()> {
        let now = self.opened.vault.clock.now();
        let entry = report.entry(&pbxs, now);
        let is_of_all = report.whole && pbxs.len() == self.opened.vault.config.pbx.len();
        let is_full = report.scope == Scope::Full;
        let db = &self.opened.vault.state.db;
        let mut same_audio = Vec::new();
        for pbx in pbxs.iter().filter(|_| is_full && report.whole) {
            same_audio.extend(catalog::same_audio(&mut *db.read().await?, pbx).await?);
        }
        db.write(async move |tx| {
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

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub phase: Phase,
    pub units: u64,
    pub units_total: u64,
    pub bytes: u64,
    pub bytes_total: u64,
    pub damaged: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    #[default]
    Looking,
    Ledger,
    Reading,
}

#[derive(Debug, Default)]
struct Progress(Mutex<Snapshot>);

impl Progress {
    fn snapshot(&self) -> Snapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn begin(&self, phase: Phase, units_total: u64, bytes_total: u64) {
        self.change(|now| {
            *now = Snapshot { phase, units_total, bytes_total, damaged: now.damaged, ..Snapshot::default() };
        });
    }

    fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// In how many such parts all of it is to be read.
    pub parts: u32,
    /// After how long nothing more of it is begun.
    pub time_limit: Option<Duration>,
}

/// Reads the next part of the archive, the longest unread first, so that every byte is read within so many days.
///
/// After the last part the ledger gets the entry of them all. It fails if the archive as a whole cannot be read.
pub async fn scrub(opened: &SealedVault, part: Part, stop: &CancellationToken) -> anyhow::Result<Report> {
    let SealedVault { vault, notary } = opened;
    let pbxs: Vec<String> = vault.config.pbx.iter().map(|pbx| pbx.id.clone()).collect();
    for pbx in &pbxs {
        vault.archive.check_place(pbx)?;
    }
    let now = vault.clock.now();
    vault.state.db.write(async move |tx| fixity::begin_pass(tx, now).await).await?;
    let pass = fixity::pass(&mut *vault.state.db.read().await?).await?;
    let pass = pass.unwrap_or(Pass { began_at: now, files: 0, bytes: 0 });
    let extent = fixity::extent(&mut *vault.state.db.read().await?, &pbxs).await?;
    let bytes = u64::try_from(extent.bytes).unwrap_or(0).div_ceil(u64::from(part.parts.max(1)));
    let tools = Tools {
        vault,
        db: &vault.state.db,
        notary,
        reader: Arc::new(vault.archive.reader()),
        scope: Scope::Full,
        quarantine: false,
        // The service has better to do than to read as fast as it can.
        threads: 1,
        budget: Arc::new(Budget::new(stop.clone(), part.time_limit)),
        progress: Arc::default(),
    };
    let mut tally = Tally::new(Report::new(Scope::Full, now));
    let what = ToRead { pbxs: pbxs.clone(), before: pass.began_at, also_damaged: false };
    // Units without audio count nothing: a part without any quota left still reads them.
    read::read_all(&tools, &mut tally, what.clone(), Some(bytes.max(1))).await?;
    let left = fixity::oldest(&mut *vault.state.db.read().await?, &what, Cursor::START, 1).await?;
    let mut report = tally.report;
    report.interrupted = stop.is_cancelled();
    report.whole = left.is_empty() && !report.interrupted;
    conclude(vault, &report, pass, pbxs).await?;
    Ok(report)
}

/// Counts the part; after the last one, the ledger gets the entry of all of them together.
async fn conclude(vault: &Vault, report: &Report, pass: Pass, pbxs: Vec<String>) -> anyhow::Result<()> {
    let (now, files, bytes, is_last) = (vault.clock.now(), report.files, report.bytes, report.whole);
    let mut whole = Report { began_at: pass.began_at, damaged: Vec::new(), ..report.clone() };
    whole.files += pass.files;
    whole.bytes += pass.bytes;
    let db = &vault.state.db;
    db.write(async move |tx| {
        if !is_last {
            return fixity::add_to_pass(tx, files, bytes).await;
        }
        let (missing, altered, unreadable) = fixity::found_of_files(tx).await?;
        (whole.counts.missing, whole.counts.altered, whole.counts.unreadable) =
            (missing, altered, unreadable);
        append(tx, &whole.entry(&pbxs, now)).await?;
        fixity::note_whole(tx, Scope::Full.as_str(), now).await?;
        fixity::end_pass(tx).await
    })
    .await
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
