//! The lines of a call list, `calls-<n>.jsonl`: see `docs/archive-format.md`.
//!
//! A list is written once. Its lines are salted (`formats::salted`), so that each can be erased by itself.

use std::borrow::Cow;

use jiff::{Timestamp, civil::Date};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::base::recording::{RecordingKind, RecordingState, Text};
use crate::base::salt::Salt;
use crate::formats::cdr::CdrRow;
use crate::formats::raw_row::RawRow;
use crate::formats::salted;

/// The format up to 0.1: lines without salts, calls with identity and version.
const SCHEMA_1: &str = "callvault-calls/1";
const SCHEMA_2: &str = "callvault-calls/2";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The ledger has no entry for such a list.
    Unsalted,
    /// An entry `lists` of the ledger has the root over its lines.
    Salted,
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    schema: Cow<'a, str>,
    #[serde(borrow)]
    pbx: Cow<'a, str>,
    day: Date,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line {
    Call(Box<CallLine>),
    Recording(Box<RecordingLine>),
    Erased,
    #[serde(other)]
    Later,
}

/// A call. A salted line has no identity and no version: both are unsalted hashes of numbers, and follow from the row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Digest>,
    pub started_at: Option<Timestamp>,
    pub utc_offset_s: i32,
    pub offset_source: String,
    pub zone_offset_s: Option<i32>,
    pub first_seen_at: Timestamp,
    /// The path of the recording that it names.
    pub recording: Option<String>,
    pub row: RawRow,
    /// [`salted::line`] writes it.
    #[serde(default, skip_serializing)]
    pub line_salt: Option<IgnoredAny>,
}

/// A recording that was not archived when the line was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordingLine {
    pub path: String,
    pub kind: RecordingKind,
    pub sn: String,
    pub name: Text,
    pub started_at: Timestamp,
    pub state: RecordingState,
    pub reason: Option<String>,
    pub r#final: bool,
    pub attempts: u32,
    pub salt: Salt,
}

/// The text of a list. Two lists of the same lines differ in their salts: whoever needs the same bytes again keeps them.
pub fn to_text(pbx: &str, day: Date, lines: &[Line]) -> String {
    let head = Head { schema: SCHEMA_2.into(), pbx: pbx.into(), day };
    let head = serde_json::to_string(&head).expect("text always serialises");
    std::iter::once(head).chain(lines.iter().map(salted::line)).map(|line| line + "\n").collect()
}

/// The format of a list by its first line; a sentence about what is wrong if it is not a list of this PBX and day.
pub fn check_head(line: &str, pbx: &str, day: Date) -> Result<Format, String> {
    let head: Head<'_> = serde_json::from_str(line)
        .map_err(|error| format!("the first line is not that of a call list: {error}"))?;
    if head.pbx != pbx || head.day != day {
        return Err(format!("it is the list of {} of pbx `{}`", head.day, head.pbx.escape_debug()));
    }
    match &*head.schema {
        SCHEMA_1 => Ok(Format::Unsalted),
        SCHEMA_2 => Ok(Format::Salted),
        other => {
            Err(format!("it has the schema {other:?}, this version reads {SCHEMA_1:?} and {SCHEMA_2:?}"))
        }
    }
}

/// Reads any line but the first.
pub fn read(text: &str) -> Result<Line, String> {
    match serde_json::from_str(text).map_err(|error| error.to_string())? {
        Line::Erased if salted::erased_leaf(text).is_none() => Err("it is not an erased line".to_owned()),
        line => Ok(line),
    }
}

impl CallLine {
    /// Identity and version of the call, whose row is `row`.
    pub fn version(&self, row: &CdrRow) -> Result<(Digest, Digest), String> {
        match (self.line_salt, self.identity, self.version) {
            (Some(_), ..) => Ok((row.identity(), row.version())),
            (None, Some(identity), Some(version)) => Ok((identity, version)),
            (None, ..) => Err("it has neither a salt nor an identity and a version".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn lines() -> Vec<Line> {
        let call = |recording: Option<&str>| CallLine {
            identity: None,
            version: None,
            started_at: recording.map(|_| Timestamp::UNIX_EPOCH),
            utc_offset_s: 3600,
            offset_source: "zone".to_owned(),
            zone_offset_s: Some(3600),
            first_seen_at: Timestamp::UNIX_EPOCH,
            recording: recording.map(str::to_owned),
            row: RawRow::new([("callid".to_owned(), Text::Utf8("1709287502.118".to_owned()))]),
            line_salt: None,
        };
        let recording = RecordingLine {
            path: "hq/2026/11/16/a.wav".to_owned(),
            kind: RecordingKind::Call,
            sn: "1".to_owned(),
            name: Text::from_bytes(b"a\xff.wav"),
            started_at: Timestamp::UNIX_EPOCH,
            state: RecordingState::Missing,
            reason: None,
            r#final: true,
            attempts: 3,
            salt: Salt::from([7; 32]),
        };
        [call(Some("hq/2026/11/16/a.wav")), call(None)]
            .map(|call| Line::Call(Box::new(call)))
            .into_iter()
            .chain([Line::Recording(Box::new(recording))])
            .collect()
    }

    #[test]
    fn a_list_is_this_text_and_is_read_as_it_was_written() {
        let text = to_text("hq", date(2026, 11, 16), &lines());
        let (head, rest) = text.split_once('\n').unwrap();
        assert_eq!(head, r#"{"schema":"callvault-calls/2","pbx":"hq","day":"2026-11-16"}"#);
        assert_eq!(check_head(head, "hq", date(2026, 11, 16)), Ok(Format::Salted));
        let call = r#"{"type":"call","started_at":"1970-01-01T00:00:00Z","utc_offset_s":3600,"offset_source":"zone","zone_offset_s":3600,"first_seen_at":"1970-01-01T00:00:00Z","recording":"hq/2026/11/16/a.wav","row":{"callid":"1709287502.118"},"line_salt":""#;
        assert!(rest.starts_with(call), "{rest}");
        let mut again: Vec<Line> = rest.lines().map(|line| read(line).unwrap()).collect();
        for line in &mut again {
            let Line::Call(call) = line else { continue };
            assert!(call.version(&CdrRow::from_raw(&call.row).unwrap()).is_ok());
            call.line_salt = None;
        }
        assert_eq!(again, lines());
        let recording = r#"{"type":"recording","path":"hq/2026/11/16/a.wav","kind":"call","sn":"1","name":{"hex":"61ff2e776176"},"started_at":"1970-01-01T00:00:00Z","state":"missing","reason":null,"final":true,"attempts":3,"salt":""#;
        assert!(rest.lines().nth(2).unwrap().starts_with(recording), "{rest}");
    }

    #[test]
    fn a_line_of_a_later_version_is_passed_over_and_a_damaged_one_is_an_error() {
        assert_eq!(read(r#"{"type":"transcript","a":1}"#), Ok(Line::Later));
        let leaf = Digest::of("a");
        assert_eq!(read(&format!(r#"{{"type":"erased","leaf":"{leaf}"}}"#)), Ok(Line::Erased));
        let erased = r#"{"type":"erased"}"#;
        for damaged in ["", "{", r#"{"type":"call"}"#, r#"{"type":"recording","path":"a"}"#, "7", erased] {
            assert!(read(damaged).is_err(), "{damaged}");
        }
    }

    #[test]
    fn the_head_must_be_that_of_the_day() {
        let table = [
            (r#"{"schema":"callvault-calls/1","pbx":"hq","day":"2026-11-16","more":1}"#, ""),
            (r#"{"schema":"callvault-calls/2","pbx":"hq","day":"2026-11-16"}"#, ""),
            (r#"{"schema":"callvault-calls/3","pbx":"hq","day":"2026-11-16"}"#, "it has the schema"),
            (r#"{"schema":"callvault-calls/1","pbx":"lyon","day":"2026-11-16"}"#, "of pbx `lyon`"),
            (r#"{"schema":"callvault-calls/1","pbx":"hq","day":"2026-11-17"}"#, "of 2026-11-17"),
            ("", "the first line is not"),
        ];
        for (line, expected) in table {
            let said = check_head(line, "hq", date(2026, 11, 16)).err().unwrap_or_default();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{line}: {said}");
        }
    }
}
