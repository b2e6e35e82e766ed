//! The secret halves of the keys that sign the ledger: a file each, 32 bytes in hex, for the owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

use super::{StateError, unusable};
use crate::base::digest::{hex, unhex};

/// The file of the key that signs.
const NAME: &str = "ledger.key";
/// What it is called until it is whole.
const PART: &str = "ledger.key.part";

/// A secret of 32 bytes, wiped when it is dropped.
pub type Seed = Zeroizing<[u8; 32]>;

/// The file of the key that signs.
pub(super) fn file(state: &Path) -> PathBuf {
    state.join(NAME)
}

/// The file of a former key, by its id.
pub(super) fn former_file(state: &Path, id: &str) -> PathBuf {
    state.join(format!("ledger-{id}.key"))
}

/// Reads a seed; `None` if there is no such file.
///
/// # Errors
/// If it cannot be read, or holds something else: it is never made anew over what is there.
pub(super) fn read(path: &Path) -> Result<Option<Seed>, StateError> {
    let mut text = Zeroizing::new(String::new());
    match File::open(path) {
        Ok(mut file) => file.read_to_string(&mut text).map_err(unusable(path))?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(path)(error)),
    };
    parse(&text).map(Some).ok_or_else(|| StateError::NoSeed { path: path.to_owned() })
}

/// Reads the text of such a file.
pub fn parse(text: &str) -> Option<Seed> {
    let bytes = Zeroizing::new(unhex(text.trim())?);
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

/// Makes a new seed. On return its file is on disk, whole, and was not there before.
pub(super) fn make(state: &Path) -> Result<Seed, StateError> {
    let mut seed: Seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).expect("the kernel gives random bytes");
    let (path, part) = (file(state), state.join(PART));
    let text = Zeroizing::new(hex(&*seed) + "\n");
    clear(state)?;
    let mut written =
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(&part).map_err(unusable(&part))?;
    written.write_all(text.as_bytes()).and_then(|()| written.sync_all()).map_err(unusable(&part))?;
    fs::hard_link(&part, &path).map_err(unusable(&path))?;
    fs::remove_file(&part).map_err(unusable(&part))?;
    sync(state)?;
    Ok(seed)
}

/// Removes what a crash left of the making of a seed. That may be the very one that signs since: no copy of a secret stays
/// where nobody looks for one.
pub(super) fn clear(state: &Path) -> Result<(), StateError> {
    let part = state.join(PART);
    match fs::remove_file(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(unusable(&part)(error)),
        _ => Ok(()),
    }
}

/// Lets the key that signs become a former one. On return that is so on disk.
pub(super) fn retire(state: &Path, id: &str) -> Result<(), StateError> {
    let (path, former) = (file(state), former_file(state, id));
    fs::rename(&path, &former).map_err(unusable(&path))?;
    sync(state)
}

fn sync(state: &Path) -> Result<(), StateError> {
    File::open(state).and_then(|folder| folder.sync_all()).map_err(unusable(state))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

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
}
