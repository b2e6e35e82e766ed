//! Findings: things that are wrong or odd and that a person should know of, each kept once and counted.

use std::collections::BTreeMap;

pub use crate::base::finding::FindingKind;

use anyhow::Context as _;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::store::sql::{BindAll as _, Fetch as _, Run as _};

/// One finding as it is told. Subject and detail are already safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What sort of thing it is.
    pub kind: FindingKind,
    /// What it concerns: a file and line, a day, a recording.
    pub subject: String,
    pub detail: String,
}

/// A finding as it is kept.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct FindingRow {
    pub kind: String,
    pub pbx: Option<String>,
    pub subject: String,
    pub detail: String,
    pub count: i64,
    #[serde(skip)]
    pub first_seen_at_ms: i64,
}

/// Keeps a finding; one that is known already is counted and its detail renewed.
pub async fn record(
    tx: &mut SqliteConnection,
    pbx: &str,
    finding: &Finding,
    now: Timestamp,
) -> anyhow::Result<()> {
    sqlx::query(
        "insert into findings (kind, pbx, subject, detail, first_seen_at_ms, last_seen_at_ms)
         values (?1, ?2, ?3, ?4, ?5, ?5)
         on conflict (kind, pbx, subject) do update
         set detail = excluded.detail, last_seen_at_ms = excluded.last_seen_at_ms, count = count + 1,
             closed_at_ms = null",
    )
    .bind_all((finding.kind, pbx, &finding.subject, &finding.detail, now))
    .execute(tx)
    .await
    .with_context(|| format!("recording the finding {} of {}", finding.kind.as_str(), finding.subject))?;
    Ok(())
}

/// Records a finding about `subject` if there is a `detail`; else closes it.
pub async fn settle(
    tx: &mut SqliteConnection,
    pbx: &str,
    kind: FindingKind,
    subject: &str,
    detail: Option<String>,
    now: Timestamp,
) -> anyhow::Result<()> {
    match detail {
        Some(detail) => record(tx, pbx, &Finding { kind, subject: subject.to_owned(), detail }, now).await,
        None => close_about(tx, pbx, kind, subject, now).await,
    }
}

/// Keeps a finding of something that is over, such as a day: unlike with [`record`], one that is known already is counted,
/// and one that was closed comes back, only if there is more to say than before.
pub async fn record_news(
    tx: &mut SqliteConnection,
    pbx: &str,
    finding: &Finding,
    now: Timestamp,
) -> anyhow::Result<()> {
    let is_known: bool = sqlx::query_scalar(
        "select exists (select 1 from findings where kind = ? and pbx = ? and subject = ? and detail = ?)",
    )
    .bind_all((finding.kind, pbx, &finding.subject, &finding.detail))
    .fetch_one(&mut *tx)
    .await
    .with_context(|| format!("looking up the finding {} of {}", finding.kind.as_str(), finding.subject))?;
    if is_known { Ok(()) } else { record(tx, pbx, finding, now).await }
}

/// A finding that still holds, as often as it was seen.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct OpenFinding {
    pub subject: String,
    pub count: i64,
    pub last_seen_at_ms: i64,
}

/// When each finding of a kind that still holds was seen last.
pub async fn last_seen(
    db: &mut SqliteConnection,
    pbx: &str,
    kind: FindingKind,
) -> anyhow::Result<Vec<OpenFinding>> {
    sqlx::query_as(
        "select subject, count, last_seen_at_ms from findings
         where kind = ? and pbx = ? and closed_at_ms is null order by subject",
    )
    .bind_all((kind, pbx))
    .all(db, "reading findings")
    .await
}

/// Closes the findings of a kind: what they say has been seen to be mended.
pub async fn close(
    tx: &mut SqliteConnection,
    pbx: &str,
    kind: FindingKind,
    now: Timestamp,
) -> anyhow::Result<()> {
    sqlx::query("update findings set closed_at_ms = ? where kind = ? and pbx = ? and closed_at_ms is null")
        .bind_all((now, kind, pbx))
        .run(tx, "closing findings")
        .await
}

/// Closes the finding of a kind about one thing.
pub async fn close_about(
    tx: &mut SqliteConnection,
    pbx: &str,
    kind: FindingKind,
    subject: &str,
    now: Timestamp,
) -> anyhow::Result<()> {
    sqlx::query(
        "update findings set closed_at_ms = ? where kind = ? and pbx = ? and subject = ? and closed_at_ms is null",
    )
    .bind_all((now, kind, pbx, subject))
    .run(tx, "closing a finding")
    .await
}

/// Closes the findings of a kind whose subject begins with `place`.
pub async fn close_within(
    tx: &mut SqliteConnection,
    pbx: &str,
    kind: FindingKind,
    place: &str,
    now: Timestamp,
) -> anyhow::Result<()> {
    sqlx::query(
        "update findings set closed_at_ms = ?1 where kind = ?2 and pbx = ?3 and closed_at_ms is null
             and substr(subject, 1, length(?4)) = ?4",
    )
    .bind_all((now, kind, pbx, place))
    .run(tx, "closing findings")
    .await
}

/// Closes the findings of these kinds about these things.
pub async fn close_these(
    tx: &mut SqliteConnection,
    pbx: &str,
    kinds: &[FindingKind],
    subjects: &[String],
    now: Timestamp,
) -> anyhow::Result<()> {
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    sqlx::query(
        "update findings set closed_at_ms = ? where pbx = ? and closed_at_ms is null
             and kind in (select value from json_each(?)) and subject in (select value from json_each(?))",
    )
    .bind_all((now, pbx, serde_json::to_string(&kinds).context("listing kinds")?))
    .bind_all((serde_json::to_string(subjects).context("listing subjects")?,))
    .run(tx, "closing findings")
    .await
}

/// Closes the findings of a kind but for those about `subjects`, which still hold.
pub async fn close_others(
    tx: &mut SqliteConnection,
    pbx: &str,
    kind: FindingKind,
    subjects: &[&str],
    now: Timestamp,
) -> anyhow::Result<()> {
    let still = serde_json::to_string(subjects).context("listing subjects")?;
    sqlx::query(
        "update findings set closed_at_ms = ? where kind = ? and pbx = ? and closed_at_ms is null
             and subject not in (select value from json_each(?))",
    )
    .bind_all((now, kind, pbx, still))
    .run(tx, "closing findings")
    .await
}

/// Closes all findings of a PBX: a person has seen them. What still holds comes back when it is seen again.
pub async fn acknowledge(tx: &mut SqliteConnection, pbx: &str, now: Timestamp) -> anyhow::Result<u64> {
    sqlx::query("update findings set closed_at_ms = ? where pbx = ? and closed_at_ms is null")
        .bind_all((now, pbx))
        .count(tx, "acknowledging findings")
        .await
}

/// How findings name the CDR of a day.
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

impl OfDay {
    /// The findings of `day`, whose files lie in `folder`.
    pub fn new(pbx: &str, day: Date, folder: &str) -> Self {
        let (cdr, files) = (format!("{} ", cdr_of(day)), format!("{folder}/"));
        Self { pbx: pbx.to_owned(), day: day.to_string(), cdr, files }
    }

    /// Counts those that were not mended, by kind.
    pub async fn counts(&self, db: &mut SqliteConnection) -> anyhow::Result<BTreeMap<String, i64>> {
        let counts: Vec<(String, i64)> = sqlx::query_as(
            "select kind, count(*) from findings
             where pbx = ?1 and closed_at_ms is null and kind not in ('day_incomplete', 'day_does_not_sum') and
                 (subject = ?2 or substr(subject, 1, length(?3)) = ?3 or substr(subject, 1, length(?4)) = ?4)
             group by kind",
        )
        .bind_all((&self.pbx, &self.day, &self.cdr, &self.files))
        .all(db, "counting the findings of a day")
        .await?;
        Ok(counts.into_iter().collect())
    }

    /// Reads the first `limit` of those that were not mended.
    pub async fn first(&self, db: &mut SqliteConnection, limit: i64) -> anyhow::Result<Vec<FindingRow>> {
        sqlx::query_as(
            "select kind, pbx, subject, detail, count, first_seen_at_ms from findings
             where pbx = ?1 and closed_at_ms is null and kind not in ('day_incomplete', 'day_does_not_sum') and
                 (subject = ?2 or substr(subject, 1, length(?3)) = ?3 or substr(subject, 1, length(?4)) = ?4)
             order by id limit ?5",
        )
        .bind_all((&self.pbx, &self.day, &self.cdr, &self.files, limit))
        .all(db, "reading the findings of a day")
        .await
    }
}

/// Counts the findings of every PBX by kind, those that were mended left out.
pub async fn counts(db: &mut SqliteConnection) -> anyhow::Result<BTreeMap<String, Vec<(String, i64)>>> {
    let rows: Vec<(Option<String>, String, i64)> = sqlx::query_as(
        "select pbx, kind, count(*) from findings where closed_at_ms is null group by pbx, kind order by pbx, kind",
    )
    .all(db, "counting findings")
    .await?;
    let mut counts: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    for (pbx, kind, count) in rows {
        counts.entry(pbx.unwrap_or_default()).or_default().push((kind, count));
    }
    Ok(counts)
}

/// The findings of a kind that are not mended.
pub async fn open_of(
    db: &mut SqliteConnection,
    pbx: &str,
    kind: FindingKind,
) -> anyhow::Result<Vec<FindingRow>> {
    sqlx::query_as(
        "select kind, pbx, subject, detail, count, first_seen_at_ms from findings
         where pbx = ? and kind = ? and closed_at_ms is null order by subject",
    )
    .bind_all((pbx, kind))
    .all(db, "reading the findings of a kind")
    .await
}

/// The latest findings that are not mended, newest first.
pub async fn latest(db: &mut SqliteConnection, pbx: &str, limit: i64) -> anyhow::Result<Vec<FindingRow>> {
    sqlx::query_as(
        "select kind, pbx, subject, detail, count, first_seen_at_ms from findings where pbx = ? and closed_at_ms is null
         order by last_seen_at_ms desc, id desc limit ?",
    )
    .bind_all((pbx, limit))
    .all(db, "reading findings")
    .await
}
