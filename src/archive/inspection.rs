//! Looking at what is in the archive, whoever put it there: what stands under each name, and what its bytes hash to.
//!
//! Paths here are relative to the root and may hold any bytes: what is looked for is what does not belong.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::directory::{Directory, Entry, hash_while};
use super::marker::{self, Marker};
use super::{Archive, ArchiveError, quarantine};
use crate::base::digest::Digest;
use crate::base::recording::printable;

/// How much is read at a time: enough that calls cost nothing, and little enough to stay in the processor's cache.
const READ_BYTES: usize = 256 << 10;

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A regular file.
    File {
        /// Its size.
        size_bytes: u64,
    },
    /// A folder.
    Folder,
    /// A symbolic link, a pipe: nothing that callvault makes.
    Other,
}

/// What stands in a folder, by name.
pub type Listing = BTreeMap<OsString, Standing>;

/// What a file's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// There is nothing at its path.
    Nothing,
    /// There is something, but no regular file.
    NotAFile,
    /// So many bytes, of this hash.
    Bytes {
        /// Its size.
        size_bytes: u64,
        /// Its hash.
        sha256: Digest,
    },
    /// Whoever reads was told to stop.
    Unread,
}

impl Archive {
    /// Lists a folder; `None` if there is no folder at this path.
    pub fn list(&self, folder: &Path) -> Result<Option<Listing>, ArchiveError> {
        self.descend(folder)?.map(|directory| directory.listing()).transpose()
    }

    /// Makes sure that the folder of `pbx` is still the one at its path: an open one stays readable when it was moved away,
    /// or something was mounted over it.
    ///
    /// # Errors
    /// [`ArchiveError::NotMounted`] if another folder, or none, stands there now.
    pub fn check_place(&self, pbx: &str) -> Result<(), ArchiveError> {
        let ours = self.pbx_directory(pbx)?;
        match Directory::open(ours.path()) {
            Ok(there) if there.is(ours) => Ok(()),
            Ok(_) | Err(ArchiveError::Io { .. } | ArchiveError::Planted { .. }) => {
                Err(ArchiveError::NotMounted {
                    path: ours.path().to_owned(),
                    reason: "another folder stands there than when this run began",
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the marker of `pbx` can be read as one of this archive.
    pub fn has_marker(&self, pbx: &str) -> Result<bool, ArchiveError> {
        match Marker::read(self.pbx_directory(pbx)?) {
            Ok(marker) => Ok(marker.is_some_and(|marker| marker.archive_id == self.archive_id)),
            Err(ArchiveError::DamagedMarker { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens the folder at `path`, through folders alone; `None` if there is none.
    pub(super) fn descend(&self, path: &Path) -> Result<Option<Directory>, ArchiveError> {
        let mut components = path.components();
        let Some(Component::Normal(pbx)) = components.next() else { return Err(unsafe_path(path)) };
        let mut directory = self.pbx_directory(&pbx.to_string_lossy())?.clone();
        for component in components {
            let Component::Normal(name) = component else { return Err(unsafe_path(path)) };
            match directory.enter(name) {
                Ok(Some(inner)) => directory = inner,
                // What stands in the way is found where it stands.
                Ok(None) | Err(ArchiveError::Planted { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(directory))
    }
}

/// Reads files one after the other. It keeps the last folder open, for the next file is mostly in it too.
#[derive(Debug)]
pub struct Reader<'a> {
    archive: &'a Archive,
    buffer: Vec<u8>,
    folder: Option<(PathBuf, Directory)>,
}

impl<'a> Reader<'a> {
    /// A reader of `archive`.
    pub fn new(archive: &'a Archive) -> Self {
        Self { archive, buffer: vec![0; READ_BYTES], folder: None }
    }

    /// Reads the file at `path` for as long as `go_on` agrees, which is told the bytes of each read.
    ///
    /// Pages that the system has cached are taken from there, and stay cached.
    pub fn read(&mut self, path: &Path, go_on: impl FnMut(usize) -> bool) -> Result<Content, ArchiveError> {
        let (folder, name) = split(path)?;
        let Some(directory) = self.enter(folder)? else { return Ok(Content::Nothing) };
        let file = match directory.entry(name)? {
            Entry::Vacant => return Ok(Content::Nothing),
            Entry::Other => return Ok(Content::NotAFile),
            Entry::File(file) => file,
        };
        // Advice only.
        let _ = rustix::fs::fadvise(&file, 0, None::<NonZeroU64>, rustix::fs::Advice::Sequential);
        let hashed = hash_while(&file, &directory.file_path(name), &mut self.buffer, go_on)?;
        Ok(hashed.map_or(Content::Unread, |(size_bytes, sha256)| Content::Bytes { size_bytes, sha256 }))
    }

    fn enter(&mut self, folder: &Path) -> Result<Option<Directory>, ArchiveError> {
        if let Some((path, directory)) = &self.folder
            && path == folder
        {
            return Ok(Some(directory.clone()));
        }
        let directory = self.archive.descend(folder)?;
        self.folder = directory.clone().map(|directory| (folder.to_owned(), directory));
        Ok(directory)
    }
}

/// Where the marker of `pbx` is, relative to the root.
pub fn marker_path(pbx: &str) -> String {
    format!("{pbx}/{}", marker::NAME)
}

/// Whether a name directly in a PBX's folder stands for what is no part of its recordings: the marker, the quarantine,
/// and what a filesystem that is mounted there brings along.
pub fn is_apart(name: &OsStr) -> bool {
    [marker::NAME, quarantine::NAME, "lost+found"].iter().any(|apart| name == *apart)
}

/// A path's folder and its last component.
pub(super) fn split(path: &Path) -> Result<(&Path, &OsStr), ArchiveError> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if folder != Path::new("") => Ok((folder, name)),
        _ => Err(unsafe_path(path)),
    }
}

fn unsafe_path(path: &Path) -> ArchiveError {
    let path = printable(path.as_os_str().as_bytes());
    ArchiveError::UnsafePath { path, reason: "it does not lie below the folder of a PBX" }
}
