//! How a file comes to be in the archive, written down as the system calls that it takes, in their order.
//!
//! A new file, and with it its sidecar ([`publish`]; [`Temporary::sync`] does the second line):
//! ```text
//! openat(dir, ".", O_TMPFILE|O_RDWR, 0440)  fchmod(fd, 0440)  write(fd) …
//! fsync(fd)                                                   each file; a failure is final for it
//! linkat("/proc/self/fd/N", dir, name, AT_SYMLINK_FOLLOW)     each file; EEXIST: the name is taken
//! fsync(dir)                                                  once for both
//! ```
//! Without `O_TMPFILE` (NFS, CIFS, FUSE): `openat(dir, ".callvault-….part", O_CREAT|O_EXCL)`, then
//! `renameat2(RENAME_NOREPLACE)` in place of `linkat`; without that too: `linkat(dir, part, dir, name)` and
//! `unlinkat(dir, part)`. None of the three can replace a file.
//!
//! Until `fsync(dir)` returned, nothing was acknowledged: if it fails, the names are unlinked again.
//! A new folder: `mkdirat`, `fsync(parent)`, for each level ([`Directory::enter_durably`]).
//! `SHA256SUMS` alone is replaced ([`replace`]): named temporary, `fsync(fd)`, `renameat`, `fsync(dir)`.
//!
//! Why so: Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020 (a failed fsync must
//! not be repeated on the same file), and Pillai et al., OSDI 2014 (names need their own fsync).

use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::ArchiveError;
use super::directory::Directory;
use super::temporary::{Synced, Temporary, Ways};

/// What became of an attempt to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Published {
    /// Every file has its name, and the names are on disk.
    New,
    /// This name was taken; no name was given to anything.
    Exists(String),
}

impl Published {
    /// An error if a name was taken, where nobody but callvault gives names.
    pub(super) fn or_occupied(self, directory: &Directory) -> Result<(), ArchiveError> {
        match self {
            Self::New => Ok(()),
            Self::Exists(name) => Err(ArchiveError::Occupied { path: directory.file_path(name) }),
        }
    }
}

/// Gives each file its final name in `directory`, all or none.
///
/// On [`Published::New`] files and names are on disk. On anything else no name of ours is left; a file that had
/// none yet can be published under another. After a crash any of the names may be there, each with its whole content.
pub(super) fn publish(
    directory: &Directory,
    ways: &Ways,
    files: &mut [(&mut Synced, &str)],
) -> Result<Published, ArchiveError> {
    let mut linked: Vec<&str> = Vec::with_capacity(files.len());
    let mut outcome = Ok(Published::New);
    for (file, name) in files {
        outcome = link(directory, ways, file, name);
        match outcome {
            Ok(Published::New) => linked.push(name),
            _ => break,
        }
    }
    if let Ok(Published::New) = outcome {
        outcome = directory.sync().map(|()| Published::New);
    }
    if !matches!(outcome, Ok(Published::New)) {
        withdraw(directory, &linked);
    }
    outcome
}

/// Takes back names that were never acknowledged.
fn withdraw(directory: &Directory, names: &[&str]) {
    for name in names {
        // If this fails too, the next attempt finds a whole file under the name and adopts it.
        let _ = directory.unlink(name);
    }
}

/// Gives one file its final name, never replacing anything.
fn link(
    directory: &Directory,
    ways: &Ways,
    file: &mut Synced,
    name: &str,
) -> Result<Published, ArchiveError> {
    let linked = match file.name() {
        None => link_unnamed(directory, ways, file, name),
        Some(_) => rename_or_link(directory, ways, file, name),
    };
    match linked {
        Ok(()) => {}
        // Done although reported as failed: NFS sends a request again when the first reply is lost.
        Err(_) if directory.holds(name, file.file()) => {}
        Err(Errno::EXIST) => return Ok(Published::Exists(name.to_owned())),
        Err(errno) => return Err(ArchiveError::io("write", &directory.file_path(name), errno)),
    }
    file.remove_name();
    Ok(Published::New)
}

fn link_unnamed(directory: &Directory, ways: &Ways, file: &Synced, name: &str) -> rustix::io::Result<()> {
    let ours = format!("/proc/self/fd/{}", file.file().as_raw_fd());
    let linked = retry_on_intr(|| rustix::fs::linkat(CWD, &*ours, directory, name, AtFlags::SYMLINK_FOLLOW));
    if let Err(Errno::NOENT | Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::XDEV) =
        linked
    {
        // No /proc, or a filesystem that cannot link such files: the next temporaries get names.
        ways.forget_unnamed_temporaries();
    }
    linked
}

fn rename_or_link(
    directory: &Directory,
    ways: &Ways,
    file: &mut Synced,
    name: &str,
) -> rustix::io::Result<()> {
    let part = file.name().expect("the caller looked").to_owned();
    let renamed = move_no_replace(directory, &part, directory, name, ways);
    if renamed.is_ok() {
        file.name_is_gone();
    }
    renamed
}

/// Moves a name, never replacing anything: `EEXIST` if the new one is taken.
pub(super) fn move_no_replace(
    from: &Directory,
    old: impl AsRef<Path>,
    to: &Directory,
    new: impl AsRef<Path>,
    ways: &Ways,
) -> rustix::io::Result<()> {
    let (old, new) = (old.as_ref(), new.as_ref());
    if ways.get().rename_no_replace {
        let rename = || rustix::fs::renameat_with(from, old, to, new, RenameFlags::NOREPLACE);
        match retry_on_intr(rename) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => ways.forget_rename_no_replace(),
            renamed => return renamed,
        }
    }
    retry_on_intr(|| rustix::fs::linkat(from, old, to, new, AtFlags::empty()))?;
    // The old name is only a second name now. If it stays, it is removed as a temporary or moved once more.
    let _ = from.unlink(old);
    Ok(())
}

/// Writes `bytes` under `name`, replacing what is there in one step. For derived files only.
///
/// On return the new content is on disk; after a crash there is the old content or the new, whole.
pub(super) fn replace(directory: &Directory, name: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
    let mut temporary = Temporary::named(directory)?;
    temporary.write(bytes)?;
    let mut file = temporary.sync()?;
    let part = file.name().expect("it was made with a name");
    retry_on_intr(|| rustix::fs::renameat(directory, part, directory, name))
        .map_err(|errno| ArchiveError::io("replace", &directory.file_path(name), errno))?;
    file.name_is_gone();
    directory.sync()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::archive::Abilities;

    /// Every way of publishing, the best first.
    const EVERY_WAY: [Abilities; 3] = [
        Abilities::all(),
        Abilities { unnamed_temporaries: false, rename_no_replace: true },
        Abilities { unnamed_temporaries: false, rename_no_replace: false },
    ];

    fn synced(directory: &Directory, ways: &Ways, content: &str) -> Synced {
        let mut temporary = Temporary::create(directory, ways).unwrap();
        temporary.write(content.as_bytes()).unwrap();
        temporary.sync().unwrap()
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn every_way_publishes_a_read_only_file_and_leaves_no_temporary() {
        for abilities in EVERY_WAY {
            let dir = tempfile::tempdir().unwrap();
            let directory = Directory::open(dir.path()).unwrap();
            let ways = Ways::new(abilities);
            let (mut a, mut b) = (synced(&directory, &ways, "audio"), synced(&directory, &ways, "json"));
            let published = publish(&directory, &ways, &mut [(&mut a, "x"), (&mut b, "x.json")]);
            assert_eq!(published.unwrap(), Published::New);
            drop((a, b));
            let mut names = directory.names().unwrap();
            names.sort();
            assert_eq!(names, ["x", "x.json"], "{abilities:?}");
            assert_eq!(read(&dir.path().join("x")), "audio");
            let mode = std::fs::metadata(dir.path().join("x")).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o440, "{abilities:?}");
            assert_eq!(ways.get(), abilities, "what works is not forgotten");
        }
    }

    #[test]
    fn no_way_replaces_a_file_and_none_leaves_half_a_pair() {
        for abilities in EVERY_WAY {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("x.json"), "theirs").unwrap();
            let directory = Directory::open(dir.path()).unwrap();
            let ways = Ways::new(abilities);
            let (mut a, mut b) = (synced(&directory, &ways, "audio"), synced(&directory, &ways, "json"));
            let published = publish(&directory, &ways, &mut [(&mut a, "x"), (&mut b, "x.json")]);
            assert_eq!(published.unwrap(), Published::Exists("x.json".to_owned()));
            drop((a, b));
            assert_eq!(directory.names().unwrap(), ["x.json"], "{abilities:?}");
            assert_eq!(read(&dir.path().join("x.json")), "theirs");
        }
    }

    #[test]
    fn a_file_whose_name_is_taken_can_have_another() {
        for abilities in EVERY_WAY {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("1"), "theirs").unwrap();
            let directory = Directory::open(dir.path()).unwrap();
            let ways = Ways::new(abilities);
            let mut file = synced(&directory, &ways, "ours");
            let first = publish(&directory, &ways, &mut [(&mut file, "1")]).unwrap();
            assert_eq!(first, Published::Exists("1".to_owned()));
            assert_eq!(publish(&directory, &ways, &mut [(&mut file, "2")]).unwrap(), Published::New);
            assert_eq!(read(&dir.path().join("2")), "ours", "{abilities:?}");
        }
    }

    #[test]
    fn a_link_that_happened_but_was_reported_as_failed_counts() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        let ways = Ways::new(EVERY_WAY[2]);
        let mut file = synced(&directory, &ways, "ours");
        // What a lost reply leaves behind: the name is there, and a second try says EEXIST.
        std::fs::hard_link(dir.path().join(file.name().unwrap()), dir.path().join("x")).unwrap();
        assert_eq!(publish(&directory, &ways, &mut [(&mut file, "x")]).unwrap(), Published::New);
        assert_eq!(directory.names().unwrap(), ["x"]);
    }

    #[test]
    fn a_name_that_the_filesystem_refuses_leaves_nothing() {
        for abilities in EVERY_WAY {
            let dir = tempfile::tempdir().unwrap();
            let directory = Directory::open(dir.path()).unwrap();
            let ways = Ways::new(abilities);
            let (mut a, mut b) = (synced(&directory, &ways, "audio"), synced(&directory, &ways, "json"));
            let long = "n".repeat(300);
            publish(&directory, &ways, &mut [(&mut a, "x"), (&mut b, &long)]).unwrap_err();
            drop((a, b));
            assert!(directory.names().unwrap().is_empty(), "{abilities:?}");
        }
    }

    #[test]
    fn a_replaced_file_is_the_old_one_or_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        replace(&directory, "SHA256SUMS", b"one").unwrap();
        replace(&directory, "SHA256SUMS", b"two").unwrap();
        assert_eq!(read(&dir.path().join("SHA256SUMS")), "two");
        assert_eq!(directory.names().unwrap(), ["SHA256SUMS"]);
    }
}
