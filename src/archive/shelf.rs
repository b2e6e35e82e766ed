//! A folder of the archive that belongs to no PBX: for files that are derived from the state and written once.
//!
//! Its files are made like recordings ([`publish`]): whole, durable, never replaced, but for the one that is meant to be
//! ([`Shelf::replace`]). It has a marker like the folder of a PBX, so that two states never write to one.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::abilities::{Abilities, Ways};
use super::directory::{Directory, Entry, settle_on_disk};
use super::durable::{Published, publish, replace};
use super::inspection::Standing;
use super::layout::check_component;
use super::marker::{self, Marker};
use super::temporary::{Temporary, is_temporary};
use super::{ArchiveError, open_durably, remove_temporaries};
use crate::base::recording::printable;

/// The folder, open. Threads may share it. Calls block.
#[derive(Debug)]
pub struct Shelf {
    directory: Directory,
    ways: Ways,
    /// Folders whose entries are known to be on disk.
    durable_folders: Mutex<HashSet<String>>,
}

/// Whose shelf it is.
#[derive(Debug, Clone, Copy)]
pub struct ShelfOwner<'a> {
    /// The id of the archive.
    pub archive_id: &'a str,
    /// The id of the state directory that writes there.
    pub state_id: &'a str,
    /// The present time, for a new marker.
    pub now: Timestamp,
}

impl Shelf {
    /// Opens the folder `name` in the root of the archive, making it if need be.
    ///
    /// On return its marker is on disk and names this state, and temporaries directly in it are gone.
    ///
    /// # Errors
    /// [`ArchiveError::Foreign`] if another state writes there; whatever the filesystem says.
    pub fn open(root: &Path, name: &str, owner: ShelfOwner<'_>) -> Result<Self, ArchiveError> {
        check_component(name, name)?;
        let directory = open_durably(root)?.enter_durably(name)?;
        let ways = Ways::new(Abilities::all());
        match Marker::read(&directory)? {
            Some(marker) => marker.check(&directory, owner.state_id)?,
            None => Marker::new(owner.archive_id, owner.state_id, owner.now).write(&directory, &ways)?,
        }
        remove_temporaries(&directory)?;
        Ok(Self::of(directory, ways))
    }

    /// Opens the folder `name` to read in it, whoever writes there. `None` if it is not there.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn open_to_read(root: &Path, name: &str) -> Result<Option<Self>, ArchiveError> {
        check_component(name, name)?;
        if !super::exists(root)? {
            return Ok(None);
        }
        let directory = Directory::open(root)?.enter(name)?;
        Ok(directory.map(|directory| Self::of(directory, Ways::new(Abilities::all()))))
    }

    fn of(directory: Directory, ways: Ways) -> Self {
        Self { directory, ways, durable_folders: Mutex::default() }
    }

    /// Its path, to name it to people.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file that never changes. One that is there with these bytes is this one: a crash came after it.
    ///
    /// On return file and name are on disk.
    ///
    /// # Errors
    /// [`ArchiveError::OtherBytes`] if the name has other bytes; it is left as it is.
    pub fn put(&self, path: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        let (folder, name) = self.folder_durably(path)?;
        match read(&folder, name, bytes.len() as u64, true) {
            Ok(None) => {}
            Ok(Some(there)) if there == bytes => return folder.sync(),
            Ok(Some(_)) | Err(ArchiveError::TooLarge { .. }) => return Err(other_bytes(&folder, name)),
            Err(error) => return Err(error),
        }
        let mut temporary = Temporary::create(&folder, &self.ways)?;
        temporary.write(bytes)?;
        match publish(&folder, &self.ways, &mut [(&mut temporary.sync()?, name)])? {
            Published::New => Ok(()),
            Published::Exists(_) => Err(ArchiveError::Occupied { path: folder.file_path(name) }),
        }
    }

    /// Writes a file whole in place of the one that is there.
    ///
    /// On return the new content is on disk; after a crash there is the old one or the new one.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        let (folder, name) = self.folder_durably(path)?;
        replace(&folder, name, bytes)
    }

    /// The content of a file of at most `bytes_max` bytes; `None` if it is not there, or is no file.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`] if it has more, of which no more is read; whatever the filesystem says.
    pub fn read(&self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some((folder, name)) = self.folder(path)? else { return Ok(None) };
        read(&folder, name, bytes_max, false)
    }

    /// The names in a folder of it, sorted; none if it is not there.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn names(&self, folder: &str) -> Result<Vec<String>, ArchiveError> {
        let Some((folder, _)) = self.folder(&format!("{folder}/x"))? else { return Ok(Vec::new()) };
        let mut names = folder.names()?;
        names.sort();
        Ok(names)
    }

    /// The paths of all that is no folder, in it and below, sorted; without the marker and temporaries. Names that are not
    /// UTF-8 are made printable.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn files(&self) -> Result<Vec<String>, ArchiveError> {
        let mut files = Vec::new();
        let mut waiting = vec![(String::new(), self.directory.clone())];
        while let Some((prefix, folder)) = waiting.pop() {
            for (name, standing) in folder.listing()? {
                let path = format!("{prefix}{}", printable(name.as_encoded_bytes()));
                match standing {
                    Standing::Folder => {
                        waiting.extend(folder.enter(&name)?.map(|inner| (format!("{path}/"), inner)));
                    }
                    _ if path == marker::NAME || is_temporary(&name.to_string_lossy()) => {}
                    _ => files.push(path),
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// The bytes of its marker; `None` if it is gone.
    ///
    /// # Errors
    /// As [`Shelf::read`].
    pub fn marker(&self) -> Result<Option<Vec<u8>>, ArchiveError> {
        read(&self.directory, marker::NAME, marker::BYTES_MAX, false)
    }

    /// Removes a file that another one has made needless. One that is gone already is no error.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn remove(&self, path: &str) -> Result<(), ArchiveError> {
        let Some((folder, name)) = self.folder(path)? else { return Ok(()) };
        match folder.entry(name)? {
            Entry::Vacant => Ok(()),
            Entry::File(_) | Entry::Other => folder.unlink(name),
        }
    }

    /// Moves a file that is not what it should be out of the way, to its name with `~` and a number; nothing is deleted.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn move_aside(&self, path: &str) -> Result<Option<String>, ArchiveError> {
        let Some((folder, name)) = self.folder(path)? else { return Ok(None) };
        if matches!(folder.entry(name)?, Entry::Vacant) {
            return Ok(None);
        }
        for copy in 1..1000 {
            let aside = format!("{name}~{copy}");
            match super::durable::move_no_replace(&folder, name, &folder, &aside, &self.ways) {
                Ok(()) => {
                    folder.sync()?;
                    return Ok(Some(aside));
                }
                Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(ArchiveError::io("move aside", &folder.file_path(name), errno)),
            }
        }
        Err(ArchiveError::Occupied { path: folder.file_path(name) })
    }

    /// The folder and the name of a path, if the folder is there.
    fn folder<'a>(&self, path: &'a str) -> Result<Option<(Directory, &'a str)>, ArchiveError> {
        let (components, name) = split(path)?;
        let mut folder = self.directory.clone();
        for component in components {
            match folder.enter(component)? {
                Some(inner) => folder = inner,
                None => return Ok(None),
            }
        }
        Ok(Some((folder, name)))
    }

    /// Enters the folder of a path, made durable. Temporaries that a crash left in it are gone when it is first entered:
    /// the next run comes to the same files, so it enters the same folders.
    fn folder_durably<'a>(&self, path: &'a str) -> Result<(Directory, &'a str), ArchiveError> {
        let (components, name) = split(path)?;
        let key = path.strip_suffix(name).expect("a path ends in its name");
        // Held until it is clean: nobody else may write there before.
        let mut known = self.durable_folders.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = known.contains(key);
        let mut folder = self.directory.clone();
        for component in components {
            folder = match is_known.then(|| folder.enter(component)).transpose()?.flatten() {
                Some(inner) => inner,
                None => folder.enter_durably(component)?,
            };
        }
        if !is_known {
            remove_temporaries(&folder)?;
            known.insert(key.to_owned());
        }
        Ok((folder, name))
    }
}

fn split(path: &str) -> Result<(Vec<&str>, &str), ArchiveError> {
    let mut components: Vec<&str> = path.split('/').collect();
    components.iter().try_for_each(|component| check_component(path, component))?;
    let name = components.pop().expect("a split has a last part");
    Ok((components, name))
}

/// Reads a file whole; settled on the disk before, if who reads relies on its being there after a power cut.
fn read(
    folder: &Directory,
    name: &str,
    bytes_max: u64,
    durably: bool,
) -> Result<Option<Vec<u8>>, ArchiveError> {
    let Entry::File(file) = folder.entry(name)? else { return Ok(None) };
    let path = folder.file_path(name);
    if durably {
        settle_on_disk(&file, &path)?;
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| ArchiveError::io("read", &path, error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(ArchiveError::TooLarge { path, bytes_max });
    }
    Ok(Some(bytes))
}

fn other_bytes(folder: &Directory, name: &str) -> ArchiveError {
    ArchiveError::OtherBytes { path: folder.file_path(name) }
}

#[cfg(test)]
mod tests {
    use super::super::temporary::temporary_name;
    use super::*;

    const OWNER: ShelfOwner<'_> =
        ShelfOwner { archive_id: "archive", state_id: "ours", now: Timestamp::UNIX_EPOCH };

    #[test]
    fn a_file_is_put_once_and_never_changed() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(root.path(), "_ledger", OWNER).unwrap();
        shelf.put("tile/0/000.p/1", b"one").unwrap();
        shelf.put("tile/0/000.p/1", b"one").unwrap();
        assert!(matches!(shelf.put("tile/0/000.p/1", b"two"), Err(ArchiveError::OtherBytes { .. })));
        assert_eq!(shelf.read("tile/0/000.p/1", 9).unwrap().unwrap(), b"one");
        assert_eq!(shelf.read("tile/1/000", 9).unwrap(), None);
        shelf.replace("checkpoint", b"a").unwrap();
        shelf.replace("checkpoint", b"b").unwrap();
        assert_eq!(shelf.read("checkpoint", 9).unwrap().unwrap(), b"b");
        assert_eq!(shelf.names("tile/0").unwrap(), ["000.p"]);
        assert_eq!(shelf.names("nothing").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(root.path(), "_ledger", OWNER).unwrap();
        shelf.put("a", b"four").unwrap();
        assert_eq!(shelf.read("a", 4).unwrap().unwrap(), b"four");
        let error = shelf.read("a", 3).unwrap_err();
        assert!(matches!(error, ArchiveError::TooLarge { bytes_max: 3, .. }), "{error}");
        assert!(matches!(shelf.put("a", b"fou"), Err(ArchiveError::OtherBytes { .. })));
    }

    #[test]
    fn its_marker_says_whose_it_is_until_somebody_takes_it_away() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(root.path(), "_ledger", OWNER).unwrap();
        let marker = std::fs::read(root.path().join("_ledger").join(marker::NAME)).unwrap();
        assert_eq!(shelf.marker().unwrap().unwrap(), marker);
        assert!(String::from_utf8(marker).unwrap().contains("ours"));
        std::fs::remove_file(root.path().join("_ledger").join(marker::NAME)).unwrap();
        assert_eq!(shelf.marker().unwrap(), None);
    }

    #[test]
    fn what_a_crash_left_in_a_folder_goes_with_the_next_file_there() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(root.path(), "_ledger", OWNER).unwrap();
        shelf.put("tile/0/000.p/1", b"one").unwrap();
        let left = root.path().join("_ledger/tile/0/000.p").join(temporary_name());
        std::fs::write(&left, b"half").unwrap();
        let next = Shelf::open(root.path(), "_ledger", OWNER).unwrap();
        next.put("tile/0/000.p/1", b"one").unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn what_is_needless_goes_and_what_is_wrong_is_moved_aside() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(root.path(), "_ledger", OWNER).unwrap();
        shelf.put("a", b"1").unwrap();
        assert_eq!(shelf.move_aside("a").unwrap().as_deref(), Some("a~1"));
        assert_eq!(shelf.move_aside("a").unwrap(), None);
        shelf.put("a", b"2").unwrap();
        shelf.remove("a").unwrap();
        shelf.remove("a").unwrap();
        assert_eq!(
            (shelf.read("a", 9).unwrap(), shelf.read("a~1", 9).unwrap().unwrap()),
            (None, b"1".to_vec())
        );
    }

    #[test]
    fn the_shelf_of_another_state_is_read_and_not_written() {
        let root = tempfile::tempdir().unwrap();
        assert!(Shelf::open_to_read(&root.path().join("not there"), "_ledger").unwrap().is_none());
        assert!(Shelf::open_to_read(root.path(), "_ledger").unwrap().is_none());
        Shelf::open(root.path(), "_ledger", OWNER).unwrap().put("a", b"1").unwrap();
        let theirs = Shelf::open(root.path(), "_ledger", ShelfOwner { state_id: "theirs", ..OWNER });
        assert!(matches!(theirs, Err(ArchiveError::Foreign { .. })));
        let reader = Shelf::open_to_read(root.path(), "_ledger").unwrap().unwrap();
        assert_eq!(reader.read("a", 9).unwrap().unwrap(), b"1");
        assert!(reader.read("../a", 9).is_err());
    }
}
