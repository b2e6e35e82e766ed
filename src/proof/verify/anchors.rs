//! Time stamps beside the ledger: whether each is what it was, and how far it can be believed.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::report::{Class, Damage, Thing};
use super::settle::Tally;
use super::{Scope, Verification};
use crate::archive::ArchiveError;
use crate::base::blocking::on_thread;
use crate::base::digest::Digest;
use crate::proof::anchor::{self, Evidence, Roots, TokenName};
use crate::proof::notary::{self, Published, PublishedError};
use crate::store::anchors::{self, NotedToken};
use crate::store::ledger;

/// Tokens that are read at one time: 128 KiB each at most, with their checkpoints.
const PER_PAGE: usize = 64;
/// A token's reply, and the checkpoint under it.
type Files = (Vec<u8>, Vec<u8>);

/// Why a token's files are not what they were.
enum Flaw {
    Damage(Box<Damage>),
    /// The archive as a whole cannot be read.
    Failed(ArchiveError),
}

impl Tally<'_> {
    /// Reads all time stamps that were noted, and judges them. What is wrong with a file is returned; what cannot be
    /// believed is counted in the report.
    pub(super) async fn check_time_stamps(&mut self) -> Result<Vec<Damage>> {
        let Verification { vault, db, budget, .. } = self.verification;
        let noted = anchors::noted(&mut *db.read().await?).await?;
        let authorities = &vault.config.anchors.authorities;
        let roots = authorities
            .iter()
            .filter_map(|known| Some((known.name.as_str(), Roots::from_pem(known.certificates.as_deref()?))));
        let roots: BTreeMap<&str, Roots> = roots.collect();
        let latest: BTreeMap<String, u64> =
            noted.iter().map(|token| (token.name.authority.clone(), token.name.size)).collect();
        let mut damages = Vec::new();
        for page in noted.chunks(PER_PAGE) {
            if budget.is_stopped() {
                self.report.whole = false;
                break;
            }
            for (name, files) in self.read_tokens(page.to_vec()).await? {
                let files = match files {
                    Ok(files) => files,
                    Err(Flaw::Damage(damage)) => {
                        damages.push(*damage);
                        continue;
                    }
                    Err(Flaw::Failed(error)) => return Err(error.into()),
                };
                if self.report.scope == Scope::Full || latest.get(&name.authority) == Some(&name.size) {
                    let reason = self.judge_token(&name, &files, roots.get(name.authority.as_str())).await?;
                    self.report.note_time_stamp(&name, reason);
                }
            }
        }
        Ok(damages)
    }

    async fn read_tokens(&self, page: Vec<NotedToken>) -> Result<Vec<(TokenName, Result<Files, Flaw>)>> {
        let root = self.verification.vault.config.archive.path.clone();
        let read = move || {
            let published = Published::open(&root)?;
            let files = |token: NotedToken| (token.name.clone(), intact(published.as_ref(), &token));
            anyhow::Ok(page.into_iter().map(files).collect())
        };
        on_thread(read).await.context("reading the time stamps")?
    }

    /// Why a token cannot be believed, if so.
    async fn judge_token(
        &self,
        name: &TokenName,
        files: &Files,
        roots: Option<&Roots>,
    ) -> Result<Option<String>> {
        let (reply, checkpoint) = files;
        let entries = match name.size.checked_sub(1) {
            Some(last) => ledger::entries(&mut *self.verification.db.read().await?, last, 1).await?,
            None => Vec::new(),
        };
        let last_entry = entries.first().map_or(&[][..], |entry| entry.entry.as_bytes());
        let evidence = Evidence { reply, checkpoint, last_entry, roots, now: self.now() };
        Ok(evidence.judge().1.err().map(|why| why.to_string()))
    }
}

/// The files of a token, if they are what they were.
fn intact(published: Option<&Published>, token: &NotedToken) -> Result<Files, Flaw> {
    let NotedToken { name: TokenName { size, authority }, sha256 } = token;
    let (of_reply, of_checkpoint) = (format!("{size}.{authority}.tsr"), format!("{size}.checkpoint"));
    let altered = |file: &str, expected: Digest, found: Digest| {
        let damage = Damage::new(Class::Altered, Thing::Published, "", place(file));
        let damage = damage.evidence(format!("SHA-256 {expected}"), format!("SHA-256 {found}"));
        Err(Flaw::Damage(damage.into()))
    };
    let reply = content(published, &of_reply, "a time stamp")?;
    let found = Digest::of(&reply);
    if let Some(expected) = sha256.filter(|expected| *expected != found) {
        return altered(&of_reply, expected, found);
    }
    let checkpoint = content(published, &of_checkpoint, "a checkpoint")?;
    // Of which of the two something is wrong is only known if the other one is as it was.
    let stamped = anchor::read_token(&reply).ok().map(|token| token.imprint).filter(|_| sha256.is_some());
    let found = Digest::of(&checkpoint);
    match stamped.filter(|stamped| *stamped != found) {
        Some(stamped) => altered(&of_checkpoint, stamped, found),
        None => Ok((reply, checkpoint)),
    }
}

fn content(published: Option<&Published>, file: &str, expected: &str) -> Result<Vec<u8>, Flaw> {
    let read = published.map_or(Ok(None), |published| published.file(&format!("{}/{file}", anchor::FOLDER)));
    let damage = |class, found: String| {
        let damage = Damage::new(class, Thing::Published, "", place(file));
        Err(Flaw::Damage(damage.evidence(expected, found).into()))
    };
    match read {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => damage(Class::Missing, "nothing".to_owned()),
        Err(PublishedError::Archive(error)) if !error.concerns_what_was_read() => Err(Flaw::Failed(error)),
        Err(error @ PublishedError::TooLarge { .. }) => damage(Class::Altered, error.to_string()),
        Err(error) => damage(Class::Unreadable, error.to_string()),
    }
}

/// Where a file is, relative to the archive's root.
pub(super) fn place(name: &str) -> String {
    format!("{}/{}/{name}", notary::FOLDER, anchor::FOLDER)
}
