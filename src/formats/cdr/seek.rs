//! Where the header of a list is, and how the list writes its fields: both are found together, line by line.

use std::collections::BTreeMap;

use csv::ByteRecord;

use super::fields::{DELIMITERS, Dialect, FieldParser, has_blanks, named_delimiter};
use super::header::{Header, Headings, Sought};
use super::no_header::{NoHeader, NoHeaderCause, Refused};
use super::record::Record;
use super::shift::looks_like_a_call;

/// Lines that may stand before the header: titles, and what was asked for.
const LINES_MAX: u64 = 32;

/// Looks for the header, from the first line on.
pub(super) struct Seeker {
    lines: u64,
    /// The separator that a line `sep=` named.
    named: Option<u8>,
    /// The line that is most likely the header, and the line after it.
    likely: Option<(Refused, Dialect, Option<ByteRecord>)>,
}

pub(super) enum Step {
    On,
    Header(Box<Header>, Dialect),
    /// To the end, when the next line has been seen.
    Refused(Box<Refused>, Dialect),
    Failed(NoHeader),
}

impl Seeker {
    pub(super) fn new() -> Self {
        Self { lines: 0, named: None, likely: None }
    }

    /// Looks at a line that is not blank.
    pub(super) fn look(&mut self, record: &Record, headings: &Headings) -> Step {
        if self.named.is_none()
            && let Some(delimiter) = named_delimiter(&record.bytes)
        {
            self.named = Some(delimiter);
            return Step::On;
        }
        // Whatever the operator's map says: headings that are no headings would cost the first call.
        if self.lines == 0
            && let Some(fields) = widest(&record.bytes, self.named)
            && looks_like_a_call(&fields.0)
        {
            let found = Vec::new();
            return Step::Failed(NoHeader { line: record.line, found, cause: NoHeaderCause::Headless });
        }
        match header_of(record, headings, self.lines == 0, self.named) {
            Step::On => {}
            step => return step,
        }
        self.remember(record);
        self.pass(record.line, &headings.columns)
    }

    /// Passes over a line; after too many of them the list has no header.
    pub(super) fn pass(&mut self, line: u64, columns: &BTreeMap<String, String>) -> Step {
        self.lines += 1;
        if self.lines < LINES_MAX { Step::On } else { Step::Failed(self.error(line, columns)) }
    }

    /// Keeps the first line of several fields, and the one after it.
    fn remember(&mut self, record: &Record) {
        match &mut self.likely {
            Some((_, dialect, row @ None)) => *row = FieldParser::new(*dialect).parse(&record.bytes).cloned(),
            Some(_) => {}
            None => {
                self.likely = widest(&record.bytes, self.named).filter(|(fields, _)| fields.len() > 1).map(
                    |(fields, dialect)| {
                        let columns = vec![None; fields.len()];
                        let refused = Refused {
                            line: record.line,
                            headings: fields,
                            columns,
                            recordings: Vec::new(),
                            is_unknown: true,
                        };
                        (refused, dialect, None)
                    },
                );
            }
        }
    }

    /// The list has ended without a header.
    pub(super) fn end(&mut self, columns: &BTreeMap<String, String>) -> NoHeader {
        if self.lines == 0 { NoHeader::empty() } else { self.error(1, columns) }
    }

    fn error(&mut self, line: u64, columns: &BTreeMap<String, String>) -> NoHeader {
        let unlikely = || Refused {
            line: line.min(1),
            headings: ByteRecord::new(),
            columns: Vec::new(),
            recordings: Vec::new(),
            is_unknown: true,
        };
        let (refused, row) =
            self.likely.take().map_or_else(|| (unlikely(), None), |(refused, _, row)| (refused, row));
        refused.into_error(columns, row.as_ref())
    }

    /// Looks at a line that may be the header of a further list.
    pub(super) fn again(record: &Record, headings: &Headings) -> Step {
        header_of(record, headings, true, None)
    }
}

/// Reads a line in each way of writing fields: the one in which the most headings are known counts.
fn header_of(record: &Record, headings: &Headings, is_first: bool, named: Option<u8>) -> Step {
    let mut best = (0, Step::On);
    for dialect in dialects(&record.bytes, named) {
        let mut parser = FieldParser::new(dialect);
        let Some(fields) = parser.parse(&record.bytes) else { continue };
        let (known, step) = match Header::seek(fields, headings, is_first, record.line) {
            Sought::Header(header) => (1000 + header.known(), Step::Header(header, dialect)),
            Sought::Refused(refused) => (refused.known(), Step::Refused(refused, dialect)),
            Sought::Other => continue,
        };
        if known > best.0 {
            best = (known, step);
        }
    }
    best.1
}

/// The ways in which a line may write its fields, the PBX's own first.
fn dialects(line: &[u8], named: Option<u8>) -> Vec<Dialect> {
    let delimiters = named.into_iter().chain(DELIMITERS.into_iter().filter(|other| Some(*other) != named));
    let mut dialects = Vec::new();
    for delimiter in delimiters {
        // A quote of another kind surrounds fields only where it begins the first one.
        let other = line.trim_ascii_start().starts_with(b"'").then_some(b'\'');
        for quote in other.into_iter().chain([b'"']) {
            let plain = Dialect { delimiter, quote, ..Dialect::PBX };
            dialects.push(Dialect { has_blanks: has_blanks(line, plain), ..plain });
        }
        if line.first() == Some(&b'"') {
            dialects.push(Dialect { delimiter, is_wrapped: true, ..Dialect::PBX });
        }
    }
    dialects
}

/// The fields of a line by the separator that gives the most of them.
fn widest(line: &[u8], named: Option<u8>) -> Option<(ByteRecord, Dialect)> {
    let delimiters = named.map_or(DELIMITERS.to_vec(), |named| vec![named]);
    let split = |delimiter: u8| {
        let dialect = Dialect { delimiter, ..Dialect::PBX };
        Some((FieldParser::new(dialect).parse(line)?.clone(), dialect))
    };
    delimiters.into_iter().filter_map(split).rev().max_by_key(|(fields, _)| fields.len())
}
