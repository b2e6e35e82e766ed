//! What is written beside a recording.

use jiff::Timestamp;

use super::told::Told;
use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::base::recording::Text;
use crate::formats::audio::{Audio, Container};
use crate::formats::sidecar::{FileFacts, Program, SCHEMA, SidecarAudio, SidecarCall, SidecarCallRow};
use crate::formats::sidecar::{Sidecar, SidecarPbx, SidecarRecording, SidecarTimes, SidecarVoicemail};
use crate::store::calls::CallOfRecording;
use crate::store::queue::Job;
use crate::store::voicemail::KeptMessage;

/// Rows of further calls in a sidecar take no more than this, or no reader would believe that callvault wrote it.
const OTHER_ROWS_BYTES_MAX: usize = 1 << 20;

/// The sidecar of a recording, as complete as it will ever be: it is never rewritten.
pub(super) fn of(job: &Job, told: &Told, audio: &Audio, suspect: &[&str], now: Timestamp) -> Sidecar {
    let (call, voicemail, times) = match told {
        Told::Calls { calls, beyond } => (call(calls, beyond.count), None, times(job, calls.first())),
        Told::Message { kept, .. } => (None, Some(message(kept)), times_of_message(job, kept)),
    };
    Sidecar {
        schema: SCHEMA.to_owned(),
        pbx: SidecarPbx { id: job.pbx.clone(), sn: job.sn.clone() },
        recording: SidecarRecording { kind: job.kind, name: Text::from_bytes(job.name.as_bytes()) },
        call,
        voicemail,
        times,
        // The archive fills in where and what it really wrote.
        file: FileFacts { path: String::new(), size_bytes: 0, sha256: Digest::of([]) },
        audio: SidecarAudio {
            container: (audio.container != Container::Riff).then(|| audio.container.as_str().to_owned()),
            format: audio.format.as_str().to_owned(),
            tag: audio.tag,
            channels: audio.channels,
            sample_rate_hz: audio.sample_rate,
            bits: audio.bits,
            duration_ms: audio.duration_ms,
            suspect: suspect.iter().map(|odd| (*odd).to_owned()).collect(),
        },
        attempts: job.attempts + 1,
        archived_at: now,
        salt: job.salt,
        origin: None,
        program: Program::this(),
    }
}

fn call(calls: &[CallOfRecording], left_out: u64) -> Option<SidecarCall> {
    let first = calls.first()?;
    let row = |call: &CallOfRecording| SidecarCallRow { identity: call.identity, raw: call.row.clone() };
    let mut bytes = 0;
    let fits = |call: &&CallOfRecording| {
        bytes += usize::try_from(call.row_bytes).unwrap_or(usize::MAX);
        bytes <= OTHER_ROWS_BYTES_MAX
    };
    let other_rows: Vec<_> = calls[1..].iter().take_while(fits).map(row).collect();
    let left_out = left_out + (calls.len() - 1 - other_rows.len()) as u64;
    Some(SidecarCall {
        identity: first.identity,
        raw: first.row.clone(),
        other_rows_left_out: Some(left_out).filter(|count| *count > 0),
        other_rows,
    })
}

fn message(kept: &KeptMessage) -> SidecarVoicemail {
    let Message { extension, date, caller, .. } = kept.message.clone();
    let length_s = kept.message.length_s();
    SidecarVoicemail { extension, date, caller, length_s, status: kept.status.clone(), ordinal: kept.ordinal }
}

fn times_of_message(job: &Job, kept: &KeptMessage) -> SidecarTimes {
    SidecarTimes {
        started_at: job.started_at,
        utc_offset_s: kept.utc_offset_s,
        offset_source: kept.offset_source.clone(),
        zone_offset_s: kept.zone_offset_s,
        local: kept.message.local(),
    }
}

fn times(job: &Job, call: Option<&CallOfRecording>) -> SidecarTimes {
    let local = call.and_then(|call| call.row.cell("timestart").cloned());
    SidecarTimes {
        started_at: job.started_at,
        utc_offset_s: call.map_or(0, |call| call.utc_offset_s),
        offset_source: call.map_or("assumed".to_owned(), |call| call.offset_source.clone()),
        zone_offset_s: call.and_then(|call| call.zone_offset_s),
        local: local.unwrap_or_else(|| Text::Utf8(String::new())),
    }
}

/// Whether a sidecar found on disk is of this recording: what a run left that died before it could say so.
pub(super) fn is_of(sidecar: &Sidecar, job: &Job) -> bool {
    sidecar.pbx.id == job.pbx
        && sidecar.pbx.sn == job.sn
        && sidecar.recording.kind == job.kind
        && sidecar.recording.name == Text::from_bytes(job.name.as_bytes())
}
