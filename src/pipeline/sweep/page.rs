//! A page of CDR rows on its way into the database: placed in time, stored, and their recordings put into the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};

use crate::archive::Folder;
use crate::base::recording::{RecordingKind, RecordingName, printable};
use crate::base::safe_name::{safe_name, with_hash, with_identity};
use crate::base::times::{OffsetResolver, OffsetSource, Resolved};
use crate::config::{ExclusionRule, PbxLimits};
use crate::formats::cdr::CdrRow;
use crate::pipeline::exclusion::judge_exclusion;
use crate::store::calls::{self, NewCall, Stored};
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fleet;
use crate::store::intake::{self, Added};
use crate::store::queue::{self, Enqueued, NewRecording, RecordingState};
use crate::store::sql::Conn;

/// Rows that are stored in one transaction at most.
pub(super) const ROWS_PER_PAGE: usize = 500;

/// What every page of one reading is stored with.
#[derive(Debug, Clone)]
pub(super) struct ReadingFacts {
    pub(super) pbx: String,
    pub(super) reading: i64,
    pub(super) rules: Arc<Vec<ExclusionRule>>,
    pub(super) now: Timestamp,
    /// What the PBX may add; none for files, which are the operator's.
    pub(super) limits: Option<PbxLimits>,
}

#[derive(Debug, Default)]
pub(super) struct PageStored {
    /// Rows that were new or newly changed, by day.
    pub(super) added: BTreeMap<Date, u64>,
    pub(super) new_recordings: u64,
    intake: Added,
    zone_checked: BTreeSet<Date>,
}

impl ReadingFacts {
    /// Stores a page: the unit of work of a sweep.
    ///
    /// # Errors
    /// [`IntakeSlowed`](crate::store::intake::IntakeSlowed) if the PBX may not add it at present; whatever the database says.
    pub(super) async fn store(
        &self,
        tx: &mut Conn,
        rows: &[PlacedRow],
        learnt_offset_s: Option<i32>,
    ) -> Result<PageStored> {
        let (pbx, now) = (&*self.pbx, self.now);
        if let Some(limits) = &self.limits {
            intake::check(tx, pbx, limits, now).await?;
        }
        let mut stored = PageStored::default();
        let mut to_judge = BTreeSet::new();
        let mut sn = fleet::remembered(tx, pbx).await?.sn;
        for placed in rows {
            stored.added.entry(placed.day).or_default();
            sn = self.learn_serial_number(tx, placed, sn).await?;
            let enqueued = match &placed.row.recording {
                Some(name) => Some(self.enqueue(tx, placed, name, sn.as_deref().unwrap_or_default()).await?),
                None => None,
            };
            let call = new_call(placed, enqueued.map(|enqueued| enqueued.id));
            let change = calls::store(tx, pbx, self.reading, &call, now).await?;
            if change != Stored::Known {
                *stored.added.entry(placed.day).or_default() += 1;
                stored.intake.rows += 1;
                stored.intake.bytes += call.row.len() as u64;
            }
            if let Some(enqueued) = enqueued {
                stored.new_recordings += u64::from(enqueued.new);
                if change == Stored::New && names_another_call(&enqueued, placed.started_at()) {
                    queue::schedule_refetch(tx, enqueued.id).await?;
                }
                if change != Stored::Known && may_be_excluded(&enqueued, &self.rules) {
                    to_judge.insert(enqueued.id);
                }
            }
            if placed.resolved.source == OffsetSource::Callid && stored.zone_checked.insert(placed.day) {
                self.note_zone(tx, placed).await?;
            }
        }
        if self.limits.is_some() {
            intake::note(tx, pbx, stored.intake, now).await?;
        }
        for id in to_judge {
            judge_exclusion(tx, &self.rules, pbx, id, now).await?;
        }
        // With the rows, not with the reading's end: it may never come to that.
        for (day, _) in stored.added.iter().filter(|(_, added)| **added > 0) {
            calls::reopen(tx, pbx, *day).await?;
        }
        if let Some(offset_s) = learnt_offset_s {
            fleet::learn_offset(tx, pbx, offset_s).await?;
        }
        Ok(stored)
    }

    /// The serial number is the row's own, else the one learnt. The first row that has one teaches it.
    async fn learn_serial_number(
        &self,
        tx: &mut Conn,
        placed: &PlacedRow,
        known: Option<String>,
    ) -> Result<Option<String>> {
        let Some(shown) = placed.row.serial_number() else { return Ok(known) };
        match known {
            None => {
                fleet::learn_serial_number(tx, &self.pbx, shown).await?;
                Ok(Some(shown.to_owned()))
            }
            Some(known) if known != shown => {
                let (shown, known_sn) = (printable(shown.as_bytes()), printable(known.as_bytes()));
                let detail = format!(
                    "the CDR names serial number {shown}, the PBX had {known_sn}: was the device replaced?"
                );
                let finding = Finding { kind: FindingKind::SerialNumberChanged, subject: shown, detail };
                findings::record(tx, &self.pbx, &finding, self.now).await?;
                Ok(Some(known))
            }
            known => Ok(known),
        }
    }

    async fn enqueue(
        &self,
        tx: &mut Conn,
        placed: &PlacedRow,
        name: &RecordingName,
        learnt_sn: &str,
    ) -> Result<Enqueued> {
        let sn = placed.row.serial_number().unwrap_or(learnt_sn);
        let folder = Folder::day(&self.pbx, placed.day)?;
        let paths = [safe_name(name), with_hash(name), with_identity(name, sn.as_bytes())]
            .map(|file_name| format!("{folder}/{}", file_name.as_str()));
        let recording = NewRecording {
            pbx: &self.pbx,
            kind: RecordingKind::Call,
            sn,
            name,
            day: placed.day,
            started_at: placed.started_at(),
            paths: &paths,
        };
        queue::enqueue(tx, &recording).await
    }

    /// The PBX's own offset and the configured zone should agree; one finding a day where they do not.
    async fn note_zone(&self, tx: &mut Conn, placed: &PlacedRow) -> Result<()> {
        let shown = placed.resolved.utc_offset_s;
        let detail = placed.resolved.zone_offset_s.filter(|zone| *zone != shown).map(|configured| {
        format!(
            "the CDR shows an offset of {shown} s from UTC, the configured timezone has {configured} s: correct \
             `timezone` or the PBX's clock"
        )
    });
        let (kind, day) = (FindingKind::OffsetDisagrees, placed.day.to_string());
        findings::settle(tx, &self.pbx, kind, &day, detail, self.now).await
    }
}

fn new_call(placed: &PlacedRow, recording_id: Option<i64>) -> NewCall {
    let row = &placed.row;
    NewCall {
        identity: row.identity(),
        version: row.version(),
        day: placed.day,
        started_at: placed.resolved.at,
        utc_offset_s: placed.resolved.utc_offset_s,
        offset_source: placed.resolved.source.as_str().into(),
        zone_offset_s: placed.resolved.zone_offset_s,
        // More seconds than there are is no talk time.
        talk_s: row.talkduraction.known().and_then(|seconds| i64::try_from(seconds).ok()),
        answered: row.answered(),
        row: row.raw_json(),
        recording_id,
    }
}

/// A name that comes back more than a day later may mean other audio.
fn names_another_call(enqueued: &Enqueued, started_at: Timestamp) -> bool {
    let apart = started_at.duration_since(enqueued.started_at).unsigned_abs();
    !enqueued.new && enqueued.state == RecordingState::Archived && apart.as_secs() > 24 * 3600
}

fn may_be_excluded(enqueued: &Enqueued, rules: &[ExclusionRule]) -> bool {
    !rules.is_empty() || enqueued.state == RecordingState::Excluded
}

/// The end of a local day in UTC, by the offset that the PBX last showed.
pub(super) fn day_end(day: Date, utc_offset_s: i32) -> Option<Timestamp> {
    let offset = jiff::tz::Offset::from_seconds(utc_offset_s).ok()?;
    offset.to_timestamp(day.checked_add(1.day()).ok()?.at(0, 0, 0, 0)).ok()
}

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
            let shown = match row.doubt.is_some() || is_undated {
                true => likeliest_day(&row, &resolved, *fallback),
                false => row.local_start().map(|local| local.date()).or_else(|| local_day(&resolved)),
            };
            if let (Some(day), Fallback::Before(before)) = (shown, &mut *fallback) {
                *before = day;
            }
            let (Fallback::Asked(day) | Fallback::Before(day)) = *fallback;
            let day = shown.unwrap_or(day);
            PlacedRow { row, day, resolved }
        })
        .collect()
}

/// The day of a row whose start cannot be believed: of the days in its recording's name, in its call's id and in its start
/// the first that lies beside the day of the list, else that day itself; in a file the first of them.
fn likeliest_day(row: &CdrRow, resolved: &Resolved, fallback: Fallback) -> Option<Date> {
    let stamped = row.stamped_day();
    let of_id = local_day(resolved).filter(|_| row.epoch().is_some());
    let days = [stamped, of_id, row.local_start().map(|local| local.date())];
    let mut days = days.into_iter().flatten();
    match fallback {
        Fallback::Before(_) => days.next(),
        Fallback::Asked(asked) => {
            let near = days.find(|day| is_next_to(*day, asked));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_comes_again_more_than_a_day_apart_is_that_of_another_call() {
        let known = Enqueued {
            id: 1,
            new: false,
            state: RecordingState::Archived,
            started_at: Timestamp::UNIX_EPOCH,
        };
        let another = |enqueued: &Enqueued, after_s: i64| {
            names_another_call(enqueued, Timestamp::UNIX_EPOCH + after_s.seconds())
        };
        let table = [(0, false), (86_400, false), (86_401, true), (-86_400, false), (-86_401, true)];
        for (after_s, is_another) in table {
            assert_eq!(another(&known, after_s), is_another, "{after_s} s apart");
        }
        assert!(!another(&Enqueued { new: true, ..known }, 86_401));
        assert!(
            !another(&Enqueued { state: RecordingState::Missing, ..known }, 86_401),
            "it is asked for anyway"
        );
    }
}
