//! How audio is encoded, by the `fmt ` chunk of WAV and what stands for it elsewhere, and how long it plays.
//!
//! Block align and byte rate are redundant: writers that hard-code one of them (4 for 16-bit mono), or make one of the
//! other, are common, and players pass over both. So the codec's own definition with channels, bits and rate stands
//! unless the `fact` chunk, which is written apart from it, and one of these two agree on something else. The talk time
//! has no voice: the length is what will be held against it, and a recording of which half is missing must not pass
//! because one wrong field makes up for that.

use crate::base::words::words;
use crate::formats::audio::chunks::AU_BYTES;

words! {
    /// A codec; in WAV by its number in the `fmt ` chunk (RFC 2361, Microsoft's `mmreg.h`).
    pub enum AudioFormat as "audio format" {
        Pcm = "pcm",
        Float = "float",
        /// Microsoft's or IMA's ADPCM.
        Adpcm = "adpcm",
        /// G.711 A-law.
        ALaw = "alaw",
        /// G.711 µ-law.
        MuLaw = "mulaw",
        /// GSM 06.10 as Microsoft packs it: 65 bytes for 320 samples.
        Gsm610 = "gsm610",
        G722 = "g722",
        G726 = "g726",
        Mp3 = "mp3",
        Aac = "aac",
        Amr = "amr",
        AmrWb = "amr_wb",
        Flac = "flac",
        Opus = "opus",
        Vorbis = "vorbis",
        Speex = "speex",
        /// Any other, whose number stands beside the word if it has one.
        Other = "other",
    }
}

impl AudioFormat {
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
            _ => Self::Other,
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
    /// Samples of each channel in a block; 0 if unknown.
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
        chunk.get(..14)?;
        let u16_at = |at| if big_endian { be16(chunk, at) } else { u16::from_le_bytes(array(chunk, at)) };
        let u32_at = |at| if big_endian { be32(chunk, at) } else { le32(chunk, at) };
        let is_tagged = u16_at(0) == EXTENSIBLE && chunk.get(26..40) == Some(SUBFORMAT_TAIL);
        let tag = if is_tagged { u16_at(24) } else { u16_at(0) };
        Some(Self {
            tag,
            channels: u16_at(2),
            sample_rate: u32_at(4),
            byte_rate: u32_at(8),
            block_align: u16_at(12),
            bits: u16_at(14),
            block_samples: if tag == 1 { 0 } else { u16_at(18) },
            big_endian,
            ..Self::default()
        })
    }

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

    /// Reads the header of a Sun AU file: the format, where the audio begins, and its size if it is stated.
    pub(super) fn of_au(header: &[u8]) -> Option<(Self, u64, Option<u64>)> {
        let big_endian = header.starts_with(b".snd");
        let number = |place: usize| if big_endian { be32(header, place) } else { le32(header, place) };
        let (start, size) = (u64::from(number(4)), u64::from(number(8)));
        // The number of the same codec in WAV, and its bits.
        let (tag, bits) = match number(12) {
            1 => (7, 8),
            2 => (1, 8),
            3 => (1, 16),
            4 => (1, 24),
            5 => (1, 32),
            6 => (3, 32),
            7 => (3, 64),
            27 => (6, 8),
            _ => (0, 0),
        };
        let channels = u16::try_from(number(20)).unwrap_or_default();
        let fmt = Self {
            tag,
            bits,
            channels,
            sample_rate: number(16),
            big_endian,
            signed: true,
            ..Self::default()
        };
        let size = Some(size).filter(|size| *size < u64::from(u32::MAX));
        (AU_BYTES..=1 << 20).contains(&start).then_some((fmt, start, size))
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

pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

/// The little-endian number of 64 bits at `at`; 0 if the bytes end before.
pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|found| found.try_into().ok()).unwrap_or([0; N])
}

/// Two lengths this close are one, in milliseconds; a tenth in any case.
const ALIKE_MS: u64 = 20;

/// What each part of a header says of the length, in milliseconds; `None` if it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Testimony {
    /// The definition of the codec, with channels, bits and rate.
    pub(super) by_codec: Option<u64>,
    pub(super) by_fact: Option<u64>,
    pub(super) by_block: Option<u64>,
    pub(super) by_rate: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    /// In milliseconds; `None` if nothing tells, or what does contradicts itself.
    pub(super) ms: Option<u64>,
    /// Whether the header contradicts itself so much that the answer is not certain.
    pub(super) is_disputed: bool,
}

pub(super) fn settle(testimony: &Testimony) -> Length {
    let Testimony { by_codec, by_fact, by_block, by_rate } = *testimony;
    let backed = |ms: u64, by: &[Option<u64>]| by.iter().flatten().any(|other| are_alike(ms, *other));
    let certain = |ms| Length { ms, is_disputed: false };
    let disputed = |ms| Length { ms, is_disputed: true };
    let fact_is_backed = by_fact.is_some_and(|ms| backed(ms, &[by_block, by_rate]));
    if let Some(ms) = by_codec {
        let has_others = by_fact.or(by_block).or(by_rate).is_some();
        return match backed(ms, &[by_fact, by_block, by_rate]) || !has_others {
            true => certain(Some(ms)),
            false if fact_is_backed => disputed(by_fact),
            false => disputed(Some(ms)),
        };
    }
    let lengths: Vec<u64> = [by_fact, by_block, by_rate].into_iter().flatten().collect();
    match lengths.first() {
        None => certain(None),
        Some(first) if lengths.iter().all(|ms| are_alike(*first, *ms)) => certain(Some(*first)),
        Some(_) if fact_is_backed => disputed(by_fact),
        Some(_) => disputed(None),
    }
}

fn are_alike(a: u64, b: u64) -> bool {
    a.abs_diff(b) <= ALIKE_MS.max(a.max(b) / 10)
}

impl Fmt {
    /// How long `data_bytes` play; `samples` is what a `fact` chunk says, if all of the audio it counts is there.
    pub(super) fn length(&self, data_bytes: u64, samples: Option<u64>) -> Length {
        settle(&self.testimony(data_bytes, samples))
    }

    fn testimony(&self, data_bytes: u64, samples: Option<u64>) -> Testimony {
        let samples = samples.or(self.samples).filter(|samples| (1..u64::from(u32::MAX)).contains(samples));
        let ms = |frames: u64| frames.saturating_mul(1000).checked_div(u64::from(self.sample_rate));
        let is_linear = matches!(
            self.format(),
            AudioFormat::Pcm | AudioFormat::Float | AudioFormat::ALaw | AudioFormat::MuLaw
        );
        let by_block = data_bytes.checked_div(u64::from(self.block_align)).filter(|_| is_linear);
        Testimony {
            by_codec: self.frames(data_bytes).and_then(ms),
            by_fact: samples.and_then(ms),
            by_block: by_block.and_then(ms),
            by_rate: data_bytes.saturating_mul(1000).checked_div(u64::from(self.byte_rate)),
        }
    }

    /// Samples of each channel by the codec's own definition.
    fn frames(&self, data_bytes: u64) -> Option<u64> {
        let (align, channels) = (u64::from(self.block_align), u64::from(self.channels));
        match self.format() {
            AudioFormat::Gsm610 => match align {
                0 | 65 => Some((data_bytes / 65).saturating_mul(320)),
                // Frames as the standard has them, not packed in pairs.
                33 => Some((data_bytes / 33).saturating_mul(160)),
                _ => None,
            },
            AudioFormat::Adpcm => self.adpcm_frames(data_bytes),
            AudioFormat::G726 if (2..=5).contains(&self.bits) && channels > 0 => {
                Some(data_bytes.saturating_mul(8) / (u64::from(self.bits) * channels))
            }
            AudioFormat::Other if self.block_samples > 0 => {
                Some(data_bytes.checked_div(align)?.saturating_mul(u64::from(self.block_samples)))
            }
            _ => data_bytes.checked_div(self.frame_bytes()?),
        }
    }

    /// Samples of ADPCM: a head of each channel begins every block, then come four bits a sample.
    fn adpcm_frames(&self, data_bytes: u64) -> Option<u64> {
        let (align, channels) = (u64::from(self.block_align), u64::from(self.channels));
        // Microsoft's head holds two samples, IMA's one.
        let (head_bytes, head_samples) = if self.tag == 2 { (7, 2) } else { (4, 1) };
        let head_bytes = head_bytes * channels;
        let in_block =
            |bytes: u64| Some((bytes.checked_sub(head_bytes)? * 2).checked_div(channels)? + head_samples);
        let full = in_block(align)?;
        let rest = in_block(data_bytes.checked_rem(align)?).unwrap_or(0);
        Some(data_bytes.checked_div(align)?.saturating_mul(full).saturating_add(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codec, fact, block and rate in seconds, 0 for nothing; the answer in seconds, and whether it is disputed.
    #[test]
    fn the_best_supported_answer_wins() {
        for ([by_codec, by_fact, by_block, by_rate], seconds, is_disputed) in [
            ([60, 0, 0, 0], 60, false),
            ([60, 60, 60, 60], 60, false),
            // One redundant field is wrong.
            ([60, 0, 30, 60], 60, false),
            ([60, 0, 60, 30], 60, false),
            ([30, 0, 60, 30], 30, false),
            ([60, 30, 60, 60], 60, false),
            ([60, 60, 30, 30], 60, false),
            // Byte rate made of a wrong block align: they are one voice.
            ([60, 0, 30, 30], 60, true),
            ([30, 0, 60, 60], 30, true),
            ([60, 0, 30, 15], 60, true),
            ([60, 30, 0, 0], 60, true),
            // What was written apart and one more say otherwise: bits or channels are wrong.
            ([60, 30, 30, 30], 30, true),
            ([60, 30, 0, 30], 30, true),
            // The codec says nothing.
            ([0, 60, 0, 0], 60, false),
            ([0, 0, 60, 60], 60, false),
            ([0, 0, 0, 60], 60, false),
            ([0, 0, 30, 60], 0, true),
            ([0, 60, 30, 60], 60, true),
            ([0, 60, 0, 57], 60, false),
            ([0, 60, 0, 30], 0, true),
            ([0, 0, 0, 0], 0, false),
        ] {
            let [by_codec, by_fact, by_block, by_rate] =
                [by_codec, by_fact, by_block, by_rate].map(|seconds| (seconds > 0).then_some(seconds * 1000));
            let told = Testimony { by_codec, by_fact, by_block, by_rate };
            let ms = (seconds > 0).then_some(seconds * 1000);
            assert_eq!(settle(&told), Length { ms, is_disputed }, "{told:?}");
        }
    }

    #[test]
    fn no_number_in_a_header_is_too_odd() {
        for tag in [0, 1, 2, 3, 6, 7, 0x11, 0x31, 0x45, 0x65, 0x55, 0xfffe] {
            for number in [0, 1, 2, 33, 64, 65, u16::MAX] {
                for bits in [0, 2, 16, u16::MAX] {
                    let fmt = Fmt {
                        tag,
                        channels: number,
                        sample_rate: u32::from(number) * u32::from(number),
                        byte_rate: u32::from(bits),
                        block_align: number,
                        bits,
                        block_samples: number,
                        ..Fmt::default()
                    };
                    for bytes in [0, 1, 64, 1 << 40, u64::MAX] {
                        for samples in [None, Some(0), Some(1), Some(u64::MAX)] {
                            fmt.length(bytes, samples);
                        }
                    }
                }
            }
        }
    }
}
