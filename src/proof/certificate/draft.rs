//! Drafts a certificate: reads a day's account at one moment, signs it, and keeps it until its files are in the archive.

use anyhow::Context as _;
use jiff::civil::Date;
use sqlx::{Connection as _, SqliteConnection};

use super::counted::Counted;
use super::document::{
    Companion, Document, Files, Former, Numbers, Pbx, Program, SCHEMA, Statement, key_name, whole_ms,
};
use super::names::Names;
use super::{Issuer, LISTED_MAX, companion, page};
use crate::archive::{ArchiveError, Folder, Key};
use crate::base::blocking::blocking;
use crate::base::digest::Digest;
use crate::config::PbxConfig;
use crate::formats::sums;
use crate::proof::reconcile::{self, DayAccount};
use crate::store::calls;
use crate::store::calls::DayRow;
use crate::store::catalog;
use crate::store::certificates::{self, Draft};
use crate::store::fleet;
use crate::store::ledger;
use crate::store::ledger::{REBUILT, RebuiltOn};

const REVISIONS_TRIED_MAX: i64 = 10_000;

impl Draft {
    pub(super) fn names(&self) -> Names {
        Names { revision: self.revision }
    }

    pub(super) fn folder(&self) -> Result<Folder, ArchiveError> {
        Folder::parse(&format!("{}/{}", self.pbx, self.day.replace('-', "/")))
    }

    pub(super) fn statement(&self) -> anyhow::Result<Statement> {
        Statement::read(self.document.as_bytes()).context("reading a drafted certificate again")
    }
}

/// What a certificate is written from, read at one moment.
struct Facts {
    row: DayRow,
    account: DayAccount,
    ledger_size: u64,
    rebuilt: Vec<RebuiltOn>,
    sn: String,
    former: Option<Former>,
    counted: Counted,
    /// All counted files, by name.
    files: Vec<(String, Digest)>,
}

impl Issuer<'_> {
    /// Drafts the certificate of a day; `false` if the day no longer needs one.
    pub(super) async fn draft(&self, pbx: &PbxConfig, day: Date) -> anyhow::Result<bool> {
        let folder = Folder::day(&pbx.id, day)?;
        let facts = self.read(pbx, day, &folder).await?;
        let Some(settled_at) = facts.row.settled_at_ms else { return Ok(false) };
        let names = self.free_names(&folder, facts.row.revision).await?;
        // None if the key was rotated in that moment; the next try uses the new one.
        let Some(draft) = self.write_down(pbx, &folder, names, &facts).await? else { return Ok(false) };
        let revision = facts.row.revision;
        self.db
            .write(async move |tx| {
                let (pbx, of) = (draft.pbx.clone(), (revision, draft.revision));
                let holds = certificates::is_due(tx, &pbx, day, revision).await?
                    && calls::hold_settled(tx, &pbx, day, settled_at, of).await?;
                if holds {
                    certificates::keep_draft(tx, &draft).await?;
                }
                Ok(holds)
            })
            .await
    }

    async fn read(&self, pbx: &PbxConfig, day: Date, folder: &Folder) -> anyhow::Result<Facts> {
        let mut connection = self.db.read().await?;
        let mut moment = connection.begin().await.context("reading a day")?;
        let account = reconcile::account(&mut moment, &pbx.id, day, LISTED_MAX).await?;
        let mut files = catalog::files_of_day(&mut moment, &pbx.id, day, folder.as_str()).await?;
        files.sort_unstable();
        files.dedup();
        let facts = Facts {
            row: calls::day_row(&mut moment, &pbx.id, day).await?,
            counted: Counted::read(&mut moment, &pbx.id, &account).await?,
            account,
            ledger_size: ledger::size(&mut moment).await?,
            rebuilt: rebuilt(&mut moment).await?,
            sn: fleet::remembered(&mut moment, &pbx.id).await?.sn.unwrap_or_default(),
            former: certificates::latest(&mut moment, &pbx.id, day).await?.map(Former::from),
            files,
        };
        moment.rollback().await.context("reading a day")?;
        Ok(facts)
    }

    /// The names of the first free revision from `revision` on. Taken ones are of a history that this state has forgotten, or
    /// not ours: neither is touched.
    async fn free_names(&self, folder: &Folder, revision: i64) -> anyhow::Result<Names> {
        let (archive, folder) = (self.archive.clone(), folder.clone());
        let search = move || {
            for revision in revision..revision + REVISIONS_TRIED_MAX {
                let names = Names { revision };
                let mut is_taken = false;
                for name in names.all() {
                    is_taken |= archive.is_taken(&Key::from(&folder).join(name.as_bytes()))?;
                }
                if !is_taken {
                    return Ok(names);
                }
            }
            Ok::<_, ArchiveError>(Names { revision: revision + REVISIONS_TRIED_MAX })
        };
        blocking(search).await
    }

    async fn write_down(
        &self,
        pbx: &PbxConfig,
        folder: &Folder,
        names: Names,
        facts: &Facts,
    ) -> anyhow::Result<Option<Draft>> {
        let key = self.notary.key().await;
        let account = DayAccount { revision: names.revision, ..facts.account.clone() };
        let files = sums::to_text(&facts.files)?;
        let named = companion::of(&pbx.id, &facts.files, &account, &facts.counted);
        let document = Document {
            schema: SCHEMA,
            pbx: Pbx { id: &pbx.id, sn: &facts.sn },
            timezone: pbx.timezone.as_ref().and_then(|zone| zone.iana_name()).map(str::to_owned),
            numbers: Numbers::of(&account, &facts.counted),
            counted_at: whole_ms(self.clock.now()),
            ledger_size: facts.ledger_size,
            rebuilt: facts.rebuilt.clone(),
            names: Companion::new(format!("{folder}/{}", names.companion()), &named),
            files: Files { count: facts.files.len(), list: format!("{folder}/{}", names.files()) },
            former: facts.former.clone(),
            key: key_name(&key),
            program: Program::OURS,
            account: &facts.counted.shown(&account),
        };
        let text = document.to_canonical_json();
        let signature = self.notary.sign(text.as_bytes()).await;
        Ok(key.verifies(text.as_bytes(), &signature).then(|| Draft {
            pbx: pbx.id.clone(),
            day: account.day.to_string(),
            revision: names.revision,
            page: page::of(&document, &text, names, &key, &named),
            document: text,
            signature: signature.to_vec(),
            files,
            names: Some(named),
        }))
    }
}

async fn rebuilt(db: &mut SqliteConnection) -> anyhow::Result<Vec<RebuiltOn>> {
    let kept = fleet::meta(db, REBUILT).await?;
    kept.map_or(Ok(Vec::new()), |json| serde_json::from_str(&json).context("reading what a rebuild rests on"))
}
