//! One PBX of a backfill, from the sweep to the last download. Voicemail is counted apart from calls.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::report::{own_trouble, unread_files};
use super::{PbxReport, Request, VoicemailReport, days, ranges};
use crate::base::counts::Counts;
use crate::pipeline::site::{Met, Phase, Site};
use crate::pipeline::sweep::{SweepReport, Sweeper};
use crate::pipeline::worker::Worker;
use crate::store::catalog;
use crate::store::evidence;
use crate::store::fleet::{self, SameDevice};
use crate::store::queue::{self, DayRange, Kinds};

/// How often a backfill checks whether an operator paused the PBX.
const HEED_PAUSE_EVERY: Duration = Duration::from_secs(2);
/// How often it checks whether other workers are done.
const LOOK_AT_CLAIMS_EVERY: Duration = Duration::from_millis(100);

/// The state of the queue before a backfill.
struct Before {
    days: DayRange,
    counts: Counts,
    counts_of_all: Counts,
    last_file: i64,
}

impl Site {
    /// Works to the end. An error means that the database is broken; all else is in the report.
    pub(crate) async fn run(self: &Arc<Self>, request: &Request) -> Result<PbxReport> {
        let _in_use = self.connection.in_use.clone().read_owned().await;
        let began = Instant::now();
        self.gate.check_remembered().await?;
        let met = self.meet().await?;
        let mut report = PbxReport::default();
        match days(request, &self.pbx, met.local_time, self.now()) {
            Ok(days) => {
                let before = self.begin_calls(request, days).await?;
                let (swept, done) = (CancellationToken::new(), CancellationToken::new());
                let sweeper = Sweeper::new(self, &met, true);
                // In a box: futures within futures would take more stack than a test's thread has.
                let sweep = Box::pin(async {
                    let mut report = SweepReport::default();
                    for file in &request.cdr {
                        report += sweeper.read_file(file).await?;
                        self.expect_calls(&before, &report);
                    }
                    if request.cdr.is_empty() && request.queue_only.is_none() {
                        let ranges = ranges(request, &self.pbx, met.local_time, days, self.now());
                        let progress = |day, so_far: &SweepReport| {
                            self.enter(Phase::Sweeping(day));
                            self.expect_calls(&before, so_far);
                        };
                        report = sweeper.sweep(&ranges, progress).await?;
                    }
                    self.note_sweep(request, &report).await?;
                    Ok(report)
                });
                let sweep = async {
                    let outcome: Result<SweepReport> = sweep.await;
                    if let Some(error) = outcome.as_ref().err().filter(|error| error.is::<SameDevice>()) {
                        self.refuse_same_device(error.to_string()).await?;
                    }
                    swept.cancel();
                    self.enter(Phase::Downloading);
                    outcome
                };
                let calls = async {
                    let (sweep, download) = tokio::join!(sweep, self.download(request, days, &swept));
                    self.report_calls(&before, sweep, download).await
                };
                let work = async {
                    let voicemail = Box::pin(self.work_on_voicemail(request));
                    let outcomes = tokio::join!(self.or_stop(calls), self.or_stop(voicemail));
                    done.cancel();
                    outcomes
                };
                let ((calls, voicemail), heeded) = tokio::join!(work, self.heed_pause(&done));
                heeded?;
                report = calls?;
                report.set_voicemail(voicemail?);
            }
            Err(error) => report.own_trouble = Some(own_trouble(error.into())?),
        }
        self.enter(Phase::Done);
        report.set_error(self.gate.trouble().await);
        report.elapsed_s = began.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Makes the recordings of these days due at once. A retry has chosen already.
    async fn begin_calls(&self, request: &Request, days: DayRange) -> Result<Before> {
        let mut db = self.db().read().await?;
        let before = Before {
            days,
            counts: queue::counts(&mut db, self.id(), days, Kinds::Calls).await?,
            counts_of_all: queue::counts(&mut db, self.id(), DayRange::ALL, Kinds::Calls).await?,
            last_file: catalog::last_file(&mut db).await?,
        };
        drop(db);
        if request.queue_only.is_none() && !request.dry_run && !self.gate.given_up().is_cancelled() {
            self.make_due(days, Kinds::Calls).await?;
        }
        self.expect_calls(&before, &SweepReport::default());
        Ok(before)
    }

    async fn make_due(&self, days: DayRange, kinds: Kinds) -> Result<()> {
        let (id, now) = (self.id().to_owned(), self.now());
        self.db().write(async move |tx| queue::make_due(tx, &id, days, kinds, now).await).await.map(drop)
    }

    /// Shows how many calls there are to archive, now that the sweep has found so many.
    fn expect_calls(&self, before: &Before, found: &SweepReport) {
        let new = i64::try_from(found.recordings_new).unwrap_or(i64::MAX);
        self.to_archive.store(before.counts.awaited() - before.counts.stuck + new, Relaxed);
    }

    /// Notes a complete reading of all that the PBX keeps.
    async fn note_sweep(&self, request: &Request, report: &SweepReport) -> Result<()> {
        let whole = request.is_undated() && (request.cdr.is_empty() || !self.pbx.cdr_api);
        if !whole || !report.is_complete() || self.is_over() {
            return Ok(());
        }
        let (id, now) = (self.id().to_owned(), self.now());
        self.db().write(async move |tx| fleet::note_sweep(tx, &id, now).await).await
    }

    async fn download(
        self: &Arc<Self>,
        request: &Request,
        days: DayRange,
        swept: &CancellationToken,
    ) -> Result<()> {
        if request.dry_run || self.gate.given_up().is_cancelled() {
            return Ok(());
        }
        // Without dates, calls may be found that a lost clock filed outside of all days that are kept.
        let days = if request.is_undated() { DayRange::ALL } else { days };
        Worker::new(self, days, Kinds::Calls, swept.clone()).run().await
    }

    async fn report_calls(
        &self,
        before: &Before,
        sweep: Result<SweepReport>,
        download: Result<()>,
    ) -> Result<PbxReport> {
        // If the database is broken, our own claims stay, and nobody is to wait for them.
        let (sweep, sweep_trouble) = match sweep {
            Ok(found) => (found, unread_files(&self.pbx, &found)),
            Err(error) => (SweepReport::default(), Some(own_trouble(error)?)),
        };
        let download_trouble = download.err().map(own_trouble).transpose()?;
        let is_outside = sweep.recordings_outside > 0;
        let days = if is_outside { DayRange::ALL } else { before.days };
        let archived = if is_outside { before.counts_of_all } else { before.counts }.archived;
        self.wait_for_others(days).await?;
        let mut db = self.db().read().await?;
        let after = queue::counts(&mut db, self.id(), days, Kinds::Calls).await?;
        let bytes = catalog::bytes_since(&mut db, self.id(), days, before.last_file).await?;
        Ok(PbxReport {
            counts: Counts { bytes, ..after.since(archived) },
            reasons: queue::reasons(&mut db, self.id(), days, Kinds::Calls).await?,
            days: (days != DayRange::ALL).then(|| days.bounds()),
            verdicts: evidence::standing(&mut db, self.id(), days).await?,
            sweep,
            own_trouble: sweep_trouble.or(download_trouble),
            ..PbxReport::default()
        })
    }

    /// Does a part of the work; an error ends the other parts, for the database is broken.
    async fn or_stop<T>(&self, part: impl Future<Output = Result<T>>) -> Result<T> {
        let outcome = part.await;
        if outcome.is_err() {
            self.stop.cancel();
        }
        outcome
    }

    /// Gives the PBX up when an operator pauses it meanwhile.
    async fn heed_pause(&self, done: &CancellationToken) -> Result<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(HEED_PAUSE_EVERY) => {}
                () = done.cancelled() => return Ok(()),
            }
            let remembered = fleet::remembered(&mut *self.db().read().await?, self.id()).await?;
            if remembered.paused_at_ms.is_some() {
                self.gate.refuse_paused().await;
                return Ok(());
            }
        }
    }

    /// Waits for what the service's own workers hold of these days: they work on the same queue.
    async fn wait_for_others(&self, days: DayRange) -> Result<()> {
        while !self.is_over() && queue::any_claimed(&mut *self.db().read().await?, self.id(), days).await? {
            tokio::time::sleep(LOOK_AT_CLAIMS_EVERY).await;
        }
        Ok(())
    }

    /// Polls the boxes and archives what they hold, whatever its day: a box is not asked for by days. A retry works on
    /// its own days, and does not poll. `None` if voicemail was not asked for, or there is none to retry.
    async fn work_on_voicemail(self: &Arc<Self>, request: &Request) -> Result<Option<VoicemailReport>> {
        let is_retry = request.queue_only.is_some();
        if !request.voicemail && !is_retry {
            return Ok(None);
        }
        let (kinds, days) = (Kinds::Voicemail, request.queue_only.unwrap_or(DayRange::ALL));
        let before = queue::counts(&mut *self.db().read().await?, self.id(), days, kinds).await?;
        if is_retry && before.listed() == 0 {
            return Ok(None);
        }
        let may_ask = !self.gate.given_up().is_cancelled();
        let may_fetch = may_ask && !request.dry_run;
        if !is_retry && may_fetch {
            self.make_due(days, kinds).await?;
        }
        let to_archive = before.awaited() - before.stuck;
        self.messages_to_archive.store(to_archive, Relaxed);
        let mut report = VoicemailReport::default();
        if !is_retry && may_ask {
            let poll = Sweeper::new(self, &Met::default(), true).poll_voicemail().await?;
            let found = i64::try_from(poll.messages_new + poll.messages_back).unwrap_or(i64::MAX);
            self.messages_to_archive.store(to_archive + found, Relaxed);
            report.poll = Some(poll);
        }
        if may_fetch {
            let swept = CancellationToken::new();
            swept.cancel();
            let fetched = Worker::new(self, days, kinds, swept).run().await;
            report.own_trouble = fetched.err().map(own_trouble).transpose()?;
        }
        let mut db = self.db().read().await?;
        let after = queue::counts(&mut db, self.id(), days, kinds).await?;
        let bytes = self.message_progress.snapshot().bytes;
        report.counts = Counts { bytes, ..after.since(before.archived) };
        report.reasons = queue::reasons(&mut db, self.id(), days, kinds).await?;
        Ok(Some(report))
    }
}
