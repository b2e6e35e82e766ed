//! A file without a final name yet: unnamed where the filesystem can, under a recognisable name elsewhere. What it can,
//! callvault learns by trying, because no filesystem says so.

use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::ArchiveError;
use super::directory::Directory;
use crate::base::digest::hex;
use crate::base::salt::random;

/// Archived files are read by their owner and the group of auditors, and written by nobody.
const FILE_MODE: u32 = 0o440;

/// A named temporary is `.callvault-<16 hex>.part`: a safe name never begins with a dot.
const PREFIX: &str = ".callvault-";
const SUFFIX: &str = ".part";

/// Whether a name is one that only temporaries have: after a crash it may be removed unread.
pub fn is_temporary(name: &str) -> bool {
    let middle = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    middle.is_some_and(|random| random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

pub(super) fn temporary_name() -> String {
    format!("{PREFIX}{}{SUFFIX}", hex(&random::<8>()))
}

/// A file being written. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Temporary {
    file: File,
    directory: Directory,
    /// Its name, if it has one that must be removed.
    name: Option<String>,
}

impl Temporary {
    /// Makes one in `directory`, which is also where it will be published: links do not cross filesystems.
    pub(super) fn create(directory: &Directory, ways: &Ways) -> Result<Self, ArchiveError> {
        if !ways.get().unnamed_temporaries {
            return Self::named(directory);
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match retry_on_intr(|| rustix::fs::openat(directory, ".", flags, Mode::from(FILE_MODE))) {
            Ok(fd) => Self::with_mode(File::from(fd), directory, None),
            // Each of these is some filesystem's or kernel's way to say that it has no O_TMPFILE.
            Err(
                Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::PERM,
            ) => {
                let named = Self::named(directory)?;
                ways.forget_unnamed_temporaries();
                Ok(named)
            }
            Err(errno) => Err(ArchiveError::io("write in", directory.path(), errno)),
        }
    }

    /// Makes one that has a name, for filesystems without `O_TMPFILE` and for renames that replace.
    pub(super) fn named(directory: &Directory) -> Result<Self, ArchiveError> {
        let name = temporary_name();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::openat(directory, &*name, flags, Mode::from(FILE_MODE)))
            .map_err(|errno| ArchiveError::io("write in", directory.path(), errno))?;
        Self::with_mode(File::from(fd), directory, Some(name))
    }

    fn with_mode(file: File, directory: &Directory, name: Option<String>) -> Result<Self, ArchiveError> {
        let temporary = Self { file, directory: directory.clone(), name };
        // Explicitly, for the umask may be stricter than the auditors' group needs.
        match retry_on_intr(|| rustix::fs::fchmod(&temporary.file, Mode::from(FILE_MODE))) {
            // Some network filesystems have no modes; the promise never to overwrite does not rest on them.
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(temporary),
            Err(errno) => Err(ArchiveError::io("write in", directory.path(), errno)),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| ArchiveError::io("write in", self.directory.path(), error))
    }

    /// Makes the bytes durable. A failure is final: the temporary is gone, and the sync is never repeated.
    pub(super) fn sync(self) -> Result<Synced, ArchiveError> {
        match retry_on_intr(|| rustix::fs::fsync(&self.file)) {
            Ok(()) => Ok(Synced(self)),
            Err(errno) => Err(ArchiveError::io("sync a new file in", self.directory.path(), errno)),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // If this fails, the next start removes it by its name.
            let _ = self.directory.unlink(name);
        }
    }
}

/// A temporary whose bytes are on disk: the only thing that can be published.
#[derive(Debug)]
pub(super) struct Synced(Temporary);

impl Synced {
    pub(super) fn file(&self) -> &File {
        &self.0.file
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// A rename took the name away.
    pub(super) fn name_is_gone(&mut self) {
        self.0.name = None;
    }

    /// Removes the temporary name of a file that has its final one.
    pub(super) fn remove_name(&mut self) {
        if let Some(name) = self.0.name.take() {
            let _ = self.0.directory.unlink(&name);
        }
    }
}

/// What the filesystem is believed to be able to do. What turns out otherwise is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// `O_TMPFILE`, and `linkat` from `/proc/self/fd`.
    pub unnamed_temporaries: bool,
    /// `renameat2(RENAME_NOREPLACE)`.
    pub rename_no_replace: bool,
}

impl Abilities {
    /// Everything: the first belief about any filesystem.
    pub const fn all() -> Self {
        Self { unnamed_temporaries: true, rename_no_replace: true }
    }
}

/// The abilities that are left, shared by all writers of an archive.
#[derive(Debug)]
pub(super) struct Ways(Mutex<Abilities>);

impl Ways {
    pub(super) fn new(abilities: Abilities) -> Self {
        Self(Mutex::new(abilities))
    }

    pub(super) fn get(&self) -> Abilities {
        *self.left()
    }

    pub(super) fn forget_unnamed_temporaries(&self) {
        self.left().unnamed_temporaries = false;
    }

    pub(super) fn forget_rename_no_replace(&self) {
        self.left().rename_no_replace = false;
    }

    fn left(&self) -> MutexGuard<'_, Abilities> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Abilities;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_our_own_names_are_taken_for_temporaries() {
        assert!(is_temporary(&temporary_name()));
        for name in
            [".callvault", ".callvault-.part", "a.part", ".callvault-0123456789abcdeg.part", ".x.part"]
        {
            assert!(!is_temporary(name), "{name}");
        }
    }

    #[test]
    fn a_named_temporary_is_read_only_and_vanishes_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        let mut temporary = Temporary::named(&directory).unwrap();
        temporary.write(b"half").unwrap();
        let name = directory.names().unwrap().pop().unwrap();
        assert!(is_temporary(&name));
        let mode = std::fs::metadata(dir.path().join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o440);
        drop(temporary);
        assert!(directory.names().unwrap().is_empty());
    }

    #[test]
    fn an_unnamed_temporary_is_never_seen() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        let ways = Ways::new(Abilities::all());
        let mut temporary = Temporary::create(&directory, &ways).unwrap();
        temporary.write(b"half").unwrap();
        if !ways.get().unnamed_temporaries {
            eprintln!("SKIPPED: the filesystem of {} has no O_TMPFILE", dir.path().display());
            return;
        }
        assert!(directory.names().unwrap().is_empty());
    }

    #[test]
    fn what_turned_out_to_be_impossible_is_not_believed_any_more() {
        let ways = Ways::new(Abilities::all());
        ways.forget_unnamed_temporaries();
        assert_eq!(ways.get(), Abilities { unnamed_temporaries: false, rename_no_replace: true });
        ways.forget_rename_no_replace();
        assert_eq!(ways.get(), Abilities { unnamed_temporaries: false, rename_no_replace: false });
    }
}
