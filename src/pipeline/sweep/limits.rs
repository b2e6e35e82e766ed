//! Lists that a PBX cuts without saying so: one that is longer than any before is asked for again in two parts, once; and
//! where the parts hold more, all lists as long are asked for in ever shorter parts.
//!
//! All days of a sweep are read first, and only the longest of their lists is looked at twice: if that one is whole, so
//! are the others.

use std::sync::PoisonError;

use anyhow::Result;
use jiff::civil::Date;
use tracing::debug;

use super::closing::SETTLES_AFTER;
use super::parts::Part;
use super::range::{Answer, FIRST_WAIT, Outcome, TRIES};
use super::reading::Reading;
use super::{SweepReport, Sweeper, page};
use crate::store::evidence::{self, LIMIT_ROWS_MIN, Limits, ListSize};
use crate::store::findings::{self, FindingKind};

/// A day is not asked for in more parts than this: a PBX that answers everything alike would never come to an end.
const PARTS_MAX: u64 = 256;
/// From so many days and new recordings on, a second look at a short list costs no tenth of what is asked anyway: two
/// requests for each of these, and four for the look.
const WORTH_A_LOOK: u64 = 20;

/// What a second look at a list came to.
enum Look {
    /// It held all that its parts hold.
    Whole,
    /// Its parts hold more.
    Cut,
    Unanswered,
}

impl Sweeper<'_> {
    pub(super) fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is known of the PBX's limits.
    pub(super) async fn learn_limits(&self) -> Result<()> {
        let known = evidence::load_limits(&mut *self.site.db().read().await?, self.site.id()).await?;
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// Takes an answer for what it is, or asks for it again in two parts if it may have been cut.
    pub(super) async fn take_answer(
        &self,
        reading: &mut Reading,
        part: Part,
        answer: Answer,
    ) -> Result<Outcome> {
        let mut limits = self.limits();
        limits.lift(answer.size);
        if limits != self.limits() {
            self.note_limits(|known| *known = limits).await?;
        }
        let (may_be_cut, rows) = (limits.may_cut(answer.size), answer.size.rows);
        let may_divide = may_be_cut && reading.list.parts < PARTS_MAX;
        let Some(parts) = may_divide.then(|| part.split_at(&answer.starts)).flatten() else {
            if may_be_cut {
                reading.list.short = Some(format!(
                    "the PBX gave {rows} rows from {} to {}, where it seems to cut its lists",
                    part.from, part.to
                ));
            }
            reading.list.note_part(part, answer);
            return Ok(Outcome::Read);
        };
        let (id, day) = (self.site.id(), reading.day);
        debug!(pbx = id, "The {rows} rows of {day} may be cut: asking for them in two parts");
        for part in parts {
            let outcome = Box::pin(self.read_part(reading, part, TRIES)).await?;
            if !outcome.is_read() {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Read)
    }

    /// Ends those days that need no second look, whatever comes of the other days; `asked` counts all days and new recordings
    /// once they are known.
    pub(super) async fn end_proven(
        &self,
        read: &mut Vec<Reading>,
        asked: Option<u64>,
        report: &mut SweepReport,
    ) -> Result<()> {
        for reading in std::mem::take(read) {
            if self.needs_a_look(&reading, asked).await? {
                read.push(reading);
            } else {
                *report += self.end_day(reading, Outcome::Read).await?;
            }
        }
        Ok(())
    }

    /// Looks twice at the longest list, and ends all days; `asked` counts the days of the sweep and its new recordings.
    pub(super) async fn prove(
        &self,
        mut read: Vec<Reading>,
        asked: u64,
        report: &mut SweepReport,
    ) -> Result<()> {
        loop {
            self.end_proven(&mut read, Some(asked), report).await?;
            let longest = (0..read.len()).max_by_key(|at| read[*at].list.largest_size());
            let Some(longest) = longest else { return Ok(()) };
            let mut reading = read.swap_remove(longest);
            if self.site.is_over() {
                reading.list.short = Some(NOT_LOOKED_AT.to_owned());
                *report += self.end_day(reading, Outcome::Read).await?;
                continue;
            }
            *report += self.look_twice(reading).await?;
        }
    }

    /// Whether nothing has shown yet that the list of a day is whole. A day that is not over is looked at by a command
    /// alone: the service reads it again every few minutes, and once more when it is over.
    async fn needs_a_look(&self, reading: &Reading, asked: Option<u64>) -> Result<bool> {
        let (size, limits) = (reading.list.largest_size(), self.limits());
        let is_open = limits.suspected.is_none()
            && limits.is_unproven(size)
            && (size.rows >= LIMIT_ROWS_MIN || asked.is_none_or(|asked| asked >= WORTH_A_LOOK));
        let must_split = limits.may_cut(size) && reading.list.short.is_none();
        if reading.list.has_open_edge && asked.is_none() {
            return Ok(true);
        }
        Ok((is_open && (self.deep || self.is_over(reading.day).await?)) || must_split)
    }

    async fn is_over(&self, day: Date) -> Result<bool> {
        let end = page::day_end(day, self.utc_offset_s().await?);
        let over = |end| self.site.now().duration_since(end) >= SETTLES_AFTER + self.device_behind;
        Ok(end.is_some_and(over))
    }

    /// Looks twice at the list of one day, and ends the day.
    async fn look_twice(&self, mut reading: Reading) -> Result<SweepReport> {
        let size = reading.list.largest_size();
        // What is asked for again is counted once.
        let counted = (reading.counts.rows, reading.counts.bad_rows);
        let look = match self.limits().may_cut(size) {
            true => Look::Cut,
            false => self.look(&mut reading).await?,
        };
        match look {
            Look::Whole => self.note_limits(|limits| limits.prove(size)).await?,
            Look::Unanswered => reading.list.short = Some(NOT_LOOKED_AT.to_owned()),
            Look::Cut => {
                (reading.counts.rows, reading.counts.bad_rows) = (0, 0);
                self.note_limits(|limits| limits.suspect(size)).await?;
                self.note_cut(reading.day, size).await?;
                reading.list.begin_again();
                let asked = reading.asked;
                let outcome = self.read_part(&mut reading, asked, TRIES).await?;
                return self.end_day(reading, outcome).await;
            }
        }
        (reading.counts.rows, reading.counts.bad_rows) = counted;
        self.end_day(reading, Outcome::Read).await
    }

    /// Asks for the largest answer again in two parts. If they bring anything that is new, it may be that calls have ended
    /// meanwhile: then all of it is asked for once more, and holds them too.
    async fn look(&self, reading: &mut Reading) -> Result<Look> {
        let Some((part, answer)) = reading.list.largest.clone() else { return Ok(Look::Whole) };
        let Some(parts) = part.split_at(&answer.starts).or_else(|| part.halves().map(Vec::from)) else {
            return Ok(Look::Whole);
        };
        let known = self.rows_known(reading).await?;
        let mut rows = 0;
        for part in parts {
            match self.ask_aside(reading, part).await? {
                Some(answer) => rows += answer.size.rows,
                None => return Ok(Look::Unanswered),
            }
        }
        if self.rows_known(reading).await? == known {
            return Ok(Look::Whole);
        }
        // It lacks what its parts brought.
        reading.list.sha256 = None;
        match self.ask_aside(reading, part).await? {
            Some(again) if again.size.rows >= rows => Ok(Look::Whole),
            Some(_) => Ok(Look::Cut),
            None => Ok(Look::Unanswered),
        }
    }

    /// Asks for the hours around the beginning of a day whose day before was not read: a PBX may leave out what is at the
    /// edge of what was asked for.
    pub(super) async fn close_edge(&self, reading: &mut Reading) -> Result<()> {
        let day = reading.day;
        reading.list.sha256 = None;
        if self.ask_aside(reading, Part::around_beginning_of(day)).await?.is_none() {
            let before = day.yesterday().unwrap_or(day);
            reading.list.short = Some(format!("the hour before it could not be read, as all of {before}"));
        }
        reading.list.has_open_edge = false;
        Ok(())
    }

    /// Rows of the reading that were new, as far as they are stored.
    async fn rows_known(&self, reading: &mut Reading) -> Result<u64> {
        self.store_page(reading).await?;
        Ok(reading.added.values().sum())
    }

    /// Asks for a part whose answer counts for nothing but its rows.
    async fn ask_aside(&self, reading: &mut Reading, part: Part) -> Result<Option<Answer>> {
        for _ in 0..TRIES {
            match self.ask(reading, part, 1).await? {
                Ok(answer) => return Ok(Some(answer)),
                Err(Outcome::Ended) => return Ok(None),
                Err(_) => tokio::time::sleep(FIRST_WAIT).await,
            }
        }
        Ok(None)
    }

    async fn note_limits(&self, change: impl FnOnce(&mut Limits)) -> Result<()> {
        let limits = {
            let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut limits);
            *limits
        };
        let (pbx, now) = (self.site.id().to_owned(), self.site.now());
        let db = self.site.db();
        db.write(async move |tx| {
            if limits.suspected.is_none() {
                findings::close(tx, &pbx, FindingKind::LimitSuspected, now).await?;
            }
            evidence::store_limits(tx, &pbx, limits, now).await
        })
        .await
    }

    /// A PBX that cuts its lists is a finding for as long as it seems to.
    async fn note_cut(&self, day: Date, size: ListSize) -> Result<()> {
        let detail = format!(
            "the list of {day} held {} rows ({} bytes), and its two halves held more: the PBX gives no more at a time, so \
             callvault asks for shorter times",
            size.rows, size.bytes
        );
        self.site.settle_finding(FindingKind::LimitSuspected, "call lists", Some(detail)).await
    }
}

/// Why a list is short that was not looked at twice.
const NOT_LOOKED_AT: &str = "it is longer than any before, and the PBX could not be asked for it in two parts, to see whether it is cut";
