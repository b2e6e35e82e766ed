//! Where the records of a CSV stream begin and end, in bounded memory.
//!
//! The `csv` crate alone would read on through the whole file after one unbalanced quote. Here a record has a
//! bound; one that exceeds it is given up as far as its first line, and the next line begins a new record.

use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;
use crate::formats::cdr::fields::{DELIMITERS, Dialect};
use crate::formats::cdr::{BadRow, DoubtCause};

pub(super) const RECORD_BYTES_MAX: usize = 64 << 10;

pub(super) const RECORD_LINES_MAX: u64 = 32;

/// How much of a broken line is kept for its excerpt.
const HEAD_BYTES: usize = 1024;

/// Why a line is given up: as a word, and for people.
type Problem = (DoubtCause, &'static str);

/// What some programs write after a text: Ctrl-Z.
pub(super) const END_MARK: u8 = 0x1a;

/// What some programs write before UTF-8 text.
const BOM: &[u8] = b"\xef\xbb\xbf";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A whole record, as far as quotes and line ends say.
    Record(Record),
    /// A line that is part of no record, without its excerpt; and its first bytes.
    Broken(BadRow, Vec<u8>),
}

/// A record, without its line end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The line where it begins, from 1.
    pub(super) line: u64,
    pub(super) lines: u64,
    pub(super) bytes: Vec<u8>,
    /// Whether a closing quote was followed by more of the field: no CSV writer does that.
    pub(super) stray_quote: bool,
    /// Whether the input ended without a line end.
    pub(super) unterminated: bool,
}

impl Record {
    /// Drops the mark by which some programs end a text, so that nothing after a row's last line end is left of it.
    fn without_end_mark(mut self) -> Self {
        let is_mark = |byte: &u8| *byte == END_MARK;
        if self.unterminated && self.bytes.last().is_some_and(is_mark) {
            let end = self.bytes.iter().rposition(|byte| !is_mark(byte)).map_or(0, |last| last + 1);
            self.bytes.truncate(end);
            self.unterminated = false;
        }
        self
    }
}

/// A line given up whose end has not come by: its hash grows with it.
struct Overlong {
    problem: Problem,
    head: Vec<u8>,
    hash: Sha256,
}

pub(super) struct RecordSplitter {
    marks: Marks,
    buffer: Vec<u8>,
    start: usize,
    scan: Scan,
    line: u64,
    /// The piece handed out last, still in the buffer so that it can be [taken back](Self::resync).
    handed_out: (usize, u64),
    overlong: Option<Overlong>,
    /// Whether nothing more will be pushed.
    pub(super) finished: bool,
}

impl RecordSplitter {
    pub(super) fn new() -> Self {
        Self {
            marks: Marks { delimiters: &DELIMITERS, quote: b'"', has_blanks: false },
            buffer: Vec::new(),
            start: 0,
            scan: Scan::default(),
            line: 1,
            handed_out: (0, 0),
            overlong: None,
            finished: false,
        }
    }

    /// Goes by this dialect from the next piece on. Before, any separator begins a field.
    pub(super) fn set_dialect(&mut self, dialect: Dialect) {
        let at = DELIMITERS.iter().position(|delimiter| *delimiter == dialect.delimiter);
        let delimiters = at.map_or(&DELIMITERS[..], |at| &DELIMITERS[at..=at]);
        self.marks = Marks { delimiters, quote: dialect.quote, has_blanks: dialect.has_blanks };
    }

    /// Takes more of the stream. Memory stays bounded if [`next`](Self::next) is drained between two pushes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.consume_handed_out();
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece; `None` if more must be pushed first, or at the end.
    pub(super) fn next(&mut self) -> Option<Piece> {
        self.consume_handed_out();
        if self.overlong.is_some() {
            return self.skip_line();
        }
        self.skip_bom()?;
        match self.scan.run(self.marks, &self.buffer[self.start..], self.finished) {
            Verdict::More => None,
            Verdict::Record { content, len } => {
                Some(Piece::Record(self.record(content, len).without_end_mark()))
            }
            Verdict::Overflow(problem) => self.give_up(problem),
        }
    }

    /// Takes back all but the first line of the record handed out last: the next piece begins on its second line.
    pub(super) fn resync(&mut self) {
        if let Some((_, len)) = first_line(&self.buffer[self.start..], self.finished) {
            self.handed_out = (len, 1);
        }
    }

    fn record(&mut self, content: usize, len: usize) -> Record {
        let bytes = self.buffer[self.start..self.start + content].to_vec();
        let lines = self.scan.lines + 1;
        self.handed_out = (len, lines);
        Record {
            line: self.line,
            lines,
            bytes,
            stray_quote: self.scan.stray_quote,
            unterminated: content == len,
        }
    }

    /// Gives up the first line of what was scanned: at once if it is whole, else when its end has come by.
    fn give_up(&mut self, problem: Problem) -> Option<Piece> {
        let rest = &self.buffer[self.start..];
        let content = first_line(rest, self.finished).map_or(rest.len(), |(content, _)| content);
        let head = rest[..content.min(HEAD_BYTES)].to_vec();
        self.overlong = Some(Overlong { problem, head, hash: Sha256::new() });
        self.skip_line()
    }

    /// Drops bytes up to the end of an overlong line; returns the line when that is reached.
    fn skip_line(&mut self) -> Option<Piece> {
        let rest = &self.buffer[self.start..];
        match first_line(rest, self.finished) {
            Some((content, len)) => {
                self.handed_out = (len, 1);
                let mut line = self.overlong.take()?;
                line.hash.update(&rest[..content]);
                Some(Piece::Broken(self.bad_row(line.problem, line.hash.into(), content == len), line.head))
            }
            None => {
                // A carriage return at the end stays: the line feed after it belongs to the same line end.
                let kept = usize::from(rest.ends_with(b"\r"));
                let skipped = self.start..self.buffer.len() - kept;
                self.start = skipped.end;
                if let Some(line) = &mut self.overlong {
                    line.hash.update(&self.buffer[skipped]);
                }
                None
            }
        }
    }

    fn bad_row(&self, (cause, problem): Problem, line_sha256: Digest, ended_without_newline: bool) -> BadRow {
        let (problem, excerpt) = (problem.to_owned(), String::new());
        BadRow { line: self.line, line_sha256, cause, problem, excerpt, ended_without_newline }
    }

    /// Skips byte order marks at the start of a record, for exports are also concatenated; `None` if it cannot be told
    /// yet. All of them: after one that came alone, the next one would be taken for the first.
    fn skip_bom(&mut self) -> Option<()> {
        if self.scan.at > 0 {
            return Some(());
        }
        while self.buffer[self.start..].starts_with(BOM) {
            self.start += BOM.len();
        }
        let is_told = self.finished || !BOM.starts_with(&self.buffer[self.start..]);
        is_told.then_some(())
    }

    fn consume_handed_out(&mut self) {
        let (len, lines) = std::mem::take(&mut self.handed_out);
        if len > 0 {
            self.start += len;
            self.line += lines;
            self.scan = Scan::default();
        }
    }
}

/// What begins a field and what surrounds it.
#[derive(Debug, Clone, Copy)]
struct Marks {
    delimiters: &'static [u8],
    quote: u8,
    /// Whether a quote after blanks begins a quoted field.
    has_blanks: bool,
}

/// How far the record at the start of the buffer has been looked at.
#[derive(Default)]
struct Scan {
    at: usize,
    lines: u64,
    place: Place,
    stray_quote: bool,
}

/// Where in a record a byte stands; the same states as in `csv-core`, so that both see the same record ends.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    FieldStart,
    Unquoted,
    Quoted,
    QuoteInQuoted,
}

enum Verdict {
    More,
    /// `content` bytes, and `len` with the line end; equal if the input ended first.
    Record {
        content: usize,
        len: usize,
    },
    Overflow(Problem),
}

fn unclosed(problem: &'static str) -> Verdict {
    Verdict::Overflow((DoubtCause::BrokenQuotes, problem))
}

impl Scan {
    /// Looks on from where it stopped; `rest` begins with the record and has only grown.
    fn run(&mut self, marks: Marks, rest: &[u8], finished: bool) -> Verdict {
        while self.at < rest.len() {
            if self.at >= RECORD_BYTES_MAX {
                return Verdict::Overflow((DoubtCause::TooLong, "a record of more than 64 KiB"));
            }
            let byte = rest[self.at];
            let Some(line_end) = line_end(rest, self.at, finished) else { return Verdict::More };
            if line_end > 0 && self.place != Place::Quoted {
                return Verdict::Record { content: self.at, len: self.at + line_end };
            }
            if line_end > 0 {
                self.lines += 1;
                if self.lines >= RECORD_LINES_MAX {
                    return unclosed("a quote that is not closed within 32 lines");
                }
            }
            let place = self.place.after(byte, marks);
            self.stray_quote |= self.place == Place::QuoteInQuoted && place == Place::Unquoted;
            self.place = place;
            self.at += line_end.max(1);
        }
        self.at_end(rest.len(), finished)
    }

    fn at_end(&self, len: usize, finished: bool) -> Verdict {
        match (finished, self.place) {
            (true, _) if len == 0 => Verdict::More,
            (true, Place::Quoted) => unclosed("a quote that is never closed"),
            (true, _) => Verdict::Record { content: len, len },
            (false, _) => Verdict::More,
        }
    }
}

impl Place {
    fn after(self, byte: u8, marks: Marks) -> Self {
        let is_quote = byte == marks.quote;
        match self {
            Self::Quoted if is_quote => Self::QuoteInQuoted,
            Self::Quoted => Self::Quoted,
            Self::FieldStart | Self::QuoteInQuoted if is_quote => Self::Quoted,
            _ if marks.delimiters.contains(&byte) => Self::FieldStart,
            Self::FieldStart if marks.has_blanks && matches!(byte, b' ' | b'\t') => Self::FieldStart,
            _ => Self::Unquoted,
        }
    }
}

/// The length of the line end at `at`, 0 if there is none; `None` if a line feed may still follow a carriage return.
///
/// A carriage return alone ends a line too, as it does for the `csv` crate.
fn line_end(bytes: &[u8], at: usize, finished: bool) -> Option<usize> {
    match (bytes[at], bytes.get(at + 1)) {
        (b'\n', _) => Some(1),
        (b'\r', Some(b'\n')) => Some(2),
        (b'\r', None) if !finished => None,
        (b'\r', _) => Some(1),
        _ => Some(0),
    }
}

/// The first line: its length without and with its end; `None` if its end has not come.
fn first_line(bytes: &[u8], finished: bool) -> Option<(usize, usize)> {
    match bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        Some(at) => line_end(bytes, at, finished).map(|len| (at, at + len)),
        None => finished.then_some((bytes.len(), bytes.len())),
    }
}
