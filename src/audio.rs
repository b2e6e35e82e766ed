//! What a download is: judged from its bytes alone, as they pass, without keeping them.
//!
//! The PBX reports errors as HTTP 200 with JSON, and its replies may have no length: only the sizes within the WAV
//! tell a whole recording from a cut one (`yeastar-api.md` §8). `AudioProbe` reads RIFF itself, for it must see
//! sizes that contradict each other, which decoders forgive.

mod format;
mod probe;
mod silence;
mod sizes;
#[cfg(test)]
mod tests;

pub use format::AudioFormat;
pub use probe::AudioProbe;

/// Audio may differ so much from the time told, in milliseconds, without being suspect; a tenth in any case.
const APART_MS: u64 = 5000;

/// What is known of a recording's audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    /// The codec.
    pub format: AudioFormat,
    /// The codec's number in the file; of an extensible format that of its subformat.
    pub tag: u16,
    /// Channels.
    pub channels: u16,
    /// Samples a second and channel.
    pub sample_rate: u32,
    /// Bits a sample; 0 for codecs that have no such thing.
    pub bits: u16,
    /// How long it plays, from the data received; `None` if the header does not allow to say.
    pub duration_ms: Option<u64>,
    /// Bytes of audio received.
    pub data_bytes: u64,
    /// The length of the file by its own header, in bytes; by its chunks where the RIFF size contradicts them.
    pub declared_bytes: u64,
    /// The length of the file as received, in bytes.
    pub received_bytes: u64,
    /// Whether nothing is to be heard; `None` if that cannot be told, or if there is no audio at all.
    pub silent: Option<bool>,
    /// Whether it is a header without audio: the PBX has not written the recording yet.
    pub empty: bool,
    /// A remark: the size in the RIFF header is not that of the file, although the audio is complete.
    pub riff_size_wrong: bool,
}

/// Why a body is not a whole recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AudioError {
    /// It is something else.
    #[error("not a WAV file")]
    NotWav,
    /// A WAV file whose codec is not described before the audio.
    #[error("a WAV file without a format")]
    NoFormat,
    /// A WAV file that ends before its audio begins.
    #[error("a WAV file that ends within its header")]
    NoData,
    /// Audio, but not as long as it says.
    #[error(transparent)]
    Size(#[from] SizeMismatch),
}

/// Audio whose length is not the one declared: cut off on the way, or written by a device that never fills it in.
///
/// Two downloads with equal bytes tell the second case from the first; then it is archived as
/// [`Suspicion::HeaderSize`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a WAV file that is {kind}: {declared} bytes declared, {received} received")]
pub struct SizeMismatch {
    /// In which way they differ.
    pub kind: SizeMismatchKind,
    /// The length of the file by its own header, in bytes.
    pub declared: u64,
    /// The length of the file as received, in bytes.
    pub received: u64,
    /// What is known of the audio all the same; its duration is that of the data received.
    pub audio: Box<Audio>,
}

/// In which way the declared and the received length differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeMismatchKind {
    /// Less was received.
    Truncated,
    /// More was received.
    Longer,
    /// The header was never finalised: its sizes are 0 or the largest number.
    Placeholder,
}

impl std::fmt::Display for SizeMismatchKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "cut off",
            Self::Longer => "longer than it says",
            Self::Placeholder => "not finalised",
        })
    }
}

/// Something odd about an archived recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suspicion {
    /// Clearly shorter than the call's talk time.
    Short,
    /// Clearly longer than the voicemail message. Only the caller can say so.
    Long,
    /// Nothing is to be heard.
    Silent,
    /// A codec that we do not know, so that nobody has checked that it plays.
    UnknownCodec,
    /// A header without audio.
    Empty,
    /// The sizes in the header never fit, in two downloads with equal bytes. Only the caller can say so.
    HeaderSize,
}

impl Suspicion {
    /// The word used in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Long => "long",
            Self::Silent => "silent",
            Self::UnknownCodec => "unknown_codec",
            Self::Empty => "empty",
            Self::HeaderSize => "header_size",
        }
    }
}

/// What is odd about audio whose call had `talk_s` seconds of talk, as far as that is known.
///
/// Audio longer than the call is not odd: an attended transfer is one long file.
pub fn suspicions(audio: &Audio, talk_s: Option<u64>) -> Vec<Suspicion> {
    let mut found = Vec::new();
    if matches!(audio.format, AudioFormat::Other(_)) {
        found.push(Suspicion::UnknownCodec);
    }
    if audio.empty {
        found.push(Suspicion::Empty);
        return found;
    }
    if talk_s.zip(audio.duration_ms).is_some_and(|(talk_s, duration_ms)| is_short(duration_ms, talk_s)) {
        found.push(Suspicion::Short);
    }
    if audio.silent == Some(true) {
        found.push(Suspicion::Silent);
    }
    found
}

/// Whether audio is clearly longer than `length_s`, as far as its header tells.
pub fn is_long(audio: &Audio, length_s: u64) -> bool {
    let length_ms = length_s.saturating_mul(1000);
    let most_ms = length_ms.saturating_add(APART_MS.max(length_ms / 10));
    audio.duration_ms.is_some_and(|duration_ms| duration_ms > most_ms)
}

fn is_short(duration_ms: u64, talk_s: u64) -> bool {
    let talk_ms = talk_s.saturating_mul(1000);
    duration_ms < talk_ms.saturating_sub(APART_MS.max(talk_ms / 10))
}
