//! `SHA256SUMS`: one per folder, for `sha256sum -c`. Derived from the catalog, the one file that is ever replaced.

use std::io::Read;

use super::directory::{Directory, Entry, settle_on_disk};
use super::durable::replace;
use super::{Archive, ArchiveError, Folder};
use crate::base::digest::Digest;
use crate::formats::sums::{self, NAME};

/// What [`Archive::write_sums`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sums {
    /// The file said the same already.
    Unchanged,
    /// It was written or replaced.
    Written,
}

impl Archive {
    /// Writes the `SHA256SUMS` of `folder` with exactly these files, in the order of their names.
    ///
    /// On return the file is on disk with this content; after a crash it has the old content or this one, whole.
    pub fn write_sums(&self, folder: &Folder, files: &[(String, Digest)]) -> Result<Sums, ArchiveError> {
        let lines = sums::to_text(files)?;
        let directory = self.folder_durably(folder)?;
        if is_there(&directory, lines.as_bytes())? {
            return Ok(Sums::Unchanged);
        }
        replace(&directory, NAME, lines.as_bytes())?;
        Ok(Sums::Written)
    }
}

/// Whether the file has this content, durably: an earlier run may have died before its last sync.
fn is_there(directory: &Directory, content: &[u8]) -> Result<bool, ArchiveError> {
    let Entry::File(file) = directory.entry(NAME)? else { return Ok(false) };
    let path = directory.file_path(NAME);
    settle_on_disk(&file, &path)?;
    let mut there = Vec::with_capacity(content.len() + 1);
    file.take(content.len() as u64 + 1)
        .read_to_end(&mut there)
        .map_err(|error| ArchiveError::io("read", &path, error))?;
    directory.sync()?;
    Ok(there == content)
}
