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
mod budget;
mod compare;
mod damage;
mod documents;
mod judge;
mod ledger;
mod look;
mod marker;
mod progress;
mod read;
mod report;
mod scrub;
mod settle;
mod stray;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use anchors::{TimeStamps, UnverifiedToken};
pub use damage::{Class, Damage};
pub use progress::{Phase, Snapshot};
pub use report::{Counts, Report, Scope};
pub use scrub::{Part, scrub};

use crate::archive::Reader;
use crate::proof::notary::Notary;
use crate::proof::seal;
use crate::proof::sealed_vault::SealedVault;
use crate::store::catalog;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fixity::{self, ToRead};
use crate::vault::Vault;
use budget::Budget;
use progress::Progress;
use settle::Tally;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub scope: Scope,
    /// The PBXs; all if empty.
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

    /// Verifies. What is wrong is in the report, and a finding each; what was read is remembered, and the ledger has an
    /// entry of it, also if it was ended before its end.
    ///
    /// # Errors
    /// [`ArchiveError`](crate::archive::ArchiveError) if the archive as a whole cannot be read, and whatever the
    /// database says.
    pub async fn run(&self) -> anyhow::Result<Report> {
        let began = Instant::now();
        let SealedVault { vault, notary } = self.opened;
        let pbxs = self.pbxs();
        let tools = Tools {
            vault,
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
            crate::store::ledger::append(tx, &entry).await?;
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
