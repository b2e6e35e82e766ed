//! The state directory: the lock that makes one process the owner, the database, and a key of its own.

mod keys;
mod lock;
mod owner;

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::ExposeSecret as _;
use sha2::Sha256;

pub use keys::{
    Seed, Surviving, checkpoint_file, keep_checkpoint, last_checkpoint, parse as parse_seed, surviving,
};
pub use lock::{StateLock, is_owned_by_service};
pub use owner::refuse_other_user;

use crate::base::digest::hex;
use crate::config::PbxConfig;
use crate::store::db::{Db, database_file};
use crate::store::fleet;

/// The file of what a state knows its own sidecars by.
const ADOPT_KEY: &str = "adopt.key";

/// The mode of what lies in the state directory: for the owner alone.
const PRIVATE: u32 = 0o600;

/// Why a state directory cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "{0} is in use by another callvault; wait until it has finished, or stop it, then run this command again"
    )]
    Locked(PathBuf),
    /// The service owns it, and what is to be done cannot be handed to it.
    #[error("the service works on {0}: stop it (`systemctl stop callvault`), then run this command again")]
    Served(PathBuf),
    /// Locks and write-ahead logs do not work there.
    #[error(
        "[state] path {path} lies on {filesystem}: keep the state on a local disk (only the archive may be remote)"
    )]
    Network { path: PathBuf, filesystem: &'static str },
    #[error(
        "{path} does not hold a key of the ledger (64 hex digits): restore it from a backup; or move it away, and let \
         another one follow it with `callvault ledger rotate-key`"
    )]
    NoSeed { path: PathBuf },
    /// It belongs to another user, whose service could not work with files of this one's.
    #[error(
        "`{path}` belongs to {owner}, and this was run by {us}: nothing was done; run it as its owner: `{remedy}`"
    )]
    OtherUser { path: PathBuf, owner: String, us: String, remedy: String },
    #[error(
        "`{file}` belongs to {owner}, and callvault runs as {us}, who cannot use it: nothing was done; give it back \
         with `{remedy}`"
    )]
    OtherUsersFile { file: PathBuf, owner: String, us: String, remedy: String },
    #[error(
        "[state] path {path} cannot be used: {problem}; make it a directory that this user may write, with free space"
    )]
    Unusable { path: PathBuf, problem: String },
}

/// The opened state directory. The lock is held for as long as this lives.
#[derive(Debug)]
pub struct State {
    pub db: Db,
    /// Names this state in the archive's markers.
    pub id: String,
    /// Names this run in claims.
    pub run_id: String,
    key: [u8; 32],
    /// What this state knows its own sidecars by: it is part of every backup of the state.
    pub adopt_key: [u8; 32],
    pub lock: StateLock,
}

impl State {
    /// Takes the lock, opens the database and reads the key; creates what is not there yet.
    ///
    /// # Errors
    /// [`StateError`] for what an operator can mend.
    pub async fn open(directory: &Path) -> anyhow::Result<Self> {
        let lock = StateLock::take(directory).await?;
        keys::clear(directory)?;
        owner::tighten(directory);
        let key = own_key(&directory.join("credentials.key"))?;
        let adopt_key = own_key(&directory.join(ADOPT_KEY))?;
        make_private(&database_file(directory))?;
        let db = Db::open(directory).await?;
        let id = state_id(&db).await?;
        Ok(Self { db, id, run_id: random_hex::<8>()?, key, adopt_key, lock })
    }

    pub fn directory(&self) -> &Path {
        &self.lock.directory
    }

    /// What is remembered of credentials that a PBX refused: nothing can be read from it, but a change is noticed.
    pub fn fingerprint(&self, pbx: &PbxConfig) -> Vec<u8> {
        let mut hmac = self.hmac();
        for part in [pbx.url.as_str(), &pbx.username, pbx.password.expose_secret()] {
            hmac.update(&(part.len() as u64).to_be_bytes());
            hmac.update(part.as_bytes());
        }
        hmac.finalize().into_bytes().to_vec()
    }

    /// Stands for all that is configured of these PBXs and in `shown`, passwords included: nothing can be read from it, but any
    /// change is noticed.
    pub fn settings<'a>(&self, pbxs: impl IntoIterator<Item = &'a PbxConfig>, shown: &impl Debug) -> Vec<u8> {
        let mut hmac = self.hmac();
        pbxs.into_iter().for_each(|pbx| hmac.update(&self.fingerprint(pbx)));
        // Secrets are not in what `Debug` shows.
        hmac.update(format!("{shown:?}").as_bytes());
        hmac.finalize().into_bytes().to_vec()
    }

    fn hmac(&self) -> Hmac<Sha256> {
        Hmac::<Sha256>::new_from_slice(&self.key).expect("an HMAC takes a key of any length")
    }
}

/// The files of the keys in a state folder: of all that lies there, only they cannot be made again from the archive.
pub fn key_files(directory: &Path) -> Result<Vec<PathBuf>, StateError> {
    let entries = fs::read_dir(directory).map_err(unusable(directory))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unusable(directory))?.path();
        if path.extension().is_some_and(|extension| extension == "key") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn unusable(path: &Path) -> impl Fn(io::Error) -> StateError {
    let path = path.to_path_buf();
    move |error| StateError::Unusable { path: path.clone(), problem: error.to_string() }
}

/// What was `done` to `path`; none if nothing is there.
fn if_there<T>(path: &Path, done: io::Result<T>) -> Result<Option<T>, StateError> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path)(error)),
    }
}

/// Reads the key, or makes one. A torn one (a crash while it was first written) is made anew: at most, a password that was
/// refused is tried once more.
fn own_key(path: &Path) -> anyhow::Result<[u8; 32]> {
    if let Some(Ok(key)) = if_there(path, fs::read(path))?.map(TryInto::try_into) {
        return Ok(key);
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).context("the system gives no random bytes")?;
    write_private(path, &key)?;
    Ok(key)
}

/// Writes a file for the owner alone, in place of one that a failed try has left: a sync that failed is not repeated on its file.
/// On return its bytes are on disk.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    if_there(path, fs::remove_file(path))?;
    let opened = OpenOptions::new().create_new(true).write(true).mode(PRIVATE).open(path);
    let written = opened.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(unusable(path))
}

/// Makes the database's file for the owner alone, if there is none: SQLite would make it as the umask says, and gives its
/// logs the mode of the file that they belong to.
fn make_private(database: &Path) -> Result<(), StateError> {
    match OpenOptions::new().create_new(true).write(true).mode(PRIVATE).open(database) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(unusable(database)(error)),
        _ => Ok(()),
    }
}

/// Makes a folder's names durable.
fn sync(state: &Path) -> Result<(), StateError> {
    File::open(state).and_then(|folder| folder.sync_all()).map_err(unusable(state))
}

async fn state_id(db: &Db) -> anyhow::Result<String> {
    let fresh = random_hex::<16>()?;
    db.write(async move |tx| {
        if let Some(id) = fleet::meta(tx, "state_id").await? {
            return Ok(id);
        }
        fleet::set_meta(tx, "state_id", &fresh).await?;
        Ok(fresh)
    })
    .await
}

fn random_hex<const N: usize>() -> anyhow::Result<String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
    Ok(hex(&bytes))
}
