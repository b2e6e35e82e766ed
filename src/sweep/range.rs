//! CDR over the API: day by day, and by ever smaller parts of a day where the PBX cannot answer for the whole.

use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime};
use tracing::{debug, warn};

use super::reading::{Covered, Reading};
use super::{SweepReport, Sweeper};
use crate::cdr::{CdrItem, CdrReader};
use crate::findings;
use crate::pbx::{CdrBody, PbxError, Reason, Slot};
use crate::queue::DayRange;
use crate::recording::Text;

/// Tries of one part of a day, for reasons that pass.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// A range is not halved below this many seconds.
const PART_S_MIN: i64 = 60;

/// Sweeps the days of `ranges`: over the API if the PBX has that, and from the files of its CDR folder.
///
/// `progress` is told each day. Days that could not be read are counted and left open; a PBX that is given up ends
/// the sweep.
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
    // A PBX that cannot tell one day may be able to tell none at present: then it is not pressed for each.
    let mut doubtful = false;
    for range in ranges {
        let mut day = range.from;
        while day <= range.to && !sweeper.stopped() {
            let of_day = sweeper.read_day(day, doubtful).await?;
            doubtful = of_day.days_unread > 0;
            report += of_day;
            progress(day, &report);
            let Ok(next) = day.checked_add(1.day()) else { break };
            day = next;
        }
    }
    Ok(report)
}

impl Sweeper<'_> {
    fn stopped(&self) -> bool {
        self.stop.is_cancelled() || self.access.given_up().is_cancelled()
    }

    /// Reads a day. A `doubtful` PBX is asked once for one minute of it first.
    async fn read_day(&self, day: Date, doubtful: bool) -> anyhow::Result<SweepReport> {
        let mut reading = self.begin(findings::cdr_of(day), day.to_string(), day).await?;
        let read_at = reading.facts.now;
        let (from, to) = (day.at(0, 0, 0, 0), day.at(23, 59, 59, 0));
        let answers = !doubtful || self.read_part(&mut reading, from, day.at(0, 0, 59, 0), 1).await?;
        let whole = answers && self.read_part(&mut reading, from, to, TRIES).await?;
        // What was read of a day is kept, also where the day was not read whole and stays open.
        let report = self.close(reading, Covered::Day { day, whole, read_at }).await?;
        Ok(SweepReport { days_read: whole.into(), days_unread: (!whole).into(), ..report })
    }

    /// Reads one part of a day, halving it where the PBX takes too long. `false` if the PBX could not be made to answer.
    async fn read_part(
        &self,
        reading: &mut Reading,
        from: DateTime,
        to: DateTime,
        tries_max: u32,
    ) -> anyhow::Result<bool> {
        let mut tries = 0;
        while let Some(slot) = self.slot().await {
            let error = match self.read_once(slot, reading, from, to).await? {
                Ok(()) => {
                    self.access.worked().await?;
                    return Ok(true);
                }
                Err(error) => error,
            };
            if error.policy().concerns_pbx() {
                self.access.failed(&error).await?;
                continue;
            }
            self.access.troubled(&error).await?;
            if error.is_too_much_at_once()
                && let Some((end, begin)) = middle(from, to)
            {
                debug!(pbx = %self.pbx.id, "Halving the CDR range {from} to {to}: {error}");
                return Ok(Box::pin(self.read_part(reading, from, end, tries_max)).await?
                    && Box::pin(self.read_part(reading, begin, to, tries_max)).await?);
            }
            tries += 1;
            if tries == tries_max {
                self.access.unread(&error).await?;
                warn!(pbx = %self.pbx.id, "The CDR of pbx `{}` from {from} to {to} could not be read: {error}", self.pbx.id);
                return Ok(false);
            }
            tokio::time::sleep(FIRST_WAIT * 2u32.pow(tries - 1)).await;
        }
        Ok(false)
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
        from: DateTime,
        to: DateTime,
    ) -> anyhow::Result<Result<(), PbxError>> {
        match slot.cdr(from, to).await {
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

/// The end of the first half of a range and the beginning of the second; `None` if it is too short to halve.
fn middle(from: DateTime, to: DateTime) -> Option<(DateTime, DateTime)> {
    let seconds = from.duration_until(to).as_secs();
    if seconds < 2 * PART_S_MIN {
        return None;
    }
    let end = from.checked_add((seconds / 2).seconds()).ok()?;
    Some((end, end.checked_add(1.second()).ok()?))
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
    fn a_day_is_halved_without_a_gap_and_not_for_ever() {
        let day = date(2024, 3, 1);
        let (end, begin) = middle(day.at(0, 0, 0, 0), day.at(23, 59, 59, 0)).unwrap();
        assert_eq!(end.to_string(), "2024-03-01T11:59:59");
        assert_eq!(begin.to_string(), "2024-03-01T12:00:00");
        assert!(middle(day.at(0, 0, 0, 0), day.at(0, 1, 59, 0)).is_none());
        let (end, begin) = middle(day.at(0, 0, 0, 0), day.at(0, 2, 0, 0)).unwrap();
        assert_eq!(
            (end.to_string(), begin.to_string()),
            ("2024-03-01T00:01:00".into(), "2024-03-01T00:01:01".into())
        );
    }
}
