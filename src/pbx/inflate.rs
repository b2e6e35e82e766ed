//! Compressed replies: not asked for, but some servers and proxies send them all the same.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{DeflateDecoder, GzDecoder, ZlibDecoder};

use crate::pbx::error::{Failure, Reason};

/// How much compressed data is inflated at a time, in bytes: at most a thousandfold comes out.
const STEP_BYTES: usize = 4096;

/// The most that a byte may become: tables and lists become a tenth or a fiftieth of their size.
const RATIO_MAX: u64 = 200;

/// What may be inflated whatever its ratio, in bytes.
const FREE_BYTES: u64 = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    /// zlib, or bare deflate: servers disagree about which of them `deflate` is.
    Deflate,
    /// A coding that is not read here, by its name.
    Unread(&'static str),
}

impl Coding {
    /// Reads the header `Content-Encoding`. What names no compression (`utf-8`, `binary`) means nothing.
    pub(super) fn of_header(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii().to_ascii_lowercase();
        Some(match value.as_slice() {
            b"gzip" | b"x-gzip" => Self::Gzip,
            b"deflate" => Self::Deflate,
            b"br" => Self::Unread("br"),
            b"zstd" => Self::Unread("zstd"),
            b"compress" | b"x-compress" => Self::Unread("compress"),
            several if several.contains(&b',') => Self::Unread("several in turn"),
            _ => return None,
        })
    }

    /// What a body begins with that is compressed though no header says so.
    pub(super) fn of_opening(bytes: &[u8]) -> Option<Self> {
        bytes.starts_with(b"\x1f\x8b\x08").then_some(Self::Gzip)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Unread(name) => name,
        }
    }
}

pub(super) struct Inflater {
    decoder: Decoder,
    /// Came, but is not inflated yet.
    waiting: Bytes,
    taken: u64,
    inflated: u64,
    bytes_max: u64,
}

enum Decoder {
    Gzip(GzDecoder<Vec<u8>>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Bare(DeflateDecoder<Vec<u8>>),
}

impl Inflater {
    /// For a body that begins with `opening` and may become `bytes_max` bytes.
    pub(super) fn new(coding: Coding, opening: Bytes, bytes_max: u64) -> Result<Self, Failure> {
        let is_zlib = matches!(*opening, [first, second, ..]
            if first & 0x0f == 8 && u16::from_be_bytes([first, second]) % 31 == 0);
        let decoder = match coding {
            Coding::Gzip => Decoder::Gzip(GzDecoder::new(Vec::new())),
            Coding::Deflate if is_zlib => Decoder::Zlib(ZlibDecoder::new(Vec::new())),
            Coding::Deflate => Decoder::Bare(DeflateDecoder::new(Vec::new())),
            Coding::Unread(_) => return Err(refused(coding, "the reply")),
        };
        Ok(Self { decoder, waiting: opening, taken: 0, inflated: 0, bytes_max })
    }

    /// Takes what came. Everything before must have been taken out by [`Inflater::next`].
    pub(super) fn feed(&mut self, bytes: Bytes) {
        self.waiting = bytes;
    }

    /// The next inflated bytes; `None` if more must come.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while !self.waiting.is_empty() {
            let step = self.waiting.split_to(self.waiting.len().min(STEP_BYTES));
            self.taken += step.len() as u64;
            self.decoder.write(&step).map_err(|_| damaged())?;
            if let Some(bytes) = self.take()? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The last inflated bytes, if there are any, once all has come.
    pub(super) fn finish(&mut self) -> Result<Option<Bytes>, Failure> {
        self.decoder.finish().map_err(|_| {
            Failure::new(Reason::Truncated, "the reply breaks off within its compressed data")
        })?;
        self.take()
    }

    fn take(&mut self) -> Result<Option<Bytes>, Failure> {
        let bytes = std::mem::take(self.decoder.output());
        self.inflated += bytes.len() as u64;
        let (inflated, max) = (self.inflated, self.bytes_max);
        if inflated > max {
            let what = format!("the reply inflates to more than the {max} bytes that are due");
            return Err(Failure::new(Reason::Oversize, what));
        }
        if inflated > FREE_BYTES && inflated > self.taken.saturating_mul(RATIO_MAX) {
            let what =
                format!("the reply inflates to more than {RATIO_MAX} times its size, which no list does");
            return Err(Failure::new(Reason::Oversize, what));
        }
        Ok((!bytes.is_empty()).then(|| bytes.into()))
    }
}

impl Decoder {
    /// Inflates a step. What comes after the compressed data is ignored.
    fn write(&mut self, mut step: &[u8]) -> io::Result<()> {
        while !step.is_empty() {
            let count = match self {
                Self::Gzip(decoder) => decoder.write(step)?,
                Self::Zlib(decoder) => decoder.write(step)?,
                Self::Bare(decoder) => decoder.write(step)?,
            };
            if count == 0 {
                break;
            }
            step = &step[count..];
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zlib(decoder) => decoder.try_finish(),
            Self::Bare(decoder) => decoder.try_finish(),
        }
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zlib(decoder) => decoder.get_mut(),
            Self::Bare(decoder) => decoder.get_mut(),
        }
    }
}

fn damaged() -> Failure {
    Failure::new(Reason::Protocol, "the reply is marked as compressed, but cannot be inflated")
}

/// `what` came compressed where that is not accepted.
pub(super) fn refused(coding: Coding, what: &str) -> Failure {
    let name = coding.name();
    Failure::new(Reason::Protocol, format!("{what} came compressed (Content-Encoding: {name})"))
        .with_remedy("callvault asks for nothing compressed: switch it off in the proxy before the PBX")
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Inflates bytes that come in portions of `portion`.
    fn inflate(coding: Coding, bytes: &[u8], portion: usize, bytes_max: u64) -> Result<Vec<u8>, String> {
        let mut portions = bytes.chunks(portion).map(Bytes::copy_from_slice);
        let told = |failure: Failure| failure.reason.to_string();
        let mut inflater = Inflater::new(coding, portions.next().unwrap(), bytes_max).map_err(told)?;
        let mut all = Vec::new();
        loop {
            while let Some(bytes) = inflater.next().map_err(told)? {
                all.extend_from_slice(&bytes);
            }
            match portions.next() {
                Some(bytes) => inflater.feed(bytes),
                None => break,
            }
        }
        all.extend_from_slice(&inflater.finish().map_err(told)?.unwrap_or_default());
        Ok(all)
    }

    #[test]
    fn lists_are_inflated_in_whatever_portions_they_come() {
        let list: String = (0..5000).map(|row| format!("{row},5550142,1003,58\n")).collect();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(list.as_bytes()).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::fast());
        bare.write_all(list.as_bytes()).unwrap();
        let padded = [gzip(list.as_bytes()), b"\0\0".to_vec()].concat();
        for (coding, bytes) in [
            (Coding::Gzip, gzip(list.as_bytes())),
            (Coding::Gzip, padded),
            (Coding::Deflate, zlib.finish().unwrap()),
            (Coding::Deflate, bare.finish().unwrap()),
        ] {
            for portion in [2, 1000, 1 << 20] {
                assert_eq!(
                    inflate(coding, &bytes, portion, 1 << 20).as_deref(),
                    Ok(list.as_bytes()),
                    "{coding:?}"
                );
            }
            assert_eq!(inflate(coding, &bytes, 1000, 1000), Err("oversize".to_owned()));
            assert_eq!(
                inflate(coding, &bytes[..bytes.len() / 2], 1000, 1 << 20),
                Err("truncated".to_owned())
            );
        }
    }

    #[test]
    fn a_bomb_is_given_up_and_other_data_is_not_inflated() {
        let bomb = gzip(&vec![0; 50 << 20]);
        assert_eq!(inflate(Coding::Gzip, &bomb, 1 << 20, 1 << 40), Err("oversize".to_owned()));
        assert_eq!(inflate(Coding::Gzip, b"{\"status\":\"Success\"}", 100, 1000), Err("protocol".to_owned()));
        assert_eq!(inflate(Coding::Unread("br"), b"x", 1, 1), Err("protocol".to_owned()));
        for (header, coding) in [
            ("gzip", Some(Coding::Gzip)),
            (" X-GZIP ", Some(Coding::Gzip)),
            ("utf-8", None),
            ("identity", None),
            ("", None),
            ("gzip, br", Some(Coding::Unread("several in turn"))),
        ] {
            assert_eq!(Coding::of_header(header.as_bytes()), coding, "{header}");
        }
        assert_eq!(Coding::of_opening(b"\x1f\x8b\x08\0"), Some(Coding::Gzip));
        assert_eq!(Coding::of_opening(b"{}"), None);
    }
}
