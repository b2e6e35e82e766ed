//! Whether anything is to be heard, and on both sides of a stereo call.

use super::format::{AudioFormat, Fmt};

/// A 16-bit sample this close to the centre is silence: A-law has no quieter code, so this is what its silence decodes to.
const QUIET_16: i32 = 8;

/// The test of samples as they pass: it ends when something was heard on all sides.
#[derive(Debug, Clone)]
pub(super) struct Silence {
    sample: Sample,
    big_endian: bool,
    /// 2 for stereo; else all channels are one.
    sides: usize,
    side: usize,
    /// The start of a sample whose rest has not come.
    carry: Vec<u8>,
    heard: [bool; 2],
}

#[derive(Debug, Clone, Copy)]
enum Sample {
    Pcm8,
    Pcm16,
    Pcm24,
    ALaw,
    MuLaw,
}

impl Silence {
    /// A test for a codec whose silence we can tell.
    pub(super) fn of(fmt: &Fmt) -> Option<Self> {
        let sample = match (fmt.format(), fmt.bits) {
            (AudioFormat::Pcm, 8) if !fmt.signed => Sample::Pcm8,
            (AudioFormat::Pcm, 16) => Sample::Pcm16,
            (AudioFormat::Pcm, 24) => Sample::Pcm24,
            (AudioFormat::ALaw, _) => Sample::ALaw,
            (AudioFormat::MuLaw, _) => Sample::MuLaw,
            _ => return None,
        };
        let sides = if fmt.channels == 2 { 2 } else { 1 };
        Some(Self {
            sample,
            big_endian: fmt.big_endian,
            sides,
            side: 0,
            carry: Vec::new(),
            heard: [false; 2],
        })
    }

    pub(super) fn is_silent(&self) -> bool {
        !self.heard.contains(&true)
    }

    /// Whether one side of two was silent so far, and the other was not.
    pub(super) fn is_one_sided(&self) -> bool {
        self.sides == 2 && self.heard[0] != self.heard[1]
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        let width = self.sample.bytes();
        if !self.carry.is_empty() {
            let (first, rest) = bytes.split_at(bytes.len().min(width - self.carry.len()));
            self.carry.extend_from_slice(first);
            bytes = rest;
            if self.carry.len() == width {
                let sample = std::mem::take(&mut self.carry);
                self.listen(&sample);
            }
        }
        let samples = bytes.chunks_exact(width);
        self.carry.extend_from_slice(samples.remainder());
        for sample in samples {
            if self.has_heard_all() {
                return;
            }
            self.listen(sample);
        }
    }

    fn listen(&mut self, sample: &[u8]) {
        self.heard[self.side] |= !self.sample.is_quiet(sample, self.big_endian);
        self.side = (self.side + 1) % self.sides;
    }

    fn has_heard_all(&self) -> bool {
        self.heard[..self.sides].iter().all(|heard| *heard)
    }
}

impl Sample {
    fn bytes(self) -> usize {
        match self {
            Self::Pcm8 | Self::ALaw | Self::MuLaw => 1,
            Self::Pcm16 => 2,
            Self::Pcm24 => 3,
        }
    }

    /// Whether one sample is at the centre: within 1 of 128 at 8 bits, within 8 of 0 at 16 bits and accordingly at 24,
    /// the quietest code of A-law, the two quietest of µ-law.
    fn is_quiet(self, sample: &[u8], big_endian: bool) -> bool {
        match (self, sample) {
            (Self::Pcm8, &[byte]) => (127..=129).contains(&byte),
            (Self::Pcm16, &[first, second]) => {
                let [low, high] = if big_endian { [second, first] } else { [first, second] };
                i32::from(i16::from_le_bytes([low, high])).abs() <= QUIET_16
            }
            (Self::Pcm24, &[first, middle, third]) => {
                let [low, high] = if big_endian { [third, first] } else { [first, third] };
                (i32::from_le_bytes([0, low, middle, high]) >> 8).abs() <= QUIET_16 << 8
            }
            (Self::ALaw, &[byte]) => matches!(byte, 0xd5 | 0x55),
            (Self::MuLaw, &[byte]) => matches!(byte, 0xff | 0x7f | 0xfe | 0x7e),
            _ => false,
        }
    }
}
