//! Turns pushed bytes into call rows.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Cursor;

use csv::ByteRecord;

use super::header::{Header, NoHeader, no_header};
use super::record::{Broken, Piece, Record, RecordSplitter};
use super::row::CdrRow;
use super::{BadRow, CdrItem, DoubtCause, Understood};
use crate::digest::Digest;
use crate::recording::printable;

/// Most characters of an excerpt.
const EXCERPT_CHARS: usize = 120;

/// Most fields in the excerpt of a row whose columns cannot be told.
const EXCERPT_FIELDS: usize = 4;

/// Reads a CDR export that is pushed to it.
///
/// Push some bytes, take items until there are none, push again; at the end [`finish`](Self::finish) and take the
/// rest. Drained like this it holds at most 64 KiB besides what was pushed last, whatever the input is.
pub struct CdrReader {
    map: BTreeMap<String, String>,
    splitter: RecordSplitter,
    fields: FieldParser,
    header: Option<Header>,
    understood: Option<Understood>,
    failed: Option<NoHeader>,
    ended_without_newline: bool,
}

impl fmt::Debug for CdrReader {
    /// Without the buffer, for it holds PIN codes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CdrReader").field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl CdrReader {
    /// A reader at the start of a file; `columns` maps our columns to the file's headings and comes first.
    pub fn new(columns: &BTreeMap<String, String>) -> Self {
        Self {
            map: columns.clone(),
            splitter: RecordSplitter::new(),
            fields: FieldParser::new(),
            header: None,
            understood: None,
            failed: None,
            ended_without_newline: false,
        }
    }

    /// Takes more of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.splitter.push(bytes);
    }

    /// Says that the file has ended.
    pub fn finish(&mut self) {
        self.splitter.finish();
    }

    /// Whether [`finish`](Self::finish) was called.
    pub fn is_finished(&self) -> bool {
        self.splitter.is_finished()
    }

    /// Whether the last line had no line end: a transfer may have been cut off. Known when all items are taken.
    pub fn ended_without_newline(&self) -> bool {
        self.ended_without_newline
    }

    /// How the list was understood so far; `None` before its header. Known to the end when all items are taken.
    pub fn understood(&self) -> Option<&Understood> {
        self.understood.as_ref()
    }

    /// The next item; `None` if more must be pushed first, or after the last.
    ///
    /// # Errors
    /// The first line is no header of a CDR, or the input ended without one; the same again on each further call.
    pub fn next_item(&mut self) -> Result<Option<CdrItem>, NoHeader> {
        while self.failed.is_none() {
            let item = match self.splitter.next() {
                Some(Piece::Record(record)) => self.read(record),
                Some(Piece::Broken(broken)) => self.read_broken(broken),
                None => break,
            };
            if item.is_some() {
                return Ok(item);
            }
        }
        if self.header.is_none() && self.is_finished() && self.failed.is_none() {
            self.failed = Some(NoHeader { line: 0, found: Vec::new() });
        }
        self.failed.clone().map_or(Ok(None), Err)
    }

    /// Reads a record; `None` if it is a header or blank.
    fn read(&mut self, record: Record) -> Option<CdrItem> {
        self.ended_without_newline |= record.unterminated;
        if record.bytes.trim_ascii().is_empty() {
            return None;
        }
        let Some(fields) = self.fields.parse(&record.bytes).then_some(&self.fields.record) else {
            return Some(self.bad_record(&record, DoubtCause::NotCsv, "not CSV".to_owned()));
        };
        let Some(header) = &self.header else {
            match Header::read(fields, &self.map) {
                Some(header) => self.begin(header),
                None => self.failed = Some(no_header(record.line, fields)),
            }
            return None;
        };
        if header.is_repeated_in(fields) {
            // Of concatenated exports each may have its own columns.
            if let Some(header) = Header::read(fields, &self.map) {
                self.begin(header);
            }
            return None;
        }
        if fields.len() != header.len() {
            let problem = format!("{} fields instead of {}", fields.len(), header.len());
            return Some(self.give_up(&record, DoubtCause::FieldCount, problem));
        }
        if record.lines > 1 && record.stray_quote {
            let problem = "a quote that is not closed where its field ends".to_owned();
            return Some(self.give_up(&record, DoubtCause::BrokenQuotes, problem));
        }
        if fields.iter().all(|field| field.trim_ascii().is_empty()) {
            return None;
        }
        Some(CdrItem::Row(Box::new(CdrRow::read(header, fields, &record))))
    }

    /// Gives up a record, of several lines only the first: a stray quote may have swallowed good rows.
    fn give_up(&mut self, record: &Record, cause: DoubtCause, problem: String) -> CdrItem {
        if record.lines > 1 {
            self.splitter.resync();
        }
        self.bad_record(record, cause, problem)
    }

    /// Goes by this header from here on.
    fn begin(&mut self, header: Header) {
        let columns = header.understood();
        self.understood = Some(Understood { columns, delimiter: ',', encoding: "UTF-8", spreadsheet: false });
        self.header = Some(header);
    }

    fn read_broken(&mut self, broken: Broken) -> Option<CdrItem> {
        self.ended_without_newline |= broken.unterminated;
        if self.header.is_none() {
            self.failed = Some(NoHeader { line: broken.line, found: Vec::new() });
            return None;
        }
        let (cause, problem) = broken.problem;
        Some(CdrItem::BadRow(BadRow {
            line: broken.line,
            line_sha256: broken.sha256,
            cause,
            problem: problem.to_owned(),
            excerpt: self.excerpt(&broken.head),
            ended_without_newline: broken.unterminated,
        }))
    }

    /// The first line of a record that is given up.
    fn bad_record(&self, record: &Record, cause: DoubtCause, problem: String) -> CdrItem {
        let line = record.bytes.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
        CdrItem::BadRow(BadRow {
            line: record.line,
            line_sha256: Digest::of(line),
            cause,
            problem,
            excerpt: self.excerpt(line),
            ended_without_newline: record.unterminated && record.lines == 1,
        })
    }

    fn excerpt(&self, bytes: &[u8]) -> String {
        self.header.as_ref().map_or_else(String::new, |header| excerpt(header, bytes))
    }
}

/// The beginning of a broken row, printable.
///
/// Where its columns are cannot be told, for separators are lacking or too many. So only the first fields are shown:
/// those before the PIN code even if each separator that is lacking stood before it, and half of them for good measure.
fn excerpt(header: &Header, bytes: &[u8]) -> String {
    let line = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b',').collect();
    let lacking = header.len().saturating_sub(fields.len());
    let shown = match header.pincode_at() {
        Some(at) => (at.saturating_sub(lacking) / 2).min(EXCERPT_FIELDS),
        None => fields.len(),
    };
    let mut text = printable(&fields[..shown.min(fields.len())].join(&b','));
    if shown == 0 {
        return String::new();
    }
    if shown < fields.len() {
        text.push_str(",…");
    }
    if text.chars().count() > EXCERPT_CHARS {
        text = text.chars().take(EXCERPT_CHARS - 1).chain(['…']).collect();
    }
    text
}

/// Splits one record into its fields by the `csv` crate, without a new reader for each.
struct FieldParser {
    reader: csv::Reader<Cursor<Vec<u8>>>,
    record: ByteRecord,
    fed: u64,
}

impl FieldParser {
    fn new() -> Self {
        let mut builder = csv::ReaderBuilder::new();
        builder.has_headers(false).flexible(true);
        Self { reader: builder.from_reader(Cursor::new(Vec::new())), record: ByteRecord::new(), fed: 0 }
    }

    /// Reads the fields of a whole record into [`record`](Self::record); false if `csv` sees more or less than one
    /// record in it.
    fn parse(&mut self, bytes: &[u8]) -> bool {
        let source = self.reader.get_mut();
        source.set_position(0);
        source.get_mut().clear();
        source.get_mut().extend_from_slice(bytes);
        source.get_mut().push(b'\n');
        self.fed += bytes.len() as u64 + 1;
        let whole = matches!(self.reader.read_byte_record(&mut self.record), Ok(true));
        if whole && self.reader.position().byte() == self.fed {
            return true;
        }
        // Whatever it still holds belongs to this record.
        *self = Self::new();
        false
    }
}
