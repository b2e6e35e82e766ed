//! Tokens that are on disk without a row: of a run that died in between, or of a database that was lost.

use std::collections::BTreeSet;

use tracing::{info, warn};

use super::authority::{self, checkpoint_path, token_path};
use super::token_name::TokenName;
use super::trust::{Trust, Unproven};
use super::{Anchorer, FOLDER};
use crate::archive::{ArchiveError, Area, Reader as _};
use crate::base::blocking::blocking;
use crate::base::digest::Digest;
use crate::formats::tlog::{Checkpoint, Note, VerifyingKey};
use crate::proof::notary::key;
use crate::store::anchors::{self, Anchor};

const ROWS_PER_UNIT: usize = 500;

/// A token without a row, over a checkpoint of ours.
struct Found {
    name: TokenName,
    root: Digest,
    checkpoint: Vec<u8>,
    token: Vec<u8>,
}

impl Anchorer {
    /// Adopts them. A file that is no token over a checkpoint of ours is logged and left alone.
    pub(super) async fn adopt(&self) -> anyhow::Result<()> {
        let known = anchors::known(&mut *self.db.read().await?).await?;
        let (keys, area) = (self.notary.known_keys().await, self.notary.area().clone());
        let found = blocking(move || unknown_tokens(&keys, &area, &known)).await?;
        let mut anchors = Vec::new();
        for found in found {
            anchors.extend(self.recognise_found(found).await?);
        }
        if !anchors.is_empty() {
            info!("{} time-stamp tokens beside the ledger were in no row; they are now", anchors.len());
        }
        for anchors in anchors.chunks(ROWS_PER_UNIT) {
            let anchors = anchors.to_vec();
            self.db.write(async move |tx| add_all(tx, &anchors).await).await?;
        }
        Ok(())
    }

    /// None if it is no token.
    async fn recognise_found(&self, found: Found) -> anyhow::Result<Option<Anchor>> {
        let Found { name: TokenName { size, authority }, root, checkpoint, token } = found;
        let configured = self.config.authorities.iter().find(|known| known.name == authority);
        let roots = configured.and_then(authority::roots);
        let (anchored_at, trust) = self.judge(roots.as_ref(), size, &checkpoint, &token).await?;
        let path = token_path(size, &authority);
        if let Trust::NotVerified(Unproven::Wrong(what)) = trust {
            warn!("{path} in the ledger's folder {what}: move it away");
            return Ok(None);
        }
        let sha256 = Digest::of(&token);
        Ok(Some(Anchor { authority, size, root, anchored_at, path, sha256, unverified: trust.reason() }))
    }
}

async fn add_all(tx: &mut sqlx::SqliteConnection, anchors: &[Anchor]) -> anyhow::Result<()> {
    for anchor in anchors {
        anchors::add(tx, anchor).await?;
    }
    Ok(())
}

fn unknown_tokens(
    keys: &[VerifyingKey],
    area: &Area,
    known: &BTreeSet<(String, u64)>,
) -> Result<Vec<Found>, ArchiveError> {
    let mut found = Vec::new();
    for file in area.reader().names(&key(FOLDER)?)? {
        let Some(name) = TokenName::parse(&file) else { continue };
        if known.contains(&(name.authority.clone(), name.size)) {
            continue;
        }
        match read(area, keys, name)? {
            Some(token) => found.push(token),
            None => warn!(
                "{FOLDER}/{file} in the ledger's folder is no token over a checkpoint of ours: move it away"
            ),
        }
    }
    Ok(found)
}

/// The token, if the checkpoint of that size is beside it and signed with one of these keys.
fn read(area: &Area, keys: &[VerifyingKey], name: TokenName) -> Result<Option<Found>, ArchiveError> {
    let there = |path: &str| match authority::read(area, path) {
        Err(ArchiveError::TooLarge { .. }) => Ok(None),
        there => there,
    };
    let path = token_path(name.size, &name.authority);
    let (Some(bytes), Some(token)) = (there(&checkpoint_path(name.size))?, there(&path)?) else {
        return Ok(None);
    };
    let signed = checkpoint(&bytes, keys).filter(|checkpoint| checkpoint.size == name.size);
    Ok(signed.map(|signed| Found { name, root: signed.root, checkpoint: bytes, token }))
}

fn checkpoint(bytes: &[u8], keys: &[VerifyingKey]) -> Option<Checkpoint> {
    let note = Note::parse(std::str::from_utf8(bytes).ok()?).ok()?;
    Checkpoint::parse(note.verify(keys).ok()?).ok()
}
