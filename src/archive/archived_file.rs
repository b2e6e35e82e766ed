//! A download on its way into the archive, proof that a recording is durable, and how a file left by an earlier run becomes one.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::directory::{Directory, Entry, settle_on_disk};
use super::reader::{Content, Opened, Reader as _, read_at_most};
use super::temporary::Temporary;
use super::{Archive, ArchiveError, Destination, Folder, Key};
use crate::base::digest::Digest;
use crate::formats::sidecar::Sidecar;

/// A sidecar is some kilobytes; what is longer was not written by us.
const SIDECAR_BYTES_MAX: u64 = 16 << 20;

/// A recording that is in the archive: audio, sidecar and their names are on disk. Only this module makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedFile {
    path: String,
    size_bytes: u64,
    sha256: Digest,
    sidecar_sha256: Digest,
    sidecar: Sidecar,
}

impl ArchivedFile {
    /// Where the audio is, relative to the root, with `/`; the sidecar has `.json` after it.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    pub fn sidecar_sha256(&self) -> Digest {
        self.sidecar_sha256
    }

    /// The sidecar as it is on disk: of an adopted file, the one that was there.
    pub fn sidecar(&self) -> &Sidecar {
        &self.sidecar
    }

    /// States that audio of this size and hash is durable at `place`, with this sidecar. The caller has seen to it.
    pub(super) fn new(place: &Destination, size_bytes: u64, sha256: Digest, sidecar: StoredSidecar) -> Self {
        Self {
            path: place.path(),
            size_bytes,
            sha256,
            sidecar_sha256: sidecar.sha256,
            sidecar: sidecar.sidecar,
        }
    }
}

/// A sidecar and the hash of its bytes on disk, which a later version may have written otherwise than we would.
#[derive(Debug)]
pub(super) struct StoredSidecar {
    pub(super) sidecar: Sidecar,
    pub(super) sha256: Digest,
}

#[derive(Debug)]
pub(super) enum SidecarEntry {
    Vacant,
    /// One that we can read, and it is on disk.
    Valid(Box<StoredSidecar>),
    Invalid,
}

impl SidecarEntry {
    /// Looks at the sidecar `name`, and makes a valid one durable: an earlier run may have died before it could.
    pub(super) fn examine(directory: &Directory, name: &str) -> Result<Self, ArchiveError> {
        let path = directory.file_path(name);
        let file = match directory.entry(name)? {
            Entry::Vacant => return Ok(Self::Vacant),
            Entry::Other => return Ok(Self::Invalid),
            Entry::File(file) => file,
        };
        settle_on_disk(&file, &path)?;
        let bytes = read_at_most(file, SIDECAR_BYTES_MAX, &path)?;
        Ok(match Sidecar::from_bytes(&bytes) {
            Ok(sidecar) => Self::Valid(Box::new(StoredSidecar { sidecar, sha256: Digest::of(&bytes) })),
            Err(_) => Self::Invalid,
        })
    }
}

impl Archive {
    /// Whether anything stands under `key`, whoever put it there.
    pub fn is_taken(&self, key: &Key) -> Result<bool, ArchiveError> {
        Ok(!matches!(self.reader().open(key, 0)?, Opened::Nothing))
    }

    /// For each of these places whether an earlier run may have left something there that [`Archive::adopt`] takes: whether
    /// there is anything under the name of its sidecar. Places of one folder are best beside each other.
    pub fn may_be_left<'a>(
        &self,
        places: impl IntoIterator<Item = &'a Destination>,
    ) -> Result<Vec<bool>, ArchiveError> {
        let mut open: Option<(&Folder, Option<Directory>)> = None;
        let mut left = Vec::new();
        for place in places {
            let directory = match open.take() {
                Some((folder, directory)) if folder == place.folder() => directory,
                _ => self.folder(place.folder())?,
            };
            let sidecar =
                directory.as_ref().map(|directory| directory.entry(place.sidecar_name())).transpose()?;
            left.push(!matches!(sidecar, None | Some(Entry::Vacant)));
            open = Some((place.folder(), directory));
        }
        Ok(left)
    }

    /// Takes what an earlier run left at `place` for this recording, so that the PBX need not be asked again.
    ///
    /// There is something to take if audio and sidecar are there, this state [vouches](super::VouchKey) for the sidecar, the
    /// audio, read again from the disk, hashes to what it says, and `is_ours` accepts it. Whatever else stands there may have
    /// been put there by anybody. On return both and their names are on disk.
    pub fn adopt(
        &self,
        place: &Destination,
        is_ours: impl Fn(&Sidecar) -> bool,
    ) -> Result<Option<ArchivedFile>, ArchiveError> {
        let Some(directory) = self.folder(place.folder())? else { return Ok(None) };
        let SidecarEntry::Valid(stored) = SidecarEntry::examine(&directory, &place.sidecar_name())? else {
            return Ok(None);
        };
        if !self.vouch_key.vouches_for(&place.path(), &stored.sidecar) || !is_ours(&stored.sidecar) {
            return Ok(None);
        }
        let Content::Bytes { size_bytes, sha256 } = directory.content(place.file_name())? else {
            return Ok(None);
        };
        if sha256 != stored.sidecar.file.sha256 {
            return Ok(None);
        }
        directory.sync()?;
        Ok(Some(ArchivedFile::new(place, size_bytes, sha256, *stored)))
    }
}

/// A download being written. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    pub(super) place: Destination,
    pub(super) directory: Directory,
    pub(super) temporary: Temporary,
    hasher: Sha256,
    size_bytes: u64,
    /// The end of the download, as far as it is not written yet.
    pub(super) held: Vec<Bytes>,
}

/// A download with its end: complete as far as its transport can tell, not durable, without a name.
#[derive(Debug)]
pub struct Received {
    pub(super) incoming: Incoming,
    sha256: Digest,
}

impl Archive {
    /// Prepares a place for one download. On return the folder and its entries are on disk.
    pub fn begin(&self, place: &Destination) -> Result<Incoming, ArchiveError> {
        let directory = self.folder_durably(place.folder())?;
        let temporary = Temporary::create(&directory, &self.ways)?;
        let (place, hasher) = (place.clone(), Sha256::new());
        Ok(Incoming { place, directory, temporary, hasher, size_bytes: 0, held: Vec::new() })
    }
}

impl Incoming {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.temporary.write(bytes)?;
        self.note(bytes);
        Ok(())
    }

    fn note(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
    }

    /// Closes the hash over what was written and `rest`, which is written only if the audio is kept: this does not block. The
    /// caller judges the audio next, then keeps it or drops it.
    pub fn finish(mut self, rest: Vec<Bytes>) -> Received {
        rest.iter().for_each(|bytes| self.note(bytes));
        self.held = rest;
        Received { sha256: self.hasher.clone().into(), incoming: self }
    }
}

impl Received {
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    pub fn size_bytes(&self) -> u64 {
        self.incoming.size_bytes
    }
}
