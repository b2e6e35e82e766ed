//! The marker `<root>/<pbx>/.callvault`: whose archive this is, and that it is mounted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::directory::Directory;
use super::durable::publish;
use super::reader::{Opened, Reader, read_at_most};
use super::temporary::{Temporary, Ways, is_temporary};
use super::{ArchiveError, AreaOwner, Key};
use crate::base::digest::hex;
use crate::base::salt::random;

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

/// Whose a folder of the archive is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    format: String,
    /// 128 random bits in hex, the same for all PBXs of one root.
    pub archive_id: String,
    /// The state directory that owns this folder.
    pub state_id: String,
    created_at: Timestamp,
}

impl Marker {
    /// Reads the marker under `key`, if there is one.
    pub(super) fn of(reader: &dyn Reader, key: &Key) -> Result<Option<Self>, ArchiveError> {
        let damaged = |reason: String| ArchiveError::DamagedMarker { path: reader.location(key), reason };
        let bytes = match reader.open(key, 0)? {
            Opened::Nothing => return Ok(None),
            Opened::Other => return Err(damaged("not a regular file".to_owned())),
            Opened::File(file) => read_at_most(file, BYTES_MAX, &reader.location(key))?,
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

    /// Writes a new marker durably. A marker that is there already is never replaced.
    pub(super) fn write(owner: AreaOwner<'_>, folder: &Directory, ways: &Ways) -> Result<(), ArchiveError> {
        let marker = Self {
            format: FORMAT.to_owned(),
            archive_id: owner.archive_id.to_owned(),
            state_id: owner.state_id.to_owned(),
            created_at: owner.now,
        };
        let mut bytes = serde_json::to_vec_pretty(&marker).expect("all keys of a marker are strings");
        bytes.push(b'\n');
        let mut temporary = Temporary::create(folder, ways)?;
        temporary.write(&bytes)?;
        publish(folder, ways, &mut [(&mut temporary.sync()?, NAME)])?.or_occupied(folder)
    }
}

pub(super) fn random_id() -> String {
    hex(&random::<16>())
}

/// Refuses a folder that has no marker but has files: they are not ours to write beside.
pub(super) fn refuse_files(folder: &Directory) -> Result<(), ArchiveError> {
    let is_harmless = |name: &String| name == "lost+found" || is_temporary(name);
    match folder.names()?.iter().all(is_harmless) {
        true => Ok(()),
        false => Err(ArchiveError::Unmarked { path: folder.path().to_owned() }),
    }
}
