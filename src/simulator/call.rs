//! One row of the device's call report.

use jiff::Timestamp;

use super::audio::SimAudio;

/// A call, or one leg of it: one CDR row, and the audio that it names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SimCall {
    /// `<epoch>.<seq>`; legs of one call share it.
    pub callid: String,
    /// When the call or leg started; `timestart` is this in the device's zone.
    pub start: Timestamp,
    /// Who called.
    pub callfrom: String,
    /// Who was called; `6200(1003)` is an agent of a queue.
    pub callto: String,
    /// Ringing and talking.
    pub call_duration_s: u32,
    /// Talking.
    pub talk_duration_s: u32,
    /// How the row writes the talk time, if not as a number of seconds.
    pub talk_written: Option<String>,
    /// The trunk of an inbound call, else empty.
    pub source_trunk: String,
    /// The trunk of an outbound call, else empty.
    pub destination_trunk: String,
    /// `ANSWERED`, `NO ANSWER`, `BUSY`, `FAILED`, `VOICEMAIL`.
    pub status: String,
    /// `Inbound`, `Outbound`, `Internal`, `Transfer`, `Callback`.
    pub call_type: String,
    /// The PIN that the caller dialled, or empty.
    pub pincode: String,
    /// The name of the recording, any bytes; empty if the call was not recorded.
    pub recording: Vec<u8>,
    /// The number that was dialled from outside, or empty.
    pub did: String,
    /// The audio under that name; `None` if this row adds none, as when the device has deleted it.
    pub audio: Option<SimAudio>,
}

impl SimCall {
    /// How long a recorded call rings.
    pub(super) const RINGS_S: u32 = 5;

    /// An answered inbound call that was recorded as `recording`.
    pub fn recorded(start: Timestamp, seq: u64, recording: impl Into<Vec<u8>>, audio: SimAudio) -> Self {
        let talk_duration_s = audio.seconds();
        Self {
            callid: format!("{}.{seq}", start.as_second()),
            start,
            callfrom: "5550142".to_owned(),
            callto: "1003".to_owned(),
            call_duration_s: talk_duration_s + Self::RINGS_S,
            talk_duration_s,
            source_trunk: "siptrunk1".to_owned(),
            status: "ANSWERED".to_owned(),
            call_type: "Inbound".to_owned(),
            recording: recording.into(),
            did: "5550100".to_owned(),
            audio: Some(audio),
            ..Self::default()
        }
    }

    /// Whether the row belongs to `extension`, also as the agent in `6200(1003)`.
    pub(super) fn concerns(&self, extension: &str) -> bool {
        let agent = self.callto.split_once('(').map(|(_, rest)| rest.trim_end_matches(')'));
        self.callfrom == extension || self.callto == extension || agent == Some(extension)
    }
}
