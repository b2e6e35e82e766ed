//! Where files go that stand in the way and are no recordings: moved aside, never deleted.

use rustix::io::Errno;

use super::directory::Directory;
use super::durable::move_no_replace;
use super::{Archive, ArchiveError, Folder};

/// The folder in that of the PBX. No safe name begins with a dot.
const NAME: &str = ".quarantine";

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
    /// Moves `name` of `folder` to the same path below `.quarantine`, numbered if that is taken.
    ///
    /// On return both folders are on disk. A crash leaves the file in one of them, or under both names.
    pub(super) fn quarantine(
        &self,
        folder: &Folder,
        directory: &Directory,
        name: &str,
    ) -> Result<Quarantined, ArchiveError> {
        let mut aside = self.pbx_directory(folder.pbx())?.enter_durably(NAME)?;
        for component in folder.below_pbx() {
            aside = aside.enter_durably(component)?;
        }
        let new_name = self.move_aside(directory, name, &aside)?;
        aside.sync()?;
        directory.sync()?;
        let below: Vec<&str> = folder.below_pbx().collect();
        let to = format!("{}/{NAME}/{}/{new_name}", folder.pbx(), below.join("/"));
        let moved = Quarantined { from: format!("{folder}/{name}"), to };
        tracing::warn!(file.from = moved.from, file.to = moved.to, "Moved `{}` to quarantine", moved.from);
        Ok(moved)
    }

    fn move_aside(&self, from: &Directory, name: &str, to: &Directory) -> Result<String, ArchiveError> {
        for copy in 0..COPIES_MAX {
            let new_name = if copy == 0 { name.to_owned() } else { format!("{name}.{copy}") };
            match move_no_replace(from, name, to, &new_name, self.ways()) {
                Ok(()) => return Ok(new_name),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(ArchiveError::io("quarantine", &from.file_path(name), errno)),
            }
        }
        Err(ArchiveError::Occupied { path: to.file_path(name) })
    }
}
