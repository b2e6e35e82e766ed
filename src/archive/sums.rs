//! `SHA256SUMS`: one per folder, for `sha256sum -c`. Derived from the catalog, the one file that is ever replaced.

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
        let is_there = directory.holds_bytes(NAME, lines.as_bytes())?;
        if is_there.is_some() {
            directory.sync()?;
        }
        if is_there == Some(true) {
            return Ok(Sums::Unchanged);
        }
        replace(&directory, NAME, lines.as_bytes())?;
        Ok(Sums::Written)
    }
}
