//! The state directory: the lock that makes one process the owner, the database, and a key of its own.

mod lock;
mod modes;
mod replace;
mod rightful;
mod seed;
mod surviving;

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::ExposeSecret as _;
use sha2::Sha256;

pub use lock::{StateLock, is_owned_by_service};
pub use rightful::refuse_other_user;
pub use seed::{Seed, parse as parse_seed};
pub use surviving::{Surviving, checkpoint_file, keep_checkpoint, last_checkpoint, surviving};

use crate::base::digest::hex;
use crate::config::{Config, PbxConfig};
use crate::store::db::{Db, database_file};
use crate::store::fleet;

/// The file of what a state knows its own sidecars by.
const ADOPT_KEY: &str = "adopt.key";

/// The mode of what lies in the state directory: for the owner alone.
const PRIVATE: u32 = 0o600;

/// Why a state directory cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process owns it.
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
    Network {
        /// The directory.
        path: PathBuf,
        /// The kind of filesystem.
        filesystem: &'static str,
    },
    /// The file of a key of the ledger holds something else.
    #[error(
        "{path} does not hold a key of the ledger (64 hex digits): restore it from a backup; or move it away, and let \
         another one follow it with `callvault ledger rotate-key`"
    )]
    NoSeed {
        /// The file.
        path: PathBuf,
    },
    /// It belongs to another user, whose service could not work with files of this one's.
    #[error(
        "`{path}` belongs to {owner}, and this was run by {us}: nothing was done; run it as its owner: `{remedy}`"
    )]
    OtherUser {
        /// What belongs to him.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who runs this.
        us: String,
        /// The command that works.
        remedy: String,
    },
    /// A file that another user left in it, or in the archive.
    #[error(
        "`{file}` belongs to {owner}, and callvault runs as {us}, who cannot use it: nothing was done; give it back \
         with `{remedy}`"
    )]
    OtherUsersFile {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who runs this.
        us: String,
        /// The command that mends it.
        remedy: String,
    },
    /// It cannot be created, read or written.
    #[error(
        "[state] path {path} cannot be used: {problem}; make it a directory that this user may write, with free space"
    )]
    Unusable {
        /// The directory or the file in it.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
}

/// The opened state directory. The lock is held for as long as this lives.
#[derive(Debug)]
pub struct State {
    /// The database.
    pub db: Db,
    /// Names this state in the archive's markers.
    pub id: String,
    /// Names this run in claims.
    pub run_id: String,
    directory: PathBuf,
    key: [u8; 32],
    adopt_key: [u8; 32],
    lock: StateLock,
}

impl State {
    /// Takes the lock, opens the database and reads the key; creates what is not there yet.
    ///
    /// # Errors
    /// [`StateError`] for what an operator can mend.
    pub async fn open(directory: &Path) -> anyhow::Result<Self> {
        let lock = StateLock::take(directory).await?;
        seed::clear(directory)?;
        modes::tighten(directory);
        let credentials_key = key(&directory.join("credentials.key"))?;
        let adopt_key = key(&directory.join(ADOPT_KEY))?;
        make_private(&database_file(directory))?;
        let db = Db::open(directory).await?;
        let id = state_id(&db).await?;
        Ok(Self {
            db,
            id,
            run_id: random_hex::<8>()?,
            directory: directory.into(),
            key: credentials_key,
            adopt_key,
            lock,
        })
    }

    /// What this state knows its own sidecars by: it is part of every backup of the state.
    pub fn adopt_key(&self) -> [u8; 32] {
        self.adopt_key
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lets commands know that they may hand their work over.
    ///
    /// # Errors
    /// [`StateError`] if the lock file cannot be written.
    pub fn announce_service(&self) -> Result<(), StateError> {
        self.lock.announce_service()
    }

    /// The secret of the key that signs the ledger; a new one if there is none yet.
    ///
    /// # Errors
    /// [`StateError`] if its file cannot be read or made.
    pub fn ledger_seed(&self) -> Result<Seed, StateError> {
        match seed::read(&seed::file(&self.directory))? {
            Some(seed) => Ok(seed),
            None => seed::make(&self.directory),
        }
    }

    /// The secret of a former key, by its id, if it is still there.
    ///
    /// # Errors
    /// [`StateError`] if its file cannot be read.
    pub fn former_ledger_seed(&self, id: &str) -> Result<Option<Seed>, StateError> {
        seed::read(&seed::former_file(&self.directory, id))
    }

    /// Lets the key with this id become a former one, and makes another that signs from now on.
    ///
    /// # Errors
    /// [`StateError`] if the files cannot be written.
    pub fn rotate_ledger_seed(&self, id: &str) -> Result<Seed, StateError> {
        seed::retire(&self.directory, id)?;
        seed::make(&self.directory)
    }

    /// What is remembered of credentials that a PBX refused: nothing can be read from it, but a change is noticed.
    pub fn fingerprint(&self, pbx: &PbxConfig) -> Vec<u8> {
        let mut hmac = Hmac::<Sha256>::new_from_slice(&self.key).expect("an HMAC takes a key of any length");
        for part in [pbx.url.as_str(), &pbx.username, pbx.password.expose_secret()] {
            hmac.update(&(part.len() as u64).to_be_bytes());
            hmac.update(part.as_bytes());
        }
        hmac.finalize().into_bytes().to_vec()
    }

    /// Stands for all that is configured of a PBX, its password included: nothing can be read from it, but any change is
    /// noticed.
    pub fn settings(&self, pbx: &PbxConfig) -> Vec<u8> {
        let mut hmac = Hmac::<Sha256>::new_from_slice(&self.key).expect("an HMAC takes a key of any length");
        hmac.update(&self.fingerprint(pbx));
        // Its secrets are not in what `Debug` shows.
        hmac.update(format!("{pbx:?}").as_bytes());
        hmac.finalize().into_bytes().to_vec()
    }
}

impl State {
    /// The same for a whole configuration.
    pub fn settings_of_all(&self, config: &Config) -> Vec<u8> {
        let mut hmac = Hmac::<Sha256>::new_from_slice(&self.key).expect("an HMAC takes a key of any length");
        config.pbx.iter().for_each(|pbx| hmac.update(&self.fingerprint(pbx)));
        hmac.update(format!("{config:?}").as_bytes());
        hmac.finalize().into_bytes().to_vec()
    }
}

/// The files of the keys in a state folder: of all that lies there, only they cannot be made again from the archive.
///
/// # Errors
/// [`StateError`] if the folder cannot be listed.
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

fn unusable(path: &Path) -> impl Fn(std::io::Error) -> StateError {
    let path = path.to_path_buf();
    move |error| StateError::Unusable { path: path.clone(), problem: error.to_string() }
}

/// Reads the key, or makes one. A torn one (a crash while it was first written) is made anew: at most, a password that was
/// refused is tried once more.
fn key(path: &Path) -> anyhow::Result<[u8; 32]> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes).map(drop).map_err(unusable(path))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unusable(path)(error).into()),
    }
    if let Ok(key) = bytes.try_into() {
        return Ok(key);
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).context("the system gives no random bytes")?;
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(PRIVATE)
        .open(path)
        .map_err(unusable(path))?;
    file.write_all(&key).and_then(|()| file.sync_all()).map_err(unusable(path))?;
    Ok(key)
}

/// Makes the database's file for the owner alone, if there is none: SQLite would make it as the umask says, and gives its
/// logs the mode of the file that they belong to.
fn make_private(database: &Path) -> Result<(), StateError> {
    match OpenOptions::new().create_new(true).write(true).mode(PRIVATE).open(database) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(unusable(database)(error)),
        _ => Ok(()),
    }
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
