//! Where the header of a list is, and how the list writes its fields: both are found together, line by line. Of an input
//! without a header that can be relied on: what was found instead, and what mends it.

use std::collections::BTreeMap;

use csv::ByteRecord;

use crate::base::recording::printable;
use crate::base::times::parse_local;
use crate::formats::cdr::fields::{DELIMITERS, Dialect, FieldParser, has_blanks, named_delimiter};
use crate::formats::cdr::header::{Column, Header, Headings, column_names, heading_names, is_same_heading};
use crate::formats::cdr::input::Container;
use crate::formats::cdr::record::Record;
use crate::formats::cdr::shift::{is_name, looks_like_a_call};
use crate::formats::cdr::start::epoch_in;

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
                let fields = widest(&record.bytes, self.named).filter(|(fields, _)| fields.len() > 1);
                self.likely = fields.map(|(headings, dialect)| {
                    let (line, columns) = (record.line, vec![None; headings.len()]);
                    (Refused { line, headings, columns, ..Refused::unknown() }, dialect, None)
                });
            }
        }
    }

    pub(super) fn end(&mut self, columns: &BTreeMap<String, String>) -> NoHeader {
        if self.lines == 0 { NoHeader::empty() } else { self.error(1, columns) }
    }

    fn error(&mut self, line: u64, columns: &BTreeMap<String, String>) -> NoHeader {
        match self.likely.take() {
            Some((refused, _, row)) => refused.into_error(columns, row.as_ref()),
            None => Refused { line: line.min(1), ..Refused::unknown() }.into_error(columns, None),
        }
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
            Some(Ok(header)) => (1000 + header.known(), Step::Header(Box::new(header), dialect)),
            Some(Err(refused)) => (refused.known(), Step::Refused(Box::new(refused), dialect)),
            None => continue,
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

const HEADINGS_SHOWN: usize = 20;

/// Most characters of a heading named in an error.
const HEADING_CHARS: usize = 40;

/// Parts of words for a recording, in the languages of the devices' interfaces: good enough for a proposal, never for more.
const RECORDING_WORDS: &[&str] = &[
    "record|audio|.wav|录音|錄音|録音|녹음|запис|aufnahme|aufzeichnung|enregistr|grabaci",
    "registraz|grava|nagran|kayıt|kayit|zázn|zazn|ghi âm|บันทึก|تسجيل|ضبط|opname",
];

/// An input that cannot be read as a call list, for it has no header that names exactly one column of recordings' names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct NoHeader {
    /// The line where a header was expected; 0 if the input was empty.
    pub line: u64,
    /// The headings found there, printable. A field that holds a digit is left out: it may be data, even a PIN code.
    pub found: Vec<String>,
    pub cause: NoHeaderCause,
}

/// Why an input has no header that can be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoHeaderCause {
    Empty,
    Container(Container),
    Headless,
    /// No line of its beginning holds headings that are known. With the value of `cdr_columns` that makes it readable, as
    /// far as its first row shows.
    Unknown(String),
    /// No heading is known for certain to be that of the recordings' names. With the value of `cdr_columns` that makes it
    /// readable.
    NoRecording(String),
    /// More than one heading, those at these places, is that of the recordings' names. With the value of `cdr_columns` that
    /// tells which one counts.
    SeveralRecordings(Vec<usize>, String),
}

impl NoHeader {
    /// Of an input in which there is nothing.
    pub(super) fn empty() -> Self {
        Self { line: 0, found: Vec::new(), cause: NoHeaderCause::Empty }
    }

    /// Of an input that is something else.
    pub(super) fn container(container: Container) -> Self {
        Self { line: 1, found: Vec::new(), cause: NoHeaderCause::Container(container) }
    }

    fn sentence(&self) -> String {
        let line = self.line;
        let found = format!("`{}`", self.found.join("`, `"));
        match &self.cause {
            NoHeaderCause::Empty => "the input is empty: export the list from the PBX again".to_owned(),
            NoHeaderCause::Container(container) => container.sentence(),
            NoHeaderCause::Headless => format!(
                "line {line} holds a call where the headings belong: put the PBX's own headings before it as the first line: {}, if the list has these columns",
                column_names().join(",")
            ),
            NoHeaderCause::Unknown(columns) => format!(
                "line {line}: no headings of a call list {}; if it is one, write cdr_columns = {columns} into the \
                 [[pbx]] section",
                match self.found.is_empty() {
                    true =>
                        "there, and no separator that is known (commas, semicolons, tabs, bars)".to_owned(),
                    false => format!("among {found}"),
                }
            ),
            NoHeaderCause::NoRecording(columns) => format!(
                "line {line}: none of the headings {found} is known to be that of the recordings' names; write \
                 cdr_columns = {columns} into the [[pbx]] section"
            ),
            NoHeaderCause::SeveralRecordings(positions, columns) => {
                let positions: Vec<String> = positions.iter().map(usize::to_string).collect();
                let all = if positions.len() == 2 { "both" } else { "all" };
                format!(
                    "line {line}: columns {} are {all} headed as the recordings' names; write cdr_columns = {columns} into \
                     the [[pbx]] section, with the number of the one that counts",
                    positions.join(" and ")
                )
            }
        }
    }
}

/// Headings as they are shown: no data, and not too many.
pub(super) fn shown(record: &ByteRecord, names: &[String]) -> Vec<String> {
    let fields = record.iter().map(<[u8]>::trim_ascii).zip(names);
    let headings = fields.filter(|(field, _)| !field.is_empty() && !field.iter().any(u8::is_ascii_digit));
    let cut = |(_, name): (&[u8], &String)| printable(name.as_bytes()).chars().take(HEADING_CHARS).collect();
    headings.take(HEADINGS_SHOWN).map(cut).collect()
}

/// A header that cannot be relied on, until the first row after it shows what its columns hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Refused {
    pub(super) line: u64,
    pub(super) headings: ByteRecord,
    pub(super) columns: Vec<Option<Column>>,
    /// The positions of the headings of recordings' names.
    pub(super) recordings: Vec<usize>,
    pub(super) is_unknown: bool,
}

impl Refused {
    fn unknown() -> Self {
        Self { is_unknown: true, ..Self::default() }
    }

    pub(super) fn known(&self) -> usize {
        self.columns.iter().flatten().count() + self.recordings.len()
    }

    /// The error, with the line of `cdr_columns` that mends it. `row` is the first row, as far as there is one.
    pub(super) fn into_error(self, map: &BTreeMap<String, String>, row: Option<&ByteRecord>) -> NoHeader {
        let names = heading_names(&self.headings);
        let mut columns = map.clone();
        for (column, at) in self.proposed(&names, row) {
            columns.insert(column.as_str().to_owned(), addressed(&names, at));
        }
        columns.entry(Column::Recording.as_str().to_owned()).or_insert_with(|| "…".to_owned());
        let columns = inline_table(&columns);
        let found = shown(&self.headings, &names);
        let cause = if self.is_unknown {
            NoHeaderCause::Unknown(columns)
        } else if self.recordings.len() > 1 {
            let positions = self.recordings.iter().map(|at| at + 1).collect();
            NoHeaderCause::SeveralRecordings(positions, columns)
        } else {
            NoHeaderCause::NoRecording(columns)
        };
        NoHeader { line: self.line, found, cause }
    }

    /// The columns that are lacking, and where they seem to be.
    fn proposed(&self, names: &[String], row: Option<&ByteRecord>) -> Vec<(Column, usize)> {
        let value = |at: usize| row.and_then(|row| row.get(at)).unwrap_or_default().trim_ascii();
        let is_free = |at: &usize| self.columns[*at].is_none();
        let free: Vec<usize> = match self.recordings.len() {
            0 | 1 => (0..self.columns.len()).filter(is_free).collect(),
            _ => self.recordings.clone(),
        };
        let by_value = free.iter().copied().find(|at| is_name(value(*at)));
        let says = |at: &usize| {
            let name = names[*at].to_lowercase();
            RECORDING_WORDS.iter().flat_map(|words| words.split('|')).any(|word| name.contains(word))
        };
        let recording = by_value.or_else(|| free.iter().copied().find(says));
        let mut proposed: Vec<_> = recording.map(|at| (Column::Recording, at)).into_iter().collect();
        if self.is_unknown {
            let text = |at: usize| std::str::from_utf8(value(at)).unwrap_or_default();
            let start = free.iter().copied().find(|at| parse_local(text(*at)).is_some());
            let callid = free.iter().copied().find(|at| epoch_in(text(*at)).is_some());
            proposed.extend(callid.map(|at| (Column::CallId, at)));
            proposed.extend(start.map(|at| (Column::TimeStart, at)));
        }
        proposed
    }
}

/// How `cdr_columns` names the column at `at`: by its heading, or by its number where that is no text of its own.
fn addressed(names: &[String], at: usize) -> String {
    let name = &names[at];
    let is_plain =
        printable(name.as_bytes()) == *name && !name.contains('\u{fffd}') && !name.starts_with('#');
    let is_alone = names.iter().filter(|other| is_same_heading(other, name)).count() == 1;
    if is_plain && is_alone && !name.is_empty() { name.clone() } else { format!("#{}", at + 1) }
}

/// The value of `cdr_columns` as it is written in the configuration.
fn inline_table(columns: &BTreeMap<String, String>) -> String {
    let quoted = |heading: &String| serde_json::to_string(heading).unwrap_or_default();
    let members: Vec<String> =
        columns.iter().map(|(column, heading)| format!("{column} = {}", quoted(heading))).collect();
    format!("{{ {} }}", members.join(", "))
}
