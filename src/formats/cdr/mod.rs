//! Call rows out of a CDR export, whatever state the file is in: pure parsing, streaming, in bounded memory.
//!
//! Bytes go in by `CdrReader::push` (or come from a file with `read_csv`); `CdrItem`s come out. Good rows are
//! always taken: a broken one becomes a `BadRow`, and reading goes on at the next line. The PIN code, a secret,
//! never gets past this module: neither in a row, nor in an excerpt, nor in an error.

mod fields;
mod header;
mod input;
mod reader;
mod record;
mod row;
mod seek;
mod shift;
mod start;
#[cfg(test)]
mod tests;
mod value;

use std::io::Read;

use serde::Serialize;

pub use header::column_names;
pub use input::Container;
pub use reader::CdrReader;
pub use row::{CdrRow, normal, parties};
pub use seek::{NoHeader, NoHeaderCause};

pub use crate::formats::raw_row::{may_be_pin, readings};

use crate::base::digest::Digest;
use crate::base::words::words;

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

#[derive(Debug, thiserror::Error)]
pub enum CdrError {
    /// The file is no CDR that we understand.
    #[error(transparent)]
    NoHeader(#[from] NoHeader),
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

words! {
    /// Why a line of a call list cannot be believed: a closed set of words, the same in SQL and JSON.
    pub enum DoubtCause as "doubt",
    /// The cause for people, as a lowercase fragment that follows "this line" or "the line".
    sentence: &'static str {
        /// It has the separators of a row, and nothing between them.
        Blank = "blank" => "has no value in any column",
        /// It holds bytes that are no line of CSV.
        NotCsv = "not_csv" => "is not CSV",
        /// A quote is not closed, or is followed by more of its field.
        BrokenQuotes = "broken_quotes" => "has a quote that is not closed where its field ends",
        /// It is longer than any call's line is.
        TooLong = "too_long" => "is longer than the line of a call can be",
        /// It has more or fewer fields than the header has, and which ones are lacking or too many nothing tells.
        FieldCount = "field_count" => "does not have as many fields as the header",
        /// It ends within the column of recording names, or before it: whether it names a recording is unknown.
        Cut = "cut" => "ends before the recording's name is over",
        /// Its values stand in other columns than their own.
        Shifted = "shifted" => "has values in columns to which they do not belong",
        /// Its start and the time in its call id are further apart than the parts of one call can be.
        StartContradictsCallid = "start_contradicts_callid" => "has a start that contradicts its call id",
        /// It tells no call id, and its start and the time in its recording's name are further apart than they can be.
        StartContradictsName = "start_contradicts_name" => "has a start that contradicts the name of its recording",
        /// The database refuses it.
        Unstorable = "unstorable" => "cannot be stored",
    }
}

/// What a row tells of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reported<T> {
    /// The column is lacking, its cell is empty, or it holds a word for nothing.
    #[default]
    Absent,
    /// Something is there that cannot be read: the value is unknown, and may be anything.
    Unreadable,
    Known(T),
}

impl<T> Reported<T> {
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

/// How a call list was understood. It holds headings and never a value, so that it may be shown and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Understood {
    /// The headings of the last header, in the file's order.
    pub columns: Vec<UnderstoodColumn>,
    pub delimiter: char,
    /// The name of the text encoding, such as `UTF-8`, as it was found or guessed.
    pub encoding: &'static str,
    /// Whether the rows so far look as if a spreadsheet had saved them: numbers rounded, dates rewritten.
    pub spreadsheet: bool,
}

/// A heading, and the column that it was understood as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnderstoodColumn {
    pub heading: String,
    /// Our name of the column, one of [`column_names`]; `None` if the heading was not understood.
    pub column: Option<&'static str>,
}
