//! How the audio in a WAV file is encoded: its `fmt ` chunk.

/// A codec, by its number in the `fmt ` chunk (RFC 2361, Microsoft's `mmreg.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AudioFormat {
    /// Linear samples.
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
    /// Any other number.
    Other(u16),
}

impl AudioFormat {
    /// The codec with a number.
    pub fn of(tag: u16) -> Self {
        match tag {
            0x0001 => Self::Pcm,
            0x0003 => Self::Float,
            0x0002 | 0x0011 => Self::Adpcm,
            0x0006 => Self::ALaw,
            0x0007 => Self::MuLaw,
            0x0031 => Self::Gsm610,
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
            Self::Other(_) => "other",
        }
    }
}

/// The tag that says "look at the subformat".
const EXTENSIBLE: u16 = 0xfffe;

/// What follows the tag in a subformat's GUID if it is a tag at all.
const SUBFORMAT_TAIL: &[u8] = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71";

/// Bytes of a GSM block, and the samples in it.
const GSM_BLOCK: (u64, u64) = (65, 320);

/// The `fmt ` chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fmt {
    pub(super) tag: u16,
    pub(super) channels: u16,
    pub(super) sample_rate: u32,
    byte_rate: u32,
    block_align: u16,
    pub(super) bits: u16,
}

impl Fmt {
    /// Bytes of a chunk that are looked at.
    pub(super) const BYTES_MAX: usize = 40;

    /// Reads the chunk's first bytes; `None` if there are too few.
    pub(super) fn read(chunk: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| Some(u16::from_le_bytes(chunk.get(at..at + 2)?.try_into().ok()?));
        let mut tag = u16_at(0)?;
        if tag == EXTENSIBLE && chunk.get(26..40) == Some(SUBFORMAT_TAIL) {
            tag = u16_at(24)?;
        }
        Some(Self {
            tag,
            channels: u16_at(2)?,
            sample_rate: u32_at(chunk, 4),
            byte_rate: u32_at(chunk, 8),
            block_align: u16_at(12)?,
            bits: u16_at(14).unwrap_or_default(),
        })
    }

    pub(super) fn format(&self) -> AudioFormat {
        AudioFormat::of(self.tag)
    }

    /// How long `data_bytes` play; `samples` is what a `fact` chunk says of the whole file.
    pub(super) fn duration_ms(&self, data_bytes: u64, samples: Option<u32>) -> Option<u64> {
        let rate = u64::from(self.sample_rate);
        let frames = match self.format() {
            AudioFormat::Pcm | AudioFormat::Float | AudioFormat::ALaw | AudioFormat::MuLaw => {
                data_bytes.checked_div(self.frame_bytes())
            }
            AudioFormat::Gsm610 if u64::from(self.block_align) == GSM_BLOCK.0 => {
                Some(data_bytes / GSM_BLOCK.0 * GSM_BLOCK.1)
            }
            _ => None,
        };
        let by_frames = frames.and_then(|frames| frames.saturating_mul(1000).checked_div(rate));
        let by_rate = || data_bytes.saturating_mul(1000).checked_div(u64::from(self.byte_rate));
        let by_fact = || (u64::from(samples?) * 1000).checked_div(rate);
        by_frames.or_else(by_rate).or_else(by_fact)
    }

    /// Bytes of one sample of each channel.
    fn frame_bytes(&self) -> u64 {
        match self.block_align {
            0 => u64::from(self.channels) * u64::from(self.bits.div_ceil(8)),
            align => u64::from(align),
        }
    }
}

/// The little-endian number at `at`; 0 if the bytes end before.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).unwrap_or_default();
    u32::from_le_bytes(four)
}
