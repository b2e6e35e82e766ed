//! The lines of `calls-<n>.jsonl`, a format that others rely on: see `docs/archive-format.md`.

use serde::Serialize;

use super::untold::{UntoldCall, UntoldRecording};
use crate::base::digest::hex;
use crate::base::recording::Text;
use crate::formats::salted;

/// The format, in the first line of each file.
const SCHEMA: &str = "callvault-calls/2";

/// The first line of a file.
#[derive(Serialize)]
struct Head<'a> {
    schema: &'a str,
    pbx: &'a str,
    day: &'a str,
}

/// A line about a call. It has no identity and no version: both are unsalted hashes of numbers, and follow from the row.
#[derive(Serialize)]
struct CallLine<'a> {
    r#type: &'a str,
    started_at: Option<String>,
    utc_offset_s: i64,
    offset_source: &'a str,
    zone_offset_s: Option<i64>,
    first_seen_at: Option<String>,
    recording: Option<&'a str>,
    row: Box<serde_json::value::RawValue>,
}

/// A line about a recording that is not archived.
#[derive(Serialize)]
struct RecordingLine<'a> {
    r#type: &'a str,
    path: &'a str,
    kind: &'a str,
    sn: &'a str,
    name: Text,
    started_at: Option<String>,
    state: &'a str,
    reason: Option<&'a str>,
    r#final: bool,
    attempts: i64,
    salt: String,
}

/// The lines of one file of a day. Each but the first has a new salt.
pub(super) fn of(pbx: &str, day: &str, calls: &[UntoldCall], recordings: &[UntoldRecording]) -> Vec<String> {
    let head = serde_json::to_string(&Head { schema: SCHEMA, pbx, day }).expect("text always serialises");
    let mut lines = vec![head];
    lines.extend(calls.iter().map(|call| {
        salted::line(&CallLine {
            r#type: "call",
            started_at: call.started_at_ms.and_then(time),
            utc_offset_s: call.utc_offset_s,
            offset_source: &call.offset_source,
            zone_offset_s: call.zone_offset_s,
            first_seen_at: time(call.first_seen_at_ms),
            recording: call.path.as_deref(),
            row: serde_json::value::RawValue::from_string(call.row.clone()).unwrap_or_default(),
        })
    }));
    lines.extend(recordings.iter().map(|recording| {
        salted::line(&RecordingLine {
            r#type: "recording",
            path: &recording.path,
            kind: &recording.kind,
            sn: &recording.sn,
            name: Text::from_bytes(&recording.name),
            started_at: time(recording.started_at_ms),
            state: &recording.state,
            reason: recording.reason.as_deref(),
            r#final: recording.is_final,
            attempts: recording.attempts,
            salt: hex(&recording.salt),
        })
    }));
    lines
}

fn time(ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(ms).ok().map(|time| time.to_string())
}
