//! The lines of call lists, as the rows that the database makes of them.

use jiff::{Timestamp, civil::Date};

use crate::base::digest::Digest;
use crate::base::recording::RecordingName;
use crate::formats::call_lines::{self, CallLine, RecordingLine};
use crate::formats::cdr::CdrRow;
use crate::store::calls::NewCall;

#[derive(Debug)]
pub enum Line {
    Call(Box<ToldCall>),
    Recording(Box<ToldRecording>),
    /// An erased line, or a type of a later version.
    Nothing,
}

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
    pub name: RecordingName,
    pub line: RecordingLine,
}

/// Identity and version of the call in a line; `None` if it is not a call, or damaged.
pub fn version(line: &str) -> Option<(Digest, Digest)> {
    match call_lines::read(line) {
        Ok(call_lines::Line::Call(call)) => call.version(&CdrRow::from_raw(&call.row)?).ok(),
        _ => None,
    }
}

/// Reads a line of the list of `day`; a sentence about what is wrong if it is damaged.
pub fn read(line: &str, day: Date) -> Result<Line, String> {
    Ok(match call_lines::read(line)? {
        call_lines::Line::Call(line) => Line::Call(Box::new(call(*line, day)?)),
        call_lines::Line::Recording(line) => Line::Recording(Box::new(recording(*line)?)),
        call_lines::Line::Erased | call_lines::Line::Later => Line::Nothing,
    })
}

fn call(line: CallLine, day: Date) -> Result<ToldCall, String> {
    let row = CdrRow::from_raw(&line.row).ok_or("its row cannot be read")?;
    let (identity, version) = line.version(&row)?;
    let call = NewCall {
        identity,
        version,
        day,
        started_at: line.started_at,
        utc_offset_s: line.utc_offset_s,
        offset_source: line.offset_source.into(),
        zone_offset_s: line.zone_offset_s,
        talk_s: row.talkduraction.known().and_then(|seconds| i64::try_from(seconds).ok()),
        answered: row.answered(),
        // Written again, so that a PIN code is blank even if somebody put one into the list.
        row: serde_json::to_string(&line.row).map_err(|error| error.to_string())?,
        recording_id: None,
    };
    let sn = row.sn.as_str().filter(|sn| !sn.is_empty()).map(str::to_owned);
    Ok(ToldCall { call, first_seen_at: line.first_seen_at, recording: line.recording, sn })
}

fn recording(line: RecordingLine) -> Result<ToldRecording, String> {
    let name = line.name.to_bytes().and_then(RecordingName::new).ok_or("its name cannot be read")?;
    Ok(ToldRecording { name, line })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

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
    fn a_damaged_line_has_no_version() {
        for damaged in ["", "{", r#"{"type":"call"}"#, r#"{"type":"recording","path":"a"}"#, "7"] {
            assert!(read(damaged, date(2026, 11, 16)).is_err(), "{damaged}");
            assert!(version(damaged).is_none());
        }
    }
}
