//! The configuration file: from bytes on disk to a [`Config`], or to everything that is wrong with it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::database_file;
use super::problem::{ConfigErrors, Position};
use super::secrets::SecretFile;
use super::section::{Reading, wrong};
use super::{Config, document};

/// The largest configuration file; a larger one is another file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Syntax errors shown: more come from one missing quote.
const SYNTAX_PROBLEMS_MAX: usize = 10;

/// What a configuration's text does not say itself.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The path of the file, as errors name it. Relative password files stand beside it.
    pub file: &'a Path,
    /// The file's permission bits: a password may only stand where others cannot read it.
    pub mode: u32,
    /// `$CREDENTIALS_DIRECTORY`, where password files are looked for first.
    pub credentials_directory: Option<&'a Path>,
}

/// What a configuration is read for, as it decides what it may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To work with it: everything must be there.
    Work,
    /// To say whether it is right. Refuses also what an installation that has it already goes on archiving with, and tells
    /// by an alert.
    Check,
    /// To look at certificates and pin them: nobody logs in, so passwords are not read (systemd may keep them from all
    /// but the service), and a pin may still be missing.
    Trust,
    /// To learn which files hold its secrets: none is read.
    Secrets,
}

impl Origin<'_> {
    pub(super) fn folder(&self) -> &Path {
        // The parent of a bare file name is empty, which joins to the current folder.
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// Where the file of this name is: in `$CREDENTIALS_DIRECTORY` if it is there, else beside the configuration.
    pub(super) fn find(&self, name: &str) -> PathBuf {
        let credential = self.credentials_directory.map(|folder| folder.join(name));
        credential.filter(|path| path.exists()).unwrap_or_else(|| self.folder().join(name))
    }
}

impl Config {
    /// Reads the configuration file at `path` and the password files that it names.
    ///
    /// A secret that everyone can read is refused only where callvault has not worked yet: archiving never stops over modes.
    /// [`exposure`](crate::vault::exposure) tells of it, and of all else that is open to others.
    ///
    /// # Errors
    /// Everything that is wrong, at once; with one sentence if the file as a whole cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        load(path, Purpose::Work)
    }

    /// As [`Config::load`], and refuses what a new installation must not begin with.
    ///
    /// One that has it already goes on archiving, for it concerns the listener alone, and tells it by an alert.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_to_check(path: &Path) -> Result<Self, ConfigErrors> {
        load(path, Purpose::Check)
    }

    /// Reads the configuration file at `path` as far as `callvault trust` needs it: no passwords, and pins that must
    /// be there may be missing. Nobody can be logged in to with it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_to_trust(path: &Path) -> Result<Self, ConfigErrors> {
        load(path, Purpose::Trust)
    }

    /// Reads a configuration from its text; nothing but password files is read besides.
    ///
    /// # Errors
    /// Everything that is wrong, at once, in the order of the text.
    pub fn parse(text: &str, origin: &Origin<'_>) -> Result<Self, ConfigErrors> {
        parse(text, origin, Purpose::Work)
    }
}

/// Finds every file that holds a secret of the configuration at `path`, as it stands there now; none if that cannot be read.
pub fn secret_files(path: &Path) -> Vec<SecretFile> {
    let Ok((text, mode)) = read_file(path) else { return Vec::new() };
    let credentials_directory = credentials_directory();
    let origin = Origin { file: path, mode, credentials_directory: credentials_directory.as_deref() };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let reading = Reading::new(text, &origin, Purpose::Secrets);
    // What is wrong with it is told when it is to be taken.
    document::read(DeTable::parse_recoverable(text).0.get_ref(), &reading);
    reading.into_secrets()
}

fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn load(path: &Path, purpose: Purpose) -> Result<Config, ConfigErrors> {
    let (text, mode) = read_file(path)?;
    let credentials_directory = credentials_directory();
    let origin = Origin { file: path, mode, credentials_directory: credentials_directory.as_deref() };
    parse(&text, &origin, purpose)
}

fn parse(text: &str, origin: &Origin<'_>, purpose: Purpose) -> Result<Config, ConfigErrors> {
    // Editors on Windows put a byte order mark first.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let reading = Reading::new(text, origin, purpose);
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        note_syntax(&reading, &errors);
        return Err(ConfigErrors::of_syntax(reading.into_problems().0));
    }
    let config = document::read(root.get_ref(), &reading);
    let (mut problems, open_files) = reading.into_problems();
    // Archiving never stops over modes: an installation that is at work goes on, and tells of them.
    if !config.as_ref().is_some_and(is_at_work) {
        problems.extend(open_files);
    }
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(ConfigErrors::of(problems)),
    }
}

/// Whether there is an installation already.
fn is_at_work(config: &Config) -> bool {
    database_file(&config.state.path).exists()
}

/// Notes the first syntax error of each line; the others of a line follow from it.
fn note_syntax(reading: &Reading<'_>, errors: &[toml::de::Error]) {
    let mut lines = Vec::new();
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        let line = Position::of(offset, reading.text).line;
        if lines.contains(&line) || lines.len() == SYNTAX_PROBLEMS_MAX {
            continue;
        }
        lines.push(line);
        // The parser's message names what it expected, never what stands there, which may be a password.
        reading.note(
            offset,
            None,
            None,
            wrong(format!("is not TOML: {}", error.message()), syntax_remedy(error)),
        );
    }
}

fn syntax_remedy(error: &toml::de::Error) -> &'static str {
    match error.message() {
        message if message.contains("duplicate key") => {
            "keep one of the two; a further PBX begins with [[pbx]]"
        }
        _ => "write key = value, with text in double quotes",
    }
}

/// Reads the text of the file and its permission bits.
pub(super) fn read_file(path: &Path) -> Result<(String, u32), ConfigErrors> {
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => {
            let remedy = "copy config.example.toml there and edit it, or name another file with --config";
            ConfigErrors::of_file(path, "there is no such file", remedy)
        }
        _ => ConfigErrors::of_file(
            path,
            format!("cannot be read ({})", reason(&error)),
            "let the user that callvault runs as read it, or name another file with --config",
        ),
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(ConfigErrors::of_file(path, "is a folder", "name the file in it with --config"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("is larger than {} KiB, so it is no configuration", FILE_BYTES_MAX / 1024);
        return Err(ConfigErrors::of_file(path, message, "name the right file with --config"));
    }
    Ok((decode(bytes, path)?, metadata.permissions().mode() & 0o777))
}

fn decode(bytes: Vec<u8>, path: &Path) -> Result<String, ConfigErrors> {
    let is_utf16 = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
    if !is_utf16 && bytes.contains(&0) {
        return Err(ConfigErrors::of_file(path, "is binary", "name the right file with --config"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        let message = if is_utf16 { "is UTF-16".to_owned() } else { format!("is not UTF-8 on line {line}") };
        ConfigErrors::of_file(path, message, "save it as UTF-8")
    })
}

/// What the system says, without Rust's addition of the number.
pub(super) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
