//! One PBX at work: who it is, what it lists, what it delivers.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::SignedDuration;
use jiff::civil::Date;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::range::{self, RangeError};
use super::task::Task;
use super::{PbxReport, Request};
use crate::access::{Access, Trouble};
use crate::archive::ArchiveError;
use crate::config::PbxConfig;
use crate::fleet::{self, SameDevice};
use crate::pbx::PbxClient;
use crate::queue::{self, DayRange, Kinds};
use crate::sweep::{CdrFileError, SweepReport, Sweeper, sweep_range};
use crate::times::parse_systemtime;
use crate::vault::Vault;
use crate::worker::{Progress, Snapshot};

/// One PBX of a backfill. Its progress may be read at any time.
#[derive(Debug)]
pub struct Site {
    pub(super) pbx: PbxConfig,
    pub(super) client: PbxClient,
    pub(super) access: Arc<Access>,
    pub(super) downloads: Arc<Semaphore>,
    progress: Arc<Progress>,
    pub(super) message_progress: Arc<Progress>,
    pub(super) stop: CancellationToken,
    /// Recordings that this run set out to archive, as far as the sweep has told.
    owed: AtomicI64,
    /// The same of voicemail messages, as far as the poll has told.
    pub(super) owed_messages: AtomicI64,
    phase: Mutex<Phase>,
    days: Mutex<Option<DayRange>>,
}

/// What a site is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Asking the PBX who it is.
    Connecting,
    /// Reading the CDR of this day, and downloading meanwhile.
    Sweeping(Date),
    /// Downloading.
    Downloading,
    /// Finished, or given up.
    Done,
}

impl Site {
    pub(super) fn new(
        vault: &Vault,
        pbx: &PbxConfig,
        downloads: Arc<Semaphore>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let fingerprint = vault.state.fingerprint(pbx);
        Ok(Self {
            client: PbxClient::new(pbx)?,
            access: Arc::new(Access::new(
                pbx,
                vault.state.db.clone(),
                vault.clock.clone(),
                fingerprint,
                stop.clone(),
            )),
            pbx: pbx.clone(),
            downloads,
            progress: Arc::default(),
            message_progress: Arc::default(),
            stop,
            owed: AtomicI64::new(0),
            owed_messages: AtomicI64::new(0),
            phase: Mutex::new(Phase::Connecting),
            days: Mutex::new(None),
        })
    }

    /// Its id in the configuration.
    pub fn id(&self) -> &str {
        &self.pbx.id
    }

    /// What its workers have done.
    pub fn snapshot(&self) -> Snapshot {
        self.progress.snapshot() + self.message_progress.snapshot()
    }

    /// Recordings to archive, as far as is known.
    pub fn owed(&self) -> i64 {
        self.owed.load(Relaxed) + self.owed_messages.load(Relaxed)
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        self.phase.lock().map(|phase| phase.clone()).unwrap_or(Phase::Done)
    }

    /// The days that it covers, once that is known.
    pub fn days(&self) -> Option<DayRange> {
        self.days.lock().ok().and_then(|days| *days)
    }

    fn enter(&self, phase: Phase) {
        if let Ok(mut current) = self.phase.lock() {
            *current = phase;
        }
    }

    /// Works to the end. An error means that the database is broken; all else is in the report.
    pub(super) async fn run(&self, vault: &Vault, request: &Request) -> anyhow::Result<PbxReport> {
        let began = Instant::now();
        let mut report = PbxReport::default();
        let db = &vault.state.db;
        let remembered = fleet::remembered(&mut *db.read().await?, self.id()).await?;
        let source = self.pbx.password_source.display().to_string();
        self.access.check_remembered(&remembered, &source, vault.clock.now()).await;
        let device = self.meet(vault).await?;
        let system_time = device.and_then(|device| parse_systemtime(device.system_time.as_deref()?));
        let device_behind = self.device_behind(system_time, remembered.utc_offset_s, vault.clock.now());
        let days = range::days(request, &self.pbx, system_time.map(|(local, _)| local), vault.clock.now());
        match days {
            Ok(days) => {
                let (calls, voicemail) = tokio::join!(
                    self.work(vault, request, days, device_behind, &mut report),
                    self.work_on_voicemail(vault, request)
                );
                calls?;
                report.set_voicemail(voicemail?);
            }
            Err(error) => report.own_trouble = Some(own_trouble(error.into())?),
        }
        self.enter(Phase::Done);
        report.error = self.access.trouble().await;
        if let Some(trouble) = report.error.as_ref().filter(|trouble| trouble.reason == SAME_DEVICE) {
            report.own_trouble.get_or_insert_with(|| trouble.clone());
        }
        if report.error.is_none() {
            report.error.clone_from(&report.own_trouble);
        }
        report.bytes = self.progress.snapshot().bytes;
        report.elapsed_s = began.elapsed().as_secs_f64();
        Ok(report)
    }

    async fn work(
        &self,
        vault: &Vault,
        request: &Request,
        days: DayRange,
        device_behind: SignedDuration,
        report: &mut PbxReport,
    ) -> anyhow::Result<()> {
        let db = &vault.state.db;
        if let Ok(mut known) = self.days.lock() {
            *known = Some(days);
        }
        let before = queue::counts(&mut *db.read().await?, self.id(), days, Kinds::Calls).await?;
        // A retry has chosen already; a backfill asks for all of its range at once.
        if request.queue_only.is_none() && !request.dry_run && !self.access.given_up().is_cancelled() {
            let id = self.id().to_owned();
            db.write(move |tx| Box::pin(async move { queue::make_due(tx, &id, days, Kinds::Calls).await }))
                .await?;
        }
        let owed_before = before.pending + before.missing - before.missing_final;
        self.owed.store(owed_before, Relaxed);

        let swept = CancellationToken::new();
        let sweep = async {
            let outcome = self.sweep(vault, request, days, device_behind, owed_before).await;
            if let Err(error) = &outcome
                && error.is::<SameDevice>()
            {
                // Nothing more may be asked of it under this name.
                self.access.refuse(Trouble { reason: SAME_DEVICE.into(), message: error.to_string() }).await;
            }
            swept.cancel();
            self.enter(Phase::Downloading);
            outcome
        };
        let download = async {
            if request.dry_run || self.access.given_up().is_cancelled() {
                return Ok(());
            }
            let (kinds, progress, swept) = (Kinds::Calls, self.progress.clone(), swept.clone());
            Arc::new(self.worker(vault, Task { days, kinds, progress, swept })).run().await
        };
        let (sweep, download) = tokio::join!(sweep, download);
        let after = queue::counts(&mut *db.read().await?, self.id(), days, Kinds::Calls).await?;
        report.set_counts(after, before.archived);
        report.reasons = queue::reasons(&mut *db.read().await?, self.id(), days, Kinds::Calls).await?;
        report.days = (days != DayRange::ALL).then(|| days.bounds());
        match sweep {
            Ok(found) => {
                report.sweep = found;
                report.own_trouble = unread_files(&self.pbx, &found);
            }
            Err(error) => report.own_trouble = Some(own_trouble(error)?),
        }
        if let Err(error) = download {
            let trouble = own_trouble(error)?;
            report.own_trouble.get_or_insert(trouble);
        }
        Ok(())
    }

    async fn sweep(
        &self,
        vault: &Vault,
        request: &Request,
        days: DayRange,
        device_behind: SignedDuration,
        owed_before: i64,
    ) -> anyhow::Result<SweepReport> {
        let mut report = SweepReport::default();
        if request.queue_only.is_some() {
            return Ok(report);
        }
        let db = &vault.state.db;
        let sweeper = Sweeper::new(
            &vault.config,
            &self.pbx,
            &self.client,
            &self.access,
            db,
            vault.clock.clone(),
            self.stop.clone(),
        )
        .with_device_behind(device_behind);
        let owe = |new: u64| self.owed.store(owed_before + i64::try_from(new).unwrap_or(i64::MAX), Relaxed);
        if request.cdr.is_empty() {
            report = sweep_range(&sweeper, days, |day, so_far| {
                self.enter(Phase::Sweeping(day));
                owe(so_far.recordings_new);
            })
            .await?;
        }
        for file in &request.cdr {
            report += sweeper.read_file(file).await?;
            owe(report.recordings_new);
        }
        let all_days = request.from.is_none() && request.to.is_none();
        let whole = all_days && (request.cdr.is_empty() || !self.pbx.cdr_api);
        if whole
            && report.is_complete()
            && !self.stop.is_cancelled()
            && !self.access.given_up().is_cancelled()
        {
            let (id, now) = (self.id().to_owned(), vault.clock.now());
            db.write(move |tx| Box::pin(async move { fleet::note_sweep(tx, &id, now).await })).await?;
        }
        Ok(report)
    }
}

/// The class of [`SameDevice`].
pub(super) const SAME_DEVICE: &str = "same_device";

/// Files of the CDR folder that are no CDR: asking again would not help, so it is not a PBX's trouble.
fn unread_files(pbx: &PbxConfig, found: &SweepReport) -> Option<Trouble> {
    let folder = pbx.cdr_folder.as_ref().filter(|_| found.files_unread > 0)?;
    let message = format!(
        "{} of the CDR folder {} could not be read; `callvault status` names them: correct or remove them",
        if found.files_unread == 1 { "one file".to_owned() } else { format!("{} files", found.files_unread) },
        folder.display()
    );
    Some(Trouble { reason: "cdr_file".into(), message })
}

/// What an operator can mend of this machine's own trouble; all else is an internal error and ends the command.
pub(super) fn own_trouble(error: anyhow::Error) -> anyhow::Result<Trouble> {
    let reason = if error.is::<ArchiveError>() {
        "archive"
    } else if error.is::<RangeError>() {
        "usage"
    } else if error.is::<SameDevice>() {
        SAME_DEVICE
    } else if error.is::<CdrFileError>() {
        "cdr_file"
    } else {
        return Err(error);
    };
    Ok(Trouble { reason: reason.into(), message: format!("{error:#}") })
}
