//! Findings: things that are wrong or odd and that a person should know of, each kept once and counted.

use std::collections::BTreeMap;

pub use crate::base::finding::FindingKind;

use crate::store::sql::{BindAll as _, Conn, Fetch as _, Ms, Run as _};
use crate::store::together::{Statement, statement};
use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;

/// One finding as it is told. Subject and detail are already safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: FindingKind,
    /// What it concerns: a file and line, a day, a recording.
    pub subject: String,
    pub detail: String,
}

impl Finding {
    pub fn new(kind: FindingKind, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), detail: detail.into() }
    }
}

#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct FindingRow {
    pub kind: FindingKind,
    pub pbx: Option<String>,
    pub subject: String,
    pub detail: String,
    pub count: i64,
    #[serde(skip)]
    pub first_seen_at_ms: Ms,
    #[serde(skip)]
    pub last_seen_at_ms: Ms,
}

/// Keeps a finding; one that is known already is counted and its detail renewed.
pub async fn record(tx: &mut Conn, pbx: &str, finding: &Finding, now: Timestamp) -> Result<()> {
    sqlx::query(
        "insert into findings (kind, pbx, subject, detail, first_seen_at_ms, last_seen_at_ms)
         values (?1, ?2, ?3, ?4, ?5, ?5)
         on conflict (kind, pbx, subject) do update
         set detail = excluded.detail, last_seen_at_ms = excluded.last_seen_at_ms, count = count + 1,
             closed_at_ms = null",
    )
    .bind_all((finding.kind, pbx, &finding.subject, &finding.detail, now))
    .run(tx, format!("recording the finding {} of {}", finding.kind.as_str(), finding.subject))
    .await
}

/// Records these findings of one kind, and closes all others of that kind.
pub async fn record_all(
    tx: &mut Conn,
    pbx: &str,
    kind: FindingKind,
    found: &[Finding],
    now: Timestamp,
) -> Result<()> {
    for finding in found {
        record(tx, pbx, finding, now).await?;
    }
    let still: Vec<&str> = found.iter().map(|finding| finding.subject.as_str()).collect();
    close_others(tx, pbx, kind, &still, now).await
}

/// Records a finding about `subject` if there is a `detail`; else closes it.
pub async fn settle(
    tx: &mut Conn,
    pbx: &str,
    kind: FindingKind,
    subject: &str,
    detail: Option<String>,
    now: Timestamp,
) -> Result<()> {
    match detail {
        Some(detail) => record(tx, pbx, &Finding { kind, subject: subject.to_owned(), detail }, now).await,
        None => close_about(tx, pbx, kind, subject, now).await,
    }
}

/// Keeps a finding of something that is over, such as a day: unlike with [`record`], one that is known already is counted,
/// and one that was closed comes back, only if there is more to say than before.
pub async fn record_news(tx: &mut Conn, pbx: &str, finding: &Finding, now: Timestamp) -> Result<()> {
    let is_known: bool = sqlx::query_scalar(
        "select exists (select 1 from findings where kind = ? and pbx = ? and subject = ? and detail = ?)",
    )
    .bind_all((finding.kind, pbx, &finding.subject, &finding.detail))
    .one(tx, format!("looking up the finding {} of {}", finding.kind.as_str(), finding.subject))
    .await?;
    if is_known { Ok(()) } else { record(tx, pbx, finding, now).await }
}

/// Closes the findings of a kind: what they say has been seen to be mended.
pub async fn close(tx: &mut Conn, pbx: &str, kind: FindingKind, now: Timestamp) -> Result<()> {
    close_others(tx, pbx, kind, &[], now).await
}

pub async fn close_about(
    tx: &mut Conn,
    pbx: &str,
    kind: FindingKind,
    subject: &str,
    now: Timestamp,
) -> Result<()> {
    close_these(tx, pbx, &[kind], &[subject.to_owned()], now).await
}

/// Closes the findings of a kind whose subject begins with `place`.
pub async fn close_within(
    tx: &mut Conn,
    pbx: &str,
    kind: FindingKind,
    place: &str,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "update findings set closed_at_ms = ?1 where kind = ?2 and pbx = ?3 and closed_at_ms is null
             and substr(subject, 1, length(?4)) = ?4",
    )
    .bind_all((now, kind, pbx, place))
    .run(tx, "closing findings")
    .await
}

pub async fn close_these(
    tx: &mut Conn,
    pbx: &str,
    kinds: &[FindingKind],
    subjects: &[String],
    now: Timestamp,
) -> Result<()> {
    closing_these(pbx, kinds, subjects, now)?.run(tx, "closing findings").await
}

/// As [`close_these`], to be run with others.
pub fn closing_these(
    pbx: &str,
    kinds: &[FindingKind],
    subjects: &[String],
    now: Timestamp,
) -> Result<Statement> {
    let close = statement(
        "update findings set closed_at_ms = ? where pbx = ? and closed_at_ms is null
             and kind in (select value from json_each(?)) and subject in (select value from json_each(?))",
    );
    Ok(close.bind_all((now, pbx, serde_json::to_string(kinds)?, serde_json::to_string(subjects)?)))
}

/// Closes the findings of a kind but for those about `subjects`, which still hold.
pub async fn close_others(
    tx: &mut Conn,
    pbx: &str,
    kind: FindingKind,
    subjects: &[&str],
    now: Timestamp,
) -> Result<()> {
    closing_others(pbx, kind, subjects, now)?.run(tx, "closing findings").await
}

/// As [`close_others`], to be run with other statements.
pub fn closing_others(pbx: &str, kind: FindingKind, subjects: &[&str], now: Timestamp) -> Result<Statement> {
    let close = statement(
        "update findings set closed_at_ms = ? where kind = ? and pbx = ? and closed_at_ms is null
             and subject not in (select value from json_each(?))",
    );
    Ok(close.bind_all((now, kind, pbx, serde_json::to_string(subjects)?)))
}

/// Closes all findings of a PBX: a person has seen them. What still holds comes back when it is seen again.
pub async fn acknowledge(tx: &mut Conn, pbx: &str, now: Timestamp) -> Result<u64> {
    sqlx::query("update findings set closed_at_ms = ? where pbx = ? and closed_at_ms is null")
        .bind_all((now, pbx))
        .count(tx, "acknowledging findings")
        .await
}

pub fn cdr_of(day: Date) -> String {
    format!("the CDR of {day}")
}

/// What the findings of a day are about: the day itself, its CDR, and the files of its folder. What its certificate said
/// is no finding of the day.
#[derive(Debug, Clone)]
pub struct OfDay {
    pbx: String,
    day: String,
    cdr: String,
    files: String,
}

macro_rules! of_day {
    ($what:literal, $how:literal) => {
        concat!(
            $what,
            " where pbx = ?1 and closed_at_ms is null and kind not in ('day_incomplete', 'day_does_not_sum')
                 and (subject = ?2 or substr(subject, 1, length(?3)) = ?3 or substr(subject, 1, length(?4)) = ?4) ",
            $how
        )
    };
}

impl OfDay {
    /// The findings of `day`, whose files lie in `folder`.
    pub fn new(pbx: &str, day: Date, folder: &str) -> Self {
        let (cdr, files) = (format!("{} ", cdr_of(day)), format!("{folder}/"));
        Self { pbx: pbx.to_owned(), day: day.to_string(), cdr, files }
    }

    /// Counts those that were not mended, by kind.
    pub async fn counts(&self, db: &mut Conn) -> Result<BTreeMap<FindingKind, i64>> {
        let counts: Vec<(FindingKind, i64)> =
            sqlx::query_as(of_day!("select kind, count(*) from findings", "group by kind"))
                .bind_all((&self.pbx, &self.day, &self.cdr, &self.files))
                .all(db, "counting the findings of a day")
                .await?;
        Ok(counts.into_iter().collect())
    }

    pub async fn first(&self, db: &mut Conn, limit: i64) -> Result<Vec<FindingRow>> {
        sqlx::query_as(of_day!("select * from findings", "order by id limit ?5"))
            .bind_all((&self.pbx, &self.day, &self.cdr, &self.files, limit))
            .all(db, "reading the findings of a day")
            .await
    }
}

/// Counts the findings of every PBX by kind, those that were mended left out.
pub async fn counts(db: &mut Conn) -> Result<BTreeMap<String, Vec<(FindingKind, i64)>>> {
    let rows: Vec<(Option<String>, FindingKind, i64)> = sqlx::query_as(
        "select pbx, kind, count(*) from findings where closed_at_ms is null group by pbx, kind order by pbx, kind",
    )
    .all(db, "counting findings")
    .await?;
    let mut counts: BTreeMap<String, Vec<(FindingKind, i64)>> = BTreeMap::new();
    for (pbx, kind, count) in rows {
        counts.entry(pbx.unwrap_or_default()).or_default().push((kind, count));
    }
    Ok(counts)
}

pub async fn open_of(db: &mut Conn, pbx: &str, kind: FindingKind) -> Result<Vec<FindingRow>> {
    sqlx::query_as(
        "select * from findings
         where pbx = ? and kind = ? and closed_at_ms is null order by subject",
    )
    .bind_all((pbx, kind))
    .all(db, "reading the findings of a kind")
    .await
}

/// The latest findings that are not mended, newest first.
pub async fn latest(db: &mut Conn, pbx: &str, limit: i64) -> Result<Vec<FindingRow>> {
    sqlx::query_as(
        "select * from findings where pbx = ? and closed_at_ms is null
         order by last_seen_at_ms desc, id desc limit ?",
    )
    .bind_all((pbx, limit))
    .all(db, "reading findings")
    .await
}
