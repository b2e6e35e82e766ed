//! What lies in the folder of a day beside recordings: call lists, `calls-<n>.jsonl`, each written once under the next free
//! number; and `SHA256SUMS` for `sha256sum -c`, derived from the catalog, the one file that is ever replaced.

use std::fs::File;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::directory::{Directory, Entry, hash, settle_on_disk};
use super::durable::{Published, publish, replace};
use super::temporary::{Synced, Temporary};
use super::{Archive, ArchiveError, Folder};
use crate::base::digest::Digest;
use crate::formats::sums::{self, NAME};

/// Lines are gathered to writes of about this size.
const BUFFER_BYTES: usize = 64 << 10;

/// More numbers in a row than this were never taken by us.
const NUMBERS_TRIED_MAX: u32 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayFile {
    pub number: u32,
    pub file_name: String,
    pub size_bytes: u64,
    pub sha256: Digest,
}

pub fn day_file_name(number: u32) -> String {
    format!("calls-{number}.jsonl")
}

impl Archive {
    /// Writes lines to the next day file of `folder` that is free, from number `hint` on (1 if never written).
    ///
    /// On return it is on disk, read-only, and never changes again. A file with the same content at a number tried
    /// is taken for this one: that is how a run continues that died between the write and its own record of it.
    pub fn write_day_file(
        &self,
        folder: &Folder,
        hint: u32,
        lines: impl IntoIterator<Item = String>,
    ) -> Result<DayFile, ArchiveError> {
        let directory = self.folder_durably(folder)?;
        let mut temporary = Temporary::create(&directory, &self.ways)?;
        let (size_bytes, sha256) = write_lines(&mut temporary, directory.path(), lines)?;
        let mut file = temporary.sync()?;
        for number in hint.max(1)..hint.saturating_add(NUMBERS_TRIED_MAX) {
            let file_name = day_file_name(number);
            if self.take_name(&directory, &mut file, &file_name, size_bytes, sha256)? {
                return Ok(DayFile { number, file_name, size_bytes, sha256 });
            }
        }
        Err(ArchiveError::Occupied { path: directory.file_path(day_file_name(hint)) })
    }

    /// The day file of this number, read again: of a run that died before it could record it.
    pub fn day_file(&self, folder: &Folder, number: u32) -> Result<DayFile, ArchiveError> {
        let directory = self.folder_durably(folder)?;
        let file_name = day_file_name(number);
        let path = directory.file_path(&file_name);
        match directory.entry(&file_name)? {
            Entry::File(file) => {
                let (size_bytes, sha256) = hash(&file, &path)?;
                Ok(DayFile { number, file_name, size_bytes, sha256 })
            }
            Entry::Vacant | Entry::Other => Err(ArchiveError::Planted { path, expected: "file" }),
        }
    }

    /// Publishes the file under this name, or finds itself there; `false` if something else is.
    fn take_name(
        &self,
        directory: &Directory,
        file: &mut Synced,
        name: &str,
        size_bytes: u64,
        sha256: Digest,
    ) -> Result<bool, ArchiveError> {
        match publish(directory, &self.ways, &mut [(file, name)])? {
            Published::New => Ok(true),
            Published::Exists(_) => match directory.entry(name)? {
                Entry::File(there) => {
                    let is_same = is_same(&there, &directory.file_path(name), size_bytes, sha256)?;
                    directory.sync()?;
                    Ok(is_same)
                }
                Entry::Vacant | Entry::Other => Ok(false),
            },
        }
    }
}

/// Writes each line with a newline; the size and the hash of all.
fn write_lines(
    temporary: &mut Temporary,
    folder: &Path,
    lines: impl IntoIterator<Item = String>,
) -> Result<(u64, Digest), ArchiveError> {
    let mut hasher = Sha256::new();
    let mut size_bytes = 0;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut flush = |buffer: &mut Vec<u8>| {
        hasher.update(&buffer);
        size_bytes += buffer.len() as u64;
        temporary.write(buffer)?;
        buffer.clear();
        Ok::<(), ArchiveError>(())
    };
    for line in lines {
        if line.contains('\n') {
            let path = folder.display().to_string();
            return Err(ArchiveError::UnsafePath {
                path,
                reason: "a line of a day file has a newline in it",
            });
        }
        buffer.extend_from_slice(line.as_bytes());
        buffer.push(b'\n');
        if buffer.len() >= BUFFER_BYTES {
            flush(&mut buffer)?;
        }
    }
    flush(&mut buffer)?;
    Ok((size_bytes, hasher.into()))
}

fn is_same(there: &File, path: &Path, size_bytes: u64, sha256: Digest) -> Result<bool, ArchiveError> {
    settle_on_disk(there, path)?;
    Ok(hash(there, path)? == (size_bytes, sha256))
}

/// What [`Archive::write_sums`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sums {
    Unchanged,
    Written,
}

impl Archive {
    /// Writes the `SHA256SUMS` of `folder` with exactly these files, in the order of their names.
    ///
    /// On return the file is on disk with this content; after a crash it has the old content or this one, whole.
    pub fn write_sums(&self, folder: &Folder, files: &[(String, Digest)]) -> Result<Sums, ArchiveError> {
        let lines = sums::to_text(files)?;
        let directory = self.folder_durably(folder)?;
        let is_there = directory.holds_bytes(NAME, lines.as_bytes())?;
        if is_there.is_some() {
            directory.sync()?;
        }
        if is_there == Some(true) {
            return Ok(Sums::Unchanged);
        }
        replace(&directory, NAME, lines.as_bytes())?;
        Ok(Sums::Written)
    }
}
