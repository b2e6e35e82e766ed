//! What a download is: judged from its bytes alone, as they pass, without keeping them.
//!
//! The PBX reports errors as HTTP 200 with JSON, and its replies may have no length: only the sizes within the file
//! tell a whole recording from a cut one (`docs/pbx-api.md` §8). `AudioProbe` reads containers itself, for it must see
//! sizes that contradict each other, which decoders forgive. Names say nothing: what is called `.wav` may be an MP3.

use crate::base::words::words;

mod boxes;
mod chunks;
mod format;
mod frames;
mod ogg;
mod probe;
mod silence;
mod sizes;
#[cfg(test)]
mod tests;

pub use format::AudioFormat;
pub use probe::AudioProbe;

/// Audio may differ so much from the stated time, in milliseconds, without being suspect; a tenth in any case.
const APART_MS: u64 = 5000;
/// In a call shorter than this, in seconds, one side may well have said nothing.
const ONE_SIDED_S_MIN: u64 = 6;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    pub container: Container,
    pub format: AudioFormat,
    /// The codec's number in a WAV file; of an extensible format that of its subformat. 0 in containers that do not
    /// number their codecs.
    pub tag: u16,
    pub channels: u16,
    /// Samples a second and channel; 0 if unknown.
    pub sample_rate: u32,
    /// Bits a sample; 0 for codecs that have no such thing.
    pub bits: u16,
    /// How long it plays, from the data received; `None` if the header does not allow to say.
    pub duration_ms: Option<u64>,
    pub data_bytes: u64,
    /// The length of the file by its own header, in bytes; by its chunks where the RIFF size contradicts them.
    pub declared_bytes: u64,
    /// The length of the file as received, in bytes.
    pub received_bytes: u64,
    /// Whether nothing is to be heard; `None` if that cannot be determined, or if there is no audio at all.
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
    #[error("an audio file that ends within its header")]
    NoData,
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

words! {
    /// In which way the declared and the received length differ.
    pub enum SizeMismatchKind as "mismatch of sizes" {
        Truncated = "is cut off",
        Longer = "is longer than it says",
        /// The header was never finalised: its sizes are 0, or as large as can be.
        Placeholder = "was not finalised",
        /// The header declares what cannot be: twice the audio, or the size of the file for that of the audio.
        Impossible = "counts itself wrongly",
        Untold = "does not tell its length",
    }
}

words! {
    pub enum Suspicion as "suspicion",
    /// What it means, for people.
    meaning: &'static str {
        Short = "short" => "clearly shorter than the talk time",
        /// Clearly longer than the voicemail message. Only the caller can say so.
        Long = "long" => "clearly longer than the message",
        Silent = "silent" => "silent",
        /// A codec that we do not know, so that nobody has checked that it plays.
        UnknownCodec = "unknown_codec" => "in an unknown codec",
        Empty = "empty" => "a header without audio",
        /// The sizes in the header never fit, in two downloads with equal bytes. Only the caller can say so.
        HeaderSize = "header_size" => "sizes in the header that do not fit the audio",
        /// The fields of the header contradict each other, so that the length is not certain.
        HeaderFormat = "header_format" => "a header that contradicts itself",
        /// One channel of two is silent: half a conversation.
        OneSided = "one_sided" => "one side of a stereo call is silent",
        /// It is no WAV file, whatever its name says.
        Container = "container" => "not a WAV file, whatever its name says",
    }
}

impl Suspicion {
    /// The same of a word of the catalog, which a later version may have written.
    pub fn meaning_of(word: &str) -> &'static str {
        word.parse().map_or("unusual in another way", Self::meaning)
    }
}

/// What is odd about audio whose call had `talk_s` seconds of talk, as far as that is known.
///
/// Audio longer than the call is not odd: an attended transfer is one long file.
pub fn suspicions(audio: &Audio, talk_s: Option<u64>) -> Vec<Suspicion> {
    let has_audio = !audio.empty;
    let is_short = |talk_s: u64| audio.duration_ms.is_some_and(|duration_ms| is_short(duration_ms, talk_s));
    let checks = [
        (Suspicion::UnknownCodec, audio.format == AudioFormat::Other),
        (Suspicion::Container, audio.container != Container::Riff),
        (Suspicion::Empty, audio.empty),
        (Suspicion::Short, has_audio && talk_s.is_some_and(is_short)),
        (Suspicion::Silent, has_audio && audio.silent == Some(true)),
        (Suspicion::OneSided, has_audio && audio.one_sided && talk_s >= Some(ONE_SIDED_S_MIN)),
        (Suspicion::HeaderFormat, has_audio && audio.header_disputed),
    ];
    checks.into_iter().filter(|(_, is_odd)| *is_odd).map(|(suspicion, _)| suspicion).collect()
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

/// Bytes of an opening that tell every container apart.
pub(super) const OPENING_BYTES: usize = 12;

/// How a W64 file begins: a GUID that spells `riff`.
pub(super) const W64_RIFF: &[u8; 16] = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00";

words! {
    pub enum Container as "container" {
        /// WAV: what every PBX is expected to deliver.
        Riff = "riff",
        Rifx = "rifx",
        /// WAV with 64-bit sizes in a `ds64` chunk (EBU Tech 3306).
        Rf64 = "rf64",
        /// The same, as ITU-R BS.2088 calls it.
        Bw64 = "bw64",
        W64 = "w64",
        /// Sun AU, also with its bytes the other way round.
        Au = "au",
        Aiff = "aiff",
        Caf = "caf",
        Ogg = "ogg",
        /// MPEG audio of layer II or III, also behind `ID3v2` tags.
        Mp3 = "mp3",
        Adts = "adts",
        /// AMR and AMR-WB (RFC 4867).
        Amr = "amr",
        /// Native FLAC (RFC 9639).
        Flac = "flac",
        /// MP4, M4A and 3GP (ISO 14496-12).
        Mp4 = "mp4",
    }
}

/// Brands of `ftyp` boxes that hold sound. Pictures have the same boxes (`heic`, `avif`) and are no recordings.
const BRANDS: [&[u8]; 14] = [
    b"M4A", b"M4B", b"M4P", b"M4V", b"3gp", b"3g2", b"3ge", b"3gg", b"isom", b"iso", b"mp41", b"mp42",
    b"dash", b"qt  ",
];

impl Container {
    /// Recognises a container by the first 12 bytes; `None` if it is none, or there are too few to tell.
    ///
    /// MPEG and ADTS frames begin with so little that a body may turn out to be something else further on.
    pub fn of(opening: &[u8]) -> Option<Self> {
        if opening.len() < OPENING_BYTES {
            return None;
        }
        Some(match (&opening[..4], &opening[8..12]) {
            (b"RIFF", b"WAVE") => Self::Riff,
            (b"RIFX", b"WAVE") => Self::Rifx,
            (b"RF64", b"WAVE") => Self::Rf64,
            (b"BW64", b"WAVE") => Self::Bw64,
            (b"FORM", b"AIFF" | b"AIFC") => Self::Aiff,
            (b"riff", _) if W64_RIFF.starts_with(&opening[..OPENING_BYTES]) => Self::W64,
            (b".snd" | b"dns.", _) => Self::Au,
            (b"caff", _) if opening[4..8] == [0, 1, 0, 0] => Self::Caf,
            (b"OggS", _) if opening[4] == 0 => Self::Ogg,
            (b"fLaC", _) => Self::Flac,
            ([b'I', b'D', b'3', 2..=4], _) => Self::Mp3,
            (b"#!AM", _) if opening.starts_with(b"#!AMR\n") || opening.starts_with(b"#!AMR-WB\n") => {
                Self::Amr
            }
            (_, brand) if &opening[4..8] == b"ftyp" && is_sound(brand) => Self::Mp4,
            ([0xff, second, ..], _) if second & 0xf6 == 0xf0 => Self::Adts,
            (frame, _) if frames::is_frame(frame) => Self::Mp3,
            _ => return None,
        })
    }

    /// Whether a body of so few bytes may be the beginning of a container that was cut off.
    pub fn may_begin(opening: &[u8]) -> bool {
        let starts: [&[u8]; 12] = [
            b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"riff", b".snd", b"caff", b"OggS", b"fLaC", b"ID3",
            b"#!AMR",
        ];
        let is_short = !opening.is_empty() && opening.len() < OPENING_BYTES;
        is_short && starts.iter().any(|start| start.starts_with(&opening[..opening.len().min(start.len())]))
    }

    /// Whether it consists of a header or chunks around the audio; else of frames, pages or boxes.
    pub(super) fn has_chunks(self) -> bool {
        use Container::{Aiff, Au, Bw64, Caf, Rf64, Riff, Rifx, W64};
        matches!(self, Riff | Rifx | Rf64 | Bw64 | W64 | Aiff | Caf | Au)
    }
}

fn is_sound(brand: &[u8]) -> bool {
    BRANDS.iter().any(|known| brand.starts_with(known))
}
