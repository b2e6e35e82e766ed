//! Follows a file of frames, pages or boxes as it passes: everything whose pieces each tell where the next one begins.

use super::container::Container;
use super::format::{AudioFormat, be32};
use super::sizes::Fit;
use super::{AudioError, SizeMismatchKind, amr, boxes, flac, mpeg, ogg, sun};

/// The most bytes of a piece that are looked at.
const PIECE_BYTES_MAX: usize = 256;

/// The codec of what does not name one that we know.
pub(super) const UNKNOWN: Option<AudioFormat> = Some(AudioFormat::Other(0));

/// What a walker wants after a piece.
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
    /// It is no audio after all.
    Fail,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// Bytes received.
    pub(super) received: u64,
    /// Bytes that the last piece announced and that did not come.
    pub(super) owed: u64,
    /// Whether it ended between two pieces.
    pub(super) is_between: bool,
}

/// What a walker makes of a whole body.
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
    /// Looks at what has no pieces.
    fn listen(&mut self, _bytes: &[u8]) {}
    /// How many bytes there may be, if the file says.
    fn bound(&self) -> Option<u64> {
        None
    }
    /// Whether anything is to be heard, and whether only on one side.
    fn heard(&self) -> Option<(bool, bool)> {
        None
    }
    /// Whether all of it is there, and what it is.
    ///
    /// # Errors
    /// It is no audio.
    fn finish(&self, end: End) -> Result<(Fit, Found), AudioError>;
}

#[derive(Debug)]
pub(super) struct Walk {
    walker: Box<dyn Walker + Send>,
    received: u64,
    skip: u64,
    want: usize,
    piece: Vec<u8>,
    is_rest: bool,
    failed: Option<AudioError>,
}

impl Walk {
    /// A walk from the first byte of a file of this kind.
    pub(super) fn new(container: Container) -> Self {
        let (walker, want): (Box<dyn Walker + Send>, usize) = match container {
            Container::Ogg => (Box::new(ogg::Pages::default()), ogg::PAGE_BYTES),
            Container::Adts => (Box::new(mpeg::Frames::adts()), mpeg::FRAME_BYTES),
            Container::Amr => (Box::new(amr::Frames::default()), amr::MAGIC_BYTES),
            Container::Flac => (Box::new(flac::Blocks::default()), 4),
            Container::Mp4 => (Box::new(boxes::Boxes::default()), boxes::HEADER_BYTES),
            Container::Au => (Box::new(sun::Sun::default()), sun::HEADER_BYTES),
            _ => (Box::new(mpeg::Frames::mpeg()), mpeg::FRAME_BYTES),
        };
        Self { walker, received: 0, skip: 0, want, piece: Vec::new(), is_rest: false, failed: None }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.take(bytes);
            self.received += taken as u64;
            bytes = &bytes[taken..];
            while self.piece.len() == self.want && self.skip == 0 && !self.is_done() {
                self.step();
            }
        }
    }

    /// Why the body can no longer become a recording.
    pub(super) fn rejection(&self) -> Option<&AudioError> {
        self.failed.as_ref()
    }

    /// How many bytes there may be, if the file says.
    pub(super) fn bound(&self) -> Option<u64> {
        self.walker.bound()
    }

    /// Whether anything is to be heard, and whether only on one side.
    pub(super) fn heard(&self) -> Option<(bool, bool)> {
        self.walker.heard()
    }

    /// Judges the body at its end.
    ///
    /// # Errors
    /// It is no audio.
    pub(super) fn finish(self) -> Result<(Fit, Found), AudioError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let is_between = self.is_rest || (self.piece.is_empty() && self.skip == 0);
        self.walker.finish(End { received: self.received, owed: self.skip, is_between })
    }

    fn is_done(&self) -> bool {
        self.is_rest || self.failed.is_some()
    }

    fn take(&mut self, bytes: &[u8]) -> usize {
        if self.is_done() {
            if self.is_rest {
                self.walker.listen(bytes);
            }
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

    fn step(&mut self) {
        match self.walker.step(&self.piece, self.received) {
            Next::Read { skip, want } if (1..=PIECE_BYTES_MAX).contains(&want) => {
                self.piece.clear();
                (self.skip, self.want) = (skip, want);
            }
            Next::Shift(bytes) if (1..=self.piece.len()).contains(&bytes) => drop(self.piece.drain(..bytes)),
            Next::Rest => self.is_rest = true,
            Next::Read { .. } | Next::Shift(_) | Next::Fail => self.failed = Some(AudioError::NotAudio),
        }
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
