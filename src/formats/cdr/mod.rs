//! Call rows out of a CDR export, whatever state the file is in: pure parsing, streaming, in bounded memory.
//!
//! Bytes go in by `CdrReader::push` (or come from a file with `read_csv`); `CdrItem`s come out. Good rows are
//! always taken: a broken one becomes a `BadRow`, and reading goes on at the next line. The PIN code, a secret,
//! never gets past this module: neither in a row, nor in an excerpt, nor in an error.

mod container;
mod doubt;
mod excerpt;
mod fields;
mod header;
mod input;
mod no_header;
mod reader;
mod record;
mod row;
mod seek;
mod shift;
mod start;
#[cfg(test)]
mod tests;
mod told;
mod understood;
mod value;

use std::io::Read;

pub use container::Container;
pub use doubt::DoubtCause;
pub use header::COLUMNS;
pub use no_header::{NoHeader, NoHeaderCause};
pub use reader::CdrReader;
pub use row::{CdrRow, normal, parties};
pub use told::Told;
pub use understood::{Understood, UnderstoodColumn};

pub use crate::formats::raw_row::{may_be_pin, readings};

use crate::base::digest::Digest;

/// Bytes read from a file at one time.
const READ_BYTES: usize = 64 << 10;

/// What a CDR export holds, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CdrItem {
    Row(Box<CdrRow>),
    /// A line that is none.
    BadRow(BadRow),
}

/// A line of a CDR export that could not be read as a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The line of the file where it begins, from 1.
    pub line: u64,
    /// SHA-256 of the bytes of the line, or of its lines, without the line end: it tells the line when it comes again.
    ///
    /// A PIN code could be guessed from the hash of a short line. So the hash stays in the state: it is never written
    /// into the archive or the ledger, and never printed.
    pub line_sha256: Digest,
    pub cause: DoubtCause,
    /// What is wrong with it, as a lowercase fragment.
    pub problem: String,
    /// Its beginning: printable, at most 120 characters, without the PIN code; empty if that cannot be told apart.
    pub excerpt: String,
    /// Whether the input ended within this line: a transfer may have been cut off here.
    pub ended_without_newline: bool,
}

/// Why the reading of a CDR file stopped.
#[derive(Debug, thiserror::Error)]
pub enum CdrError {
    /// The file is no CDR that we understand.
    #[error(transparent)]
    NoHeader(#[from] NoHeader),
    /// The file could not be read further.
    #[error("reading the CDR")]
    Io(#[from] std::io::Error),
}

/// Reads a CDR file to its end, in bounded memory, by a reader at its start.
pub fn read_csv<R: Read>(source: R, reader: CdrReader) -> CsvItems<R> {
    CsvItems { source, reader, chunk: vec![0; READ_BYTES], has_failed: false }
}

/// The items of a CDR file. After an error there are no more.
#[derive(Debug)]
pub struct CsvItems<R> {
    source: R,
    reader: CdrReader,
    chunk: Vec<u8>,
    has_failed: bool,
}

impl<R: Read> CsvItems<R> {
    /// How the file was understood so far; `None` before its header.
    pub fn understood(&self) -> Option<&Understood> {
        self.reader.understood()
    }

    /// Reads on until there is an item; `None` at the end of the file.
    fn pull(&mut self) -> Result<Option<CdrItem>, CdrError> {
        loop {
            if let Some(item) = self.reader.next_item()? {
                return Ok(Some(item));
            }
            if self.reader.is_finished() {
                return Ok(None);
            }
            match self.source.read(&mut self.chunk) {
                Ok(0) => self.reader.finish(),
                Ok(count) => self.reader.push(&self.chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<R: Read> Iterator for CsvItems<R> {
    type Item = Result<CdrItem, CdrError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let item = self.pull().transpose();
        self.has_failed = matches!(item, Some(Err(_)));
        item
    }
}
