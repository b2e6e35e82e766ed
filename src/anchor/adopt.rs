//! Tokens that are on disk and in no row: of a run that died between the two, or of a database that was lost.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use tracing::{info, warn};

use super::authority::{self, checkpoint_path, token_path};
use super::standing::{self, Anchor};
use super::token_name::TokenName;
use super::{Anchorer, FOLDER, blocking, timestamp};
use crate::archive::{ArchiveError, Shelf};
use crate::digest::Digest;
use crate::notary::{Published, PublishedError};
use crate::tlog::{Checkpoint, Note, VerifyingKey};

/// Rows that are written in one unit.
const ROWS_PER_UNIT: usize = 500;

impl Anchorer {
    /// Adopts them. What is no token over a checkpoint of ours is named in the log, and left.
    pub(super) async fn adopt(&self) -> anyhow::Result<()> {
        let known = standing::known(&mut *self.db.read().await?).await?;
        let (root, shelf, now) = (self.root.clone(), self.notary.shelf().clone(), self.clock.now());
        let found = blocking(move || unknown_tokens(&root, &shelf, &known, now)).await?;
        if !found.is_empty() {
            info!("{} time-stamp tokens beside the ledger were in no row; they are now", found.len());
        }
        for anchors in found.chunks(ROWS_PER_UNIT) {
            let anchors = anchors.to_vec();
            self.db.write(move |tx| Box::pin(async move { add_all(tx, &anchors).await })).await?;
        }
        Ok(())
    }
}

async fn add_all(tx: &mut sqlx::SqliteConnection, anchors: &[Anchor]) -> anyhow::Result<()> {
    for anchor in anchors {
        standing::add(tx, anchor).await?;
    }
    Ok(())
}

fn unknown_tokens(
    root: &Path,
    shelf: &Shelf,
    known: &BTreeSet<(String, u64)>,
    now: Timestamp,
) -> Result<Vec<Anchor>, PublishedError> {
    let keys = Published::open(root)?.map(|published| published.keys()).transpose()?.unwrap_or_default();
    let mut found = Vec::new();
    for name in shelf.names(FOLDER)? {
        let Some(TokenName { size, authority }) = TokenName::parse(&name) else { continue };
        if known.contains(&(authority.clone(), size)) {
            continue;
        }
        match read(shelf, &keys, size, &authority, now)? {
            Some(anchor) => found.push(anchor),
            None => warn!(
                "{FOLDER}/{name} in the ledger's folder is no token over a checkpoint of ours: move it away"
            ),
        }
    }
    Ok(found)
}

/// The token, if it is one over the checkpoint of that size beside it, which one of these keys has signed.
fn read(
    shelf: &Shelf,
    keys: &[VerifyingKey],
    size: u64,
    name: &str,
    now: Timestamp,
) -> Result<Option<Anchor>, PublishedError> {
    let path = token_path(size, name);
    let there = |path: &str| match authority::read(shelf, path) {
        Err(ArchiveError::TooLarge { .. }) => Ok(None),
        there => there,
    };
    let (Some(bytes), Some(token)) = (there(&checkpoint_path(size))?, there(&path)?) else {
        return Ok(None);
    };
    let checkpoint = checkpoint(&bytes, keys).filter(|checkpoint| checkpoint.size == size);
    let token = timestamp::read(&token).ok().filter(|token| token.imprint == Digest::of(&bytes));
    Ok(checkpoint.zip(token).map(|(checkpoint, token)| Anchor {
        authority: name.to_owned(),
        size,
        root: checkpoint.root,
        anchored_at: token.at.min(now),
        path,
    }))
}

fn checkpoint(bytes: &[u8], keys: &[VerifyingKey]) -> Option<Checkpoint> {
    let note = Note::parse(std::str::from_utf8(bytes).ok()?).ok()?;
    Checkpoint::parse(note.verify(keys).ok()?).ok()
}
