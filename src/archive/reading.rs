//! Opens a file of the archive to read it, beside whoever writes.

use std::fs::File;
use std::path::Path;

use super::ArchiveError;
use super::directory::{Directory, Entry};
use super::layout::check_component;

/// Opens the file at `path`, relative to the root as the catalog has it; `None` if it is not there.
///
/// Each part of the path is entered by itself and never through a symbolic link, so that nothing planted in the archive
/// leads outside. Blocks.
///
/// # Errors
/// [`ArchiveError::UnsafePath`] if it is no path that the archive writes; whatever the filesystem says.
pub fn open_to_read(root: &Path, path: &str) -> Result<Option<File>, ArchiveError> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    check_component(path, name)?;
    if !super::exists(root)? {
        return Ok(None);
    }
    let mut directory = Directory::open(root)?;
    for component in folder.split('/') {
        check_component(path, component)?;
        let Some(entered) = directory.enter(component)? else { return Ok(None) };
        directory = entered;
    }
    match directory.entry(name)? {
        Entry::File(file) => Ok(Some(file)),
        Entry::Vacant | Entry::Other => Ok(None),
    }
}
