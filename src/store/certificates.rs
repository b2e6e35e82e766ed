//! Certificates and their drafts: `certificates` and `certificate_drafts`; and what a certificate counts.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use sqlx::{FromRow, SqliteConnection};

use super::{calls, db};
use crate::base::digest::Digest;

/// A certificate in the archive and in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issued {
    pub revision: i64,
    /// Of its JSON, relative to the archive's root.
    pub path: String,
    pub sha256: Digest,
    pub ledger_number: i64,
    pub issued_at: Timestamp,
    #[serde(skip)]
    pub missing: i64,
}

/// A certificate as it goes into the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified<'a> {
    pub pbx: &'a str,
    pub day: Date,
    /// From 1.
    pub revision: i64,
    /// Of its JSON, relative to the archive's root.
    pub path: String,
    pub sha256: Digest,
    pub ledger_number: i64,
    pub at: Timestamp,
    pub sums: bool,
    pub complete: bool,
    pub missing: i64,
}

/// A certificate on its way into the archive: the bytes of its files.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Draft {
    pub pbx: String,
    pub day: String,
    pub revision: i64,
    pub document: String,
    pub signature: Vec<u8>,
    pub page: String,
    pub files: String,
    /// None in a draft of version 0.1.
    pub names: Option<String>,
}

/// The latest certificate of a day.
pub async fn latest(db: &mut SqliteConnection, pbx: &str, day: Date) -> anyhow::Result<Option<Issued>> {
    let row: Option<(i64, String, Vec<u8>, i64, i64, i64)> = sqlx::query_as(
        "select revision, path, sha256, ledger_number, issued_at_ms, missing from certificates
         where pbx = ? and day = ? order by revision desc limit 1",
    )
    .bind(pbx)
    .bind(day.to_string())
    .fetch_optional(db)
    .await
    .context("reading the certificate of a day")?;
    row.map(|(revision, path, sha256, ledger_number, issued_at_ms, missing)| {
        let (sha256, issued_at) =
            (Digest::try_from(&sha256[..])?, Timestamp::from_millisecond(issued_at_ms)?);
        Ok(Issued { revision, path, sha256, ledger_number, issued_at, missing })
    })
    .transpose()
}

/// The settled days of `pbx` without a certificate, in order, whose call lists are written: certificates name those.
pub async fn due(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<Vec<Date>> {
    let days: Vec<String> = sqlx::query_scalar(
        "select day from days where pbx = ?1 and state = 'settled'
             and not exists (select 1 from certificates issued
                 where issued.pbx = ?1 and issued.day = days.day and issued.revision >= days.revision)
             and not exists (select 1 from calls
                 where calls.pbx = ?1 and calls.day = days.day and told_version is not version)
         union select day from certificate_drafts where pbx = ?1 order by day",
    )
    .bind(pbx)
    .fetch_all(db)
    .await
    .context("listing days without a certificate")?;
    days.iter().map(|day| Ok(day.parse()?)).collect()
}

pub async fn is_any_due(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<bool> {
    Ok(!due(db, pbx).await?.is_empty())
}

/// Whether the sums of its folder, or the ledger of `published` entries, lack a certificate of `pbx`: the run that issued it
/// ended too early.
pub async fn is_any_untold(db: &mut SqliteConnection, pbx: &str, published: u64) -> anyhow::Result<bool> {
    sqlx::query_scalar(
        "select exists (select 1 from certificates where pbx = ?1 and ledger_number >= ?2)
             or exists (select 1 from day_folders
                 join day_files on day_files.folder = day_folders.folder
                 join certificates on certificates.path = day_files.path
                 where changed > written and pbx = ?1)",
    )
    .bind(pbx)
    .bind(i64::try_from(published)?)
    .fetch_one(db)
    .await
    .context("looking for certificates that are not published")
}

/// Whether the certificate of a day that settled `revision` times is still to be drafted.
pub async fn is_due(tx: &mut SqliteConnection, pbx: &str, day: Date, revision: i64) -> anyhow::Result<bool> {
    sqlx::query_scalar(
        "select not exists (select 1 from certificates where pbx = ?1 and day = ?2 and revision >= ?3)
             and not exists (select 1 from certificate_drafts where pbx = ?1 and day = ?2)",
    )
    .bind(pbx)
    .bind(day.to_string())
    .bind(revision)
    .fetch_one(tx)
    .await
    .context("looking for a certificate")
}

pub async fn keep_draft(tx: &mut SqliteConnection, draft: &Draft) -> anyhow::Result<()> {
    sqlx::query(
        "insert into certificate_drafts (pbx, day, revision, document, signature, page, files, names)
         values (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&draft.pbx)
    .bind(&draft.day)
    .bind(draft.revision)
    .bind(&draft.document)
    .bind(&draft.signature)
    .bind(&draft.page)
    .bind(&draft.files)
    .bind(&draft.names)
    .execute(tx)
    .await
    .context("drafting a certificate")?;
    Ok(())
}

pub async fn draft(db: &mut SqliteConnection, pbx: &str, day: Date) -> anyhow::Result<Option<Draft>> {
    sqlx::query_as("select * from certificate_drafts where pbx = ? and day = ?")
        .bind(pbx)
        .bind(day.to_string())
        .fetch_optional(db)
        .await
        .context("reading a drafted certificate")
}

/// The PBXs and days with a draft.
pub async fn drafted(db: &mut SqliteConnection) -> anyhow::Result<Vec<(String, String)>> {
    sqlx::query_as("select pbx, day from certificate_drafts")
        .fetch_all(db)
        .await
        .context("listing drafted certificates")
}

/// Records an issued certificate.
///
/// # Errors
/// The database refuses a second one of the same day and revision.
pub async fn record(tx: &mut SqliteConnection, certified: &Certified<'_>) -> anyhow::Result<()> {
    sqlx::query(
        "insert into certificates (pbx, day, revision, path, sha256, ledger_number, issued_at_ms, sums, complete,
             missing) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(certified.pbx)
    .bind(certified.day.to_string())
    .bind(certified.revision)
    .bind(&certified.path)
    .bind(&certified.sha256.as_bytes()[..])
    .bind(certified.ledger_number)
    .bind(certified.at.as_millisecond())
    .bind(certified.sums)
    .bind(certified.complete)
    .bind(certified.missing)
    .execute(tx)
    .await
    .context("recording a certificate")?;
    Ok(())
}

/// `false` if somebody else did so before.
pub async fn forget_draft(tx: &mut SqliteConnection, draft: &Draft) -> anyhow::Result<bool> {
    let done = sqlx::query("delete from certificate_drafts where pbx = ? and day = ? and revision = ?")
        .bind(&draft.pbx)
        .bind(&draft.day)
        .bind(draft.revision)
        .execute(tx)
        .await
        .context("letting go of a draft")?;
    Ok(done.rows_affected() > 0)
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DaysStanding {
    /// Days that may still change.
    pub open: i64,
    pub settled: i64,
    /// Days with a certificate; one that was opened again keeps its former one until it settles again.
    pub certified: i64,
    /// Of these, those whose latest certificate says that something was not archived or in doubt.
    pub incomplete: i64,
    /// Days whose latest certificate says that its numbers do not add up, the latest first.
    pub not_summing: Vec<Date>,
    /// The latest day with a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<LatestCertificate>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LatestCertificate {
    pub day: Date,
    pub revision: i64,
    pub issued_at: Timestamp,
    pub complete: bool,
}

/// How the days of each PBX stand.
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
        of_pbx.latest = Some(latest_of(db, &pbx, &latest_day).await?);
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

async fn latest_of(db: &mut SqliteConnection, pbx: &str, day: &str) -> anyhow::Result<LatestCertificate> {
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

/// The ledger entries of the archived files of a day, by path.
pub async fn files(db: &mut SqliteConnection, pbx: &str, day: Date) -> anyhow::Result<BTreeMap<String, i64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select file.path, ledger_number from archived_files file join recordings on recordings.id = recording_id
         where pbx = ? and day = ? and kind = 'call'",
    )
    .bind(pbx)
    .bind(day.to_string())
    .fetch_all(db)
    .await
    .context("listing the entries of a day")?;
    Ok(rows.into_iter().collect())
}

/// How the audio of a day was transferred, with the number of files. Entries of version 0.1 do not say it.
pub async fn transports(
    db: &mut SqliteConnection,
    pbx: &str,
    day: Date,
) -> anyhow::Result<BTreeMap<String, i64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select coalesce(json_extract(entry, '$.transport'), 'unknown'), count(*) from archived_files file
         join recordings on recordings.id = recording_id join ledger on number = ledger_number
         where recordings.pbx = ? and recordings.day = ? and recordings.kind = 'call' group by 1",
    )
    .bind(pbx)
    .bind(day.to_string())
    .fetch_all(db)
    .await
    .context("counting how the audio of a day came")?;
    Ok(rows.into_iter().collect())
}

/// What the ledger calls a recording is computed from these.
#[derive(Debug, FromRow)]
pub struct WithoutFile {
    pub path: String,
    pub sn: String,
    pub name: Vec<u8>,
    pub salt: Vec<u8>,
    pub gap_number: Option<i64>,
}

/// The recordings of a day that are not archived, or that no row names.
pub async fn without_file(
    db: &mut SqliteConnection,
    pbx: &str,
    day: Date,
) -> anyhow::Result<Vec<WithoutFile>> {
    sqlx::query_as(
        "select path, sn, name, salt, gap_number from recordings
         where pbx = ? and day = ? and kind = 'call' and (state <> 'archived'
             or not exists (select 1 from calls where recording_id = recordings.id))",
    )
    .bind(pbx)
    .bind(day.to_string())
    .fetch_all(db)
    .await
    .context("listing the recordings of a day that have no file")
}

/// By identity in hex: the call ids, as JSON, and the starts of these calls.
pub async fn calls_named(
    db: &mut SqliteConnection,
    pbx: &str,
    day: Date,
    identities: &[&str],
) -> anyhow::Result<Vec<(String, Option<String>, Option<i64>)>> {
    if identities.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "select lower(hex(identity)) as identity_hex, row -> '$.callid', started_at_ms from calls
         where pbx = ? and day = ? and identity_hex in (select value from json_each(?))",
    )
    .bind(pbx)
    .bind(day.to_string())
    .bind(serde_json::to_string(identities)?)
    .fetch_all(db)
    .await
    .context("looking up calls of a day")
}
