//! The evidence of one day, as `reconcile --json` prints it and certificates sign it. It names nobody.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use sqlx::SqliteConnection;

use super::{Verdict, limits};
use crate::store::sql::{BindAll as _, Fetch as _, Ms};

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
    /// The lines that cannot be believed.
    pub doubts: Doubts,
    /// What the operator took as it was.
    pub accepted: Vec<AcceptedDay>,
    pub provenance: Vec<Origin>,
}

/// The reading that a verdict is of.
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
    /// The same by cause.
    pub by: BTreeMap<String, i64>,
}

/// What the operator took as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AcceptedDay {
    pub reason: String,
    pub verdict: Verdict,
    pub doubts: i64,
    pub at: Timestamp,
    pub ledger_number: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// `api` or `file`.
    pub source: String,
    /// How the PBX was known: `pinned`, `roots` or `plain`; none of a file.
    pub transport: Option<String>,
    /// The SHA-256 of the pinned key, or that of the file.
    pub sha256: Option<String>,
}

#[derive(sqlx::FromRow)]
struct DayRow {
    readings: i64,
    verdict: Option<Verdict>,
    verdict_cause: Option<String>,
    verdict_late: bool,
    verdict_at_ms: Option<Ms>,
    verdict_rows: Option<i64>,
    verdict_parts: Option<i64>,
}

/// Reads the evidence of a day; `None` if there is none, for version 0.1 alone has read it.
pub async fn evidence_of(
    db: &mut SqliteConnection,
    pbx: &str,
    day: Date,
) -> anyhow::Result<Option<Evidence>> {
    let row: Option<DayRow> = sqlx::query_as(
        "select readings, verdict, verdict_cause, verdict_late, verdict_at_ms, verdict_rows, verdict_parts from days
         where pbx = ? and day = ?",
    )
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
        cause: row.as_ref().and_then(|row| row.verdict_cause.clone()),
        readings: row.as_ref().and_then(latest_list),
        limits: limits::known_limits(db, pbx).await?,
        doubts,
        accepted,
        provenance: provenance_of(db, pbx, day).await?,
    }))
}

fn latest_list(row: &DayRow) -> Option<LatestList> {
    Some(LatestList {
        at: row.verdict_at_ms?.0,
        late: row.verdict_late,
        rows: row.verdict_rows?,
        parts: row.verdict_parts?,
    })
}

async fn doubts_of(db: &mut SqliteConnection, pbx: &str, day: Date) -> anyhow::Result<Doubts> {
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

async fn accepted_of(db: &mut SqliteConnection, pbx: &str, day: Date) -> anyhow::Result<Vec<AcceptedDay>> {
    let rows: Vec<(String, Verdict, i64, Ms, i64)> = sqlx::query_as(
        "select reason, verdict, doubts, accepted_at_ms, ledger_number from accepted_days
         where pbx = ? and day = ? order by ledger_number",
    )
    .bind_all((pbx, day))
    .all(db, "reading what of a day was accepted")
    .await?;
    let accepted = |(reason, verdict, doubts, Ms(at), ledger_number)| AcceptedDay {
        reason,
        verdict,
        doubts,
        at,
        ledger_number,
    };
    Ok(rows.into_iter().map(accepted).collect())
}

async fn provenance_of(db: &mut SqliteConnection, pbx: &str, day: Date) -> anyhow::Result<Vec<Origin>> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "select source, transport, sha256 from provenance where pbx = ? and day = ? order by 1, 2, 3",
    )
    .bind_all((pbx, day))
    .all(db, "reading what the rows of a day came by")
    .await?;
    let told = |text: String| Some(text).filter(|text| !text.is_empty());
    let origin =
        |(source, transport, sha256)| Origin { source, transport: told(transport), sha256: told(sha256) };
    Ok(rows.into_iter().map(origin).collect())
}
