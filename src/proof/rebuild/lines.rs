//! The lines of `calls-<n>.jsonl`, read: the other side of `seal::lines`. See `docs/archive-format.md`.

use std::borrow::Cow;

use jiff::{Timestamp, civil::Date};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::base::digest::Digest;
use crate::base::recording::{RecordingKind, RecordingName, Text};
use crate::base::salt::Salt;
use crate::formats::cdr::CdrRow;
use crate::formats::raw_row::RawRow;
use crate::formats::salted;
use crate::store::calls::NewCall;
use crate::store::queue::RecordingState;

/// The format up to 0.1: lines without salts, calls with identity and version.
const SCHEMA_1: &str = "callvault-calls/1";
/// The format since: salted lines.
const SCHEMA_2: &str = "callvault-calls/2";

/// Which format a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// No entry of the ledger tells of it.
    Unsalted,
    /// An entry `lists` tells what its lines come to.
    Salted,
}

/// What one line tells.
#[derive(Debug)]
pub enum Line {
    Call(Box<ToldCall>),
    Recording(Box<ToldRecording>),
    /// One that was erased.
    Erased,
    /// A type of a later version.
    Unknown,
}

/// A call as a line tells it.
#[derive(Debug)]
pub struct ToldCall {
    /// Its recording is not known yet.
    pub call: NewCall,
    pub first_seen_at: Timestamp,
    /// The path of the recording that it names.
    pub recording: Option<String>,
    /// The serial number in its row.
    pub sn: Option<String>,
}

/// A recording that was not archived when the line was written.
#[derive(Debug)]
pub struct ToldRecording {
    pub path: String,
    pub kind: RecordingKind,
    pub sn: String,
    pub name: RecordingName,
    pub started_at: Timestamp,
    pub state: RecordingState,
    pub reason: Option<String>,
    pub is_final: bool,
    pub attempts: u32,
    pub salt: Salt,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    schema: Cow<'a, str>,
    #[serde(borrow)]
    pbx: Cow<'a, str>,
    day: Date,
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
}

/// What tells one version of a call from another.
#[derive(Debug)]
pub struct Version {
    pub identity: Digest,
    pub version: Digest,
}

/// How a line of 0.1 tells the version of its call. Of a salted line both follow from the row alone.
#[derive(Deserialize)]
struct ToldVersion {
    identity: Option<Digest>,
    version: Option<Digest>,
    line_salt: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct RowOfCall {
    row: RawRow,
}

#[derive(Deserialize)]
struct CallLine {
    started_at: Option<Timestamp>,
    utc_offset_s: i32,
    offset_source: String,
    zone_offset_s: Option<i32>,
    first_seen_at: Timestamp,
    recording: Option<String>,
    row: RawRow,
}

#[derive(Deserialize)]
struct RecordingLine {
    path: String,
    kind: RecordingKind,
    sn: String,
    name: Text,
    started_at: Timestamp,
    state: String,
    reason: Option<String>,
    r#final: bool,
    attempts: u32,
    salt: Salt,
}

/// The format of this day's list, by the first line of the file; else what is wrong with it.
pub fn check_head(line: &str, pbx: &str, day: Date) -> Result<Format, String> {
    let head: Head<'_> =
        serde_json::from_str(line).map_err(|error| format!("it does not begin as a list: {error}"))?;
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

/// The version of a call that a line tells; none if it tells no call, or is damaged.
pub fn version(line: &str) -> Option<Version> {
    let is_call = serde_json::from_str::<Typed<'_>>(line).is_ok_and(|typed| typed.r#type == "call");
    if !is_call {
        return None;
    }
    let RowOfCall { row } = serde_json::from_str(line).ok()?;
    Version::of(line, &CdrRow::from_raw(&row)?).ok()
}

impl Version {
    /// That of the call with this row in this line.
    fn of(line: &str, row: &CdrRow) -> Result<Self, String> {
        let told: ToldVersion = serde_json::from_str(line).map_err(|error| error.to_string())?;
        match (told.line_salt, told.identity, told.version) {
            (Some(_), ..) => Ok(Self { identity: row.identity(), version: row.version() }),
            (None, Some(identity), Some(version)) => Ok(Self { identity, version }),
            (None, ..) => Err("it tells neither a salt nor an identity and a version".to_owned()),
        }
    }
}

/// Reads a line of the list of `day`; what is wrong with it if it is damaged.
pub fn read(line: &str, day: Date) -> Result<Line, String> {
    let typed: Typed<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    match &*typed.r#type {
        "call" => Ok(Line::Call(Box::new(call(line, day)?))),
        "recording" => Ok(Line::Recording(Box::new(recording(line)?))),
        "erased" if salted::erased_leaf(line).is_some() => Ok(Line::Erased),
        "erased" => Err("it is no line that was erased".to_owned()),
        _ => Ok(Line::Unknown),
    }
}

fn call(line: &str, day: Date) -> Result<ToldCall, String> {
    let told: CallLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let row = CdrRow::from_raw(&told.row).ok_or("its row cannot be read")?;
    let Version { identity, version } = Version::of(line, &row)?;
    let call = NewCall {
        identity,
        version,
        day,
        started_at: told.started_at,
        utc_offset_s: told.utc_offset_s,
        offset_source: told.offset_source.into(),
        zone_offset_s: told.zone_offset_s,
        talk_s: row.talkduraction.known().and_then(|seconds| i64::try_from(seconds).ok()),
        answered: row.answered(),
        // Written anew: a PIN code is blanked, whoever put one into the list.
        row: serde_json::to_string(&told.row).map_err(|error| error.to_string())?,
        recording_id: None,
    };
    let sn = row.sn.as_str().filter(|sn| !sn.is_empty()).map(str::to_owned);
    Ok(ToldCall { call, first_seen_at: told.first_seen_at, recording: told.recording, sn })
}

fn recording(line: &str) -> Result<ToldRecording, String> {
    let told: RecordingLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let name = told.name.to_bytes().and_then(RecordingName::new).ok_or("its name cannot be read")?;
    let state = RecordingState::from_sql(&told.state).map_err(|_| format!("{:?} is no state", told.state))?;
    Ok(ToldRecording {
        path: told.path,
        kind: told.kind,
        sn: told.sn,
        name,
        started_at: told.started_at,
        state,
        reason: told.reason,
        is_final: told.r#final,
        attempts: told.attempts,
        salt: told.salt,
    })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_line_of_a_later_version_is_passed_over_and_a_damaged_one_told() {
        let day = date(2026, 11, 16);
        assert!(matches!(read(r#"{"type":"transcript"}"#, day), Ok(Line::Unknown)));
        for damaged in ["", "{", r#"{"type":"call"}"#, r#"{"type":"recording","path":"a"}"#, "7"] {
            assert!(read(damaged, day).is_err(), "{damaged}");
            assert!(version(damaged).is_none());
        }
    }

    #[test]
    fn a_row_comes_out_as_it_was_written_but_for_a_pin_code() {
        let hash = Digest::of("a");
        let read_row = |row: &str| {
            let line = format!(
                r#"{{"type":"call","identity":"{hash}","version":"{hash}","started_at":null,"utc_offset_s":0,"offset_source":"zone","zone_offset_s":null,"first_seen_at":"2026-11-16T08:00:00Z","recording":null,"row":{row}}}"#
            );
            match read(&line, date(2026, 11, 16)) {
                Ok(Line::Call(told)) => told.call.row,
                other => panic!("{other:?}"),
            }
        };
        let row = r#"{"callid":"1709287502.118","pincode":"","x":"ü\u0007\"","callto":{"hex":"d6d0"}}"#;
        assert_eq!(read_row(row), row);
        assert_eq!(read_row(r#"{"callid":"1","PinCode":"4711"}"#), r#"{"callid":"1","PinCode":""}"#);
    }

    #[test]
    fn the_head_must_be_that_of_the_day() {
        let day = date(2026, 11, 16);
        let table = [
            (r#"{"schema":"callvault-calls/1","pbx":"hq","day":"2026-11-16","more":1}"#, ""),
            (r#"{"schema":"callvault-calls/2","pbx":"hq","day":"2026-11-16"}"#, ""),
            (r#"{"schema":"callvault-calls/3","pbx":"hq","day":"2026-11-16"}"#, "it has the schema"),
            (r#"{"schema":"callvault-calls/1","pbx":"lyon","day":"2026-11-16"}"#, "of pbx `lyon`"),
            (r#"{"schema":"callvault-calls/1","pbx":"hq","day":"2026-11-17"}"#, "of 2026-11-17"),
            ("", "it does not begin"),
        ];
        for (line, expected) in table {
            let said = check_head(line, "hq", day).err().unwrap_or_default();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{line}: {said}");
        }
    }
}
