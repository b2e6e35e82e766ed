//! The lock that makes one process the owner of a state directory, and how its owner puts a database that was made anew into the
//! place of the former one, which is kept.
//!
//! ```text
//! rename(callvault.db-wal, <aside>-wal)      only of a database that cannot be opened: else its log is folded in before
//! link(callvault.db, <aside>)  fsync(state)
//! rename(<new>, callvault.db)  fsync(state)
//! ```
//! At each point there is a database under the name: the former one, whole, or the new one. The log goes before the
//! file, for SQLite would write what it holds into whatever database stands beside it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::{PRIVATE, StateError, if_there, sync, unusable};
use crate::base::filesystem::network_filesystem;
use crate::store::db::database_file;

/// What the lock file of a service says.
const SERVICE: &[u8] = b"service\n";
/// How often the lock is tried again before it is somebody's, and after what time.
const LOOKS: u32 = 3;
const LOOK_LASTS: Duration = Duration::from_millis(10);

/// Whether a service owns `directory` at present: one that executes what commands hand over.
pub fn is_owned_by_service(directory: &Path) -> bool {
    let path = directory.join("lock");
    // Looked at first: the lock is not touched where no service was, so that nobody who wants it is in our way.
    if !fs::read(&path).is_ok_and(|text| text == SERVICE) {
        return false;
    }
    let Ok(file) = File::open(&path) else { return false };
    // Whoever has the lock wrote the file. A lock that we could share is nobody's.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// The lock on a state directory, held for as long as this lives.
#[derive(Debug)]
pub struct StateLock {
    pub(super) directory: PathBuf,
    file: File,
}

impl StateLock {
    /// Takes the lock on `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// [`StateError`] if another process has it, or if it cannot work there.
    pub async fn take(directory: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable(directory))?;
        if let Some(filesystem) = network_filesystem(directory).map_err(unusable(directory))? {
            return Err(StateError::Network { path: directory.into(), filesystem }.into());
        }
        Ok(Self { directory: directory.to_owned(), file: lock_soon(directory).await? })
    }

    /// Lets commands know that they may hand their work over.
    pub fn announce_service(&self) -> Result<(), StateError> {
        let mut file = &self.file;
        let written = file.set_len(0).and_then(|()| file.write_all(SERVICE));
        written.map_err(unusable(Path::new("lock")))
    }
}

/// Releases the lock in so many words: a child process that is just being started holds a copy of its descriptor until
/// it becomes another program, and closing ours would leave the state locked for that moment.
impl Drop for StateLock {
    fn drop(&mut self) {
        // If this fails, closing the file releases it.
        let _ = self.file.unlock();
    }
}

/// Takes the lock. Whoever looks whether a service owns it holds it for a moment: that is no owner.
async fn lock_soon(directory: &Path) -> Result<File, StateError> {
    for _ in 0..LOOKS {
        match lock(directory) {
            Err(StateError::Locked(_)) => tokio::time::sleep(LOOK_LASTS).await,
            other => return other,
        }
    }
    lock(directory)
}

/// The lock is advisory and the kernel's: it ends with the process, however that ends.
fn lock(directory: &Path) -> Result<File, StateError> {
    let path = directory.join("lock");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(PRIVATE).open(&path);
    let file = opened.map_err(unusable(&path))?;
    match file.try_lock() {
        Ok(()) => {
            // What the last owner wrote is not true of this one.
            file.set_len(0).map_err(unusable(&path))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(StateError::Locked(directory.into())),
        Err(TryLockError::Error(error)) => Err(unusable(&path)(error)),
    }
}

/// More former databases of one second than anybody makes.
const COPIES_MAX: u32 = 100;

impl StateLock {
    /// Puts the database `new`, which is durable, into the place of the one in use, and returns where that is now.
    ///
    /// The caller has folded the write-ahead log of the former one into it, if it can be opened. On return both names are
    /// on disk; after a crash the former database is in its place, or the new one.
    pub fn replace_database(&self, new: &Path, now: Timestamp) -> Result<Option<PathBuf>, StateError> {
        let database = database_file(&self.directory);
        let aside = free_name(&database, now);
        for suffix in ["-wal", "-shm"] {
            move_if_there(&with_suffix(&database, suffix), &with_suffix(&aside, suffix))?;
        }
        let former = keep(&database, &aside)?;
        sync(&self.directory)?;
        fs::rename(new, &database).map_err(unusable(&database))?;
        sync(&self.directory)?;
        Ok(former.then_some(aside))
    }
}

/// A name for the former database that nothing has yet.
fn free_name(database: &Path, now: Timestamp) -> PathBuf {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ");
    let named = |copy: u32| {
        let number = if copy == 0 { String::new() } else { format!(".{copy}") };
        with_suffix(database, &format!(".before-rebuild-{stamp}{number}"))
    };
    let is_free = |name: &PathBuf| ["", "-wal"].iter().all(|suffix| !with_suffix(name, suffix).exists());
    (0..COPIES_MAX).map(named).find(is_free).unwrap_or_else(|| named(COPIES_MAX))
}

/// Gives the former database its second name; `false` if there is none.
fn keep(database: &Path, aside: &Path) -> Result<bool, StateError> {
    match fs::hard_link(database, aside) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        // A filesystem without hard links: for a moment there is no database under the name.
        Err(_) => move_if_there(database, aside),
    }
}

fn move_if_there(from: &Path, to: &Path) -> Result<bool, StateError> {
    Ok(if_there(from, fs::rename(from, to))?.is_some())
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::state::StateLock;

    fn names(state: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(state)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn the_former_database_is_kept_with_its_log_under_a_name_that_tells_when() {
        let state = tempfile::tempdir().unwrap();
        let lock = StateLock::take(state.path()).await.unwrap();
        let now: Timestamp = "2026-11-25T20:21:28Z".parse().unwrap();
        for (content, log) in [("first", None), ("second", Some("log")), ("third", None)] {
            let new = state.path().join("new");
            fs::write(&new, content).unwrap();
            if let Some(log) = log {
                fs::write(state.path().join("callvault.db-wal"), log).unwrap();
            }
            lock.replace_database(&new, now).unwrap();
            assert_eq!(fs::read_to_string(database_file(state.path())).unwrap(), content);
        }
        let expected = [
            "callvault.db",
            "callvault.db.before-rebuild-20261125T202128Z",
            "callvault.db.before-rebuild-20261125T202128Z-wal",
            "callvault.db.before-rebuild-20261125T202128Z.1",
            "lock",
        ];
        assert_eq!(names(state.path()), expected);
        let aside = state.path().join("callvault.db.before-rebuild-20261125T202128Z");
        assert_eq!(fs::read_to_string(&aside).unwrap(), "first");
        assert_eq!(fs::read_to_string(with_suffix(&aside, ".1")).unwrap(), "second");
    }
}
