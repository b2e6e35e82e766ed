//! What a download is: judged from its bytes alone, as they pass, without keeping them.
//!
//! The PBX reports errors as HTTP 200 with JSON, and its replies may have no length: only the sizes within the file
//! tell a whole recording from a cut one (`docs/pbx-api.md` §8). `AudioProbe` reads containers itself, for it must see
//! sizes that contradict each other, which decoders forgive. Names say nothing: what is called `.wav` may be an MP3.

use crate::base::words::words;

mod amr;
mod boxes;
mod chunks;
mod container;
mod flac;
mod format;
mod length;
mod mpeg;
mod ogg;
mod probe;
mod silence;
mod sizes;
mod sun;
#[cfg(test)]
mod tests;
mod walk;

pub use container::Container;
pub use format::AudioFormat;
pub use probe::AudioProbe;

/// Audio may differ so much from the time told, in milliseconds, without being suspect; a tenth in any case.
const APART_MS: u64 = 5000;
/// In a call shorter than this, in seconds, one side may well have said nothing.
const ONE_SIDED_S_MIN: u64 = 6;

/// What is known of a recording's audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    pub container: Container,
    pub format: AudioFormat,
    /// The codec's number in a WAV file; of an extensible format that of its subformat. 0 in containers that do not
    /// number their codecs.
    pub tag: u16,
    /// Channels; 0 if that is not told.
    pub channels: u16,
    /// Samples a second and channel; 0 if that is not told.
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
    /// Whether one channel of two is silent, and the other is not.
    pub one_sided: bool,
    /// Whether it is a header without audio: the PBX has not written the recording yet.
    pub empty: bool,
    /// A remark: the size in the RIFF header is not that of the file, although the audio is complete.
    pub riff_size_wrong: bool,
    /// Whether the fields of the header contradict each other so much that the length is not certain.
    pub header_disputed: bool,
}

impl Audio {
    /// Whether the file says of itself that exactly these bytes are all of it.
    pub fn is_whole_by_its_own_account(&self) -> bool {
        !self.empty && !self.riff_size_wrong && self.declared_bytes == self.received_bytes
    }
}

/// Why a body is not a whole recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AudioError {
    #[error("it begins like no audio that callvault knows")]
    NotAudio,
    /// A WAV file whose codec is not described before the audio.
    #[error("an audio file that does not name its format")]
    NoFormat,
    /// A file that ends before its audio begins.
    #[error("an audio file that ends within its header")]
    NoData,
    /// Audio, but not as long as it says.
    #[error(transparent)]
    Size(#[from] SizeMismatch),
}

/// Audio that is not proven whole: cut off on the way, written by a device that never fills its sizes in, or in a
/// container that does not tell where it ends.
///
/// Two downloads with equal bytes tell what the PBX has from what was cut off; then it is archived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an audio file that {kind}: {declared} bytes declared, {received} received")]
pub struct SizeMismatch {
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
    Truncated,
    Longer,
    /// The header was never finalised: its sizes are 0, or as large as can be.
    Placeholder,
    /// The header declares what cannot be: twice the audio, or the size of the file for that of the audio.
    Impossible,
    /// The container does not tell its length.
    Untold,
}

impl std::fmt::Display for SizeMismatchKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "is cut off",
            Self::Longer => "is longer than it says",
            Self::Placeholder => "was not finalised",
            Self::Impossible => "counts itself wrongly",
            Self::Untold => "does not tell its length",
        })
    }
}

words! {
    /// Something odd about an archived recording.
    pub enum Suspicion as "suspicion" {
        /// Clearly shorter than the call's talk time.
        Short = "short",
        /// Clearly longer than the voicemail message. Only the caller can say so.
        Long = "long",
        /// Nothing is to be heard.
        Silent = "silent",
        /// A codec that we do not know, so that nobody has checked that it plays.
        UnknownCodec = "unknown_codec",
        /// A header without audio.
        Empty = "empty",
        /// The sizes in the header never fit, in two downloads with equal bytes. Only the caller can say so.
        HeaderSize = "header_size",
        /// The fields of the header contradict each other, so that the length is not certain.
        HeaderFormat = "header_format",
        /// One channel of two is silent: half a conversation.
        OneSided = "one_sided",
        /// It is no WAV file, whatever its name says.
        Container = "container",
    }
}

impl Suspicion {
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Short => "clearly shorter than the talk time",
            Self::Long => "clearly longer than the message",
            Self::Silent => "silent",
            Self::Empty => "a header without audio",
            Self::HeaderSize => "sizes in the header that do not fit the audio",
            Self::HeaderFormat => "a header that contradicts itself",
            Self::OneSided => "one side of a stereo call is silent",
            Self::Container => "not a WAV file, whatever its name says",
            Self::UnknownCodec => "in an unknown codec",
        }
    }

    /// The same of a word of the catalog, which a later version may have written.
    pub fn meaning_of(word: &str) -> &'static str {
        word.parse().map_or("unusual in another way", Self::meaning)
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
    if audio.container != Container::Riff {
        found.push(Suspicion::Container);
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
    if audio.one_sided && talk_s.is_some_and(|talk_s| talk_s >= ONE_SIDED_S_MIN) {
        found.push(Suspicion::OneSided);
    }
    if audio.header_disputed {
        found.push(Suspicion::HeaderFormat);
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
