//! How audio is encoded: the `fmt ` chunk of WAV, and what stands for it in containers of the same kind.

/// A codec; in WAV by its number in the `fmt ` chunk (RFC 2361, Microsoft's `mmreg.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AudioFormat {
    Pcm,
    /// IEEE floating point samples.
    Float,
    /// Microsoft's or IMA's ADPCM.
    Adpcm,
    /// G.711 A-law.
    ALaw,
    /// G.711 µ-law.
    MuLaw,
    /// GSM 06.10 as Microsoft packs it: 65 bytes for 320 samples.
    Gsm610,
    /// G.722.
    G722,
    /// G.726.
    G726,
    /// MPEG audio, layer II or III.
    Mp3,
    Aac,
    Amr,
    AmrWb,
    Flac,
    Opus,
    Vorbis,
    Speex,
    /// Any other number; 0 in containers that do not number their codecs.
    Other(u16),
}

impl AudioFormat {
    /// The codec with a number in WAV.
    pub fn of(tag: u16) -> Self {
        match tag {
            0x0001 => Self::Pcm,
            0x0003 => Self::Float,
            0x0002 | 0x0011 => Self::Adpcm,
            0x0006 => Self::ALaw,
            0x0007 => Self::MuLaw,
            0x0031 => Self::Gsm610,
            0x0045 | 0x0064 => Self::G726,
            0x0065 | 0x028f => Self::G722,
            other => Self::Other(other),
        }
    }

    /// The word used in JSON; an unknown codec is `other`, its number stands beside it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pcm => "pcm",
            Self::Float => "float",
            Self::Adpcm => "adpcm",
            Self::ALaw => "alaw",
            Self::MuLaw => "mulaw",
            Self::Gsm610 => "gsm610",
            Self::G722 => "g722",
            Self::G726 => "g726",
            Self::Mp3 => "mp3",
            Self::Aac => "aac",
            Self::Amr => "amr",
            Self::AmrWb => "amr_wb",
            Self::Flac => "flac",
            Self::Opus => "opus",
            Self::Vorbis => "vorbis",
            Self::Speex => "speex",
            Self::Other(_) => "other",
        }
    }
}

/// The tag that says "look at the subformat".
const EXTENSIBLE: u16 = 0xfffe;

/// What follows the tag in a subformat's GUID if it is a tag at all.
const SUBFORMAT_TAIL: &[u8] = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71";

/// What a header says of the coding of its audio.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fmt {
    /// The number of the codec in WAV; 0 if it has none.
    pub(super) tag: u16,
    pub(super) channels: u16,
    pub(super) sample_rate: u32,
    /// 0 where the container has no such field.
    pub(super) byte_rate: u32,
    /// 0 where the container has no such field.
    pub(super) block_align: u16,
    pub(super) bits: u16,
    /// Samples of each channel in a block; 0 if that is not told.
    pub(super) block_samples: u16,
    /// Whether samples have their highest byte first.
    pub(super) big_endian: bool,
    /// Whether samples of 8 bits are signed.
    pub(super) signed: bool,
    /// Samples of each channel in all, where the description of the format tells.
    pub(super) samples: Option<u64>,
}

impl Fmt {
    /// Bytes of a chunk that are looked at.
    pub(super) const BYTES_MAX: usize = 40;

    /// Reads the first bytes of a `fmt ` chunk; `None` if there are too few.
    pub(super) fn of_wave(chunk: &[u8], big_endian: bool) -> Option<Self> {
        let u16_at = |at: usize| {
            let two: [u8; 2] = chunk.get(at..at + 2)?.try_into().ok()?;
            Some(if big_endian { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
        };
        let u32_at = |at: usize| if big_endian { be32(chunk, at) } else { le32(chunk, at) };
        let mut tag = u16_at(0)?;
        if tag == EXTENSIBLE && chunk.get(26..40) == Some(SUBFORMAT_TAIL) {
            tag = u16_at(24)?;
        }
        Some(Self {
            tag,
            channels: u16_at(2)?,
            sample_rate: u32_at(4),
            byte_rate: u32_at(8),
            block_align: u16_at(12)?,
            bits: u16_at(14).unwrap_or_default(),
            block_samples: u16_at(18).filter(|_| tag != 1).unwrap_or_default(),
            big_endian,
            ..Self::default()
        })
    }

    /// Reads the `COMM` chunk of an AIFF file.
    pub(super) fn of_aiff(chunk: &[u8]) -> Option<Self> {
        let rate = extended(chunk.get(8..18)?);
        let fmt = Self {
            channels: be16(chunk, 0),
            samples: Some(u64::from(be32(chunk, 2))),
            bits: be16(chunk, 6),
            sample_rate: rate,
            big_endian: true,
            signed: true,
            ..Self::default()
        };
        Some(match chunk.get(18..22) {
            None | Some(b"NONE" | b"twos") => Self { tag: 1, ..fmt },
            Some(b"sowt") => Self { tag: 1, big_endian: false, ..fmt },
            Some(b"raw ") => Self { tag: 1, signed: false, ..fmt },
            Some(b"fl32" | b"FL32" | b"fl64" | b"FL64") => Self { tag: 3, ..fmt },
            Some(b"alaw" | b"ALAW") => Self { tag: 6, ..fmt },
            Some(b"ulaw" | b"ULAW") => Self { tag: 7, ..fmt },
            Some(_) => fmt,
        })
    }

    /// Reads the `desc` chunk of a CAF file.
    pub(super) fn of_caf(chunk: &[u8]) -> Option<Self> {
        let rate = f64::from_be_bytes(chunk.get(..8)?.try_into().ok()?);
        let flags = be32(chunk, 12);
        let narrow = |at: usize| u16::try_from(be32(chunk, at)).unwrap_or_default();
        chunk.get(..32)?;
        let tag = match &chunk[8..12] {
            b"lpcm" if flags & 1 == 1 => 3,
            b"lpcm" => 1,
            b"alaw" => 6,
            b"ulaw" => 7,
            _ => 0,
        };
        Some(Self {
            tag,
            // Rates that are none become 0.
            sample_rate: rate.clamp(0.0, f64::from(u32::MAX)) as u32,
            block_align: narrow(16),
            block_samples: narrow(20),
            channels: narrow(24),
            bits: narrow(28),
            big_endian: flags & 2 == 0,
            signed: true,
            ..Self::default()
        })
    }

    pub(super) fn format(&self) -> AudioFormat {
        AudioFormat::of(self.tag)
    }

    /// Bytes of one sample of all channels, by the number of channels and bits alone; `None` if these make no sense or
    /// the codec has no such thing.
    pub(super) fn frame_bytes(&self) -> Option<u64> {
        let channels = Some(u64::from(self.channels)).filter(|channels| (1..=64).contains(channels))?;
        match self.format() {
            AudioFormat::Pcm | AudioFormat::Float if (1..=64).contains(&self.bits) => {
                Some(channels * u64::from(self.bits.div_ceil(8)))
            }
            // One byte a sample by definition, whatever the header has for bits.
            AudioFormat::ALaw | AudioFormat::MuLaw => Some(channels),
            _ => None,
        }
    }
}

/// An 80-bit floating point number as AIFF writes sample rates, as a whole number; 0 if it is none.
fn extended(ten: &[u8]) -> u32 {
    let exponent = i32::from(be16(ten, 0) & 0x7fff) - 16_383 - 63;
    let mantissa = (u64::from(be32(ten, 2)) << 32) | u64::from(be32(ten, 6));
    match exponent {
        -63..=0 => u32::try_from(mantissa.checked_shr(exponent.unsigned_abs()).unwrap_or(0)).unwrap_or(0),
        _ => 0,
    }
}

/// The little-endian number at `at`; 0 if the bytes end before.
pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

/// The big-endian number at `at`; 0 if the bytes end before.
pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

/// The same, of 16 bits.
pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

/// The little-endian number of 64 bits at `at`; 0 if the bytes end before.
pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// The same, big-endian.
pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|found| found.try_into().ok()).unwrap_or([0; N])
}
