//! What names a thing in an archive, wherever that is kept.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;

use super::layout::check_component;
use super::{ArchiveError, Destination, Folder};
use crate::base::recording::printable;

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
            true => Err(ArchiveError::UnsafePath {
                path: self.to_string(),
                reason: "a part of it is empty, leads elsewhere or has a NUL byte",
            }),
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
