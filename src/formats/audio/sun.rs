//! Sun AU: a header of six numbers, then audio.

use super::AudioError;
use super::format::{Fmt, be32, le32};
use super::silence::Silence;
use super::sizes::{DataChunk, Fit, Sizes};
use super::walk::{End, Found, Next, UNKNOWN, Walker, untold};

/// Bytes that every header has.
pub(super) const HEADER_BYTES: usize = 24;

/// A walk: the header, what stands between, the audio.
#[derive(Debug, Default)]
pub(super) struct Sun {
    fmt: Option<Fmt>,
    data: Option<DataChunk>,
    silence: Option<Silence>,
}

impl Sun {
    fn sizes(&self, received: u64) -> Option<Sizes> {
        let data = self.data?;
        Some(Sizes {
            form_end: None,
            has_form_size: false,
            data,
            received,
            is_chunk_after: false,
            chain_end: None,
            unit: 1,
        })
    }
}

impl Walker for Sun {
    fn step(&mut self, piece: &[u8], at: u64) -> Next {
        if self.fmt.is_some() {
            return Next::Rest;
        }
        let big_endian = piece.starts_with(b".snd");
        let number = |place: usize| if big_endian { be32(piece, place) } else { le32(piece, place) };
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
        if start < at || start > 1 << 20 {
            return Next::Fail;
        }
        let fmt =
            Fmt { tag, bits, channels, sample_rate: number(16), big_endian, signed: true, ..Fmt::default() };
        self.silence = Silence::of(&fmt);
        self.fmt = Some(fmt);
        self.data = Some(DataChunk { start, size: Some(size).filter(|size| *size < u64::from(u32::MAX)) });
        match start - at {
            0 => Next::Rest,
            // The last byte before the audio is the piece after which it begins.
            between => Next::Read { skip: between - 1, want: 1 },
        }
    }

    fn listen(&mut self, bytes: &[u8]) {
        if let Some(silence) = &mut self.silence {
            silence.push(bytes);
        }
    }

    fn bound(&self) -> Option<u64> {
        let data = self.data?;
        data.size.map(|size| data.start.saturating_add(size))
    }

    fn heard(&self) -> Option<(bool, bool)> {
        self.silence.as_ref().map(|silence| (silence.is_silent(), silence.is_one_sided()))
    }

    fn finish(&self, end: End) -> Result<(Fit, Found), AudioError> {
        let (Some(fmt), Some(sizes)) = (&self.fmt, self.sizes(end.received)) else {
            return Err(AudioError::NoData);
        };
        let mut fit = sizes.fit();
        if sizes.data.size.is_none() && fit.mismatch.is_some() {
            fit = untold(end.received, fit.data_bytes);
        }
        let found = Found {
            format: if fmt.tag == 0 { UNKNOWN } else { Some(fmt.format()) },
            channels: fmt.channels,
            sample_rate: fmt.sample_rate,
            bits: fmt.bits,
            duration_ms: fmt.length(fit.data_bytes, None).ms,
        };
        Ok((fit, found))
    }
}
