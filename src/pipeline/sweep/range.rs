//! CDR over the API: day by day, and by ever smaller parts of a day where the PBX cannot answer for the whole.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::Date;
use tracing::{debug, warn};

use super::parts::{Part, Parts};
use super::placing::Fallback;
use super::reading::{Covered, Reading};
use super::{SweepReport, Sweeper};
use crate::base::backoff::Backoff;
use crate::base::times::zone_of;
use crate::pbx::{PbxError, Policy, Slot};
use crate::pipeline::gate::Item;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::intake::IntakeSlowed;
use crate::store::queue::DayRange;

/// Tries of one part of a day, for reasons that pass.
pub(super) const TRIES: u32 = 5;
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(200);
pub(super) const WAITS: Backoff = Backoff::new(FIRST_WAIT, Duration::MAX);

/// Sweeps the days of `ranges`: over the API if the PBX has that, and from the files of its CDR folder.
///
/// Each day is first asked for once, and those that failed are then asked for again, in parts where that may help. So a
/// day that is never answered costs the others one wait, and not the many that it takes to find out. `progress` is told
/// each day. Days that could not be read are counted, noted as findings and left open; a PBX that is given up ends the
/// sweep, and the days that were not asked for are counted too.
pub async fn sweep_ranges(
    sweeper: &Sweeper<'_>,
    ranges: &[DayRange],
    progress: impl FnMut(Date, &SweepReport),
) -> anyhow::Result<SweepReport> {
    let mut report = SweepReport::default();
    if let Some(folder) = &sweeper.pbx.cdr_folder {
        report += sweeper.read_folder(folder).await?;
    }
    if !sweeper.client.can().calls {
        return Ok(report);
    }
    let days = today_first(ranges, sweeper.today());
    let swept = sweep_days(sweeper, ranges, &days, &mut report, progress).await;
    let slowed = match swept {
        Err(error) => Some(error.downcast::<IntakeSlowed>()?),
        Ok(()) => None,
    };
    sweeper.note_slowed(slowed.as_ref()).await?;
    if slowed.is_some() {
        // What of them was stored is kept, and none of them is settled by it.
        report.days_unasked = (days.len() as u64).saturating_sub(report.days_read + report.days_unread);
    }
    Ok(report)
}

async fn sweep_days(
    sweeper: &Sweeper<'_>,
    ranges: &[DayRange],
    days: &[Date],
    report: &mut SweepReport,
    mut progress: impl FnMut(Date, &SweepReport),
) -> anyhow::Result<()> {
    sweeper.learn_limits().await?;
    let (mut asked, mut failed, mut unproven, mut unread) = (0, Vec::new(), Vec::new(), BTreeSet::new());
    for &day in days {
        if sweeper.stopped() {
            break;
        }
        asked += 1;
        let is_first = day.yesterday().is_ok_and(|before| !days.contains(&before));
        let mut reading = match sweeper.begin_day(day).await {
            Ok(reading) => reading,
            Err(error) => return Err(slowed(report, unproven, error)),
        };
        if is_first {
            reading.asked = reading.asked.with_hour_before();
        }
        reading.list.has_open_edge = day.yesterday().is_ok_and(|before| unread.contains(&before));
        let asked_for = reading.asked;
        let outcome = match sweeper.read_part(&mut reading, day, asked_for, 1).await {
            Ok(outcome) => outcome,
            Err(error) => {
                unproven.push((day, reading));
                return Err(slowed(report, unproven, error));
            }
        };
        match outcome {
            Outcome::Read => unproven.push((day, reading)),
            Outcome::Unread(error) => {
                sweeper.store_page(&mut reading).await?;
                unread.insert(day);
                failed.push((day, reading, error));
            }
            Outcome::Ended => *report += sweeper.end_day(reading, day, Outcome::Ended).await?,
        }
        sweeper.end_proven(&mut unproven, None, report).await?;
        progress(day, report);
    }
    // A PBX that cannot tell one day in any part may be able to tell none at present: then it is not pressed for each.
    let mut why = None;
    for (day, mut reading, error) in failed {
        let outcome = sweeper.ask_again(&mut reading, day, error, why.is_some()).await?;
        why = outcome.error().cloned();
        match outcome {
            Outcome::Read => {
                unread.remove(&day);
                unproven.push((day, reading));
            }
            outcome => *report += sweeper.end_day(reading, day, outcome).await?,
        }
        progress(day, report);
    }
    for (day, reading) in unproven.iter_mut().filter(|(_, reading)| reading.list.has_open_edge) {
        if day.yesterday().is_ok_and(|before| unread.contains(&before)) {
            sweeper.close_edge(reading, *day).await?;
        }
    }
    let of_unproven: u64 = unproven.iter().map(|(_, reading)| reading.recordings_new).sum();
    let told = asked as u64 + report.recordings_new + of_unproven;
    sweeper.prove(unproven, told, report).await?;
    *report += sweeper.look_outside(ranges).await?;
    report.days_unasked = (days.len() - asked) as u64;
    // Where no day at all can be read, it is not the days.
    if let Some(error) = why.filter(|_| report.days_read == 0) {
        sweeper.gate.unread(&error).await?;
    }
    Ok(())
}

/// Counts what was stored of days whose readings end without being whole, for this error ended the sweep.
fn slowed(report: &mut SweepReport, readings: Vec<(Date, Reading)>, error: anyhow::Error) -> anyhow::Error {
    readings.iter().for_each(|(_, reading)| *report += reading.told());
    error
}

/// The days of all ranges, each once, in the order in which they are asked for.
///
/// Today comes first, and with it what lies ahead, for either clock may be behind: whatever becomes of the other days, the
/// calls of today are heard of. The rest comes oldest first, as in the queue, for that is what the PBX overwrites next.
fn today_first(ranges: &[DayRange], today: Date) -> Vec<Date> {
    let days: BTreeSet<Date> = ranges.iter().flat_map(|range| days_of(*range)).collect();
    let (past, ahead): (Vec<Date>, Vec<Date>) = days.into_iter().partition(|day| *day < today);
    [ahead, past].concat()
}

fn days_of(range: DayRange) -> impl Iterator<Item = Date> {
    let first = (range.from <= range.to).then_some(range.from);
    std::iter::successors(first, move |day| day.checked_add(1.day()).ok().filter(|next| *next <= range.to))
}

#[derive(Debug)]
pub(super) enum Outcome {
    Read,
    /// Not all of it; the last error.
    Unread(PbxError),
    /// The PBX was given up, or the run ends.
    Ended,
}

impl Outcome {
    pub(super) fn is_read(&self) -> bool {
        matches!(self, Self::Read)
    }

    fn error(&self) -> Option<&PbxError> {
        match self {
            Self::Unread(error) => Some(error),
            Self::Read | Self::Ended => None,
        }
    }
}

impl Sweeper<'_> {
    /// The PBX's day by our clock.
    fn today(&self) -> Date {
        self.clock.now().to_zoned(zone_of(self.pbx.timezone.as_ref(), None)).date()
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.is_cancelled() || self.gate.given_up().is_cancelled()
    }

    pub(super) async fn begin_day(&self, day: Date) -> anyhow::Result<Reading> {
        let limits = Some(self.may_add().await?);
        let mut reading = self.begin(findings::cdr_of(day), day.to_string(), Fallback::Asked(day)).await?;
        reading.facts.limits = limits;
        Ok(Reading { asked: Part::of(day), ..reading })
    }

    /// Ends the reading of a day. What was read of it is kept, also where the day was not read whole and stays open.
    pub(super) async fn end_day(
        &self,
        reading: Reading,
        day: Date,
        outcome: Outcome,
    ) -> anyhow::Result<SweepReport> {
        let (whole, read_at) = (outcome.is_read(), reading.facts.now);
        let report = self.close(reading, Covered::Day { day, whole, read_at }).await?;
        // Of a PBX that was given up meanwhile, its own trouble says why.
        if let Outcome::Unread(error) = outcome
            && !self.stopped()
        {
            warn!(pbx = %self.pbx.id, "The calls of {day} could not be read: {error}");
            self.note(unread(day, &error), read_at).await?;
        }
        Ok(SweepReport { days_read: whole.into(), days_unread: (!whole).into(), ..report })
    }

    /// Asks again for a day that failed by `error`, in parts where the PBX takes too long. A `doubtful` PBX is asked for one
    /// minute of it first.
    async fn ask_again(
        &self,
        reading: &mut Reading,
        day: Date,
        error: PbxError,
        doubtful: bool,
    ) -> anyhow::Result<Outcome> {
        if doubtful {
            let answered = self.read_part(reading, day, Part::first_minute_of(day), 1).await?;
            if !answered.is_read() {
                return Ok(answered);
            }
            reading.list.begin_again();
        }
        let mut parts = Parts::after(reading.asked, error);
        while let Some(part) = parts.next() {
            match self.read_part(reading, day, part, TRIES).await? {
                Outcome::Read => parts.note_read(),
                Outcome::Unread(error) => parts.note_unread(part, error),
                Outcome::Ended => return Ok(Outcome::Ended),
            }
        }
        Ok(parts.lost.map_or(Outcome::Read, Outcome::Unread))
    }

    /// Reads one part of `day`, in so many tries at most. One that is too much for the PBX is tried once: a shorter one may
    /// be answered. So is one that it refuses, for it will do so again.
    pub(super) async fn read_part(
        &self,
        reading: &mut Reading,
        day: Date,
        part: Part,
        tries_max: u32,
    ) -> anyhow::Result<Outcome> {
        let item = Item::Day(day);
        let mut tries = 0;
        while let Some(slot) = self.slot().await {
            let error = match self.read_once(slot, reading, part).await? {
                Ok(answer) => {
                    self.gate.worked(&item).await?;
                    return self.take_answer(reading, day, part, answer).await;
                }
                Err(error) => error,
            };
            self.gate.troubled(&item, &error).await?;
            if error.policy().concerns_pbx() {
                continue;
            }
            tries += 1;
            let is_final = part.is_too_much(&error) || error.policy() == Policy::Unconfirmed;
            if is_final || tries >= tries_max {
                return Ok(Outcome::Unread(error));
            }
            debug!(pbx = %self.pbx.id, "Asking again for the calls of {day}: {error}");
            tokio::time::sleep(WAITS.after(tries - 1)).await;
        }
        Ok(Outcome::Ended)
    }

    /// A connection, as soon as the PBX may be asked; `None` if nothing is to be asked of it any more.
    pub(super) async fn slot(&self) -> Option<Box<dyn Slot>> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            () = self.gate.given_up().cancelled() => None,
            slot = self.client.ready_slot() => Some(slot),
        }
    }
}

/// The finding of a day that could not be read.
fn unread(day: Date, error: &PbxError) -> Finding {
    let detail = format!(
        "the calls of {day} could not be read, so its recordings may not be known: {error}; every sweep tries again"
    );
    Finding { kind: FindingKind::DayUnread, subject: day.to_string(), detail }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn today_comes_first_and_the_others_oldest_first() {
        let range = |from: i8, to: i8| DayRange { from: date(2024, 3, from), to: date(2024, 3, to) };
        let numbers = |ranges: &[DayRange], today: i8| -> Vec<i8> {
            today_first(ranges, date(2024, 3, today)).into_iter().map(Date::day).collect()
        };
        assert_eq!(numbers(&[range(10, 15)], 14), [14, 15, 10, 11, 12, 13]);
        assert_eq!(numbers(&[range(1, 2), range(10, 13)], 12), [12, 13, 1, 2, 10, 11]);
        assert_eq!(numbers(&[range(10, 12), range(11, 13)], 20), [10, 11, 12, 13]);
        assert_eq!(numbers(&[range(15, 15)], 15), [15]);
        assert_eq!(numbers(&[range(15, 14)], 14), [0_i8; 0]);
    }
}
