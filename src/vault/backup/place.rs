//! Where a backup will be: a folder beside its place, under a hidden name, until it is whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::BackupError;
use crate::base::digest::hex;
use crate::base::filesystem::free_bytes;

/// For the owner alone.
const FOLDER_MODE: u32 = 0o700;
/// Room for all but the database.
const REST_BYTES: u64 = 4 << 20;

/// The folder. Dropped before it is kept, it is gone.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    out: PathBuf,
    is_kept: bool,
}

impl Place {
    /// Begins a folder that will be `out`, outside of the folders that are `ours`.
    ///
    /// # Errors
    /// If it may not be there, or there is no room for the database.
    pub(super) fn begin(out: &Path, ours: &[&PathBuf], database_bytes: u64) -> Result<Self, BackupError> {
        let parent = check(out, ours)?;
        let needed_bytes = database_bytes.saturating_add(REST_BYTES);
        let free = free_bytes(&parent).unwrap_or(u64::MAX);
        if free < needed_bytes {
            return Err(BackupError::NoRoom { path: parent, free_bytes: free, needed_bytes });
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("the kernel gives random bytes");
        let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = parent.join(format!(".{name}.callvault-{}.part", hex(&random)));
        make_private(&folder)?;
        let out = parent.join(out.file_name().unwrap_or_default());
        Ok(Self { folder, out, is_kept: false })
    }

    /// Where a file of it is at present.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder that it will be in.
    pub(super) fn parent(&self) -> &Path {
        self.out.parent().unwrap_or(Path::new("/"))
    }

    /// Makes a folder in it.
    pub(super) fn make_folder(&self, name: &str) -> Result<(), BackupError> {
        make_private(&self.path(name))
    }

    /// Removes a folder in it, with all that it holds.
    pub(super) fn remove_folder(&self, name: &str) -> Result<(), BackupError> {
        let path = self.path(name);
        fs::remove_dir_all(&path).map_err(BackupError::io("remove", &path))
    }

    /// Gives it its final name, with all names in it and in these folders of it on disk.
    ///
    /// # Errors
    /// If something is there by now: nothing is overwritten.
    pub(super) fn keep(mut self, folders: &[&str]) -> Result<PathBuf, BackupError> {
        folders.iter().try_for_each(|name| sync(&self.path(name)))?;
        sync(&self.folder)?;
        // Of folders only an empty one is replaced.
        fs::rename(&self.folder, &self.out).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::NotADirectory => BackupError::Taken(self.out.clone()),
            _ => BackupError::io("give its name to", &self.out)(error),
        })?;
        self.is_kept = true;
        sync(self.parent())?;
        Ok(self.out.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            let folder = self.folder.display();
            warn!("`{folder}` could not be removed ({error}): keys may be in it; remove it by hand");
        }
    }
}

/// Whether a backup may be there: nothing is, it is in no folder of ours, and a folder can get that name. Returns the folder
/// that it will be in.
fn check(out: &Path, ours: &[&PathBuf]) -> Result<PathBuf, BackupError> {
    if out.file_name().is_none() {
        return Err(BackupError::NoName(out.to_owned()));
    }
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let no_parent = |_| BackupError::NoParent(parent.to_owned());
    let in_parent = fs::metadata(parent).map_err(no_parent)?;
    let parent = parent.canonicalize().map_err(no_parent)?;
    let is_ours = |ours: &&PathBuf| ours.canonicalize().is_ok_and(|ours| parent.starts_with(ours));
    if ours.iter().any(is_ours) {
        return Err(BackupError::Inside(out.to_owned()));
    }
    if let Ok(there) = fs::symlink_metadata(out) {
        let is_empty = || fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
        if there.is_symlink() || (there.is_dir() && there.dev() != in_parent.dev()) {
            return Err(BackupError::Elsewhere(out.to_owned()));
        }
        if !there.is_dir() || !is_empty() {
            return Err(BackupError::Taken(out.to_owned()));
        }
    }
    Ok(parent)
}

fn make_private(folder: &Path) -> Result<(), BackupError> {
    fs::DirBuilder::new().mode(FOLDER_MODE).create(folder).map_err(BackupError::io("make folder", folder))
}

/// Makes a folder's names durable.
fn sync(folder: &Path) -> Result<(), BackupError> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some filesystems have no such call for folders.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced.map_err(BackupError::io("sync", folder)),
    }
}
