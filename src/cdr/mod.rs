//! Call rows out of a CDR export, whatever state the file is in: pure parsing, streaming, in bounded memory.
//!
//! Bytes go in by `CdrReader::push` (or come from a file with `read_csv`); `CdrItem`s come out. Good rows are
//! always taken: a broken one becomes a `BadRow`, and reading goes on at the next line. The PIN code, a secret,
//! never gets past this module: neither in a row, nor in an excerpt, nor in an error.

mod doubt;
mod header;
mod reader;
mod record;
mod row;
#[cfg(test)]
mod tests;
mod told;
mod understood;

use std::collections::BTreeMap;
use std::io::Read;

pub use doubt::DoubtCause;
pub use header::{COLUMNS, NoHeader};
pub use reader::CdrReader;
pub use row::{CdrRow, normal, parties};
pub use told::Told;
pub use understood::{Understood, UnderstoodColumn};

use crate::digest::Digest;

/// Bytes read from a file at one time.
const READ_BYTES: usize = 64 << 10;

/// What a CDR export holds, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CdrItem {
    /// A call.
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
    /// Why it cannot be believed.
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

/// Reads a CDR file to its end, in bounded memory; `columns` maps our columns to the file's headings.
///
/// After an error the iterator ends.
pub fn read_csv(
    source: impl Read,
    columns: &BTreeMap<String, String>,
) -> impl Iterator<Item = Result<CdrItem, CdrError>> {
    let mut source = source;
    let mut reader = CdrReader::new(columns);
    let mut chunk = vec![0; READ_BYTES];
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let item = pull(&mut source, &mut reader, &mut chunk).transpose();
        failed = matches!(item, Some(Err(_)));
        item
    })
}

/// Reads on until there is an item; `None` at the end of the file.
fn pull(
    source: &mut impl Read,
    reader: &mut CdrReader,
    chunk: &mut [u8],
) -> Result<Option<CdrItem>, CdrError> {
    loop {
        if let Some(item) = reader.next_item()? {
            return Ok(Some(item));
        }
        if reader.is_finished() {
            return Ok(None);
        }
        match source.read(chunk) {
            Ok(0) => reader.finish(),
            Ok(count) => reader.push(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
