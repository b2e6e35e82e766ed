//! Looking at a PBX's calls: what each job of the agenda does.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::Date;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::follower::Follower;
use super::unread;
use crate::pipeline::backfill::own_trouble;
use crate::pipeline::site::{Met, SAME_DEVICE, Site};
use crate::pipeline::sweep::SweepReport;
use crate::proof::seal;
use crate::store::agenda::Job;
use crate::store::calls;
use crate::store::fleet;
use crate::store::queue::DayRange;
use crate::vault::Vault;
use crate::watch::coverage::{self, Scope};

/// A row may show up a while after its event: when the latest calls are looked at again.
const LOOK_AGAIN_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];

/// How often it is looked what no list can show.
const COVERAGE_EVERY: Duration = Duration::from_secs(3600);

/// How often boxes are looked into while one is nearly full.
const NEARLY_FULL_EVERY: Duration = Duration::from_secs(60);

impl Follower {
    /// Does one job. Trouble with the PBX ends the episode by itself; an error means that the database is broken.
    pub(super) async fn do_job(&self, site: &Site, job: Job) -> anyhow::Result<()> {
        let done = match job {
            Job::Sweep => self.sweep(site, false).await?,
            Job::DeepSweep => self.sweep(site, true).await?,
            Job::Nudge => self.look_at_latest(site).await?,
            Job::Voicemail => self.poll_voicemail(site).await?,
            Job::Seal | Job::Verify | Job::Scrub | Job::History | Job::Snapshot => true,
        };
        if done {
            self.shared.note_done(job, self.id()).await
        } else {
            // What was not done is still to do when the PBX may be asked again.
            self.todo.put_back(job);
            Ok(())
        }
    }

    /// Reads the days that may still change, or all that the device keeps. `false` if not all of it could be read.
    async fn sweep(&self, site: &Site, deep: bool) -> anyhow::Result<bool> {
        if !self.pbx.cdr_api && self.pbx.cdr_folder.is_none() {
            // Its calls come only by `backfill --cdr`.
            return Ok(true);
        }
        let met = site.meet().await?;
        let ranges = self.days_to_read(met.kept_days(site, self.vault.clock.now()), deep).await?;
        let (ranges, waiting) = self.without_waiting(ranges).await?;
        let mut report = self.read(site, &met, &ranges, deep).await?;
        report.days_unread += waiting;
        let complete = report.is_complete() && !site.is_over();
        if complete {
            let (pbx, now) = (self.id().to_owned(), self.vault.clock.now());
            let db = &self.vault.state.db;
            db.write(async move |tx| fleet::note_sweep(tx, &pbx, now).await).await?;
            self.shared.note_trouble(self.id(), None);
        }
        if let Some(sn) = self.serial_number().await? {
            self.receiver.sources.know_sn(self.id(), &sn);
        }
        self.tell(&report);
        // One day that cannot be read must not hide what the others show.
        if !site.is_over() {
            self.look_at_coverage(deep, complete).await?;
        }
        self.close_settled_days().await?;
        // Days that a working PBX could not tell stay open, and are read again with the next sweep.
        Ok(complete || !site.is_over())
    }

    /// Looks what no list can show: at all days when following begins, for the rules may be new, and with each deep sweep; at
    /// the latest ones now and then. Before days are closed, so that certificates name what is found of them.
    async fn look_at_coverage(&self, deep: bool, complete: bool) -> anyhow::Result<()> {
        let scope = {
            let mut last = self.looked_at_coverage_at.lock().unwrap_or_else(PoisonError::into_inner);
            let scope = match *last {
                Some(at) if !deep && at.elapsed() < COVERAGE_EVERY => return Ok(()),
                Some(_) if !deep => Scope::Latest,
                _ => Scope::AllDays,
            };
            *last = Some(Instant::now());
            scope
        };
        let Vault { config, state, clock, .. } = &self.vault;
        if complete {
            let told = self.receiver.heard.take_due(self.id(), Instant::now());
            coverage::compare_events(&state.db, self.id(), &told, clock.now()).await?;
        }
        coverage::look(&state.db, &self.pbx, &config.must_record, scope, clock.now()).await
    }

    /// Of the days that the PBX keeps, those that may still change, or all. A day with calls that is open is read again
    /// wherever it lies: the PBX's clock was wrong then, and may have been set right before the last call was listed.
    async fn days_to_read(&self, kept: Vec<DayRange>, all: bool) -> anyhow::Result<Vec<DayRange>> {
        let mut db = self.vault.state.db.read().await?;
        let mut days = calls::open_outside(&mut db, self.id(), &kept).await?;
        for range in kept {
            if all {
                days.push(range);
            } else {
                days.extend(calls::unsettled(&mut db, self.id(), range).await?);
            }
        }
        Ok(days)
    }

    /// Leaves out the days that could not be read a moment ago, and counts them.
    async fn without_waiting(&self, ranges: Vec<DayRange>) -> anyhow::Result<(Vec<DayRange>, u64)> {
        let mut db = self.vault.state.db.read().await?;
        let waiting = unread::waiting(&mut db, self.id(), self.vault.clock.now()).await?;
        Ok(unread::without(ranges, &waiting))
    }

    async fn serial_number(&self) -> anyhow::Result<Option<String>> {
        Ok(fleet::remembered(&mut *self.vault.state.db.read().await?, self.id()).await?.sn)
    }

    /// Looks into the voicemail boxes. One that is nearly full is looked into again soon: the PBX deletes its oldest.
    async fn poll_voicemail(&self, site: &Site) -> anyhow::Result<bool> {
        if !self.pbx.voicemail.is_polled {
            return Ok(true);
        }
        if self.serial_number().await?.is_none() {
            // It is part of a message's identity.
            site.meet().await?;
        }
        let poll = site.poll_voicemail().await?;
        if poll.messages_new + poll.messages_back > 0 {
            info!(pbx = self.id(), "Pbx `{}` has {} new voicemail messages", self.id(), poll.messages_new);
            self.connection.bell.ring();
        }
        if poll.should_come_sooner() {
            self.poll_sooner();
        }
        Ok(!site.is_over())
    }

    /// Polls once more in a while. There is one such poll ahead at most, however many boxes are nearly full.
    fn poll_sooner(&self) {
        let todo = self.todo.clone();
        let poll = tokio::spawn(async move {
            tokio::time::sleep(NEARLY_FULL_EVERY).await;
            todo.add(Job::Voicemail);
        });
        let mut ahead = self.poll_ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = ahead.replace(poll.abort_handle()) {
            before.abort();
        }
    }

    /// After an event: the latest days, again until something new is heard.
    async fn look_at_latest(&self, site: &Site) -> anyhow::Result<bool> {
        for wait in LOOK_AGAIN_AFTER {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = site.over() => return Ok(false),
            }
            let met = Met::default();
            let kept = met.kept_days(site, self.vault.clock.now());
            let latest = kept.into_iter().map(|DayRange { to, .. }| DayRange { from: two_before(to), to });
            let (latest, _) = self.without_waiting(latest.collect()).await?;
            let report = self.read(site, &met, &latest, false).await?;
            self.tell(&report);
            // Other work does not wait for a row that may come late: the next sweep finds it.
            if report.rows_new > 0 || !self.todo.is_empty() {
                return Ok(true);
            }
        }
        Ok(!site.is_over())
    }

    async fn read(
        &self,
        site: &Site,
        met: &Met,
        ranges: &[DayRange],
        deep: bool,
    ) -> anyhow::Result<SweepReport> {
        match site.sweep_ranges(met, ranges, deep, || self.pulse.beat()).await {
            Ok(report) => Ok(report),
            Err(error) => {
                let trouble = own_trouble(error)?;
                warn!(pbx = self.id(), "{}", trouble.message);
                if trouble.reason == SAME_DEVICE {
                    site.refuse_same_device(trouble.message).await?;
                }
                Ok(SweepReport { days_unread: 1, ..SweepReport::default() })
            }
        }
    }

    fn tell(&self, report: &SweepReport) {
        let SweepReport { days_read, rows, recordings_new, .. } = *report;
        if recordings_new > 0 {
            info!(pbx = self.id(), "Pbx `{}` lists {recordings_new} new recordings", self.id());
        }
        debug!(pbx = self.id(), days_read, rows, "Swept pbx `{}`", self.id());
    }

    /// The call lists of days that have settled, then their certificates, which name the lists.
    async fn close_settled_days(&self) -> anyhow::Result<()> {
        let (db, archive) = (&self.vault.state.db, &self.vault.archive);
        if let Err(error) = seal::write_settled_calls(db, archive, self.id(), self.vault.clock.now()).await {
            let trouble = own_trouble(error)?;
            warn!(pbx = self.id(), "The call lists cannot be written now: {}", trouble.message);
        }
        if let Err(error) = self.shared.opened().issuer().issue_due(&self.pbx).await {
            let trouble = own_trouble(error)?;
            warn!(pbx = self.id(), "Certificates cannot be issued now: {}", trouble.message);
        }
        Ok(())
    }
}

fn two_before(day: Date) -> Date {
    day.checked_sub(2.days()).unwrap_or(day)
}
