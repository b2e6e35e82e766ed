//! The markers: what they were when they were first seen right.

use super::Tools;
use super::damage::{Class, Damage, Thing};
use super::settle::Tally;
use crate::archive::{ArchiveError, Content, Key, marker};
use crate::base::blocking::blocking;
use crate::base::digest::Digest;
use crate::store::findings::FindingKind;
use crate::store::fixity;

/// Reads the marker of `pbx`, and keeps what is wrong with it.
pub(super) async fn check(tools: &Tools<'_>, tally: &mut Tally, pbx: &str) -> anyhow::Result<()> {
    let key = marker::key(pbx);
    let damage = |class, expected: String, found: String| {
        Damage::new(class, Thing::Marker, pbx, key.as_bytes()).told(expected, found)
    };
    let known = fixity::marker(&mut *tools.vault.state.db.read().await?, pbx).await?;
    let wanted =
        known.map_or_else(|| "a marker of this archive".to_owned(), |known| format!("SHA-256 {known}"));
    let damage = match read(tools, pbx, &key).await? {
        (Content::Nothing, _) => damage(Class::Missing, wanted, "nothing".to_owned()),
        (Content::Bytes { sha256, .. }, is_ours) => match known {
            Some(known) if known == sha256 => return tally.mended(tools, pbx, &key, &KINDS).await,
            None if is_ours => return note(tools, pbx, sha256).await,
            _ => damage(Class::Altered, wanted, format!("SHA-256 {sha256}")),
        },
        _ => damage(Class::Altered, wanted, "no regular file".to_owned()),
    };
    tally.keep(tools, vec![damage]).await
}

/// As what a damaged marker is kept.
const KINDS: [FindingKind; 2] = [FindingKind::FileMissing, FindingKind::FileAltered];

/// What the marker is, and whether it can be read as one of this archive.
async fn read(tools: &Tools<'_>, pbx: &str, key: &Key) -> anyhow::Result<(Content, bool)> {
    let (reader, archive_id) = (tools.reader.clone(), tools.vault.archive.id().to_owned());
    let (pbx, key) = (pbx.to_owned(), key.clone());
    let read = move || {
        let content = reader.hash(&key, &mut |_| true)?;
        Ok::<_, ArchiveError>((content, marker::is_of(&*reader, &pbx, &archive_id)?))
    };
    blocking(read).await
}

async fn note(tools: &Tools<'_>, pbx: &str, sha256: Digest) -> anyhow::Result<()> {
    let pbx = pbx.to_owned();
    let db = &tools.vault.state.db;
    db.write(async move |tx| fixity::note_marker(tx, &pbx, &sha256).await).await
}
