//! The lock that makes one process the owner of a state directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{StateError, unusable};
use crate::base::filesystem::network_filesystem;

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
    ///
    /// # Errors
    /// [`StateError`] if the lock file cannot be written.
    pub(super) fn announce_service(&self) -> Result<(), StateError> {
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
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(unusable(&path))?;
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
