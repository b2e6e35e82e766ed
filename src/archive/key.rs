//! What names a thing in an archive, and where things lie: paths that are safe by construction.
//!
//! ```text
//! <root>/<pbx>/.callvault                                       marker
//! <root>/<pbx>/<yyyy>/<mm>/<dd>/<safe name>.wav                 audio
//! <root>/<pbx>/<yyyy>/<mm>/<dd>/<safe name>.wav.json            sidecar
//! <root>/<pbx>/<yyyy>/<mm>/<dd>/<safe name>~conflict-<16 hex>.wav   other audio of the same name
//! <root>/<pbx>/<yyyy>/<mm>/<dd>/SHA256SUMS, calls-<n>.jsonl
//! <root>/<pbx>/voicemail/<yyyy>/<mm>/<dd>/…
//! <root>/<pbx>/.quarantine/<path below the PBX>
//! ```
//! These paths are a format that outlives the program; see `docs/archive-format.md`.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;

use jiff::civil::Date;

use super::ArchiveError;
use crate::base::digest::Digest;
use crate::base::recording::printable;
use crate::base::safe_name::is_component;

/// The name of a thing or a folder, relative to the root, with `/` between its components. It leads nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Vec<u8>);

impl Key {
    pub const ROOT: Self = Self(Vec::new());

    /// A key as callvault writes it: of safe characters, and nothing hidden.
    pub fn parse(path: &str) -> Result<Self, ArchiveError> {
        path.split('/').try_for_each(|component| check_component(path, component))?;
        Ok(Self(path.into()))
    }

    /// The key of anything that somebody may have put into the archive: its name may hold any bytes.
    pub fn found(path: impl Into<Vec<u8>>) -> Result<Self, ArchiveError> {
        let key = Self(path.into());
        key.check().map(|()| key)
    }

    /// Refuses a key that [`Key::join`] made of what is no name.
    pub(super) fn check(&self) -> Result<(), ArchiveError> {
        let leads_elsewhere =
            |component: &[u8]| matches!(component, b"" | b"." | b"..") || component.contains(&0);
        match self.0.split(|byte| *byte == b'/').any(leads_elsewhere) {
            false => Ok(()),
            true => {
                let reason = "a part of it is empty, leads elsewhere or has a NUL byte";
                Err(ArchiveError::unsafe_path(&self.0, reason))
            }
        }
    }

    /// The key of a name that a listing of this folder gave.
    pub fn join(&self, name: &[u8]) -> Self {
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as text; `None` if it is not UTF-8, and so is none of ours.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    pub fn folder(&self) -> Self {
        self.split().map_or(Self::ROOT, |(folder, _)| Self(folder.to_vec()))
    }

    pub fn name(&self) -> &[u8] {
        self.split().map_or(&self.0, |(_, name)| name)
    }

    pub fn depth(&self) -> usize {
        self.components().count()
    }

    pub(super) fn components(&self) -> impl Iterator<Item = &OsStr> {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty()).map(OsStr::from_bytes)
    }

    pub(super) fn os_name(&self) -> &OsStr {
        OsStr::from_bytes(self.name())
    }

    fn split(&self) -> Option<(&[u8], &[u8])> {
        let at = self.0.iter().rposition(|byte| *byte == b'/')?;
        Some((&self.0[..at], &self.0[at + 1..]))
    }
}

/// Safe to print.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

impl From<&Folder> for Key {
    fn from(folder: &Folder) -> Self {
        Self(folder.as_str().into())
    }
}

impl From<&Destination> for Key {
    fn from(place: &Destination) -> Self {
        Self(place.path().into())
    }
}

/// The longest file name accepted: room for `.json` below the 255 bytes of every filesystem.
const FILE_NAME_BYTES_MAX: usize = 250;

/// A folder of one PBX in the archive, such as `hq/2026/11/21`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Folder {
    /// Relative to the root, `/` between components, the first of which is the PBX.
    path: String,
}

impl Folder {
    pub fn day(pbx: &str, day: Date) -> Result<Self, ArchiveError> {
        Self::parse(&format!("{pbx}/{}", day_path(day)))
    }

    pub fn voicemail_day(pbx: &str, day: Date) -> Result<Self, ArchiveError> {
        Self::parse(&format!("{pbx}/voicemail/{}", day_path(day)))
    }

    /// Reads a stored path again; refuses whatever could lead outside or into a hidden folder.
    pub fn parse(path: &str) -> Result<Self, ArchiveError> {
        path.split('/').try_for_each(|component| check_component(path, component))?;
        Ok(Self { path: path.to_owned() })
    }

    pub fn as_str(&self) -> &str {
        &self.path
    }

    pub fn pbx(&self) -> &str {
        self.path.split('/').next().expect("a split has a first part")
    }

    /// The local day that it is of; `None` if its last parts are no day.
    pub fn date(&self) -> Option<Date> {
        let mut parts = self.path.rsplit('/');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        let date = Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
        // `2026/1/+9` is another folder than that of the day.
        let is_written_so = self.path.ends_with(&format!("/{}", day_path(date)));
        is_written_so.then_some(date)
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// Where one recording belongs: a folder and a safe file name that ends in `.wav`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    folder: Folder,
    file_name: String,
}

impl Destination {
    /// Puts `file_name` into `folder`. The name must be safe already; this refuses rather than encodes.
    pub fn new(folder: Folder, file_name: &str) -> Result<Self, ArchiveError> {
        check_component(file_name, file_name)?;
        if file_name.len() > FILE_NAME_BYTES_MAX {
            return Err(ArchiveError::unsafe_path(file_name, "it is too long"));
        }
        if !file_name.ends_with(".wav") {
            return Err(ArchiveError::unsafe_path(file_name, "it does not end in .wav"));
        }
        Ok(Self { folder, file_name: file_name.to_owned() })
    }

    pub fn call(pbx: &str, day: Date, file_name: &str) -> Result<Self, ArchiveError> {
        Self::new(Folder::day(pbx, day)?, file_name)
    }

    pub fn voicemail(pbx: &str, day: Date, file_name: &str) -> Result<Self, ArchiveError> {
        Self::new(Folder::voicemail_day(pbx, day)?, file_name)
    }

    /// Reads a stored path again, as [`Destination::path`] wrote it.
    pub fn parse(path: &str) -> Result<Self, ArchiveError> {
        let (folder, file_name) =
            path.rsplit_once('/').ok_or_else(|| ArchiveError::unsafe_path(path, "it has no folder"))?;
        Self::new(Folder::parse(folder)?, file_name)
    }

    /// The path relative to the root, with `/`: what the catalog stores.
    pub fn path(&self) -> String {
        format!("{}/{}", self.folder, self.file_name)
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    pub fn sidecar(&self) -> Key {
        Key::from(self.folder()).join(self.sidecar_name().as_bytes())
    }

    pub fn sidecar_name(&self) -> String {
        format!("{}.json", self.file_name)
    }

    /// Where audio of this hash goes if other audio holds the place: the same name on every retry.
    pub(super) fn conflict(&self, sha256: &Digest) -> Self {
        let stem = self.file_name.strip_suffix(".wav").expect("every destination ends in .wav");
        Self { folder: self.folder.clone(), file_name: format!("{stem}~conflict-{}.wav", sha256.short()) }
    }
}

/// `2026/01/09`.
fn day_path(day: Date) -> String {
    format!("{:04}/{:02}/{:02}", day.year(), day.month(), day.day())
}

/// Refuses a path for a component that is not [`is_component`].
pub(super) fn check_component(path: &str, component: &str) -> Result<(), ArchiveError> {
    match is_component(component) {
        true => Ok(()),
        false => {
            let reason = "a part of it is empty, hidden, too long or has other characters";
            Err(ArchiveError::unsafe_path(path, reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn a_key_leads_nowhere_else() {
        for path in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/\0"] {
            assert!(Key::found(path).is_err() && Key::parse(path).is_err(), "{path:?}");
        }
        for hidden in ["_ledger/.callvault", "hq/a b", "hq/\u{202e}"] {
            assert!(Key::parse(hidden).is_err() && Key::found(hidden).is_ok(), "{hidden}");
        }
    }

    #[test]
    fn a_key_is_a_folder_and_a_name() {
        let key = Key::found(*b"hq/2026/\xff").unwrap();
        assert_eq!((key.folder(), key.name()), (Key::parse("hq/2026").unwrap(), &b"\xff"[..]));
        assert_eq!((key.folder().join(b"\xff"), key.as_str(), key.depth()), (key.clone(), None, 3));
        let top = Key::parse("hq").unwrap();
        assert_eq!((top.folder(), top.name(), Key::ROOT.join(b"hq")), (Key::ROOT, &b"hq"[..], top.clone()));
        assert_eq!(key.to_string(), "hq/2026/\\xff");
    }

    #[test]
    fn a_destination_reads_the_path_that_it_wrote() {
        let place = Destination::call("hq", date(2026, 1, 9), "a%20b~0123456789abcdef.wav").unwrap();
        assert_eq!(place.path(), "hq/2026/01/09/a%20b~0123456789abcdef.wav");
        assert_eq!(place.sidecar_name(), "a%20b~0123456789abcdef.wav.json");
        assert_eq!(place.folder().pbx(), "hq");
        assert_eq!(Destination::parse(&place.path()).unwrap(), place);
        assert_eq!(place.folder().date(), Some(date(2026, 1, 9)));
        for no_day in ["hq/2026/13/09", "hq/2026/1/9", "hq/2026/01/+9", "hq/02026/01/09", "2026/01/09"] {
            assert_eq!(Folder::parse(no_day).unwrap().date(), None, "{no_day}");
        }
        let voicemail = Destination::voicemail("hq", date(2026, 1, 9), "x.wav").unwrap();
        assert_eq!(voicemail.path(), "hq/voicemail/2026/01/09/x.wav");
        assert_eq!(voicemail.folder().date(), Some(date(2026, 1, 9)));
        assert_eq!(Destination::parse(&voicemail.path()).unwrap(), voicemail);
    }

    #[test]
    fn a_conflict_lies_beside_under_a_name_that_parses() {
        let place = Destination::call("hq", date(2026, 1, 9), "a.wav").unwrap();
        let beside = place.conflict(&Digest::of("other"));
        assert_eq!(beside.file_name(), format!("a~conflict-{}.wav", Digest::of("other").short()));
        assert_eq!(Destination::parse(&beside.path()).unwrap(), beside);
    }

    #[test]
    fn a_path_that_could_lead_elsewhere_is_refused() {
        let paths = [
            "",
            "a.wav",
            "/a.wav",
            "../a.wav",
            "hq/../a.wav",
            "hq//a.wav",
            "hq/./a.wav",
            "hq/.quarantine/a.wav",
            "hq/a b.wav",
            "hq/a\0.wav",
            "hq/a\\b.wav",
            "hq/\u{202e}a.wav",
            "hq/.wav",
            "hq/a.mp3",
            "hq/SHA256SUMS",
            "hq/a.wav/",
        ];
        for path in paths {
            let error = Destination::parse(path).expect_err(path);
            assert!(matches!(error, ArchiveError::UnsafePath { .. }));
            assert!(!error.to_string().contains(['\0', '\u{202e}']));
        }
        assert!(Destination::parse(&format!("hq/{}.wav", "a".repeat(250))).is_err());
    }
}
