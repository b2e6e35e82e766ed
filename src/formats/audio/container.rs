//! What audio is packed in, recognised by its first bytes: a recording's name says nothing of that.

use crate::base::words::words;

/// Bytes of an opening that tell every container apart.
pub(super) const OPENING_BYTES: usize = 12;

/// How a W64 file begins: a GUID that spells `riff`.
pub(super) const W64_RIFF: &[u8; 16] = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00";

words! {
    /// The file format around the audio.
    pub enum Container as "container" {
        /// WAV: what every PBX is expected to deliver.
        Riff = "riff",
        /// WAV with big-endian numbers.
        Rifx = "rifx",
        /// WAV with 64-bit sizes in a `ds64` chunk (EBU Tech 3306).
        Rf64 = "rf64",
        /// The same, as ITU-R BS.2088 calls it.
        Bw64 = "bw64",
        /// Sony Wave64.
        W64 = "w64",
        /// Sun AU, also with its bytes the other way round.
        Au = "au",
        /// AIFF and AIFF-C.
        Aiff = "aiff",
        /// Apple's Core Audio Format.
        Caf = "caf",
        /// Ogg (RFC 3533): Opus, Vorbis, Speex or FLAC.
        Ogg = "ogg",
        /// MPEG audio of layer II or III, also behind `ID3v2` tags.
        Mp3 = "mp3",
        /// AAC in ADTS frames.
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
            (frame, _) if super::mpeg::is_frame(frame) => Self::Mp3,
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

    /// Whether it consists of chunks around the audio; else of frames, pages or boxes.
    pub(super) fn has_chunks(self) -> bool {
        matches!(self, Self::Riff | Self::Rifx | Self::Rf64 | Self::Bw64 | Self::W64 | Self::Aiff | Self::Caf)
    }
}

fn is_sound(brand: &[u8]) -> bool {
    BRANDS.iter().any(|known| brand.starts_with(known))
}
