//! One PBX of a backfill, from the sweep to the last download.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::trouble::{own_trouble, unread_files};
use super::{PbxReport, Request, range};
use crate::base::counts::Counts;
use crate::pipeline::site::{Met, Phase, SAME_DEVICE, Site, Task};
use crate::pipeline::sweep::{SweepReport, sweep_ranges};
use crate::store::catalog;
use crate::store::evidence;
use crate::store::fleet::{self, SameDevice};
use crate::store::queue::{self, DayRange, Kinds};

/// How often a backfill checks whether an operator paused the PBX.
const HEED_PAUSE_EVERY: Duration = Duration::from_secs(2);
/// How often it checks whether other workers are done.
const LOOK_AT_CLAIMS_EVERY: Duration = Duration::from_millis(100);

impl Site {
    /// Works to the end. An error means that the database is broken; all else is in the report.
    pub(crate) async fn run(&self, request: &Request) -> anyhow::Result<PbxReport> {
        let _in_use = self.in_use.clone().read_owned().await;
        let began = Instant::now();
        let mut report = PbxReport::default();
        let db = &self.vault.state.db;
        let remembered = fleet::remembered(&mut *db.read().await?, self.id()).await?;
        let source = self.pbx.password_source.display().to_string();
        self.gate.check_remembered(&remembered, &source, self.vault.clock.now()).await;
        let met = self.meet().await?;
        match range::days(request, &self.pbx, met.local_time, self.vault.clock.now()) {
            Ok(days) => {
                let done = CancellationToken::new();
                let work = async {
                    let outcomes = tokio::join!(
                        self.or_stop(self.work(request, days, &met, &mut report)),
                        self.or_stop(self.work_on_voicemail(request))
                    );
                    done.cancel();
                    outcomes
                };
                let ((calls, voicemail), heeded) = tokio::join!(work, self.heed_pause(&done));
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
        request: &Request,
        days: DayRange,
        met: &Met,
        report: &mut PbxReport,
    ) -> anyhow::Result<()> {
        let db = &self.vault.state.db;
        let before = queue::counts(&mut *db.read().await?, self.id(), days, Kinds::Calls).await?;
        let before_all =
            queue::counts(&mut *db.read().await?, self.id(), DayRange::ALL, Kinds::Calls).await?;
        let last_file = catalog::last_file(&mut *db.read().await?).await?;
        // A retry has chosen already; a backfill asks for all of its range at once.
        if request.queue_only.is_none() && !request.dry_run && !self.gate.given_up().is_cancelled() {
            let (id, now) = (self.id().to_owned(), self.vault.clock.now());
            db.write(async move |tx| queue::make_due(tx, &id, days, Kinds::Calls, now).await).await?;
        }
        let owed_before = before.awaited() - before.stuck;
        self.owed.store(owed_before, Relaxed);

        let swept = CancellationToken::new();
        let sweep = async {
            let outcome = self.sweep(request, days, met, owed_before).await;
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
            Arc::new(self.worker(Task { days, kinds, progress, swept })).run().await
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
        self.wait_for_others(days).await?;
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
    async fn heed_pause(&self, done: &CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(HEED_PAUSE_EVERY) => {}
                () = done.cancelled() => return Ok(()),
            }
            let remembered = fleet::remembered(&mut *self.vault.state.db.read().await?, self.id()).await?;
            if remembered.paused_at_ms.is_some() {
                self.gate.refuse_paused().await;
                return Ok(());
            }
        }
    }

    /// Waits for what the service's own workers hold of these days: they work on the same queue.
    async fn wait_for_others(&self, days: DayRange) -> anyhow::Result<()> {
        while !self.is_over()
            && queue::any_claimed(&mut *self.vault.state.db.read().await?, self.id(), days).await?
        {
            tokio::time::sleep(LOOK_AT_CLAIMS_EVERY).await;
        }
        Ok(())
    }

    async fn sweep(
        &self,
        request: &Request,
        days: DayRange,
        met: &Met,
        owed_before: i64,
    ) -> anyhow::Result<SweepReport> {
        let mut report = SweepReport::default();
        if request.queue_only.is_some() {
            return Ok(report);
        }
        let sweeper = self.sweeper(met, true);
        let owe = |new: u64| self.owed.store(owed_before + i64::try_from(new).unwrap_or(i64::MAX), Relaxed);
        if request.cdr.is_empty() {
            let ranges = range::read(request, &self.pbx, met.local_time, days, self.vault.clock.now());
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
            let db = &self.vault.state.db;
            let (id, now) = (self.id().to_owned(), self.vault.clock.now());
            db.write(async move |tx| fleet::note_sweep(tx, &id, now).await).await?;
        }
        Ok(report)
    }
}
