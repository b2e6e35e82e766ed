//! The archive: recordings as plain files that are whole, durable and never overwritten.
//!
//! The only code that touches recordings where they are kept. What crosses its border: a [`Key`], relative and unable to
//! lead elsewhere; bytes or a [`Stream`]; a receipt, such as [`ArchivedFile`], that something is durable. Paths, files,
//! folder handles and error numbers stay inside; only the configured root comes in, when an archive is opened.
//!
//! ```text
//! reading, by a Reader:    open from an offset, list a folder in order, settle (and read, hash: made of these)
//! writing, by the owner:   put a new thing: the same bytes again are fine, other bytes are a conflict
//!                          replace a derived thing whole; set aside; how much room
//! ```
//! [`Archive`] writes the areas of PBXs, [`Area`] alone that of the ledger. The path of a recording, as a worker speaks it:
//! ```text
//! adopt(place)?  →  check_space  →  begin(place) → write … → finish → (judge the audio) → keep(received, sidecar)
//! ```
//! Calls block: run them on blocking threads.
//!
//! One process owns a PBX: whoever opens an archive for writing holds the lock of its state directory.

mod archived_file;
pub mod area;
mod day_file;
mod directory;
mod durable;
mod error;
mod key;
pub mod marker;
mod placement;
mod reader;
pub mod survey;
mod temporary;
mod vouch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustix::fs::StatVfs;

pub use archived_file::{ArchivedFile, Incoming, Received};
pub use area::{Area, AreaOwner};
pub use day_file::{DayFile, Sums, day_file_name};
pub use error::{ArchiveError, Reaction};
pub use key::{Destination, Folder, Key};
pub use placement::{Cataloged, Kept, Outcome, Quarantined};
pub use reader::{Content, Disk, Listing, Opened, Reader, Standing, Stream, hash_while};
pub use temporary::{Abilities, is_temporary};
pub use vouch::VouchKey;

use crate::base::filesystem::{self, available};
use directory::Directory;
use durable::publish;
use marker::Marker;
use temporary::{Temporary, Ways, temporary_name};

/// Opens the archive at `place` to read it, wherever it is kept; `None` if it is not there. Only this function and those that
/// open for writing know what a place can be: today a folder.
pub fn open(place: &Path) -> Result<Option<Arc<dyn Reader>>, ArchiveError> {
    Ok(Disk::open(place)?.map(|disk| Arc::new(disk) as Arc<dyn Reader>))
}

/// As [`open`], for an archive that must be there.
///
/// # Errors
/// [`ArchiveError::NotMounted`] if it is not.
pub fn require(place: &Path) -> Result<Arc<dyn Reader>, ArchiveError> {
    let reason = "there is no such folder";
    open(place)?.ok_or_else(|| ArchiveError::NotMounted { path: place.to_owned(), reason })
}

/// The archive of one or more PBXs, open for writing. Threads may share it.
#[derive(Debug)]
pub struct Archive {
    archive_id: String,
    /// By PBX. Each may be a mount of its own, and an open folder keeps it mounted.
    areas: BTreeMap<String, Area>,
    ways: Arc<Ways>,
    vouch_key: VouchKey,
}

#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// `[archive] path`.
    pub root: &'a Path,
    /// `[state] path`, which the archive must not lie in.
    pub state_path: &'a Path,
    /// The id of the state directory, which the markers must name.
    pub state_id: &'a str,
    pub vouch_key: &'a VouchKey,
    pub pbxs: &'a [PbxPresence<'a>],
    /// The present time, for new markers.
    pub now: Timestamp,
}

/// Whether the state knows of a PBX's recordings.
#[derive(Debug, Clone, Copy)]
pub struct PbxPresence<'a> {
    pub id: &'a str,
    /// Whether the state has rows for it; then its archive must be there.
    pub has_rows: bool,
}

impl Archive {
    /// Opens the archive, or makes it if both it and the state are empty.
    ///
    /// On return the marker of each PBX is on disk and names this state, each folder was written to once as a test,
    /// and temporaries directly in it are gone. On error nothing was made where anything was refused.
    pub fn open(opening: &Opening<'_>) -> Result<Self, ArchiveError> {
        Self::open_with(opening, Abilities::all())
    }

    /// As [`Archive::open`], for a filesystem that is known to lack some abilities.
    pub fn open_with(opening: &Opening<'_>, abilities: Abilities) -> Result<Self, ArchiveError> {
        let root_path = resolve(opening.root)?;
        refuse_inside_state(&root_path, opening.state_path)?;
        let archive_id = inspect(&root_path, opening)?.unwrap_or_else(marker::random_id);
        let root = open_durably(&root_path)?;
        let ways = Arc::new(Ways::new(abilities));
        let mut areas = BTreeMap::new();
        for pbx in opening.pbxs {
            let folder = root.enter_durably(pbx.id)?;
            remove_temporaries(&folder)?;
            // A failure may have taught us another way; if not, it is the same again.
            try_out(&folder, &ways).or_else(|_| try_out(&folder, &ways))?;
            let area = Area::of(pbx.id, folder, ways.clone());
            if Marker::of(&area.reader(), &marker::key(pbx.id))?.is_none() {
                let owner =
                    AreaOwner { archive_id: &archive_id, state_id: opening.state_id, now: opening.now };
                Marker::write(owner, area.directory(), &ways)?;
            }
            areas.insert(pbx.id.to_owned(), area);
        }
        let vouch_key = opening.vouch_key.clone();
        Ok(Self { archive_id, areas, ways, vouch_key })
    }

    /// The random id of this archive, the same in the markers of all its PBXs.
    pub fn id(&self) -> &str {
        &self.archive_id
    }

    /// Whether the folder belongs to a PBX that this archive was opened for.
    pub fn serves(&self, folder: &Folder) -> bool {
        self.areas.contains_key(folder.pbx())
    }

    /// What this filesystem turned out to be able to do, so far.
    pub fn abilities(&self) -> Abilities {
        self.ways.get()
    }

    /// Removes the temporaries that a crash left in `folder`, and returns their number. No download may be running there.
    ///
    /// Nothing else is touched: temporaries have names that no recording can have.
    pub fn remove_temporaries(&self, folder: &Folder) -> Result<usize, ArchiveError> {
        match self.folder(folder)? {
            Some(directory) => remove_temporaries(&directory),
            None => Ok(0),
        }
    }

    /// Reads what this archive was opened for.
    pub fn reader(&self) -> Disk {
        Disk::of_areas(self.areas.iter().map(|(pbx, area)| (&**pbx, area.directory())))
    }

    /// Writes a file that never changes, as [`Area::put`].
    ///
    /// # Errors
    /// [`ArchiveError::OtherBytes`] if the name has other bytes; it is left as it is.
    pub fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.area_of(key)?.put(key, bytes)
    }

    /// Makes sure that the folder of `pbx` is still the one at its path: an open one stays readable when it was moved away,
    /// or something was mounted over it.
    ///
    /// # Errors
    /// [`ArchiveError::NotMounted`] if another folder, or none, stands there now.
    pub fn check_place(&self, pbx: &str) -> Result<(), ArchiveError> {
        let ours = self.area(pbx)?.directory();
        match Directory::open(ours.path()) {
            Ok(there) if there.is(ours) => Ok(()),
            Ok(_) | Err(ArchiveError::Io { .. } | ArchiveError::Planted { .. }) => {
                Err(ArchiveError::NotMounted {
                    path: ours.path().to_owned(),
                    reason: "another folder stands there than when this run began",
                })
            }
            Err(error) => Err(error),
        }
    }

    fn area(&self, pbx: &str) -> Result<&Area, ArchiveError> {
        let reason = "the archive was not opened for this PBX";
        self.areas.get(pbx).ok_or_else(|| ArchiveError::unsafe_path(pbx, reason))
    }

    fn area_of(&self, key: &Key) -> Result<&Area, ArchiveError> {
        self.area(&key.components().next().unwrap_or_default().to_string_lossy())
    }

    fn folder(&self, folder: &Folder) -> Result<Option<Directory>, ArchiveError> {
        self.area(folder.pbx())?.folder(&folder.into())
    }

    /// Opens a folder, making it if need be. On return all entries that lead to it are on disk.
    fn folder_durably(&self, folder: &Folder) -> Result<Directory, ArchiveError> {
        self.area(folder.pbx())?.folder_durably(&folder.into())
    }
}

/// Whether a name directly in a PBX's folder stands for what is no part of its recordings: the marker, the quarantine,
/// and what a filesystem that is mounted there brings along.
pub fn is_apart(name: &[u8]) -> bool {
    [marker::NAME, placement::QUARANTINE, "lost+found"].iter().any(|apart| name == apart.as_bytes())
}

/// Refuses whatever must not be written to, before anything is; the archive id of the markers found.
fn inspect(root_path: &Path, opening: &Opening<'_>) -> Result<Option<String>, ArchiveError> {
    let root = if exists(root_path)? { Some(Directory::open(root_path)?) } else { None };
    let reader = root.clone().map(Disk::of_root);
    let mut archive_id = None;
    for pbx in opening.pbxs {
        key::check_component(pbx.id, pbx.id)?;
        let folder = root.as_ref().map(|root| root.enter(pbx.id)).transpose()?.flatten();
        let found = reader.as_ref().map(|reader| Marker::of(reader, &marker::key(pbx.id)));
        let found = found.transpose()?.flatten();
        match (found, folder) {
            (Some(found), Some(folder)) => {
                found.check(&folder, opening.state_id)?;
                archive_id.get_or_insert(found.archive_id);
            }
            _ if pbx.has_rows => {
                let reason = "the state lists recordings, but there is no `.callvault` marker";
                return Err(ArchiveError::NotMounted { path: root_path.join(pbx.id), reason });
            }
            (_, Some(folder)) => marker::refuse_files(&folder)?,
            (_, None) => {}
        }
    }
    Ok(archive_id)
}

/// Writes a file, gives it a name and removes it: finds out now what the filesystem and our user can do.
fn try_out(folder: &Directory, ways: &Ways) -> Result<(), ArchiveError> {
    let mut temporary = Temporary::create(folder, ways)?;
    temporary.write(b"callvault was here\n")?;
    let name = temporary_name();
    publish(folder, ways, &mut [(&mut temporary.sync()?, &*name)])?.or_occupied(folder)?;
    folder.unlink(&name)
}

fn remove_temporaries(directory: &Directory) -> Result<usize, ArchiveError> {
    let names = directory.names()?;
    let mut removed = 0;
    for name in names.iter().filter(|name| is_temporary(name)) {
        directory.unlink(name)?;
        removed += 1;
    }
    Ok(removed)
}

fn refuse_inside_state(root_path: &Path, state_path: &Path) -> Result<(), ArchiveError> {
    let state = resolve(state_path)?;
    match root_path.starts_with(&state) {
        true => Err(ArchiveError::InsideState { path: root_path.to_owned(), state }),
        false => Ok(()),
    }
}

/// The absolute path without symbolic links, as far as it exists.
fn resolve(path: &Path) -> Result<PathBuf, ArchiveError> {
    let failed = |error: std::io::Error| ArchiveError::io("find", path, error);
    let absolute = std::path::absolute(path).map_err(failed)?;
    for ancestor in absolute.ancestors() {
        if exists(ancestor)? {
            let rest = absolute.strip_prefix(ancestor).expect("an ancestor is a prefix");
            return Ok(ancestor.canonicalize().map_err(failed)?.join(rest));
        }
    }
    Ok(absolute)
}

fn exists(path: &Path) -> Result<bool, ArchiveError> {
    path.try_exists().map_err(|error| ArchiveError::io("find", path, error))
}

/// Opens the folder at `path`, making it and its parents if need be, each durably.
fn open_durably(path: &Path) -> Result<Directory, ArchiveError> {
    if exists(path)? {
        return Directory::open(path);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Directory::open(path) };
    if name.to_str().is_none() {
        let reason = "a folder to be made must have a name in UTF-8";
        return Err(ArchiveError::unsafe_path(name.as_encoded_bytes(), reason));
    }
    open_durably(parent)?.enter_durably(name)
}

/// Bytes that can still be written to the archive at `root`, or to where it would be made.
pub fn free_bytes(root: &Path) -> Result<u64, ArchiveError> {
    filesystem::free_bytes(root).map_err(|error| ArchiveError::io("examine", root, error))
}

impl Archive {
    pub fn free_bytes(&self, pbx: &str) -> Result<u64, ArchiveError> {
        Ok(available(&self.stat(pbx)?))
    }

    /// Fails with [`ArchiveError::Full`] while less than `free_bytes_min` or no inode is free.
    pub fn check_space(&self, pbx: &str, free_bytes_min: u64) -> Result<(), ArchiveError> {
        let path = self.area(pbx)?.directory().path();
        match shortage(&self.stat(pbx)?, free_bytes_min) {
            None => Ok(()),
            Some(shortage) => Err(ArchiveError::Full { path: path.to_owned(), shortage }),
        }
    }

    fn stat(&self, pbx: &str) -> Result<StatVfs, ArchiveError> {
        let directory = self.area(pbx)?.directory();
        rustix::fs::fstatvfs(directory).map_err(|errno| ArchiveError::io("examine", directory.path(), errno))
    }
}

fn shortage(stat: &StatVfs, free_bytes_min: u64) -> Option<String> {
    let free_bytes = available(stat);
    if free_bytes < free_bytes_min {
        let mib = |bytes: u64| bytes >> 20;
        let (free, min) = (mib(free_bytes), mib(free_bytes_min));
        return Some(format!("{free} MiB free, `free_bytes_min` asks for {min} MiB"));
    }
    // Filesystems that make inodes as needed report none at all.
    let has_inodes = stat.f_files > 0;
    (has_inodes && stat.f_favail == 0).then(|| "no inodes left".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_told_with_both_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let stat = rustix::fs::statvfs(dir.path()).unwrap();
        assert_eq!(shortage(&stat, 0), None);
        assert!(shortage(&stat, u64::MAX).unwrap().contains("`free_bytes_min` asks for"));
        assert_eq!(shortage(&stat, available(&stat)), None);
        assert_eq!(shortage(&StatVfs { f_favail: 0, f_files: 9, ..stat }, 0).unwrap(), "no inodes left");
        assert_eq!(shortage(&StatVfs { f_favail: 0, f_files: 0, ..stat }, 0), None);
    }
}
