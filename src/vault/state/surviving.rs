//! What of a state is left when its database is made anew: keys, and the checkpoint that it signed last.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::seed::{self, Seed};
use super::{ADOPT_KEY, PRIVATE, StateError, unusable};

/// The file of the checkpoint that was signed last.
const CHECKPOINT: &str = "checkpoint";
/// What it is called until it is whole.
const PART: &str = "checkpoint.part";
/// No checkpoint is larger, with the signatures of a hundred witnesses.
const CHECKPOINT_BYTES_MAX: u64 = 64 << 10;

/// What is left of a state. Nothing is made or changed by looking.
#[derive(Default)]
pub struct Surviving {
    /// The secrets that sign, or signed, its ledger.
    pub seeds: Vec<Seed>,
    /// What it knows its own sidecars by.
    pub adopt_key: Option<[u8; 32]>,
    /// The checkpoint that it signed last.
    pub checkpoint: Option<String>,
}

impl fmt::Debug for Surviving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Surviving({} seeds)", self.seeds.len())
    }
}

/// Looks for what is left in the state directory.
///
/// # Errors
/// If a file is there and cannot be read, or is no key.
pub fn surviving(directory: &Path) -> Result<Surviving, StateError> {
    let mut seeds: Vec<Seed> = seed::read(&seed::file(directory))?.into_iter().collect();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Surviving::default()),
        Err(error) => return Err(unusable(directory)(error)),
    };
    for entry in entries {
        let name = entry.map_err(unusable(directory))?.file_name();
        let is_former =
            name.to_str().is_some_and(|name| name.starts_with("ledger-") && name.ends_with(".key"));
        if is_former {
            seeds.extend(seed::read(&directory.join(name))?);
        }
    }
    let adopt_key = match fs::read(directory.join(ADOPT_KEY)) {
        Ok(bytes) => bytes.try_into().ok(),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(unusable(&directory.join(ADOPT_KEY))(error)),
    };
    Ok(Surviving { seeds, adopt_key, checkpoint: last_checkpoint(directory)? })
}

/// The checkpoint that this state signed last, if it is known; what is no text of that size is passed over.
///
/// # Errors
/// If its file cannot be read.
pub fn last_checkpoint(directory: &Path) -> Result<Option<String>, StateError> {
    let path = directory.join(CHECKPOINT);
    let mut text = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(CHECKPOINT_BYTES_MAX).read_to_end(&mut text).map_err(unusable(&path))?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(&path)(error)),
    };
    Ok(String::from_utf8(text).ok())
}

/// The file of the checkpoint that a state signed last, if there is one.
pub fn checkpoint_file(directory: &Path) -> Option<PathBuf> {
    Some(directory.join(CHECKPOINT)).filter(|file| file.is_file())
}

/// Keeps the checkpoint that is about to be published. On return it is on disk; after a crash there is this one or the
/// one before.
///
/// # Errors
/// If the file cannot be written.
pub fn keep_checkpoint(directory: &Path, note: &str) -> Result<(), StateError> {
    let part = directory.join(PART);
    let written = OpenOptions::new().create(true).truncate(true).write(true).mode(PRIVATE).open(&part);
    let mut file = written.map_err(unusable(&part))?;
    file.write_all(note.as_bytes()).and_then(|()| file.sync_all()).map_err(unusable(&part))?;
    let path: PathBuf = directory.join(CHECKPOINT);
    fs::rename(&part, &path).map_err(unusable(&path))?;
    File::open(directory).and_then(|folder| folder.sync_all()).map_err(unusable(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_state_is_found() {
        let state = tempfile::tempdir().unwrap();
        let nothing = surviving(&state.path().join("gone")).unwrap();
        assert!(nothing.seeds.is_empty() && nothing.adopt_key.is_none() && nothing.checkpoint.is_none());
        seed::make(state.path()).unwrap();
        seed::retire(state.path(), "00112233").unwrap();
        seed::make(state.path()).unwrap();
        fs::write(state.path().join(ADOPT_KEY), [7; 32]).unwrap();
        keep_checkpoint(state.path(), "one").unwrap();
        keep_checkpoint(state.path(), "another").unwrap();
        let left = surviving(state.path()).unwrap();
        assert_eq!((left.seeds.len(), left.adopt_key), (2, Some([7; 32])));
        assert_eq!(left.checkpoint.as_deref(), Some("another"));
        assert!(!state.path().join(PART).exists());
    }
}
