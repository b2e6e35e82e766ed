//! Looking at a PBX's calls: what each job of the agenda does.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context as _;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::follower::{Follower, TURN_EVERY};
use crate::base::backoff::Backoff;
use crate::pipeline::backfill::own_trouble;
use crate::pipeline::site::{Met, SAME_DEVICE, Site, kept_days};
use crate::pipeline::sweep::{SweepReport, Sweeper};
use crate::proof::seal;
use crate::store::agenda::Job;
use crate::store::findings::{self, FindingKind};
use crate::store::queue::DayRange;
use crate::store::sql::Ms;
use crate::store::{calls, fleet};
use crate::vault::Vault;
use crate::watch::coverage::{self, Scope};

/// A row may show up a while after its event: when the latest calls are looked at again.
const LOOK_AGAIN_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];

/// How often the follower looks for what no list can show.
const COVERAGE_EVERY: Duration = Duration::from_secs(3600);

/// How often boxes are looked into while one is nearly full.
const NEARLY_FULL_EVERY: Duration = Duration::from_secs(60);

impl Follower {
    /// Does what the agenda asks for, for as long as the episode lasts. Trouble with the PBX ends the episode by itself; an error
    /// means that the database is broken.
    pub(super) async fn look(&self, site: &Site) -> anyhow::Result<()> {
        let mut todo = self.seat.todo.listen();
        while !site.is_over() {
            self.seat.pulse.beat();
            self.look_ahead().await?;
            if site.gate.works().await {
                self.shared.note_trouble(self.id(), None);
            }
            todo.forget();
            let Some(job) = self.seat.todo.next() else {
                tokio::select! {
                    () = todo.rung() => {}
                    () = tokio::time::sleep(TURN_EVERY) => {}
                    () = site.over() => {}
                }
                continue;
            };
            let done = match job {
                Job::Sweep | Job::DeepSweep => self.sweep(site, job == Job::DeepSweep).await?,
                Job::Nudge => self.look_at_latest(site).await?,
                Job::Voicemail => self.poll_voicemail(site).await?,
                Job::Seal | Job::Verify | Job::Scrub | Job::History | Job::Snapshot => true,
            };
            if done {
                self.shared.note_done(job, self.id()).await?;
            } else {
                // What was not done is still to do when the PBX may be asked again.
                self.seat.todo.put_back(job);
            }
        }
        Ok(())
    }

    /// Reads the days that may still change, or all that the device keeps. `false` if not all of it could be read.
    async fn sweep(&self, site: &Site, deep: bool) -> anyhow::Result<bool> {
        if !self.pbx.cdr_api && self.pbx.cdr_folder.is_none() {
            // Its calls come only by `backfill --cdr`.
            return Ok(true);
        }
        let met = site.meet().await?;
        let kept = kept_days(&self.pbx, met.local_time, self.vault.clock.now());
        let ranges = self.days_to_read(kept, deep).await?;
        let (ranges, waiting) = self.without_waiting(ranges).await?;
        let swept = Sweeper::new(site, &met, deep).sweep(&ranges, |_, _| self.seat.pulse.beat()).await;
        let mut report = self.log(site, swept).await?;
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
            let reported = self.receiver.heard.take_due(self.id(), Instant::now());
            coverage::compare_events(&state.db, self.id(), &reported, clock.now()).await?;
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
        let now = self.vault.clock.now();
        let mut db = self.vault.state.db.read().await?;
        let mut waiting: BTreeSet<Date> = BTreeSet::new();
        for finding in findings::open_of(&mut db, self.id(), FindingKind::DayUnread).await? {
            if is_waiting(finding.count, finding.last_seen_at_ms, now) {
                waiting.insert(finding.subject.parse().context("a stored finding names no day")?);
            }
        }
        Ok(without(ranges, &waiting))
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
        let poll = Sweeper::new(site, &Met::default(), true).poll_voicemail().await?;
        if poll.messages_new + poll.messages_back > 0 {
            info!(pbx = self.id(), "Pbx `{}` has {} new voicemail messages", self.id(), poll.messages_new);
            self.seat.connection.bell.ring();
        }
        if poll.nearly_full > 0 {
            self.poll_sooner();
        }
        Ok(!site.is_over())
    }

    /// Polls once more in a while. There is one such poll ahead at most, however many boxes are nearly full.
    fn poll_sooner(&self) {
        let todo = self.seat.todo.clone();
        let poll = tokio::spawn(async move {
            tokio::time::sleep(NEARLY_FULL_EVERY).await;
            todo.add(Job::Voicemail);
        });
        let mut ahead = self.poll_ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = ahead.replace(poll.abort_handle()) {
            before.abort();
        }
    }

    /// After an event: the latest days, again until something new is listed.
    async fn look_at_latest(&self, site: &Site) -> anyhow::Result<bool> {
        for wait in LOOK_AGAIN_AFTER {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = site.over() => return Ok(false),
            }
            let kept = kept_days(&self.pbx, None, self.vault.clock.now());
            let latest = kept.into_iter().map(|DayRange { to, .. }| DayRange { from: two_before(to), to });
            let (latest, _) = self.without_waiting(latest.collect()).await?;
            let sweeper = Sweeper::new(site, &Met::default(), false);
            let swept = sweeper.sweep(&latest, |_, _| self.seat.pulse.beat()).await;
            let report = self.log(site, swept).await?;
            // Other work does not wait for a row that may come late: the next sweep finds it.
            if report.rows_new > 0 || !self.seat.todo.is_empty() {
                return Ok(true);
            }
        }
        Ok(!site.is_over())
    }

    /// Logs what a sweep came to. What an operator can mend is no error: the next sweep tries again.
    async fn log(&self, site: &Site, swept: anyhow::Result<SweepReport>) -> anyhow::Result<SweepReport> {
        let report = match swept {
            Ok(report) => report,
            Err(error) => {
                let trouble = own_trouble(error)?;
                warn!(pbx = self.id(), "{}", trouble.message);
                if trouble.reason == SAME_DEVICE {
                    site.refuse_same_device(trouble.message).await?;
                }
                SweepReport { days_unread: 1, ..SweepReport::default() }
            }
        };
        let SweepReport { days_read, rows, recordings_new, .. } = report;
        if recordings_new > 0 {
            info!(pbx = self.id(), "Pbx `{}` lists {recordings_new} new recordings", self.id());
        }
        debug!(pbx = self.id(), days_read, rows, "Swept pbx `{}`", self.id());
        Ok(report)
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

/// The waits after a day could not be read.
const WAITS: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(3600));

fn is_waiting(count: i64, Ms(last): Ms, now: Timestamp) -> bool {
    let wait = WAITS.after(count.max(1) - 1);
    let since_ms = now.as_millisecond() - last.as_millisecond();
    // One that was seen in the future was seen by another clock.
    u128::try_from(since_ms).is_ok_and(|since_ms| since_ms < wait.as_millis())
}

/// The days of `ranges` but for those of `left_out`, and how many those were.
fn without(ranges: Vec<DayRange>, left_out: &BTreeSet<Date>) -> (Vec<DayRange>, u64) {
    let (mut kept, mut count) = (Vec::new(), 0);
    for mut range in ranges {
        for &day in left_out.range(range.from..) {
            if day > range.to {
                break;
            }
            count += 1;
            if range.from < day
                && let Ok(before) = day.checked_sub(1.day())
            {
                kept.push(DayRange { from: range.from, to: before });
            }
            range.from = day.checked_add(1.day()).unwrap_or(Date::MAX);
        }
        if range.from <= range.to {
            kept.push(range);
        }
    }
    (kept, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn a_day_that_fails_is_asked_for_after_a_minute_and_then_ever_less_often() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        for (count, seen_s_ago, waits) in [
            (1, 59, true),
            (1, 60, false),
            (2, 119, true),
            (2, 120, false),
            (50, 3599, true),
            (50, 3600, false),
        ] {
            let seen = now - jiff::SignedDuration::from_secs(seen_s_ago);
            assert_eq!(is_waiting(count, Ms(seen), now), waits, "{count} {seen_s_ago}");
        }
        assert!(!is_waiting(1, Ms(now + jiff::SignedDuration::from_secs(1)), now));
    }

    #[test]
    fn days_that_wait_are_cut_out_of_the_ranges() {
        let day = |number| date(2024, 3, number);
        let range = |from, to| DayRange { from: day(from), to: day(to) };
        let left_out = BTreeSet::from([day(3), day(10), day(20)]);
        let ranges = vec![range(1, 5), range(8, 10), range(10, 10), range(12, 14)];
        let (kept, count) = without(ranges, &left_out);
        assert_eq!(kept, [range(1, 2), range(4, 5), range(8, 9), range(12, 14)]);
        assert_eq!(count, 3);
        assert_eq!(without(vec![range(1, 5)], &BTreeSet::new()), (vec![range(1, 5)], 0));
    }
}
