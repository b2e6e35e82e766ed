//! Certificates and their drafts: `certificates` and `certificate_drafts`; and what a certificate counts.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use sqlx::FromRow;

use super::{calls, db};
use crate::base::digest::Digest;
use crate::base::recording::RecordingName;
use crate::base::salt::Salt;
use crate::store::sql::{BindAll as _, Conn, Day, Fetch as _, MaybeMs, Ms, Run as _, dates};

/// A certificate in the archive and in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Issued {
    pub revision: i64,
    /// Of its JSON, relative to the archive's root.
    pub path: String,
    pub sha256: Digest,
    pub ledger_number: i64,
    #[sqlx(rename = "issued_at_ms", try_from = "Ms")]
    pub issued_at: Timestamp,
    #[serde(skip)]
    pub missing: i64,
}

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
    #[sqlx(try_from = "Day")]
    pub day: Date,
    pub revision: i64,
    pub document: String,
    pub signature: Vec<u8>,
    pub page: String,
    pub files: String,
    /// None in a draft of version 0.1.
    pub names: Option<String>,
}

pub async fn latest(db: &mut Conn, pbx: &str, day: Date) -> Result<Option<Issued>> {
    sqlx::query_as("select * from certificates where pbx = ? and day = ? order by revision desc limit 1")
        .bind_all((pbx, day))
        .maybe(db, "reading the certificate of a day")
        .await
}

/// The settled days of `pbx` without a certificate, in order, whose call lists are written: certificates name those.
pub async fn due(db: &mut Conn, pbx: &str) -> Result<Vec<Date>> {
    let days = sqlx::query_scalar(
        "select day from days where pbx = ?1 and state = 'settled'
             and not exists (select 1 from certificates issued
                 where issued.pbx = ?1 and issued.day = days.day and issued.revision >= days.revision)
             and not exists (select 1 from calls
                 where calls.pbx = ?1 and calls.day = days.day and told_version is not version)
         union select day from certificate_drafts where pbx = ?1 order by day",
    )
    .bind(pbx)
    .all(db, "listing days without a certificate")
    .await?;
    Ok(dates(days))
}

/// Whether the sums of its folder, or the ledger of `published` entries, lack a certificate of `pbx`: the run that issued it
/// ended too early.
pub async fn is_any_unpublished(db: &mut Conn, pbx: &str, published: u64) -> Result<bool> {
    sqlx::query_scalar(
        "select exists (select 1 from certificates where pbx = ?1 and ledger_number >= ?2)
             or exists (select 1 from day_folders
                 join day_files on day_files.folder = day_folders.folder
                 join certificates on certificates.path = day_files.path
                 where changed > written and pbx = ?1)",
    )
    .bind_all((pbx, published))
    .one(db, "looking for certificates that are not published")
    .await
}

/// Whether the certificate of a day that settled `revision` times is still to be drafted.
pub async fn is_due(tx: &mut Conn, pbx: &str, day: Date, revision: i64) -> Result<bool> {
    sqlx::query_scalar(
        "select not exists (select 1 from certificates where pbx = ?1 and day = ?2 and revision >= ?3)
             and not exists (select 1 from certificate_drafts where pbx = ?1 and day = ?2)",
    )
    .bind_all((pbx, day, revision))
    .one(tx, "looking for a certificate")
    .await
}

pub async fn keep_draft(tx: &mut Conn, draft: &Draft) -> Result<()> {
    sqlx::query(
        "insert into certificate_drafts (pbx, day, revision, document, signature, page, files, names)
         values (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind_all((&draft.pbx, draft.day, draft.revision, &draft.document, &draft.signature, &draft.page))
    .bind_all((&draft.files, &draft.names))
    .run(tx, "drafting a certificate")
    .await
}

pub async fn draft(db: &mut Conn, pbx: &str, day: Date) -> Result<Option<Draft>> {
    sqlx::query_as("select * from certificate_drafts where pbx = ? and day = ?")
        .bind_all((pbx, day))
        .maybe(db, "reading a drafted certificate")
        .await
}

pub async fn drafted(db: &mut Conn) -> Result<Vec<(String, String)>> {
    sqlx::query_as("select pbx, day from certificate_drafts").all(db, "listing drafted certificates").await
}

/// Records an issued certificate.
///
/// # Errors
/// The database refuses a second one of the same day and revision.
pub async fn record(tx: &mut Conn, certified: &Certified<'_>) -> Result<()> {
    sqlx::query(
        "insert into certificates (pbx, day, revision, path, sha256, ledger_number, issued_at_ms, sums, complete,
             missing) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind_all((certified.pbx, certified.day, certified.revision, &certified.path, &certified.sha256))
    .bind_all((certified.ledger_number, certified.at, certified.sums, certified.complete))
    .bind_all((certified.missing,))
    .run(tx, "recording a certificate").await
}

/// `false` if somebody else did so before.
pub async fn forget_draft(tx: &mut Conn, draft: &Draft) -> Result<bool> {
    sqlx::query("delete from certificate_drafts where pbx = ? and day = ? and revision = ?")
        .bind_all((&draft.pbx, draft.day, draft.revision))
        .changed(tx, "letting go of a draft")
        .await
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<LatestCertificate>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct LatestCertificate {
    #[sqlx(try_from = "Day")]
    pub day: Date,
    pub revision: i64,
    #[sqlx(rename = "issued_at_ms", try_from = "Ms")]
    pub issued_at: Timestamp,
    pub complete: bool,
}

pub async fn standing(db: &mut Conn) -> Result<BTreeMap<String, DaysStanding>> {
    let mut standing: BTreeMap<String, DaysStanding> = BTreeMap::new();
    for (pbx, open, settled) in calls::days_by_state(db).await? {
        standing.insert(pbx, DaysStanding { open, settled, ..DaysStanding::default() });
    }
    if !db::has_table(db, "certificates").await? {
        return Ok(standing);
    }
    let certified: Vec<(String, i64)> =
        sqlx::query_as("select pbx, count(distinct day) from certificates group by pbx")
            .all(db, "counting certificates")
            .await?;
    for (pbx, certified) in certified {
        let latest = sqlx::query_as(
            "select * from certificates where pbx = ? order by day desc, revision desc limit 1",
        );
        let latest = latest.bind(&pbx).maybe(db, "reading the latest certificate").await?;
        let of_pbx = standing.entry(pbx).or_default();
        (of_pbx.certified, of_pbx.latest) = (certified, latest);
    }
    let incomplete: Vec<(String, Day, bool)> = sqlx::query_as(
        "select pbx, day, sums from certificates issued where complete = 0 and not exists
             (select 1 from certificates later where later.pbx = issued.pbx and later.day = issued.day
                  and later.revision > issued.revision)
         order by pbx, day desc",
    )
    .all(db, "listing incomplete days")
    .await?;
    for (pbx, Day(day), sums) in incomplete {
        let of_pbx = standing.entry(pbx).or_default();
        of_pbx.incomplete += 1;
        if !sums {
            of_pbx.not_summing.push(day);
        }
    }
    Ok(standing)
}

/// The ledger entries of the archived files of a day, by path.
pub async fn files(db: &mut Conn, pbx: &str, day: Date) -> Result<BTreeMap<String, i64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select file.path, ledger_number from archived_files file join recordings on recordings.id = recording_id
         where pbx = ? and day = ? and kind = 'call'",
    )
    .bind_all((pbx, day))
    .all(db, "listing the entries of a day").await?;
    Ok(rows.into_iter().collect())
}

/// How the audio of a day was transferred, with the number of files. Entries of version 0.1 do not say it.
pub async fn transports(db: &mut Conn, pbx: &str, day: Date) -> Result<BTreeMap<String, i64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select coalesce(json_extract(entry, '$.transport'), 'unknown'), count(*) from archived_files file
         join recordings on recordings.id = recording_id join ledger on number = ledger_number
         where recordings.pbx = ? and recordings.day = ? and recordings.kind = 'call' group by 1",
    )
    .bind_all((pbx, day))
    .all(db, "counting how the audio of a day came")
    .await?;
    Ok(rows.into_iter().collect())
}

/// What the ledger calls a recording is computed from these.
#[derive(Debug, FromRow)]
pub struct WithoutFile {
    pub path: String,
    pub sn: String,
    pub name: RecordingName,
    pub salt: Salt,
    pub gap_number: Option<i64>,
}

pub async fn without_file(db: &mut Conn, pbx: &str, day: Date) -> Result<Vec<WithoutFile>> {
    sqlx::query_as(
        "select path, sn, name, salt, gap_number from recordings
         where pbx = ? and day = ? and kind = 'call' and (state <> 'archived'
             or not exists (select 1 from calls where recording_id = recordings.id))",
    )
    .bind_all((pbx, day))
    .all(db, "listing the recordings of a day that have no file")
    .await
}

/// By identity in hex: the call ids, as JSON, and the starts of these calls.
pub async fn calls_named(
    db: &mut Conn,
    pbx: &str,
    day: Date,
    identities: &[&str],
) -> Result<Vec<(String, Option<String>, MaybeMs)>> {
    if identities.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "select lower(hex(identity)) as identity_hex, row -> '$.callid', started_at_ms from calls
         where pbx = ? and day = ? and identity_hex in (select value from json_each(?))",
    )
    .bind_all((pbx, day, serde_json::to_string(identities)?))
    .all(db, "looking up calls of a day")
    .await
}
