//! A page of CDR rows on its way into the database: placed in time, stored, and their recordings put into the queue.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use anyhow::Result;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};

use crate::archive::Folder;
use crate::base::digest::Digest;
use crate::base::recording::{RecordingKind, printable};
use crate::base::safe_name::{safe_name, with_hash, with_identity};
use crate::base::times::{OffsetResolver, OffsetSource, Resolved};
use crate::config::{ExclusionRule, PbxLimits};
use crate::formats::cdr::CdrRow;
use crate::pipeline::exclusion::judge_exclusion;
use crate::store::calls::{self, Listed, NewCall, News, Standing};
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
    /// Stands for all that decides what a list says, besides its bytes.
    pub(super) read_by: Digest,
    /// The day that is asked for; of a file, the day on which it was written.
    pub(super) day: Date,
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
    /// Calls of the day that was asked for, those not counted that this reading has held before.
    pub(super) calls_of_day: i64,
    /// Whether findings came of it that another reading has to renew.
    pub(super) leaves_findings: bool,
    intake: Added,
    to_judge: BTreeSet<i64>,
}

impl ReadingFacts {
    /// Stores a page: the unit of work of a sweep. `repeated` says of each row whether this reading has held it before.
    ///
    /// # Errors
    /// [`IntakeSlowed`](crate::store::intake::IntakeSlowed) if the PBX may not add it at present; whatever the database says.
    pub(super) async fn store(
        &self,
        tx: &mut Conn,
        rows: &[PlacedRow],
        repeated: &[bool],
        learnt_offset_s: Option<i32>,
    ) -> Result<PageStored> {
        let (pbx, now) = (&*self.pbx, self.now);
        if let Some(limits) = &self.limits {
            intake::check(tx, pbx, limits, now).await?;
        }
        let mut stored = PageStored::default();
        let mut days: Vec<Date> = rows.iter().map(|placed| placed.call.day).collect();
        days.dedup();
        stored.added.extend(days.into_iter().map(|day| (day, 0)));
        let sn = self.learn_serial_number(tx, rows, &mut stored).await?;
        let mut left: Vec<(&PlacedRow, bool)> = rows.iter().zip(repeated.iter().copied()).collect();
        while !left.is_empty() {
            // What comes twice is known the second time.
            let mut identities = HashSet::with_capacity(left.len());
            let is_first = |(placed, _): &(&PlacedRow, bool)| identities.insert(placed.call.identity);
            let (distinct, again): (Vec<_>, Vec<_>) = left.into_iter().partition(is_first);
            self.store_distinct(tx, &distinct, &sn, &mut stored).await?;
            left = again.into_iter().map(|(placed, _)| (placed, true)).collect();
        }
        let mut zone_checked = BTreeSet::new();
        for placed in rows.iter().filter(|placed| placed.resolved.source == OffsetSource::Callid) {
            if zone_checked.insert(placed.call.day) {
                self.note_zone(tx, placed).await?;
            }
        }
        if self.limits.is_some() {
            intake::note(tx, pbx, stored.intake, now).await?;
        }
        for id in std::mem::take(&mut stored.to_judge) {
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

    /// Stores rows of which no two are of one call.
    async fn store_distinct(
        &self,
        tx: &mut Conn,
        rows: &[(&PlacedRow, bool)],
        learnt_sn: &str,
        stored: &mut PageStored,
    ) -> Result<()> {
        let (pbx, now) = (&*self.pbx, self.now);
        let mut listed = Vec::with_capacity(rows.len());
        for (PlacedRow { row, call, .. }, is_repeated) in rows {
            let names_recording = row.recording.is_some();
            listed.push(Listed { call, names_recording, is_repeated: *is_repeated });
        }
        let News { rows: news, known_of_day } = calls::news(tx, pbx, self.day, &listed).await?;
        let rows: Vec<&PlacedRow> = rows.iter().map(|(placed, _)| *placed).collect();
        let enqueued = self.enqueue(tx, &rows, &news, learnt_sn).await?;
        let is_new = |(_, standing): &&(usize, Standing)| *standing == Standing::New;
        let new: Vec<_> = news
            .iter()
            .filter(is_new)
            .map(|(at, _)| (&rows[*at].call, enqueued.get(at).map(|enqueued| enqueued.id)))
            .collect();
        calls::insert_all(tx, pbx, &new, now).await?;
        let new_of_day = new.iter().filter(|(call, _)| call.day == self.day).count();
        stored.calls_of_day += known_of_day + i64::try_from(new_of_day)?;
        for (at, standing) in news {
            let placed = rows[at];
            let is_news = match standing {
                Standing::New => true,
                Standing::Other(id) => calls::replace_version(tx, id, &placed.call, now).await?,
                Standing::Untied => false,
            };
            if is_news {
                *stored.added.entry(placed.call.day).or_default() += 1;
                stored.intake.rows += 1;
                stored.intake.bytes += placed.call.row.len() as u64;
            }
            let Some(enqueued) = enqueued.get(&at) else { continue };
            stored.new_recordings += u64::from(enqueued.new);
            if standing == Standing::New && names_another_call(enqueued, placed.started_at()) {
                queue::schedule_refetch(tx, enqueued.id).await?;
            }
            if is_news && may_be_excluded(enqueued, &self.rules) {
                stored.to_judge.insert(enqueued.id);
            }
        }
        Ok(())
    }

    /// The serial number of rows that show none: the one that is known. The first row that shows one teaches it.
    async fn learn_serial_number(
        &self,
        tx: &mut Conn,
        rows: &[PlacedRow],
        stored: &mut PageStored,
    ) -> Result<String> {
        let shown: BTreeSet<&str> = rows.iter().filter_map(|placed| placed.row.serial_number()).collect();
        let known = match (fleet::remembered(tx, &self.pbx).await?.sn, rows.iter().find_map(serial_number)) {
            (Some(known), _) => known,
            (None, None) => return Ok(String::new()),
            (None, Some(first)) => {
                fleet::learn_serial_number(tx, &self.pbx, first).await?;
                first.to_owned()
            }
        };
        for shown in shown.into_iter().filter(|shown| *shown != known) {
            let (shown, known) = (printable(shown.as_bytes()), printable(known.as_bytes()));
            let detail =
                format!("the CDR names serial number {shown}, the PBX had {known}: was the device replaced?");
            let finding = Finding { kind: FindingKind::SerialNumberChanged, subject: shown, detail };
            findings::record(tx, &self.pbx, &finding, self.now).await?;
            stored.leaves_findings = true;
        }
        Ok(known)
    }

    /// Puts the recordings into the queue that `news` among `rows` name, by their place.
    async fn enqueue(
        &self,
        tx: &mut Conn,
        rows: &[&PlacedRow],
        news: &[(usize, Standing)],
        learnt_sn: &str,
    ) -> Result<BTreeMap<usize, Enqueued>> {
        let mut named = Vec::new();
        for (at, _) in news {
            let Some(name) = &rows[*at].row.recording else { continue };
            let sn = rows[*at].row.serial_number().unwrap_or(learnt_sn);
            let folder = Folder::day(&self.pbx, rows[*at].call.day)?;
            let paths = [safe_name(name), with_hash(name), with_identity(name, sn.as_bytes())]
                .map(|file_name| format!("{folder}/{}", file_name.as_str()));
            named.push((*at, name, sn, paths));
        }
        let mut recordings = Vec::with_capacity(named.len());
        for (at, name, sn, paths) in &named {
            recordings.push(NewRecording {
                pbx: &self.pbx,
                kind: RecordingKind::Call,
                sn,
                name,
                day: rows[*at].call.day,
                started_at: rows[*at].started_at(),
                paths,
            });
        }
        let enqueued = queue::enqueue_all(tx, &recordings).await?;
        Ok(named.iter().map(|(at, ..)| *at).zip(enqueued).collect())
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
        let (kind, day) = (FindingKind::OffsetDisagrees, placed.call.day.to_string());
        findings::settle(tx, &self.pbx, kind, &day, detail, self.now).await
    }
}

fn serial_number(placed: &PlacedRow) -> Option<&str> {
    placed.row.serial_number()
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
    pub(super) resolved: Resolved,
    /// What is stored of it.
    pub(super) call: NewCall,
}

impl PlacedRow {
    fn new(row: CdrRow, day: Date, resolved: Resolved) -> Self {
        let identity = row.identity();
        let call = NewCall {
            identity,
            identity_day: row.identity_day(),
            version: row.version_of(&identity),
            day,
            started_at: resolved.at,
            utc_offset_s: resolved.utc_offset_s,
            offset_source: resolved.source.as_str().into(),
            zone_offset_s: resolved.zone_offset_s,
            // More seconds than there are is no talk time.
            talk_s: row.talkduraction.known().and_then(|seconds| i64::try_from(seconds).ok()),
            answered: row.answered(),
            row: row.raw_json(),
            recording_id: None,
        };
        // It is needed no more, and is the largest part of a row.
        let row = CdrRow { raw: Vec::new(), ..row };
        Self { row, resolved, call }
    }

    /// The start of the call; the start of its day if its row tells no time.
    pub(super) fn started_at(&self) -> Timestamp {
        let midnight = || {
            let offset =
                jiff::tz::Offset::from_seconds(self.resolved.utc_offset_s).unwrap_or(jiff::tz::Offset::UTC);
            offset.to_timestamp(self.call.day.at(0, 0, 0, 0)).unwrap_or(Timestamp::UNIX_EPOCH)
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
            PlacedRow::new(row, day, resolved)
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
#[path = "page_tests.rs"]
mod page_tests;

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
