//! What an archive says about itself, for a rebuild, which does not know yet to which state the archive belongs.

use super::marker::{self, Marker};
use super::reader::{Reader, Standing};
use super::{ArchiveError, Folder, Key};

const VOICEMAIL: &[u8] = b"voicemail";

/// The longest id of a PBX.
const ID_BYTES_MAX: usize = 32;

/// Folders that hold recordings, and what kept others from being looked into.
#[derive(Debug, Default)]
pub struct Folders {
    /// Voicemail first, each kind in the order of its days.
    pub found: Vec<Folder>,
    /// Folders that could not be read, each with its path and why.
    pub unreadable: Vec<(String, ArchiveError)>,
}

/// The names in the root that a PBX may have, in order.
pub fn pbxs(reader: &dyn Reader) -> Result<Vec<String>, ArchiveError> {
    let mut names = reader.names(&Key::ROOT)?;
    names.retain(|name| is_pbx_id(name));
    Ok(names)
}

/// Whose folder `name` in the root is; `None` if there is no such folder, or no marker in it.
///
/// # Errors
/// Also [`ArchiveError::DamagedMarker`].
pub fn owner(reader: &dyn Reader, name: &str) -> Result<Option<Marker>, ArchiveError> {
    Marker::of(reader, &marker::key(name))
}

/// The folders of `pbx` that hold recordings. One that cannot be read does not keep the others from being found.
pub fn folders(reader: &dyn Reader, pbx: &str) -> Folders {
    let mut folders = Folders::default();
    let top = Key::ROOT.join(pbx.as_bytes());
    match reader.list(&top) {
        Ok(Some(listing)) => {
            if listing.contains_key(VOICEMAIL) {
                folders.look_into(reader, &top.join(VOICEMAIL), &[4, 2, 2]);
            }
            folders.look_into(reader, &top, &[4, 2, 2]);
        }
        Ok(None) => {}
        Err(error) => folders.unreadable.push((pbx.to_owned(), error)),
    }
    folders
}

impl Folders {
    /// Whether there is nothing: no folder, and none that could not be read.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.unreadable.is_empty()
    }

    /// Finds `yyyy/mm/dd` below a folder.
    fn look_into(&mut self, reader: &dyn Reader, folder: &Key, digits: &[usize]) {
        let Some((digits, deeper)) = digits.split_first() else {
            return self.found.extend(folder.as_str().and_then(|path| Folder::parse(path).ok()));
        };
        let listing = match reader.list(folder) {
            Ok(listing) => listing.unwrap_or_default(),
            Err(error) => return self.unreadable.push((folder.to_string(), error)),
        };
        let is_of_days = |name: &[u8]| name.len() == *digits && name.iter().all(u8::is_ascii_digit);
        for (name, standing) in listing.iter().filter(|(name, _)| is_of_days(name)) {
            let key = folder.join(name);
            match standing {
                Standing::Folder => self.look_into(reader, &key, deeper),
                Standing::File { .. } | Standing::Other => {
                    let planted = ArchiveError::Planted { path: reader.location(&key), expected: "folder" };
                    self.unreadable.push((key.to_string(), planted));
                }
            }
        }
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

    use super::super::Disk;
    use super::*;

    fn disk(root: &tempfile::TempDir) -> Disk {
        Disk::open(root.path()).unwrap().unwrap()
    }

    #[test]
    fn the_folders_of_days_are_found_in_order_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let days = ["hq/2026/11/16", "hq/2026/02/01", "hq/2025/12/31", "hq/voicemail/2026/11/16"];
        let others =
            ["hq/.quarantine/2026/11/16", "hq/notes/2026", "hq/2026/11/x", "hq/2026/1/16", "_ledger/tile"];
        for folder in days.iter().chain(&others) {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let disk = disk(&root);
        assert_eq!(pbxs(&disk).unwrap(), ["hq"]);
        let found: Vec<String> = folders(&disk, "hq").found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["hq/voicemail/2026/11/16", "hq/2025/12/31", "hq/2026/02/01", "hq/2026/11/16"]);
        assert!(folders(&disk, "lyon").found.is_empty());
        assert_eq!(owner(&disk, "hq").unwrap(), None);
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
        assert!(folders(&disk(&root), "hq").is_empty());
        std::os::unix::fs::symlink("/", root.path().join("hq/2026/11/17")).unwrap();
        assert!(!folders(&disk(&root), "hq").is_empty());
        fs::remove_file(root.path().join("hq/2026/11/17")).unwrap();
        fs::create_dir(root.path().join("hq/2026/11/17")).unwrap();
        assert!(!folders(&disk(&root), "hq").is_empty());
    }

    #[test]
    fn a_folder_that_leads_elsewhere_is_reported_and_the_others_are_found() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("hq/2026/11/16")).unwrap();
        std::os::unix::fs::symlink("/", root.path().join("hq/2026/11/17")).unwrap();
        let folders = folders(&disk(&root), "hq");
        assert_eq!(folders.found.len(), 1);
        assert_eq!(folders.unreadable[0].0, "hq/2026/11/17");
    }
}
