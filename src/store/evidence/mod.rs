//! Evidence: what it rests on that the list of a day is whole.
//!
//! All SQL on `doubts`, `list_limits`, `outlooks`, `provenance` and `accepted_days`, and on what `days` holds of a verdict.
//!
//! A list is not whole because nothing was refused. Its verdict is that of its worst part:
//!
//! ```text
//! unread    a part was not answered, was cut off, or has no column of recording names
//! short     the PBX seems to cut its lists at so many rows, and this one could not be divided further
//! doubtful  a line cannot be believed, or a clock was wrong while the list was read
//! whole     nothing speaks against it
//! ```

mod doubts;
mod limits;
mod standing;

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::base::words::words;
use crate::store::ledger::{self, Entry, EntryType};
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Ms, Run as _};

pub use doubts::*;
pub use limits::*;
pub use standing::*;

words! {
    /// How far the list of a day can be believed, the worst first.
    pub enum Verdict as "verdict" {
        /// Not all of it was read.
        Unread = "unread",
        /// The PBX seems to have cut it.
        Short = "short",
        /// Something in it cannot be believed.
        Doubtful = "doubtful",
        /// Nothing speaks against it.
        Whole = "whole",
    }
}

impl Verdict {
    /// The verdict on a list of which so many lines are in doubt.
    pub fn lowered_by(self, open_doubts: i64) -> Self {
        if open_doubts > 0 { self.min(Self::Doubtful) } else { self }
    }
}

/// What it rests on that the list of a day is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// How far the list can be believed.
    pub verdict: Verdict,
    /// Why it is not whole, as the end of a sentence; none if only doubts lower it.
    pub cause: Option<String>,
    /// The reading that the verdict is of; none if version 0.1 read the day last.
    pub readings: Option<LatestList>,
    /// What the PBX gives at most, as far as it showed.
    pub limits: Vec<Limit>,
    pub doubts: Doubts,
    pub accepted: Vec<AcceptedDay>,
    pub provenance: Vec<Origin>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LatestList {
    pub at: Timestamp,
    /// Whether that was late enough after the day's end for all of its calls to be listed.
    pub late: bool,
    /// Its rows, those of the neighbouring hours included.
    pub rows: i64,
    /// The requests that they came in.
    pub parts: i64,
}

/// How much a PBX gives in one list at most, in one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Limit {
    /// `rows` or `bytes`.
    pub unit: String,
    /// Lists of up to so much are whole.
    pub proven: i64,
    /// Lists seem to be cut at so much.
    pub suspected: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Doubts {
    pub count: i64,
    pub by: BTreeMap<String, i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct AcceptedDay {
    pub reason: String,
    pub verdict: Verdict,
    pub doubts: i64,
    #[sqlx(rename = "accepted_at_ms", try_from = "Ms")]
    pub at: Timestamp,
    pub ledger_number: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Origin {
    /// `api` or `file`.
    pub source: String,
    /// How the PBX was known: `pinned`, `roots` or `plain`; none of a file.
    pub transport: Option<String>,
    /// The SHA-256 of the pinned key, or that of the file.
    pub sha256: Option<String>,
}

/// What `days` holds of the reading that a verdict is of.
#[derive(sqlx::FromRow)]
struct VerdictColumns {
    readings: i64,
    verdict: Option<Verdict>,
    verdict_cause: Option<String>,
    verdict_late: bool,
    verdict_at_ms: Option<Ms>,
    verdict_rows: Option<i64>,
    verdict_parts: Option<i64>,
}

impl VerdictColumns {
    fn latest_list(&self) -> Option<LatestList> {
        let (rows, parts) = self.verdict_rows.zip(self.verdict_parts)?;
        Some(LatestList { at: self.verdict_at_ms?.0, late: self.verdict_late, rows, parts })
    }
}

/// Reads the evidence of a day; `None` if there is none, for version 0.1 alone has read it.
pub async fn evidence_of(db: &mut Conn, pbx: &str, day: Date) -> Result<Option<Evidence>> {
    let row: Option<VerdictColumns> = sqlx::query_as("select * from days where pbx = ? and day = ?")
        .bind_all((pbx, day))
        .maybe(db, "reading the verdict on a day")
        .await?;
    let doubts = doubts_of(db, pbx, day).await?;
    let accepted = accepted_of(db, pbx, day).await?;
    let judged = row.as_ref().and_then(|row| row.verdict);
    if judged.is_none() && doubts.count == 0 && accepted.is_empty() {
        return Ok(None);
    }
    // What version 0.1 has read to its end was whole for all that was known.
    let was_read = row.as_ref().is_some_and(|row| row.readings > 0);
    let verdict = judged.unwrap_or(if was_read { Verdict::Whole } else { Verdict::Unread });
    Ok(Some(Evidence {
        verdict: verdict.lowered_by(doubts.count),
        readings: row.as_ref().and_then(VerdictColumns::latest_list),
        cause: row.and_then(|row| row.verdict_cause),
        limits: limits::known_limits(db, pbx).await?,
        doubts,
        accepted,
        provenance: provenance_of(db, pbx, day).await?,
    }))
}

async fn doubts_of(db: &mut Conn, pbx: &str, day: Date) -> Result<Doubts> {
    let by: Vec<(String, i64)> = sqlx::query_as(
        "select cause, count(*) from doubts
         where pbx = ?1 and cleared_at_ms is null and day_from <= ?2 and day_to >= ?2
             and not exists (select 1 from accepted_doubts where doubt = doubts.id and day = ?2)
         group by cause",
    )
    .bind_all((pbx, day))
    .all(db, "counting the doubts of a day")
    .await?;
    Ok(Doubts { count: by.iter().map(|(_, count)| count).sum(), by: by.into_iter().collect() })
}

async fn accepted_of(db: &mut Conn, pbx: &str, day: Date) -> Result<Vec<AcceptedDay>> {
    sqlx::query_as("select * from accepted_days where pbx = ? and day = ? order by ledger_number")
        .bind_all((pbx, day))
        .all(db, "reading what of a day was accepted")
        .await
}

async fn provenance_of(db: &mut Conn, pbx: &str, day: Date) -> Result<Vec<Origin>> {
    sqlx::query_as(
        "select source, nullif(transport, '') as transport, nullif(sha256, '') as sha256 from provenance
         where pbx = ? and day = ? order by source, provenance.transport, provenance.sha256",
    )
    .bind_all((pbx, day))
    .all(db, "reading what the rows of a day came by")
    .await
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// The list of the day is accepted as it was, under this entry of the ledger.
    Accepted {
        verdict: Verdict,
        doubts: i64,
        ledger_number: i64,
    },
    /// There is nothing to accept: the list is whole.
    Whole,
    Unknown,
}

/// Accepts the list of a day as it is. Its doubts say nothing against it any more; its certificate stays not complete,
/// with `reason` in it. The caller opens the day again, so that it is certified anew.
pub async fn accept(tx: &mut Conn, pbx: &str, day: Date, reason: &str, now: Timestamp) -> Result<Acceptance> {
    let Some(evidence) = evidence_of(tx, pbx, day).await? else { return Ok(Acceptance::Unknown) };
    if evidence.verdict == Verdict::Whole || evidence.is_accepted() {
        return Ok(Acceptance::Whole);
    }
    let Evidence { verdict, doubts, .. } = evidence;
    let causes: Vec<String> = doubts.by.keys().cloned().collect();
    let entry = Entry::new(EntryType::Accepted, now)
        .with("pbx", pbx)
        .with("day", day.to_string())
        .with("verdict", verdict.as_str())
        .with("doubts", doubts.count)
        .with("causes", causes)
        .with("reason", reason);
    let ledger_number = ledger::append(tx, &entry).await?;
    sqlx::query(
        "insert into accepted_days (pbx, day, reason, verdict, doubts, accepted_at_ms, ledger_number)
         values (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind_all((pbx, day, reason, verdict, doubts.count, now, ledger_number))
    .run(tx, "keeping what was accepted")
    .await?;
    // One that can concern other days too stays in doubt for them.
    sqlx::query(
        "insert into accepted_doubts (doubt, day)
         select id, ?2 from doubts where pbx = ?1 and cleared_at_ms is null and day_from <= ?2 and day_to >= ?2
         on conflict do nothing",
    )
    .bind_all((pbx, day))
    .run(tx, "keeping which doubts were accepted")
    .await?;
    Ok(Acceptance::Accepted { verdict, doubts: doubts.count, ledger_number })
}

impl Evidence {
    /// Whether the operator took the list as it is now: not worse, and with no doubt that is new since.
    pub fn is_accepted(&self) -> bool {
        self.doubts.count == 0 && self.accepted.iter().any(|accepted| self.verdict >= accepted.verdict)
    }
}

/// What one reading says of the list of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayVerdict {
    pub verdict: Verdict,
    /// Why it is not whole, as the end of a sentence.
    pub cause: Option<String>,
    /// Whether it was late enough after the day's end for all of its calls to be listed.
    pub late: bool,
    pub facts: ListFacts,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListFacts {
    /// Its rows, those of neighbouring hours included.
    pub rows: u64,
    /// The requests that they came in.
    pub parts: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    Api {
        /// How the PBX was known: `pinned`, `roots` or `plain`.
        transport: &'a str,
        /// The SHA-256 of the pinned key, in hex.
        key_sha256: Option<&'a str>,
    },
    /// A file with this SHA-256, in hex; none if it was not read to its end.
    File { sha256: Option<&'a str> },
}

/// Keeps a verdict; whether it is another than the one before, so that what was certified does not hold any more.
///
/// An early reading tells nothing after a late one did. One that was not answered takes nothing back: what was listed
/// once stays listed.
pub async fn note_verdict(
    tx: &mut Conn,
    pbx: &str,
    day: Date,
    of_day: &DayVerdict,
    now: Timestamp,
) -> Result<bool> {
    let before: Option<(Option<Verdict>, bool)> =
        sqlx::query_as("select verdict, verdict_late from days where pbx = ? and day = ?")
            .bind_all((pbx, day))
            .maybe(tx, "reading the verdict on a day")
            .await?;
    let (before, was_late) = before.unwrap_or_default();
    let stays = match before {
        None => false,
        Some(_) if was_late && !of_day.late => true,
        Some(Verdict::Unread) => false,
        Some(_) => of_day.verdict == Verdict::Unread && (was_late || !of_day.late),
    };
    if stays {
        return Ok(false);
    }
    sqlx::query(
        "insert into days (pbx, day, verdict, verdict_cause, verdict_late, last_read_at_ms, verdict_at_ms, verdict_rows,
             verdict_parts)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8)
         on conflict (pbx, day) do update set
             verdict = excluded.verdict, verdict_cause = excluded.verdict_cause, verdict_late = excluded.verdict_late,
             verdict_at_ms = excluded.verdict_at_ms, verdict_rows = excluded.verdict_rows,
             verdict_parts = excluded.verdict_parts",
    )
    .bind_all((pbx, day, of_day.verdict, &of_day.cause, of_day.late, now))
    .bind_all((of_day.facts.rows, of_day.facts.parts))
    .run(tx, "keeping the verdict on a day")
    .await?;
    Ok(before.is_some_and(|before| before != of_day.verdict))
}

/// Notes what rows of a day came by.
pub async fn note_source(
    tx: &mut Conn,
    pbx: &str,
    day: Date,
    source: Source<'_>,
    now: Timestamp,
) -> Result<()> {
    let (word, transport, sha256) = match source {
        Source::Api { transport, key_sha256 } => ("api", transport, key_sha256),
        Source::File { sha256 } => ("file", "", sha256),
    };
    sqlx::query(
        "insert into provenance (pbx, day, source, transport, sha256, first_at_ms) values (?, ?, ?, ?, ?, ?)
         on conflict do nothing",
    )
    .bind_all((pbx, day, word, transport, sha256.unwrap_or_default(), now))
    .run(tx, "noting what rows came by")
    .await
}

/// How often that is done: once a day, whenever the day's sweeps are.
const EVERY: SignedDuration = SignedDuration::from_hours(20);

/// Whether it is time to look again. A look of the future was taken by a clock that was set back since.
pub async fn is_outlook_due(db: &mut Conn, pbx: &str, now: Timestamp) -> Result<bool> {
    let last: Option<Ms> = sqlx::query_scalar("select looked_at_ms from outlooks where pbx = ?")
        .bind(pbx)
        .maybe(db, "reading when days outside of all that is kept were asked for")
        .await?;
    Ok(last.is_none_or(|Ms(last)| now.duration_since(last).abs() >= EVERY))
}

pub async fn note_outlook(tx: &mut Conn, pbx: &str, now: Timestamp) -> Result<()> {
    sqlx::query(
        "insert into outlooks (pbx, looked_at_ms) values (?, ?)
         on conflict (pbx) do update set looked_at_ms = excluded.looked_at_ms",
    )
    .bind_all((pbx, now))
    .run(tx, "noting that days outside of all that is kept were asked for")
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_part_decides() {
        assert_eq!(Verdict::ALL.iter().copied().min(), Some(Verdict::Unread));
        let table = [
            (Verdict::Whole, 0, Verdict::Whole),
            (Verdict::Whole, 1, Verdict::Doubtful),
            (Verdict::Short, 1, Verdict::Short),
            (Verdict::Unread, 3, Verdict::Unread),
        ];
        for (verdict, doubts, expected) in table {
            assert_eq!(verdict.lowered_by(doubts), expected, "{verdict:?} with {doubts} doubts");
        }
    }

    #[test]
    fn words_come_back() {
        for verdict in Verdict::ALL {
            assert_eq!(verdict.as_str().parse(), Ok(*verdict));
        }
        assert!("fine".parse::<Verdict>().is_err());
    }
}
