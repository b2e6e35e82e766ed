//! The metadata before the audio of a FLAC file (RFC 9639): it tells how many samples there are, but not how many bytes.

use super::AudioError;
use super::format::{AudioFormat, be32, be64};
use super::sizes::Fit;
use super::walk::{End, Found, Next, Walker, ms, untold};

/// Bytes of the first block, `STREAMINFO`, that are looked at.
const STREAM_INFO_BYTES: usize = 18;

/// A walk through the metadata blocks.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    has_begun: bool,
    /// Within `STREAMINFO`: bytes of it, and whether it is the last block.
    info: Option<(u64, bool)>,
    found: Found,
    audio_at: Option<u64>,
}

impl Blocks {
    fn go_on(&mut self, skip: u64, is_last: bool, at: u64) -> Next {
        if is_last {
            self.audio_at = Some(at + skip);
            return Next::Rest;
        }
        Next::Read { skip, want: 4 }
    }
}

impl Walker for Blocks {
    fn step(&mut self, piece: &[u8], at: u64) -> Next {
        if !std::mem::replace(&mut self.has_begun, true) {
            return Next::Read { skip: 0, want: 4 };
        }
        if let Some((bytes, is_last)) = self.info.take() {
            let packed = be64(piece, 10);
            let samples = packed & ((1 << 36) - 1);
            let sample_rate = u32::try_from(packed >> 44).unwrap_or_default();
            self.found = Found {
                format: Some(AudioFormat::Flac),
                channels: (packed >> 41 & 7) as u16 + 1,
                sample_rate,
                bits: (packed >> 36 & 31) as u16 + 1,
                duration_ms: ms(samples, sample_rate).filter(|_| samples > 0),
            };
            return self.go_on(bytes - STREAM_INFO_BYTES as u64, is_last, at);
        }
        let (kind, is_last) = (piece[0] & 0x7f, piece[0] & 0x80 > 0);
        let bytes = u64::from(be32(piece, 0) & 0x00ff_ffff);
        if kind == 0 && self.found.format.is_none() && bytes >= STREAM_INFO_BYTES as u64 {
            self.info = Some((bytes, is_last));
            return Next::Read { skip: 0, want: STREAM_INFO_BYTES };
        }
        // The first block describes the stream; 127 is forbidden, for it would look like a frame.
        if self.found.format.is_none() || kind == 127 {
            return Next::Fail;
        }
        self.go_on(bytes, is_last, at)
    }

    fn finish(&self, end: End) -> Result<(Fit, Found), AudioError> {
        match self.audio_at.filter(|at| end.received > *at) {
            Some(at) => Ok((untold(end.received, end.received - at), self.found)),
            None => Err(AudioError::NoData),
        }
    }
}
