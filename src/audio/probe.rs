//! Follows a WAV file as it passes: its chunks, its declared sizes, the bytes received.

use super::format::{Fmt, u32_at};
use super::silence::Silence;
use super::sizes::{DataChunk, Fit, Sizes};
use super::{Audio, AudioError, SizeMismatch};

/// A header longer than this before the audio is none.
const HEADER_BYTES_MAX: u64 = 64 << 10;

/// `RIFF`, a size, `WAVE`.
const RIFF_BYTES: u64 = 12;

/// A name and a size.
const CHUNK_HEADER_BYTES: u64 = 8;

/// Judges a body that is pushed to it, in memory that does not depend on its size.
#[derive(Debug)]
pub struct AudioProbe {
    received: u64,
    state: State,
    /// The first bytes of the present piece; never more than [`Fmt::BYTES_MAX`].
    piece: Vec<u8>,
    riff_size: u32,
    fmt: Option<Fmt>,
    samples: Option<u32>,
    data: Option<DataChunk>,
    silence: Option<Silence>,
}

#[derive(Debug)]
enum State {
    /// Within the first 12 bytes.
    Riff,
    /// Within the 8 bytes before a chunk.
    ChunkHeader,
    /// Within a chunk, of which so much is left.
    Chunk { id: [u8; 4], left: u64 },
    /// Within the audio, of which so much is left.
    Audio { left: u64 },
    /// Within audio whose size was never filled in.
    OpenAudio,
    /// After the audio: the sizes alone matter.
    Trailing,
    /// It is no WAV file.
    Failed(AudioError),
}

impl Default for AudioProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl AudioProbe {
    /// A probe at the start of a body.
    pub fn new() -> Self {
        Self {
            received: 0,
            state: State::Riff,
            piece: Vec::with_capacity(Fmt::BYTES_MAX),
            riff_size: 0,
            fmt: None,
            samples: None,
            data: None,
            silence: None,
        }
    }

    /// Takes more of the body.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.take(bytes);
            self.received += taken as u64;
            bytes = &bytes[taken..];
            self.advance();
        }
    }

    /// Why the body can no longer become a recording, whatever else comes.
    pub fn rejection(&self) -> Option<&AudioError> {
        if let State::Failed(error) = &self.state { Some(error) } else { None }
    }

    /// How many bytes the body may have by its own header; `None` while unknown or if the header was never finalised.
    pub fn bound(&self) -> Option<u64> {
        self.data.and_then(|data| self.sizes(data).bound())
    }

    /// Judges the body when its last byte has been pushed.
    ///
    /// # Errors
    /// It is not audio, or not as long as it says ([`AudioError::Size`], which tells what the audio is all the same).
    pub fn finish(self) -> Result<Audio, AudioError> {
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        let (Some(fmt), Some(data)) = (self.fmt, self.data) else {
            let is_riff = self.received >= RIFF_BYTES;
            return Err(if is_riff { AudioError::NoData } else { AudioError::NotWav });
        };
        let fit = self.sizes(data).fit();
        let audio = self.audio(&fmt, &fit);
        match fit.mismatch {
            None => Ok(audio),
            Some(kind) => {
                let (declared, received) = (fit.declared, self.received);
                Err(SizeMismatch { kind, declared, received, audio: Box::new(audio) }.into())
            }
        }
    }

    /// Takes what belongs to the present state; returns how many bytes that were.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let wanted = match self.state {
            State::Riff => RIFF_BYTES - self.piece.len() as u64,
            State::ChunkHeader => CHUNK_HEADER_BYTES - self.piece.len() as u64,
            State::Chunk { left, .. } | State::Audio { left } => left,
            State::OpenAudio | State::Trailing | State::Failed(_) => u64::MAX,
        };
        let taken = bytes.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
        let bytes = &bytes[..taken];
        match &mut self.state {
            State::Riff | State::ChunkHeader => self.remember(bytes),
            State::Chunk { left, .. } => {
                *left -= taken as u64;
                self.remember(bytes);
            }
            State::Audio { left } => {
                *left -= taken as u64;
                self.listen(bytes);
            }
            State::OpenAudio => {
                self.remember(bytes);
                self.listen(bytes);
            }
            State::Trailing | State::Failed(_) => {}
        }
        taken
    }

    /// Goes on to the next state if the present one has all it wants.
    fn advance(&mut self) {
        let len = self.piece.len() as u64;
        self.state = match self.state {
            State::Riff if len == RIFF_BYTES => self.read_riff(),
            State::ChunkHeader if len == CHUNK_HEADER_BYTES => self.read_chunk_header(),
            State::Chunk { id, left: 0 } => self.read_chunk(&id),
            State::Audio { left: 0 } => State::Trailing,
            _ => return,
        };
        self.piece.clear();
    }

    fn read_riff(&mut self) -> State {
        self.riff_size = u32_at(&self.piece, 4);
        let is_wav = self.piece.starts_with(b"RIFF") && self.piece.ends_with(b"WAVE");
        if is_wav { State::ChunkHeader } else { State::Failed(AudioError::NotWav) }
    }

    fn read_chunk_header(&mut self) -> State {
        let size = u32_at(&self.piece, 4);
        let id = [self.piece[0], self.piece[1], self.piece[2], self.piece[3]];
        if &id == b"data" {
            return self.begin_audio(DataChunk { start: self.received, size });
        }
        let left = u64::from(size).next_multiple_of(2);
        let fits = self.received + left <= HEADER_BYTES_MAX;
        if fits { State::Chunk { id, left } } else { State::Failed(AudioError::NotWav) }
    }

    fn read_chunk(&mut self, id: &[u8; 4]) -> State {
        match id {
            b"fmt " => self.fmt = Fmt::read(&self.piece),
            b"fact" if self.piece.len() >= 4 => self.samples = Some(u32_at(&self.piece, 0)),
            _ => {}
        }
        State::ChunkHeader
    }

    fn begin_audio(&mut self, data: DataChunk) -> State {
        let Some(fmt) = &self.fmt else {
            return State::Failed(AudioError::NoFormat);
        };
        self.silence = Silence::of(fmt);
        self.data = Some(data);
        if data.is_open() { State::OpenAudio } else { State::Audio { left: u64::from(data.size) } }
    }

    /// Keeps the first bytes of a piece.
    fn remember(&mut self, bytes: &[u8]) {
        let room = Fmt::BYTES_MAX - self.piece.len();
        self.piece.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    /// Looks for sound, until there is some.
    fn listen(&mut self, bytes: &[u8]) {
        if let Some(silence) = self.silence.as_mut().filter(|silence| silence.is_silent()) {
            silence.push(bytes);
        }
    }

    fn sizes(&self, data: DataChunk) -> Sizes {
        let after_header = match self.state {
            State::OpenAudio => {
                self.piece.get(..CHUNK_HEADER_BYTES as usize).and_then(|header| header.try_into().ok())
            }
            _ => None,
        };
        Sizes { riff_size: self.riff_size, data, received: self.received, after_header }
    }

    fn audio(&self, fmt: &Fmt, fit: &Fit) -> Audio {
        let empty = fit.data_bytes == 0 && fit.mismatch.is_none();
        let silence = self.silence.as_ref().filter(|_| fit.data_bytes > 0);
        Audio {
            format: fmt.format(),
            tag: fmt.tag,
            channels: fmt.channels,
            sample_rate: fmt.sample_rate,
            bits: fmt.bits,
            duration_ms: fmt.duration_ms(fit.data_bytes, self.samples.filter(|_| !empty)),
            data_bytes: fit.data_bytes,
            declared_bytes: fit.declared,
            received_bytes: self.received,
            silent: silence.map(Silence::is_silent),
            empty,
            riff_size_wrong: fit.riff_size_wrong,
        }
    }
}
