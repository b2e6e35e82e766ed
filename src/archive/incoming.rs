//! A download on its way into the archive: hashed while it is written, invisible until it is kept.

use sha2::{Digest as _, Sha256};

use super::directory::Directory;
use super::temporary::Temporary;
use super::{Archive, ArchiveError, Destination};
use crate::base::digest::Digest;

/// A download being written. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    place: Destination,
    directory: Directory,
    temporary: Temporary,
    hasher: Sha256,
    size_bytes: u64,
}

/// A download with its end: complete as far as its transport can tell, not durable, without a name.
#[derive(Debug)]
pub struct Received {
    pub(super) place: Destination,
    pub(super) directory: Directory,
    pub(super) temporary: Temporary,
    sha256: Digest,
    size_bytes: u64,
}

impl Archive {
    /// Prepares a place for one download. On return the folder and its entries are on disk.
    pub fn begin(&self, place: &Destination) -> Result<Incoming, ArchiveError> {
        let directory = self.folder_durably(place.folder())?;
        let temporary = Temporary::create(&directory, &self.ways)?;
        Ok(Incoming { place: place.clone(), directory, temporary, hasher: Sha256::new(), size_bytes: 0 })
    }
}

impl Incoming {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.temporary.write(bytes)?;
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Closes the hash. The caller judges the audio next, then keeps it or drops it.
    pub fn finish(self) -> Received {
        Received {
            place: self.place,
            directory: self.directory,
            temporary: self.temporary,
            sha256: self.hasher.into(),
            size_bytes: self.size_bytes,
        }
    }
}

impl Received {
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}
