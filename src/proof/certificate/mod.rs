//! Certificates of completeness: what a settled day came to, signed.
//!
//! ```text
//! account of the day ──► document ──► signature, page ──► draft in the database
//!                                                             │ files, each durable
//!                                                             ▼
//!                    one transaction: day files, certificate, `day_closed` in the ledger; the draft goes
//! ```
//! What is signed names nobody: recordings by entries and commitments, all else by counts. What names people stands in two
//! companions, the salted lines of names, whose root is signed, and the page, whose hash is in the ledger.
//!
//! A draft holds the exact bytes of all files, so whoever finds one after a crash comes to the same files. A day that
//! changes is opened again and gets another certificate, of the next revision, which names the former one.

mod companion;
mod counted;
mod document;
mod draft;
mod names;
mod page;
mod record;

use std::sync::Arc;

use jiff::civil::Date;
use tracing::{info, warn};

pub use companion::{SCHEMA as NAMES_SCHEMA, list_of};
pub use document::{Companion, SCHEMA, Statement};
pub use names::Names;
pub use record::drafted_folders;

use crate::archive::{Archive, ArchiveError, Key, Reaction};
use crate::base::blocking::blocking;
use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::config::PbxConfig;
use crate::proof::notary::{Notary, NotaryError};
use crate::store::certificates::{self, Draft};
use crate::store::db::Db;

/// Entries of each list of a certificate; all are counted.
const LISTED_MAX: i64 = 10_000;

#[derive(Debug, Clone, Copy)]
pub struct Issuer<'a> {
    pub db: &'a Db,
    pub archive: &'a Arc<Archive>,
    pub notary: &'a Notary,
    pub clock: &'a Clock,
    /// Room on the archive's filesystem that certificates leave to recordings.
    pub free_bytes_min: u64,
}

impl Issuer<'_> {
    /// Issues a certificate for each day of `pbx` that settled without one, and returns how many.
    ///
    /// Nothing is issued while the ledger cannot be signed: a state restored from an older copy would certify again what it
    /// has forgotten. Nor while the archive is short of room: a certificate can wait, a recording cannot. A failure of one
    /// day does not stop the others, unless it concerns the whole archive; the first failure is returned at the end.
    ///
    /// # Errors
    /// [`ArchiveError`] for what an operator can solve; the rest is the database's.
    pub async fn issue_due(&self, pbx: &PbxConfig) -> anyhow::Result<u64> {
        let due = certificates::due(&mut *self.db.read().await?, &pbx.id).await?;
        if due.is_empty() {
            return Ok(0);
        }
        if !self.may_sign().await? {
            return Ok(0);
        }
        let mut outcome = Ok(0);
        for day in due {
            let issued = self.issue(pbx, day).await;
            let is_everybodys = issued.as_ref().is_err_and(concerns_all);
            outcome = match (outcome, issued) {
                (Ok(count), Ok(issued)) => Ok(count + u64::from(issued)),
                (Ok(_), Err(error)) | (Err(error), _) => Err(error),
            };
            if is_everybodys {
                break;
            }
        }
        outcome
    }

    /// Whether the ledger can be signed. Sealing reports why not.
    async fn may_sign(&self) -> anyhow::Result<bool> {
        match self.notary.seal(self.clock.now()).await {
            Err(error) if error.is::<NotaryError>() => Ok(false),
            sealed => sealed.map(|_| true),
        }
    }

    /// Issues the certificate of a day; `false` if there was nothing to certify.
    async fn issue(&self, pbx: &PbxConfig, day: Date) -> anyhow::Result<bool> {
        self.check_space(&pbx.id).await?;
        // A draft of an earlier run comes first: it may be of an older revision of the day.
        if let Some(draft) = certificates::draft(&mut *self.db.read().await?, &pbx.id, day).await? {
            self.publish(draft).await?;
        }
        if !self.draft(pbx, day).await? {
            return Ok(false);
        }
        match certificates::draft(&mut *self.db.read().await?, &pbx.id, day).await? {
            Some(draft) => self.publish(draft).await.map(|()| true),
            None => Ok(false),
        }
    }

    async fn check_space(&self, pbx: &str) -> anyhow::Result<()> {
        let (archive, pbx, min) = (self.archive.clone(), pbx.to_owned(), self.free_bytes_min);
        let check = blocking(move || archive.check_space(&pbx, min));
        check.await
    }

    /// Puts the files of a draft into the archive, then records them. After a crash between any two of these steps the draft
    /// is still there, and leads to the same files.
    async fn publish(&self, draft: Draft) -> anyhow::Result<()> {
        let (archive, draft) = (self.archive.clone(), Arc::new(draft));
        let files = blocking({
            let draft = draft.clone();
            move || put_files(&archive, &draft)
        });
        let files = files.await?;
        let (unit, now) = (draft.clone(), self.clock.now());
        let is_news = self.db.write(async move |tx| record::issue(tx, &unit, &files, now).await).await?;
        if is_news {
            let Draft { pbx, day, revision, .. } = &*draft;
            match draft.statement()?.complete {
                true => info!(pbx, "Pbx `{pbx}`: {day} is complete and certified (revision {revision})"),
                false => warn!(
                    pbx,
                    "Pbx `{pbx}`: {day} is certified as not complete (revision {revision}); see `callvault reconcile --pbx \
                     {pbx} --from {day} --to {day}`"
                ),
            }
        }
        Ok(())
    }
}

/// Whether a failure concerns more than one day.
fn concerns_all(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ArchiveError>().is_none_or(|error| error.reaction() != Reaction::Retry)
}

/// Each file is complete and durable on return; an existing one is left as it is.
fn put_files(archive: &Archive, draft: &Draft) -> Result<Vec<(String, Digest)>, ArchiveError> {
    let (folder, names) = (draft.folder()?, draft.names());
    let mut files: Vec<(String, &[u8])> = vec![(names.files(), draft.files.as_bytes())];
    // A draft of version 0.1 has none.
    files.extend(draft.names.as_ref().map(|text| (names.companion(), text.as_bytes())));
    files.push((names.document(), draft.document.as_bytes()));
    files.push((names.signature(), &draft.signature));
    files.push((names.page(), draft.page.as_bytes()));
    let mut put = Vec::with_capacity(files.len());
    for (name, bytes) in files {
        archive.put(&Key::from(&folder).join(name.as_bytes()), bytes)?;
        put.push((format!("{folder}/{name}"), Digest::of(bytes)));
    }
    Ok(put)
}
