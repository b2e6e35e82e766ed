//! What the calls or the mailbox say of a recording, and the sidecar that is written from it.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::base::recording::{RecordingKind, Text};
use crate::formats::audio::{Audio, Container, Suspicion, is_long, suspicions};
use crate::formats::raw_row::RawRow;
use crate::formats::sidecar::{
    FileFacts, Program, SCHEMA, Sidecar, SidecarAudio, SidecarCall, SidecarCallRow, SidecarOrigin,
    SidecarPbx, SidecarRecording, SidecarTimes, SidecarVoicemail,
};
use crate::store::calls::{self, CallOfRecording};
use crate::store::queue::Job;
use crate::store::sql::Conn;
use crate::store::voicemail::{self, KeptMessage};

#[derive(Debug, Clone)]
pub(super) enum Evidence {
    Calls {
        /// The first of them, as many as a sidecar tells.
        calls: Vec<CallOfRecording>,
        beyond: Beyond,
    },
    Message {
        kept: KeptMessage,
        /// The audio of archived messages that are alike in all else.
        twins: Vec<Digest>,
    },
}

/// The rows of a recording that its sidecar tells; the call lists of its day tell all.
const ROWS_TOLD_MAX: usize = 256;

/// What the rows come to that a sidecar does not tell.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Beyond {
    pub(super) count: u64,
    talk_s: Option<i64>,
    /// Whether somebody may have talked in one of them.
    may_have_talk: bool,
}

impl Beyond {
    fn add(&mut self, call: &CallOfRecording) {
        self.count += 1;
        self.talk_s = self.talk_s.max(call.talk_s);
        self.may_have_talk |= !is_silent(call);
    }
}

fn is_silent(call: &CallOfRecording) -> bool {
    call.talk_s == Some(0) || is_unanswered(&call.row)
}

impl Evidence {
    pub(super) async fn read(db: &mut Conn, job: &Job) -> Result<Self> {
        if job.kind == RecordingKind::Voicemail
            && let Some(kept) = voicemail::of_recording(db, job.id).await?
        {
            let twins = voicemail::twins(db, &job.pbx, &job.sn, &kept.message).await?;
            let others = twins.into_iter().filter(|twin| twin.id != job.id);
            return Ok(Self::Message { kept, twins: others.filter_map(|twin| twin.sha256).collect() });
        }
        let mut of_calls = Self::of_calls(db, [job]).await?;
        Ok(of_calls.remove(&job.id).unwrap_or(Self::Calls { calls: Vec::new(), beyond: Beyond::default() }))
    }

    /// What the calls say of those of `jobs` that are recordings of calls, by their ids.
    pub(super) async fn of_calls(
        db: &mut Conn,
        jobs: impl IntoIterator<Item = &Job>,
    ) -> Result<BTreeMap<i64, Self>> {
        let of_calls = jobs.into_iter().filter(|job| job.kind == RecordingKind::Call);
        let ids: Vec<i64> = of_calls.map(|job| job.id).collect();
        let mut beyond: BTreeMap<i64, Beyond> = BTreeMap::new();
        let add = |id, call: CallOfRecording| beyond.entry(id).or_default().add(&call);
        let mut calls = calls::of_recordings(db, &ids, ROWS_TOLD_MAX, add).await?;
        let evidence = |id| {
            let beyond = beyond.get(&id).copied().unwrap_or_default();
            (id, Self::Calls { calls: calls.remove(&id).unwrap_or_default(), beyond })
        };
        Ok(ids.into_iter().map(evidence).collect())
    }

    /// How long somebody talked: the longest talk time of the rows, or the length of the message.
    fn talk_s(&self) -> Option<u64> {
        match self {
            Self::Calls { calls, beyond } => {
                let longest = calls.iter().filter_map(|call| call.talk_s).max().max(beyond.talk_s);
                longest.and_then(|seconds| u64::try_from(seconds).ok())
            }
            Self::Message { kept, .. } => kept.message.length_s(),
        }
    }

    /// Whether it is certain that nobody talked, so that a header without audio is all there can be: every row says so,
    /// or tells of a call that was not answered. A talk time that cannot be read, or that nobody tells, proves nothing.
    pub(super) fn proves_no_talk(&self) -> bool {
        match self {
            Self::Calls { calls, beyond } => {
                !calls.is_empty() && calls.iter().all(is_silent) && !beyond.may_have_talk
            }
            Self::Message { kept, .. } => kept.message.length_s() == Some(0),
        }
    }

    /// The same, of a message that was just seen in this folder.
    pub(super) fn seen_in(mut self, status: Option<String>) -> Self {
        if let Self::Message { kept, .. } = &mut self
            && status.is_some()
        {
            kept.status = status;
        }
        self
    }

    /// What is odd about the audio, given what is known of it.
    pub(super) fn suspicions(&self, audio: &Audio) -> Vec<&'static str> {
        let mut found = suspicions(audio, self.talk_s());
        // The recording of a call may be longer than the call; a message is as long as its box says.
        if let Self::Message { kept, .. } = self
            && kept.message.length_s().is_some_and(|length_s| is_long(audio, length_s))
        {
            found.push(Suspicion::Long);
        }
        found.into_iter().map(Suspicion::as_str).collect()
    }
}

/// What a PBX calls the end of a call that nobody took.
const UNANSWERED: [&str; 3] = ["NO ANSWER", "BUSY", "FAILED"];

/// Whether a row says for certain that its call was not answered, and does not tell a talk time that says otherwise.
fn is_unanswered(row: &RawRow) -> bool {
    let text = |name: &str| match row.cell(name) {
        Some(Text::Utf8(text)) => text.trim().to_owned(),
        Some(Text::Bytes { .. }) | None => "?".to_owned(),
    };
    let is_unanswered = UNANSWERED.iter().any(|word| text("status").eq_ignore_ascii_case(word));
    is_unanswered && matches!(&*text("talkduraction"), "" | "0")
}

/// Rows of further calls in a sidecar take no more than this, or no reader would believe that callvault wrote it.
const OTHER_ROWS_BYTES_MAX: usize = 1 << 20;

/// The sidecar of a recording, as complete as it will ever be: it is never rewritten.
pub(super) fn of(
    job: &Job,
    evidence: &Evidence,
    audio: &Audio,
    suspect: &[&str],
    origin: SidecarOrigin,
    now: Timestamp,
) -> Sidecar {
    let (call, voicemail, times) = match evidence {
        Evidence::Calls { calls, beyond } => (call(calls, beyond.count), None, times(job, calls.first())),
        Evidence::Message { kept, .. } => (None, Some(message(kept)), times_of_message(job, kept)),
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
        origin: Some(origin),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn call(status: &str, talk: &str, talk_s: Option<i64>) -> CallOfRecording {
        CallOfRecording {
            identity: Digest::of(b"a call"),
            row: serde_json::from_str(&format!(r#"{{"talkduraction":"{talk}","status":"{status}"}}"#))
                .unwrap(),
            row_bytes: 0,
            talk_s,
            started_at_ms: None,
            utc_offset_s: 0,
            offset_source: "assumed".to_owned(),
            zone_offset_s: None,
        }
    }

    #[test]
    fn only_what_every_row_says_proves_that_nobody_talked() {
        let silent = || call("ANSWERED", "0", Some(0));
        for (calls, is_proven) in [
            (vec![], false),
            (vec![silent()], true),
            (vec![call("ANSWERED", "58", Some(58))], false),
            (vec![call("ANSWERED", "", None)], false),
            (vec![call("ANSWERED", "fifty", None)], false),
            (vec![call("NO ANSWER", "", None)], true),
            (vec![call("Busy ", "0", Some(0))], true),
            (vec![call("NO ANSWER", "0:58", None)], false),
            (vec![call("SOMETHING", "", None)], false),
            (vec![silent(), call("ANSWERED", "", None)], false),
            (vec![silent(), call("FAILED", "", None)], true),
        ] {
            let evidence = Evidence::Calls { calls: calls.clone(), beyond: Beyond::default() };
            assert_eq!(evidence.proves_no_talk(), is_proven, "{calls:?}");
            // One row that a sidecar does not tell counts as much.
            if let Some((last, first)) = calls.split_last() {
                let mut beyond = Beyond::default();
                beyond.add(last);
                let evidence = Evidence::Calls { calls: first.to_vec(), beyond };
                assert_eq!(evidence.proves_no_talk(), is_proven && !first.is_empty(), "{calls:?}");
            }
        }
    }
}
