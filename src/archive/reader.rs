//! Reading an archive, wherever it is kept, also while the owner writes to it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::directory::{Directory, Entry, settle_on_disk};
use super::{ArchiveError, Key, exists};
use crate::base::digest::Digest;

/// How much is read at a time: enough that calls cost nothing, and little enough to stay in the processor's cache.
const READ_BYTES: usize = 128 << 10;

/// Reads an archive. Threads may share it. Calls block.
pub trait Reader: fmt::Debug + Send + Sync {
    /// Opens what stands under `key`, from byte `from` on.
    ///
    /// # Errors
    /// [`ArchiveError::Planted`] if something that is no folder stands where a folder should be.
    fn open(&self, key: &Key, from: u64) -> Result<Opened, ArchiveError>;

    /// What stands in a folder; `None` if there is no such folder.
    fn list(&self, folder: &Key) -> Result<Option<Listing>, ArchiveError>;

    /// Makes sure that what stands under `key`, if anything does, is there to stay, and that the next reading is of what
    /// stays. Where everything that can be read is durable there is nothing to do.
    fn settle(&self, _key: &Key) -> Result<(), ArchiveError> {
        Ok(())
    }

    /// How people find what stands under `key`.
    fn location(&self, key: &Key) -> PathBuf {
        key.to_string().into()
    }

    /// The bytes of a file; `None` if none stands there.
    fn file(&self, key: &Key) -> Result<Option<Stream>, ArchiveError> {
        Ok(match self.open(key, 0)? {
            Opened::File(stream) => Some(stream),
            Opened::Nothing | Opened::Other => None,
        })
    }

    /// The content of a file; `None` if none stands there.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`] if it has more than `bytes_max` bytes, of which no more are read.
    fn read(&self, key: &Key, bytes_max: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some(stream) = self.file(key)? else { return Ok(None) };
        let bytes = read_at_most(stream, bytes_max.saturating_add(1), &self.location(key))?;
        match bytes.len() as u64 > bytes_max {
            true => Err(ArchiveError::TooLarge { path: self.location(key), bytes_max }),
            false => Ok(Some(bytes)),
        }
    }

    /// Reads a file to its end for as long as `go_on` agrees, which is given the number of bytes of each read.
    fn hash(&self, key: &Key, go_on: &mut dyn FnMut(usize) -> bool) -> Result<Content, ArchiveError> {
        let mut stream = match self.open(key, 0)? {
            Opened::Nothing => return Ok(Content::Nothing),
            Opened::Other => return Ok(Content::NotAFile),
            Opened::File(stream) => stream,
        };
        let hashed = hash_while(&mut stream, go_on);
        hashed.map_err(|error| ArchiveError::io("read", &self.location(key), error))
    }

    /// The names in a folder, in order and safe to print; none if it is not there.
    fn names(&self, folder: &Key) -> Result<Vec<String>, ArchiveError> {
        let listing = self.list(folder)?.unwrap_or_default();
        Ok(listing.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }
}

#[derive(Debug)]
pub enum Opened {
    Nothing,
    File(Stream),
    /// Something that is no file.
    Other,
}

pub struct Stream {
    /// Of the whole file.
    pub size_bytes: u64,
    bytes: Box<dyn Read + Send>,
}

impl Stream {
    pub fn new(size_bytes: u64, bytes: impl Read + Send + 'static) -> Self {
        Self { size_bytes, bytes: Box::new(bytes) }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    File {
        size_bytes: u64,
    },
    Folder,
    /// A symbolic link, a pipe: nothing that callvault makes.
    Other,
}

/// What stands in a folder, by name, in order.
pub type Listing = BTreeMap<Vec<u8>, Standing>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Nothing,
    /// Something that is no file.
    NotAFile,
    Bytes {
        size_bytes: u64,
        sha256: Digest,
    },
    /// The reader was stopped.
    Unread,
}

/// Reads an archive in a folder on disk. It follows no symbolic link below the root.
#[derive(Debug)]
pub struct Disk {
    top: Top,
    /// The folder that was entered last: the next thing is mostly in it too.
    last: Mutex<Option<(Key, Directory)>>,
}

#[derive(Debug)]
enum Top {
    Root(Directory),
    /// Folders in the root, each of which may be a mount of its own.
    Areas(BTreeMap<String, Directory>),
}

impl Disk {
    /// Opens the archive at `root`; `None` if there is no such folder.
    pub fn open(root: &Path) -> Result<Option<Self>, ArchiveError> {
        match exists(root)? {
            true => Ok(Some(Self::of(Top::Root(Directory::open(root)?)))),
            false => Ok(None),
        }
    }

    pub(super) fn of_root(root: Directory) -> Self {
        Self::of(Top::Root(root))
    }

    pub(super) fn of_areas<'a>(areas: impl Iterator<Item = (&'a str, &'a Directory)>) -> Self {
        Self::of(Top::Areas(areas.map(|(name, directory)| (name.to_owned(), directory.clone())).collect()))
    }

    fn of(top: Top) -> Self {
        Self { top, last: Mutex::default() }
    }

    fn enter(&self, folder: &Key) -> Result<Option<Directory>, ArchiveError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((key, directory)) = &*last
            && key == folder
        {
            return Ok(Some(directory.clone()));
        }
        if *folder != Key::ROOT {
            folder.check()?;
        }
        let mut components = folder.components();
        let mut directory = match &self.top {
            Top::Root(root) => root.clone(),
            Top::Areas(areas) => {
                let area = components.next().and_then(|name| areas.get(name.to_str()?));
                let reason = "the archive was not opened for this folder";
                area.ok_or_else(|| ArchiveError::unsafe_path(folder.as_bytes(), reason))?.clone()
            }
        };
        for component in components {
            match directory.enter(component)? {
                Some(inner) => directory = inner,
                None => return Ok(None),
            }
        }
        *last = Some((folder.clone(), directory.clone()));
        Ok(Some(directory))
    }
}

impl Reader for Disk {
    fn open(&self, key: &Key, from: u64) -> Result<Opened, ArchiveError> {
        key.check()?;
        if matches!(self.top, Top::Areas(_)) && key.depth() < 2 {
            let reason = "it does not lie below the folder of a PBX";
            return Err(ArchiveError::unsafe_path(key.name(), reason));
        }
        let Some(folder) = self.enter(&key.folder())? else { return Ok(Opened::Nothing) };
        let mut file = match folder.entry(key.os_name())? {
            Entry::Vacant => return Ok(Opened::Nothing),
            Entry::Other => return Ok(Opened::Other),
            Entry::File(file) => file,
        };
        // Advice only.
        let _ = rustix::fs::fadvise(&file, 0, None::<NonZeroU64>, rustix::fs::Advice::Sequential);
        let failed = |error| ArchiveError::io("read", &folder.file_path(key.os_name()), error);
        let size_bytes = file.metadata().map_err(failed)?.len();
        if from > 0 {
            file.seek(SeekFrom::Start(from)).map_err(failed)?;
        }
        Ok(Opened::File(Stream::new(size_bytes, file)))
    }

    fn list(&self, folder: &Key) -> Result<Option<Listing>, ArchiveError> {
        self.enter(folder)?.map(|directory| directory.listing()).transpose()
    }

    fn location(&self, key: &Key) -> PathBuf {
        let mut components = key.components();
        let top = match &self.top {
            Top::Root(root) => Some(root),
            Top::Areas(areas) => components.next().and_then(|name| areas.get(name.to_str()?)),
        };
        top.map_or_else(PathBuf::new, |top| top.path().to_owned()).join(components.collect::<PathBuf>())
    }

    fn settle(&self, key: &Key) -> Result<(), ArchiveError> {
        let Some(folder) = self.enter(&key.folder())? else { return Ok(()) };
        if let Entry::File(file) = folder.entry(key.os_name())? {
            settle_on_disk(&file, &folder.file_path(key.os_name()))?;
            folder.sync()?;
        }
        Ok(())
    }
}

/// What is left to be read, but no more than so many bytes.
pub(super) fn read_at_most(from: impl Read, bytes_max: u64, path: &Path) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    let read = from.take(bytes_max).read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|error| ArchiveError::io("read", path, error))
}

/// Size and hash of what is left to be read, for as long as `go_on` agrees.
pub fn hash_while(bytes: &mut dyn Read, go_on: &mut dyn FnMut(usize) -> bool) -> io::Result<Content> {
    let (mut hasher, mut size_bytes, mut buffer) = (Sha256::new(), 0, vec![0; READ_BYTES]);
    loop {
        let count = match bytes.read(&mut buffer) {
            Ok(0) => return Ok(Content::Bytes { size_bytes, sha256: hasher.into() }),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..count]);
        size_bytes += count as u64;
        if !go_on(count) {
            return Ok(Content::Unread);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_read_and_nothing_that_leads_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let day = root.path().join("hq/2026/01/09");
        std::fs::create_dir_all(&day).unwrap();
        std::fs::write(day.join("a.wav"), "audio").unwrap();
        std::os::unix::fs::symlink("a.wav", day.join("b.wav")).unwrap();
        std::os::unix::fs::symlink("2026", root.path().join("hq/2027")).unwrap();
        let disk = Disk::open(root.path()).unwrap().unwrap();
        let key = |name: &str| Key::parse(&format!("hq/2026/01/09/{name}")).unwrap();
        assert_eq!(disk.read(&key("a.wav"), 5).unwrap().unwrap(), b"audio");
        let error = disk.read(&key("a.wav"), 4).unwrap_err();
        assert!(matches!(error, ArchiveError::TooLarge { bytes_max: 4, .. }), "{error}");
        let Opened::File(mut rest) = disk.open(&key("a.wav"), 3).unwrap() else { panic!("it is a file") };
        let mut text = String::new();
        rest.read_to_string(&mut text).unwrap();
        assert_eq!((rest.size_bytes, &*text), (5, "io"));
        let hashed = Content::Bytes { size_bytes: 5, sha256: Digest::of("audio") };
        assert_eq!(disk.hash(&key("a.wav"), &mut |_| true).unwrap(), hashed);
        assert_eq!(disk.hash(&key("a.wav"), &mut |_| false).unwrap(), Content::Unread);
        assert_eq!(disk.hash(&key("b.wav"), &mut |_| true).unwrap(), Content::NotAFile);
        assert!(matches!(disk.open(&key("c.wav"), 0).unwrap(), Opened::Nothing));
        assert_eq!(disk.names(&key("a.wav").folder()).unwrap(), ["a.wav", "b.wav"]);
        assert_eq!(disk.list(&Key::parse("hq/2026/01/10").unwrap()).unwrap(), None);
        let planted = disk.list(&Key::parse("hq/2027").unwrap()).unwrap_err();
        assert!(matches!(planted, ArchiveError::Planted { .. }), "{planted}");
        disk.settle(&key("a.wav")).unwrap();
        assert!(Disk::open(&root.path().join("not there")).unwrap().is_none());
    }
}
