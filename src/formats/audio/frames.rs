//! Frames and blocks of audio that do not say how much there is in all: MPEG (ISO 11172-3, 13818-3; layers II and III) with
//! the tags around it, AAC in ADTS (13818-7), AMR and AMR-WB (RFC 4867, section 5), and FLAC (RFC 9639).

use crate::formats::audio::AudioError;
use crate::formats::audio::format::{AudioFormat, be32, be64};
use crate::formats::audio::probe::{End, Found, Next, Walker, ms, synchsafe, untold};
use crate::formats::audio::sizes::Fit;

/// Bytes of a frame that tell its length; 7 for ADTS, of which 6 matter.
pub(super) const FRAME_BYTES: usize = 6;
/// So many frames in a row are no coincidence.
const FRAMES_MIN: u64 = 3;
/// Filling after a tag that is longer than this is none.
const FILLING_BYTES_MAX: u64 = 1 << 20;
/// A tag at the start: `ID3`, version, flags, size.
const TAG_BYTES: u64 = 10;

/// kbit/s by index: MPEG 1 layers II and III, MPEG 2 both.
const BITRATES: [[u32; 15]; 3] = [
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// Samples a second of MPEG 1; half of that in version 2, a quarter in 2.5.
const RATES: [u32; 3] = [44_100, 48_000, 32_000];
/// Samples a second of ADTS by index.
const ADTS_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350];

#[derive(Debug, Clone, Copy)]
struct Frame {
    bytes: u64,
    samples: u64,
    rate: u32,
    channels: u16,
}

/// Whether these bytes may begin a frame of MPEG audio.
pub(super) fn is_frame(bytes: &[u8]) -> bool {
    mpeg_frame(bytes).is_some()
}

fn mpeg_frame(head: &[u8]) -> Option<Frame> {
    let &[0xff, second, third, fourth, ..] = head else { return None };
    let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
    // Version 1 is reserved. Layer I never was in use for speech, and looks like the start of a text in UTF-16.
    if second & 0xe0 != 0xe0 || version == 1 || !matches!(layer, 1 | 2) {
        return None;
    }
    let is_first = version == 3;
    let table = if is_first { usize::from(layer == 1) } else { 2 };
    // The index 0 leaves the rate open: then no frame tells where the next one begins.
    let kbits = *BITRATES[table].get(usize::from(third >> 4)).filter(|kbits| **kbits > 0)?;
    let rate = RATES.get(usize::from(third >> 2 & 3))? >> [2, 1, 1, 0][usize::from(version)];
    let samples = if layer == 1 && !is_first { 576 } else { 1152 };
    let padding = u32::from(third >> 1 & 1);
    let bytes = samples / 8 * kbits * 1000 / rate + padding;
    let channels = if fourth >> 6 == 3 { 1 } else { 2 };
    Some(Frame { bytes: u64::from(bytes), samples: u64::from(samples), rate, channels })
}

fn adts_frame(head: &[u8]) -> Option<Frame> {
    let &[0xff, second, third, fourth, fifth, sixth, ..] = head else { return None };
    if second & 0xf6 != 0xf0 {
        return None;
    }
    let rate = *ADTS_RATES.get(usize::from(third >> 2 & 15))?;
    let bytes = u64::from(fourth & 3) << 11 | u64::from(fifth) << 3 | u64::from(sixth >> 5);
    let channels = u16::from((third & 1) << 2 | fourth >> 6);
    Some(Frame { bytes, samples: 1024, rate, channels }).filter(|frame| frame.bytes > 7)
}

#[derive(Debug, Default)]
pub(super) struct Frames {
    /// AAC in ADTS, else MPEG.
    is_adts: bool,
    first: Option<Frame>,
    frames: u64,
    samples: u64,
    data_bytes: u64,
    /// Whether a tag said that audio follows.
    is_tagged: bool,
    /// Bytes between the tag and the first frame.
    filling: u64,
    /// Within the head of a tag: the bytes of the footer that repeats it.
    footer: Option<u64>,
}

impl Frames {
    pub(super) fn new(is_adts: bool) -> Self {
        Self { is_adts, ..Self::default() }
    }

    /// What is no frame: what fills a tag up, a tag at the end, or the end of what can be followed.
    fn pass(&mut self) -> Next {
        if self.frames >= FRAMES_MIN {
            return Next::Rest;
        }
        let is_filling = self.is_tagged && self.frames == 0 && self.filling < FILLING_BYTES_MAX;
        if !is_filling {
            return Next::Fail;
        }
        self.filling += 1;
        Next::Shift(1)
    }
}

impl Walker for Frames {
    fn step(&mut self, piece: &[u8], _at: u64) -> Next {
        if let Some(footer) = self.footer.take() {
            return Next::Read { skip: synchsafe(piece) + footer, want: FRAME_BYTES };
        }
        if self.frames == 0 && piece.starts_with(b"ID3") {
            self.is_tagged = true;
            self.footer = Some(if piece[5] & 0x10 > 0 { TAG_BYTES } else { 0 });
            return Next::Read { skip: 0, want: 4 };
        }
        let frame = if self.is_adts { adts_frame(piece) } else { mpeg_frame(piece) };
        match frame {
            Some(frame) => {
                self.first = self.first.or(Some(frame));
                self.frames += 1;
                self.samples += frame.samples;
                self.data_bytes += frame.bytes;
                Next::Read { skip: frame.bytes.saturating_sub(FRAME_BYTES as u64), want: FRAME_BYTES }
            }
            None => self.pass(),
        }
    }

    fn finish(&self, end: End) -> Result<(Fit, Found), AudioError> {
        let Some(first) = self.first.filter(|_| self.is_tagged || self.frames >= FRAMES_MIN) else {
            return Err(AudioError::NotAudio);
        };
        let found = Found {
            format: Some(if self.is_adts { AudioFormat::Aac } else { AudioFormat::Mp3 }),
            channels: first.channels,
            sample_rate: first.rate,
            duration_ms: ms(self.samples, first.rate),
            ..Found::default()
        };
        Ok((untold(end.received, self.data_bytes.min(end.received)), found))
    }
}

/// `#!AMR\n`; what is longer for wide band is read after it.
pub(super) const MAGIC_BYTES: usize = 6;
/// Bytes of a frame without its first one, by type.
const NARROW: [u8; 16] = [12, 13, 15, 17, 19, 20, 26, 31, 5, 6, 5, 5, 0, 0, 0, 0];
const WIDE: [u8; 16] = [17, 23, 32, 36, 40, 46, 50, 58, 60, 5, 0, 0, 0, 0, 0, 0];
const FRAME_MS: u64 = 20;

#[derive(Debug, Default)]
pub(super) struct AmrFrames {
    is_wide: bool,
    has_begun: bool,
    is_lost: bool,
    frames: u64,
}

impl Walker for AmrFrames {
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

/// Bytes of the first block, `STREAMINFO`, that are looked at.
const STREAM_INFO_BYTES: usize = 18;

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
