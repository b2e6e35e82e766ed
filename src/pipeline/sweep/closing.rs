//! The end of a reading: its days are settled or stay open, and what it shows to be mended is no finding any more.
//!
//! A clock that was set by a day or more makes a list doubtful: it files calls under days that were read already, and settles
//! days before they are over. A steady distance hides nothing, and what a clock was set by less than a day is read with the days
//! beside, which are open still.

use anyhow::Result;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::page::ReadingFacts;
use super::reading::{Covered, Reading};
use super::{SweepReport, Sweeper, line_of, page};
use crate::base::digest::Digest;
use crate::store::calls::{self, DayReading};
use crate::store::clocks::{self, OwnDoubt, PbxClock};
use crate::store::evidence::{
    self, DayVerdict, DoubtfulLine, InputList, ListFacts, Settled, Source, Verdict,
};
use crate::store::findings::{self, FindingKind};
use crate::store::fleet;
use crate::store::sql::Conn;

/// How long after the end of a day its second reading must lie: calls appear in the CDR when they end.
pub(super) const SETTLES_AFTER: SignedDuration = SignedDuration::from_hours(12);

impl Sweeper<'_> {
    /// Ends a reading, all of it as one unit: most days bring nothing new, and each commit is an fsync.
    pub(super) async fn close(&self, mut reading: Reading, covered: Covered) -> Result<SweepReport> {
        self.store_page(&mut reading).await?;
        let known_offset_s = self.known_offset_s().await?;
        let offset_s = known_offset_s.unwrap_or(0);
        let mut days = reading.added.clone();
        if let Covered::Day { day, .. } = covered {
            days.entry(day).or_default();
        }
        let clock = self.clock_doubt().await?;
        let of_day = |(day, added): (Date, u64)| {
            let whole = covered.all_of(day, &reading.added);
            // What is read by a wrong clock settles no day.
            let late = clock.is_none()
                && page::day_end(day, offset_s).is_some_and(|end| {
                    covered.read_at().duration_since(end) >= SETTLES_AFTER + self.device_behind
                });
            (day, DayReading { added, whole, late })
        };
        let closing: Vec<_> = days.into_iter().map(of_day).collect();
        let report = reading.report();
        let pbx = &self.site.pbx;
        let end = End {
            transport: pbx.transport().as_str(),
            key_sha256: pbx.tls_pin_sha256.map(|pin| pin.to_string()),
            verdict: match (reading.list.verdict(covered.is_read()), clock) {
                ((Verdict::Whole, _), Some(cause)) => (Verdict::Doubtful, Some(cause)),
                (verdict, _) => verdict,
            },
            doubtful: reading.list.doubtful_lines(covered.asked(&reading.added), known_offset_s),
            closing,
            covered,
            reading,
        };
        self.site.db().write(async move |tx| end.store(tx).await).await?;
        Ok(report)
    }

    /// The PBX's offset as far as it is known, else UTC's.
    pub(super) async fn utc_offset_s(&self) -> Result<i32> {
        Ok(self.known_offset_s().await?.unwrap_or(0))
    }

    /// The PBX's offset: learnt from its CDR, else the configured zone's.
    async fn known_offset_s(&self) -> Result<Option<i32>> {
        let remembered = fleet::remembered(&mut *self.site.db().read().await?, self.site.id()).await?;
        let configured =
            || self.site.pbx.timezone.as_ref().map(|zone| zone.to_offset(self.site.now()).seconds());
        Ok(remembered.utc_offset_s.or_else(configured))
    }
}

/// How long a day may be in doubt before that is a finding: the next readings may clear it.
const DOUBTS_SHOWN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// A reading that has come to its end.
pub(super) struct End {
    /// How the PBX was known whose API gave the rows.
    transport: &'static str,
    key_sha256: Option<String>,
    closing: Vec<(Date, DayReading)>,
    pub(super) covered: Covered,
    /// How far the list can be believed, its doubtful lines left out, and why it is not whole.
    pub(super) verdict: (Verdict, Option<String>),
    pub(super) doubtful: Vec<DoubtfulLine>,
    pub(super) reading: Reading,
}

impl End {
    async fn store(&self, tx: &mut Conn) -> Result<()> {
        let ReadingFacts { pbx, now, .. } = &self.reading.facts;
        // What was certified of a day does not hold any more if its list is believed more, or less.
        for day in self.settle_doubts(tx).await?.days {
            calls::reopen(tx, pbx, day).await?;
        }
        for (day, of_day) in &self.closing {
            self.note_evidence(tx, *day, of_day).await?;
            calls::close_reading(tx, pbx, *day, *of_day, *now).await?;
            // A file may be an export of a part of the day; only the PBX's own answer can shrink, or be whole again.
            if of_day.whole && matches!(self.covered, Covered::Day { .. }) {
                self.note_absent_rows(tx, *day).await?;
                let subject = day.to_string();
                findings::close_about(tx, pbx, FindingKind::DayUnread, &subject, *now).await?;
                // Rows that could not be read are no finding any more once all of the same input could be.
                if self.reading.counts.bad_rows == 0 {
                    let of_input = line_of(&self.reading.input, "");
                    findings::close_within(tx, pbx, FindingKind::BadRow, &of_input, *now).await?;
                }
            }
        }
        if let Covered::Day { day, .. } = self.covered {
            self.note_doubts(tx, day).await?;
        }
        if self.covered.whole() {
            calls::end_reading(tx, self.reading.facts.reading).await?;
        }
        if self.covered.is_read() && !self.reading.is_unchanged {
            let list = self.list_to_know();
            calls::note_list(tx, pbx, &self.reading.source, list.as_ref()).await?;
        }
        Ok(())
    }

    async fn settle_doubts(&self, tx: &mut Conn) -> Result<Settled> {
        let ReadingFacts { pbx, now, .. } = &self.reading.facts;
        let counts = &self.reading.counts;
        let list = InputList {
            pbx,
            is_listed: &|identity| self.reading.seen.is_forgotten || self.reading.seen.holds(identity),
            input: &self.reading.input,
            // An answer that had to be asked for again has brought its rows twice.
            lines: match self.covered {
                Covered::Day { .. } => self.reading.list.size.rows,
                Covered::File { .. } | Covered::Outside { .. } => counts.rows + counts.bad_rows,
            },
            whole: self.covered.whole(),
            late: self.closing.iter().any(|(_, of_day)| of_day.late && of_day.whole),
            doubtful: &self.doubtful,
            read: &self.reading.list.read,
        };
        evidence::settle_doubts(tx, &list, *now).await
    }

    /// Keeps what the list says of a day: the verdict on the day that was asked for, and on those that a file covers; and
    /// what its rows came by.
    async fn note_evidence(&self, tx: &mut Conn, day: Date, of_day: &DayReading) -> Result<()> {
        let ReadingFacts { pbx, now, .. } = &self.reading.facts;
        let is_asked = matches!(self.covered, Covered::Day { day: asked, .. } if asked == day);
        if is_asked || of_day.whole {
            let (verdict, cause) = self.verdict.clone();
            let facts = ListFacts { rows: self.reading.list.size.rows, parts: self.reading.list.parts };
            let of_day = DayVerdict { verdict, cause, late: of_day.late, facts };
            if evidence::note_verdict(tx, pbx, day, &of_day, *now).await? {
                calls::reopen(tx, pbx, day).await?;
            }
        }
        if of_day.whole || of_day.added > 0 {
            let source = match self.covered {
                Covered::Day { .. } | Covered::Outside { .. } => {
                    Source::Api { transport: self.transport, key_sha256: self.key_sha256.as_deref() }
                }
                Covered::File { .. } => Source::File { sha256: None },
            };
            evidence::note_source(tx, pbx, day, source, *now).await?;
        }
        Ok(())
    }

    /// A day that stays in doubt is a finding, until it is in doubt no more.
    async fn note_doubts(&self, tx: &mut Conn, day: Date) -> Result<()> {
        let ReadingFacts { pbx, now, .. } = &self.reading.facts;
        let doubts = evidence::doubts_since(tx, pbx, day).await?;
        let lasting = doubts.filter(|(_, since)| now.duration_since(*since) >= DOUBTS_SHOWN_AFTER);
        let detail = lasting.map(|(count, since)| {
            let lines = if count == 1 { "one line".to_owned() } else { format!("{count} lines") };
            let since = since.strftime("%F %R UTC");
            format!(
                "{lines} of its call list cannot be believed since {since}: a recording that only such a line names is \
                 not known"
            )
        });
        let (kind, subject) = (FindingKind::DoubtsOpen, day.to_string());
        findings::settle(tx, pbx, kind, &subject, detail, *now).await
    }

    /// Known rows that the PBX's own answer lacks are a finding, until an answer has them all.
    async fn note_absent_rows(&self, tx: &mut Conn, day: Date) -> Result<()> {
        let ReadingFacts { pbx, now, .. } = &self.reading.facts;
        let seen = &self.reading.seen;
        // Of a list that was not read, or is so long that nobody knows any more what it held.
        if seen.is_forgotten {
            return Ok(());
        }
        let is_listed = |identity: &Digest| seen.holds(identity);
        let rows = calls::note_absent(tx, pbx, day, seen.calls_of_day, is_listed).await?;
        let detail = (rows != 0).then(|| {
            format!(
                "{rows} rows known of this day were not in the reading of {}; they are kept",
                self.reading.input
            )
        });
        let (kind, subject) = (FindingKind::CdrShrank, day.to_string());
        findings::settle(tx, pbx, kind, &subject, detail, *now).await
    }
}

/// A clock that was set by less moves no call out of the days that are read again anyway.
const MOVED_BY: SignedDuration = SignedDuration::from_hours(24);

impl Sweeper<'_> {
    /// Why the lists that are read now are doubtful, as the end of a sentence; `None` if no clock makes them so. It is asked
    /// once in a sweep.
    pub(super) async fn clock_doubt(&self) -> Result<Option<String>> {
        let doubt = self.clock_doubt.get_or_try_init(|| async {
            let now = self.site.now();
            let mut db = self.site.db().read().await?;
            let of_pbx = clocks::of(&mut db, self.site.id()).await?;
            let own = clocks::own_doubt(&mut db, now).await?;
            Ok::<_, anyhow::Error>(doubt(own, of_pbx, now))
        });
        doubt.await.cloned()
    }
}

fn doubt(own: Option<OwnDoubt>, of_pbx: Option<PbxClock>, now: Timestamp) -> Option<String> {
    let skew = of_pbx.map_or(SignedDuration::ZERO, |clock| SignedDuration::from_secs(clock.skew_s).abs());
    let is_far = match own {
        Some(OwnDoubt::BeforeRelease) => true,
        Some(OwnDoubt::SetBack { latest }) => latest.duration_since(now) >= MOVED_BY,
        Some(OwnDoubt::Unsynchronised) => skew >= MOVED_BY,
        None => false,
    };
    if is_far {
        return Some("this machine's clock was wrong while it was read".to_owned());
    }
    let jump = of_pbx.and_then(|clock| clock.jump)?;
    let moved = SignedDuration::from_secs(jump.jump_s).abs() >= MOVED_BY;
    let is_recent = now.duration_since(jump.before).abs() < SETTLES_AFTER;
    (moved && is_recent).then(|| format!("the PBX's clock was set while it was read: {jump}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::clocks::Jump;

    #[test]
    fn only_what_moves_calls_to_other_days_is_a_doubt() {
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        let hours = |hours: i64| SignedDuration::from_hours(hours);
        let clock = |skew_h: i64, jump: Option<(i64, i64)>| {
            let jump = jump.map(|(ago_h, by_h)| Jump {
                after: now - hours(ago_h + 1),
                before: now - hours(ago_h),
                jump_s: by_h * 3600,
            });
            Some(PbxClock { measured_at: now, skew_s: skew_h * 3600, jump })
        };
        let set_back = |by_h: i64| Some(OwnDoubt::SetBack { latest: now + hours(by_h) });
        let table = [
            (None, None, false),
            (None, clock(300, None), false),
            (None, clock(0, Some((1, 14))), false),
            (None, clock(0, Some((1, 48))), true),
            (None, clock(0, Some((1, -48))), true),
            (None, clock(0, Some((13, 48))), false),
            (Some(OwnDoubt::BeforeRelease), None, true),
            (set_back(14), None, false),
            (set_back(24), None, true),
            (Some(OwnDoubt::Unsynchronised), clock(14, None), false),
            (Some(OwnDoubt::Unsynchronised), clock(-30, None), true),
        ];
        for (own, of_pbx, expected) in table {
            assert_eq!(doubt(own, of_pbx, now).is_some(), expected, "{own:?} {of_pbx:?}");
        }
    }
}
