//! A folder in the root of the archive, open for writing: that of a PBX, or one for files that are derived from the state.
//!
//! All files are made alike (`publish`): whole, durable, never replaced, but for the derived ones that are meant to be.
//! Each area has a marker, so that two states never write to one.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustix::io::Errno;

use super::directory::{Directory, Entry};
use super::durable::{Published, move_no_replace, publish, replace};
use super::key::check_component;
use super::marker::{self, Marker};
use super::reader::{Disk, Reader, Standing};
use super::temporary::{Abilities, Temporary, Ways, is_temporary};
use super::{ArchiveError, Key, open_durably, remove_temporaries};

/// Threads may share it. Calls block.
#[derive(Debug)]
pub struct Area {
    name: String,
    directory: Directory,
    ways: Arc<Ways>,
    /// Whether temporaries that a crash left in a folder are removed when that is first entered. Then nothing but
    /// [`Area::put`] and [`Area::replace`] may write there.
    is_cleaned: bool,
    /// Folders whose entries are known to be on disk.
    durable_folders: Mutex<HashSet<Key>>,
}

#[derive(Debug, Clone, Copy)]
pub struct AreaOwner<'a> {
    pub archive_id: &'a str,
    pub state_id: &'a str,
    /// The present time, for a new marker.
    pub now: Timestamp,
}

impl Area {
    /// Opens the folder `name` in the root of the archive, making it if need be.
    ///
    /// On return its marker is on disk and names this state, and temporaries directly in it are gone.
    ///
    /// # Errors
    /// [`ArchiveError::Foreign`] if another state writes there.
    pub fn open(root: &Path, name: &str, owner: AreaOwner<'_>) -> Result<Self, ArchiveError> {
        check_component(name, name)?;
        let directory = open_durably(root)?.enter_durably(name)?;
        let ways = Arc::new(Ways::new(Abilities::all()));
        let area = Self { is_cleaned: true, ..Self::of(name, directory, ways) };
        match Marker::of(&area.reader(), &marker::key(name))? {
            Some(marker) => marker.check(&area.directory, owner.state_id)?,
            None => Marker::write(owner, &area.directory, &area.ways)?,
        }
        remove_temporaries(&area.directory)?;
        Ok(area)
    }

    pub(super) fn of(name: &str, directory: Directory, ways: Arc<Ways>) -> Self {
        let durable_folders = Mutex::default();
        Self { name: name.to_owned(), directory, ways, is_cleaned: false, durable_folders }
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Reads it as it is open here: also when another folder was put in its place.
    pub fn reader(&self) -> Disk {
        Disk::of_areas(std::iter::once((&*self.name, &self.directory)))
    }

    /// Reads the archive anew from its root; `None` if that is gone.
    pub fn root_reader(&self) -> Result<Option<Disk>, ArchiveError> {
        Disk::open(self.directory.path().parent().unwrap_or(Path::new("/")))
    }

    /// Writes a file that never changes. One that is there with these bytes is this one: a crash came after it.
    ///
    /// On return file and name are on disk.
    ///
    /// # Errors
    /// [`ArchiveError::OtherBytes`] if the name has other bytes; it is left as it is.
    pub fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), ArchiveError> {
        let name = safe_name(key)?;
        let folder = self.folder_durably(&key.folder())?;
        let mut there = folder.holds_bytes(name, bytes)?;
        if there.is_none() {
            let mut temporary = Temporary::create(&folder, &self.ways)?;
            temporary.write(bytes)?;
            if publish(&folder, &self.ways, &mut [(&mut temporary.sync()?, name)])? == Published::New {
                return Ok(());
            }
            // Another task has put it there meanwhile.
            there = folder.holds_bytes(name, bytes)?;
        }
        match there {
            Some(true) => folder.sync(),
            Some(false) => Err(ArchiveError::OtherBytes { path: folder.file_path(name) }),
            None => Err(ArchiveError::Occupied { path: folder.file_path(name) }),
        }
    }

    /// Writes a derived file whole in place of the one that is there.
    ///
    /// On return the new content is on disk; after a crash there is the old one or the new one.
    pub fn replace(&self, key: &Key, bytes: &[u8]) -> Result<(), ArchiveError> {
        let name = safe_name(key)?;
        replace(&self.folder_durably(&key.folder())?, name, bytes)
    }

    /// Removes a file that another one has made needless. One that is gone already is no error.
    pub fn remove(&self, key: &Key) -> Result<(), ArchiveError> {
        let Some(folder) = self.folder(&key.folder())? else { return Ok(()) };
        match folder.entry(key.os_name())? {
            Entry::Vacant => Ok(()),
            Entry::File(_) | Entry::Other => folder.unlink(key.os_name()),
        }
    }

    /// Moves a file that is not what it should be out of the way, to its name with `~` and a number; nothing is deleted.
    pub fn move_aside(&self, key: &Key) -> Result<Option<String>, ArchiveError> {
        let (Some(folder), name) = (self.folder(&key.folder())?, safe_name(key)?) else { return Ok(None) };
        if matches!(folder.entry(name)?, Entry::Vacant) {
            return Ok(None);
        }
        for copy in 1..1000 {
            let aside = format!("{name}~{copy}");
            match move_no_replace(&folder, name, &folder, &aside, &self.ways) {
                Ok(()) => {
                    folder.sync()?;
                    return Ok(Some(aside));
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(ArchiveError::io("move aside", &folder.file_path(name), errno)),
            }
        }
        Err(ArchiveError::Occupied { path: folder.file_path(name) })
    }

    /// Opens a folder of it, if it is there.
    pub(super) fn folder(&self, folder: &Key) -> Result<Option<Directory>, ArchiveError> {
        let mut directory = self.directory.clone();
        for component in self.components(folder)? {
            match directory.enter(component)? {
                Some(inner) => directory = inner,
                None => return Ok(None),
            }
        }
        Ok(Some(directory))
    }

    /// Opens a folder of it, making it if need be. On return all entries that lead to it are on disk.
    pub(super) fn folder_durably(&self, folder: &Key) -> Result<Directory, ArchiveError> {
        // Held until the folder is clean: nobody else may write there before. A panic elsewhere cannot leave a set of
        // folders half inserted.
        let mut known = self.durable_folders.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = known.contains(folder);
        let mut directory = self.directory.clone();
        for component in self.components(folder)? {
            directory = match is_known.then(|| directory.enter(component)).transpose()?.flatten() {
                Some(inner) => inner,
                None => directory.enter_durably(component)?,
            };
        }
        if !is_known {
            if self.is_cleaned {
                remove_temporaries(&directory)?;
            }
            known.insert(folder.clone());
        }
        Ok(directory)
    }

    fn components<'a>(&self, folder: &'a Key) -> Result<impl Iterator<Item = &'a OsStr>, ArchiveError> {
        folder.check()?;
        let mut components = folder.components();
        match components.next().is_some_and(|area| area == &*self.name) {
            true => Ok(components),
            false => Err(ArchiveError::unsafe_path(folder.as_bytes(), "it is in another area")),
        }
    }
}

/// The keys of all that is no folder in an area and below, in order; without the marker and temporaries.
pub fn files(reader: &dyn Reader, area: &str) -> Result<Vec<Key>, ArchiveError> {
    let mut files = Vec::new();
    let mut waiting = vec![Key::ROOT.join(area.as_bytes())];
    while let Some(folder) = waiting.pop() {
        for (name, standing) in reader.list(&folder)?.unwrap_or_default() {
            let key = folder.join(&name);
            match standing {
                Standing::Folder => waiting.push(key),
                _ if key == marker::key(area) || is_temporary(&String::from_utf8_lossy(&name)) => {}
                _ => files.push(key),
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The last component of a key that is to be written, all of which are safe names.
fn safe_name(key: &Key) -> Result<&str, ArchiveError> {
    let path = key.as_str().unwrap_or_default();
    path.split('/').try_for_each(|component| check_component(path, component))?;
    Ok(path.rsplit('/').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::temporary::temporary_name;
    use super::*;

    const OWNER: AreaOwner<'_> =
        AreaOwner { archive_id: "archive", state_id: "ours", now: Timestamp::UNIX_EPOCH };

    fn key(path: &str) -> Key {
        Key::parse(&format!("_ledger/{path}")).unwrap()
    }

    fn read(area: &Area, path: &str) -> Option<Vec<u8>> {
        area.reader().read(&key(path), 9).unwrap()
    }

    #[test]
    fn a_file_is_put_once_and_never_changed() {
        let root = tempfile::tempdir().unwrap();
        let area = Area::open(root.path(), "_ledger", OWNER).unwrap();
        area.put(&key("tile/0/000.p/1"), b"one").unwrap();
        area.put(&key("tile/0/000.p/1"), b"one").unwrap();
        for other in [&b"two"[..], b"on", b"ones"] {
            let put = area.put(&key("tile/0/000.p/1"), other);
            assert!(matches!(put, Err(ArchiveError::OtherBytes { .. })));
        }
        assert_eq!(read(&area, "tile/0/000.p/1").unwrap(), b"one");
        assert_eq!(read(&area, "tile/1/000"), None);
        area.replace(&key("checkpoint"), b"a").unwrap();
        area.replace(&key("checkpoint"), b"b").unwrap();
        assert_eq!(read(&area, "checkpoint").unwrap(), b"b");
        assert_eq!(area.reader().names(&key("tile/0")).unwrap(), ["000.p"]);
        assert_eq!(area.reader().names(&key("nothing")).unwrap(), Vec::<String>::new());
        assert_eq!(files(&area.reader(), "_ledger").unwrap(), [key("checkpoint"), key("tile/0/000.p/1")]);
        assert!(area.put(&Key::parse("hq/a").unwrap(), b"a").is_err());
    }

    #[test]
    fn tasks_that_put_the_same_file_at_once_all_succeed() {
        let root = tempfile::tempdir().unwrap();
        let area = Area::open(root.path(), "_ledger", OWNER).unwrap();
        for round in 0..100 {
            let key = key(&format!("tile/{round}"));
            let put = || area.put(&key, b"one").unwrap();
            std::thread::scope(|tasks| drop([(); 4].map(|()| tasks.spawn(put))));
        }
    }

    #[test]
    fn its_marker_says_whose_it_is_until_somebody_takes_it_away() {
        let root = tempfile::tempdir().unwrap();
        let area = Area::open(root.path(), "_ledger", OWNER).unwrap();
        let path = root.path().join("_ledger").join(marker::NAME);
        assert!(std::fs::read_to_string(&path).unwrap().contains("ours"));
        let marker = |area: &Area| Marker::of(&area.reader(), &marker::key("_ledger")).unwrap();
        assert!(marker(&area).is_some());
        std::fs::remove_file(path).unwrap();
        assert_eq!(marker(&area), None);
    }

    #[test]
    fn what_a_crash_left_in_a_folder_goes_with_the_next_file_there() {
        let root = tempfile::tempdir().unwrap();
        let area = Area::open(root.path(), "_ledger", OWNER).unwrap();
        area.put(&key("tile/0/000.p/1"), b"one").unwrap();
        let left = root.path().join("_ledger/tile/0/000.p").join(temporary_name());
        std::fs::write(&left, b"half").unwrap();
        let next = Area::open(root.path(), "_ledger", OWNER).unwrap();
        next.put(&key("tile/0/000.p/1"), b"one").unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn what_is_needless_goes_and_what_is_wrong_is_moved_aside() {
        let root = tempfile::tempdir().unwrap();
        let area = Area::open(root.path(), "_ledger", OWNER).unwrap();
        area.put(&key("a"), b"1").unwrap();
        assert_eq!(area.move_aside(&key("a")).unwrap().as_deref(), Some("a~1"));
        assert_eq!(area.move_aside(&key("a")).unwrap(), None);
        area.put(&key("a"), b"2").unwrap();
        area.remove(&key("a")).unwrap();
        area.remove(&key("a")).unwrap();
        assert_eq!((read(&area, "a"), read(&area, "a~1").unwrap()), (None, b"1".to_vec()));
    }

    #[test]
    fn the_area_of_another_state_is_read_and_not_written() {
        let root = tempfile::tempdir().unwrap();
        Area::open(root.path(), "_ledger", OWNER).unwrap().put(&key("a"), b"1").unwrap();
        let theirs = Area::open(root.path(), "_ledger", AreaOwner { state_id: "theirs", ..OWNER });
        assert!(matches!(theirs, Err(ArchiveError::Foreign { .. })));
        let reader = Disk::open(root.path()).unwrap().unwrap();
        assert_eq!(reader.read(&key("a"), 9).unwrap().unwrap(), b"1");
    }
}
