//! Where files go that stand in the way or are not what they were: moved aside, never deleted.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::io::Errno;

use super::directory::Directory;
use super::durable::move_no_replace;
use super::inspection::split;
use super::{Archive, ArchiveError, Folder};
use crate::base::recording::printable;

/// The folder in that of the PBX. No safe name begins with a dot.
pub(super) const NAME: &str = ".quarantine";

/// More files of one name than this were never quarantined by us.
const COPIES_MAX: u32 = 10_000;

/// A file that was moved aside. The caller makes it a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Where it stood, relative to the root.
    pub from: String,
    /// Where it is now, relative to the root.
    pub to: String,
}

impl Archive {
    /// Moves what stands at `path`, relative to the root, to the same path below `.quarantine`; `None` if it is gone.
    ///
    /// Nothing is read, replaced or deleted. On return both folders are on disk.
    pub fn set_aside(&self, path: &Path) -> Result<Option<Quarantined>, ArchiveError> {
        let (folder, name) = split(path)?;
        let Some(directory) = self.descend(folder)? else { return Ok(None) };
        match self.quarantine_from(folder, &directory, name) {
            Err(ArchiveError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            moved => moved.map(Some),
        }
    }

    /// Moves `name` of `folder` to the same path below `.quarantine`, numbered if that is taken.
    ///
    /// On return both folders are on disk. A crash leaves the file in one of them, or under both names.
    pub(super) fn quarantine(
        &self,
        folder: &Folder,
        directory: &Directory,
        name: &str,
    ) -> Result<Quarantined, ArchiveError> {
        self.quarantine_from(Path::new(folder.as_str()), directory, OsStr::new(name))
    }

    fn quarantine_from(
        &self,
        folder: &Path,
        directory: &Directory,
        name: &OsStr,
    ) -> Result<Quarantined, ArchiveError> {
        let mut components = folder.components();
        let pbx = components.next().map(|pbx| pbx.as_os_str().to_string_lossy()).unwrap_or_default();
        let below = components.as_path();
        let mut aside = self.pbx_directory(&pbx)?.enter_durably(NAME)?;
        for component in below.components() {
            aside = aside.enter_durably(component)?;
        }
        let new_name = self.move_aside(directory, name, &aside)?;
        aside.sync()?;
        directory.sync()?;
        let to = Path::new(&*pbx).join(NAME).join(below).join(new_name);
        let shown = |path: &Path| printable(path.as_os_str().as_bytes());
        let moved = Quarantined { from: shown(&folder.join(name)), to: shown(&to) };
        tracing::warn!(file.from = moved.from, file.to = moved.to, "Moved `{}` to quarantine", moved.from);
        Ok(moved)
    }

    fn move_aside(&self, from: &Directory, name: &OsStr, to: &Directory) -> Result<OsString, ArchiveError> {
        for copy in 0..COPIES_MAX {
            let mut new_name = name.to_owned();
            if copy > 0 {
                new_name.push(format!(".{copy}"));
            }
            match move_no_replace(from, name, to, &new_name, self.ways()) {
                Ok(()) => return Ok(new_name),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(ArchiveError::io("quarantine", &from.file_path(name), errno)),
            }
        }
        Err(ArchiveError::Occupied { path: to.file_path(name) })
    }
}
