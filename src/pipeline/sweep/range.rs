//! CDR over the API: day by day, and by ever smaller parts of a day where the PBX cannot answer for the whole.
//!
//! Once a day also calls outside of all days that are kept: a PBX that lost its clock, for an hour or for ever, files calls under
//! 1970, 2000 or 2036, where nobody would look for them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime, date};
use tracing::{debug, info, warn};

use super::page::Fallback;
use super::parts::{Part, Parts};
use super::reading::{Covered, Reading};
use super::{SweepReport, Sweeper};
use crate::base::backoff::Backoff;
use crate::base::digest::Digest;
use crate::base::times::zone_of;
use crate::formats::cdr::CdrItem;
use crate::pbx::{Expected, Listed, PbxError, Policy, Reason, Slot};
use crate::pipeline::gate::Item;
use crate::store::evidence::{self, ListSize};
use crate::store::findings::{self, FindingKind};
use crate::store::intake::IntakeSlowed;
use crate::store::queue::DayRange;

/// Tries of one part of a day, for reasons that pass.
pub(super) const TRIES: u32 = 5;
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(200);
pub(super) const WAITS: Backoff = Backoff::new(FIRST_WAIT, Duration::MAX);

/// Where a sweep is among its days.
#[derive(Default)]
struct Pass {
    asked: u64,
    /// Days that were read, and whose lists may still be cut.
    unproven: Vec<Reading>,
    failed: Vec<(Reading, PbxError)>,
    unread: BTreeSet<Date>,
}

impl Sweeper<'_> {
    /// Sweeps the days of `ranges`: over the API if the PBX has that, and from the files of its CDR folder.
    ///
    /// Each day is first asked for once, and those that failed are then asked for again, in parts where that may help. So a
    /// day that is never answered costs the others one wait, and not the many that it takes to find out. `progress` gets
    /// each day. Days that could not be read are counted, noted as findings and left open; a PBX that is given up ends the
    /// sweep, and the days that were not asked for are counted too.
    ///
    /// # Errors
    /// [`SameDevice`](crate::store::fleet::SameDevice) and [`CdrFileError`](super::CdrFileError) for what an operator can mend.
    pub(crate) async fn sweep(
        &self,
        ranges: &[DayRange],
        mut progress: impl FnMut(Date, &SweepReport),
    ) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        if let Some(folder) = &self.site.pbx.cdr_folder {
            report += self.read_folder(folder).await?;
        }
        if !self.site.client().can().calls {
            return Ok(report);
        }
        let days = today_first(ranges, self.today());
        let mut pass = Pass::default();
        let swept: Result<()> = async {
            self.learn_limits().await?;
            for &day in &days {
                if self.site.is_over() {
                    break;
                }
                pass.asked += 1;
                let is_first = day.yesterday().is_ok_and(|before| !days.contains(&before));
                let asked = Part::of(day);
                let asked = if is_first { asked.with_hour_before() } else { asked };
                let mut reading = self.begin_day(day, asked).await?;
                reading.list.has_open_edge = pass.is_day_before_unread(day);
                let part = reading.asked;
                let outcome = match self.ask(&mut reading, part, 1).await {
                    Ok(Ok(answer)) => self.take_answer(&mut reading, part, answer).await,
                    Ok(Err(outcome)) => Ok(outcome),
                    Err(error) => Err(error),
                };
                match outcome {
                    Ok(Outcome::Read) => pass.unproven.push(reading),
                    Ok(Outcome::Unread(error)) => {
                        self.store_page(&mut reading).await?;
                        pass.unread.insert(day);
                        pass.failed.push((reading, error));
                    }
                    Ok(Outcome::Ended) => report += self.end_day(reading, Outcome::Ended).await?,
                    Err(error) => {
                        pass.unproven.push(reading);
                        return Err(error);
                    }
                }
                self.end_proven(&mut pass.unproven, None, &mut report).await?;
                progress(day, &report);
            }
            report.days_unasked = days.len() as u64 - pass.asked;
            self.end_pass(std::mem::take(&mut pass), ranges, &mut report, &mut progress).await
        }
        .await;
        let slowed = swept.err().map(|error| error.downcast::<IntakeSlowed>()).transpose()?;
        if slowed.is_some() {
            // What of them was stored is kept, and none of them is settled by it.
            pass.unproven.iter().for_each(|reading| report += reading.report());
            report.days_unasked = (days.len() as u64).saturating_sub(report.days_read + report.days_unread);
        }
        self.note_slowed(slowed.as_ref()).await?;
        Ok(report)
    }

    /// Asks again for the days that failed, looks twice at the longest list, and ends all days.
    async fn end_pass(
        &self,
        mut pass: Pass,
        ranges: &[DayRange],
        report: &mut SweepReport,
        progress: &mut impl FnMut(Date, &SweepReport),
    ) -> Result<()> {
        // A PBX that cannot list one day in any part may be able to list none at present: then it is not pressed for each.
        let mut why = None;
        for (mut reading, error) in std::mem::take(&mut pass.failed) {
            let day = reading.day;
            let outcome = self.ask_again(&mut reading, error, why.is_some()).await?;
            why = match &outcome {
                Outcome::Unread(error) => Some(error.clone()),
                Outcome::Read | Outcome::Ended => None,
            };
            if outcome.is_read() {
                pass.unread.remove(&day);
                pass.unproven.push(reading);
            } else {
                *report += self.end_day(reading, outcome).await?;
            }
            progress(day, report);
        }
        let mut unproven = std::mem::take(&mut pass.unproven);
        for reading in unproven.iter_mut().filter(|reading| reading.list.has_open_edge) {
            if pass.is_day_before_unread(reading.day) {
                self.close_edge(reading).await?;
            }
        }
        let of_unproven: u64 = unproven.iter().map(|reading| reading.counts.recordings_new).sum();
        self.prove(unproven, pass.asked + report.recordings_new + of_unproven, report).await?;
        *report += self.look_outside(ranges).await?;
        // Where no day at all can be read, it is not the days.
        if let Some(error) = why.filter(|_| report.days_read == 0) {
            self.site.gate.unread(&error).await?;
        }
        Ok(())
    }
}

impl Pass {
    fn is_day_before_unread(&self, day: Date) -> bool {
        day.yesterday().is_ok_and(|before| self.unread.contains(&before))
    }
}

/// The days of all ranges, each once, in the order in which they are asked for.
///
/// Today comes first, and with it what lies ahead, for either clock may be behind: whatever becomes of the other days, the
/// calls of today become known. The rest comes oldest first, as in the queue, for that is what the PBX overwrites next.
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
}

impl Sweeper<'_> {
    /// The PBX's day by our clock.
    fn today(&self) -> Date {
        self.site.now().to_zoned(zone_of(self.site.pbx.timezone.as_ref(), None)).date()
    }

    async fn begin_day(&self, day: Date, asked: Part) -> Result<Reading> {
        let limits = Some(self.may_add().await?);
        let (input, source) = (findings::cdr_of(day), day.to_string());
        let mut reading = self.begin(input, source, Fallback::Asked(day), Some(asked), limits).await?;
        reading.known = self.known_day(&reading).await?;
        Ok(reading)
    }

    /// Ends the reading of a day. What was read of it is kept, also where the day was not read whole and stays open.
    pub(super) async fn end_day(&self, reading: Reading, outcome: Outcome) -> Result<SweepReport> {
        let (day, whole, read_at) = (reading.day, outcome.is_read(), reading.facts.now);
        let report = self.close(reading, Covered::Day { day, whole, read_at }).await?;
        // Of a PBX that was given up meanwhile, its own trouble says why.
        if let Outcome::Unread(error) = outcome
            && !self.site.is_over()
        {
            warn!(pbx = self.site.id(), "The calls of {day} could not be read: {error}");
            let detail = format!(
                "the calls of {day} could not be read, so its recordings may not be known: {error}; every sweep tries again"
            );
            self.site.settle_finding(FindingKind::DayUnread, day.to_string(), Some(detail)).await?;
        }
        Ok(SweepReport { days_read: whole.into(), days_unread: (!whole).into(), ..report })
    }

    /// Asks again for a day that failed by `error`, in parts where the PBX takes too long. A `doubtful` PBX is asked for one
    /// minute of it first.
    async fn ask_again(&self, reading: &mut Reading, error: PbxError, doubtful: bool) -> Result<Outcome> {
        if doubtful {
            let answered = self.read_part(reading, Part::first_minute_of(reading.day), 1).await?;
            if !answered.is_read() {
                return Ok(answered);
            }
            reading.list.begin_again();
        }
        let mut parts = Parts::after(reading.asked, error);
        while let Some(part) = parts.next() {
            match self.read_part(reading, part, TRIES).await? {
                Outcome::Read => parts.note_read(),
                Outcome::Unread(error) => parts.note_unread(part, error),
                Outcome::Ended => return Ok(Outcome::Ended),
            }
        }
        Ok(parts.lost.map_or(Outcome::Read, Outcome::Unread))
    }

    /// Reads one part of a day, in so many tries at most.
    pub(super) async fn read_part(
        &self,
        reading: &mut Reading,
        part: Part,
        tries_max: u32,
    ) -> Result<Outcome> {
        match self.ask(reading, part, tries_max).await? {
            Ok(answer) => self.take_answer(reading, part, answer).await,
            Err(outcome) => Ok(outcome),
        }
    }

    /// Asks for one part of a day, in so many tries at most, and takes its rows as they arrive: the answer, or why there is
    /// none. A part that is too much for the PBX is tried once: a shorter one may be answered. So is one that it refuses, for
    /// it will do so again. Rows of an answer that breaks off are kept: the next try stores them again.
    pub(super) async fn ask(
        &self,
        reading: &mut Reading,
        part: Part,
        tries_max: u32,
    ) -> Result<Result<Answer, Outcome>> {
        let (gate, day, mut tries) = (&self.site.gate, reading.day, 0);
        let about = Item::Day(day);
        while let Some(slot) = self.slot().await {
            let (mut answer, doubtful) = (Answer::default(), reading.list.doubtful.len());
            let known = reading.known.clone().filter(|_| part == reading.asked);
            let expected =
                Expected { sn: reading.last_sn.clone(), sha256: known.as_ref().map(|known| known.sha256) };
            let ended = match slot.calls(part.from, part.to, expected).await {
                Err(error) => Err(error),
                Ok(mut calls) => loop {
                    let next = calls.next().await;
                    answer.size.bytes = calls.size_bytes();
                    answer.sha256 = calls.sha256();
                    let last = match next {
                        Ok(Listed::Item(item)) => {
                            answer.note(&item);
                            self.take(reading, item).await?;
                            continue;
                        }
                        Ok(Listed::Whole) => break Ok(()),
                        Ok(Listed::Unchanged) => {
                            answer.size.rows = reading.take_unchanged(known.as_ref());
                            break Ok(());
                        }
                        Ok(Listed::Unsure(last)) => last,
                        Err(error) => break Err(error),
                    };
                    answer.note(&last);
                    // A connection that is lost is not lost at the same place again.
                    if reading.unsure.replace(last.clone()).is_none_or(|before| before != last) {
                        let what = "the CDR ended within a row";
                        break Err(PbxError::new(self.site.id(), Policy::Retry, Reason::Truncated, what));
                    }
                    self.take(reading, last).await?;
                    break Ok(());
                },
            };
            let Err(error) = ended else {
                gate.worked(&about).await?;
                return Ok(Ok(answer));
            };
            // The next answer has these lines too, if they are in the list.
            reading.list.doubtful.truncate(doubtful);
            gate.troubled(&about, &error).await?;
            if error.policy().concerns_pbx() {
                continue;
            }
            tries += 1;
            let is_final = part.is_too_much(&error) || error.policy() == Policy::Unconfirmed;
            if is_final || tries >= tries_max {
                return Ok(Err(Outcome::Unread(error)));
            }
            debug!(pbx = self.site.id(), "Asking again for the calls of {day}: {error}");
            tokio::time::sleep(WAITS.after(tries - 1)).await;
        }
        Ok(Err(Outcome::Ended))
    }

    /// A connection, as soon as the PBX may be asked; `None` if nothing is to be asked of it any more.
    async fn slot(&self) -> Option<Box<dyn Slot>> {
        tokio::select! {
            biased;
            () = self.site.stop.cancelled() => None,
            () = self.site.gate.given_up().cancelled() => None,
            slot = self.site.client().ready_slot() => Some(slot),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) size: ListSize,
    /// SHA-256 of its bytes, where the PBX's family tells.
    pub(super) sha256: Option<Digest>,
    /// When its calls began, by the PBX's clock.
    pub(super) starts: Vec<DateTime>,
}

impl Answer {
    fn note(&mut self, item: &CdrItem) {
        self.size.rows += 1;
        if let CdrItem::Row(row) = item {
            self.starts.extend(row.local_start());
        }
    }
}

/// A sweep of fewer days is one of a few days that somebody asked for.
const DAYS_MIN: i32 = 150;
/// The first day that a device can know.
const FIRST: Date = date(1970, 1, 1);
/// The devices were not sold before: calls of earlier days were filed by a clock that was lost. Those of later ones, up to
/// what is kept, may be as old as they say, and are asked for by `backfill --from`.
const SOLD_SINCE: Date = date(2014, 1, 1);
/// The last second that a device with a clock of 32 bits can know.
const LAST: DateTime = date(2038, 1, 19).at(3, 14, 7, 0);
/// Days with such calls that are read in one look; the others are read by the next.
const DAYS_MAX: usize = 31;

impl Sweeper<'_> {
    /// Asks for calls before and after all that is kept, once a day, and reads the days that have any. Not answered, it is
    /// tried again tomorrow: the other days are none the worse for it.
    async fn look_outside(&self, swept: &[DayRange]) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        let now = self.site.now();
        let ends = swept.iter().map(|range| range.from).min().zip(swept.iter().map(|range| range.to).max());
        let Some((from, to)) = ends else { return Ok(report) };
        let is_all = from.until(to).is_ok_and(|span| span.get_days() >= DAYS_MIN);
        let is_due =
            evidence::is_outlook_due(&mut *self.site.db().read().await?, self.site.id(), now).await?;
        if !is_all || !is_due || self.site.is_over() {
            return Ok(report);
        }
        let pbx = self.site.id().to_owned();
        self.site.db().write(async move |tx| evidence::note_outlook(tx, &pbx, now).await).await?;
        // What lies between is not asked for: what is listed is owed.
        let before = from.min(SOLD_SINCE).yesterday().unwrap_or(from);
        let after = to.tomorrow().unwrap_or(to);
        let sides = [
            Part { from: FIRST.at(0, 0, 0, 0), to: before.at(23, 59, 59, 0) },
            Part { from: after.at(0, 0, 0, 0), to: LAST },
        ];
        let mut found = Vec::new();
        for side in sides.into_iter().filter(|side| side.from <= side.to) {
            let (input, limits) = ("calls of other times".to_owned(), Some(self.may_add().await?));
            let mut reading =
                self.begin(input, "outside".into(), Fallback::Before(FIRST), None, limits).await?;
            (reading.day, reading.outside) = (side.from.date(), Some((SOLD_SINCE, to)));
            // Whatever comes of it: what did not come is asked for tomorrow.
            let _ = self.ask(&mut reading, side, 1).await?;
            self.store_page(&mut reading).await?;
            found.extend(reading.added.keys().copied());
            let of_side = self.close(reading, Covered::Outside { read_at: now }).await?;
            report += SweepReport { recordings_outside: of_side.recordings_new, ..of_side };
        }
        if !found.is_empty() {
            info!(
                pbx = self.site.id(),
                "Pbx `{}` has calls of {} days that are long over or to come",
                self.site.id(),
                found.len()
            );
        }
        for day in found.into_iter().take(DAYS_MAX) {
            if self.site.is_over() {
                break;
            }
            let asked = Part::of(day);
            let mut reading = self.begin_day(day, asked).await?;
            let outcome = self.read_part(&mut reading, asked, 1).await?;
            report += self.end_day(reading, outcome).await?;
        }
        Ok(report)
    }
}

/// Whether a line belongs to what is looked for: it is of a day before `since`, or after `last`.
pub(super) fn is_outside(item: &CdrItem, (since, last): (Date, Date)) -> bool {
    let start = match item {
        CdrItem::Row(row) => row.local_start(),
        CdrItem::BadRow(_) => None,
    };
    start.is_some_and(|start| start.date() < since || start.date() > last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::cdr::CdrReader;
    use jiff::civil::date;

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

    fn row(start: &str) -> CdrItem {
        let mut reader = CdrReader::new(&std::collections::BTreeMap::new());
        reader.push(format!("callid,timestart,recording\n1.1,{start},a.wav\n").as_bytes());
        reader.finish();
        reader.next_item().unwrap().unwrap_or_else(|| CdrItem::Row(Box::default()))
    }

    #[test]
    fn calls_of_a_lost_clock_are_told_from_old_ones() {
        let of = (date(2014, 1, 1), date(2026, 12, 1));
        let table = [
            ("1970-01-01 08:03:10", true),
            ("2000-01-01 00:05:00", true),
            ("2019-06-01 10:00:00", false),
            ("2026-11-20 09:00:00", false),
            ("2036-02-07 06:28:16", true),
            ("", false),
        ];
        for (start, outside) in table {
            assert_eq!(is_outside(&row(start), of), outside, "{start}");
        }
    }
}
