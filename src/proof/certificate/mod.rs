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
mod document;
mod page;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use sqlx::Connection as _;
use tracing::{info, warn};

pub use companion::{SCHEMA as NAMES_SCHEMA, list_of};
pub use document::{Companion, Names, SCHEMA, Statement};

use crate::archive::{Archive, ArchiveError, Folder, Key, Reaction};
use crate::base::blocking::blocking;
use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::config::PbxConfig;
use crate::formats::sums;
use crate::proof::notary::{Notary, NotaryError};
use crate::proof::reconcile::{self, DayAccount};
use crate::store::certificates::{self, Certified, Draft, Issued};
use crate::store::db::Db;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::ledger::{self, Entry, EntryType, REBUILT, RebuiltOn};
use crate::store::sql::Conn;
use crate::store::{calls, catalog, fleet};
use companion::Counted;
use document::{Document, Facts, whole_ms};

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
    pub async fn issue_due(&self, pbx: &PbxConfig) -> Result<u64> {
        let due = certificates::due(&mut *self.db.read().await?, &pbx.id).await?;
        if due.is_empty() {
            return Ok(0);
        }
        match self.notary.seal(self.clock.now()).await {
            // Sealing reports why the ledger cannot be signed.
            Err(error) if error.is::<NotaryError>() => return Ok(0),
            sealed => sealed?,
        };
        let mut outcome = Ok(0);
        for day in due {
            let issued = self.issue(pbx, day).await;
            let is_everybodys = issued.as_ref().is_err_and(concerns_all);
            outcome = outcome.and_then(|count| issued.map(|issued| count + u64::from(issued)));
            if is_everybodys {
                break;
            }
        }
        outcome
    }

    /// Issues the certificate of a day; whether this call issued one. Of several that do so at once, one does.
    async fn issue(&self, pbx: &PbxConfig, day: Date) -> Result<bool> {
        let (archive, id, bytes_min) = (self.archive.clone(), pbx.id.clone(), self.free_bytes_min);
        blocking(move || archive.check_space(&id, bytes_min)).await?;
        // A draft of an earlier run comes first: it may be of an older revision of the day.
        let mut is_issued = self.publish_draft(pbx, day).await?;
        if self.draft(pbx, day).await? {
            is_issued |= self.publish_draft(pbx, day).await?;
        }
        Ok(is_issued)
    }

    async fn publish_draft(&self, pbx: &PbxConfig, day: Date) -> Result<bool> {
        match certificates::draft(&mut *self.db.read().await?, &pbx.id, day).await? {
            Some(draft) => self.publish(draft).await,
            None => Ok(false),
        }
    }

    /// Puts the files of a draft into the archive, then records them. After a crash between any two of these steps the draft
    /// is still there, and leads to the same files. `false` if another call has recorded it.
    async fn publish(&self, draft: Draft) -> Result<bool> {
        let (archive, draft) = (self.archive.clone(), Arc::new(draft));
        let (put, unit, now) = (draft.clone(), draft.clone(), self.clock.now());
        let files = blocking(move || put_files(&archive, &put)).await?;
        let is_news = self.db.write(async move |tx| unit.issue(tx, &files, now).await).await?;
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
        Ok(is_news)
    }

    /// Drafts the certificate of a day; `false` if the day no longer needs one.
    async fn draft(&self, pbx: &PbxConfig, day: Date) -> Result<bool> {
        let facts = self.read(pbx, day).await?;
        let Some(settled_at) = facts.row.settled_at_ms else { return Ok(false) };
        let names = self.free_names(&facts.folder, facts.row.revision).await?;
        // None if the key was rotated in that moment; the next try uses the new one.
        let Some(draft) = self.write_down(pbx, names, &facts).await? else { return Ok(false) };
        let revision = facts.row.revision;
        self.db
            .write(async move |tx| {
                let of = (revision, draft.revision);
                let holds = certificates::is_due(tx, &draft.pbx, day, revision).await?
                    && calls::hold_settled(tx, &draft.pbx, day, settled_at, of).await?;
                if holds {
                    certificates::keep_draft(tx, &draft).await?;
                }
                Ok(holds)
            })
            .await
    }

    async fn read(&self, pbx: &PbxConfig, day: Date) -> Result<Facts> {
        let folder = Folder::day(&pbx.id, day)?;
        let mut connection = self.db.read().await?;
        let mut moment = connection.begin().await.context("reading a day")?;
        let account = reconcile::account(&mut moment, &pbx.id, day, LISTED_MAX).await?;
        let mut files = catalog::files_of_day(&mut moment, &pbx.id, day, folder.as_str()).await?;
        files.sort_unstable();
        files.dedup();
        let facts = Facts {
            folder,
            row: calls::day_row(&mut moment, &pbx.id, day).await?,
            counted: Counted::read(&mut moment, &pbx.id, &account).await?,
            account,
            ledger_size: ledger::size(&mut moment).await?,
            rebuilt: rebuilt(&mut moment).await?,
            sn: fleet::remembered(&mut moment, &pbx.id).await?.sn.unwrap_or_default(),
            former: certificates::latest(&mut moment, &pbx.id, day).await?,
            files,
        };
        moment.rollback().await.context("reading a day")?;
        Ok(facts)
    }

    /// The names of the first free revision from `revision` on. Taken ones are of a history that this state has forgotten, or
    /// not ours: neither is touched.
    async fn free_names(&self, folder: &Folder, revision: i64) -> Result<Names> {
        let (archive, folder) = (self.archive.clone(), folder.clone());
        let search = move || {
            let mut names = Names { revision };
            while names.revision < revision + REVISIONS_TRIED_MAX {
                let files = names.all().map(|name| Key::from(&folder).join(name.as_bytes()));
                let taken = files.iter().map(|file| archive.is_taken(file)).collect::<Result<Vec<_>, _>>()?;
                if !taken.contains(&true) {
                    break;
                }
                names.revision += 1;
            }
            Ok::<_, ArchiveError>(names)
        };
        blocking(search).await
    }

    async fn write_down(&self, pbx: &PbxConfig, names: Names, facts: &Facts) -> Result<Option<Draft>> {
        let key = self.notary.key().await;
        let account = DayAccount { revision: names.revision, ..facts.account.clone() };
        let files = sums::to_text(&facts.files)?;
        let named = companion::of(&pbx.id, &facts.files, &account, &facts.counted);
        let document = Document {
            pbx,
            facts,
            account: &facts.counted.shown(&account),
            counted_at: whole_ms(self.clock.now()),
            names,
            companion: Companion::new(format!("{}/{}", facts.folder, names.companion()), &named),
            key: &key,
        };
        let text = document.to_canonical_json();
        let signature = self.notary.sign(text.as_bytes()).await;
        Ok(key.verifies(text.as_bytes(), &signature).then(|| Draft {
            pbx: pbx.id.clone(),
            day: account.day,
            revision: names.revision,
            page: page::of(&document, &text, &named),
            document: text,
            signature: signature.to_vec(),
            files,
            names: Some(named),
        }))
    }
}

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

const REVISIONS_TRIED_MAX: i64 = 10_000;

impl Draft {
    fn names(&self) -> Names {
        Names { revision: self.revision }
    }

    fn folder(&self) -> Result<Folder, ArchiveError> {
        Folder::day(&self.pbx, self.day)
    }

    fn statement(&self) -> Result<Statement> {
        Statement::read(self.document.as_bytes()).context("reading a drafted certificate again")
    }

    /// Records the certificate, whose files are durable, and removes its draft. `false` if somebody else did so before.
    async fn issue(&self, tx: &mut Conn, files: &[(String, Digest)], now: Timestamp) -> Result<bool> {
        if !certificates::forget_draft(tx, self).await? {
            return Ok(false);
        }
        for (path, sha256) in files {
            catalog::record_day_file(tx, path, sha256).await?;
        }
        let stated = self.statement()?;
        let former = certificates::latest(tx, &self.pbx, self.day).await?;
        let ledger_number = ledger::append(tx, &self.entry(&stated, former.as_ref(), now)).await?;
        let issued = Certified {
            pbx: &self.pbx,
            day: self.day,
            revision: self.revision,
            path: self.names().path(&self.pbx, self.day)?,
            sha256: Digest::of(&self.document),
            ledger_number,
            at: now,
            sums: stated.sums,
            complete: stated.complete,
            missing: stated.counts.missing,
        };
        certificates::record(tx, &issued).await?;
        self.note_news(tx, &stated, former.map_or(0, |former| former.missing), now).await?;
        Ok(true)
    }

    /// The entry `day_closed`.
    fn entry(&self, stated: &Statement, former: Option<&Issued>, now: Timestamp) -> Entry {
        // The page of a draft of version 0.1 has no salt: its hash would confirm a guess of the names on it.
        let page = self.names.as_ref().map(|_| Digest::of(&self.page).to_string());
        Entry::new(EntryType::DayClosed, now)
            .with("pbx", self.pbx.as_str())
            .with("day", self.day.to_string())
            .with("revision", self.revision)
            .with("certificate_sha256", Digest::of(&self.document).to_string())
            .with("listed", stated.listed)
            .with("archived", stated.counts.archived)
            .with("missing", stated.counts.missing)
            .with("excluded", stated.counts.excluded)
            .with("pending", stated.counts.pending)
            .with("stuck", stated.counts.stuck)
            .with_some("page_sha256", page)
            .with_some("verdict", stated.evidence.as_ref().map(|evidence| evidence.verdict.as_str()))
            .with_some("former", former.map(|former| former.ledger_number))
    }

    /// Records what a person should know about a closed day: once, and again only if more is missing than `before`.
    async fn note_news(&self, tx: &mut Conn, stated: &Statement, before: i64, now: Timestamp) -> Result<()> {
        let Statement { counts, listed, sums, .. } = stated;
        let (day, page) = (self.day.to_string(), format!("{}/{}", self.folder()?, self.names().page()));
        let (missing, accounted) = (counts.missing, counts.listed());
        let unsummed =
            format!("the PBX listed {listed} recordings, but {accounted} are accounted for; see {page}");
        let incomplete = format!(
            "{missing} of {listed} listed recordings are missing: the PBX does not have them; see {page}"
        );
        let news = [
            (FindingKind::DayDoesNotSum, !sums, !sums, unsummed),
            (FindingKind::DayIncomplete, missing > 0, missing > before, incomplete),
        ];
        for (kind, holds, is_news, detail) in news {
            if is_news {
                let finding = Finding { kind, subject: day.clone(), detail };
                findings::record(tx, &self.pbx, &finding, now).await?;
            } else if !holds {
                findings::close_about(tx, &self.pbx, kind, &day, now).await?;
            }
        }
        Ok(())
    }
}

async fn rebuilt(db: &mut Conn) -> Result<Vec<RebuiltOn>> {
    let kept = fleet::meta(db, REBUILT).await?;
    kept.map_or(Ok(Vec::new()), |json| serde_json::from_str(&json).context("reading what a rebuild rests on"))
}

/// The folders that certificates are on their way to: a run may have died while it wrote one there.
pub async fn drafted_folders(db: &mut Conn) -> Result<Vec<String>> {
    let drafts = certificates::drafted(db).await?;
    drafts.iter().map(|(pbx, day)| Ok(Folder::day(pbx, day.parse()?)?.as_str().to_owned())).collect()
}
