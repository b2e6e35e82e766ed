//! What lies in the folder of a day beside recordings: call lists, `calls-<n>.jsonl`, each written once under the next free
//! number; and `SHA256SUMS` for `sha256sum -c`, derived from the catalog, the one file that is ever replaced.

use super::durable::{Published, publish, replace};
use super::reader::Content;
use super::temporary::Temporary;
use super::{Archive, ArchiveError, Folder};
use crate::base::digest::Digest;
use crate::formats::sums::{self, NAME};

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
        let mut text = String::new();
        for line in lines {
            if line.contains('\n') {
                let reason = "a line of a day file has a newline in it";
                return Err(ArchiveError::unsafe_path(folder.as_str(), reason));
            }
            text += &line;
            text.push('\n');
        }
        let (size_bytes, sha256) = (text.len() as u64, Digest::of(&text));
        let mut temporary = Temporary::create(&directory, &self.ways)?;
        temporary.write(text.as_bytes())?;
        let mut file = temporary.sync()?;
        for number in hint.max(1)..hint.saturating_add(NUMBERS_TRIED_MAX) {
            let file_name = day_file_name(number);
            let is_ours = match publish(&directory, &self.ways, &mut [(&mut file, &*file_name)])? {
                Published::New => true,
                Published::Exists(_) => {
                    let there = directory.content(&file_name)?;
                    directory.sync()?;
                    there == Content::Bytes { size_bytes, sha256 }
                }
            };
            if is_ours {
                return Ok(DayFile { number, file_name, size_bytes, sha256 });
            }
        }
        Err(ArchiveError::Occupied { path: directory.file_path(day_file_name(hint)) })
    }

    /// The day file of this number, read again: of a run that died before it could record it.
    pub fn day_file(&self, folder: &Folder, number: u32) -> Result<DayFile, ArchiveError> {
        let directory = self.folder_durably(folder)?;
        let file_name = day_file_name(number);
        match directory.content(&file_name)? {
            Content::Bytes { size_bytes, sha256 } => Ok(DayFile { number, file_name, size_bytes, sha256 }),
            _ => Err(ArchiveError::Planted { path: directory.file_path(&file_name), expected: "file" }),
        }
    }
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
