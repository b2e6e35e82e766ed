//! Follows a file of chunks as it passes: WAV and its kin, AIFF and CAF; and Sun AU, a header before its audio.

use super::AudioError;
use super::format::{Fmt, be32, be64, le32, le64};
use super::silence::Silence;
use super::sizes::{DataChunk, Sizes};
use crate::formats::audio::{Container, OPENING_BYTES};

/// Chunks before the audio that are longer in all, such as pictures in tags, are none.
const HEADER_BYTES_MAX: u64 = 512 << 20;

/// Bytes that every header of Sun AU has.
pub(super) const AU_BYTES: u64 = 24;

/// A walk through the chunks of a file, in memory that does not depend on their sizes.
#[derive(Debug)]
pub(super) struct Chunks {
    container: Container,
    received: u64,
    state: State,
    /// The first bytes of the present piece; never more than [`Fmt::BYTES_MAX`].
    piece: Vec<u8>,
    form_end: Option<u64>,
    /// Sizes of the audio and samples in a `ds64` chunk.
    long_sizes: Option<(u64, u64)>,
    pub(super) fmt: Option<Fmt>,
    pub(super) samples: Option<u64>,
    data: Option<DataChunk>,
    chain_end: Option<u64>,
    pub(super) silence: Option<Silence>,
}

#[derive(Debug)]
enum State {
    Form,
    ChunkHeader,
    /// Within a chunk of this id, of which so much is left.
    Chunk([u8; 4], u64),
    /// Within what stands before the audio in its own chunk, of which so much is left.
    Prefix(u64),
    /// Within the audio, of which so much is left.
    Audio(u64),
    OpenAudio,
    /// After the audio: the sizes alone matter.
    Trailing,
}

impl Chunks {
    /// A walk from the first byte of a file of this kind.
    pub(super) fn new(container: Container) -> Self {
        Self {
            container,
            received: 0,
            state: State::Form,
            piece: Vec::with_capacity(Fmt::BYTES_MAX),
            form_end: None,
            long_sizes: None,
            fmt: None,
            samples: None,
            data: None,
            chain_end: None,
            silence: None,
        }
    }

    /// Follows the next bytes; fails if the body can no longer become a recording.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), AudioError> {
        while !bytes.is_empty() {
            let taken = self.take(bytes);
            self.received += taken as u64;
            bytes = &bytes[taken..];
            self.advance()?;
        }
        Ok(())
    }

    pub(super) fn sizes(&self) -> Option<Sizes> {
        let data = self.data?;
        Some(Sizes {
            form_end: self.form_end,
            has_form_size: !matches!(self.container, Container::Caf | Container::Au),
            may_go_on: self.container == Container::Caf,
            may_be_open: self.container == Container::Au,
            data,
            received: self.received,
            is_chunk_after: self.is_chunk_after(data),
            chain_end: self.chain_end,
            unit: self.layout()[2],
        })
    }

    /// Bytes of the first header, bytes of a chunk's header, and what chunks are filled up to.
    fn layout(&self) -> [u64; 3] {
        match self.container {
            Container::W64 => [40, 24, 8],
            Container::Au => [AU_BYTES, 8, 1],
            Container::Caf => [8, 12, 1],
            _ => [OPENING_BYTES as u64, 8, 2],
        }
    }

    /// The number of 32 bits at a place of the present piece.
    fn number(&self, at: usize) -> u32 {
        if self.big_endian() { be32(&self.piece, at) } else { le32(&self.piece, at) }
    }

    fn big_endian(&self) -> bool {
        matches!(self.container, Container::Rifx | Container::Aiff | Container::Caf)
    }

    /// Takes what belongs to the present state; returns how many bytes that were.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let [form_bytes, header_bytes, _] = self.layout();
        let wanted = match self.state {
            State::Form => form_bytes - self.piece.len() as u64,
            State::ChunkHeader => header_bytes - self.piece.len() as u64,
            State::Chunk(_, left) | State::Audio(left) | State::Prefix(left) => left,
            State::OpenAudio | State::Trailing => u64::MAX,
        };
        let taken = bytes.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
        let bytes = &bytes[..taken];
        if let State::Chunk(_, left) | State::Prefix(left) | State::Audio(left) = &mut self.state {
            *left -= taken as u64;
        }
        match self.state {
            State::Form | State::ChunkHeader | State::Chunk(..) => self.remember(bytes),
            State::Audio(_) => self.listen(bytes),
            State::OpenAudio => {
                self.remember(bytes);
                self.listen(bytes);
            }
            State::Prefix(_) | State::Trailing => {}
        }
        taken
    }

    /// Goes on to the next state if the present one has all it wants. Chunks without content are passed at once.
    fn advance(&mut self) -> Result<(), AudioError> {
        let [form_bytes, header_bytes, _] = self.layout();
        loop {
            let len = self.piece.len() as u64;
            self.state = match self.state {
                State::Form if len == form_bytes => self.read_form()?,
                State::ChunkHeader if len == header_bytes => self.read_chunk_header()?,
                State::Chunk(id, 0) => self.read_chunk(&id),
                State::Prefix(0) => self.begin_audio(),
                State::Audio(0) if self.container == Container::Caf => State::ChunkHeader,
                State::Audio(0) => State::Trailing,
                _ => return Ok(()),
            };
            self.piece.clear();
        }
    }

    fn read_form(&mut self) -> Result<State, AudioError> {
        if self.container == Container::Au {
            return self.read_au();
        }
        self.form_end = match self.container {
            Container::Caf | Container::Rf64 | Container::Bw64 => None,
            Container::W64 => Some(le64(&self.piece, 16)).filter(|size| *size > self.layout()[0]),
            _ => sized(self.number(4)).map(|size| size + 8),
        };
        let is_wave = self.container != Container::W64 || &self.piece[24..28] == b"wave";
        if is_wave { Ok(State::ChunkHeader) } else { Err(AudioError::NotAudio) }
    }

    /// Six numbers, and what a writer puts between them and the audio.
    fn read_au(&mut self) -> Result<State, AudioError> {
        let (fmt, start, size) = Fmt::of_au(&self.piece).ok_or(AudioError::NotAudio)?;
        self.silence = Silence::of(&fmt);
        self.fmt = Some(fmt);
        self.data = Some(DataChunk { start, size });
        Ok(State::Prefix(start - AU_BYTES))
    }

    fn read_chunk_header(&mut self) -> Result<State, AudioError> {
        let id = [self.piece[0], self.piece[1], self.piece[2], self.piece[3]];
        let size = self.chunk_size();
        if self.data.is_some() {
            // After the audio of a file that does not tell where it ends.
            let end = size.and_then(|size| self.received.checked_add(size));
            self.chain_end = end;
            let state = end.map(|end| State::Chunk(*b"free", end - self.received));
            return Ok(state.unwrap_or(State::Trailing));
        }
        if &id == b"data" || (self.container == Container::Aiff && &id == b"SSND") {
            return self.begin_data(size);
        }
        let left = size.unwrap_or(u64::from(u32::MAX)).checked_next_multiple_of(self.layout()[2]);
        let is_short = |left: &u64| self.received.saturating_add(*left) <= HEADER_BYTES_MAX;
        let left = left.filter(is_short).ok_or(AudioError::NotAudio)?;
        Ok(State::Chunk(id, left))
    }

    /// The size of a chunk's content by its header; `None` if it was never filled in.
    fn chunk_size(&self) -> Option<u64> {
        match self.container {
            Container::W64 => {
                le64(&self.piece, 16).checked_sub(24).filter(|size| i64::try_from(*size).is_ok())
            }
            Container::Caf => Some(be64(&self.piece, 4)).filter(|size| *size != u64::MAX),
            _ => Some(u64::from(self.number(4))),
        }
    }

    fn read_chunk(&mut self, id: &[u8; 4]) -> State {
        match (self.container, id) {
            (Container::Aiff, b"COMM") => self.fmt = Fmt::of_aiff(&self.piece),
            (Container::Caf, b"desc") => self.fmt = Fmt::of_caf(&self.piece),
            (Container::Aiff | Container::Caf, _) => {}
            (_, b"fmt ") => self.fmt = Fmt::of_wave(&self.piece, self.big_endian()),
            (Container::W64, b"fact") if self.piece.len() >= 8 => self.samples = Some(le64(&self.piece, 0)),
            (_, b"fact") if self.piece.len() >= 4 => self.samples = Some(u64::from(self.number(0))),
            (Container::Rf64 | Container::Bw64, b"ds64") if self.piece.len() >= 24 => {
                let stated =
                    |at| Some(le64(&self.piece, at)).filter(|size| *size > 0 && i64::try_from(*size).is_ok());
                self.form_end = stated(0).map(|size| size + 8);
                self.long_sizes = Some((stated(8).unwrap_or(0), stated(16).unwrap_or(0)));
            }
            _ => {}
        }
        State::ChunkHeader
    }

    fn begin_data(&mut self, size: Option<u64>) -> Result<State, AudioError> {
        let fmt = self.fmt.ok_or(AudioError::NoFormat)?;
        let mut size = size.filter(|size| ![0, u64::from(u32::MAX)].contains(size));
        if let (None, Some((bytes, samples))) = (size, self.long_sizes) {
            size = Some(bytes).filter(|bytes| *bytes > 0);
            self.samples = self.samples.or(Some(samples).filter(|samples| *samples > 0));
        }
        let prefix = match self.container {
            Container::Aiff => 8,
            Container::Caf => 4,
            _ => 0,
        };
        self.silence = Silence::of(&fmt);
        let size = size.map(|size| size.saturating_sub(prefix));
        self.data = Some(DataChunk { start: self.received + prefix, size });
        Ok(if prefix > 0 { State::Prefix(prefix) } else { self.begin_audio() })
    }

    fn begin_audio(&self) -> State {
        match self.data.and_then(|data| data.size) {
            Some(left) => State::Audio(left),
            None => State::OpenAudio,
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        let room = Fmt::BYTES_MAX - self.piece.len();
        self.piece.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    fn listen(&mut self, bytes: &[u8]) {
        if let Some(silence) = &mut self.silence {
            silence.push(bytes);
        }
    }

    /// Whether what follows an empty `data` chunk is another chunk, rather than audio.
    fn is_chunk_after(&self, data: DataChunk) -> bool {
        let has_chunks = self.container != Container::Au;
        let is_open = matches!(self.state, State::OpenAudio) && data.size.is_none() && has_chunks;
        let Some(header) = self.piece.get(..8).filter(|_| is_open) else { return false };
        let is_named = header[..4].iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        let size = if self.big_endian() { be32(header, 4) } else { le32(header, 4) };
        is_named && 8 + u64::from(size) <= self.received - data.start
    }
}

/// A size of 32 bits; `None` for what a writer puts there until it knows better.
fn sized(size: u32) -> Option<u64> {
    Some(u64::from(size)).filter(|size| ![0, u64::from(u32::MAX)].contains(size))
}
