//! A backup of all that the archive does not hold: database, keys and configuration, of one moment, for the owner alone.
//!
//! ```text
//! folder .<name>.callvault-<16 hex>.part (0700)
//!   keys, checkpoint  vacuum into  keys again: the same  configuration  manifest.json  RESTORE.txt  SHA256SUMS    each 0600, fsync
//! rename(<name>)  fsync(parent)
//! ```
//! It reads beside whoever has the state, and takes no lock. A folder with its final name is whole; after an error nothing is
//! left, and after a crash at most a folder with a hidden name.

mod place;
mod restore;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;
use crate::base::users::User;
use crate::config::{Config, secret_files};
use crate::store::db;
use crate::vault::state;
use place::Place;

/// What a backup is, for whoever reads its manifest.
const FORMAT: &str = "callvault-backup/1";
/// For the owner alone: the key that signs is in it, and the numbers of everybody who called.
const FILE_MODE: u32 = 0o600;
/// The folder of what goes back into the state folder.
const STATE: &str = "state";
const CONFIGURATION: &str = "callvault.toml";
const MANIFEST: &str = "manifest.json";
const RESTORE: &str = "RESTORE.txt";
const SUMS: &str = "SHA256SUMS";
/// How often a backup is begun again because keys changed under it.
const TRIES: u32 = 3;
/// How much is copied at one time.
const COPY_BYTES: usize = 128 << 10;

/// Why no backup was made. Each says what to do, and leaves nothing behind.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no database.
    #[error("there is nothing to back up: `{0}` holds no database yet")]
    Nothing(PathBuf),
    /// Something is there.
    #[error("`{0}` is there already, and no backup is overwritten: name another folder")]
    Taken(PathBuf),
    /// It has no name.
    #[error("`{0}` is no name for a new folder: name one")]
    NoName(PathBuf),
    /// No folder can get that name.
    #[error("`{0}` is a link, or where a filesystem is mounted: name a new folder in it")]
    Elsewhere(PathBuf),
    /// It would be lost with what it is to save.
    #[error(
        "`{0}` is in the archive or in the state folder, and would be lost with it: name a folder elsewhere"
    )]
    Inside(PathBuf),
    /// Its parent is not there.
    #[error("`{0}` does not exist: create that folder first")]
    NoParent(PathBuf),
    /// The disk is too full.
    #[error(
        "`{path}` has room for {free_bytes} bytes, and the backup needs {needed_bytes}: make room, or name another folder"
    )]
    NoRoom {
        /// The folder that it was to be in.
        path: PathBuf,
        /// What there is.
        free_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// The disk got full meanwhile.
    #[error("the disk of `{0}` is full: make room, or name another folder")]
    Full(PathBuf),
    /// A key was changed again and again.
    #[error("the keys of the state changed meanwhile: run the same command again")]
    Changed,
    /// Something cannot be read or written.
    #[error("cannot {action} `{path}`: {error}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the filesystem says.
        error: io::Error,
    },
}

impl BackupError {
    fn io(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path.clone()),
            _ => Self::Io { action, path: path.clone(), error },
        }
    }
}

/// A backup that is there.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its folder.
    pub path: PathBuf,
    /// When it was made.
    pub made_at: Timestamp,
    /// Files in it.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Stands for all of it: the hash of `SHA256SUMS`.
    pub sums_sha256: Digest,
}

/// What is in a backup, and where it belongs.
#[derive(Debug, Serialize)]
struct Manifest {
    format: &'static str,
    version: &'static str,
    made_at: Timestamp,
    /// Where things stood.
    config: PathBuf,
    config_mode: String,
    state: PathBuf,
    archive: PathBuf,
    /// Whose the state was, as `chown` names him.
    owner: String,
    /// Files with secrets that are not in the backup.
    secrets_elsewhere: Vec<PathBuf>,
    files: BTreeMap<String, Copied>,
}

/// A file of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Copied {
    bytes: u64,
    sha256: Digest,
}

/// Makes a backup at `out`. On return it is on disk, whole.
///
/// Dropped before its end, it leaves nothing.
///
/// # Errors
/// [`BackupError`]; what the database says of a copy.
pub async fn make(config: &Config, out: &Path, now: Timestamp) -> anyhow::Result<Report> {
    let state = &config.state.path;
    let database = db::database_file(state);
    if !database.exists() {
        return Err(BackupError::Nothing(state.clone()).into());
    }
    let ours = [&config.archive.path, state];
    let needed_bytes = db::size_bytes(state).map_err(BackupError::io("read", &database))?;
    let mut backup = Backup { place: Place::begin(out, &ours, needed_bytes)?, files: BTreeMap::new() };
    backup.copy_state(config).await?;
    backup.copy(&config.file, CONFIGURATION)?;
    let manifest = backup.manifest(config, now)?;
    backup
        .write(MANIFEST, serde_json::to_string_pretty(&manifest).context("writing the manifest")? + "\n")?;
    backup.write(RESTORE, restore::text(&manifest))?;
    let sums = backup.files.iter().map(|(path, file)| format!("{}  {path}\n", file.sha256));
    let sums_sha256 = backup.write(SUMS, sums.collect::<String>())?.sha256;
    let (files, bytes) = (backup.files.len(), backup.files.values().map(|file| file.bytes).sum());
    let path = backup.place.keep(&[STATE])?;
    Ok(Report { path, made_at: now, files, bytes, sums_sha256 })
}

/// A backup in the making.
struct Backup {
    place: Place,
    files: BTreeMap<String, Copied>,
}

impl Backup {
    /// Copies the database with the keys that belong to it: a key may be replaced at any time.
    async fn copy_state(&mut self, config: &Config) -> anyhow::Result<()> {
        let state = &config.state.path;
        for _ in 0..TRIES {
            self.place.make_folder(STATE)?;
            let before = self.copy_keys(config)?;
            // Before the database, which then has all that it covers.
            if let Some(checkpoint) = state::checkpoint_file(state) {
                self.copy(&checkpoint, &format!("{STATE}/checkpoint"))?;
            }
            let copy = self.place.path(&format!("{STATE}/callvault.db"));
            let copied = db::copy(state, &copy).await;
            copied.map_err(|error| match db::is_disk_full(&error) {
                true => BackupError::Full(self.place.parent().to_owned()).into(),
                false => error,
            })?;
            let file = File::open(&copy).map_err(BackupError::io("read", &copy))?;
            let set = file.set_permissions(Permissions::from_mode(FILE_MODE)).and_then(|()| file.sync_all());
            set.map_err(BackupError::io("write", &copy))?;
            if before == hashes(&kept_files(config)?)? {
                let database = hash(&copy, file, io::sink())?;
                self.files.insert(format!("{STATE}/callvault.db"), database);
                return Ok(());
            }
            self.place.remove_folder(STATE)?;
            self.files.clear();
        }
        Err(BackupError::Changed.into())
    }

    /// Copies the keys, and other secrets that lie in the state folder. Returns their hashes.
    fn copy_keys(&mut self, config: &Config) -> anyhow::Result<BTreeMap<PathBuf, Digest>> {
        let mut hashes = BTreeMap::new();
        for path in kept_files(config)? {
            let name = path.strip_prefix(&config.state.path).unwrap_or(&path);
            let name = name.to_str().context("the name of a key is not UTF-8")?.to_owned();
            let copied = self.copy(&path, &format!("{STATE}/{name}"))?;
            hashes.insert(path, copied.sha256);
        }
        Ok(hashes)
    }

    /// Copies a file. On return it is on disk.
    fn copy(&mut self, from: &Path, to: &str) -> Result<Copied, BackupError> {
        let source = File::open(from).map_err(BackupError::io("read", from))?;
        let copied = hash(from, source, self.create(to)?)?;
        self.files.insert(to.to_owned(), copied);
        Ok(copied)
    }

    fn write(&mut self, to: &str, text: impl AsRef<[u8]>) -> Result<Copied, BackupError> {
        let copied = hash(Path::new(to), text.as_ref(), self.create(to)?)?;
        self.files.insert(to.to_owned(), copied);
        Ok(copied)
    }

    fn create(&self, name: &str) -> Result<Durable, BackupError> {
        let path = self.place.path(name);
        let failed = BackupError::io("write", &path);
        let file = File::create_new(&path).map_err(&failed)?;
        // Nobody else comes into the folder that it is in.
        file.set_permissions(Permissions::from_mode(FILE_MODE)).map_err(&failed)?;
        Ok(Durable(file))
    }

    fn manifest(&self, config: &Config, now: Timestamp) -> anyhow::Result<Manifest> {
        let state = &config.state.path;
        let config_file = std::path::absolute(&config.file).map_err(BackupError::io("read", &config.file))?;
        let mode =
            fs::metadata(&config_file).map_err(BackupError::io("read", &config_file))?.permissions().mode();
        let mut secrets: Vec<PathBuf> =
            secret_files(&config_file).into_iter().map(|secret| secret.path).collect();
        secrets.retain(|path| path.parent() != Some(state.as_path()) && *path != config_file);
        secrets.dedup();
        let owner = User::of(&db::database_file(state)).ok().flatten().unwrap_or_else(User::of_this_process);
        Ok(Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION"),
            made_at: now,
            config: config_file,
            config_mode: format!("{:04o}", mode & 0o777),
            state: state.clone(),
            archive: config.archive.path.clone(),
            owner: owner.for_chown(),
            secrets_elsewhere: secrets,
            files: self.files.clone(),
        })
    }
}

/// The files of the state folder that are kept beside the database, sorted.
fn kept_files(config: &Config) -> anyhow::Result<Vec<PathBuf>> {
    let state = &config.state.path;
    let mut files = state::key_files(state)?;
    let named = secret_files(&config.file).into_iter().map(|secret| secret.path);
    // In a folder of its own a secret of the operator's is the operator's to keep.
    files.extend(named.filter(|path| path.parent() == Some(state.as_path())));
    files.sort();
    files.dedup();
    Ok(files)
}

fn hashes(files: &[PathBuf]) -> anyhow::Result<BTreeMap<PathBuf, Digest>> {
    let mut hashes = BTreeMap::new();
    for path in files {
        let file = File::open(path).map_err(BackupError::io("read", path))?;
        hashes.insert(path.clone(), hash(path, file, io::sink())?.sha256);
    }
    Ok(hashes)
}

/// A file whose bytes are on disk when it is flushed.
struct Durable(File);

impl io::Write for Durable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// Hashes what is read, and writes it on.
fn hash(what: &Path, mut from: impl Read, mut to: impl io::Write) -> Result<Copied, BackupError> {
    let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; COPY_BYTES]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BackupError::io("read", what)(error)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
                to.write_all(&buffer[..count]).map_err(BackupError::io("copy", what))?;
            }
        }
    }
    to.flush().map_err(BackupError::io("copy", what))?;
    Ok(Copied { bytes, sha256: hasher.into() })
}
