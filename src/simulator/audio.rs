//! Recordings as WAV files: made on the fly from blocks that all files share, so that no file is held in memory.

use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::chance::mix;
use super::codec::{a_law, gsm_block, mu_law};
use crate::base::digest::Digest;

/// Bytes of a shared block: whole samples and whole GSM frames (65 bytes) both fit.
const BLOCK_BYTES: usize = 65 * 4032;
/// Samples per second of all that the device records.
pub(super) const SAMPLE_RATE: u32 = 8000;
/// Bytes at the start of the audio that no two files share.
const MARK_BYTES: usize = 8;

/// How the audio inside a WAV file is coded; always 8 kHz, one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WavFormat {
    /// 16-bit PCM, format tag 1.
    Pcm16,
    /// A-law, format tag 6.
    ALaw,
    /// µ-law, format tag 7.
    MuLaw,
    /// GSM 6.10 as Microsoft packs it, format tag 0x31, 65 bytes for 320 samples.
    Gsm,
}

impl WavFormat {
    fn tag(self) -> u16 {
        match self {
            Self::Pcm16 => 1,
            Self::ALaw => 6,
            Self::MuLaw => 7,
            Self::Gsm => 0x31,
        }
    }

    /// Bytes and samples of the smallest unit.
    fn unit(self) -> (u64, u64) {
        match self {
            Self::Pcm16 => (2, 1),
            Self::ALaw | Self::MuLaw => (1, 1),
            Self::Gsm => (65, 320),
        }
    }

    fn header_bytes(self) -> u64 {
        match self {
            Self::Pcm16 => 44,
            Self::ALaw | Self::MuLaw => 58,
            Self::Gsm => 60,
        }
    }

    /// A tone with a little noise, twice over, so that a block can be read from any place in it.
    fn block(self) -> &'static [u8] {
        static BLOCKS: LazyLock<[Vec<u8>; 4]> = LazyLock::new(|| {
            let tone: Vec<i16> = (0..BLOCK_BYTES as u64).map(tone).collect();
            let pcm = tone[..BLOCK_BYTES / 2].iter().flat_map(|sample| sample.to_le_bytes()).collect();
            let a = tone.iter().map(|sample| a_law(*sample)).collect();
            let mu = tone.iter().map(|sample| mu_law(*sample)).collect();
            let mut drawn = 0;
            let mut noise = || {
                drawn += 1;
                mix(3, 1, drawn)
            };
            let gsm = (0..BLOCK_BYTES / 65).flat_map(|_| gsm_block(&mut noise)).collect();
            [pcm, a, mu, gsm].map(|block: Vec<u8>| block.repeat(2))
        });
        &BLOCKS[match self {
            Self::Pcm16 => 0,
            Self::ALaw => 1,
            Self::MuLaw => 2,
            Self::Gsm => 3,
        }]
    }
}

/// A 400 Hz tone that swells and fades, with noise; its period fits the block.
pub(super) fn tone(at: u64) -> i16 {
    let phase = at % 20;
    // A parabola per half wave is near enough to a sine.
    let half = i64::try_from(phase % 10).expect("less than ten");
    let wave = if phase < 10 { half * (10 - half) } else { -half * (10 - half) };
    let swell = i64::try_from(at / 20 % 64).expect("less than 64");
    let noise = i64::try_from(mix(1, 2, at) % 401).expect("less than 401") - 200;
    i16::try_from(wave * (32 + (swell - 32).abs()) * 4 + noise).expect("below 25*64*4+200")
}

/// The audio of one recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimAudio {
    /// A WAV file made on the fly; equal values give equal bytes.
    Generated {
        /// How it is coded.
        format: WavFormat,
        /// About how many bytes the file has; rounded down to whole frames, at least one.
        size_bytes: u64,
        /// What makes it different from every other file.
        key: u64,
    },
    /// These bytes, WAV or not.
    Given(Bytes),
}

impl SimAudio {
    /// A PCM file of about `size_bytes`, told from others by `key`.
    pub fn pcm(size_bytes: u64, key: u64) -> Self {
        Self::Generated { format: WavFormat::Pcm16, size_bytes, key }
    }

    /// The 44 bytes of a WAV file with no audio in it yet.
    pub fn empty_wav() -> Self {
        Self::Given(header(WavFormat::Pcm16, 0, 0).into())
    }

    /// The whole seconds of audio, rounded, at least 1; 0 for given bytes.
    pub fn seconds(&self) -> u32 {
        match self {
            Self::Given(_) => 0,
            Self::Generated { format, size_bytes, .. } => {
                let (_, samples) = measure(*format, *size_bytes);
                let rate = u64::from(SAMPLE_RATE);
                u32::try_from((samples + rate / 2) / rate).unwrap_or(u32::MAX).max(1)
            }
        }
    }

    /// The file's size.
    pub fn len(&self) -> u64 {
        self.source().len()
    }

    /// Whether the file has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The SHA-256 of the file.
    pub fn sha256(&self) -> Digest {
        let source = self.source();
        let mut hasher = Sha256::new();
        let mut at = 0;
        while at < source.len() {
            let chunk = source.chunk(at, BLOCK_BYTES);
            hasher.update(chunk);
            at += chunk.len() as u64;
        }
        hasher.into()
    }

    /// The whole file.
    pub fn to_vec(&self) -> Vec<u8> {
        let source = self.source();
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < source.len() {
            bytes.extend_from_slice(source.chunk(bytes.len() as u64, BLOCK_BYTES));
        }
        bytes
    }

    /// The file as something to read pieces of.
    pub(super) fn source(&self) -> Source {
        match self {
            Self::Given(bytes) => Source::bytes(bytes.clone()),
            Self::Generated { format, size_bytes, key } => Source::generated(*format, *size_bytes, *key),
        }
    }
}

/// Bytes and samples of audio in a file of about `size_bytes`.
fn measure(format: WavFormat, size_bytes: u64) -> (u64, u64) {
    let (unit_bytes, unit_samples) = format.unit();
    let smallest = (MARK_BYTES as u64).div_ceil(unit_bytes);
    let units = (size_bytes.saturating_sub(format.header_bytes()) / unit_bytes).max(smallest);
    (units * unit_bytes, units * unit_samples)
}

/// The chunks before the audio, with the sizes they declare.
fn header(format: WavFormat, data_bytes: u64, samples: u64) -> Vec<u8> {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let (unit_bytes, unit_samples) = format.unit();
    let rate = u64::from(SAMPLE_RATE);
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&narrow(format.header_bytes() - 8 + data_bytes + data_bytes % 2));
    out.extend_from_slice(b"WAVEfmt ");
    let extra = match format {
        WavFormat::Pcm16 => &[][..],
        WavFormat::ALaw | WavFormat::MuLaw => &[0, 0],
        // Two more bytes: 320 samples per block.
        WavFormat::Gsm => &[2, 0, 0x40, 0x01],
    };
    out.extend_from_slice(&narrow(16 + extra.len() as u64));
    out.extend_from_slice(&format.tag().to_le_bytes());
    out.extend_from_slice(&1_u16.to_le_bytes());
    out.extend_from_slice(&narrow(rate));
    out.extend_from_slice(&narrow(rate * unit_bytes / unit_samples));
    out.extend_from_slice(&(unit_bytes as u16).to_le_bytes());
    let bits: u16 = if format == WavFormat::Gsm { 0 } else { unit_bytes as u16 * 8 };
    out.extend_from_slice(&bits.to_le_bytes());
    out.extend_from_slice(extra);
    if format != WavFormat::Pcm16 {
        out.extend_from_slice(b"fact\x04\0\0\0");
        out.extend_from_slice(&narrow(samples));
    }
    out.extend_from_slice(b"data");
    out.extend_from_slice(&narrow(data_bytes));
    out
}

/// Bytes that can be read from any place without being held: a head of its own, then a shared block again and again.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) head: Bytes,
    block: &'static [u8],
    rotation: usize,
    pub(super) repeated_bytes: u64,
    pub(super) pad: bool,
}

impl Source {
    /// These bytes.
    pub(super) fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self { head: bytes.into(), block: &[], rotation: 0, repeated_bytes: 0, pad: false }
    }

    fn generated(format: WavFormat, size_bytes: u64, key: u64) -> Self {
        let (data_bytes, samples) = measure(format, size_bytes);
        let mut head = header(format, data_bytes, samples);
        head.extend_from_slice(&mix(key, 5, key).to_le_bytes());
        let frame = usize::try_from(format.unit().0).expect("at most 65");
        let frames = (BLOCK_BYTES / frame) as u64;
        // The mark is part of the first frame, so the block is entered just behind it.
        let rotation = (mix(key, 6, 0) % frames) as usize * frame + MARK_BYTES;
        Self {
            head: head.into(),
            block: format.block(),
            rotation,
            repeated_bytes: data_bytes - MARK_BYTES as u64,
            pad: data_bytes % 2 == 1,
        }
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> u64 {
        self.head.len() as u64 + self.repeated_bytes + u64::from(self.pad)
    }

    /// Bytes from `at` on: at least one and at most `most`, unless `at` is the end.
    pub(super) fn chunk(&self, at: u64, most: usize) -> &[u8] {
        let head_bytes = self.head.len() as u64;
        if at < head_bytes {
            let from = at as usize;
            return &self.head[from..self.head.len().min(from + most)];
        }
        let at = at - head_bytes;
        if at >= self.repeated_bytes {
            return if self.pad && at == self.repeated_bytes { &[0] } else { &[] };
        }
        let from = ((self.rotation as u64 + at) % BLOCK_BYTES as u64) as usize;
        let length = (self.repeated_bytes - at).min(most.min(BLOCK_BYTES) as u64) as usize;
        let range: Range<usize> = from..from + length;
        &self.block[range]
    }
}
