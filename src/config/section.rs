//! One section of the configuration file, read key by key. A wrong value is noted, and the reading goes on.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::{Origin, Purpose};
use super::problem::{Position, Problem};
use super::secrets::SecretFile;
use super::{keys, value};
use crate::base::recording::{is_deceptive, printable};
use crate::base::words::Word;

/// The longest part of a value that an error quotes, in characters.
const VALUE_CHARS_MAX: usize = 80;

/// What is wrong with a value, and what to do about it.
#[derive(Debug)]
pub(super) struct Wrong {
    message: String,
    remedy: String,
}

/// Makes a [`Wrong`].
pub(super) fn wrong(message: impl Into<String>, remedy: impl Into<String>) -> Wrong {
    Wrong { message: message.into(), remedy: remedy.into() }
}

/// Makes the type of a section from the table of its keys: each field with what reads it.
///
/// That names the key, its default and its bounds, so `read` and [`Default`], which is what a section without any key gives,
/// need not say them again.
macro_rules! settings {
    ($(#[$meta:meta])* pub struct $name:ident from $section:ident($of:literal) {
        $($(#[$about:meta])* pub $field:ident: $type:ty = $read:expr),+ $(,)?
    }) => {
        $(#[$meta])*
        pub struct $name { $($(#[$about])* pub $field: $type),+ }

        impl $name {
            pub(super) fn read($section: &$crate::config::section::Section<'_>) -> Self {
                Self { $($field: $read),+ }
            }
        }

        impl Default for $name {
            fn default() -> Self { $crate::config::section::without_keys($of, Self::read) }
        }
    };
}
pub(super) use settings;

/// What `read` makes of a section without any key.
pub(super) fn without_keys<T>(name: &'static str, read: impl FnOnce(&Section<'_>) -> T) -> T {
    let origin = Origin { file: Path::new(""), mode: 0, credentials_directory: None };
    let reading = Reading::new("", &origin, Purpose::Work);
    read(&Section { name, table: &DeTable::new(), offset: 0, reading: &reading })
}

/// One reading of a configuration file: its text, where it came from, and what was found wrong so far.
pub(super) struct Reading<'a> {
    pub(super) text: &'a str,
    pub(super) origin: &'a Origin<'a>,
    pub(super) purpose: Purpose,
    problems: RefCell<Vec<Problem>>,
    /// What is wrong with the modes of files: nothing that an installation which is at work would stop for.
    open_files: RefCell<Vec<Problem>>,
    secrets: RefCell<Vec<SecretFile>>,
}

impl<'a> Reading<'a> {
    /// Begins to read `text`.
    pub(super) fn new(text: &'a str, origin: &'a Origin<'a>, purpose: Purpose) -> Self {
        let (problems, open_files) = Default::default();
        Self { text, origin, purpose, problems, open_files, secrets: RefCell::default() }
    }

    /// Notes a problem at a byte of the text. What is said of it may hold a path or an expression of the text.
    pub(super) fn note(&self, offset: usize, key: Option<String>, value: Option<String>, wrong: Wrong) {
        self.problems.borrow_mut().push(self.problem(offset, key, value, wrong));
    }

    /// Notes what is wrong with a section as a whole.
    fn refuse(&self, offset: usize, name: &str, wrong: Wrong) {
        self.note(offset, Some(name.to_owned()), None, wrong);
    }

    fn problem(&self, offset: usize, key: Option<String>, value: Option<String>, wrong: Wrong) -> Problem {
        Problem {
            file: self.origin.file.display().to_string(),
            position: Some(Position::of(offset, self.text)),
            key,
            value,
            message: printable(wrong.message.as_bytes()),
            remedy: printable(wrong.remedy.as_bytes()),
        }
    }

    /// Everything noted, and apart from it what is wrong with the modes of files.
    pub(super) fn into_problems(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems.into_inner(), self.open_files.into_inner())
    }

    /// Where the secrets stand, in the order of the file.
    pub(super) fn into_secrets(self) -> Vec<SecretFile> {
        let mut secrets = self.secrets.into_inner();
        secrets.sort_by_key(|secret| secret.position);
        secrets
    }
}

/// One table of the file. Every method that reads a key notes what is wrong with it.
pub(super) struct Section<'a> {
    /// As it stands in its heading.
    name: &'static str,
    table: &'a DeTable<'a>,
    /// The byte at which the table begins.
    offset: usize,
    pub(super) reading: &'a Reading<'a>,
}

impl<'a> Section<'a> {
    /// The file as a whole, whose keys are sections. Notes those that nobody knows.
    pub(super) fn root(table: &'a DeTable<'a>, reading: &'a Reading<'a>) -> Self {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !keys::SECTIONS.iter().any(|known| known.name == name) {
                let remedy = keys::remedy_for_unknown(name, "");
                reading.refuse(key.span().start, &quotable(name), wrong("unknown section or key", remedy));
            }
        }
        Self { name: "", table, offset: 0, reading }
    }

    /// Opens a table, and notes the keys that nobody knows.
    fn open(name: &'static str, table: &'a DeTable<'a>, offset: usize, reading: &'a Reading<'a>) -> Self {
        let section = Self { name, table, offset, reading };
        for key in table.keys().filter(|key| !keys::of(name).any(|known| known == key.get_ref())) {
            let remedy = keys::remedy_for_unknown(key.get_ref(), name);
            // Never with its value: it may be a password under a misspelt key.
            let label = section.label(&quotable(key.get_ref()));
            reading.note(key.span().start, Some(label), None, wrong("unknown key", remedy));
        }
        section
    }

    /// Notes that a section within this one is missing, if it is.
    pub(super) fn must_hold(&self, name: &str, remedy: impl Into<String>) {
        if !self.table.contains_key(name) {
            self.reading.refuse(0, name, wrong("missing", remedy));
        }
    }

    /// Opens a section within this one, such as `alerts.email` within `alerts`, that stands at most once.
    pub(super) fn single(&self, name: &'static str) -> Option<Self> {
        let value = self.table.get(last_part(name))?;
        let at = value.span().start;
        if let Some(table) = value.get_ref().as_table() {
            return Some(Self::open(name, table, at, self.reading));
        }
        let remedy = format!("write {} once, and its keys below", keys::heading(name));
        self.reading.refuse(at, name, wrong("must be one section", remedy));
        None
    }

    /// Opens a section within this one that stands any number of times, in the order of the file.
    pub(super) fn several(&self, name: &'static str) -> Vec<Self> {
        let Some(value) = self.table.get(last_part(name)) else { return Vec::new() };
        let list = value.get_ref().as_array();
        let entries: Vec<_> = list.map_or_else(|| vec![value], |list| list.iter().collect());
        let mut sections = Vec::new();
        for entry in entries {
            let (table, at) = (entry.get_ref().as_table(), entry.span().start);
            if list.is_none() || table.is_none() {
                let remedy = format!("write {} above each, and its keys below", keys::heading(name));
                self.reading.refuse(at, name, wrong("must be a list of sections", remedy));
            }
            // The keys of one that is no list are looked at all the same.
            sections.extend(table.map(|table| Self::open(name, table, at, self.reading)));
        }
        sections
    }

    /// Reads a section within this one that may be left out.
    pub(super) fn read_within<T: Default>(&self, name: &'static str, read: impl FnOnce(&Self) -> T) -> T {
        self.single(name).map(|section| read(&section)).unwrap_or_default()
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// Whether there are no keys but these, known or not.
    pub(super) fn has_only(&self, keys: &[&str]) -> bool {
        self.table.keys().all(|key| keys.contains(&key.get_ref().as_ref()))
    }

    /// Reads an optional key; nothing if it is absent or wrong.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Result<T, Wrong>,
    ) -> Option<T> {
        match parse(self.get(key)?.get_ref()) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.reject(key, wrong);
                None
            }
        }
    }

    /// Reads a key that must be there; `example` shows how to write it.
    pub(super) fn require<T>(
        &self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Result<T, Wrong>,
    ) -> Option<T> {
        if !self.has(key) {
            self.miss(key, wrong("missing", format!("add {key} = {example}")));
        }
        self.read(key, parse)
    }

    /// Reads a whole number within `range`.
    pub(super) fn count<T>(&self, key: &'static str, default: T, range: RangeInclusive<u64>) -> T
    where
        T: TryFrom<u64> + Copy + fmt::Display,
    {
        let parsed = self.read(key, |value| value::whole(value, &range).map_err(or_default(default)));
        parsed.unwrap_or(default)
    }

    /// Reads a duration in seconds within `range`.
    pub(super) fn seconds(&self, key: &'static str, default: f64, range: RangeInclusive<f64>) -> Duration {
        Duration::from_secs_f64(self.fraction(key, default, range, "seconds"))
    }

    /// Reads a duration in hours within `range`.
    pub(super) fn hours(&self, key: &'static str, default: f64, range: RangeInclusive<f64>) -> Duration {
        Duration::from_secs_f64(self.fraction(key, default, range, "hours") * 3600.0)
    }

    /// Reads a duration in days within `range`.
    pub(super) fn days(&self, key: &'static str, default: f64, range: RangeInclusive<f64>) -> Duration {
        Duration::from_secs_f64(self.fraction(key, default, range, "days") * 86_400.0)
    }

    /// Reads a number of some unit, with or without a fraction, within `range`.
    pub(super) fn fraction(
        &self,
        key: &'static str,
        default: f64,
        range: RangeInclusive<f64>,
        unit: &str,
    ) -> f64 {
        let parsed = self.read(key, |value| value::number(value, &range, unit).map_err(or_default(default)));
        parsed.unwrap_or(default)
    }

    /// Reads a number of bytes of at least `min`.
    pub(super) fn size(&self, key: &'static str, default: u64, min: u64) -> u64 {
        self.read(key, |value| value::size(value, min).map_err(or_default(default))).unwrap_or(default)
    }

    /// Reads `true` or `false`.
    pub(super) fn switch(&self, key: &'static str, default: bool) -> bool {
        self.read(key, |value| value::boolean(value).map_err(or_default(default))).unwrap_or(default)
    }

    /// Reads one text or a list of them, each with its place in the file; none if the key is absent or wrong.
    pub(super) fn texts(&self, key: &'static str) -> Vec<(&'a str, &'a Spanned<DeValue<'a>>)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        value::texts(value).unwrap_or_else(|wrong| {
            self.reject(key, wrong);
            Vec::new()
        })
    }

    /// Reads one text or a list of them, each by `parse`. What it refuses is noted and left out.
    pub(super) fn each<T>(&self, key: &'static str, parse: impl Fn(&'a str) -> Result<T, Wrong>) -> Vec<T> {
        let parse = |(text, part)| parse(text).map_err(|wrong| self.reject_part(key, part, wrong)).ok();
        self.texts(key).into_iter().filter_map(parse).collect()
    }

    /// Reads one of several words.
    pub(super) fn word<T: Word>(&self, key: &'static str) -> Option<T> {
        self.read(key, |value| {
            let text = value::text(value)?;
            T::ALL.iter().copied().find(|known| known.word() == text).ok_or_else(|| {
                let quoted: Vec<String> =
                    T::ALL.iter().map(|known| format!("\"{}\"", known.word())).collect();
                let (last, others) = quoted.split_last().expect("there are words");
                wrong(format!("must be {} or {last}", others.join(", ")), "write one of them")
            })
        })
    }

    /// Notes that the value of a key is wrong.
    pub(super) fn reject(&self, key: &'static str, wrong: Wrong) {
        match self.get(key) {
            Some(value) => self.reject_part(key, value, wrong),
            None => self.miss(key, wrong),
        }
    }

    /// Notes that one part of the value of a key is wrong: an entry of a list or of a table.
    pub(super) fn reject_part(&self, key: &str, part: &Spanned<DeValue<'a>>, wrong: Wrong) {
        let shown = self.shown(key, part);
        self.reading.note(part.span().start, Some(self.label(key)), shown, wrong);
    }

    /// Notes something about the section that no single key is to blame for.
    pub(super) fn reject_whole(&self, wrong: Wrong) {
        self.reading.refuse(self.offset, self.name, wrong);
    }

    /// Notes something about a key that is absent.
    pub(super) fn miss(&self, key: &str, wrong: Wrong) {
        self.reading.note(self.offset, Some(self.label(key)), None, wrong);
    }

    /// Notes that the file in which the secret of a key stands is open to others.
    pub(super) fn reject_mode(&self, key: &'static str, wrong: Wrong) {
        let Some(value) = self.get(key) else { return };
        let shown = self.shown(key, value);
        let problem = self.reading.problem(value.span().start, Some(self.label(key)), shown, wrong);
        self.reading.open_files.borrow_mut().push(problem);
    }

    /// Notes in which file the secret of a key stands.
    pub(super) fn note_secret(&self, key: &'static str, path: &Path) {
        let offset = self.get(key).map_or(self.offset, |value| value.span().start);
        let position = Position::of(offset, self.reading.text);
        let secret = SecretFile { path: path.to_owned(), key: self.label(key), position };
        self.reading.secrets.borrow_mut().push(secret);
    }

    /// The line at which the value of a key stands, or else the section.
    pub(super) fn line(&self, key: &'static str) -> usize {
        let offset = self.get(key).map_or(self.offset, |value| value.span().start);
        Position::of(offset, self.reading.text).line
    }

    /// The value of a key, wherever it stands.
    pub(super) fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert!(
            keys::of(self.name).any(|known| known == key),
            "{key} is not a known key of {}",
            self.name
        );
        self.table.get(key)
    }

    fn label(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    /// The value as the file has it, unless it may hold a secret.
    fn shown(&self, key: &str, value: &Spanned<DeValue<'a>>) -> Option<String> {
        let source = &self.reading.text[value.span()];
        let is_secret = match key {
            "password" | "ping_url" => true,
            // Credentials in a URL, or a token in its query; those of webhooks may hold one anywhere.
            "url" if self.name.ends_with(".webhook") => true,
            "url" | "push_url" => source.contains(['@', '?', '#']),
            // A whole list or table is too long to help, and may hold anything.
            _ => matches!(value.get_ref(), DeValue::Array(_) | DeValue::Table(_)),
        };
        (!is_secret).then(|| quotable(source))
    }
}

/// `email` of `alerts.email`.
fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Ends the remedy with the way out that every key with a default has.
fn or_default(default: impl fmt::Display) -> impl FnOnce(Wrong) -> Wrong {
    move |wrong| Wrong {
        remedy: format!("{}, or remove the line for the default, {default}", wrong.remedy),
        ..wrong
    }
}

/// The text on one line, of bounded length, without anything that could play tricks on a terminal.
pub(super) fn quotable(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(VALUE_CHARS_MAX) {
        // What changes the direction of text or cannot be seen could make a key look like another one.
        match is_deceptive(character) {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    if text.chars().nth(VALUE_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
