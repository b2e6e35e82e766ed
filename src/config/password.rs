//! The password of a PBX: from a file of its own, or from a configuration file that others cannot read.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::file::Purpose;
use super::section::{Section, Wrong, wrong};
use super::value;

/// The permission bits of everyone but the owner.
const GROUP_AND_OTHERS: u32 = 0o077;

/// The permission bit that lets anyone on the machine read a file.
const OTHERS_READ: u32 = 0o004;

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
        (false, true) => section.read("password", |value| from_configuration(section, value::text(value)?)),
    }
}

/// Reads a secret from the file that `key` names, and the path of that file; nothing if the key is absent or wrong.
pub(super) fn secret_file(section: &Section<'_>, key: &'static str) -> Option<(SecretString, PathBuf)> {
    if section.reading.purpose == Purpose::Trust {
        return Some((SecretString::default(), PathBuf::from("(not read)")));
    }
    section.read(key, |value| from_file(section, value::text(value)?))
}

/// A password in the configuration itself.
fn from_configuration(section: &Section<'_>, password: &str) -> Result<(SecretString, PathBuf), Wrong> {
    let origin = section.reading.origin;
    if origin.mode & GROUP_AND_OTHERS != 0 {
        let remedy = format!("chmod 600 {}, or use password_file", origin.file.display());
        return Err(wrong("stands in a file that others may use", remedy));
    }
    Ok((SecretString::from(password), origin.file.to_owned()))
}

/// A password in a file: in `$CREDENTIALS_DIRECTORY` if it is there, else beside the configuration.
fn from_file(section: &Section<'_>, name: &str) -> Result<(SecretString, PathBuf), Wrong> {
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
            Ok(file) => {
                // systemd keeps its credentials from other users by the folder's permissions.
                let is_credential =
                    origin.credentials_directory.is_some_and(|folder| path.parent() == Some(folder));
                return Ok((read_file(file, path, is_credential)?, path.clone()));
            }
        }
    }
    let places: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
    let message = format!("there is no {}", places.join(", nor "));
    Err(wrong(message, "write the password into that file and chmod 600 it"))
}

fn read_file(file: File, path: &Path, is_credential: bool) -> Result<SecretString, Wrong> {
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    refuse_folder_or_mode(&metadata, path, is_credential)?;
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
    Ok(SecretString::from(password))
}

fn refuse_folder_or_mode(metadata: &Metadata, path: &Path, is_credential: bool) -> Result<(), Wrong> {
    if metadata.is_dir() {
        return Err(wrong(format!("{} is a folder", path.display()), "name the file in it"));
    }
    if !is_credential && metadata.permissions().mode() & OTHERS_READ != 0 {
        let message = format!("everyone on this machine may read {}", path.display());
        return Err(wrong(message, format!("chmod 600 {}", path.display())));
    }
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Wrong {
    let remedy = "let the user that callvault runs as read it";
    wrong(format!("{} cannot be read ({})", path.display(), super::file::reason(error)), remedy)
}
