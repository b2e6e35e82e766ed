//! Reading the published ledger: it takes only the files, no state and no lock.

use std::path::Path;
use std::sync::Arc;

use crate::archive::{self, ArchiveError, Key, Reader};
use crate::base::digest::Digest;
use crate::formats::tlog::{
    Checkpoint, Subtree, TILE_WIDTH, Tile, TlogError, TlogProof, VerifyingKey, entries_of_bundle,
    inclusion_proof, path_of_bundle, tree_hash,
};
use crate::store::ledger::ENTRY_BYTES_MAX;

/// The folder in the archive's root. No PBX can have this id.
pub const FOLDER: &str = "_ledger";

#[derive(Debug, thiserror::Error)]
pub enum PublishedError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("{FOLDER}/{0} is not there: `callvault ledger check` says what else is wrong")]
    Missing(String),
    #[error("{FOLDER}/{path}: {error}")]
    Damaged { path: String, error: TlogError },
    /// A file is larger than any of its kind, and was not read.
    #[error("{FOLDER}/{path} {}: find out who put it there, and move it away", larger_than(*bytes_max))]
    TooLarge { path: String, bytes_max: u64 },
    #[error(
        "entry {number} is not published yet; {size} are: while callvault runs, it publishes new entries within a minute"
    )]
    NotYet { number: u64, size: u64 },
}

pub(super) fn larger_than(bytes_max: u64) -> String {
    format!("is larger than {bytes_max} bytes, the limit for such a file")
}

/// The most bytes that a file of the published ledger can have, by its path below the folder.
pub fn bytes_max(path: &str) -> u64 {
    /// A checkpoint with the words of many witnesses, a key, or an authority's reply.
    const NOTE: u64 = 64 << 10;
    const CERTIFICATES: u64 = 4 << 20;
    match path.split('/').collect::<Vec<_>>()[..] {
        // Each entry has its length before it.
        ["tile", "entries", ..] => TILE_WIDTH * (2 + ENTRY_BYTES_MAX as u64),
        ["tile", ..] => TILE_WIDTH * 32,
        ["anchor", name] if name.ends_with(".ca.pem") => CERTIFICATES,
        _ => NOTE,
    }
}

#[derive(Debug)]
pub struct Published {
    reader: Arc<dyn Reader>,
}

/// The key of a file of the ledger's folder.
pub fn key(path: &str) -> Result<Key, ArchiveError> {
    Key::parse(&format!("{FOLDER}/{path}"))
}

/// A file of the ledger's folder, unless it is larger than any of its kind: then it is none of ours.
pub fn read_if_ours(reader: &dyn Reader, path: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
    match reader.read(&key(path)?, bytes_max(path)) {
        Err(ArchiveError::TooLarge { .. }) => Ok(None),
        read => read,
    }
}

impl Published {
    pub fn open(root: &Path) -> Result<Option<Self>, ArchiveError> {
        archive::open(root)?.map_or(Ok(None), Self::of)
    }

    /// The ledger in the archive that `reader` reads; `None` if there is none.
    pub fn of(reader: Arc<dyn Reader>) -> Result<Option<Self>, ArchiveError> {
        let is_there = reader.list(&Key::parse(FOLDER)?)?.is_some();
        Ok(is_there.then_some(Self { reader }))
    }

    /// The public keys beside the ledger that can be read. Those who do not trust the archive have them from elsewhere.
    pub fn keys(&self) -> Result<Vec<VerifyingKey>, ArchiveError> {
        let names = self.names("keys")?;
        let mut keys = Vec::new();
        for name in names.iter().filter(|name| is_key_file(name)) {
            let text = read_if_ours(&*self.reader, &format!("keys/{name}"))?.unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            keys.extend(VerifyingKey::from_vkey(text.trim_end()).ok());
        }
        Ok(keys)
    }

    /// The checkpoint, if a key of `keys` has signed it, and the note that it stands in. `None` if nothing was published.
    pub fn checkpoint(&self, keys: &[VerifyingKey]) -> Result<Option<(Checkpoint, String)>, PublishedError> {
        let damaged = |error| PublishedError::Damaged { path: "checkpoint".to_owned(), error };
        let Some(bytes) = self.file("checkpoint")? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Some((Checkpoint::signed(text.as_bytes(), keys).map_err(damaged)?, text)))
    }

    /// The entries of one bundle of a ledger of `size`: up to 256, from `index * 256` on.
    pub fn bundle(&self, index: u64, size: u64) -> Result<Vec<Vec<u8>>, PublishedError> {
        let wanted = TILE_WIDTH.min(size.saturating_sub(index * TILE_WIDTH));
        let (width, path, bytes) = self.read_widest(wanted, |width| path_of_bundle(index, width))?;
        let entries =
            entries_of_bundle(&bytes, width).map_err(|error| PublishedError::Damaged { path, error })?;
        let wanted = usize::try_from(wanted).expect("it is at most 256");
        Ok(entries.into_iter().take(wanted).map(<[u8]>::to_vec).collect())
    }

    pub fn entry(&self, number: u64, size: u64) -> Result<Vec<u8>, PublishedError> {
        if number >= size {
            return Err(PublishedError::NotYet { number, size });
        }
        let mut entries = self.bundle(number / TILE_WIDTH, size)?;
        let at = usize::try_from(number % TILE_WIDTH).expect("it is below 256");
        Ok(entries.swap_remove(at))
    }

    /// The proof that the entry of this number is in the ledger that was published, verified.
    pub fn prove(&self, number: u64, keys: &[VerifyingKey]) -> Result<TlogProof, PublishedError> {
        let missing = || PublishedError::Missing("checkpoint".to_owned());
        let (checkpoint, note) = self.checkpoint(keys)?.ok_or_else(missing)?;
        let entry = self.entry(number, checkpoint.size)?;
        let hashes =
            inclusion_proof(number, checkpoint.size, &mut |subtree| self.subtree(subtree, checkpoint.size))?;
        let proof = TlogProof { entry, index: number, hashes, checkpoint: note };
        match proof.verify(keys) {
            Ok(_) => Ok(proof),
            Err(error) => Err(PublishedError::Damaged { path: "tile".to_owned(), error }),
        }
    }

    /// The hash of a complete subtree of a ledger of `size`.
    pub fn subtree(&self, subtree: Subtree, size: u64) -> Result<Digest, PublishedError> {
        let (tile, places) = Tile::of_subtree(subtree.height, subtree.index, size);
        Ok(tree_hash(&self.tile(tile)?[places]))
    }

    /// The hashes of a tile; of the full one, if only that is left.
    pub fn tile(&self, tile: Tile) -> Result<Vec<Digest>, PublishedError> {
        let (width, path, bytes) = self.read_widest(tile.width, |width| Tile { width, ..tile }.path())?;
        let mut hashes =
            Tile { width, ..tile }.read(&bytes).map_err(|error| PublishedError::Damaged { path, error })?;
        hashes.truncate(usize::try_from(tile.width).expect("it is at most 256"));
        Ok(hashes)
    }

    /// Reads a partial file, or the full one that has replaced it: its width, its path, its bytes.
    fn read_widest(
        &self,
        width: u64,
        path: impl Fn(u64) -> String,
    ) -> Result<(u64, String, Vec<u8>), PublishedError> {
        for width in [width, TILE_WIDTH] {
            let path = path(width);
            if let Some(bytes) = self.file(&path)? {
                return Ok((width, path, bytes));
            }
        }
        Err(PublishedError::Missing(path(width)))
    }

    /// How many entries are in bundles without a gap, at least `signed`: a crash may have come before their checkpoint.
    pub fn bundled_size(&self, signed: u64) -> Result<u64, ArchiveError> {
        let mut index = signed / TILE_WIDTH;
        loop {
            let width = self.widest_bundle(index)?;
            if width < TILE_WIDTH {
                return Ok(signed.max(index * TILE_WIDTH + width));
            }
            index += 1;
        }
    }

    /// The width of the fullest bundle of this index; 0 if there is none.
    fn widest_bundle(&self, index: u64) -> Result<u64, ArchiveError> {
        let full = path_of_bundle(index, TILE_WIDTH);
        let (folder, name) = full.rsplit_once('/').unwrap_or(("", &full));
        if self.names(folder)?.iter().any(|there| there == name) {
            return Ok(TILE_WIDTH);
        }
        let partial = self.names(&format!("{full}.p"))?;
        let widths = partial.iter().filter_map(|width| width.parse::<u64>().ok());
        Ok(widths.filter(|width| *width < TILE_WIDTH).max().unwrap_or(0))
    }

    pub(super) fn has_tiles(&self) -> Result<bool, ArchiveError> {
        Ok(!self.names("tile")?.is_empty())
    }

    pub fn names(&self, folder: &str) -> Result<Vec<String>, ArchiveError> {
        self.reader.names(&key(folder)?)
    }

    /// The bytes of a file below the ledger's folder; `None` if it is not there.
    pub fn file(&self, path: &str) -> Result<Option<Vec<u8>>, PublishedError> {
        match self.reader.read(&key(path)?, bytes_max(path)) {
            Err(ArchiveError::TooLarge { bytes_max, .. }) => {
                Err(PublishedError::TooLarge { path: path.to_owned(), bytes_max })
            }
            read => Ok(read?),
        }
    }
}

/// Whether a file among the keys has a name as we give them: the key's id in hex.
fn is_key_file(name: &str) -> bool {
    let id = name.strip_suffix(".vkey");
    id.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_file_has_a_size_that_it_cannot_exceed() {
        let table = [
            ("checkpoint", 64 << 10),
            ("tile/0/x001/067", 8192),
            ("tile/3/000.p/1", 8192),
            ("tile/entries/000.p/17", 256 * 4098),
            ("keys/01234567.vkey", 64 << 10),
            ("anchor/5.tsa.tsr", 64 << 10),
            ("anchor/tsa.ca.pem", 4 << 20),
            ("anchor/deeper/tsa.ca.pem", 64 << 10),
            ("note", 64 << 10),
        ];
        for (path, bytes) in table {
            assert_eq!(bytes_max(path), bytes, "{path}");
        }
    }
}
