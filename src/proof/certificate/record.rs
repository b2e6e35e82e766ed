//! Issuing: the catalog, the ledger, the certificate and its findings change in one transaction.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::document::Statement;
use super::names::Names;
use crate::archive::Folder;
use crate::base::digest::Digest;
use crate::store::catalog;
use crate::store::certificates::{self, Certified, Draft, Issued};
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::ledger::{self, Entry, EntryType};

/// The folders that certificates are on their way to: a run may have died while it wrote one there.
pub async fn drafted_folders(db: &mut SqliteConnection) -> anyhow::Result<Vec<String>> {
    let drafts = certificates::drafted(db).await?;
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
    if !certificates::forget_draft(tx, draft).await? {
        return Ok(false);
    }
    for (path, sha256) in files {
        catalog::record_day_file(tx, path, sha256).await?;
    }
    let (stated, former) =
        (draft.statement()?, certificates::latest(tx, &draft.pbx, draft.day.parse()?).await?);
    let sha256 = Digest::of(&draft.document);
    let entry = day_closed(draft, &stated, &sha256, former.as_ref(), now);
    let ledger_number = ledger::append(tx, &entry).await?;
    let (pbx, day) = (draft.pbx.as_str(), draft.day.parse()?);
    let (sums, complete, missing) = (stated.sums, stated.complete, stated.counts.missing);
    let (revision, path) = (draft.revision, Names { revision: draft.revision }.path(pbx, day)?);
    let issued =
        Certified { pbx, day, revision, path, sha256, ledger_number, at: now, sums, complete, missing };
    certificates::record(tx, &issued).await?;
    note_news(tx, draft, &stated, former.map_or(0, |former| former.missing), now).await?;
    Ok(true)
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
    // The page of a draft of version 0.1 has no salt: its hash would confirm a guess of the names on it.
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
