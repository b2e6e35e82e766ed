//! CDR over the API: day by day, and by ever smaller parts of a day where the PBX cannot answer for the whole.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::Date;
use tracing::{debug, warn};

use super::parts::{Part, Parts};
use super::reading::{Covered, Reading};
use super::{SweepReport, Sweeper};
use crate::access::Item;
use crate::cdr::{CdrItem, CdrReader};
use crate::findings::{self, Finding, FindingKind};
use crate::pbx::{CdrBody, PbxError, Policy, Reason, Slot};
use crate::queue::DayRange;
use crate::recording::Text;

/// Tries of one part of a day, for reasons that pass.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Sweeps the days of `ranges`: over the API if the PBX has that, and from the files of its CDR folder.
///
/// Each day is first asked for once, and those that failed are then asked for again, in parts where that may help. So a
/// day that is never answered costs the others one wait, and not the many that it takes to find out. `progress` is told
/// each day. Days that could not be read are counted, noted as findings and left open; a PBX that is given up ends the
/// sweep, and the days that were not asked for are counted too.
pub async fn sweep_ranges(
    sweeper: &Sweeper<'_>,
    ranges: &[DayRange],
    mut progress: impl FnMut(Date, &SweepReport),
) -> anyhow::Result<SweepReport> {
    let mut report = SweepReport::default();
    if let Some(folder) = &sweeper.pbx.cdr_folder {
        report += sweeper.read_folder(folder).await?;
    }
    if !sweeper.pbx.cdr_api {
        return Ok(report);
    }
    let days = latest_first(ranges);
    let (mut asked, mut failed) = (0, Vec::new());
    for &day in &days {
        if sweeper.stopped() {
            break;
        }
        asked += 1;
        let mut reading = sweeper.begin_day(day).await?;
        match sweeper.ask_once(&mut reading, day).await? {
            Outcome::Read => report += sweeper.end_day(reading, day, Outcome::Read).await?,
            Outcome::Unread(error) => {
                sweeper.store_page(&mut reading).await?;
                failed.push((day, reading, error));
            }
            Outcome::Ended => report += sweeper.end_day(reading, day, Outcome::Ended).await?,
        }
        progress(day, &report);
    }
    // A PBX that cannot tell one day in any part may be able to tell none at present: then it is not pressed for each.
    let mut why = None;
    for (day, mut reading, error) in failed {
        let outcome = sweeper.ask_again(&mut reading, day, error, why.is_some()).await?;
        why = outcome.error().cloned();
        report += sweeper.end_day(reading, day, outcome).await?;
        progress(day, &report);
    }
    report.days_unasked = (days.len() - asked) as u64;
    // Where no day at all can be read, it is not the days.
    if let Some(error) = why.filter(|_| report.days_read == 0) {
        sweeper.access.unread(&error).await?;
    }
    Ok(report)
}

/// The days of all ranges, each once, in the order in which they are asked for.
///
/// Today comes first, and with it tomorrow, for either clock may be behind: whatever becomes of the other days, the calls
/// of today are heard of. The rest comes oldest first, as in the queue, for that is what the PBX overwrites next.
fn latest_first(ranges: &[DayRange]) -> Vec<Date> {
    let mut days: Vec<Date> = ranges.iter().flat_map(|range| days_of(*range)).collect();
    let latest = days.len().min(2);
    days.rotate_right(latest);
    let mut seen = BTreeSet::new();
    days.retain(|day| seen.insert(*day));
    days
}

fn days_of(range: DayRange) -> impl Iterator<Item = Date> {
    let first = (range.from <= range.to).then_some(range.from);
    std::iter::successors(first, move |day| day.checked_add(1.day()).ok().filter(|next| *next <= range.to))
}

/// What came of asking for a day.
#[derive(Debug)]
enum Outcome {
    /// All of it was read.
    Read,
    /// Not all of it; the last error.
    Unread(PbxError),
    /// The PBX was given up, or the run ends.
    Ended,
}

impl Outcome {
    fn is_read(&self) -> bool {
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
    fn stopped(&self) -> bool {
        self.stop.is_cancelled() || self.access.given_up().is_cancelled()
    }

    async fn begin_day(&self, day: Date) -> anyhow::Result<Reading> {
        self.begin(findings::cdr_of(day), day.to_string(), day).await
    }

    /// Ends the reading of a day. What was read of it is kept, also where the day was not read whole and stays open.
    async fn end_day(&self, reading: Reading, day: Date, outcome: Outcome) -> anyhow::Result<SweepReport> {
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

    /// Asks for a day as a whole, once.
    async fn ask_once(&self, reading: &mut Reading, day: Date) -> anyhow::Result<Outcome> {
        self.read_part(reading, day, Part::of(day), 1).await
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
        }
        let mut parts = Parts::after(day, error);
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
    async fn read_part(
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
                Ok(()) => {
                    self.access.worked(&item).await?;
                    return Ok(Outcome::Read);
                }
                Err(error) => error,
            };
            self.access.troubled(&item, &error).await?;
            if error.policy().concerns_pbx() {
                continue;
            }
            tries += 1;
            let is_final = part.is_too_much(&error) || error.policy() == Policy::Unconfirmed;
            if is_final || tries >= tries_max {
                return Ok(Outcome::Unread(error));
            }
            debug!(pbx = %self.pbx.id, "Asking again for the calls of {day}: {error}");
            tokio::time::sleep(FIRST_WAIT * 2u32.pow(tries - 1)).await;
        }
        Ok(Outcome::Ended)
    }

    /// A connection, as soon as the PBX may be asked; `None` if nothing is to be asked of it any more.
    async fn slot(&self) -> Option<Slot> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            () = self.access.given_up().cancelled() => None,
            slot = self.client.ready_slot() => Some(slot),
        }
    }

    async fn read_once(
        &self,
        slot: Slot,
        reading: &mut Reading,
        part: Part,
    ) -> anyhow::Result<Result<(), PbxError>> {
        match slot.cdr(part.from, part.to).await {
            Ok(Some(body)) => self.take_body(reading, body).await,
            Ok(None) => Ok(Ok(())),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Takes the rows as they arrive. Rows of a body that breaks off are kept: the next try stores them again.
    async fn take_body(
        &self,
        reading: &mut Reading,
        mut body: CdrBody,
    ) -> anyhow::Result<Result<(), PbxError>> {
        let mut reader = CdrReader::new(&self.pbx.cdr_columns);
        let mut last = None;
        loop {
            match body.next().await {
                Ok(Some(bytes)) => reader.push(&bytes),
                Ok(None) => reader.finish(),
                Err(error) => return Ok(Err(error)),
            }
            loop {
                match reader.next_item() {
                    Ok(Some(item)) => {
                        if let Some(item) = last.replace(item) {
                            self.take(reading, item).await?;
                        }
                    }
                    Ok(None) => break,
                    Err(problem) => {
                        return Ok(Err(PbxError::broken_cdr(
                            &self.pbx.id,
                            Reason::Protocol,
                            problem.to_string(),
                        )));
                    }
                }
            }
            if reader.is_finished() {
                break;
            }
        }
        let Some(last) = last else { return Ok(Ok(())) };
        let whole = match ending(&last, reading.last_sn.as_ref()) {
            Ending::Whole => true,
            Ending::CutOff => false,
            // A connection that is lost is not lost at the same place again.
            Ending::Unknown => reading.unsure.replace(last.clone()).is_some_and(|before| before == last),
        };
        if !whole {
            let ended = "the CDR ended within a row".to_owned();
            return Ok(Err(PbxError::broken_cdr(&self.pbx.id, Reason::Truncated, ended)));
        }
        self.take(reading, last).await.map(Ok)
    }
}

/// How a CDR ended: the end of the connection is all that ends the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// With its last row.
    Whole,
    /// Within it.
    CutOff,
    /// One way or the other.
    Unknown,
}

/// Whether the last row is whole. Some devices never end their last line: where the serial number is the last column, it
/// tells; it is the one of the row before, or else the one that the PBX is known by.
fn ending(last: &CdrItem, known_sn: Option<&Text>) -> Ending {
    let row = match last {
        CdrItem::Row(row) if row.ended_without_newline => row,
        CdrItem::BadRow(bad) if bad.ended_without_newline => return Ending::CutOff,
        CdrItem::Row(_) | CdrItem::BadRow(_) => return Ending::Whole,
    };
    let ends_in_sn = row.raw.last().is_some_and(|(heading, _)| heading.as_str() == Some("sn"));
    match known_sn {
        Some(known) if ends_in_sn && *known == row.sn => Ending::Whole,
        Some(_) if ends_in_sn && !row.sn.is_empty() => Ending::CutOff,
        _ => Ending::Unknown,
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

    /// The last item of a CDR of one call and no more.
    fn last_item(header: &str, last_line: &str) -> CdrItem {
        let mut reader = CdrReader::new(&std::collections::BTreeMap::new());
        reader.push(format!("{header}\n{last_line}").as_bytes());
        reader.finish();
        let items = std::iter::from_fn(|| reader.next_item().unwrap());
        items.last().unwrap()
    }

    #[test]
    fn a_row_that_the_connection_broke_off_is_told_by_its_serial_number() {
        let (known, none) = (Text::Utf8("3631A".to_owned()), Text::default());
        let table = [
            ("17.1,2024-03-01 12:00:00,a.wav,3631A\n", Some(&known), Ending::Whole),
            ("17.1,2024-03-01 12:00:00,a.wav,3631A", Some(&known), Ending::Whole),
            ("17.1,2024-03-01 12:00:00,a.wav,36", Some(&known), Ending::CutOff),
            ("17.1,2024-03-01 12:00:00,a.wav,36\n", Some(&known), Ending::Whole),
            ("17.1,2024-03-01 12:00:00,a.wav,36", None, Ending::Unknown),
            // A device that names itself in no row, or one whose connection was lost before it did.
            ("17.1,2024-03-01 12:00:00,a.wav,", Some(&known), Ending::Unknown),
            ("17.1,2024-03-01 12:00:00,a.wav,", Some(&none), Ending::Whole),
            ("17.1,2024-03-01 12", Some(&known), Ending::CutOff),
            ("17.1,2024-03-01 12\n", Some(&known), Ending::Whole),
        ];
        for (line, known, expected) in table {
            let last = last_item("callid,timestart,recording,sn", line);
            assert_eq!(ending(&last, known), expected, "{line:?} {known:?}");
        }
        // What the last cell was to be, nothing tells.
        let last = last_item("callid,timestart,recording", "17.1,2024-03-01 12:00:00,a.w");
        assert_eq!(ending(&last, Some(&none)), Ending::Unknown);
    }

    #[test]
    fn today_comes_first_and_the_others_oldest_first() {
        let range = |from: i8, to: i8| DayRange { from: date(2024, 3, from), to: date(2024, 3, to) };
        let numbers =
            |ranges: &[DayRange]| -> Vec<i8> { latest_first(ranges).into_iter().map(Date::day).collect() };
        assert_eq!(numbers(&[range(10, 15)]), [14, 15, 10, 11, 12, 13]);
        assert_eq!(numbers(&[range(1, 2), range(10, 13)]), [12, 13, 1, 2, 10, 11]);
        assert_eq!(numbers(&[range(10, 12), range(11, 13)]), [12, 13, 10, 11]);
        assert_eq!(numbers(&[range(15, 15)]), [15]);
        assert_eq!(numbers(&[range(15, 14)]), [0_i8; 0]);
    }
}
