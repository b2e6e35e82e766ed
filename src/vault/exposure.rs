//! What others on this machine can do to an installation: read its secrets, or write what callvault goes by.
//!
//! The group of the archive is for people who listen, so a secret is its owner's alone, and nobody but him and root writes
//! the configuration. `config check` and a first start refuse what is open; an installation that is at work tells of it and
//! goes on, for archiving never stops over modes. On filesystems that keep no owners (CIFS, FUSE and their kind) modes prove
//! nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Serialize;
use tracing::warn;

use crate::base::filesystem::keeps_owners;
use crate::base::users::{User, quoted};
use crate::config::{Config, ConfigErrors, Position, Problem, secret_files};
use crate::store::db::database_file;

const READ: u32 = 0o044;
const WRITE: u32 = 0o022;
const EVERYONE: u32 = 0o007;
/// In a folder with this bit each file is safe from all but its owner.
const STICKY: u32 = 0o1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    SecretReadable,
    /// Others can write what callvault goes by: configuration, a secret, the archive's root.
    Writable,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exposure {
    pub harm: Harm,
    pub path: String,
    /// What is wrong, as one sentence without its end.
    pub message: String,
    pub command: String,
    #[serde(skip)]
    place: Place,
    /// Whether a first start is refused for it.
    #[serde(skip)]
    is_refused: bool,
}

impl Exposure {
    /// All of it, for a log or an alert.
    pub fn sentence(&self) -> String {
        format!("{}: fix it with `{}`", self.message, self.command)
    }
}

/// Everything that is open to others in the configuration and its secrets, at this moment. A file that cannot be looked at
/// is left out.
pub fn of_configuration(config: &Config) -> Vec<Exposure> {
    let keeper = keeper(config);
    let mut found = Vec::new();
    for secret in secret_files(&config.file) {
        let place = Place { key: Some(secret.key), position: Some(secret.position) };
        found.extend(of_secret(&secret.path, keeper, &place));
        found.extend(of_folder(&secret.path, &place));
    }
    let nowhere = Place::default();
    found.extend(of_writable(&config.file, &nowhere, WRITE, "the configuration"));
    found.extend(of_folder(&config.file, &nowhere));
    // One sentence for each file: two secrets in one folder make one finding of it.
    let mut seen = BTreeSet::new();
    found.retain(|exposure| seen.insert((exposure.path.clone(), exposure.harm)));
    found
}

/// That everyone can write to the archive's root, if so. Groups that write there are the operator's choice.
pub fn of_archive(root: &Path) -> Option<Exposure> {
    let place = Place { key: Some("archive.path".to_owned()), position: None };
    let mut found = of_writable(root, &place, WRITE & EVERYONE, "the archive")?;
    // A mount point of a container is often root's and open, and whoever works there cannot mend it.
    let us = User::of_this_process();
    found.is_refused = us == User::ROOT || User::of(root).is_ok_and(|owner| owner == Some(us));
    Some(found)
}

/// Refuses what is open to others.
///
/// # Errors
/// One problem for each thing, with the command that mends it.
pub fn check(config: &Config) -> Result<(), ConfigErrors> {
    refuse(config, all(config))
}

/// Refuses what is open to others where callvault has not worked yet; else says so in the log.
///
/// # Errors
/// As [`check`], if there is no database.
pub fn check_before_work(config: &Config) -> Result<(), ConfigErrors> {
    let found = all(config);
    if database_file(&config.state.path).exists() {
        log(&found);
        return Ok(());
    }
    let (refused, logged): (Vec<Exposure>, Vec<Exposure>) =
        found.into_iter().partition(|exposure| exposure.is_refused);
    log(&logged);
    refuse(config, refused)
}

fn all(config: &Config) -> Vec<Exposure> {
    of_configuration(config).into_iter().chain(of_archive(&config.archive.path)).collect()
}

fn log(found: &[Exposure]) {
    found.iter().for_each(|exposure| warn!("{}", exposure.sentence()));
}

fn refuse(config: &Config, found: Vec<Exposure>) -> Result<(), ConfigErrors> {
    let problems = found.into_iter().map(|exposure| Problem {
        file: config.file.display().to_string(),
        position: exposure.place.position,
        key: exposure.place.key,
        value: None,
        message: exposure.message,
        remedy: format!("fix it with `{}`", exposure.command),
    });
    let problems: Vec<Problem> = problems.collect();
    if problems.is_empty() { Ok(()) } else { Err(ConfigErrors::of(problems)) }
}

/// Where the configuration names a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Place {
    key: Option<String>,
    position: Option<Position>,
}

impl Place {
    fn exposure(&self, harm: Harm, path: &Path, message: String, command: String) -> Exposure {
        let (path, place) = (path.display().to_string(), self.clone());
        Exposure { harm, path, message, command, place, is_refused: true }
    }
}

/// Whoever the service runs as: the owner of its state, or else whoever runs this.
fn keeper(config: &Config) -> User {
    let owner = |path: &Path| User::of(path).ok().flatten();
    owner(&database_file(&config.state.path))
        .or_else(|| owner(&config.state.path))
        .unwrap_or_else(User::of_this_process)
}

/// That others than its owner can read a secret, or put another in its place.
fn of_secret(path: &Path, keeper: User, place: &Place) -> Option<Exposure> {
    let (mode, owner) = mode_of(path)?;
    let open = mode & (READ | WRITE);
    if open == 0 {
        return None;
    }
    let harm = if open & READ != 0 { Harm::SecretReadable } else { Harm::Writable };
    let verb = match (open & READ != 0, open & WRITE != 0) {
        (true, true) => "read and change",
        (true, false) => "read",
        _ => "change",
    };
    let word = quoted(&path.to_string_lossy());
    // Whoever reads it as one of its group could not read it any more.
    let command = match owner == Some(keeper) {
        true => format!("sudo chmod 600 {word}"),
        false => format!("sudo chown {} {word} && sudo chmod 600 {word}", keeper.for_chown()),
    };
    let message = format!("{} can {verb} the secret in {}", who(open), path.display());
    Some(place.exposure(harm, path, message, command))
}

/// That others than its owner can write to it, of those in `mask`.
fn of_writable(path: &Path, place: &Place, mask: u32, what: &str) -> Option<Exposure> {
    let (mode, _) = mode_of(path)?;
    let open = mode & mask;
    if open == 0 {
        return None;
    }
    let taken = if mask & EVERYONE == mask { "o-w" } else { "go-w" };
    let command = format!("sudo chmod {taken} {}", quoted(&path.to_string_lossy()));
    let message = format!("{} can write to {what}, {}", who(open), path.display());
    Some(place.exposure(Harm::Writable, path, message, command))
}

/// That others can put another file in the place of the one at `path`.
fn of_folder(path: &Path, place: &Place) -> Option<Exposure> {
    let folder = match path.parent()? {
        bare if bare.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    let (mode, _) = mode_of(folder)?;
    if mode & STICKY != 0 {
        return None;
    }
    of_writable(folder, place, WRITE, "the folder of the configuration or of a secret")
}

/// The mode of what is at `path`, and its owner; nothing if it is not there, or if modes prove nothing there.
fn mode_of(path: &Path) -> Option<(u32, Option<User>)> {
    let metadata = fs::metadata(path).ok()?;
    keeps_owners(path).then(|| (metadata.permissions().mode() & 0o7777, User::of(path).ok().flatten()))
}

fn who(open: u32) -> &'static str {
    if open & EVERYONE != 0 { "everyone on this machine" } else { "its group" }
}
