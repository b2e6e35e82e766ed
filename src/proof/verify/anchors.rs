//! Time stamps beside the ledger: whether each is what it was, and how far it can be believed.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::damage::{Class, Damage, Thing};
use super::settle::Tally;
use super::{Scope, Tools};
use crate::base::blocking::on_thread;
use crate::base::digest::Digest;
use crate::proof::anchor::{self, Evidence, Roots, TokenName};
use crate::proof::notary::{self, Published, PublishedError};
use crate::store::anchors::{self, NotedToken};
use crate::store::ledger;

/// Tokens that are read at one time: 128 KiB each at most, with their checkpoints.
const PER_PAGE: usize = 64;
/// Tokens that are not verified and are named; all are counted.
const NAMED_MAX: usize = 20;

/// How far the time stamps of the ledger can be believed. A quick look judges the latest of each authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeStamps {
    pub verified: u64,
    pub not_verified: u64,
    /// These, and why, up to 20.
    pub unverified: Vec<UnverifiedToken>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnverifiedToken {
    pub path: String,
    pub reason: String,
}

/// A token's files as they were read: the reply, and the checkpoint under it.
struct There {
    token: NotedToken,
    reply: Result<Option<Vec<u8>>, PublishedError>,
    checkpoint: Result<Option<Vec<u8>>, PublishedError>,
}

/// Reads all time stamps that were noted, and judges them. What is wrong with a file is returned; what cannot be believed is
/// counted in the report.
pub(super) async fn check(tools: &Tools<'_>, tally: &mut Tally) -> anyhow::Result<Vec<Damage>> {
    let noted = anchors::noted(&mut *tools.vault.state.db.read().await?).await?;
    let roots: BTreeMap<&str, Roots> = tools
        .vault
        .config
        .anchors
        .authorities
        .iter()
        .filter_map(|known| Some((known.name.as_str(), Roots::from_pem(known.certificates.as_deref()?))))
        .collect();
    let latest: BTreeMap<String, u64> =
        noted.iter().map(|token| (token.name.authority.clone(), token.name.size)).collect();
    let mut damages = Vec::new();
    for page in noted.chunks(PER_PAGE) {
        if tools.budget.is_stopped() {
            tally.report.whole = false;
            break;
        }
        for there in read(tools, page.to_vec()).await? {
            let name = there.token.name.clone();
            let (reply, checkpoint) = match intact(there)? {
                Ok(files) => files,
                Err(damage) => {
                    damages.push(damage);
                    continue;
                }
            };
            if tools.scope == Scope::Full || latest.get(&name.authority) == Some(&name.size) {
                let roots = roots.get(name.authority.as_str());
                let reason = judge(tools, &name, &reply, &checkpoint, roots).await?;
                tally.report.note_time_stamp(&name, reason);
            }
        }
    }
    Ok(damages)
}

async fn read(tools: &Tools<'_>, page: Vec<NotedToken>) -> anyhow::Result<Vec<There>> {
    let root = tools.vault.config.archive.path.clone();
    let read = move || {
        let published = Published::open(&root)?;
        let file = |name: &TokenName, suffix: &str| match &published {
            Some(published) => published.file(&format!("{}/{}.{suffix}", anchor::FOLDER, name.size)),
            None => Ok(None),
        };
        let there = page.into_iter().map(|token| There {
            reply: file(&token.name, &format!("{}.tsr", token.name.authority)),
            checkpoint: file(&token.name, "checkpoint"),
            token,
        });
        anyhow::Ok(there.collect())
    };
    on_thread(read).await.context("reading the time stamps")?
}

/// A token's reply, and the checkpoint under it.
type Files = (Vec<u8>, Vec<u8>);

/// Both, if they are what they were.
fn intact(there: There) -> anyhow::Result<Result<Files, Damage>> {
    let There { token: NotedToken { name, sha256 }, reply, checkpoint } = there;
    let file = |suffix: &str| place(&format!("{}.{suffix}", name.size));
    let (of_reply, of_checkpoint) = (file(&format!("{}.tsr", name.authority)), file("checkpoint"));
    let reply = match content(reply, of_reply.clone(), "a time stamp")? {
        Ok(reply) => reply,
        Err(damage) => return Ok(Err(damage)),
    };
    let found = Digest::of(&reply);
    if let Some(expected) = sha256.filter(|expected| *expected != found) {
        let damage = Damage::new(Class::Altered, Thing::Published, "", of_reply);
        return Ok(Err(damage.told(format!("SHA-256 {expected}"), format!("SHA-256 {found}"))));
    }
    let checkpoint = match content(checkpoint, of_checkpoint.clone(), "a checkpoint")? {
        Ok(checkpoint) => checkpoint,
        Err(damage) => return Ok(Err(damage)),
    };
    // Of which of the two something is wrong is only known if the other one is as it was.
    let stamped = anchor::read_token(&reply).ok().map(|token| token.imprint).filter(|_| sha256.is_some());
    let found = Digest::of(&checkpoint);
    Ok(match stamped.filter(|stamped| *stamped != found) {
        Some(stamped) => {
            let damage = Damage::new(Class::Altered, Thing::Published, "", of_checkpoint);
            Err(damage.told(format!("SHA-256 {stamped}"), format!("SHA-256 {found}")))
        }
        None => Ok((reply, checkpoint)),
    })
}

fn content(
    read: Result<Option<Vec<u8>>, PublishedError>,
    place: String,
    expected: &str,
) -> anyhow::Result<Result<Vec<u8>, Damage>> {
    let damage =
        |class, found: String| Ok(Err(Damage::new(class, Thing::Published, "", place).told(expected, found)));
    match read {
        Ok(Some(bytes)) => Ok(Ok(bytes)),
        Ok(None) => damage(Class::Missing, "nothing".to_owned()),
        Err(PublishedError::Archive(error)) if !error.concerns_what_was_read() => Err(error.into()),
        Err(error @ PublishedError::TooLarge { .. }) => damage(Class::Altered, error.to_string()),
        Err(error) => damage(Class::Unreadable, error.to_string()),
    }
}

async fn judge(
    tools: &Tools<'_>,
    name: &TokenName,
    reply: &[u8],
    checkpoint: &[u8],
    roots: Option<&Roots>,
) -> anyhow::Result<Option<String>> {
    let entries = match name.size.checked_sub(1) {
        Some(last) => ledger::entries(&mut *tools.vault.state.db.read().await?, last, 1).await?,
        None => Vec::new(),
    };
    let last_entry = entries.first().map_or(&[][..], |entry| entry.entry.as_bytes());
    let evidence = Evidence { reply, checkpoint, last_entry, roots, now: tools.vault.clock.now() };
    let (_, trust) = evidence.judge();
    Ok(trust.reason())
}

fn place(name: &str) -> String {
    format!("{}/{}/{name}", notary::FOLDER, anchor::FOLDER)
}

impl TimeStamps {
    /// Counts a token, and names it if it is not verified and there is room.
    pub(super) fn note(&mut self, name: &TokenName, reason: Option<String>) {
        let Some(reason) = reason else {
            self.verified += 1;
            return;
        };
        self.not_verified += 1;
        if self.unverified.len() < NAMED_MAX {
            let path = place(&format!("{}.{}.tsr", name.size, name.authority));
            self.unverified.push(UnverifiedToken { path, reason });
        }
    }
}
