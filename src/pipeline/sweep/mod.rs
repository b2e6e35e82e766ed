//! Sweeps: one reading of what a PBX says of its calls, from its API or from CSV files, or of its voicemail.
//!
//! A sweep is level-triggered: it reads again what exists and stores what is new, so that an outage of any length
//! heals itself. Readings are unioned; one with fewer rows is a finding and removes nothing.

mod closing;
mod files;
mod limits;
mod page;
mod parts;
mod range;
mod reading;
mod unchanged;
mod voicemail;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use jiff::SignedDuration;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::warn;

pub use super::exclusion::{apply_rules, rules_of};
pub use files::CdrFileError;
pub use voicemail::{FullestBox, VoicemailPoll};

use super::site::{Met, Site};
use crate::base::digest::Digest;
use crate::base::filesystem::{Room, room};
use crate::base::recording::Text;
use crate::base::times::OffsetResolver;
use crate::config::{ExclusionRule, PbxLimits};
use crate::formats::cdr::{BadRow, CdrItem, CdrRow, DoubtCause};
use crate::store::calls;
use crate::store::db::{Begun, DatabaseFailed};
use crate::store::evidence::{self, Limits};
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fleet::{self, SameDevice};
use crate::store::intake::{self, Added, IntakeSlowed};
use page::{Fallback, PageStored, PlacedRow, ROWS_PER_PAGE, ReadingFacts};
use parts::Part;
use reading::{List, PendingPage, Reading, Seen};

/// Bad rows of one reading that are kept as findings; the rest is only counted.
const BAD_ROWS_KEPT: u64 = 1000;
/// The disk of the database keeps so much free: what is left is for recordings that are known of to be committed.
const STATE_FREE_BYTES_MIN: u64 = 128 << 20;
/// On a smaller disk than this it is not asked: it may never have had so much.
const STATE_DISK_BYTES_MIN: u64 = 1 << 30;

#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub struct SweepReport {
    pub days_read: u64,
    pub days_unread: u64,
    /// Days that were not asked for: the PBX was given up before, or the run was stopped.
    pub days_unasked: u64,
    /// Files of the CDR folder that could not be read.
    pub files_unread: u64,
    pub rows: u64,
    pub rows_new: u64,
    /// Rows that could not be read: findings.
    pub bad_rows: u64,
    pub recordings_new: u64,
    /// Of these, those of calls outside of all days that are kept.
    pub recordings_outside: u64,
}

#[derive(Debug)]
pub(crate) struct Sweeper<'a> {
    site: &'a Site,
    rules: Arc<Vec<ExclusionRule>>,
    /// How far the device's clock is behind ours: a day settles by the earlier one.
    device_behind: SignedDuration,
    /// Whether files are read again that have not changed since they were read, and days are looked at twice that are not over.
    deep: bool,
    /// What the PBX gives at most in one list, as far as it showed.
    limits: Mutex<Limits>,
    /// Why what is read now is doubtful, once that was asked.
    clock_doubt: OnceCell<Option<String>>,
}

impl<'a> Sweeper<'a> {
    pub(crate) fn new(site: &'a Site, met: &Met, deep: bool) -> Self {
        let (limits, clock_doubt) = (Mutex::default(), OnceCell::new());
        let rules = rules_of(&site.vault.config, site.id());
        Self { site, rules, device_behind: met.behind, deep, limits, clock_doubt }
    }

    /// `input` names it in findings, `source` identifies it; `asked` is none of a file, `limits` say what the PBX may add.
    async fn begin(
        &self,
        input: String,
        source: String,
        fallback: Fallback,
        asked: Option<Part>,
        limits: Option<PbxLimits>,
    ) -> Result<Reading> {
        let (pbx, rules, now) = (self.site.id().to_owned(), self.rules.clone(), self.site.now());
        let begun = source.clone();
        let (db, config) = (self.site.db(), self.site.pbx.clone());
        let (Fallback::Asked(day) | Fallback::Before(day)) = fallback;
        let (facts, remembered, open) = db
            .write(async move |tx| {
                let reading = calls::begin_reading(tx, &pbx, &begun, now).await?;
                let open = evidence::open_doubts(tx, &pbx).await?;
                let remembered = fleet::remembered(tx, &pbx).await?;
                let read_by = unchanged::read_by(&config, &rules, &remembered, asked);
                Ok((ReadingFacts { pbx, reading, read_by, day, rules, now, limits }, remembered, open))
            })
            .await?;
        Ok(Reading {
            facts,
            day,
            fallback,
            resolver: OffsetResolver::new(self.site.pbx.timezone.clone(), remembered.utc_offset_s),
            page: Vec::new(),
            added: BTreeMap::new(),
            counts: SweepReport::default(),
            input,
            source,
            last_sn: remembered.sn.map(Text::Utf8),
            unsure: None,
            asked: asked.unwrap_or(Part::of(day)),
            list: List::of(open),
            outside: None,
            seen: Seen::default(),
            pending: None,
            known: None,
            is_unchanged: false,
            leaves_findings: false,
        })
    }

    /// Takes an item of the CDR in, and stores the page when it is full.
    async fn take(&self, reading: &mut Reading, item: CdrItem) -> Result<()> {
        if reading.outside.is_some_and(|days| !range::is_outside(&item, days)) {
            return Ok(());
        }
        match item {
            CdrItem::Row(row) => {
                reading.list.note_row(&row);
                match row.doubt {
                    Some(cause) => {
                        let line = (row.line, row.line_sha256);
                        self.note_line(reading, line, cause.sentence().to_owned()).await?;
                    }
                    None => reading.counts.rows += 1,
                }
                if !row.is_shifted() {
                    reading.last_sn = Some(row.sn.clone());
                }
                reading.page.push(*row);
                if reading.page.len() >= ROWS_PER_PAGE {
                    self.begin_page(reading).await?;
                }
            }
            CdrItem::BadRow(bad) => self.note_bad_row(reading, &bad).await?,
        }
        Ok(())
    }

    /// Stores all rows that came.
    async fn store_page(&self, reading: &mut Reading) -> Result<()> {
        self.begin_page(reading).await?;
        self.end_page(reading).await
    }

    /// Begins to store the page, once the one before is stored. The next one is read meanwhile.
    async fn begin_page(&self, reading: &mut Reading) -> Result<()> {
        let rows =
            page::place(std::mem::take(&mut reading.page), &mut reading.resolver, &mut reading.fallback);
        self.end_page(reading).await?;
        if !rows.is_empty() {
            let (rows, began) = (Arc::new(rows), Instant::now());
            let stored = self.begin_rows(reading, rows.clone(), 0..rows.len()).await?;
            reading.pending = Some(PendingPage { rows, began, stored });
        }
        // The others' recordings are to be committed between two pages.
        if self.site.vault.config.pbx.len() > 1 {
            self.end_page(reading).await?;
        }
        Ok(())
    }

    /// Waits for the page that is being stored, if there is one.
    async fn end_page(&self, reading: &mut Reading) -> Result<()> {
        let Some(PendingPage { rows, began, stored }) = reading.pending.take() else { return Ok(()) };
        match self.end_rows(reading, &rows, stored).await {
            Ok(()) => {
                self.let_others_write(rows.len(), began.elapsed()).await;
                return Ok(());
            }
            Err(error) if is_for_the_sweep(&error) => return Err(error),
            Err(_) => {}
        }
        // One row that cannot be stored must not keep out the others: by halves until it is known which one it is.
        let mut left = halves(0..rows.len());
        while let Some(which) = left.pop() {
            match self.store_rows(reading, rows.clone(), which.clone()).await {
                Ok(()) => {}
                Err(error) if is_for_the_sweep(&error) => return Err(error),
                Err(_) if which.len() > 1 => left.extend(halves(which)),
                Err(error) => {
                    let CdrRow { line, line_sha256, .. } = rows[which.start].row;
                    let bad = BadRow {
                        line,
                        line_sha256,
                        cause: DoubtCause::Unstorable,
                        problem: format!("it cannot be stored: {error:#}"),
                        excerpt: String::new(),
                        ended_without_newline: false,
                    };
                    self.note_bad_row(reading, &bad).await?;
                }
            }
        }
        Ok(())
    }

    async fn store_rows(
        &self,
        reading: &mut Reading,
        rows: Arc<Vec<PlacedRow>>,
        which: Range<usize>,
    ) -> Result<()> {
        let stored = self.begin_rows(reading, rows.clone(), which.clone()).await?;
        self.end_rows(reading, &rows[which], stored).await
    }

    async fn begin_rows(
        &self,
        reading: &Reading,
        rows: Arc<Vec<PlacedRow>>,
        which: Range<usize>,
    ) -> Result<Begun<PageStored>> {
        let (facts, learnt) = (reading.facts.clone(), reading.resolver.learnt());
        if facts.limits.is_some() {
            self.check_disk()?;
        }
        let repeated: Vec<bool> =
            rows[which.clone()].iter().map(|row| reading.seen.holds(&row.call.identity)).collect();
        let db = self.site.db();
        Ok(db.begin_write(async move |tx| facts.store(tx, &rows[which], &repeated, learnt).await).await)
    }

    async fn end_rows(
        &self,
        reading: &mut Reading,
        rows: &[PlacedRow],
        stored: Begun<PageStored>,
    ) -> Result<()> {
        let stored = stored.ended(self.site.db()).await?;
        reading.seen.note(rows.iter().map(|row| &row.call.identity), stored.calls_of_day);
        for (day, added) in stored.added {
            *reading.added.entry(day).or_default() += added;
        }
        reading.counts.recordings_new += stored.new_recordings;
        reading.leaves_findings |= stored.leaves_findings;
        // Not only for new ones: a row can let an excluded recording back in, or ask for one again.
        self.site.connection.bell.ring();
        Ok(())
    }

    /// A bad row is a finding with file and line, never a reason to stop.
    async fn note_bad_row(&self, reading: &mut Reading, bad: &BadRow) -> Result<()> {
        reading.list.note_bad_row(bad);
        let detail = match &*bad.excerpt {
            "" => bad.problem.clone(),
            excerpt => format!("{}: {excerpt}", bad.problem),
        };
        self.note_line(reading, (bad.line, bad.line_sha256), detail).await
    }

    /// A line that cannot be believed is a finding, whether something of it was taken or nothing.
    async fn note_line(
        &self,
        reading: &mut Reading,
        (line, line_sha256): (u64, Digest),
        detail: String,
    ) -> Result<()> {
        reading.counts.bad_rows += 1;
        if reading.counts.bad_rows > BAD_ROWS_KEPT || reading.list.open.is_accepted(&line_sha256) {
            return Ok(());
        }
        let (facts, subject) = (reading.facts.clone(), line_of(&reading.input, line));
        let added = Added { rows: 1, bytes: detail.len() as u64 };
        let finding = Finding { kind: FindingKind::BadRow, subject, detail };
        let db = self.site.db();
        db.write(async move |tx| {
            if facts.limits.is_some() {
                intake::note(tx, &facts.pbx, added, facts.now).await?;
            }
            findings::record(tx, &facts.pbx, &finding, facts.now).await
        })
        .await
    }

    /// After a full page, which took so long to store, leaves the database to others for a while: a PBX that lists a flood of
    /// calls takes a quarter of its time, and the others' recordings are committed in the rest.
    async fn let_others_write(&self, rows: usize, took: Duration) {
        if self.site.vault.config.pbx.len() > 1 && rows >= ROWS_PER_PAGE {
            self.site.stop.run_until_cancelled(tokio::time::sleep(took * 3)).await;
        }
    }

    /// Where the filesystem does not say, there is room.
    fn check_disk(&self) -> Result<(), IntakeSlowed> {
        let state = self.site.vault.state.directory();
        match room(state) {
            Ok(room) if is_short(room) => {
                Err(IntakeSlowed::Disk { path: state.display().to_string(), free_bytes: room.free_bytes })
            }
            _ => Ok(()),
        }
    }

    /// What the PBX may add, if it may add anything at present.
    async fn may_add(&self) -> Result<PbxLimits> {
        self.check_disk()?;
        let limits = self.site.pbx.limits.clone();
        intake::check(&mut *self.site.db().read().await?, self.site.id(), &limits, self.site.now()).await?;
        Ok(limits)
    }

    /// Notes that the PBX is slowed, or that it is not any more.
    async fn note_slowed(&self, slowed: Option<&IntakeSlowed>) -> Result<()> {
        let id = self.site.id();
        if let Some(slowed) = slowed {
            warn!(pbx = id, "Pbx `{id}`: {slowed}");
        }
        let detail = slowed.map(ToString::to_string);
        self.site.settle_finding(FindingKind::IntakeSlowed, id, detail).await
    }
}

/// Whether an error is not that of one row.
fn is_for_the_sweep(error: &anyhow::Error) -> bool {
    error.is::<DatabaseFailed>() || error.is::<SameDevice>() || error.is::<IntakeSlowed>()
}

/// Both halves, the first one last.
fn halves(range: Range<usize>) -> Vec<Range<usize>> {
    let middle = range.start + range.len() / 2;
    vec![middle..range.end, range.start..middle]
}

/// What a finding about a line of an input is about.
fn line_of(input: &str, line: impl std::fmt::Display) -> String {
    format!("{input} line {line}")
}

impl SweepReport {
    /// Whether everything that there was to read was read.
    pub fn is_complete(&self) -> bool {
        self.days_unread + self.days_unasked == 0 && self.files_unread == 0
    }
}

impl std::ops::AddAssign for SweepReport {
    fn add_assign(&mut self, other: Self) {
        self.days_read += other.days_read;
        self.days_unread += other.days_unread;
        self.days_unasked += other.days_unasked;
        self.files_unread += other.files_unread;
        self.rows += other.rows;
        self.rows_new += other.rows_new;
        self.bad_rows += other.bad_rows;
        self.recordings_new += other.recordings_new;
        self.recordings_outside += other.recordings_outside;
    }
}

fn is_short(room: Room) -> bool {
    room.total_bytes >= STATE_DISK_BYTES_MIN && room.free_bytes < STATE_FREE_BYTES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_add_up_and_are_complete_if_nothing_was_left_unread() {
        let mut sum = SweepReport {
            days_read: 1,
            days_unread: 0,
            days_unasked: 0,
            files_unread: 0,
            rows: 2,
            rows_new: 3,
            bad_rows: 4,
            recordings_new: 5,
            recordings_outside: 6,
        };
        assert!(sum.is_complete());
        sum += SweepReport {
            days_read: 10,
            days_unread: 20,
            days_unasked: 80,
            files_unread: 30,
            rows: 40,
            rows_new: 50,
            bad_rows: 60,
            recordings_new: 70,
            recordings_outside: 80,
        };
        let numbers = serde_json::to_value(sum).unwrap();
        let expected = serde_json::json!({
            "days_read": 11, "days_unread": 20, "days_unasked": 80, "files_unread": 30, "rows": 42, "rows_new": 53, "bad_rows": 64,
            "recordings_new": 75, "recordings_outside": 86,
        });
        assert_eq!(numbers, expected);
        assert!(!sum.is_complete());
        assert!(!SweepReport { days_unread: 1, ..SweepReport::default() }.is_complete());
        assert!(!SweepReport { days_unasked: 1, ..SweepReport::default() }.is_complete());
        assert!(!SweepReport { files_unread: 1, ..SweepReport::default() }.is_complete());
    }

    #[test]
    fn a_disk_is_short_if_it_has_less_than_it_should_and_could() {
        let is_short = |total_bytes: u64, free_bytes: u64| is_short(Room { total_bytes, free_bytes });
        assert!(is_short(20 << 30, 127 << 20) && is_short(1 << 30, 0));
        assert!(!is_short(20 << 30, 128 << 20) && !is_short(500 << 20, 10 << 20));
    }
}
