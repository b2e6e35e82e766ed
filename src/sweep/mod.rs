//! Sweeps: one reading of what a PBX says of its calls, from its API or from CSV files, into calls and the queue.
//!
//! A sweep is level-triggered: it reads again what exists and stores what is new, so that an outage of any length
//! heals itself. Readings are unioned; one with fewer rows is a finding and removes nothing.

mod files;
mod page;
mod range;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp, civil::Date};
use tokio_util::sync::CancellationToken;

pub use range::sweep_range;
pub use rules::apply_rules;

use crate::access::Access;
use crate::calls;
use crate::cdr::{BadRow, CdrItem, CdrRow};
use crate::clock;
use crate::config::{Config, ExclusionRule, PbxConfig};
use crate::db::Db;
use crate::findings::{self, Finding, FindingKind};
use crate::fleet;
use crate::pbx::PbxClient;
use crate::queue::DayRange;
use crate::recording::Text;
use crate::times::OffsetResolver;
use page::{ROWS_PER_PAGE, ReadingFacts};

/// How long after the end of a day its second reading must lie: calls appear in the CDR when they end.
const SETTLES_AFTER: SignedDuration = SignedDuration::from_hours(12);
/// Bad rows of one reading that are kept as findings; the rest is only counted.
const BAD_ROWS_KEPT: u64 = 1000;

/// What a sweep found.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct SweepReport {
    /// Days read over the API.
    pub days_read: u64,
    /// Days that could not be read.
    pub days_unread: u64,
    /// CDR rows seen.
    pub rows: u64,
    /// Rows that were new or changed.
    pub rows_new: u64,
    /// Rows that could not be read: findings.
    pub bad_rows: u64,
    /// Recordings heard of for the first time.
    pub recordings_new: u64,
}

/// Sweeps one PBX.
#[derive(Debug)]
pub struct Sweeper<'a> {
    pbx: &'a PbxConfig,
    client: &'a PbxClient,
    access: &'a Access,
    db: &'a Db,
    rules: Arc<Vec<ExclusionRule>>,
    stop: CancellationToken,
}

/// One reading under way.
struct Reading {
    facts: ReadingFacts,
    /// The day of rows that tell no time.
    fallback: Date,
    resolver: OffsetResolver,
    page: Vec<CdrRow>,
    added: BTreeMap<Date, u64>,
    bad_rows: u64,
    rows: u64,
    recordings_new: u64,
    /// Names the input in findings.
    source: String,
    /// The serial number of the last row, or the one learnt before.
    last_sn: Option<Text>,
}

impl<'a> Sweeper<'a> {
    /// A sweeper for `pbx`, which ends early when `stop` is cancelled.
    pub fn new(
        config: &Config,
        pbx: &'a PbxConfig,
        client: &'a PbxClient,
        access: &'a Access,
        db: &'a Db,
        stop: CancellationToken,
    ) -> Self {
        let rules = config.exclude.iter().filter(|rule| rule.pbx.is_empty() || rule.pbx.contains(&pbx.id));
        Self { pbx, client, access, db, rules: Arc::new(rules.cloned().collect()), stop }
    }

    async fn begin(&self, source: String, fallback: Date) -> anyhow::Result<Reading> {
        let (pbx, now, noted) = (self.pbx.id.clone(), clock::now(), source.clone());
        let (reading, remembered) = self
            .db
            .write(move |tx| {
                Box::pin(async move {
                    let reading = calls::begin_reading(tx, &pbx, &noted, now).await?;
                    Ok((reading, fleet::remembered(tx, &pbx).await?))
                })
            })
            .await?;
        Ok(Reading {
            facts: ReadingFacts { pbx: self.pbx.id.clone(), reading, rules: self.rules.clone(), now },
            fallback,
            resolver: OffsetResolver::new(self.pbx.timezone.clone(), remembered.utc_offset_s),
            page: Vec::new(),
            added: BTreeMap::new(),
            bad_rows: 0,
            rows: 0,
            recordings_new: 0,
            source,
            last_sn: remembered.sn.map(Text::Utf8),
        })
    }

    /// Takes an item of the CDR in, and stores the page when it is full.
    async fn take(&self, reading: &mut Reading, item: CdrItem) -> anyhow::Result<()> {
        match item {
            CdrItem::Row(row) => {
                reading.rows += 1;
                reading.last_sn = Some(row.sn.clone());
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
        let rows = page::place(std::mem::take(&mut reading.page), &mut reading.resolver, reading.fallback);
        if rows.is_empty() {
            return Ok(());
        }
        let facts = reading.facts.clone();
        let stored = self
            .db
            .write(move |tx| Box::pin(async move { page::store(tx, &facts, rows).await }))
            .await
            .context("storing CDR rows")?;
        for (day, added) in stored.added {
            *reading.added.entry(day).or_default() += added;
        }
        reading.recordings_new += stored.new_recordings;
        Ok(())
    }

    /// A bad row is a finding with file and line, never a reason to stop.
    async fn note_bad_row(&self, reading: &mut Reading, bad: &BadRow) -> anyhow::Result<()> {
        reading.bad_rows += 1;
        if reading.bad_rows > BAD_ROWS_KEPT {
            return Ok(());
        }
        let finding = Finding {
            kind: FindingKind::BadRow,
            subject: format!("{} line {}", reading.source, bad.line),
            detail: if bad.excerpt.is_empty() {
                bad.problem.clone()
            } else {
                format!("{}: {}", bad.problem, bad.excerpt)
            },
        };
        self.note(finding, reading.facts.now).await
    }

    async fn note(&self, finding: Finding, now: Timestamp) -> anyhow::Result<()> {
        let pbx = self.pbx.id.clone();
        self.db
            .write(move |tx| Box::pin(async move { findings::record(tx, &pbx, &finding, now).await }))
            .await
    }

    /// Ends a reading: the days that it covered are settled or stay open. `covered` are days that it read whole.
    async fn close(
        &self,
        mut reading: Reading,
        covered: DayRange,
        read_at: Timestamp,
    ) -> anyhow::Result<SweepReport> {
        self.store_page(&mut reading).await?;
        let offset = self.utc_offset_s().await?;
        let mut days = reading.added.clone();
        if covered.from == covered.to {
            days.entry(covered.from).or_default();
        }
        for (day, added) in days {
            let whole = (covered.from..=covered.to).contains(&day);
            let late = whole
                && page::day_end(day, offset).is_some_and(|end| read_at.duration_since(end) >= SETTLES_AFTER);
            let (pbx, id, now) = (self.pbx.id.clone(), reading.facts.reading, reading.facts.now);
            let read = self
                .db
                .write(move |tx| {
                    Box::pin(async move { calls::close_reading(tx, &pbx, day, id, added, late, now).await })
                })
                .await?;
            // A file may be an export of a part of the day; only the PBX's own answer can shrink.
            if covered.from == covered.to && read.absent_rows > 0 {
                self.note_shrunk(&reading, day, read.absent_rows).await?;
            }
        }
        Ok(SweepReport {
            days_read: 0,
            days_unread: 0,
            rows: reading.rows,
            rows_new: reading.added.values().sum(),
            bad_rows: reading.bad_rows,
            recordings_new: reading.recordings_new,
        })
    }

    async fn note_shrunk(&self, reading: &Reading, day: Date, rows: i64) -> anyhow::Result<()> {
        let detail = format!(
            "{rows} rows known of this day were not in the reading of {}; they are kept",
            reading.source
        );
        let finding = Finding { kind: FindingKind::CdrShrank, subject: day.to_string(), detail };
        self.note(finding, reading.facts.now).await
    }

    /// The PBX's offset as far as it is known: learnt from its CDR, else the configured zone's, else UTC.
    async fn utc_offset_s(&self) -> anyhow::Result<i32> {
        let remembered = fleet::remembered(&mut *self.db.read().await?, &self.pbx.id).await?;
        let configured = || self.pbx.timezone.as_ref().map(|zone| zone.to_offset(clock::now()).seconds());
        Ok(remembered.utc_offset_s.or_else(configured).unwrap_or(0))
    }
}

impl std::ops::AddAssign for SweepReport {
    fn add_assign(&mut self, other: Self) {
        self.days_read += other.days_read;
        self.days_unread += other.days_unread;
        self.rows += other.rows;
        self.rows_new += other.rows_new;
        self.bad_rows += other.bad_rows;
        self.recordings_new += other.recordings_new;
    }
}
