//! Which column of a CDR export holds what: by the heading's name, never by its position.

use std::collections::{BTreeMap, BTreeSet};

use csv::ByteRecord;

use super::understood::UnderstoodColumn;
use crate::recording::{Text, printable};

/// Our names of the columns, which are the headings of the PBX's own CDR (`yeastar-api.md` §6.2, misspelling included).
///
/// They are the keys that `cdr_columns` may have.
pub const COLUMNS: [&str; 14] = [
    "callid",
    "timestart",
    "callfrom",
    "callto",
    "callduraction",
    "talkduraction",
    "srctrunkname",
    "dsttrunkname",
    "status",
    "type",
    "pincode",
    "recording",
    "didnumber",
    "sn",
];

/// Other spellings that firmware or its documents use for a column (`yeastar-api.md` §7).
const ALIASES: [(&str, Column); 6] = [
    ("desttrunkname", Column::DstTrunk),
    ("dstrunkname", Column::DstTrunk),
    ("dsttrcunkname", Column::DstTrunk),
    ("callduration", Column::CallDuration),
    ("talkduration", Column::TalkDuration),
    ("serialnumber", Column::Sn),
];

/// Most headings named in an error.
const HEADINGS_SHOWN: usize = 20;

/// Most characters of a heading named in an error.
const HEADING_CHARS: usize = 40;

/// A column that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Column {
    CallId,
    TimeStart,
    CallFrom,
    CallTo,
    CallDuration,
    TalkDuration,
    SrcTrunk,
    DstTrunk,
    Status,
    Type,
    PinCode,
    Recording,
    DidNumber,
    Sn,
}

impl Column {
    /// Our name of it.
    pub(super) fn name(self) -> &'static str {
        COLUMNS[self as usize]
    }

    /// The column of this name.
    pub(super) fn named(ours: &str) -> Option<Self> {
        COLUMNS.iter().position(|name| *name == ours).map(|at| ALL[at])
    }
}

/// All columns, in the order of [`COLUMNS`].
const ALL: [Column; 14] = [
    Column::CallId,
    Column::TimeStart,
    Column::CallFrom,
    Column::CallTo,
    Column::CallDuration,
    Column::TalkDuration,
    Column::SrcTrunk,
    Column::DstTrunk,
    Column::Status,
    Column::Type,
    Column::PinCode,
    Column::Recording,
    Column::DidNumber,
    Column::Sn,
];

/// A file whose first line heads neither the call's id nor the recording: not a CDR, or one headed otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: no heading `callid` or `recording` {}; if this is a CDR with other headings, map them in `cdr_columns`", self.seen())]
pub struct NoHeader {
    /// The line where a header was expected; 0 if the input was empty.
    pub line: u64,
    /// The headings found there, printable. A field that holds a digit is left out: it may be data, even a PIN code.
    pub found: Vec<String>,
}

impl NoHeader {
    /// Whether there was nothing in the input at all.
    pub fn is_empty_input(&self) -> bool {
        self.line == 0
    }

    fn seen(&self) -> String {
        match (self.line, self.found.is_empty()) {
            (0, _) => "(the input is empty)".to_owned(),
            (_, true) => "in what looks like data".to_owned(),
            (_, false) => format!("among `{}`", self.found.join("`, `")),
        }
    }
}

/// The header of a file: its headings, and the column that each of them is.
pub(super) struct Header {
    headings: Vec<Text>,
    columns: Vec<Option<Column>>,
    /// The headings of the call's id and the recording, as the file has them.
    marks: Vec<Vec<u8>>,
}

impl Header {
    /// Reads a header with the operator's map first; `None` if it heads neither the call's id nor the recording.
    pub(super) fn read(record: &ByteRecord, map: &BTreeMap<String, String>) -> Option<Self> {
        let keys: Vec<String> = record.iter().map(key).collect();
        let columns = assign(&keys, map);
        let is_mark = |column: &Option<Column>| matches!(column, Some(Column::CallId | Column::Recording));
        let naming = record.iter().zip(&columns).filter(|(_, column)| is_mark(column));
        let marks: Vec<_> = naming.map(|(heading, _)| heading.trim_ascii().to_vec()).collect();
        (!marks.is_empty()).then(|| Self { headings: unique_headings(record), columns, marks })
    }

    /// The headings, printable, with our names of their columns.
    pub(super) fn understood(&self) -> Vec<UnderstoodColumn> {
        let shown = |heading: &Text| printable(&heading.to_bytes().unwrap_or_default());
        let column = |(heading, column): (&Text, Option<Column>)| UnderstoodColumn {
            heading: shown(heading),
            column: column.map(Column::name),
        };
        self.fields().map(column).collect()
    }

    /// How many fields a row has.
    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    /// Each field's heading and column.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&Text, Option<Column>)> {
        self.headings.iter().zip(self.columns.iter().copied())
    }

    /// The first PIN code column.
    pub(super) fn pincode_at(&self) -> Option<usize> {
        self.columns.iter().position(|column| *column == Some(Column::PinCode))
    }

    /// Whether a record repeats a heading that makes a header: no call has such a value.
    pub(super) fn is_repeated_in(&self, record: &ByteRecord) -> bool {
        let is_mark =
            |field: &[u8]| self.marks.iter().any(|mark| field.trim_ascii().eq_ignore_ascii_case(mark));
        record.iter().any(is_mark)
    }
}

/// The columns of headings: the operator's map, then the PBX's own names, then other spellings; the first one wins.
fn assign(keys: &[String], map: &BTreeMap<String, String>) -> Vec<Option<Column>> {
    let mapped =
        map.iter().filter_map(|(ours, heading)| Some((key(heading.as_bytes()), Column::named(ours)?)));
    let own = COLUMNS.iter().zip(ALL).map(|(name, column)| ((*name).to_owned(), column));
    let aliases = ALIASES.iter().map(|(name, column)| ((*name).to_owned(), *column));

    let mut columns = vec![None; keys.len()];
    let mut taken = BTreeSet::new();
    for (heading, column) in mapped.chain(own).chain(aliases) {
        let free = (0..keys.len()).find(|&at| columns[at].is_none() && keys[at] == heading);
        if let Some(at) = free.filter(|_| !taken.contains(&column)) {
            columns[at] = Some(column);
            taken.insert(column);
        }
    }
    // A second PIN code column is as secret as the first, whatever else was said about it.
    let pincode = map.get("pincode").map(|heading| key(heading.as_bytes()));
    for (heading, column) in keys.iter().zip(&mut columns) {
        if is_pincode(heading) || Some(heading) == pincode.as_ref() {
            *column = Some(Column::PinCode);
        }
    }
    columns
}

/// A heading as it is compared: trimmed, lowercase.
fn key(heading: &[u8]) -> String {
    String::from_utf8_lossy(heading).trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']).to_lowercase()
}

/// Whether a heading says PIN code, in the spellings that exports use.
fn is_pincode(heading: &str) -> bool {
    let letters: String = heading.chars().filter(|character| character.is_alphanumeric()).collect();
    matches!(letters.as_str(), "pin" | "pincode" | "pinnumber")
}

/// The headings as the file has them, trimmed; an empty or repeated one gets its position, so that all differ.
fn unique_headings(record: &ByteRecord) -> Vec<Text> {
    let mut seen = BTreeSet::new();
    let mut headings = Vec::with_capacity(record.len());
    for (at, field) in record.iter().enumerate() {
        let mut heading = Text::from_bytes(field.trim_ascii());
        while heading.is_empty() || !seen.insert(heading.clone()) {
            heading = Text::Utf8(format!("{}#{}", heading.as_str().unwrap_or_default(), at + 1));
        }
        headings.push(heading);
    }
    headings
}

/// What was found instead of a header.
pub(super) fn no_header(line: u64, record: &ByteRecord) -> NoHeader {
    let fields = record.iter().map(<[u8]>::trim_ascii);
    let headings = fields.filter(|field| !field.is_empty() && !field.iter().any(u8::is_ascii_digit));
    let found =
        headings.take(HEADINGS_SHOWN).map(|field| printable(field).chars().take(HEADING_CHARS).collect());
    NoHeader { line, found: found.collect() }
}
