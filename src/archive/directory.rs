//! An open folder of the archive. Every name is resolved in it, one component at a time, and never through a
//! symbolic link, so that nothing planted in the archive leads outside; and the open descriptors keep the
//! filesystem mounted, so that nothing is ever written into a bare mount point.
//!
//! Component by component and not `openat2(RESOLVE_BENEATH)`: it gives the same guarantee for plain names,
//! works on every kernel, and goes through libc, where fault injection sees it.

use std::fs::File;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::ArchiveError;
use super::reader::{Content, Listing, Standing, hash_while, read_at_most};
use crate::base::users::User;

/// Folders are for the owner and the group of auditors.
const FOLDER_MODE: u32 = 0o750;

/// An open folder, and its path for error texts.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    fd: Arc<OwnedFd>,
    path: Arc<Path>,
}

#[derive(Debug)]
pub(super) enum Entry {
    Vacant,
    /// A regular file, open for reading.
    File(File),
    /// A symbolic link, a folder, a pipe: nothing that callvault writes.
    Other,
}

impl Directory {
    /// Opens the folder at `path`, which may lead through symbolic links: the operator chose it.
    pub(super) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
            .map_err(|errno| ArchiveError::io("open", path, errno))?;
        Ok(Self { fd: Arc::new(fd), path: path.into() })
    }

    /// Opens the folder `name`, if there is one; a symbolic link is an error.
    pub(super) fn enter(&self, name: impl AsRef<Path>) -> Result<Option<Self>, ArchiveError> {
        let name = name.as_ref();
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match retry_on_intr(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => Ok(Some(Self { fd: Arc::new(fd), path: path.into() })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(ArchiveError::io("open", &path, errno)),
        }
    }

    /// Opens the folder `name`, making it if need be. On return its entry is on disk, even if an earlier run made it.
    pub(super) fn enter_durably(&self, name: impl AsRef<Path>) -> Result<Self, ArchiveError> {
        let name = name.as_ref();
        let path = self.path.join(name);
        let made = match retry_on_intr(|| rustix::fs::mkdirat(&self.fd, name, Mode::from(FOLDER_MODE))) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(ArchiveError::io("make folder", &path, errno)),
        };
        // Also when it was there: an earlier run may have made it and died before it could sync this entry.
        if let Err(error) = self.sync() {
            if made {
                // A sync is not repeated on what it failed for: the next try makes the folder anew.
                let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR);
            }
            return Err(error);
        }
        let folder = self.enter(name)?.ok_or_else(|| ArchiveError::io("open", &path, Errno::NOENT))?;
        folder.open_to_group()?;
        Ok(folder)
    }

    /// Gives a folder of ours the mode that the format promises, where a umask has taken some of it away: now, or when an
    /// earlier run made it. Never more than that, and nobody else's folder: who wants the archive closed to the group closes
    /// its root, which callvault leaves as it is.
    fn open_to_group(&self) -> Result<(), ArchiveError> {
        let stat =
            rustix::fs::fstat(&self.fd).map_err(|errno| ArchiveError::io("examine", &self.path, errno))?;
        let mode = Mode::from(stat.st_mode);
        let (wanted, all) = (Mode::from(FOLDER_MODE), Mode::RWXU | Mode::RWXG | Mode::RWXO);
        let is_too_tight = wanted.contains(mode & all) && mode & all != wanted;
        if !is_too_tight || stat.st_uid != User::of_this_process().0 {
            return Ok(());
        }
        // What a folder passes on to those in it stays.
        let passed_on = mode & (Mode::SGID | Mode::SVTX);
        match retry_on_intr(|| rustix::fs::fchmod(&self.fd, wanted | passed_on)) {
            // Some network filesystems have no modes, and units may forbid whatever sets a group's bit.
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(errno) => Err(ArchiveError::io("set the mode of", &self.path, errno)),
        }
    }

    /// Makes the names in this folder durable, or fails.
    pub(super) fn sync(&self) -> Result<(), ArchiveError> {
        match retry_on_intr(|| rustix::fs::fsync(&self.fd)) {
            // Filesystems that have no such call for folders answer EINVAL; there is nothing more to be done.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(ArchiveError::io("sync folder", &self.path, errno)),
        }
    }

    /// Looks at what stands under `name`, without following or waiting for anything.
    pub(super) fn entry(&self, name: impl AsRef<Path>) -> Result<Entry, ArchiveError> {
        let name = name.as_ref();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match retry_on_intr(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(Entry::Vacant),
            // A symbolic link, or a socket or device without anything behind it.
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Ok(Entry::Other),
            Err(errno) => return Err(ArchiveError::io("open", &self.file_path(name), errno)),
        };
        let stat =
            rustix::fs::fstat(&fd).map_err(|errno| ArchiveError::io("read", &self.file_path(name), errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Entry::File(File::from(fd))),
            _ => Ok(Entry::Other),
        }
    }

    pub(super) fn holds(&self, name: &str, file: &File) -> bool {
        is_same(rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW), rustix::fs::fstat(file))
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        is_same(rustix::fs::fstat(&self.fd), rustix::fs::fstat(&other.fd))
    }

    /// What stands under `name`; the bytes of a file are there for good, and were read from the disk.
    pub(super) fn content(&self, name: &str) -> Result<Content, ArchiveError> {
        let mut file = match self.entry(name)? {
            Entry::Vacant => return Ok(Content::Nothing),
            Entry::Other => return Ok(Content::NotAFile),
            Entry::File(file) => file,
        };
        let path = self.file_path(name);
        settle_on_disk(&file, &path)?;
        hash_while(&mut file, &mut |_| true).map_err(|error| ArchiveError::io("read", &path, error))
    }

    /// Whether a file that stands under `name` has these bytes, for good; `None` if no file stands there. An earlier run may
    /// have died before its last sync of the file; the names in this folder may still need theirs.
    pub(super) fn holds_bytes(&self, name: &str, bytes: &[u8]) -> Result<Option<bool>, ArchiveError> {
        let Entry::File(file) = self.entry(name)? else { return Ok(None) };
        let path = self.file_path(name);
        settle_on_disk(&file, &path)?;
        Ok(Some(read_at_most(file, bytes.len() as u64 + 1, &path)? == bytes))
    }

    pub(super) fn unlink(&self, name: impl AsRef<Path>) -> Result<(), ArchiveError> {
        let name = name.as_ref();
        retry_on_intr(|| rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()))
            .map_err(|errno| ArchiveError::io("remove", &self.file_path(name), errno))
    }

    /// All names but `.` and `..`, in no order. Names that are not UTF-8 are none of ours: they come with U+FFFD.
    pub(super) fn names(&self) -> Result<Vec<String>, ArchiveError> {
        let failed = |errno| ArchiveError::io("list", &self.path, errno);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// What stands under each name, whatever the name.
    pub(super) fn listing(&self) -> Result<Listing, ArchiveError> {
        let failed = |errno| ArchiveError::io("list", &self.path, errno);
        let mut listing = Listing::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if [b".".as_slice(), b".."].contains(&name.to_bytes()) {
                continue;
            }
            match retry_on_intr(|| rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)) {
                Ok(stat) => {
                    let standing = match FileType::from_raw_mode(stat.st_mode) {
                        FileType::RegularFile => {
                            Standing::File { size_bytes: u64::try_from(stat.st_size).unwrap_or(0) }
                        }
                        FileType::Directory => Standing::Folder,
                        _ => Standing::Other,
                    };
                    listing.insert(name.to_bytes().to_owned(), standing);
                }
                // It went away while we were reading.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(listing)
    }

    /// Its path, for error texts.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a name in it, for error texts.
    pub(super) fn file_path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes a file's bytes durable, then forgets the cached pages, so that what is read next comes from the disk.
///
/// After a failed fsync Linux marks the pages clean: a later fsync succeeds and a read from the cache shows bytes
/// that the disk never got (Rebello et al., USENIX ATC 2020). A file left by an earlier run is trusted only so.
pub(super) fn settle_on_disk(file: &File, path: &Path) -> Result<(), ArchiveError> {
    retry_on_intr(|| rustix::fs::fsync(file)).map_err(|errno| ArchiveError::io("sync", path, errno))?;
    // Advice only: where it is not taken, the re-read is from the cache.
    let _ = rustix::fs::fadvise(file, 0, None::<NonZeroU64>, rustix::fs::Advice::DontNeed);
    Ok(())
}

/// Whether both could be looked at, and are one and the same.
fn is_same(one: rustix::io::Result<Stat>, other: rustix::io::Result<Stat>) -> bool {
    let (Ok(one), Ok(other)) = (one, other) else { return false };
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_is_made_once_and_entered_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = Directory::open(dir.path()).unwrap();
        assert!(root.enter("a").unwrap().is_none());
        root.enter_durably("a").unwrap().enter_durably("b").unwrap();
        root.enter_durably("a").unwrap();
        assert!(dir.path().join("a/b").is_dir());
        assert_eq!(root.names().unwrap(), ["a"]);
    }

    #[test]
    fn folders_that_a_umask_made_too_tight_are_opened_to_the_group_and_others_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = Directory::open(dir.path()).unwrap();
        for (had, has) in
            [(0o700, 0o750), (0o740, 0o750), (0o750, 0o750), (0o755, 0o755), (0o2700, 0o2750), (0o770, 0o770)]
        {
            let folder = dir.path().join("a");
            std::fs::create_dir(&folder).unwrap();
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(had)).unwrap();
            root.enter_durably("a").unwrap();
            let mode = std::fs::metadata(&folder).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, has, "{had:o}");
            std::fs::remove_dir(&folder).unwrap();
        }
    }

    #[test]
    fn a_symbolic_link_is_neither_entered_nor_opened() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::write(elsewhere.path().join("f"), "x").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join("f"), dir.path().join("f")).unwrap();
        let root = Directory::open(dir.path()).unwrap();
        assert!(matches!(root.enter("a").unwrap_err(), ArchiveError::Planted { .. }));
        assert!(matches!(root.enter_durably("a").unwrap_err(), ArchiveError::Planted { .. }));
        assert!(matches!(root.entry("f").unwrap(), Entry::Other));
    }

    #[test]
    fn a_pipe_does_not_stop_the_reader() {
        let dir = tempfile::tempdir().unwrap();
        let root = Directory::open(dir.path()).unwrap();
        rustix::fs::mkfifoat(&root, "pipe", Mode::from(0o600)).unwrap();
        assert!(matches!(root.entry("pipe").unwrap(), Entry::Other));
    }
}
