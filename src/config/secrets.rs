//! Passwords, tokens and keys: each from a file of its own, or from a configuration file that others cannot read.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use secrecy::SecretString;

use super::file::Purpose;
use super::problem::Position;
use super::section::{Section, Wrong, wrong};
use super::value;

/// A file that holds a secret, and where the configuration names it. systemd's credentials are none of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// The file: the configuration itself, if the secret stands in it.
    pub path: PathBuf,
    /// The key that names it, with its section, such as `pbx.password_file`.
    pub key: String,
    pub position: Position,
}

/// The permission bits of everyone but the owner.
const GROUP_AND_OTHERS: u32 = 0o077;

/// The permission bit that lets anyone on the machine read a file.
pub(super) const OTHERS_READ: u32 = 0o004;

/// No password is longer; a larger file is another file.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Reads the password, and the path of the file that holds it; nothing if there is none, or something is wrong.
pub(super) fn read(section: &Section<'_>) -> Option<(SecretString, PathBuf)> {
    if section.reading.purpose == Purpose::Trust {
        return Some((SecretString::default(), PathBuf::from("(not read)")));
    }
    match (section.has("password_file"), section.has("password")) {
        (true, true) => {
            let remedy = "keep password_file and remove password";
            section.reject("password", wrong("stands beside password_file", remedy));
            None
        }
        (false, false) => {
            let remedy = "add password_file = \"…\", a file that holds nothing but the password";
            section.miss("password_file", wrong("missing", remedy));
            None
        }
        (true, false) => secret_file(section, "password_file"),
        (false, true) => from_configuration(section),
    }
}

/// Reads a secret from the file that `key` names, and the path of that file; nothing if the key is absent or wrong.
pub(super) fn secret_file(section: &Section<'_>, key: &'static str) -> Option<(SecretString, PathBuf)> {
    if section.reading.purpose == Purpose::Trust {
        return Some((SecretString::default(), PathBuf::from("(not read)")));
    }
    let (file, path) = section.read(key, |value| open(section, value::text(value)?))?;
    let is_credential = note_secret_file(section, key, &path);
    if section.reading.purpose == Purpose::Secrets {
        return Some((SecretString::default(), path));
    }
    let (secret, mode) = section.read(key, |_| read_file(file, &path))?;
    if !is_credential && mode & OTHERS_READ != 0 {
        let message = format!("everyone on this machine may read {}", path.display());
        section.reject_mode(key, wrong(message, format!("chmod 600 {}", path.display())));
    }
    Some((secret, path))
}

/// A password in the configuration itself.
fn from_configuration(section: &Section<'_>) -> Option<(SecretString, PathBuf)> {
    let password = section.read("password", value::text)?;
    let origin = section.reading.origin;
    section.note_secret("password", origin.file);
    if origin.mode & GROUP_AND_OTHERS != 0 {
        let remedy = format!("chmod 600 {}, or use password_file", origin.file.display());
        section.reject_mode("password", wrong("stands in a file that others may use", remedy));
    }
    Some((SecretString::from(password), origin.file.to_owned()))
}

/// Opens the file of a secret: in `$CREDENTIALS_DIRECTORY` if it is there, else beside the configuration.
fn open(section: &Section<'_>, name: &str) -> Result<(File, PathBuf), Wrong> {
    let origin = section.reading.origin;
    let folders = [origin.credentials_directory, Some(origin.folder())];
    // An absolute name replaces the folder, so both candidates are then the same.
    let mut candidates: Vec<PathBuf> =
        folders.into_iter().flatten().map(|folder| folder.join(name)).collect();
    candidates.dedup();
    for path in &candidates {
        match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(path, &error)),
            Ok(file) => return Ok((file, path.clone())),
        }
    }
    let places: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
    let message = format!("there is no {}", places.join(", nor "));
    Err(wrong(message, "write the password into that file and chmod 600 it"))
}

/// Notes that a secret stands in a file, unless it is a credential of systemd. Returns whether it is one.
pub(super) fn note_secret_file(section: &Section<'_>, key: &'static str, path: &Path) -> bool {
    let is_credential = is_credential(path, section.reading.origin.credentials_directory);
    if !is_credential {
        section.note_secret(key, path);
    }
    is_credential
}

/// Whether systemd hands the file out, which keeps others away by the folder's permissions: to this process, or, at the place
/// where it keeps them all, to the service.
fn is_credential(path: &Path, directory: Option<&Path>) -> bool {
    let of_systemd = Path::new("/run/credentials");
    let is_below = |folder: &Path| path.starts_with(folder);
    let is_plain = path.components().all(|part| part != Component::ParentDir);
    is_plain && (directory.is_some_and(is_below) || is_below(of_systemd))
}

/// Reads the secret, and the file's mode.
fn read_file(file: File, path: &Path) -> Result<(SecretString, u32), Wrong> {
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if metadata.is_dir() {
        return Err(wrong(format!("{} is a folder", path.display()), "name the file in it"));
    }
    let mut bytes = Vec::new();
    file.take(PASSWORD_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    let contents = String::from_utf8(bytes).ok();
    let remedy = "let it hold nothing but the password, on one line";
    let contents = contents.filter(|text| text.len() as u64 <= PASSWORD_BYTES_MAX && !text.contains('\0'));
    let contents =
        contents.ok_or_else(|| wrong(format!("{} does not look like a password", path.display()), remedy))?;
    let password = contents.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(wrong(format!("{} is empty", path.display()), "write the password into it"));
    }
    if password.contains(['\r', '\n']) {
        return Err(wrong(format!("{} has several lines", path.display()), remedy));
    }
    Ok((SecretString::from(password), metadata.permissions().mode()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Wrong {
    let remedy = "let the user that callvault runs as read it";
    wrong(format!("{} cannot be read ({})", path.display(), super::file::reason(error)), remedy)
}
