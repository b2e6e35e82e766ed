//! One PBX at work: who it is, what it lists, what it delivers.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, RwLock, Semaphore};
use tokio_util::sync::CancellationToken;

use super::line::{Line, Phase, SiteProgress};
use super::meeting::Met;
use super::range;
use super::task::Task;
use super::trouble::{SAME_DEVICE, own_trouble, unread_files};
use super::{PbxReport, Request};
use crate::base::bell::Bell;
use crate::base::counts::Counts;
use crate::config::PbxConfig;
use crate::pbx::Pbx;
use crate::pipeline::gate::{Gate, Trouble};
use crate::pipeline::sweep::{SweepReport, Sweeper, rules_of, sweep_ranges};
use crate::pipeline::worker::{Progress, Snapshot};
use crate::store::catalog;
use crate::store::evidence;
use crate::store::fleet::{self, SameDevice};
use crate::store::queue::{self, DayRange, Kinds};
use crate::vault::Vault;

/// How often it is looked whether the PBX was paused meanwhile.
const HEED_PAUSE_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked whether other workers are done.
const LOOK_AT_CLAIMS_EVERY: Duration = Duration::from_millis(100);

/// One PBX of a backfill. Its progress may be read at any time.
#[derive(Debug)]
pub struct Site {
    pub(crate) pbx: PbxConfig,
    pub(super) client: Arc<dyn Pbx>,
    pub(super) gate: Arc<Gate>,
    pub(super) bell: Bell,
    in_use: Arc<RwLock<()>>,
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

impl Site {
    /// Prepares the work on a PBX; nothing is asked of it yet. `line` is shared by all that work on the same PBX.
    pub(crate) fn new(
        vault: &Vault,
        pbx: &PbxConfig,
        line: Line,
        downloads: Arc<Semaphore>,
        stop: CancellationToken,
    ) -> Self {
        let fingerprint = vault.state.fingerprint(pbx);
        Self {
            client: line.client,
            bell: line.bell,
            in_use: line.in_use,
            gate: Arc::new(Gate::new(
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
        }
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

    /// How far it is.
    pub fn progress(&self) -> SiteProgress {
        let Snapshot { archived, failed_attempts, bytes } = self.snapshot();
        SiteProgress {
            pbx: self.id().to_owned(),
            phase: self.phase(),
            owed: u64::try_from(self.owed()).unwrap_or(0),
            archived,
            failed_attempts,
            bytes,
        }
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        self.phase.lock().map(|phase| phase.clone()).unwrap_or(Phase::Done)
    }

    /// The days that it covers, once that is known.
    pub fn days(&self) -> Option<DayRange> {
        self.days.lock().ok().and_then(|days| *days)
    }

    /// Why the PBX was given up, if it was.
    pub(crate) async fn trouble(&self) -> Option<Trouble> {
        self.gate.trouble().await
    }

    /// Whether the PBX has answered as it should, and was not given up since.
    pub(crate) async fn works(&self) -> bool {
        self.gate.works().await
    }

    /// Lets `callvault status` say what is wrong.
    pub(crate) async fn tell(&self, trouble: Trouble) -> anyhow::Result<()> {
        self.gate.tell(trouble).await
    }

    /// Whether nothing more may be begun: the PBX was given up, or the work is to end.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.gate.given_up().is_cancelled()
    }

    /// Ends when nothing more may be begun.
    pub(crate) async fn over(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.gate.given_up().cancelled() => {}
        }
    }

    fn enter(&self, phase: Phase) {
        if let Ok(mut current) = self.phase.lock() {
            *current = phase;
        }
    }

    /// Works to the end. An error means that the database is broken; all else is in the report.
    pub(crate) async fn run(&self, vault: &Vault, request: &Request) -> anyhow::Result<PbxReport> {
        let _in_use = self.in_use.clone().read_owned().await;
        let began = Instant::now();
        let mut report = PbxReport::default();
        let db = &vault.state.db;
        let remembered = fleet::remembered(&mut *db.read().await?, self.id()).await?;
        let source = self.pbx.password_source.display().to_string();
        self.gate.check_remembered(&remembered, &source, vault.clock.now()).await;
        let met = self.meet(vault).await?;
        match range::days(request, &self.pbx, met.local_time, vault.clock.now()) {
            Ok(days) => {
                let done = CancellationToken::new();
                let work = async {
                    let outcomes = tokio::join!(
                        self.or_stop(self.work(vault, request, days, &met, &mut report)),
                        self.or_stop(self.work_on_voicemail(vault, request))
                    );
                    done.cancel();
                    outcomes
                };
                let ((calls, voicemail), heeded) = tokio::join!(work, self.heed_pause(vault, &done));
                heeded?;
                calls?;
                report.set_voicemail(voicemail?);
            }
            Err(error) => report.own_trouble = Some(own_trouble(error.into())?),
        }
        self.enter(Phase::Done);
        report.error = self.gate.trouble().await;
        if let Some(trouble) = report.error.as_ref().filter(|trouble| trouble.reason == SAME_DEVICE) {
            report.own_trouble.get_or_insert_with(|| trouble.clone());
        }
        if report.error.is_none() {
            report.error.clone_from(&report.own_trouble);
        }
        report.elapsed_s = began.elapsed().as_secs_f64();
        Ok(report)
    }

    async fn work(
        &self,
        vault: &Vault,
        request: &Request,
        days: DayRange,
        met: &Met,
        report: &mut PbxReport,
    ) -> anyhow::Result<()> {
        let db = &vault.state.db;
        if let Ok(mut known) = self.days.lock() {
            *known = Some(days);
        }
        let before = queue::counts(&mut *db.read().await?, self.id(), days, Kinds::Calls).await?;
        let before_all =
            queue::counts(&mut *db.read().await?, self.id(), DayRange::ALL, Kinds::Calls).await?;
        let last_file = catalog::last_file(&mut *db.read().await?).await?;
        // A retry has chosen already; a backfill asks for all of its range at once.
        if request.queue_only.is_none() && !request.dry_run && !self.gate.given_up().is_cancelled() {
            let (id, now) = (self.id().to_owned(), vault.clock.now());
            db.write(async move |tx| queue::make_due(tx, &id, days, Kinds::Calls, now).await).await?;
        }
        let owed_before = before.awaited() - before.stuck;
        self.owed.store(owed_before, Relaxed);

        let swept = CancellationToken::new();
        let sweep = async {
            let outcome = self.sweep(vault, request, days, met, owed_before).await;
            if let Err(error) = &outcome
                && error.is::<SameDevice>()
            {
                self.refuse_same_device(error.to_string()).await?;
            }
            swept.cancel();
            self.enter(Phase::Downloading);
            outcome
        };
        let download = async {
            if request.dry_run || self.gate.given_up().is_cancelled() {
                return Ok(());
            }
            let (kinds, progress, swept) = (Kinds::Calls, self.progress.clone(), swept.clone());
            // Without dates, calls may be found that a lost clock filed outside of all days that are kept.
            let days = if request.is_undated() { DayRange::ALL } else { days };
            Arc::new(self.worker(vault, Task { days, kinds, progress, swept })).run().await
        };
        let (sweep, download) = tokio::join!(sweep, download);
        // If the database is broken, our own claims stay, and nobody is to wait for them.
        let sweep = match sweep {
            Ok(found) => Ok(found),
            Err(error) => Err(own_trouble(error)?),
        };
        let download_trouble = download.err().map(own_trouble).transpose()?;
        let is_outside = sweep.as_ref().is_ok_and(|found: &SweepReport| found.recordings_outside > 0);
        let (days, before) = if is_outside { (DayRange::ALL, before_all) } else { (days, before) };
        self.wait_for_others(vault, days).await?;
        let after = queue::counts(&mut *db.read().await?, self.id(), days, Kinds::Calls).await?;
        let bytes = catalog::bytes_since(&mut *db.read().await?, self.id(), days, last_file).await?;
        report.counts = Counts { bytes, ..after.since(before.archived) };
        report.reasons = queue::reasons(&mut *db.read().await?, self.id(), days, Kinds::Calls).await?;
        report.days = (days != DayRange::ALL).then(|| days.bounds());
        report.verdicts = evidence::standing(&mut *db.read().await?, self.id(), days).await?;
        match sweep {
            Ok(found) => {
                report.sweep = found;
                report.own_trouble = unread_files(&self.pbx, &found);
            }
            Err(trouble) => report.own_trouble = Some(trouble),
        }
        report.own_trouble = report.own_trouble.take().or(download_trouble);
        Ok(())
    }

    /// Does a part of the work; an error ends the other parts, for the database is broken.
    async fn or_stop<T>(&self, part: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let outcome = part.await;
        if outcome.is_err() {
            self.stop.cancel();
        }
        outcome
    }

    /// Gives the PBX up when an operator wants it left alone meanwhile.
    async fn heed_pause(&self, vault: &Vault, done: &CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(HEED_PAUSE_EVERY) => {}
                () = done.cancelled() => return Ok(()),
            }
            let remembered = fleet::remembered(&mut *vault.state.db.read().await?, self.id()).await?;
            if remembered.paused_at_ms.is_some() {
                self.gate.refuse_paused().await;
                return Ok(());
            }
        }
    }

    /// Waits for what the service's own workers hold of these days: they work on the same queue.
    async fn wait_for_others(&self, vault: &Vault, days: DayRange) -> anyhow::Result<()> {
        while !self.is_over()
            && queue::any_claimed(&mut *vault.state.db.read().await?, self.id(), days).await?
        {
            tokio::time::sleep(LOOK_AT_CLAIMS_EVERY).await;
        }
        Ok(())
    }

    async fn sweep(
        &self,
        vault: &Vault,
        request: &Request,
        days: DayRange,
        met: &Met,
        owed_before: i64,
    ) -> anyhow::Result<SweepReport> {
        let mut report = SweepReport::default();
        if request.queue_only.is_some() {
            return Ok(report);
        }
        let sweeper = self.sweeper(vault, met, true);
        let owe = |new: u64| self.owed.store(owed_before + i64::try_from(new).unwrap_or(i64::MAX), Relaxed);
        if request.cdr.is_empty() {
            let ranges = range::read(request, &self.pbx, met.local_time, days, vault.clock.now());
            report = sweep_ranges(&sweeper, &ranges, |day, so_far| {
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
        if whole && report.is_complete() && !self.is_over() {
            let db = &vault.state.db;
            let (id, now) = (self.id().to_owned(), vault.clock.now());
            db.write(async move |tx| fleet::note_sweep(tx, &id, now).await).await?;
        }
        Ok(report)
    }

    /// Reads the CDR of these days. `deep` also reads files that have not changed since they were read; `beat` is told each
    /// day.
    ///
    /// # Errors
    /// [`SameDevice`] and [`CdrFileError`] for what an operator can mend.
    pub(crate) async fn sweep_ranges(
        &self,
        vault: &Vault,
        met: &Met,
        ranges: &[DayRange],
        deep: bool,
        beat: impl Fn(),
    ) -> anyhow::Result<SweepReport> {
        sweep_ranges(&self.sweeper(vault, met, deep), ranges, |_, _| beat()).await
    }

    pub(super) fn sweeper<'a>(&'a self, vault: &'a Vault, met: &Met, known_files_too: bool) -> Sweeper<'a> {
        Sweeper {
            pbx: &self.pbx,
            client: &*self.client,
            gate: &self.gate,
            db: &vault.state.db,
            is_one_of_several: vault.config.pbx.len() > 1,
            state: vault.state.directory(),
            clock: vault.clock.clone(),
            bell: self.bell.clone(),
            rules: rules_of(&vault.config, self.id()),
            device_behind: met.behind,
            known_files_too,
            limits: Mutex::default(),
            clock_doubt: OnceCell::new(),
            stop: self.stop.clone(),
        }
    }

    /// One device under two names: nothing more may be asked of it under this one.
    pub(crate) async fn refuse_same_device(&self, message: String) -> anyhow::Result<()> {
        self.gate.refuse_and_tell(Trouble { reason: SAME_DEVICE.into(), message }).await
    }
}
