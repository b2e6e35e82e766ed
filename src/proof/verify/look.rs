//! The look: every folder is listed and compared with what it should hold. Only what looks wrong is read, and certificates:
//! they are what people are given, and small.

use std::collections::BTreeSet;

use anyhow::Context as _;

use super::compare::{Compared, compare};
use super::damage::{Class, Damage, Thing};
use super::judge::Subject;
use super::progress::Phase;
use super::settle::{Tally, settle};
use super::{Scope, Tools, marker, read, stray};
use crate::archive::{ArchiveError, Key, Listing};
use crate::base::blocking::on_thread;
use crate::store::fixity::{self, Account, What};

const SUSPECTS_PER_PAGE: usize = 256;

struct Rounds {
    pbx: String,
    /// Folders that should hold something, and were not looked at yet.
    expected: BTreeSet<String>,
    /// Folders that are there, and were not looked at yet.
    waiting: Vec<Vec<u8>>,
    suspects: Vec<Subject>,
    strays: Vec<Key>,
}

/// Looks at everything of these PBXs, and at what is there besides.
pub(super) async fn look_at(tools: &Tools<'_>, tally: &mut Tally, pbxs: &[String]) -> anyhow::Result<()> {
    let extent = fixity::extent(&mut *tools.vault.state.db.read().await?, pbxs).await?;
    tools.progress.begin(Phase::Looking, u64::try_from(extent.units).unwrap_or(0), 0);
    for pbx in pbxs {
        tools.vault.archive.check_place(pbx)?;
        marker::check(tools, tally, pbx).await?;
        look_at_pbx(tools, tally, pbx).await?;
    }
    Ok(())
}

async fn look_at_pbx(tools: &Tools<'_>, tally: &mut Tally, pbx: &str) -> anyhow::Result<()> {
    let expected = fixity::folders(&mut *tools.vault.state.db.read().await?, pbx).await?;
    let mut rounds = Rounds {
        pbx: pbx.to_owned(),
        expected: expected.into_iter().collect(),
        waiting: vec![pbx.into()],
        suspects: Vec::new(),
        strays: Vec::new(),
    };
    while let Some(folder) = rounds.next() {
        if tools.budget.is_stopped() {
            tally.report.whole = false;
            return Ok(());
        }
        look_into(tools, tally, &mut rounds, folder).await?;
        if rounds.suspects.len() >= SUSPECTS_PER_PAGE {
            judge_suspects(tools, tally, &mut rounds).await?;
        }
    }
    judge_suspects(tools, tally, &mut rounds).await?;
    stray::judge_strays(tools, tally, pbx, rounds.strays).await
}

impl Rounds {
    /// The next folder: first those that are there, then those that should be.
    fn next(&mut self) -> Option<Vec<u8>> {
        let Some(folder) = self.waiting.pop() else { return self.expected.pop_first().map(Into::into) };
        if let Ok(path) = std::str::from_utf8(&folder) {
            self.expected.remove(path);
        }
        Some(folder)
    }
}

async fn look_into(
    tools: &Tools<'_>,
    tally: &mut Tally,
    rounds: &mut Rounds,
    folder: Vec<u8>,
) -> anyhow::Result<()> {
    let (folder, listing) = match list(tools, &folder).await? {
        Ok(listed) => listed,
        Err(error) => {
            let damage = Damage::new(Class::Unreadable, Thing::Stray, &rounds.pbx, folder);
            return tally.keep(tools, vec![damage.told("a folder", error.to_string())]).await;
        }
    };
    // After the listing: what the account of then lacks, and the listing has, was there before it was archived.
    let account = match folder.as_str() {
        Some(path) => fixity::account(&mut *tools.vault.state.db.read().await?, path).await?,
        None => Account::default(),
    };
    let Compared { suspects, strays, folders, files } = compare(&folder, &listing, &account);
    if tools.scope == Scope::Quick {
        tally.report.files += files;
    }
    let units = account.files.len() + usize::from(account.documents.is_some());
    tools.progress.change(|now| now.units += units as u64);
    // A full verification reads them anyway, and what is suspect is read whole.
    if let Some((unit, documents)) = &account.documents
        && tools.scope == Scope::Quick
        && suspects.iter().all(|suspect| suspect.id != unit.id)
    {
        rounds.suspects.extend(Subject::certificates_of(unit, documents));
    }
    let documents = account.documents.map(|(_, documents)| documents);
    rounds.suspects.extend(suspects.into_iter().map(|unit| {
        let documents = documents.clone().filter(|_| matches!(unit.what, What::Documents(_)));
        Subject { unit, documents, is_partial: false }
    }));
    rounds.strays.extend(strays);
    rounds.waiting.extend(folders.iter().map(|folder| folder.as_bytes().to_vec()));
    Ok(())
}

/// What stands in a folder; nothing if it is gone. The inner error says that this folder cannot be read.
async fn list(tools: &Tools<'_>, folder: &[u8]) -> anyhow::Result<Result<(Key, Listing), ArchiveError>> {
    let (reader, folder) = (tools.reader.clone(), folder.to_owned());
    let list = move || {
        let folder = Key::found(folder)?;
        let listing = match reader.list(&folder) {
            // What stands in the way of a folder is a stray by itself.
            Err(ArchiveError::Planted { .. }) if folder.depth() > 1 => None,
            listing => listing?,
        };
        Ok((folder, listing.unwrap_or_default()))
    };
    match on_thread(list).await.context("listing a folder")? {
        Err(error) if !ArchiveError::concerns_what_was_read(&error) => Err(error.into()),
        listed => Ok(listed),
    }
}

async fn judge_suspects(tools: &Tools<'_>, tally: &mut Tally, rounds: &mut Rounds) -> anyhow::Result<()> {
    let suspects = std::mem::take(&mut rounds.suspects);
    let judged = read::read_page(tools, suspects).await?;
    settle(tools, tally, judged).await
}
