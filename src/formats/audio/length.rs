//! How long audio plays, where the fields of a header contradict each other.
//!
//! Block align and byte rate are redundant: writers that hard-code one of them (4 for 16-bit mono), or make one of the
//! other, are common, and players pass over both. So the codec's own definition with channels, bits and rate stands
//! unless the `fact` chunk, which is written apart from it, and one of these two agree on something else. The talk time
//! has no voice: the length is what will be held against it, and a recording of which half is missing must not pass
//! because one wrong field makes up for that.

use super::format::{AudioFormat, Fmt};

/// Two lengths this close are one, in milliseconds; a tenth in any case.
const ALIKE_MS: u64 = 20;

/// What each part of a header says of the length, in milliseconds; `None` if it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Testimony {
    /// The definition of the codec, with channels, bits and rate.
    pub(super) by_codec: Option<u64>,
    /// The number of samples in the `fact` chunk.
    pub(super) by_fact: Option<u64>,
    pub(super) by_block: Option<u64>,
    /// Byte rate.
    pub(super) by_rate: Option<u64>,
}

/// How long audio plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    /// In milliseconds; `None` if nothing tells, or what does contradicts itself.
    pub(super) ms: Option<u64>,
    /// Whether the header contradicts itself so much that the answer is not certain.
    pub(super) is_disputed: bool,
}

pub(super) fn settle(told: &Testimony) -> Length {
    let Testimony { by_codec, by_fact, by_block, by_rate } = *told;
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
    let told: Vec<u64> = [by_fact, by_block, by_rate].into_iter().flatten().collect();
    match told.first() {
        None => certain(None),
        Some(first) if told.iter().all(|ms| are_alike(*first, *ms)) => certain(Some(*first)),
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
            AudioFormat::Other(_) if self.block_samples > 0 => {
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
