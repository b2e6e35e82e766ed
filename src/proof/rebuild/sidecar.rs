//! What a sidecar says about its recording and the calls that name it.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

use super::folder::ToldVersions;
use super::found::FoundFile;
use crate::archive::Destination;
use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::base::recording::{RecordingKind, RecordingName};
use crate::formats::cdr::CdrRow;
use crate::formats::raw_row::RawRow;
use crate::formats::sidecar::{Sidecar, SidecarCall, SidecarTimes};
use crate::store::calls::NewCall;
use crate::store::ledger::commitment;

/// Reads the sidecar of the audio at `place`, without the calls that are among `told`.
pub fn read(
    bytes: &[u8],
    sidecar_sha256: Digest,
    place: &str,
    told: &ToldVersions,
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
    let untold = calls.map(|calls| untold(&calls, &sidecar.times, day, told)).unwrap_or_default();
    let (pbx, kind) = (&sidecar.pbx, sidecar.recording.kind);
    Ok(FoundFile {
        commitment: commitment(&sidecar.salt, kind, &pbx.id, &pbx.sn, &name),
        is_displaced: sidecar.file.path != place,
        recording_path: recording_path(&sidecar.file.path, &sidecar.file.sha256),
        sidecar_sha256,
        name,
        day,
        message,
        untold,
        sidecar,
    })
}

/// The path of the recording whose audio is at `path`: other audio of a name lies beside it under a name of its own.
fn recording_path(path: &str, sha256: &Digest) -> String {
    match path.strip_suffix(&format!("~conflict-{}.wav", sha256.short())) {
        Some(stem) => format!("{stem}.wav"),
        None => path.to_owned(),
    }
}

/// The calls of a sidecar that no list has in this version.
fn untold(calls: &SidecarCall, times: &SidecarTimes, day: Date, told: &ToldVersions) -> Vec<NewCall> {
    let first = call(&calls.raw, times, told).map(|call| {
        // The recording is filed under the day of the first row, which may tell no time.
        NewCall { day, started_at: call.started_at.and(Some(times.started_at)), ..call }
    });
    let others = calls.other_rows.iter().map(|row| call(&row.raw, times, told));
    std::iter::once(first).chain(others).flatten().collect()
}

/// A call from its row, with the offset of the recording's first call; `None` if a list has it.
fn call(raw: &RawRow, times: &SidecarTimes, told: &ToldVersions) -> Option<NewCall> {
    let row = CdrRow::from_raw(raw)?;
    let (identity, version) = (row.identity(), row.version());
    if told.contains(&(identity, version)) {
        return None;
    }
    let offset = Offset::from_seconds(times.utc_offset_s).ok()?;
    let instant = |local: DateTime| offset.to_timestamp(local).ok();
    let epoch = || row.epoch().and_then(|epoch| Timestamp::from_second(epoch).ok());
    let started_at = row.local_start().and_then(instant).or_else(epoch);
    let local = row.local_start().or_else(|| Some(offset.to_datetime(started_at?)));
    Some(NewCall {
        identity,
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
    use super::*;

    #[test]
    fn other_audio_of_a_name_belongs_to_the_recording_of_that_name() {
        let sha256 = Digest::of("other");
        let beside = format!("hq/2026/11/16/a~conflict-{}.wav", sha256.short());
        assert_eq!(recording_path(&beside, &sha256), "hq/2026/11/16/a.wav");
        assert_eq!(recording_path(&beside, &Digest::of("x")), beside);
    }
}
