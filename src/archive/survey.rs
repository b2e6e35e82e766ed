//! Reading what lies in an archive without owning it: nothing is made, tried out, synced or removed.
//!
//! For whoever makes the state anew from the archive, and so cannot say yet whose the archive is.

use std::io::Read;
use std::path::Path;

use super::directory::{Directory, Entry, hash, settle_on_disk};
use super::marker::Marker;
use super::{ArchiveError, Folder};
use crate::base::digest::Digest;

/// Where voicemail lies in the folder of a PBX.
const VOICEMAIL: &str = "voicemail";

/// The longest id of a PBX.
const ID_BYTES_MAX: usize = 32;

/// An archive, open for reading. Threads may share it. Calls block.
#[derive(Debug)]
pub struct Survey {
    root: Directory,
}

/// Whose folder it is, by its marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The id of the archive.
    pub archive_id: String,
    /// The id of the state directory that writes there.
    pub state_id: String,
}

/// Folders that hold recordings, and what kept others from being looked into.
#[derive(Debug, Default)]
pub struct Folders {
    /// Voicemail first, each kind in the order of its days.
    pub found: Vec<Folder>,
    /// Folders that could not be read, each with its path and why.
    pub unreadable: Vec<(String, ArchiveError)>,
}

/// One folder of recordings, open for reading.
#[derive(Debug)]
pub struct SurveyedFolder {
    directory: Directory,
}

impl Survey {
    /// Opens the archive at `root`.
    ///
    /// # Errors
    /// [`ArchiveError::NotMounted`] if nothing is there; whatever the filesystem says.
    pub fn open(root: &Path) -> Result<Self, ArchiveError> {
        if !super::exists(root)? {
            return Err(ArchiveError::NotMounted {
                path: root.to_owned(),
                reason: "there is no such folder",
            });
        }
        Ok(Self { root: Directory::open(root)? })
    }

    /// The names in the root that a PBX may have, sorted.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn pbxs(&self) -> Result<Vec<String>, ArchiveError> {
        let mut names = self.root.names()?;
        names.retain(|name| is_pbx_id(name));
        names.sort();
        Ok(names)
    }

    /// Whose folder `name` in the root is; `None` if there is no such folder, or no marker in it.
    ///
    /// # Errors
    /// [`ArchiveError::DamagedMarker`]; whatever the filesystem says.
    pub fn owner(&self, name: &str) -> Result<Option<Owner>, ArchiveError> {
        let Some(folder) = self.root.enter(name)? else { return Ok(None) };
        let marker = Marker::read(&folder)?;
        Ok(marker.map(|Marker { archive_id, state_id, .. }| Owner { archive_id, state_id }))
    }

    /// The folders of `pbx` that hold recordings. One that cannot be read keeps none of the others from being found.
    pub fn folders(&self, pbx: &str) -> Folders {
        let mut folders = Folders::default();
        match self.root.enter(pbx) {
            Ok(Some(directory)) => {
                folders.look_into(&directory, &format!("{pbx}/{VOICEMAIL}"), VOICEMAIL);
                folders.look_for_days(&directory, pbx);
            }
            Ok(None) => {}
            Err(error) => folders.unreadable.push((pbx.to_owned(), error)),
        }
        folders
    }

    /// Opens a folder; `None` if it is not there.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn folder(&self, folder: &Folder) -> Result<Option<SurveyedFolder>, ArchiveError> {
        let mut directory = self.root.clone();
        for component in folder.as_str().split('/') {
            match directory.enter(component)? {
                Some(inner) => directory = inner,
                None => return Ok(None),
            }
        }
        Ok(Some(SurveyedFolder { directory }))
    }
}

impl Folders {
    /// Whether there is nothing: no folder, and none that could not be read.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.unreadable.is_empty()
    }

    fn look_into(&mut self, parent: &Directory, path: &str, name: &str) {
        match parent.enter(name) {
            Ok(Some(directory)) => self.look_for_days(&directory, path),
            Ok(None) => {}
            Err(error) => self.unreadable.push((path.to_owned(), error)),
        }
    }

    /// Finds `yyyy/mm/dd` below a folder.
    fn look_for_days(&mut self, directory: &Directory, path: &str) {
        self.descend(directory, path, &[4, 2, 2]);
    }

    fn descend(&mut self, directory: &Directory, path: &str, digits: &[usize]) {
        let Some((digits, deeper)) = digits.split_first() else {
            // Its components are those that were just entered.
            self.found.extend(Folder::parse(path));
            return;
        };
        let mut names = match directory.names() {
            Ok(names) => names,
            Err(error) => return self.unreadable.push((path.to_owned(), error)),
        };
        names.retain(|name| name.len() == *digits && name.bytes().all(|byte| byte.is_ascii_digit()));
        names.sort();
        for name in names {
            let path = format!("{path}/{name}");
            match directory.enter(&name) {
                Ok(Some(inner)) => self.descend(&inner, &path, deeper),
                Ok(None) => {}
                Err(error) => self.unreadable.push((path, error)),
            }
        }
    }
}

impl SurveyedFolder {
    /// All names in it, sorted.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn names(&self) -> Result<Vec<String>, ArchiveError> {
        let mut names = self.directory.names()?;
        names.sort();
        Ok(names)
    }

    /// The content of a file of at most `bytes_max`; `None` if it is not there, is no file, or is larger.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Entry::File(file) = self.directory.entry(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| ArchiveError::io("read", &self.directory.file_path(name), error))?;
        Ok(u64::try_from(bytes.len()).is_ok_and(|length| length <= bytes_max).then_some(bytes))
    }

    /// The size and the hash of a file, read from the disk after its bytes and its name are there for good; `None` if it
    /// is not there, or is no file.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn settled_hash(&self, name: &str) -> Result<Option<(u64, Digest)>, ArchiveError> {
        let Entry::File(file) = self.directory.entry(name)? else { return Ok(None) };
        let path = self.directory.file_path(name);
        settle_on_disk(&file, &path)?;
        self.directory.sync()?;
        hash(&file, &path).map(Some)
    }
}

/// Whether a folder of this name can be a PBX's: the configuration takes no other id.
fn is_pbx_id(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= ID_BYTES_MAX
        && name.bytes().next().is_some_and(is_plain)
        && name.bytes().all(|byte| is_plain(byte) || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_folders_of_days_are_found_in_order_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let days = ["hq/2026/11/16", "hq/2026/02/01", "hq/2025/12/31", "hq/voicemail/2026/11/16"];
        let others =
            ["hq/.quarantine/2026/11/16", "hq/notes/2026", "hq/2026/11/x", "hq/2026/1/16", "_ledger/tile"];
        for folder in days.iter().chain(&others) {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let survey = Survey::open(root.path()).unwrap();
        assert_eq!(survey.pbxs().unwrap(), ["hq"]);
        let found: Vec<String> = survey.folders("hq").found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["hq/voicemail/2026/11/16", "hq/2025/12/31", "hq/2026/02/01", "hq/2026/11/16"]);
        assert!(survey.folders("lyon").found.is_empty());
        assert_eq!(survey.owner("hq").unwrap(), None);
    }

    #[test]
    fn a_folder_is_a_pbx_if_the_configuration_takes_its_name() {
        for (name, is_id) in
            [("hq", true), ("a_b-2", true), ("2", true), ("_a", false), ("A", false), ("a.b", false)]
        {
            assert_eq!(is_pbx_id(name), is_id, "{name}");
        }
        assert!(is_pbx_id(&"a".repeat(ID_BYTES_MAX)) && !is_pbx_id(&"a".repeat(ID_BYTES_MAX + 1)));
    }

    #[test]
    fn nothing_found_is_empty_only_if_nothing_was_unreadable() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("hq/2026/11")).unwrap();
        assert!(Survey::open(root.path()).unwrap().folders("hq").is_empty());
        std::os::unix::fs::symlink("/", root.path().join("hq/2026/11/17")).unwrap();
        assert!(!Survey::open(root.path()).unwrap().folders("hq").is_empty());
        fs::remove_file(root.path().join("hq/2026/11/17")).unwrap();
        fs::create_dir(root.path().join("hq/2026/11/17")).unwrap();
        assert!(!Survey::open(root.path()).unwrap().folders("hq").is_empty());
    }

    #[test]
    fn a_folder_that_leads_elsewhere_is_told_and_the_others_are_found() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("hq/2026/11/16")).unwrap();
        std::os::unix::fs::symlink("/", root.path().join("hq/2026/11/17")).unwrap();
        let folders = Survey::open(root.path()).unwrap().folders("hq");
        assert_eq!(folders.found.len(), 1);
        assert_eq!(folders.unreadable[0].0, "hq/2026/11/17");
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("hq/2026/11/16")).unwrap();
        fs::write(root.path().join("hq/2026/11/16/a"), "four").unwrap();
        let survey = Survey::open(root.path()).unwrap();
        let folder = survey.folder(&survey.folders("hq").found[0]).unwrap().unwrap();
        assert_eq!(folder.names().unwrap(), ["a"]);
        assert_eq!(folder.read("a", 4).unwrap().unwrap(), b"four");
        assert_eq!(folder.read("a", 3).unwrap(), None);
        assert_eq!(folder.read("b", 3).unwrap(), None);
        assert_eq!(folder.settled_hash("a").unwrap(), Some((4, Digest::of("four"))));
    }
}
