//! The archive's files for who only reads them: without the state, and beside whoever writes.

use std::fs::File;
use std::path::Path;

use super::directory::{Directory, Entry};
use super::{ArchiveError, Destination, Folder};

/// The archive below one root, to be read.
///
/// As everywhere in the archive, no symbolic link is followed below the root.
#[derive(Debug, Clone)]
pub struct Originals {
    root: Directory,
}

impl Originals {
    /// Opens the archive at `root`.
    ///
    /// # Errors
    /// If it is not there, or may not be read.
    pub fn open(root: &Path) -> Result<Self, ArchiveError> {
        Ok(Self { root: Directory::open(root)? })
    }

    /// The audio of a recording, at its start; `None` if it is not there, or is no file.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn audio(&self, place: &Destination) -> Result<Option<File>, ArchiveError> {
        self.file(place.folder(), place.file_name())
    }

    /// The sidecar of a recording, likewise.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn sidecar(&self, place: &Destination) -> Result<Option<File>, ArchiveError> {
        self.file(place.folder(), &place.sidecar_name())
    }

    /// A file of a folder, under a name that [`Originals::names`] gave.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn file(&self, folder: &Folder, name: &str) -> Result<Option<File>, ArchiveError> {
        let Some(directory) = self.enter(folder)? else { return Ok(None) };
        match directory.entry(name)? {
            Entry::File(file) => Ok(Some(file)),
            Entry::Vacant | Entry::Other => Ok(None),
        }
    }

    /// The names in a folder, sorted; none if it is not there.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn names(&self, folder: &Folder) -> Result<Vec<String>, ArchiveError> {
        let Some(directory) = self.enter(folder)? else { return Ok(Vec::new()) };
        let mut names = directory.names()?;
        names.sort();
        Ok(names)
    }

    fn enter(&self, folder: &Folder) -> Result<Option<Directory>, ArchiveError> {
        let mut directory = self.root.clone();
        for component in folder.as_str().split('/') {
            match directory.enter(component)? {
                Some(inner) => directory = inner,
                None => return Ok(None),
            }
        }
        Ok(Some(directory))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_there_is_read_and_nothing_that_leads_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let day = root.path().join("hq/2026/01/09");
        std::fs::create_dir_all(&day).unwrap();
        std::fs::write(day.join("a.wav"), "audio").unwrap();
        std::os::unix::fs::symlink("a.wav", day.join("b.wav")).unwrap();
        let originals = Originals::open(root.path()).unwrap();
        let place = |name: &str| Destination::parse(&format!("hq/2026/01/09/{name}")).unwrap();
        let mut text = String::new();
        originals.audio(&place("a.wav")).unwrap().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "audio");
        assert!(originals.sidecar(&place("a.wav")).unwrap().is_none());
        assert!(originals.audio(&place("b.wav")).unwrap().is_none());
        assert_eq!(originals.names(place("a.wav").folder()).unwrap(), ["a.wav", "b.wav"]);
        let elsewhere = Folder::parse("hq/2026/01/10").unwrap();
        assert_eq!(originals.names(&elsewhere).unwrap(), Vec::<String>::new());
    }
}
