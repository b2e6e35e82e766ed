//! How the days of every PBX stand: settled, certified, complete.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::store::calls;
use crate::store::db;

/// The days of one PBX.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DaysStanding {
    /// Days that may still change.
    pub open: i64,
    /// Days that have settled.
    pub settled: i64,
    /// Days with a certificate; one that was opened again keeps its former one until it settles again.
    pub certified: i64,
    /// Of these, the ones whose latest certificate says that something was not archived or in doubt.
    pub incomplete: i64,
    /// Days whose latest certificate says that its numbers do not add up, the latest first.
    pub not_summing: Vec<Date>,
    /// The latest day with a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<LatestCertificate>,
}

/// The certificate of the latest day that has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LatestCertificate {
    /// Its day.
    pub day: Date,
    /// Its revision.
    pub revision: i64,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// Whether it says that the day is complete.
    pub complete: bool,
}

/// Reads how the days of every PBX stand.
pub async fn standing(db: &mut SqliteConnection) -> anyhow::Result<BTreeMap<String, DaysStanding>> {
    let mut standing: BTreeMap<String, DaysStanding> = BTreeMap::new();
    for (pbx, open, settled) in calls::days_by_state(db).await? {
        standing.insert(pbx, DaysStanding { open, settled, ..DaysStanding::default() });
    }
    if !db::has_table(db, "certificates").await? {
        return Ok(standing);
    }
    for (pbx, certified, latest_day) in certified(db).await? {
        let of_pbx = standing.entry(pbx.clone()).or_default();
        of_pbx.certified = certified;
        of_pbx.latest = Some(latest(db, &pbx, &latest_day).await?);
    }
    for (pbx, day, sums) in incomplete(db).await? {
        let of_pbx = standing.entry(pbx).or_default();
        of_pbx.incomplete += 1;
        if !sums {
            of_pbx.not_summing.push(day.parse()?);
        }
    }
    Ok(standing)
}

async fn certified(db: &mut SqliteConnection) -> anyhow::Result<Vec<(String, i64, String)>> {
    sqlx::query_as("select pbx, count(distinct day), max(day) from certificates group by pbx")
        .fetch_all(db)
        .await
        .context("counting certificates")
}

async fn latest(db: &mut SqliteConnection, pbx: &str, day: &str) -> anyhow::Result<LatestCertificate> {
    let (revision, issued_at_ms, complete): (i64, i64, bool) = sqlx::query_as(
        "select revision, issued_at_ms, complete from certificates where pbx = ? and day = ?
         order by revision desc limit 1",
    )
    .bind(pbx)
    .bind(day)
    .fetch_one(db)
    .await
    .context("reading the latest certificate")?;
    let issued_at = Timestamp::from_millisecond(issued_at_ms)?;
    Ok(LatestCertificate { day: day.parse()?, revision, issued_at, complete })
}

async fn incomplete(db: &mut SqliteConnection) -> anyhow::Result<Vec<(String, String, bool)>> {
    sqlx::query_as(
        "select pbx, day, sums from certificates issued where complete = 0 and not exists
             (select 1 from certificates later where later.pbx = issued.pbx and later.day = issued.day
                  and later.revision > issued.revision)
         order by pbx, day desc",
    )
    .fetch_all(db)
    .await
    .context("listing incomplete days")
}
