//! Where a CDR row belongs: its day and its instant, as far as it tells them.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::base::times::{OffsetResolver, OffsetSource, Resolved};
use crate::formats::cdr::CdrRow;

/// A row whose place in time is known.
#[derive(Debug, Clone)]
pub(super) struct PlacedRow {
    pub(super) row: CdrRow,
    pub(super) day: Date,
    pub(super) resolved: Resolved,
}

impl PlacedRow {
    /// The start of the call; the start of its day if its row tells no time.
    pub(super) fn started_at(&self) -> Timestamp {
        let midnight = || {
            let offset =
                jiff::tz::Offset::from_seconds(self.resolved.utc_offset_s).unwrap_or(jiff::tz::Offset::UTC);
            offset.to_timestamp(self.day.at(0, 0, 0, 0)).unwrap_or(Timestamp::UNIX_EPOCH)
        };
        self.resolved.at.unwrap_or_else(midnight)
    }
}

/// The day of rows that tell no time at all.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fallback {
    Asked(Date),
    /// In a file: that of the row before, and of the first ones the day on which the file was written.
    Before(Date),
}

/// Finds the day and the offset of every row.
pub(super) fn place(
    rows: Vec<CdrRow>,
    resolver: &mut OffsetResolver,
    fallback: &mut Fallback,
) -> Vec<PlacedRow> {
    // A start that is rewritten or contradicted is worse evidence of the instant than the id of its call.
    let time = |row: &CdrRow| match (row.epoch(), row.exact_start()) {
        (Some(epoch), None) => (Some(epoch), None),
        (epoch, Some(exact)) => (epoch, Some(exact)),
        (None, None) => (None, row.local_start()),
    };
    let times: Vec<_> = rows.iter().map(time).collect();
    let resolved = resolver.resolve(&times);
    rows.into_iter()
        .zip(resolved)
        .map(|(row, resolved)| {
            let is_undated = row.local_start().is_none() && resolved.source == OffsetSource::Assumed;
            let told = match row.doubt.is_some() || is_undated {
                true => likeliest_day(&row, &resolved, *fallback),
                false => row.local_start().map(|local| local.date()).or_else(|| local_day(&resolved)),
            };
            let day = match (told, &mut *fallback) {
                (Some(day), Fallback::Before(before)) => {
                    *before = day;
                    day
                }
                (Some(day), Fallback::Asked(_)) => day,
                (None, Fallback::Asked(day) | Fallback::Before(day)) => *day,
            };
            PlacedRow { row, day, resolved }
        })
        .collect()
}

/// The day of a row whose start cannot be believed: of the days in its recording's name, in its call's id and in its start
/// the first that lies beside the day of the list, else that day itself; in a file the first of them.
fn likeliest_day(row: &CdrRow, resolved: &Resolved, fallback: Fallback) -> Option<Date> {
    let stamped = row.stamped_day();
    let of_id = local_day(resolved).filter(|_| row.epoch().is_some());
    let told = [stamped, of_id, row.local_start().map(|local| local.date())];
    let mut told = told.into_iter().flatten();
    match fallback {
        Fallback::Before(_) => told.next(),
        Fallback::Asked(asked) => {
            let near = told.find(|day| is_next_to(*day, asked));
            // Where its offset is not known either, the list in which it stands tells its day best.
            let is_sure = |day: &Date| resolved.source != OffsetSource::Assumed || Some(*day) == stamped;
            Some(near.filter(is_sure).unwrap_or(asked))
        }
    }
}

/// Whether it is the same day, or one of those beside it.
fn is_next_to(day: Date, other: Date) -> bool {
    day.until(other).is_ok_and(|span| span.get_days().abs() <= 1)
}

/// The local day of a row whose clock time cannot be read but whose callid tells the time.
fn local_day(resolved: &Resolved) -> Option<Date> {
    let offset = jiff::tz::Offset::from_seconds(resolved.utc_offset_s).ok()?;
    Some(offset.to_datetime(resolved.at?).date())
}
