//! How far the PBX's clock is from UTC, call by call.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use crate::base::words::words;

/// No clock on the wall is further from UTC, in seconds.
pub const OFFSET_S_MAX: i32 = 14 * 3600;

/// Offsets in use are multiples of this many seconds.
const OFFSET_S_STEP: i64 = 900;

/// A row may start by so many seconds before its call's id or its recording's name says: they are not read from the clock
/// at one moment.
pub const EARLY_S_MAX: i64 = 60;

words! {
    /// Where the offset of a row came from.
    pub enum OffsetSource as "source of an offset" {
        /// From the epoch in the id of its own call.
        Callid = "callid",
        /// From the nearest call on the same page.
        Neighbour = "neighbour",
        /// From calls read before.
        Learnt = "learnt",
        Zone = "zone",
        /// From nowhere: taken for UTC.
        Assumed = "assumed",
    }
}

/// A row's start in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// The instant; `None` if the row has neither a readable local time nor an epoch.
    pub at: Option<Timestamp>,
    /// The PBX's local time minus UTC, in seconds.
    pub utc_offset_s: i32,
    pub source: OffsetSource,
    /// What the configured zone has at that instant, in seconds; where it differs, one of the two is wrong.
    pub zone_offset_s: Option<i32>,
}

/// Finds the offsets of one PBX's rows, page by page, and remembers what it learnt.
///
/// A row's start minus the epoch in its call's id is the offset, if it is a multiple of 15 min within 14 h. But a
/// transfer leg has the id of the call and a later start, and may hit a multiple by chance. So an offset counts only
/// if a neighbouring call, the configured zone or what was learnt agrees with it; or if it is smaller than all of
/// these, since a leg never starts before its call; or if there is nobody to ask.
#[derive(Debug, Clone)]
pub struct OffsetResolver {
    zone: Option<TimeZone>,
    learnt: Option<i32>,
    /// The last call of the page before, accepted or not: a neighbour of the first one on the next page.
    last: Option<Call>,
}

/// The rows of one epoch: the offsets that they propose, smallest first; never none.
#[derive(Debug, Clone)]
struct Call {
    epoch: i64,
    offsets: Vec<i32>,
}

/// The epoch in a row's call id; its local start, and that in seconds since 1970, as if it were UTC.
type Row = (Option<i64>, Option<(i64, DateTime)>);

/// What one page settles: the offset by epoch, and by local time in seconds.
struct Accepted {
    by_epoch: BTreeMap<i64, i32>,
    by_local: BTreeMap<i64, i32>,
}

impl OffsetResolver {
    /// A resolver for one PBX, with its configured zone and the offset last learnt, in seconds, as far as known.
    pub fn new(zone: Option<TimeZone>, learnt: Option<i32>) -> Self {
        Self { zone, learnt, last: None }
    }

    /// The offset accepted last, in seconds: what to give to [`new`](Self::new) after a restart.
    pub fn learnt(&self) -> Option<i32> {
        self.learnt
    }

    /// Resolves a page of rows, each with the epoch in its call's id and its local start; one answer for each, in order.
    pub fn resolve(&mut self, page: &[(Option<i64>, Option<DateTime>)]) -> Vec<Resolved> {
        let seconds = |local| Some((Offset::UTC.to_timestamp(local).ok()?.as_second(), local));
        let rows: Vec<Row> = page.iter().map(|&(epoch, local)| (epoch, local.and_then(seconds))).collect();
        let calls = calls(&rows);
        let accepted = self.accept(&calls, &rows);
        let resolved = rows.iter().map(|row| self.resolve_row(*row, &accepted)).collect();
        self.learnt = accepted.by_epoch.last_key_value().map(|(_, &offset)| offset).or(self.learnt);
        self.last = calls.last().cloned().or(self.last.take());
        resolved
    }

    fn accept(&self, calls: &[Call], rows: &[Row]) -> Accepted {
        let mut by_epoch = BTreeMap::new();
        for (at, call) in calls.iter().enumerate() {
            let before = if at > 0 { calls.get(at - 1) } else { self.last.as_ref() };
            let neighbours = [before.filter(|other| other.epoch != call.epoch), calls.get(at + 1)];
            if let Some(offset) = self.judge(call, neighbours) {
                by_epoch.insert(call.epoch, offset);
            }
        }
        let settled = |&(epoch, local): &Row| Some((local?.0, *by_epoch.get(&epoch?)?));
        let by_local = rows.iter().filter_map(settled).collect();
        Accepted { by_epoch, by_local }
    }

    /// The offset of a call, if it can be believed.
    fn judge(&self, call: &Call, neighbours: [Option<&Call>; 2]) -> Option<i32> {
        let known = [self.learnt, self.zone_offset(call.epoch)];
        let known = known.iter().flatten().map(std::slice::from_ref);
        let neighbours = neighbours.into_iter().flatten().map(|other| &other.offsets[..]);
        let asked: Vec<&[i32]> = neighbours.chain(known).collect();
        let agreed = call.offsets.iter().find(|offset| asked.iter().any(|offsets| offsets.contains(offset)));
        let smallest = call.offsets[0];
        let below_all = asked.iter().all(|offsets| smallest < offsets[0]);
        agreed.copied().or(below_all.then_some(smallest))
    }

    fn resolve_row(&self, (epoch, local): Row, accepted: &Accepted) -> Resolved {
        let (offset, source) = self.offset_of((epoch, local), accepted);
        let Some((local_s, civil)) = local else {
            let at = epoch.and_then(|epoch| Timestamp::from_second(epoch).ok());
            return self.resolved(at, offset, source);
        };
        let offset = match epoch {
            Some(epoch) if local_s - i64::from(offset) != epoch => {
                self.leg_offset(epoch, local_s, civil, offset, accepted)
            }
            _ => offset,
        };
        self.resolved(Timestamp::from_second(local_s - i64::from(offset)).ok(), offset, source)
    }

    fn offset_of(&self, (epoch, local): Row, accepted: &Accepted) -> (i32, OffsetSource) {
        if let Some(&offset) = epoch.and_then(|epoch| accepted.by_epoch.get(&epoch)) {
            return (offset, OffsetSource::Callid);
        }
        // The epoch orders calls rightly even in an hour that the clock shows twice.
        let neighbour = match (epoch, local) {
            (Some(epoch), _) => nearest(&accepted.by_epoch, epoch),
            (None, Some((local_s, _))) => nearest(&accepted.by_local, local_s),
            (None, None) => accepted.by_epoch.last_key_value().map(|(_, &offset)| offset),
        };
        if let Some(offset) = neighbour {
            return (offset, OffsetSource::Neighbour);
        }
        if let Some(offset) = self.learnt {
            return (offset, OffsetSource::Learnt);
        }
        let zone = self.zone.as_ref().and_then(|zone| match (epoch, local) {
            (_, Some((local_s, civil))) => Some(zone_offset_at(zone, civil, local_s, epoch)),
            (Some(_), None) => self.zone_offset(epoch?),
            (None, None) => None,
        });
        zone.map_or((0, OffsetSource::Assumed), |offset| (offset, OffsetSource::Zone))
    }

    /// The offset of a row that starts later than its call: the clock may have been moved in between.
    fn leg_offset(&self, epoch: i64, local_s: i64, civil: DateTime, offset: i32, accepted: &Accepted) -> i32 {
        if let Some(zone) = self.zone.as_ref().filter(|_| self.zone_offset(epoch) == Some(offset)) {
            return zone_offset_at(zone, civil, local_s, Some(epoch));
        }
        let fits = |offset: i32| local_s - i64::from(offset) >= epoch.saturating_sub(EARLY_S_MAX);
        let next = accepted.by_epoch.range(epoch.saturating_add(1)..).next().map(|(_, &next)| next);
        if fits(offset) { offset } else { next.filter(|&next| fits(next)).unwrap_or(offset) }
    }

    fn resolved(&self, at: Option<Timestamp>, utc_offset_s: i32, source: OffsetSource) -> Resolved {
        let zone_offset_s = at.and_then(|at| self.zone_offset(at.as_second()));
        Resolved { at, utc_offset_s, source, zone_offset_s }
    }

    fn zone_offset(&self, epoch: i64) -> Option<i32> {
        let at = Timestamp::from_second(epoch).ok()?;
        self.zone.as_ref().map(|zone| zone.to_offset(at).seconds())
    }
}

/// The rows with a plausible offset, by epoch.
fn calls(rows: &[Row]) -> Vec<Call> {
    let mut calls: BTreeMap<i64, Vec<i32>> = BTreeMap::new();
    for (epoch, (local_s, _)) in rows.iter().filter_map(|(epoch, local)| epoch.zip(*local)) {
        if let Some(offset) = candidate(epoch, local_s) {
            calls.entry(epoch).or_default().push(offset);
        }
    }
    let sorted = |(epoch, mut offsets): (i64, Vec<i32>)| {
        offsets.sort_unstable();
        Call { epoch, offsets }
    };
    calls.into_iter().map(sorted).collect()
}

/// What a row proposes as the offset.
fn candidate(epoch: i64, local_s: i64) -> Option<i32> {
    let offset = local_s.checked_sub(epoch)?;
    let plausible = offset % OFFSET_S_STEP == 0 && offset.abs() <= i64::from(OFFSET_S_MAX);
    if plausible { i32::try_from(offset).ok() } else { None }
}

/// The zone's offset at a local time. In an hour shown twice the call's epoch decides, else the first one is meant; an
/// hour left out is read as if the clock had not been moved yet.
fn zone_offset_at(zone: &TimeZone, civil: DateTime, local_s: i64, epoch: Option<i64>) -> i32 {
    match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.seconds(),
        AmbiguousOffset::Gap { before, .. } => before.seconds(),
        AmbiguousOffset::Fold { before, after } => {
            let first = local_s - i64::from(before.seconds());
            let is_second = epoch.is_some_and(|epoch| first < epoch.saturating_sub(EARLY_S_MAX));
            if is_second { after.seconds() } else { before.seconds() }
        }
    }
}

/// The value whose key is nearest; of two equally near the earlier.
fn nearest(offsets: &BTreeMap<i64, i32>, key: i64) -> Option<i32> {
    let before = offsets.range(..=key).next_back();
    let after = offsets.range(key..).next();
    let near = before.into_iter().chain(after).min_by_key(|(other, _)| other.abs_diff(key));
    near.map(|(_, &offset)| offset)
}
