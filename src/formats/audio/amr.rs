//! Frames of AMR and AMR-WB in a file (RFC 4867, section 5): nothing tells how many there are.

use super::AudioError;
use super::format::AudioFormat;
use super::sizes::Fit;
use super::walk::{End, Found, Next, Walker, untold};

/// `#!AMR\n`; what is longer for wide band is read after it.
pub(super) const MAGIC_BYTES: usize = 6;
/// Bytes of a frame without its first one, by type.
const NARROW: [u8; 16] = [12, 13, 15, 17, 19, 20, 26, 31, 5, 6, 5, 5, 0, 0, 0, 0];
/// The same of wide band.
const WIDE: [u8; 16] = [17, 23, 32, 36, 40, 46, 50, 58, 60, 5, 0, 0, 0, 0, 0, 0];
const FRAME_MS: u64 = 20;

/// A walk from frame to frame.
#[derive(Debug, Default)]
pub(super) struct Frames {
    is_wide: bool,
    has_begun: bool,
    is_lost: bool,
    frames: u64,
}

impl Walker for Frames {
    fn step(&mut self, piece: &[u8], _at: u64) -> Next {
        if !self.has_begun {
            self.has_begun = true;
            self.is_wide = piece != b"#!AMR\n";
            return Next::Read { skip: if self.is_wide { 3 } else { 0 }, want: 1 };
        }
        // The first bit and the last two are 0 in every frame.
        if piece[0] & 0x83 != 0 {
            self.is_lost = true;
            return if self.frames > 0 { Next::Rest } else { Next::Fail };
        }
        self.frames += 1;
        let kind = usize::from(piece[0] >> 3 & 15);
        Next::Read { skip: u64::from(if self.is_wide { WIDE[kind] } else { NARROW[kind] }), want: 1 }
    }

    fn finish(&self, end: End) -> Result<(Fit, Found), AudioError> {
        let found = Found {
            format: Some(if self.is_wide { AudioFormat::AmrWb } else { AudioFormat::Amr }),
            channels: 1,
            sample_rate: if self.is_wide { 16_000 } else { 8000 },
            bits: 0,
            duration_ms: (!self.is_lost).then_some(self.frames * FRAME_MS),
        };
        Ok((untold(end.received, end.received.saturating_sub(MAGIC_BYTES as u64)), found))
    }
}
