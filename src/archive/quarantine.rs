//! Where files go that stand in the way or are not what they were: moved aside, never deleted.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use rustix::io::Errno;

use super::directory::Directory;
use super::durable::move_no_replace;
use super::{Archive, ArchiveError, Key};

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
    /// Moves what stands under `key` to the same path below `.quarantine`; `None` if it is gone.
    ///
    /// Nothing is read, replaced or deleted. On return both folders are on disk.
    pub fn set_aside(&self, key: &Key) -> Result<Option<Quarantined>, ArchiveError> {
        let directory = match self.area_of(key)?.folder(&key.folder()) {
            Ok(Some(directory)) => directory,
            // What stands in the way of a folder is set aside by itself.
            Ok(None) | Err(ArchiveError::Planted { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match self.quarantine(key, &directory) {
            Err(ArchiveError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            moved => moved.map(Some),
        }
    }

    /// Moves what stands under `key`, in `directory`, to the same path below `.quarantine`, numbered if that is taken.
    ///
    /// On return both folders are on disk. A crash leaves the file in one of them, or under both names.
    pub(super) fn quarantine(&self, key: &Key, directory: &Directory) -> Result<Quarantined, ArchiveError> {
        let mut aside = self.area_of(key)?.directory().enter_durably(NAME)?;
        let folder = key.folder();
        for component in folder.components().skip(1) {
            aside = aside.enter_durably(component)?;
        }
        let new_name = self.move_aside(directory, key.os_name(), &aside)?;
        aside.sync()?;
        directory.sync()?;
        let mut to = folder.components().take(1).fold(Key::ROOT, |to, pbx| to.join(pbx.as_bytes()));
        to = to.join(NAME.as_bytes());
        to = folder.components().skip(1).fold(to, |to, component| to.join(component.as_bytes()));
        let moved = Quarantined { from: key.to_string(), to: to.join(new_name.as_bytes()).to_string() };
        tracing::warn!(file.from = moved.from, file.to = moved.to, "Moved `{}` to quarantine", moved.from);
        Ok(moved)
    }

    fn move_aside(&self, from: &Directory, name: &OsStr, to: &Directory) -> Result<OsString, ArchiveError> {
        for copy in 0..COPIES_MAX {
            let mut new_name = name.to_owned();
            if copy > 0 {
                new_name.push(format!(".{copy}"));
            }
            match move_no_replace(from, name, to, &new_name, &self.ways) {
                Ok(()) => return Ok(new_name),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(ArchiveError::io("quarantine", &from.file_path(name), errno)),
            }
        }
        Err(ArchiveError::Occupied { path: to.file_path(name) })
    }
}
