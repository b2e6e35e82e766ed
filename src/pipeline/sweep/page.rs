//! A page of CDR rows on its way into the database: placed in time, stored, and their recordings put into the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context as _;
use jiff::{Timestamp, ToSpan as _, civil::Date};
use sqlx::SqliteConnection;

use super::placing::PlacedRow;
use crate::archive::Folder;
use crate::base::recording::{RecordingKind, RecordingName, printable};
use crate::base::safe_name::{safe_name, with_hash, with_identity};
use crate::base::times::OffsetSource;
use crate::config::{ExclusionRule, PbxLimits};
use crate::formats::cdr::CdrRow;
use crate::pipeline::exclusion;
use crate::pipeline::exclusion::{CallFacts, Ruling};
use crate::store::calls::{self, NewCall, Stored};
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fleet;
use crate::store::intake::{self, Added};
use crate::store::queue::{self, Enqueued, NewRecording, RecordingState};
use crate::store::voicemail;

/// Rows that are stored in one transaction at most.
pub(super) const ROWS_PER_PAGE: usize = 500;

/// A recording that more rows name is that of no call, and no rule is applied to it: a conference has some thousands.
const LEGS_MAX: usize = 10_000;

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

/// Stores a page: the unit of work of a sweep.
///
/// # Errors
/// [`IntakeSlowed`](crate::store::intake::IntakeSlowed) if the PBX may not add it at present; whatever the database says.
pub(super) async fn store(
    tx: &mut SqliteConnection,
    facts: &ReadingFacts,
    rows: &[PlacedRow],
    learnt_offset_s: Option<i32>,
) -> anyhow::Result<PageStored> {
    if let Some(limits) = &facts.limits {
        intake::check(tx, &facts.pbx, limits, facts.now).await?;
    }
    let mut stored = PageStored::default();
    let mut to_judge = BTreeSet::new();
    let mut sn = fleet::remembered(tx, &facts.pbx).await?.sn;
    for placed in rows {
        stored.added.entry(placed.day).or_default();
        sn = learn_serial_number(tx, facts, placed, sn).await?;
        let enqueued = match &placed.row.recording {
            Some(name) => Some(enqueue(tx, facts, placed, name, sn.as_deref().unwrap_or_default()).await?),
            None => None,
        };
        let call = new_call(placed, enqueued.map(|enqueued| enqueued.id));
        let change = calls::store(tx, &facts.pbx, facts.reading, &call, facts.now).await?;
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
            if change != Stored::Known && may_be_excluded(&enqueued, &facts.rules) {
                to_judge.insert(enqueued.id);
            }
        }
        if placed.resolved.source == OffsetSource::Callid && stored.zone_checked.insert(placed.day) {
            note_zone(tx, facts, placed).await?;
        }
    }
    if facts.limits.is_some() {
        intake::note(tx, &facts.pbx, stored.intake, facts.now).await?;
    }
    for id in to_judge {
        judge_exclusion(tx, &facts.rules, &facts.pbx, id, facts.now).await?;
    }
    // With the rows, not with the reading's end: it may never come to that.
    for (day, _) in stored.added.iter().filter(|(_, added)| **added > 0) {
        calls::reopen(tx, &facts.pbx, *day).await?;
    }
    if let Some(offset_s) = learnt_offset_s {
        fleet::learn_offset(tx, &facts.pbx, offset_s).await?;
    }
    Ok(stored)
}

/// The serial number is the row's own, else the one learnt. The first row that tells one teaches it.
async fn learn_serial_number(
    tx: &mut SqliteConnection,
    facts: &ReadingFacts,
    placed: &PlacedRow,
    known: Option<String>,
) -> anyhow::Result<Option<String>> {
    let Some(told) = placed.row.serial_number() else { return Ok(known) };
    match known {
        None => {
            fleet::learn_serial_number(tx, &facts.pbx, told).await?;
            Ok(Some(told.to_owned()))
        }
        Some(known) if known != told => {
            let (told, known_sn) = (printable(told.as_bytes()), printable(known.as_bytes()));
            let detail = format!(
                "the CDR names serial number {told}, the PBX had {known_sn}: was the device replaced?"
            );
            let finding = Finding { kind: FindingKind::SerialNumberChanged, subject: told, detail };
            findings::record(tx, &facts.pbx, &finding, facts.now).await?;
            Ok(Some(known))
        }
        known => Ok(known),
    }
}

async fn enqueue(
    tx: &mut SqliteConnection,
    facts: &ReadingFacts,
    placed: &PlacedRow,
    name: &RecordingName,
    learnt_sn: &str,
) -> anyhow::Result<Enqueued> {
    let sn = placed.row.serial_number().unwrap_or(learnt_sn);
    let folder = Folder::day(&facts.pbx, placed.day)?;
    let paths = [safe_name(name), with_hash(name), with_identity(name, sn.as_bytes())]
        .map(|file_name| format!("{folder}/{}", file_name.as_str()));
    let recording = NewRecording {
        pbx: &facts.pbx,
        kind: RecordingKind::Call,
        sn,
        name,
        day: placed.day,
        started_at: placed.started_at(),
        paths: &paths,
    };
    queue::enqueue(tx, &recording).await
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

/// Applies the operator's rules to a recording: every row that names it must match. A voicemail message is like a call
/// from its caller to its extension, of which nothing else is known.
pub(super) async fn judge_exclusion(
    tx: &mut SqliteConnection,
    rules: &[ExclusionRule],
    pbx: &str,
    id: i64,
    now: Timestamp,
) -> anyhow::Result<()> {
    let ruling = match voicemail::of_recording(tx, id).await? {
        Some(kept) => exclusion::ruling(rules, pbx, [CallFacts::of_message(&kept.message)]),
        None => {
            let mut are_too_many = false;
            let calls = calls::of_recording(tx, id, LEGS_MAX, |_| are_too_many = true).await?;
            let rows = calls
                .iter()
                .map(|call| CdrRow::from_raw(&call.row).context("a stored call is damaged"))
                .collect::<anyhow::Result<Vec<_>>>()?;
            match are_too_many {
                true => Ruling::Unknown,
                false => exclusion::ruling(rules, pbx, believed(&rows).map(CallFacts::of)),
            }
        }
    };
    let changed = match ruling {
        Ruling::Excluded(rule) => queue::exclude(tx, id, rule).await?,
        Ruling::Kept => queue::include(tx, id).await?,
        Ruling::Unknown => queue::hold(tx, id).await?,
    };
    if changed {
        note_held(tx, pbx, id, ruling == Ruling::Unknown, now).await?;
        calls::reopen_for(tx, id).await?;
    }
    Ok(())
}

/// The rows that tell of a recording: those that are shifted or went through a spreadsheet only where no other one does, for
/// they tell of a call that another row tells of as well.
fn believed(rows: &[CdrRow]) -> impl Iterator<Item = &CdrRow> {
    let is_believed = |row: &&CdrRow| !row.is_shifted() && !row.is_rewritten();
    let any_believed = rows.iter().any(|row| is_believed(&row));
    rows.iter().filter(move |row| !any_believed || is_believed(row))
}

/// A recording that is held is a finding, until it is held no more.
async fn note_held(
    tx: &mut SqliteConnection,
    pbx: &str,
    id: i64,
    is_held: bool,
    now: Timestamp,
) -> anyhow::Result<()> {
    let Some(subject) = queue::path_of(tx, id).await? else { return Ok(()) };
    let detail = "an [[exclude]] rule may apply to this recording, and the row of its call cannot be read: it is neither \
                  archived nor left out until the PBX lists the call readably, or the rule is changed";
    let detail = is_held.then(|| detail.to_owned());
    findings::settle(tx, pbx, FindingKind::DoubtfulRow, &subject, detail, now).await
}

/// The PBX's own offset and the configured zone should agree; one finding a day where they do not.
async fn note_zone(
    tx: &mut SqliteConnection,
    facts: &ReadingFacts,
    placed: &PlacedRow,
) -> anyhow::Result<()> {
    let shown = placed.resolved.utc_offset_s;
    let detail = placed.resolved.zone_offset_s.filter(|zone| *zone != shown).map(|configured| {
        format!(
            "the CDR shows an offset of {shown} s from UTC, the configured timezone has {configured} s: correct \
             `timezone` or the PBX's clock"
        )
    });
    let (kind, day) = (FindingKind::OffsetDisagrees, placed.day.to_string());
    findings::settle(tx, &facts.pbx, kind, &day, detail, facts.now).await
}

/// The end of a local day in UTC, by the offset that the PBX last showed.
pub(super) fn day_end(day: Date, utc_offset_s: i32) -> Option<Timestamp> {
    let offset = jiff::tz::Offset::from_seconds(utc_offset_s).ok()?;
    offset.to_timestamp(day.checked_add(1.day()).ok()?.at(0, 0, 0, 0)).ok()
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
