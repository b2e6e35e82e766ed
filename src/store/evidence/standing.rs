//! How far the lists of many days can be believed, and the one sentence that says so: `backfill`, `reconcile` and
//! `status` all print it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::store::queue::DayRange;
use crate::store::sql::{BindAll as _, Conn, Day, Fetch as _};

/// How far the lists of some days of one PBX can be believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// Days whose list could not be read, or not all of it.
    pub unread: i64,
    /// Days whose list the PBX seems to have cut.
    pub short: i64,
    /// Days with lines that cannot be believed, or that were read by a wrong clock.
    pub doubtful: i64,
    /// Days of which something was accepted as it was, and that have nothing new.
    pub accepted: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Standing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub day: Date,
    pub verdict: Verdict,
    /// Why it is not whole, as the end of a sentence.
    pub cause: String,
}

impl Verdicts {
    /// Days that are not whole, and that nobody has accepted.
    pub fn not_whole(&self) -> i64 {
        self.unread + self.short + self.doubtful
    }

    /// The sentence about days that are not whole; `None` if all are.
    pub fn sentence(&self) -> Option<String> {
        let first = self.first.as_ref().filter(|_| self.not_whole() > 0)?;
        let counts = [(self.unread, "not read"), (self.short, "cut short"), (self.doubtful, "doubtful")];
        let kinds: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let days = match self.not_whole() {
            1 => format!("The call list of {} may lack calls", first.day),
            count => format!(
                "The call lists of {count} days may lack calls ({}), the first of {}",
                kinds.join(", "),
                first.day
            ),
        };
        Some(format!("{days}: {}", first.cause))
    }

    fn add(&mut self, standing: Standing) {
        match standing.verdict {
            Verdict::Unread => self.unread += 1,
            Verdict::Short => self.short += 1,
            Verdict::Doubtful => self.doubtful += 1,
            Verdict::Whole => return,
        }
        if self.first.as_ref().is_none_or(|first| standing.day < first.day) {
            self.first = Some(standing);
        }
    }
}

impl std::ops::AddAssign<&Self> for Verdicts {
    fn add_assign(&mut self, other: &Self) {
        self.unread += other.unread;
        self.short += other.short;
        self.doubtful += other.doubtful;
        self.accepted += other.accepted;
        if let Some(first) = &other.first
            && self.first.as_ref().is_none_or(|ours| first.day < ours.day)
        {
            self.first = Some(first.clone());
        }
    }
}

#[derive(sqlx::FromRow)]
struct NotWhole {
    pbx: String,
    day: Day,
    verdict: Verdict,
    cause: Option<String>,
}

#[derive(sqlx::FromRow)]
struct OpenDoubt {
    id: i64,
    pbx: String,
    day_from: Day,
    day_to: Day,
}

/// How far the lists of the days of `range` of one PBX can be believed.
pub async fn standing(db: &mut Conn, pbx: &str, range: DayRange) -> Result<Verdicts> {
    Ok(standings(db, Some(pbx), range).await?.remove(pbx).unwrap_or_default())
}

/// The same of every PBX, or of one.
pub async fn standings(
    db: &mut Conn,
    pbx: Option<&str>,
    range: DayRange,
) -> Result<BTreeMap<String, Verdicts>> {
    let mut days: BTreeMap<(String, Date), (Verdict, Option<String>, i64)> = BTreeMap::new();
    for row in not_whole(db, pbx, range).await? {
        days.insert((row.pbx, row.day.0), (row.verdict, row.cause, 0));
    }
    let accepted_doubts = accepted_doubts(db).await?;
    for row in open(db, pbx, range).await? {
        let (Day(from), Day(to)) = (row.day_from, row.day_to);
        let concerned = std::iter::successors(Some(from.max(range.from)), |day| day.tomorrow().ok());
        for day in concerned.take_while(|day| *day <= to.min(range.to)) {
            if !accepted_doubts.contains(&(row.id, day)) {
                days.entry((row.pbx.clone(), day)).or_insert((Verdict::Whole, None, 0)).2 += 1;
            }
        }
    }
    let accepted = accepted(db, pbx, range).await?;
    let mut standings: BTreeMap<String, Verdicts> = BTreeMap::new();
    for ((pbx, day), (verdict, cause, doubts)) in days {
        let verdict = verdict.lowered_by(doubts);
        if doubts == 0 && accepted.get(&(pbx.clone(), day)).is_some_and(|worst| verdict >= *worst) {
            continue;
        }
        let cause = cause.filter(|_| verdict != Verdict::Doubtful || doubts == 0);
        let cause = cause.unwrap_or_else(|| doubts_sentence(doubts));
        standings.entry(pbx).or_default().add(Standing { day, verdict, cause });
    }
    for (pbx, _) in accepted.into_keys() {
        standings.entry(pbx).or_default().accepted += 1;
    }
    Ok(standings)
}

fn doubts_sentence(doubts: i64) -> String {
    match doubts {
        1 => "one of its lines cannot be believed, and may name a recording".to_owned(),
        _ => format!("{doubts} of its lines cannot be believed, and may name recordings"),
    }
}

async fn not_whole(db: &mut Conn, pbx: Option<&str>, range: DayRange) -> Result<Vec<NotWhole>> {
    let (from, to) = range.bounds();
    sqlx::query_as(
        "select pbx, day, verdict, verdict_cause as cause from days
         where verdict <> 'whole' and (?1 is null or pbx = ?1) and day between ?2 and ?3",
    )
    .bind_all((pbx, from, to))
    .all(db, "listing days that are not whole")
    .await
}

async fn open(db: &mut Conn, pbx: Option<&str>, range: DayRange) -> Result<Vec<OpenDoubt>> {
    let (from, to) = range.bounds();
    sqlx::query_as(
        "select id, pbx, day_from, day_to from doubts
         where cleared_at_ms is null and (?1 is null or pbx = ?1) and day_from <= ?3 and day_to >= ?2",
    )
    .bind_all((pbx, from, to))
    .all(db, "listing open doubts")
    .await
}

/// The doubts that were accepted, each with the day of which that is true.
async fn accepted_doubts(db: &mut Conn) -> Result<BTreeSet<(i64, Date)>> {
    let rows: Vec<(i64, Day)> =
        sqlx::query_as("select doubt, day from accepted_doubts").all(db, "listing accepted doubts").await?;
    Ok(rows.into_iter().map(|(doubt, Day(day))| (doubt, day)).collect())
}

/// The worst verdict that was accepted, by PBX and day.
async fn accepted(
    db: &mut Conn,
    pbx: Option<&str>,
    range: DayRange,
) -> Result<BTreeMap<(String, Date), Verdict>> {
    let (from, to) = range.bounds();
    let rows: Vec<(String, Day, Verdict)> = sqlx::query_as(
        "select pbx, day, verdict from accepted_days where (?1 is null or pbx = ?1) and day between ?2 and ?3",
    )
    .bind_all((pbx, from, to))
    .all(db, "listing accepted days")
    .await?;
    let mut accepted: BTreeMap<(String, Date), Verdict> = BTreeMap::new();
    for (pbx, Day(day), verdict) in rows {
        let of_day = accepted.entry((pbx, day)).or_insert(verdict);
        *of_day = verdict.min(*of_day);
    }
    Ok(accepted)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn of(day: i8, verdict: Verdict, cause: &str) -> Standing {
        Standing { day: date(2026, 3, day), verdict, cause: cause.to_owned() }
    }

    #[test]
    fn one_sentence_names_the_first_day_and_why() {
        let mut verdicts = Verdicts::default();
        assert_eq!(verdicts.sentence(), None);
        verdicts.add(of(
            7,
            Verdict::Doubtful,
            "one of its lines cannot be believed, and may name a recording",
        ));
        insta::assert_snapshot!(verdicts.sentence().unwrap(), @"The call list of 2026-03-07 may lack calls: one of its lines cannot be believed, and may name a recording");
        verdicts.add(of(5, Verdict::Unread, "the PBX did not answer"));
        verdicts.add(of(9, Verdict::Whole, ""));
        insta::assert_snapshot!(verdicts.sentence().unwrap(), @"The call lists of 2 days may lack calls (1 not read, 1 doubtful), the first of 2026-03-05: the PBX did not answer");
        assert_eq!(verdicts.not_whole(), 2);
    }

    #[test]
    fn of_several_pbxs_the_earliest_day_is_named() {
        let mut sum = Verdicts::default();
        for day in [9, 3, 5] {
            let mut one = Verdicts::default();
            one.add(of(day, Verdict::Short, "cut"));
            sum += &one;
        }
        assert_eq!((sum.short, sum.first.unwrap().day), (3, date(2026, 3, 3)));
    }
}
