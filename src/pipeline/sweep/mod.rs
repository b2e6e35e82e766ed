//! Sweeps: one reading of what a PBX says of its calls, from its API or from CSV files, or of its voicemail.
//!
//! A sweep is level-triggered: it reads again what exists and stores what is new, so that an outage of any length
//! heals itself. Readings are unioned; one with fewer rows is a finding and removes nothing.

mod answer;
mod clocks;
mod closing;
mod files;
mod limits;
mod outside;
mod page;
mod parts;
mod placing;
mod range;
mod reading;
mod rules;
mod slowing;
mod voicemail;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use files::CdrFileError;
pub use range::sweep_ranges;
pub use rules::{apply_rules, rules_of};
pub use voicemail::{FullestBox, VoicemailPoll, poll_voicemail};

use crate::base::bell::Bell;
use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::base::recording::Text;
use crate::base::times::OffsetResolver;
use crate::config::{ExclusionRule, PbxConfig};
use crate::formats::cdr::{BadRow, CdrItem, CdrReader, DoubtCause};
use crate::pbx::Pbx;
use crate::pipeline::gate::Gate;
use crate::store::calls;
use crate::store::db::{DatabaseFailed, Db};
use crate::store::evidence::{self, Limits};
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fleet::{self, SameDevice};
use crate::store::intake::{self, Added, IntakeSlowed};
use page::{ROWS_PER_PAGE, ReadingFacts};
use parts::Part;
use placing::{Fallback, PlacedRow};
use reading::{List, Reading};

/// Bad rows of one reading that are kept as findings; the rest is only counted.
const BAD_ROWS_KEPT: u64 = 1000;

#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub struct SweepReport {
    pub days_read: u64,
    /// Days that could not be read.
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
pub struct Sweeper<'a> {
    pub pbx: &'a PbxConfig,
    pub client: &'a dyn Pbx,
    pub gate: &'a Gate,
    pub db: &'a Db,
    /// Whether other PBXs are followed beside it, who write to the same database.
    pub is_one_of_several: bool,
    /// The state folder: where its disk is nearly full, nothing is read.
    pub state: &'a Path,
    pub clock: Clock,
    /// Rung when the queue may hold something new.
    pub bell: Bell,
    /// The rules that keep recordings of this PBX out.
    pub rules: Arc<Vec<ExclusionRule>>,
    /// How far the device's clock is behind ours: a day settles by the earlier one.
    pub device_behind: SignedDuration,
    /// Whether files are read again that have not changed since they were read: they can tell nothing new.
    pub known_files_too: bool,
    /// What the PBX gives at most in one list, as far as it showed.
    pub limits: Mutex<Limits>,
    /// Why what is read now is doubtful, once that was asked.
    pub clock_doubt: OnceCell<Option<String>>,
    pub stop: CancellationToken,
}

impl Sweeper<'_> {
    fn reader(&self) -> CdrReader {
        CdrReader::new(&self.pbx.cdr_columns).keeping(&self.pbx.cdr_keep_columns)
    }

    /// `input` names it in findings, `source` tells it from every other input.
    async fn begin(&self, input: String, source: String, fallback: Fallback) -> anyhow::Result<Reading> {
        let (pbx, now) = (self.pbx.id.clone(), self.clock.now());
        let (reading, remembered, open) = self
            .db
            .write(async move |tx| {
                let reading = calls::begin_reading(tx, &pbx, &source, now).await?;
                let open = evidence::open_doubts(tx, &pbx).await?;
                Ok((reading, fleet::remembered(tx, &pbx).await?, open))
            })
            .await?;
        Ok(Reading {
            facts: ReadingFacts {
                pbx: self.pbx.id.clone(),
                reading,
                rules: self.rules.clone(),
                now,
                limits: None,
            },
            fallback,
            resolver: OffsetResolver::new(self.pbx.timezone.clone(), remembered.utc_offset_s),
            page: Vec::new(),
            added: BTreeMap::new(),
            bad_rows: 0,
            rows: 0,
            recordings_new: 0,
            input,
            last_sn: remembered.sn.map(Text::Utf8),
            unsure: None,
            asked: Part::of(jiff::civil::date(1970, 1, 1)),
            list: List::of(open),
            outside: None,
        })
    }

    /// Takes an item of the CDR in, and stores the page when it is full.
    async fn take(&self, reading: &mut Reading, item: CdrItem) -> anyhow::Result<()> {
        if reading.outside.is_some_and(|days| !outside::is_outside(&item, days)) {
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
                    None => reading.rows += 1,
                }
                if !row.is_shifted() {
                    reading.last_sn = Some(row.sn.clone());
                }
                reading.page.push(*row);
                if reading.page.len() >= ROWS_PER_PAGE {
                    self.store_page(reading).await?;
                }
            }
            CdrItem::BadRow(bad) => self.note_bad_row(reading, &bad).await?,
        }
        Ok(())
    }

    async fn store_page(&self, reading: &mut Reading) -> anyhow::Result<()> {
        let rows =
            placing::place(std::mem::take(&mut reading.page), &mut reading.resolver, &mut reading.fallback);
        if rows.is_empty() {
            return Ok(());
        }
        let rows = Arc::new(rows);
        let began = Instant::now();
        match self.store_rows(reading, rows.clone(), 0..rows.len()).await {
            Ok(()) => {
                self.let_others_write(rows.len(), began.elapsed()).await;
                return Ok(());
            }
            Err(error) if is_for_the_sweep(&error) => return Err(error),
            Err(_) => {}
        }
        // One row that cannot be stored must not keep out the others: each on its own tells which it is.
        for at in 0..rows.len() {
            if let Err(error) = self.store_rows(reading, rows.clone(), at..at + 1).await {
                if is_for_the_sweep(&error) {
                    return Err(error);
                }
                let problem = format!("it cannot be stored: {error:#}");
                let bad = BadRow {
                    line: rows[at].row.line,
                    line_sha256: rows[at].row.line_sha256,
                    cause: DoubtCause::Unstorable,
                    problem,
                    excerpt: String::new(),
                    ended_without_newline: false,
                };
                self.note_bad_row(reading, &bad).await?;
            }
        }
        Ok(())
    }

    async fn store_rows(
        &self,
        reading: &mut Reading,
        rows: Arc<Vec<PlacedRow>>,
        which: Range<usize>,
    ) -> anyhow::Result<()> {
        let (facts, learnt) = (reading.facts.clone(), reading.resolver.learnt());
        self.check_room(&facts)?;
        let stored =
            self.db.write(async move |tx| page::store(tx, &facts, &rows[which], learnt).await).await?;
        for (day, added) in stored.added {
            *reading.added.entry(day).or_default() += added;
        }
        reading.recordings_new += stored.new_recordings;
        // Not only for new ones: a row can let an excluded recording back in, or ask for one again.
        self.bell.ring();
        Ok(())
    }

    /// A bad row is a finding with file and line, never a reason to stop.
    async fn note_bad_row(&self, reading: &mut Reading, bad: &BadRow) -> anyhow::Result<()> {
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
    ) -> anyhow::Result<()> {
        reading.bad_rows += 1;
        if reading.bad_rows > BAD_ROWS_KEPT || reading.list.open.is_accepted(&line_sha256) {
            return Ok(());
        }
        let subject = line_of(&reading.input, line);
        let (pbx, now, is_of_pbx) = (self.pbx.id.clone(), reading.facts.now, reading.facts.limits.is_some());
        let added = Added { rows: 1, bytes: detail.len() as u64 };
        let finding = Finding { kind: FindingKind::BadRow, subject, detail };
        self.db
            .write(async move |tx| {
                if is_of_pbx {
                    intake::note(tx, &pbx, added, now).await?;
                }
                findings::record(tx, &pbx, &finding, now).await
            })
            .await
    }

    async fn note(&self, finding: Finding, now: Timestamp) -> anyhow::Result<()> {
        let pbx = self.pbx.id.clone();
        self.db.write(async move |tx| findings::record(tx, &pbx, &finding, now).await).await
    }
}

/// Whether an error is not that of one row.
fn is_for_the_sweep(error: &anyhow::Error) -> bool {
    error.is::<DatabaseFailed>() || error.is::<SameDevice>() || error.is::<IntakeSlowed>()
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
}
