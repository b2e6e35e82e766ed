//! The end of a reading: its days are settled or stay open, and what it shows to be mended is no finding any more.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;

use super::reading::{Covered, List, Reading};
use super::{SweepReport, Sweeper, line_of, page};
use crate::config::PbxConfig;
use crate::store::calls::{self, DayReading};
use crate::store::evidence::{
    self, DayVerdict, DoubtfulLine, InputList, ListFacts, Settled, Source, Verdict,
};
use crate::store::findings::{self, FindingKind};
use crate::store::fleet;

/// How long after the end of a day its second reading must lie: calls appear in the CDR when they end.
pub(super) const SETTLES_AFTER: SignedDuration = SignedDuration::from_hours(12);

impl Sweeper<'_> {
    /// Ends a reading, all of it as one unit: most days bring nothing new, and each commit is an fsync.
    pub(super) async fn close(&self, mut reading: Reading, covered: Covered) -> anyhow::Result<SweepReport> {
        self.store_page(&mut reading).await?;
        let known_offset_s = self.known_offset_s().await?;
        let offset_s = known_offset_s.unwrap_or(0);
        let mut days = reading.added.clone();
        if let Covered::Day { day, .. } = covered {
            days.entry(day).or_default();
        }
        let asked = covered.asked(&reading.added);
        let clock = self.clock_doubt().await?;
        let mut closing = self.closing(&days, &reading, covered, offset_s);
        // What is read by a wrong clock settles no day.
        closing.iter_mut().for_each(|(_, of_day)| of_day.late &= clock.is_none());
        let report = reading.told();
        let end = End {
            pbx: self.pbx.id.clone(),
            origin: Origin::of(self.pbx),
            verdict: match (reading.list.verdict(covered.whole()), clock) {
                ((Verdict::Whole, _), Some(cause)) => (Verdict::Doubtful, Some(cause)),
                (verdict, _) => verdict,
            },
            doubtful: reading.list.doubtful_lines(asked, known_offset_s),
            // An answer that had to be asked for again has brought its rows twice.
            lines: match covered {
                Covered::Day { .. } => reading.list.size.rows,
                Covered::File { .. } | Covered::Outside { .. } => reading.rows + reading.bad_rows,
            },
            late: closing.iter().any(|(_, of_day)| of_day.late && of_day.whole),
            closing,
            covered,
            input: reading.input,
            all_readable: reading.bad_rows == 0,
            reading: reading.facts.reading,
            now: reading.facts.now,
            list: reading.list,
        };
        self.db.write(async move |tx| end.store(tx).await).await?;
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

    /// The PBX's offset as far as it is known, else UTC's.
    pub(super) async fn utc_offset_s(&self) -> anyhow::Result<i32> {
        Ok(self.known_offset_s().await?.unwrap_or(0))
    }

    /// The PBX's offset: learnt from its CDR, else the configured zone's.
    async fn known_offset_s(&self) -> anyhow::Result<Option<i32>> {
        let remembered = fleet::remembered(&mut *self.db.read().await?, &self.pbx.id).await?;
        let configured = || self.pbx.timezone.as_ref().map(|zone| zone.to_offset(self.clock.now()).seconds());
        Ok(remembered.utc_offset_s.or_else(configured))
    }
}

/// How the PBX was known whose API gave the rows.
struct Origin {
    transport: &'static str,
    key_sha256: Option<String>,
}

impl Origin {
    fn of(pbx: &PbxConfig) -> Self {
        let transport = pbx.transport().as_str();
        Self { transport, key_sha256: pbx.tls_pin_sha256.map(|pin| pin.to_string()) }
    }

    fn source(&self) -> Source<'_> {
        Source::Api { transport: self.transport, key_sha256: self.key_sha256.as_deref() }
    }
}

/// How long a day may be in doubt before that is told: the next readings may clear it.
const DOUBTS_TOLD_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// A reading that has come to its end.
struct End {
    pbx: String,
    origin: Origin,
    closing: Vec<(Date, DayReading)>,
    covered: Covered,
    /// How far the list can be believed, its doubtful lines left out, and why it is not whole.
    verdict: (Verdict, Option<String>),
    list: List,
    doubtful: Vec<DoubtfulLine>,
    lines: u64,
    /// Whether it was read late enough for all of its calls to be listed.
    late: bool,
    input: String,
    /// Whether it held no row that could not be read.
    all_readable: bool,
    reading: i64,
    now: Timestamp,
}

impl End {
    async fn store(&self, tx: &mut SqliteConnection) -> anyhow::Result<()> {
        // What was certified of a day does not hold any more if its list is believed more, or less.
        for day in self.settle_doubts(tx).await?.days {
            calls::reopen(tx, &self.pbx, day).await?;
        }
        for (day, of_day) in &self.closing {
            self.note_evidence(tx, *day, of_day).await?;
            let absent_rows = calls::close_reading(tx, &self.pbx, *day, *of_day, self.now).await?;
            // A file may be an export of a part of the day; only the PBX's own answer can shrink, or be whole again.
            if of_day.whole && matches!(self.covered, Covered::Day { .. }) {
                self.note_absent_rows(tx, *day, absent_rows).await?;
                let subject = day.to_string();
                findings::close_about(tx, &self.pbx, FindingKind::DayUnread, &subject, self.now).await?;
                self.close_bad_rows(tx).await?;
            }
        }
        if let Covered::Day { day, .. } = self.covered {
            self.note_doubts(tx, day).await?;
        }
        if self.covered.whole() {
            calls::end_reading(tx, self.reading).await?;
        }
        Ok(())
    }

    async fn settle_doubts(&self, tx: &mut SqliteConnection) -> anyhow::Result<Settled> {
        let list = InputList {
            pbx: &self.pbx,
            reading: self.reading,
            input: &self.input,
            lines: self.lines,
            whole: self.covered.whole(),
            late: self.late,
            doubtful: &self.doubtful,
            read: &self.list.read,
        };
        evidence::settle_doubts(tx, &list, self.now).await
    }

    /// Keeps what the list says of a day: the verdict on the day that was asked for, and on those that a file covers; and
    /// what its rows came by.
    async fn note_evidence(
        &self,
        tx: &mut SqliteConnection,
        day: Date,
        of_day: &DayReading,
    ) -> anyhow::Result<()> {
        let is_asked = matches!(self.covered, Covered::Day { day: asked, .. } if asked == day);
        if is_asked || of_day.whole {
            let (verdict, cause) = self.verdict.clone();
            let facts = ListFacts { rows: self.list.size.rows, parts: self.list.parts };
            let of_day = DayVerdict { verdict, cause, late: of_day.late, facts };
            if evidence::note_verdict(tx, &self.pbx, day, &of_day, self.now).await? {
                calls::reopen(tx, &self.pbx, day).await?;
            }
        }
        if of_day.whole || of_day.added > 0 {
            let source = match self.covered {
                Covered::Day { .. } | Covered::Outside { .. } => self.origin.source(),
                Covered::File { .. } => Source::File { sha256: None },
            };
            evidence::note_source(tx, &self.pbx, day, source, self.now).await?;
        }
        Ok(())
    }

    /// A day that stays in doubt is a finding, until it is in doubt no more.
    async fn note_doubts(&self, tx: &mut SqliteConnection, day: Date) -> anyhow::Result<()> {
        let doubts = evidence::doubts_since(tx, &self.pbx, day).await?;
        let told = doubts.filter(|(_, since)| self.now.duration_since(*since) >= DOUBTS_TOLD_AFTER);
        let detail = told.map(|(count, since)| {
            let lines = if count == 1 { "one line".to_owned() } else { format!("{count} lines") };
            let since = since.strftime("%F %R UTC");
            format!(
                "{lines} of its call list cannot be believed since {since}: a recording that only such a line names is \
                 not known"
            )
        });
        let (kind, subject) = (FindingKind::DoubtsOpen, day.to_string());
        findings::settle(tx, &self.pbx, kind, &subject, detail, self.now).await
    }

    /// Known rows that the PBX's own answer lacks are a finding, until an answer has them all.
    async fn note_absent_rows(&self, tx: &mut SqliteConnection, day: Date, rows: i64) -> anyhow::Result<()> {
        let detail = (rows != 0).then(|| {
            format!("{rows} rows known of this day were not in the reading of {}; they are kept", self.input)
        });
        let (kind, subject) = (FindingKind::CdrShrank, day.to_string());
        findings::settle(tx, &self.pbx, kind, &subject, detail, self.now).await
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
