//! A backup of all that the archive does not hold: database, keys and configuration, of one moment, for the owner alone.
//!
//! ```text
//! folder .<name>.callvault-<16 hex>.part (0700)
//!   keys, checkpoint  vacuum into  keys again: the same  configuration  manifest.json  RESTORE.txt  SHA256SUMS    each 0600, fsync
//! rename(<name>)  fsync(parent)
//! ```
//! It reads beside whoever has the state, and takes no lock. A folder with its final name is whole; after an error nothing is
//! left, and after a crash at most a folder with a hidden name.

mod restore;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use tracing::warn;

use super::state;
use crate::archive::{Content, hash_while};
use crate::base::digest::{Digest, hex};
use crate::base::filesystem::free_bytes;
use crate::base::salt::random;
use crate::base::users::User;
use crate::config::{Config, secret_files};
use crate::store::db;

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

/// Why no backup was made. Each says what to do, and leaves nothing behind.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("there is nothing to back up: `{0}` holds no database yet")]
    Nothing(PathBuf),
    #[error("`{0}` is there already, and no backup is overwritten: name another folder")]
    Taken(PathBuf),
    #[error("`{0}` is no name for a new folder: name one")]
    NoName(PathBuf),
    #[error("`{0}` is a link, or where a filesystem is mounted: name a new folder in it")]
    Elsewhere(PathBuf),
    #[error(
        "`{0}` is in the archive or in the state folder, and would be lost with it: name a folder elsewhere"
    )]
    Inside(PathBuf),
    #[error("`{0}` does not exist: create that folder first")]
    NoParent(PathBuf),
    #[error(
        "`{path}` has room for {free_bytes} bytes, and the backup needs {needed_bytes}: make room, or name another folder"
    )]
    NoRoom { path: PathBuf, free_bytes: u64, needed_bytes: u64 },
    #[error("the disk of `{0}` is full: make room, or name another folder")]
    Full(PathBuf),
    #[error("the keys of the state changed meanwhile: run the same command again")]
    Changed,
    #[error("cannot {action} `{path}`: {error}")]
    Io { action: &'static str, path: PathBuf, error: io::Error },
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

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub path: PathBuf,
    pub made_at: Timestamp,
    pub files: usize,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Copied {
    bytes: u64,
    sha256: Digest,
}

/// Makes a backup at `out`. On return it is on disk, whole.
///
/// Dropped before its end, it leaves nothing.
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

struct Backup {
    place: Place,
    files: BTreeMap<String, Copied>,
}

impl Backup {
    /// Copies the database with the keys that belong to it: a key may be replaced at any time.
    async fn copy_state(&mut self, config: &Config) -> anyhow::Result<()> {
        let state = &config.state.path;
        for _ in 0..TRIES {
            make_private(&self.place.path(STATE))?;
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
                self.files.insert(format!("{STATE}/callvault.db"), hash(&copy, file)?);
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
        let bytes = fs::read(from).map_err(BackupError::io("read", from))?;
        self.keep(from, &bytes, to)
    }

    fn write(&mut self, to: &str, text: impl AsRef<[u8]>) -> Result<Copied, BackupError> {
        self.keep(Path::new(to), text.as_ref(), to)
    }

    fn keep(&mut self, what: &Path, bytes: &[u8], to: &str) -> Result<Copied, BackupError> {
        let path = self.place.path(to);
        let failed = BackupError::io("write", &path);
        let mut file = File::create_new(&path).map_err(&failed)?;
        // Nobody else comes into the folder that it is in.
        file.set_permissions(Permissions::from_mode(FILE_MODE)).map_err(&failed)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(BackupError::io("copy", what))?;
        let copied = Copied { bytes: bytes.len() as u64, sha256: Digest::of(bytes) };
        self.files.insert(to.to_owned(), copied);
        Ok(copied)
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
    let hash = |path: &PathBuf| {
        let bytes = fs::read(path).map_err(BackupError::io("read", path))?;
        anyhow::Ok((path.clone(), Digest::of(bytes)))
    };
    files.iter().map(hash).collect()
}

fn hash(path: &Path, mut file: File) -> Result<Copied, BackupError> {
    match hash_while(&mut file, &mut |_| true).map_err(BackupError::io("read", path))? {
        Content::Bytes { size_bytes, sha256 } => Ok(Copied { bytes: size_bytes, sha256 }),
        other => unreachable!("an open file is {other:?}"),
    }
}

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
    fn begin(out: &Path, ours: &[&PathBuf], database_bytes: u64) -> Result<Self, BackupError> {
        let parent = check(out, ours)?;
        let needed_bytes = database_bytes.saturating_add(REST_BYTES);
        let free = free_bytes(&parent).unwrap_or(u64::MAX);
        if free < needed_bytes {
            return Err(BackupError::NoRoom { path: parent, free_bytes: free, needed_bytes });
        }
        let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = parent.join(format!(".{name}.callvault-{}.part", hex(&random::<8>())));
        make_private(&folder)?;
        let out = parent.join(out.file_name().unwrap_or_default());
        Ok(Self { folder, out, is_kept: false })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder that it will be in.
    pub(super) fn parent(&self) -> &Path {
        self.out.parent().unwrap_or(Path::new("/"))
    }

    /// Removes a folder in it, with all that it holds.
    fn remove_folder(&self, name: &str) -> Result<(), BackupError> {
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
