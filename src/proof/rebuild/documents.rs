//! What single documents of the archive say: sidecars, the lines of call lists, certificates.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

use crate::archive::Destination;
use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::base::recording::{RecordingKind, RecordingName};
use crate::formats::call_lines::{self, CallLine, RecordingLine};
use crate::formats::cdr::CdrRow;
use crate::formats::raw_row::RawRow;
use crate::formats::sidecar::{Sidecar, SidecarCall, SidecarTimes};
use crate::proof::certificate::{Companion, Names, Statement};
use crate::store::calls::NewCall;
use crate::store::ledger::commitment;
use crate::store::scratch::FoundFile;

/// Calls of the lists of a folder, each by identity and version.
pub type ListedVersions = HashSet<(Digest, Digest)>;

#[derive(Debug)]
pub enum Line {
    Call(Box<ListedCall>),
    Recording(RecordingName, Box<RecordingLine>),
    /// An erased line, or a type of a later version.
    Nothing,
}

#[derive(Debug)]
pub struct ListedCall {
    /// Its recording is not known yet.
    pub call: NewCall,
    pub first_seen_at: Timestamp,
    pub recording: Option<String>,
    pub sn: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundCertificate {
    pub(super) sha256: Digest,
    pub(super) names: Names,
    /// Whether it says that nothing was left to be archived or doubted.
    pub(super) is_complete: bool,
    /// What it says of its companion; none of version 0.1.
    pub(super) companion: Option<Companion>,
    pub(super) page_sha256: Option<Digest>,
}

pub(super) fn read_certificate(name: &str, bytes: &[u8]) -> Option<FoundCertificate> {
    let names = Names::of_document(name)?;
    let Statement { complete, names: companion, .. } = Statement::read(bytes).ok()?;
    let sha256 = Digest::of(bytes);
    Some(FoundCertificate { sha256, names, is_complete: complete, companion, page_sha256: None })
}

/// Identity and version of the call in a line; `None` if it is not a call, or damaged.
pub fn version(line: &str) -> Option<(Digest, Digest)> {
    match call_lines::read(line) {
        Ok(call_lines::Line::Call(call)) => call.version(&CdrRow::from_raw(&call.row)?).ok(),
        _ => None,
    }
}

/// Reads a line of the list of `day`; a sentence about what is wrong if it is damaged.
pub fn read_line(line: &str, day: Date) -> Result<Line, String> {
    match call_lines::read(line)? {
        call_lines::Line::Call(line) => Ok(Line::Call(Box::new(listed_call(*line, day)?))),
        call_lines::Line::Recording(line) => {
            let name = line.name.to_bytes().and_then(RecordingName::new).ok_or("its name cannot be read")?;
            Ok(Line::Recording(name, line))
        }
        call_lines::Line::Erased | call_lines::Line::Later => Ok(Line::Nothing),
    }
}

fn listed_call(line: CallLine, day: Date) -> Result<ListedCall, String> {
    let row = CdrRow::from_raw(&line.row).ok_or("its row cannot be read")?;
    let (identity, version) = line.version(&row)?;
    let call = NewCall {
        identity,
        identity_day: row.identity_day(),
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
    Ok(ListedCall { call, first_seen_at: line.first_seen_at, recording: line.recording, sn })
}

/// The day of the recording at `path`, if such a path can be one of this PBX.
pub(super) fn day_of(pbx: &str, path: &str) -> Option<Date> {
    let place = Destination::parse(path).ok()?;
    place.folder().date().filter(|_| place.folder().pbx() == pbx)
}

/// Reads the sidecar of the audio at `place`, without the calls that are among `listed`.
pub fn read_sidecar(
    bytes: &[u8],
    sidecar_sha256: Digest,
    place: &str,
    listed: &ListedVersions,
) -> Result<FoundFile, String> {
    let mut sidecar = Sidecar::from_bytes(bytes).map_err(|error| error.to_string())?;
    let name =
        sidecar.recording.name.to_bytes().and_then(RecordingName::new).ok_or("its recording has no name")?;
    let belongs = Destination::parse(&sidecar.file.path).map_err(|error| error.to_string())?;
    if belongs.folder().pbx() != sidecar.pbx.id || !place.starts_with(&format!("{}/", sidecar.pbx.id)) {
        return Err(format!("it is of pbx `{}`", sidecar.pbx.id.escape_debug()));
    }
    let day = belongs.folder().date().ok_or("its path names no day")?;
    let message = match sidecar.recording.kind {
        RecordingKind::Call => None,
        RecordingKind::Voicemail => Some(Message::from_name(&name).ok_or("its name is that of no message")?),
    };
    let calls = sidecar.call.take();
    let unlisted = calls.map(|calls| unlisted(&calls, &sidecar.times, day, listed)).unwrap_or_default();
    let (pbx, kind) = (&sidecar.pbx, sidecar.recording.kind);
    Ok(FoundFile {
        commitment: commitment(&sidecar.salt, kind, &pbx.id, &pbx.sn, &name),
        is_displaced: sidecar.file.path != place,
        recording_path: recording_path(&sidecar.file.path, &sidecar.file.sha256),
        sidecar_sha256,
        name,
        day,
        message,
        unlisted,
        sidecar,
    })
}

/// The path of the recording whose audio is at `path`: other audio of a name lies beside it under a name of its own.
pub(super) fn recording_path(path: &str, sha256: &Digest) -> String {
    match path.strip_suffix(&format!("~conflict-{}.wav", sha256.short())) {
        Some(stem) => format!("{stem}.wav"),
        None => path.to_owned(),
    }
}

/// The calls of a sidecar that no list has in this version.
fn unlisted(calls: &SidecarCall, times: &SidecarTimes, day: Date, listed: &ListedVersions) -> Vec<NewCall> {
    let first = call(&calls.raw, times, listed).map(|call| {
        // The recording is filed under the day of the first row, which may tell no time.
        NewCall { day, started_at: call.started_at.and(Some(times.started_at)), ..call }
    });
    let others = calls.other_rows.iter().map(|row| call(&row.raw, times, listed));
    std::iter::once(first).chain(others).flatten().collect()
}

/// A call from its row, with the offset of the recording's first call; `None` if a list has it.
fn call(raw: &RawRow, times: &SidecarTimes, listed: &ListedVersions) -> Option<NewCall> {
    let row = CdrRow::from_raw(raw)?;
    let (identity, version) = (row.identity(), row.version());
    if listed.contains(&(identity, version)) {
        return None;
    }
    let offset = Offset::from_seconds(times.utc_offset_s).ok()?;
    let instant = |local: DateTime| offset.to_timestamp(local).ok();
    let epoch = || row.epoch().and_then(|epoch| Timestamp::from_second(epoch).ok());
    let started_at = row.local_start().and_then(instant).or_else(epoch);
    let local = row.local_start().or_else(|| Some(offset.to_datetime(started_at?)));
    Some(NewCall {
        identity,
        identity_day: row.identity_day(),
        version,
        day: local.map_or(Date::constant(1970, 1, 1), |local| local.date()),
        started_at,
        utc_offset_s: times.utc_offset_s,
        offset_source: times.offset_source.clone().into(),
        zone_offset_s: times.zone_offset_s,
        talk_s: row.talkduraction.known().and_then(|seconds| i64::try_from(seconds).ok()),
        answered: row.answered(),
        row: serde_json::to_string(raw).ok()?,
        recording_id: None,
    })
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
            match read_line(&line, date(2026, 11, 16)) {
                Ok(Line::Call(listed)) => listed.call.row,
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
            assert!(read_line(damaged, date(2026, 11, 16)).is_err(), "{damaged}");
            assert!(version(damaged).is_none());
        }
    }

    #[test]
    fn other_audio_of_a_name_belongs_to_the_recording_of_that_name() {
        let sha256 = Digest::of("other");
        let beside = format!("hq/2026/11/16/a~conflict-{}.wav", sha256.short());
        assert_eq!(recording_path(&beside, &sha256), "hq/2026/11/16/a.wav");
        assert_eq!(recording_path(&beside, &Digest::of("x")), beside);
    }

    #[test]
    fn only_the_document_of_a_certificate_tells_whether_the_day_is_complete() {
        let document = br#"{"complete":true,"sums":true,"listed":0,"archived":0,"missing":0,"excluded":0,"pending":0,"stuck":0}"#;
        assert!(read_certificate("certificate-2.json", document).unwrap().is_complete);
        for name in ["certificate-2.json.sig", "certificate-02.json", "certificate-2.html", "calls-1.jsonl"] {
            assert_eq!(read_certificate(name, document), None, "{name}");
        }
        assert_eq!(read_certificate("certificate-1.json", b"{}"), None);
    }
}
