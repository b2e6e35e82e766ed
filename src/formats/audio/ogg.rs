//! Pages of Ogg (RFC 3533). A stream says on its last page that it ends: so a file that was cut off shows it.

use super::AudioError;
use super::format::{AudioFormat, le32, le64};
use super::sizes::Fit;
use crate::formats::audio::probe::{End, Found, Next, Walker, cut, ms, untold};

/// Bytes before the lengths of a page's segments.
pub(super) const PAGE_BYTES: usize = 27;
/// Bytes of a stream's first packet that tell the codec.
const PACKET_BYTES: u64 = 48;
/// Opus counts in these, whatever it was made from (RFC 7845).
const OPUS_RATE: u32 = 48_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Head,
    Lengths,
    /// The start of a first packet, of which so much follows.
    Packet(u64),
}

#[derive(Debug, Default)]
pub(super) struct Pages {
    part: Part,
    begins: bool,
    streams: u32,
    ended: u32,
    found: Found,
    /// Samples that players drop at the start.
    skipped: u64,
    granule: u64,
    data_bytes: u64,
}

impl Pages {
    fn read_head(&mut self, head: &[u8]) -> Next {
        if !head.starts_with(b"OggS") || head[4] != 0 {
            return Next::Fail;
        }
        let flags = head[5];
        self.begins = flags & 2 > 0;
        self.streams += u32::from(self.begins);
        self.ended += u32::from(flags & 4 > 0);
        let granule = le64(head, 6);
        if i64::try_from(granule).is_ok() {
            self.granule = self.granule.max(granule);
        }
        match usize::from(head[26]) {
            0 => Next::Read { skip: 0, want: PAGE_BYTES },
            segments => {
                self.part = Part::Lengths;
                Next::Read { skip: 0, want: segments }
            }
        }
    }

    fn read_lengths(&mut self, lengths: &[u8]) -> Next {
        let bytes: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
        self.data_bytes += bytes;
        let packet = if self.begins { bytes.min(PACKET_BYTES) } else { 0 };
        match usize::try_from(packet) {
            Ok(want) if want > 0 => {
                self.part = Part::Packet(bytes - packet);
                Next::Read { skip: 0, want }
            }
            _ => {
                self.part = Part::Head;
                Next::Read { skip: bytes, want: PAGE_BYTES }
            }
        }
    }

    fn read_packet(&mut self, packet: &[u8]) {
        let at = |at: usize| packet.get(at).copied().unwrap_or_default();
        let (format, channels, sample_rate) = match packet {
            [b'O', b'p', b'u', b's', b'H', ..] => {
                self.skipped = u64::from(le32(packet, 10) & 0xffff);
                (AudioFormat::Opus, u16::from(at(9)), OPUS_RATE)
            }
            [1, b'v', b'o', b'r', b'b', ..] => (AudioFormat::Vorbis, u16::from(at(11)), le32(packet, 12)),
            [b'S', b'p', b'e', b'e', b'x', ..] => {
                let channels = u16::try_from(le32(packet, 48)).unwrap_or_default();
                (AudioFormat::Speex, channels, le32(packet, 36))
            }
            [0x7f, b'F', b'L', b'A', b'C', ..] => {
                let rate = (u32::from(at(27)) << 16 | u32::from(at(28)) << 8 | u32::from(at(29))) >> 4;
                (AudioFormat::Flac, u16::from(at(29) >> 1 & 7) + 1, rate)
            }
            _ => return,
        };
        if self.found.format.is_none() {
            self.found = Found { format: Some(format), channels, sample_rate, ..Found::default() };
        }
    }
}

impl Walker for Pages {
    fn step(&mut self, piece: &[u8], _at: u64) -> Next {
        match self.part {
            Part::Head => self.read_head(piece),
            Part::Lengths => self.read_lengths(piece),
            Part::Packet(left) => {
                self.read_packet(piece);
                self.part = Part::Head;
                Next::Read { skip: left, want: PAGE_BYTES }
            }
        }
    }

    fn finish(&self, end: End) -> Result<(Fit, Found), AudioError> {
        let duration_ms = ms(self.granule.saturating_sub(self.skipped), self.found.sample_rate)
            .filter(|_| self.found.format.is_some());
        let is_at_a_page = end.is_between && self.part == Part::Head;
        let data_bytes = self.data_bytes.min(end.received);
        let fit = match () {
            () if !is_at_a_page => cut(end, data_bytes),
            () if self.ended >= self.streams => Fit::whole(end.received, data_bytes),
            () => untold(end.received, data_bytes),
        };
        Ok((fit, Found { duration_ms, ..self.found }))
    }
}
