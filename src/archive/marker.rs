//! The marker `<root>/<pbx>/.callvault`: whose archive this is, and that it is mounted.

use std::io::Read as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::directory::Directory;
use super::durable::{Published, publish};
use super::reader::{Opened, Reader};
use super::temporary::{Temporary, Ways, is_temporary};
use super::{ArchiveError, Key};
use crate::base::digest::hex;

/// The marker's name in the folder of a PBX.
pub(super) const NAME: &str = ".callvault";

/// The marker of the area `name`.
pub fn key(name: &str) -> Key {
    Key::ROOT.join(name.as_bytes()).join(NAME.as_bytes())
}

/// Whether the marker of the area `name` can be read as one of the archive with this id.
pub fn is_of(reader: &dyn Reader, name: &str, archive_id: &str) -> Result<bool, ArchiveError> {
    match Marker::of(reader, &key(name)) {
        Ok(marker) => Ok(marker.is_some_and(|marker| marker.archive_id == archive_id)),
        Err(ArchiveError::DamagedMarker { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The layout that this version writes and reads.
const FORMAT: &str = "callvault-archive/1";

pub const BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    format: String,
    /// 128 random bits in hex, the same for all PBXs of one root.
    pub(super) archive_id: String,
    /// The state directory that owns this folder.
    pub(super) state_id: String,
    created_at: Timestamp,
}

impl Marker {
    pub(super) fn new(archive_id: &str, state_id: &str, now: Timestamp) -> Self {
        Self {
            format: FORMAT.to_owned(),
            archive_id: archive_id.to_owned(),
            state_id: state_id.to_owned(),
            created_at: now,
        }
    }

    /// Reads the marker under `key`, if there is one.
    pub(super) fn of(reader: &dyn Reader, key: &Key) -> Result<Option<Self>, ArchiveError> {
        let damaged = |reason: String| ArchiveError::DamagedMarker { path: reader.location(key), reason };
        let mut bytes = Vec::new();
        match reader.open(key, 0)? {
            Opened::Nothing => return Ok(None),
            Opened::Other => return Err(damaged("not a regular file".to_owned())),
            Opened::File(file) => file
                .take(BYTES_MAX)
                .read_to_end(&mut bytes)
                .map_err(|error| ArchiveError::io("read", &reader.location(key), error))?,
        };
        let marker: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        match marker.format == FORMAT {
            true => Ok(Some(marker)),
            false => Err(damaged(format!("format {:?}, this version reads {FORMAT:?}", marker.format))),
        }
    }

    /// Refuses a folder that another state owns.
    pub(super) fn check(&self, folder: &Directory, state_id: &str) -> Result<(), ArchiveError> {
        match self.state_id == state_id {
            true => Ok(()),
            false => Err(ArchiveError::Foreign {
                path: folder.file_path(NAME),
                theirs: self.state_id.clone(),
                ours: state_id.to_owned(),
            }),
        }
    }

    /// Writes the marker durably. A marker that is there already is never replaced.
    pub(super) fn write(&self, folder: &Directory, ways: &Ways) -> Result<(), ArchiveError> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("all keys of a marker are strings");
        bytes.push(b'\n');
        let mut temporary = Temporary::create(folder, ways)?;
        temporary.write(&bytes)?;
        match publish(folder, ways, &mut [(&mut temporary.sync()?, NAME)])? {
            Published::New => Ok(()),
            Published::Exists(_) => Err(ArchiveError::Occupied { path: folder.file_path(NAME) }),
        }
    }
}

pub(super) fn random_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    hex(&bytes)
}

/// Refuses a folder that has no marker but has files: they are not ours to write beside.
pub(super) fn refuse_files(folder: &Directory) -> Result<(), ArchiveError> {
    let is_harmless = |name: &String| name == "lost+found" || is_temporary(name);
    match folder.names()?.iter().all(is_harmless) {
        true => Ok(()),
        false => Err(ArchiveError::Unmarked { path: folder.path().to_owned() }),
    }
}
