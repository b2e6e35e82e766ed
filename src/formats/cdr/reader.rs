//! Turns pushed bytes into call rows.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::digest::Digest;
use crate::base::recording::printable;
use crate::formats::cdr::fields::{DELIMITERS, Dialect, FieldParser};
use crate::formats::cdr::header::{Header, Headings};
use crate::formats::cdr::input::Input;
use crate::formats::cdr::record::{END_MARK, Piece, Record, RecordSplitter};
use crate::formats::cdr::row::CdrRow;
use crate::formats::cdr::seek::{NoHeader, Refused, Seeker, Step};
use crate::formats::cdr::{BadRow, CdrItem, DoubtCause, Understood};

/// Reads a CDR export that is pushed to it.
///
/// Push some bytes, take items until there are none, push again; at the end [`finish`](Self::finish) and take the
/// rest. Drained like this it holds at most 64 KiB besides what was pushed last, whatever the input is.
pub struct CdrReader {
    headings: Headings,
    input: Input,
    splitter: RecordSplitter,
    state: State,
    understood: Option<Understood>,
    ended_without_newline: bool,
    doubts_blank_rows: bool,
}

enum State {
    Seeking(Seeker),
    Reading(Box<Table>),
    /// A header was found that cannot be relied on: the first row after it may show what mends it.
    Refused(Box<Refused>, FieldParser),
    Failed(NoHeader),
}

struct Table {
    header: Header,
    dialect: Dialect,
    fields: FieldParser,
}

impl fmt::Debug for CdrReader {
    /// Without the buffer, for it holds PIN codes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CdrReader").field("understood", &self.understood).finish_non_exhaustive()
    }
}

impl CdrReader {
    /// A reader at the start of a list; `columns` maps our columns to the list's headings, or to their numbers such as
    /// `#12`, and comes first.
    pub fn new(columns: &BTreeMap<String, String>) -> Self {
        Self {
            headings: Headings { columns: columns.clone(), keep: Vec::new() },
            input: Input::new(),
            splitter: RecordSplitter::new(),
            state: State::Seeking(Seeker::new()),
            understood: None,
            ended_without_newline: false,
            doubts_blank_rows: false,
        }
    }

    /// Doubts rows without any value: spreadsheets end with such rows, a PBX's own list has none.
    #[must_use]
    pub fn of_pbx(mut self) -> Self {
        self.doubts_blank_rows = true;
        self
    }

    /// Keeps the columns with these headings too, which are none of ours. Those that may hold PIN codes are never kept.
    #[must_use]
    pub fn keeping(mut self, headings: &[String]) -> Self {
        self.headings.keep = headings.to_vec();
        self
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.take(bytes, false);
    }

    pub fn finish(&mut self) {
        if !self.is_finished() {
            self.take(&[], true);
            self.splitter.finished = true;
        }
    }

    fn take(&mut self, bytes: &[u8], is_end: bool) {
        match self.input.push(bytes, is_end) {
            Ok(bytes) => self.splitter.push(&bytes),
            Err(container) => self.state = State::Failed(NoHeader::container(container)),
        }
    }

    /// Whether [`finish`](Self::finish) was called.
    pub fn is_finished(&self) -> bool {
        self.splitter.finished
    }

    /// Whether the last line had no line end: a transfer may have been cut off. Known when all items are taken.
    pub fn ended_without_newline(&self) -> bool {
        self.ended_without_newline
    }

    /// How the list was understood so far; `None` before its header. Known to the end when all items are taken.
    pub fn understood(&self) -> Option<&Understood> {
        self.understood.as_ref()
    }

    /// The next item; `None` if more must be pushed first, or after the last. It fails, again on each further call, if the
    /// list has no header that names exactly one column of recordings' names, or a further one does not.
    pub fn next_item(&mut self) -> Result<Option<CdrItem>, NoHeader> {
        while !matches!(self.state, State::Failed(_)) {
            let item = match self.splitter.next() {
                Some(Piece::Record(record)) => self.read(record),
                Some(Piece::Broken(row, head)) => self.read_broken(row, &head),
                None => break,
            };
            if item.is_some() {
                return Ok(item);
            }
        }
        if self.is_finished() {
            self.end();
        }
        match &self.state {
            State::Failed(error) => Err(error.clone()),
            _ => Ok(None),
        }
    }

    /// The list has ended: without a header it is none.
    fn end(&mut self) {
        let error = match &mut self.state {
            State::Seeking(seeker) => seeker.end(&self.headings.columns),
            State::Refused(refused, _) => refused.clone().into_error(&self.headings.columns, None),
            State::Reading(_) | State::Failed(_) => return,
        };
        self.state = State::Failed(error);
    }

    /// Reads a record; `None` if it is no row.
    fn read(&mut self, record: Record) -> Option<CdrItem> {
        self.ended_without_newline |= record.unterminated;
        // Some programs end a text with marks (Ctrl-Z): a line of nothing else is blank too.
        if record.bytes.iter().all(|byte| byte.is_ascii_whitespace() || *byte == END_MARK) {
            return None;
        }
        match &mut self.state {
            State::Seeking(seeker) => {
                let step = seeker.look(&record, &self.headings);
                self.step(step);
                None
            }
            State::Refused(refused, fields) => {
                let error = refused.clone().into_error(&self.headings.columns, fields.parse(&record.bytes));
                self.state = State::Failed(error);
                None
            }
            State::Reading(_) => self.read_row(&record),
            State::Failed(_) => None,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::On => {}
            Step::Header(header, dialect) => self.begin(*header, dialect),
            Step::Refused(refused, dialect) => {
                self.state = State::Refused(refused, FieldParser::new(dialect))
            }
            Step::Failed(error) => self.state = State::Failed(error),
        }
    }

    fn begin(&mut self, header: Header, dialect: Dialect) {
        self.splitter.set_dialect(dialect);
        self.understood = Some(Understood {
            columns: header.understood(),
            delimiter: char::from(dialect.delimiter),
            encoding: self.input.encoding().unwrap_or(header.encoding),
            spreadsheet: self.understood.as_ref().is_some_and(|before| before.spreadsheet),
        });
        self.state = State::Reading(Box::new(Table { header, dialect, fields: FieldParser::new(dialect) }));
    }

    fn read_row(&mut self, record: &Record) -> Option<CdrItem> {
        let State::Reading(table) = &mut self.state else { return None };
        let Table { header, dialect, fields } = &mut **table;
        let Some(fields) = fields.parse(&record.bytes) else {
            return Some(self.bad_record(record, DoubtCause::NotCsv, "not CSV".to_owned()));
        };
        if header.may_be_again_in(fields) || may_be_header_of_other(&record.bytes, *dialect, fields.len()) {
            // Of concatenated exports each may have its own columns.
            let step = Seeker::again(record, &self.headings);
            if !matches!(step, Step::On) {
                self.step(step);
                return None;
            }
        }
        let State::Reading(table) = &mut self.state else { return None };
        let Table { header, fields, .. } = &mut **table;
        let fields = fields.last();
        if fields.iter().all(|field| field.trim_ascii().is_empty()) {
            let problem = "a row without any value".to_owned();
            return self.doubts_blank_rows.then(|| self.bad_record(record, DoubtCause::Blank, problem));
        }
        if record.lines > 1 && record.stray_quote {
            let problem = "a quote that is not closed where its field ends".to_owned();
            return Some(self.give_up(record, DoubtCause::BrokenQuotes, problem));
        }
        let Some(cause) = header.misfit(fields) else {
            let row = CdrRow::read(header, fields, record);
            if let Some(understood) = &mut self.understood {
                understood.spreadsheet |= row.is_rewritten();
            }
            return Some(CdrItem::Row(Box::new(row)));
        };
        // What it names is queued all the same: a name with a comma in it must not cost a recording.
        if cause == DoubtCause::FieldCount && record.lines == 1 && !record.unterminated {
            let row = CdrRow::salvage(header, fields, record, cause);
            if row.recording.is_some() {
                return Some(CdrItem::Row(Box::new(row)));
            }
        }
        let problem = count_problem(fields.len(), header.len());
        Some(self.give_up(record, cause, problem))
    }

    /// Gives up a record, of several lines only the first: a stray quote may have swallowed good rows.
    fn give_up(&mut self, record: &Record, cause: DoubtCause, problem: String) -> CdrItem {
        if record.lines > 1 {
            self.splitter.resync();
        }
        self.bad_record(record, cause, problem)
    }

    fn read_broken(&mut self, row: BadRow, head: &[u8]) -> Option<CdrItem> {
        self.ended_without_newline |= row.ended_without_newline;
        match &mut self.state {
            State::Seeking(seeker) => {
                let step = seeker.pass(row.line, &self.headings.columns);
                self.step(step);
                return None;
            }
            State::Refused(..) => {
                self.end();
                return None;
            }
            State::Reading(_) | State::Failed(_) => {}
        }
        Some(CdrItem::BadRow(BadRow { excerpt: self.excerpt(head), ..row }))
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
        match &self.state {
            State::Reading(table) => excerpt(&table.header, table.dialect, bytes),
            _ => String::new(),
        }
    }
}

fn count_problem(found: usize, wanted: usize) -> String {
    let fields = if found == 1 { "field" } else { "fields" };
    format!("{found} {fields} instead of {wanted}")
}

/// Whether a line that is one field here may be a header with another separator: that of an export behind another one.
fn may_be_header_of_other(bytes: &[u8], dialect: Dialect, fields: usize) -> bool {
    fields == 1
        && DELIMITERS.iter().any(|other| *other != dialect.delimiter && bytes.contains(other))
        && !bytes.iter().any(u8::is_ascii_digit)
}

const EXCERPT_CHARS: usize = 120;

const EXCERPT_FIELDS: usize = 4;

/// The beginning of a broken row, printable.
///
/// Where its columns are cannot be told, for separators are lacking or too many. So only the first fields are shown: those
/// before the first secret one even if each separator that is lacking stood before it, and half of them for good measure.
pub(super) fn excerpt(header: &Header, dialect: Dialect, bytes: &[u8]) -> String {
    let line = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let fields: Vec<&[u8]> = line.split(|byte| *byte == dialect.delimiter).collect();
    let lacking = header.len().saturating_sub(fields.len());
    let shown = match header.secret_at() {
        Some(at) => (at.saturating_sub(lacking) / 2).min(EXCERPT_FIELDS),
        None => EXCERPT_FIELDS,
    };
    if shown == 0 {
        return String::new();
    }
    let mut text = printable(&fields[..shown.min(fields.len())].join(&dialect.delimiter));
    if shown < fields.len() {
        text.push(char::from(dialect.delimiter));
        text.push('…');
    }
    if text.chars().count() > EXCERPT_CHARS {
        text = text.chars().take(EXCERPT_CHARS - 1).chain(['…']).collect();
    }
    text
}
