//! The end of a reading: its days are settled or stay open, and what it shows to be mended is no finding any more.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;

use super::reading::{Covered, Reading};
use super::{SweepReport, Sweeper, line_of, page};
use crate::calls::{self, DayReading};
use crate::findings::{self, Finding, FindingKind};
use crate::fleet;

/// How long after the end of a day its second reading must lie: calls appear in the CDR when they end.
const SETTLES_AFTER: SignedDuration = SignedDuration::from_hours(12);

impl Sweeper<'_> {
    /// Ends a reading, all of it as one unit: most days bring nothing new, and each commit is an fsync.
    pub(super) async fn close(&self, mut reading: Reading, covered: Covered) -> anyhow::Result<SweepReport> {
        self.store_page(&mut reading).await?;
        let offset_s = self.utc_offset_s().await?;
        let mut days = reading.added.clone();
        if let Covered::Day { day, .. } = covered {
            days.entry(day).or_default();
        }
        let report = SweepReport {
            rows: reading.rows,
            rows_new: reading.added.values().sum(),
            bad_rows: reading.bad_rows,
            recordings_new: reading.recordings_new,
            ..SweepReport::default()
        };
        let end = End {
            pbx: self.pbx.id.clone(),
            closing: self.closing(&days, &reading, covered, offset_s),
            covered,
            input: reading.input,
            all_readable: reading.bad_rows == 0,
            reading: reading.facts.reading,
            now: reading.facts.now,
        };
        self.db.write(move |tx| Box::pin(async move { end.store(tx).await })).await?;
        Ok(report)
    }

    /// What the reading does to each of the days.
    fn closing(
        &self,
        days: &BTreeMap<Date, u64>,
        reading: &Reading,
        covered: Covered,
        offset_s: i32,
    ) -> Vec<(Date, DayReading)> {
        let of_day = |(day, added): (&Date, &u64)| {
            let whole = covered.all_of(*day, &reading.added);
            let late = page::day_end(*day, offset_s).is_some_and(|end| {
                covered.read_at().duration_since(end) >= SETTLES_AFTER + self.device_behind
            });
            (*day, DayReading { reading: reading.facts.reading, added: *added, whole, late })
        };
        days.iter().map(of_day).collect()
    }

    /// The PBX's offset as far as it is known: learnt from its CDR, else the configured zone's, else UTC.
    async fn utc_offset_s(&self) -> anyhow::Result<i32> {
        let remembered = fleet::remembered(&mut *self.db.read().await?, &self.pbx.id).await?;
        let configured = || self.pbx.timezone.as_ref().map(|zone| zone.to_offset(self.clock.now()).seconds());
        Ok(remembered.utc_offset_s.or_else(configured).unwrap_or(0))
    }
}

/// A reading that has come to its end.
struct End {
    pbx: String,
    closing: Vec<(Date, DayReading)>,
    covered: Covered,
    /// Names the input in findings.
    input: String,
    /// Whether it held no row that could not be read.
    all_readable: bool,
    reading: i64,
    now: Timestamp,
}

impl End {
    async fn store(&self, tx: &mut SqliteConnection) -> anyhow::Result<()> {
        for (day, of_day) in &self.closing {
            let absent_rows = calls::close_reading(tx, &self.pbx, *day, *of_day, self.now).await?;
            // A file may be an export of a part of the day; only the PBX's own answer can shrink, or be whole again.
            if of_day.whole && matches!(self.covered, Covered::Day { .. }) {
                self.note_absent_rows(tx, *day, absent_rows).await?;
                self.close_bad_rows(tx).await?;
            }
        }
        if self.covered.whole() {
            calls::end_reading(tx, self.reading).await?;
        }
        Ok(())
    }

    /// Known rows that the PBX's own answer lacks are a finding, until an answer has them all.
    async fn note_absent_rows(&self, tx: &mut SqliteConnection, day: Date, rows: i64) -> anyhow::Result<()> {
        let (kind, subject) = (FindingKind::CdrShrank, day.to_string());
        if rows == 0 {
            return findings::close_about(tx, &self.pbx, kind, &subject, self.now).await;
        }
        let detail =
            format!("{rows} rows known of this day were not in the reading of {}; they are kept", self.input);
        findings::record(tx, &self.pbx, &Finding { kind, subject, detail }, self.now).await
    }

    /// Rows that could not be read are no finding any more once all of the same input could be.
    async fn close_bad_rows(&self, tx: &mut SqliteConnection) -> anyhow::Result<()> {
        if !self.all_readable {
            return Ok(());
        }
        let of_input = line_of(&self.input, "");
        findings::close_within(tx, &self.pbx, FindingKind::BadRow, &of_input, self.now).await
    }
}
