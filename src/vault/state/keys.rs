//! What only the state holds and a rebuild needs: the secret halves of the keys that sign the ledger, a file each of 32 bytes in
//! hex, and the checkpoint that was signed last.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

use super::{ADOPT_KEY, State, StateError, if_there, sync, unusable, write_private};
use crate::base::digest::{hex, unhex};

const NAME: &str = "ledger.key";
/// What it is called until it is whole.
const PART: &str = "ledger.key.part";

/// A secret of 32 bytes, wiped when it is dropped.
pub type Seed = Zeroizing<[u8; 32]>;

fn file(state: &Path) -> PathBuf {
    state.join(NAME)
}

impl State {
    /// The secret of the key that signs the ledger; a new one if there is none yet.
    pub fn ledger_seed(&self) -> Result<Seed, StateError> {
        read(&file(self.directory()))?.map_or_else(|| make(self.directory()), Ok)
    }

    /// The secret of a former key, by its id, if it is still there.
    pub fn former_ledger_seed(&self, id: &str) -> Result<Option<Seed>, StateError> {
        read(&former_file(self.directory(), id))
    }

    /// Lets the key with this id become a former one, and makes another that signs from now on.
    pub fn rotate_ledger_seed(&self, id: &str) -> Result<Seed, StateError> {
        retire(self.directory(), id)?;
        make(self.directory())
    }
}

fn former_file(state: &Path, id: &str) -> PathBuf {
    state.join(format!("ledger-{id}.key"))
}

/// Reads a seed; `None` if there is no such file.
///
/// # Errors
/// If it cannot be read, or holds something else: it is never made anew over what is there.
fn read(path: &Path) -> Result<Option<Seed>, StateError> {
    let Some(text) = if_there(path, fs::read_to_string(path))?.map(Zeroizing::new) else { return Ok(None) };
    parse(&text).map(Some).ok_or_else(|| StateError::NoSeed { path: path.to_owned() })
}

/// Reads the text of such a file.
pub fn parse(text: &str) -> Option<Seed> {
    let bytes = Zeroizing::new(unhex(text.trim())?);
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

/// Makes a new seed. On return its file is on disk, whole, and was not there before.
fn make(state: &Path) -> Result<Seed, StateError> {
    let mut seed: Seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).expect("the kernel gives random bytes");
    let (path, part) = (file(state), state.join(PART));
    let text = Zeroizing::new(hex(&*seed) + "\n");
    clear(state)?;
    write_private(&part, text.as_bytes())?;
    fs::hard_link(&part, &path).map_err(unusable(&path))?;
    fs::remove_file(&part).map_err(unusable(&part))?;
    sync(state)?;
    Ok(seed)
}

/// Removes what a crash left of the making of a seed. That may be the very one that signs since: no copy of a secret stays
/// where nobody looks for one.
pub(super) fn clear(state: &Path) -> Result<(), StateError> {
    let part = state.join(PART);
    if_there(&part, fs::remove_file(&part)).map(drop)
}

/// Lets the key that signs become a former one. On return that is so on disk.
fn retire(state: &Path, id: &str) -> Result<(), StateError> {
    let (path, former) = (file(state), former_file(state, id));
    fs::rename(&path, &former).map_err(unusable(&path))?;
    sync(state)
}

/// The file of the checkpoint that was signed last.
const CHECKPOINT: &str = "checkpoint";
/// What it is called until it is whole.
const CHECKPOINT_PART: &str = "checkpoint.part";
/// No checkpoint is larger, with the signatures of a hundred witnesses.
const CHECKPOINT_BYTES_MAX: u64 = 64 << 10;

/// What is left of a state. Nothing is made or changed by looking.
#[derive(Default)]
pub struct Surviving {
    /// The secrets that sign, or signed, its ledger.
    pub seeds: Vec<Seed>,
    /// What it knows its own sidecars by.
    pub adopt_key: Option<[u8; 32]>,
    pub checkpoint: Option<String>,
}

impl fmt::Debug for Surviving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Surviving({} seeds)", self.seeds.len())
    }
}

/// Looks for what is left in the state directory.
pub fn surviving(directory: &Path) -> Result<Surviving, StateError> {
    let mut seeds: Vec<Seed> = read(&file(directory))?.into_iter().collect();
    let Some(entries) = if_there(directory, fs::read_dir(directory))? else {
        return Ok(Surviving::default());
    };
    for entry in entries {
        let name = entry.map_err(unusable(directory))?.file_name();
        let is_former =
            name.to_str().is_some_and(|name| name.starts_with("ledger-") && name.ends_with(".key"));
        if is_former {
            seeds.extend(read(&directory.join(name))?);
        }
    }
    let path = directory.join(ADOPT_KEY);
    let adopt_key = if_there(&path, fs::read(&path))?.and_then(|bytes| bytes.try_into().ok());
    Ok(Surviving { seeds, adopt_key, checkpoint: last_checkpoint(directory)? })
}

/// The checkpoint that this state signed last, if it is known; what is no text of that size is passed over.
pub fn last_checkpoint(directory: &Path) -> Result<Option<String>, StateError> {
    let path = directory.join(CHECKPOINT);
    let Some(file) = if_there(&path, File::open(&path))? else { return Ok(None) };
    let mut text = Vec::new();
    file.take(CHECKPOINT_BYTES_MAX).read_to_end(&mut text).map_err(unusable(&path))?;
    Ok(String::from_utf8(text).ok())
}

/// The file of the checkpoint that a state signed last, if there is one.
pub fn checkpoint_file(directory: &Path) -> Option<PathBuf> {
    Some(directory.join(CHECKPOINT)).filter(|file| file.is_file())
}

/// Keeps the checkpoint that is about to be published. On return it is on disk; after a crash there is this one or the
/// one before.
pub fn keep_checkpoint(directory: &Path, note: &str) -> Result<(), StateError> {
    let part = directory.join(CHECKPOINT_PART);
    write_private(&part, note.as_bytes())?;
    let path = directory.join(CHECKPOINT);
    fs::rename(&part, &path).map_err(unusable(&path))?;
    sync(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::state::State;

    #[test]
    fn a_checkpoint_is_written_to_a_new_file_and_not_to_what_a_failed_try_has_left() {
        use std::os::unix::fs::MetadataExt as _;
        let state = tempfile::tempdir().unwrap();
        let part = state.path().join(CHECKPOINT_PART);
        fs::write(&part, "left").unwrap();
        let left = fs::metadata(&part).unwrap().ino();
        // Keeps its number from being given to the next file.
        fs::hard_link(&part, state.path().join("held")).unwrap();
        keep_checkpoint(state.path(), "whole").unwrap();
        let kept = state.path().join(CHECKPOINT);
        assert_eq!(fs::read_to_string(&kept).unwrap(), "whole");
        assert_ne!(fs::metadata(&kept).unwrap().ino(), left);
    }

    #[test]
    fn a_seed_is_made_once_read_again_and_retired() {
        let state = tempfile::tempdir().unwrap();
        assert!(read(&file(state.path())).unwrap().is_none());
        let seed = make(state.path()).unwrap();
        assert_eq!(read(&file(state.path())).unwrap().unwrap(), seed);
        assert!(make(state.path()).is_err(), "one that is there is never replaced");
        retire(state.path(), "00112233").unwrap();
        assert_eq!(read(&former_file(state.path(), "00112233")).unwrap().unwrap(), seed);
        assert_ne!(make(state.path()).unwrap(), seed);
    }

    #[tokio::test]
    async fn no_copy_of_a_seed_stays_that_a_crash_left() {
        let state = tempfile::tempdir().unwrap();
        let seed = make(state.path()).unwrap();
        let part = state.path().join("ledger.key.part");
        fs::hard_link(file(state.path()), &part).unwrap();
        let opened = State::open(state.path()).await.unwrap();
        assert!(!part.exists());
        assert_eq!(opened.ledger_seed().unwrap(), seed);
    }

    #[test]
    fn what_is_no_seed_is_told_and_left() {
        let state = tempfile::tempdir().unwrap();
        fs::write(file(state.path()), "0011").unwrap();
        let error = read(&file(state.path())).unwrap_err().to_string();
        assert!(error.contains("ledger.key") && error.contains("restore"), "{error}");
    }

    #[test]
    fn what_is_left_of_a_state_is_found() {
        let state = tempfile::tempdir().unwrap();
        let nothing = surviving(&state.path().join("gone")).unwrap();
        assert!(nothing.seeds.is_empty() && nothing.adopt_key.is_none() && nothing.checkpoint.is_none());
        make(state.path()).unwrap();
        retire(state.path(), "00112233").unwrap();
        make(state.path()).unwrap();
        fs::write(state.path().join(ADOPT_KEY), [7; 32]).unwrap();
        keep_checkpoint(state.path(), "one").unwrap();
        keep_checkpoint(state.path(), "another").unwrap();
        let left = surviving(state.path()).unwrap();
        assert_eq!((left.seeds.len(), left.adopt_key), (2, Some([7; 32])));
        assert_eq!(left.checkpoint.as_deref(), Some("another"));
        assert!(!state.path().join(PART).exists());
    }
}
