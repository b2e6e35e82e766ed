//! `SHA256SUMS`: one per folder, for `sha256sum -c`. Derived from the catalog, the one file that is ever replaced.

use std::io::Read;

use super::directory::{Directory, Entry, settle_on_disk};
use super::durable::replace;
use super::layout::is_component;
use super::{Archive, ArchiveError, Folder};
use crate::base::digest::Digest;
use crate::base::recording::printable;

/// Its name in each folder.
pub const SUMS_NAME: &str = "SHA256SUMS";

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
        let lines = sums_lines(files)?;
        let directory = self.folder_durably(folder)?;
        if is_there(&directory, lines.as_bytes())? {
            return Ok(Sums::Unchanged);
        }
        replace(&directory, SUMS_NAME, lines.as_bytes())?;
        Ok(Sums::Written)
    }
}

/// The lines of such a file, `<hash>  <name>` each, sorted by name, each name once.
///
/// # Errors
/// [`ArchiveError::UnsafePath`] for a name that it cannot list.
pub fn sums_lines(files: &[(String, Digest)]) -> Result<String, ArchiveError> {
    let mut files: Vec<&(String, Digest)> = files.iter().collect();
    files.sort();
    files.dedup();
    let mut lines = String::new();
    for (name, sha256) in files {
        // Other names would need the escapes of sha256sum, or lead it out of the folder.
        if !is_component(name) {
            let path = printable(name.as_bytes());
            return Err(ArchiveError::UnsafePath { path, reason: "SHA256SUMS lists safe names only" });
        }
        lines.push_str(&format!("{sha256}  {name}\n"));
    }
    Ok(lines)
}

/// Whether the file has this content, durably: an earlier run may have died before its last sync.
fn is_there(directory: &Directory, content: &[u8]) -> Result<bool, ArchiveError> {
    let Entry::File(file) = directory.entry(SUMS_NAME)? else { return Ok(false) };
    let path = directory.file_path(SUMS_NAME);
    settle_on_disk(&file, &path)?;
    let mut there = Vec::with_capacity(content.len() + 1);
    file.take(content.len() as u64 + 1)
        .read_to_end(&mut there)
        .map_err(|error| ArchiveError::io("read", &path, error))?;
    directory.sync()?;
    Ok(there == content)
}
