//! Once a day: calls outside of all days that are kept. A PBX that lost its clock, for an hour or for ever, files calls
//! under 1970, 2000 or 2036, where nobody would look for them.

use jiff::civil::{Date, DateTime, date};
use tracing::info;

use super::parts::Part;
use super::placing::Fallback;
use super::reading::{Covered, Reading};
use super::{SweepReport, Sweeper};
use crate::formats::cdr::CdrItem;
use crate::pipeline::gate::Item;
use crate::store::evidence;
use crate::store::queue::DayRange;

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
    pub(super) async fn look_outside(&self, swept: &[DayRange]) -> anyhow::Result<SweepReport> {
        let mut report = SweepReport::default();
        let now = self.clock.now();
        let ends = swept.iter().map(|range| range.from).min().zip(swept.iter().map(|range| range.to).max());
        let Some((from, to)) = ends else { return Ok(report) };
        let is_all = from.until(to).is_ok_and(|span| span.get_days() >= DAYS_MIN);
        let is_due = evidence::is_outlook_due(&mut *self.db.read().await?, &self.pbx.id, now).await?;
        if !is_all || !is_due || self.stopped() {
            return Ok(report);
        }
        let pbx = self.pbx.id.clone();
        self.db.write(async move |tx| evidence::note_outlook(tx, &pbx, now).await).await?;
        // What lies between is not asked for: what is listed is owed.
        let before = from.min(SOLD_SINCE).yesterday().unwrap_or(from);
        let after = to.tomorrow().unwrap_or(to);
        let sides = [
            Part { from: FIRST.at(0, 0, 0, 0), to: before.at(23, 59, 59, 0) },
            Part { from: after.at(0, 0, 0, 0), to: LAST },
        ];
        let mut found = Vec::new();
        for side in sides.into_iter().filter(|side| side.from <= side.to) {
            let mut reading =
                self.begin("calls of other times".into(), "outside".into(), Fallback::Before(FIRST)).await?;
            reading.facts.limits = Some(self.may_add().await?);
            reading.outside = Some((SOLD_SINCE, to));
            self.ask_side(&mut reading, side).await?;
            self.store_page(&mut reading).await?;
            found.extend(reading.added.keys().copied());
            let of_side = self.close(reading, Covered::Outside { read_at: now }).await?;
            report += SweepReport { recordings_outside: of_side.recordings_new, ..of_side };
        }
        if !found.is_empty() {
            info!(pbx = %self.pbx.id, "Pbx `{}` has calls of {} days that are long over or to come", self.pbx.id, found.len());
        }
        for day in found.into_iter().take(DAYS_MAX) {
            if self.stopped() {
                break;
            }
            let mut reading = self.begin_day(day).await?;
            let asked = reading.asked;
            let outcome = self.read_part(&mut reading, day, asked, 1).await?;
            report += self.end_day(reading, day, outcome).await?;
        }
        Ok(report)
    }

    async fn ask_side(&self, reading: &mut Reading, side: Part) -> anyhow::Result<()> {
        let Some(slot) = self.slot().await else { return Ok(()) };
        let item = Item::Day(side.from.date());
        match self.read_once(slot, reading, side).await? {
            Ok(_) => self.gate.worked(&item).await,
            Err(error) => self.gate.troubled(&item, &error).await.map(drop),
        }
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
