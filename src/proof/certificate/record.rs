//! Certificates and drafts as the database has them. All SQL on `certificates` and `certificate_drafts`.

use anyhow::Context as _;
use jiff::{Timestamp, civil::Date};
use sqlx::SqliteConnection;

use super::document::Statement;
use super::draft::Draft;
use super::names::Names;
use crate::archive::Folder;
use crate::base::digest::Digest;
use crate::store::catalog;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::ledger::{self, Entry, EntryType};

/// A certificate that is in the archive and in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Issued {
    /// Its revision.
    pub revision: i64,
    /// The path of its JSON, relative to the archive's root.
    pub path: String,
    /// The SHA-256 of its JSON.
    pub sha256: Digest,
    /// Its entry in the ledger.
    pub ledger_number: i64,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// Recordings that were missing.
    #[serde(skip)]
    missing: i64,
}

/// A certificate as it goes into the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified<'a> {
    /// The PBX.
    pub pbx: &'a str,
    /// The day.
    pub day: Date,
    /// Its revision, from 1.
    pub revision: i64,
    /// The SHA-256 of its JSON.
    pub sha256: Digest,
    /// Its entry in the ledger.
    pub ledger_number: i64,
    /// When it was issued.
    pub at: Timestamp,
    /// Whether its numbers add up.
    pub sums: bool,
    /// Whether nothing is left to be archived or doubted.
    pub complete: bool,
    /// Recordings that were missing.
    pub missing: i64,
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

/// The days of `pbx` that settled and whose certificate is not issued, in their order. The lists of their calls are
/// written: certificates name those.
pub(super) async fn due(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<Vec<Date>> {
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

/// Whether any day of `pbx` has settled without a certificate.
pub async fn is_any_due(db: &mut SqliteConnection, pbx: &str) -> anyhow::Result<bool> {
    Ok(!due(db, pbx).await?.is_empty())
}

/// Whether a certificate of `pbx` is not all that it should be yet.
///
/// The sums of its folder leave it out, or the ledger of `published` entries that others can see does not tell of it. The
/// run that issued it died before.
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
    .context("looking for certificates that are not told of")
}

/// Whether the certificate of a day that settled `revision` times is still to be drafted.
pub(super) async fn is_due(
    tx: &mut SqliteConnection,
    pbx: &str,
    day: Date,
    revision: i64,
) -> anyhow::Result<bool> {
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

/// Keeps a draft until it is issued.
pub(super) async fn keep_draft(tx: &mut SqliteConnection, draft: &Draft) -> anyhow::Result<()> {
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

/// The draft of a day, if there is one.
pub(super) async fn draft(db: &mut SqliteConnection, pbx: &str, day: Date) -> anyhow::Result<Option<Draft>> {
    sqlx::query_as("select * from certificate_drafts where pbx = ? and day = ?")
        .bind(pbx)
        .bind(day.to_string())
        .fetch_optional(db)
        .await
        .context("reading a drafted certificate")
}

/// The folders that certificates are on their way to: a run may have died while it wrote one there.
pub async fn drafted_folders(db: &mut SqliteConnection) -> anyhow::Result<Vec<String>> {
    let drafts: Vec<(String, String)> = sqlx::query_as("select pbx, day from certificate_drafts")
        .fetch_all(db)
        .await
        .context("listing drafted certificates")?;
    drafts.iter().map(|(pbx, day)| Ok(Folder::day(pbx, day.parse()?)?.as_str().to_owned())).collect()
}

/// Records a certificate whose files are durable, in the catalog and in the ledger, and lets go of its draft. `false` if
/// somebody else did so before.
pub(super) async fn issue(
    tx: &mut SqliteConnection,
    draft: &Draft,
    files: &[(String, Digest)],
    now: Timestamp,
) -> anyhow::Result<bool> {
    if !forget_draft(tx, draft).await? {
        return Ok(false);
    }
    for (path, sha256) in files {
        catalog::record_day_file(tx, path, sha256).await?;
    }
    let (stated, former) = (draft.statement()?, latest(tx, &draft.pbx, draft.day.parse()?).await?);
    let sha256 = Digest::of(&draft.document);
    let entry = day_closed(draft, &stated, &sha256, former.as_ref(), now);
    let ledger_number = ledger::append(tx, &entry).await?;
    let (pbx, day) = (draft.pbx.as_str(), draft.day.parse()?);
    let (sums, complete, missing) = (stated.sums, stated.complete, stated.counts.missing);
    let revision = draft.revision;
    let issued = Certified { pbx, day, revision, sha256, ledger_number, at: now, sums, complete, missing };
    record(tx, &issued).await?;
    note_news(tx, draft, &stated, former.map_or(0, |former| former.missing), now).await?;
    Ok(true)
}

/// Records a certificate that the ledger tells of.
///
/// # Errors
/// The database refuses a second one of the same day and revision.
pub async fn record(tx: &mut SqliteConnection, certified: &Certified<'_>) -> anyhow::Result<()> {
    let folder = Folder::day(certified.pbx, certified.day)?;
    let names = Names { revision: certified.revision };
    sqlx::query(
        "insert into certificates (pbx, day, revision, path, sha256, ledger_number, issued_at_ms, sums, complete,
             missing) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(certified.pbx)
    .bind(certified.day.to_string())
    .bind(certified.revision)
    .bind(format!("{folder}/{}", names.document()))
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

async fn forget_draft(tx: &mut SqliteConnection, draft: &Draft) -> anyhow::Result<bool> {
    let done = sqlx::query("delete from certificate_drafts where pbx = ? and day = ? and revision = ?")
        .bind(&draft.pbx)
        .bind(&draft.day)
        .bind(draft.revision)
        .execute(tx)
        .await
        .context("letting go of a draft")?;
    Ok(done.rows_affected() > 0)
}

fn day_closed(
    draft: &Draft,
    numbers: &Statement,
    sha256: &Digest,
    former: Option<&Issued>,
    now: Timestamp,
) -> Entry {
    let mut entry = Entry::new(EntryType::DayClosed, now)
        .with("pbx", draft.pbx.as_str())
        .with("day", draft.day.as_str())
        .with("revision", draft.revision)
        .with("certificate_sha256", sha256.to_string())
        .with("listed", numbers.listed)
        .with("archived", numbers.counts.archived)
        .with("missing", numbers.counts.missing)
        .with("excluded", numbers.counts.excluded)
        .with("pending", numbers.counts.pending)
        .with("stuck", numbers.counts.stuck);
    // The page of a draft of version 0.1 has no salt: its hash would tell who guesses the names on it.
    if draft.names.is_some() {
        entry = entry.with("page_sha256", Digest::of(&draft.page).to_string());
    }
    if let Some(evidence) = &numbers.evidence {
        entry = entry.with("verdict", evidence.verdict.as_str());
    }
    match former {
        Some(former) => entry.with("former", former.ledger_number),
        None => entry,
    }
}

/// Records what a person should know about a closed day: once, and again only if more is missing than before.
async fn note_news(
    tx: &mut SqliteConnection,
    draft: &Draft,
    numbers: &Statement,
    missing_before: i64,
    now: Timestamp,
) -> anyhow::Result<()> {
    let Statement { counts, listed, sums, .. } = numbers;
    let (missing, page) = (counts.missing, format!("{}/{}", draft.folder()?, draft.names().page()));
    let accounted = counts.listed();
    let unsummed =
        format!("the PBX listed {listed} recordings, but {accounted} are accounted for; see {page}");
    let incomplete = format!(
        "{missing} of {listed} listed recordings are missing: the PBX does not have them; see {page}"
    );
    let news = [
        (FindingKind::DayDoesNotSum, !sums, !sums, unsummed),
        (FindingKind::DayIncomplete, missing > 0, missing > missing_before, incomplete),
    ];
    for (kind, holds, is_news, detail) in news {
        if is_news {
            let finding = Finding { kind, subject: draft.day.clone(), detail };
            findings::record(tx, &draft.pbx, &finding, now).await?;
        } else if !holds {
            findings::close_about(tx, &draft.pbx, kind, &draft.day, now).await?;
        }
    }
    Ok(())
}
