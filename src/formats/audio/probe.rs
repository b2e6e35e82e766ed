//! Judges a body as it passes: by the chunks of its container, or by a walk from piece to piece, each of which tells where
//! the next one begins.

use crate::formats::audio::chunks::Chunks;
use crate::formats::audio::format::{AudioFormat, Fmt, be32};
use crate::formats::audio::frames::{AmrFrames, Blocks, FRAME_BYTES, Frames, MAGIC_BYTES};
use crate::formats::audio::silence::Silence;
use crate::formats::audio::sizes::{Fit, Sizes};
use crate::formats::audio::{
    Audio, AudioError, Container, OPENING_BYTES, SizeMismatch, SizeMismatchKind, boxes, ogg,
};

/// Judges a body that is pushed to it, in memory that does not depend on its size.
#[derive(Debug)]
pub struct AudioProbe {
    received: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Opening(Vec<u8>),
    Chunks(Container, Box<Chunks>),
    Walk(Container, Box<Walk>),
    Failed(AudioError),
}

impl Default for AudioProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl AudioProbe {
    pub fn new() -> Self {
        Self { received: 0, body: Body::Opening(Vec::with_capacity(OPENING_BYTES)) }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        let Body::Opening(opening) = &mut self.body else { return self.body.push(bytes) };
        let (first, rest) = bytes.split_at(bytes.len().min(OPENING_BYTES - opening.len()));
        opening.extend_from_slice(first);
        if opening.len() == OPENING_BYTES {
            let opening = std::mem::take(opening);
            self.body = Body::of(&opening);
            self.body.push(&opening);
            self.body.push(rest);
        }
    }

    /// Why the body can no longer become a recording, whatever else comes.
    pub fn rejection(&self) -> Option<&AudioError> {
        match &self.body {
            Body::Failed(error) => Some(error),
            Body::Opening(_) | Body::Chunks(..) | Body::Walk(..) => None,
        }
    }

    /// How many bytes the body may have by its own header; `None` while unknown or if the header was never finalised.
    pub fn bound(&self) -> Option<u64> {
        match &self.body {
            Body::Chunks(_, chunks) => chunks.sizes().and_then(Sizes::bound),
            Body::Walk(..) | Body::Opening(_) | Body::Failed(_) => None,
        }
    }

    /// Judges the body when its last byte has been pushed.
    pub fn finish(self) -> Result<Audio, AudioError> {
        let (fit, audio) = match self.body {
            Body::Opening(_) => return Err(AudioError::NotAudio),
            Body::Failed(error) => return Err(error),
            Body::Chunks(container, chunks) => of_chunks(container, &chunks, self.received)?,
            Body::Walk(container, walk) => {
                let (fit, found) = walk.finish()?;
                let audio = audio(container, self.received, &fit, found);
                (fit, audio)
            }
        };
        match fit.mismatch {
            None => Ok(audio),
            Some(kind) => {
                let (declared, received) = (fit.declared, self.received);
                Err(SizeMismatch { kind, declared, received, audio: Box::new(audio) }.into())
            }
        }
    }
}

impl Body {
    fn of(opening: &[u8]) -> Self {
        match Container::of(opening) {
            None => Self::Failed(AudioError::NotAudio),
            Some(container) if container.has_chunks() => {
                Self::Chunks(container, Box::new(Chunks::new(container)))
            }
            Some(container) => Self::Walk(container, Box::new(Walk::new(container))),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let outcome = match self {
            Self::Chunks(_, chunks) => chunks.push(bytes),
            Self::Walk(_, walk) => walk.push(bytes),
            Self::Opening(_) | Self::Failed(_) => Ok(()),
        };
        if let Err(error) = outcome {
            *self = Self::Failed(error);
        }
    }
}

fn of_chunks(container: Container, chunks: &Chunks, received: u64) -> Result<(Fit, Audio), AudioError> {
    let (Some(fmt), Some(sizes)) = (chunks.fmt, chunks.sizes()) else { return Err(AudioError::NoData) };
    let fit = sizes.fit();
    let silence = chunks.silence.as_ref().filter(|_| fit.data_bytes > 0);
    let length =
        fmt.length(fit.data_bytes, chunks.samples.or(fmt.samples).filter(|_| fit.mismatch.is_none()));
    let Fmt { tag, channels, sample_rate, bits, .. } = fmt;
    let found = Found { format: Some(fmt.format()), channels, sample_rate, bits, duration_ms: length.ms };
    let audio = audio(container, received, &fit, found);
    let audio = Audio {
        // Sun AU numbers its codecs in its own way.
        tag: if container == Container::Au { 0 } else { tag },
        duration_ms: audio.duration_ms.map(|ms| if audio.empty { 0 } else { ms }),
        silent: silence.map(Silence::is_silent),
        one_sided: silence.is_some_and(Silence::is_one_sided),
        header_disputed: length.is_disputed && !audio.empty,
        ..audio
    };
    Ok((fit, audio))
}

/// Audio of which nothing is known but its sizes, and what its container says.
fn audio(container: Container, received: u64, fit: &Fit, found: Found) -> Audio {
    Audio {
        container,
        format: found.format.unwrap_or(AudioFormat::Other),
        tag: 0,
        channels: found.channels,
        sample_rate: found.sample_rate,
        bits: found.bits,
        duration_ms: found.duration_ms,
        data_bytes: fit.data_bytes,
        declared_bytes: fit.declared,
        received_bytes: received,
        silent: None,
        one_sided: false,
        empty: fit.data_bytes == 0 && fit.mismatch.is_none(),
        riff_size_wrong: fit.riff_size_wrong,
        header_disputed: false,
    }
}

/// The most bytes of a piece that are looked at.
const PIECE_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Passes over so many bytes, then reads a piece of `want` bytes.
    Read {
        skip: u64,
        want: usize,
    },
    /// Drops so many bytes of the piece, and reads on until it has as many as before.
    Shift(usize),
    Rest,
    Fail,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) received: u64,
    /// Bytes that the last piece announced and that did not come.
    pub(super) owed: u64,
    pub(super) is_between: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    pub(super) format: Option<AudioFormat>,
    pub(super) channels: u16,
    pub(super) sample_rate: u32,
    pub(super) bits: u16,
    pub(super) duration_ms: Option<u64>,
}

pub(super) trait Walker: std::fmt::Debug {
    /// Looks at the piece that it wanted, which ends after `at` bytes of the body.
    fn step(&mut self, piece: &[u8], at: u64) -> Next;
    /// Whether all of it is there, and what it is.
    fn finish(&self, end: End) -> Result<(Fit, Found), AudioError>;
}

#[derive(Debug)]
struct Walk {
    walker: Box<dyn Walker + Send>,
    received: u64,
    skip: u64,
    want: usize,
    piece: Vec<u8>,
    is_rest: bool,
}

impl Walk {
    /// A walk from the first byte of a file of this kind.
    fn new(container: Container) -> Self {
        let (walker, want): (Box<dyn Walker + Send>, usize) = match container {
            Container::Ogg => (Box::new(ogg::Pages::default()), ogg::PAGE_BYTES),
            Container::Adts => (Box::new(Frames::new(true)), FRAME_BYTES),
            Container::Amr => (Box::new(AmrFrames::default()), MAGIC_BYTES),
            Container::Flac => (Box::new(Blocks::default()), 4),
            Container::Mp4 => (Box::new(boxes::Boxes::default()), boxes::HEADER_BYTES),
            _ => (Box::new(Frames::new(false)), FRAME_BYTES),
        };
        Self { walker, received: 0, skip: 0, want, piece: Vec::new(), is_rest: false }
    }

    fn push(&mut self, mut bytes: &[u8]) -> Result<(), AudioError> {
        while !bytes.is_empty() {
            let taken = self.take(bytes);
            self.received += taken as u64;
            bytes = &bytes[taken..];
            while self.piece.len() == self.want && self.skip == 0 && !self.is_rest {
                self.step()?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(Fit, Found), AudioError> {
        let is_between = self.is_rest || (self.piece.is_empty() && self.skip == 0);
        self.walker.finish(End { received: self.received, owed: self.skip, is_between })
    }

    fn take(&mut self, bytes: &[u8]) -> usize {
        if self.is_rest {
            return bytes.len();
        }
        if self.skip > 0 {
            let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= skipped as u64;
            return skipped;
        }
        let taken = bytes.len().min(self.want - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        taken
    }

    fn step(&mut self) -> Result<(), AudioError> {
        match self.walker.step(&self.piece, self.received) {
            Next::Read { skip, want } if (1..=PIECE_BYTES_MAX).contains(&want) => {
                self.piece.clear();
                (self.skip, self.want) = (skip, want);
            }
            Next::Shift(bytes) if (1..=self.piece.len()).contains(&bytes) => drop(self.piece.drain(..bytes)),
            Next::Rest => self.is_rest = true,
            Next::Read { .. } | Next::Shift(_) | Next::Fail => return Err(AudioError::NotAudio),
        }
        Ok(())
    }
}

/// What nothing tells the length of: a transfer that broke off leaves no trace.
pub(super) fn untold(received: u64, data_bytes: u64) -> Fit {
    Fit::mismatch(SizeMismatchKind::Untold, received, data_bytes)
}

/// What was cut off within a piece that announced more.
pub(super) fn cut(end: End, data_bytes: u64) -> Fit {
    // A piece whose own header was cut owes at least a byte.
    let declared = end.received.saturating_add(end.owed.max(1));
    Fit::mismatch(SizeMismatchKind::Truncated, declared, data_bytes)
}

/// A number of 28 bits, seven in each byte, as `ID3v2` writes sizes.
pub(super) fn synchsafe(four: &[u8]) -> u64 {
    let packed = be32(four, 0);
    u64::from(
        (packed & 0x7f)
            | (packed >> 8 & 0x7f) << 7
            | (packed >> 16 & 0x7f) << 14
            | (packed >> 24 & 0x7f) << 21,
    )
}

pub(super) fn ms(samples: u64, rate: u32) -> Option<u64> {
    samples.saturating_mul(1000).checked_div(u64::from(rate))
}
