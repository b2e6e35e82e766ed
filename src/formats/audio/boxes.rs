//! Boxes of MP4, M4A and 3GP (ISO 14496-12): each tells its size, and a file without its index cannot be played.

use super::AudioError;
use super::format::{AudioFormat, be32, be64};
use super::sizes::Fit;
use crate::formats::audio::probe::{End, Found, Next, Walker, cut, ms, untold};

pub(super) const HEADER_BYTES: usize = 8;
/// Bytes of an `mvhd` box that tell how long the file plays.
const MOVIE_BYTES: u64 = 32;
/// Bytes of an `stsd` box that name the codec.
const SAMPLE_BYTES: u64 = 16;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Header,
    /// The 64-bit size of a box with this name.
    LongSize([u8; 4]),
    /// The start of an `mvhd` box, of which so much follows.
    Movie(u64),
    /// The same of an `stsd` box.
    Samples(u64),
}

/// A walk from box to box, and into those that lead to the length.
#[derive(Debug, Default)]
pub(super) struct Boxes {
    part: Part,
    has_index: bool,
    data_bytes: u64,
    is_open: bool,
    found: Found,
}

impl Boxes {
    /// Goes on within a box or behind it; its size may be too small for its own header.
    fn enter(&mut self, name: [u8; 4], content: Option<u64>) -> Next {
        let Some(content) = content else { return Next::Fail };
        self.part = Part::Header;
        match &name {
            b"mdat" => self.data_bytes = self.data_bytes.saturating_add(content),
            b"moov" => self.has_index = true,
            _ => {}
        }
        match &name {
            b"moov" | b"trak" | b"mdia" | b"minf" | b"stbl" => Next::Read { skip: 0, want: HEADER_BYTES },
            b"mvhd" if content >= MOVIE_BYTES => {
                self.part = Part::Movie(content - MOVIE_BYTES);
                Next::Read { skip: 0, want: 32 }
            }
            b"stsd" if content >= SAMPLE_BYTES => {
                self.part = Part::Samples(content - SAMPLE_BYTES);
                Next::Read { skip: 0, want: 16 }
            }
            _ => Next::Read { skip: content, want: HEADER_BYTES },
        }
    }

    fn read_header(&mut self, header: &[u8]) -> Next {
        let name = [header[4], header[5], header[6], header[7]];
        match be32(header, 0) {
            0 => {
                // It goes on to the end of the file.
                self.is_open = true;
                Next::Rest
            }
            1 => {
                self.part = Part::LongSize(name);
                Next::Read { skip: 0, want: 8 }
            }
            size => self.enter(name, u64::from(size).checked_sub(HEADER_BYTES as u64)),
        }
    }

    fn read_movie(&mut self, movie: &[u8]) {
        let (scale, duration) = match movie[0] {
            1 => (be32(movie, 20), be64(movie, 24)),
            _ => (be32(movie, 12), u64::from(be32(movie, 16))),
        };
        self.found.duration_ms =
            ms(duration, scale).filter(|_| ![0, u64::from(u32::MAX)].contains(&duration));
    }

    fn read_samples(&mut self, samples: &[u8]) {
        let format = match &samples[12..16] {
            b"mp4a" => AudioFormat::Aac,
            b"samr" => AudioFormat::Amr,
            b"sawb" => AudioFormat::AmrWb,
            b"Opus" => AudioFormat::Opus,
            b"fLaC" => AudioFormat::Flac,
            b"alaw" => AudioFormat::ALaw,
            b"ulaw" => AudioFormat::MuLaw,
            _ => return,
        };
        self.found.format = self.found.format.or(Some(format));
    }
}

impl Walker for Boxes {
    fn step(&mut self, piece: &[u8], _at: u64) -> Next {
        let skip = match self.part {
            Part::Header => return self.read_header(piece),
            Part::LongSize(name) => return self.enter(name, be64(piece, 0).checked_sub(16)),
            Part::Movie(left) => {
                self.read_movie(piece);
                left
            }
            Part::Samples(left) => {
                self.read_samples(piece);
                left
            }
        };
        self.part = Part::Header;
        Next::Read { skip, want: HEADER_BYTES }
    }

    fn finish(&self, end: End) -> Result<(Fit, Found), AudioError> {
        let data_bytes = self.data_bytes.min(end.received);
        let is_at_a_box = end.is_between && self.part == Part::Header;
        let fit = match () {
            () if !is_at_a_box => cut(end, data_bytes),
            () if self.has_index && self.data_bytes > 0 && !self.is_open => {
                Fit::whole(end.received, data_bytes)
            }
            () => untold(end.received, data_bytes),
        };
        Ok((fit, self.found))
    }
}
