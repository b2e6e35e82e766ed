//! What is known of a recording besides its row in the queue.

use sqlx::SqliteConnection;

use crate::audio::{Audio, Suspicion, is_long, suspicions};
use crate::calls::{self, CallOfRecording};
use crate::digest::Digest;
use crate::queue::Job;
use crate::recording::RecordingKind;
use crate::voicemail::{self, KeptMessage};

/// Who told of a recording.
#[derive(Debug, Clone)]
pub(super) enum Told {
    /// The call rows that name it.
    Calls(Vec<CallOfRecording>),
    /// A voicemail box.
    Message {
        kept: KeptMessage,
        /// The audio of archived messages that are alike in all else.
        twins: Vec<Digest>,
    },
}

impl Told {
    /// Reads what is known.
    pub(super) async fn read(db: &mut SqliteConnection, job: &Job) -> anyhow::Result<Self> {
        if job.kind == RecordingKind::Voicemail
            && let Some(kept) = voicemail::of_recording(db, job.id).await?
        {
            let twins = voicemail::twins(db, &job.pbx, &job.sn, &kept.message).await?;
            let others = twins.into_iter().filter(|twin| twin.id != job.id);
            return Ok(Self::Message { kept, twins: others.filter_map(|twin| twin.sha256).collect() });
        }
        Ok(Self::Calls(calls::of_recording(db, job.id).await?))
    }

    /// How long somebody talked: the longest talk time of the rows, or the length of the message.
    pub(super) fn talk_s(&self) -> Option<u64> {
        match self {
            Self::Calls(calls) => {
                let longest = calls.iter().filter_map(|call| call.talk_s).max();
                longest.and_then(|seconds| u64::try_from(seconds).ok())
            }
            Self::Message { kept, .. } => kept.message.length_s(),
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

    /// What is odd about the audio, given what was told of it.
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
