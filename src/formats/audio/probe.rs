//! Judges a body as it passes: by its container's own walk.

use super::chunks::Chunks;
use super::container::{Container, OPENING_BYTES};
use super::format::Fmt;
use super::silence::Silence;
use super::sizes::{Fit, Sizes};
use super::walk::{Found, Walk};
use super::{Audio, AudioError, SizeMismatch};

/// Judges a body that is pushed to it, in memory that does not depend on its size.
#[derive(Debug)]
pub struct AudioProbe {
    received: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// The first bytes: too few to tell.
    Opening(Vec<u8>),
    Chunks(Container, Box<Chunks>),
    /// A file of frames, pages or boxes.
    Walk(Container, Box<Walk>),
    /// It is no audio.
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
        Self { received: 0, body: Body::Opening(Vec::with_capacity(OPENING_BYTES)) }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        let Body::Opening(opening) = &mut self.body else { return self.body.push(bytes) };
        let (first, rest) = bytes.split_at(bytes.len().min(OPENING_BYTES - opening.len()));
        opening.extend_from_slice(first);
        if opening.len() == OPENING_BYTES {
            let opening = std::mem::take(opening);
            self.body = Body::of(&opening);
            self.body.push(&opening);
            self.body.push(rest);
        }
    }

    /// Why the body can no longer become a recording, whatever else comes.
    pub fn rejection(&self) -> Option<&AudioError> {
        match &self.body {
            Body::Opening(_) => None,
            Body::Chunks(_, chunks) => chunks.rejection(),
            Body::Walk(_, walk) => walk.rejection(),
            Body::Failed(error) => Some(error),
        }
    }

    /// How many bytes the body may have by its own header; `None` while unknown or if the header was never finalised.
    pub fn bound(&self) -> Option<u64> {
        match &self.body {
            Body::Chunks(_, chunks) => chunks.sizes().and_then(Sizes::bound),
            Body::Walk(_, walk) => walk.bound(),
            Body::Opening(_) | Body::Failed(_) => None,
        }
    }

    /// Judges the body when its last byte has been pushed.
    ///
    /// # Errors
    /// It is not audio, or not as long as it says ([`AudioError::Size`], which tells what the audio is all the same).
    pub fn finish(self) -> Result<Audio, AudioError> {
        let (fit, audio) = match self.body {
            Body::Opening(_) => return Err(AudioError::NotAudio),
            Body::Failed(error) => return Err(error),
            Body::Chunks(container, chunks) => of_chunks(container, &chunks, self.received)?,
            Body::Walk(container, walk) => of_walk(container, *walk, self.received)?,
        };
        match fit.mismatch {
            None => Ok(audio),
            Some(kind) => {
                let (declared, received) = (fit.declared, self.received);
                Err(SizeMismatch { kind, declared, received, audio: Box::new(audio) }.into())
            }
        }
    }
}

impl Body {
    fn of(opening: &[u8]) -> Self {
        match Container::of(opening) {
            None => Self::Failed(AudioError::NotAudio),
            Some(container) if container.has_chunks() => {
                Self::Chunks(container, Box::new(Chunks::new(container)))
            }
            Some(container) => Self::Walk(container, Box::new(Walk::new(container))),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Chunks(_, chunks) => chunks.push(bytes),
            Self::Walk(_, walk) => walk.push(bytes),
            Self::Opening(_) | Self::Failed(_) => {}
        }
    }
}

fn of_chunks(container: Container, chunks: &Chunks, received: u64) -> Result<(Fit, Audio), AudioError> {
    if let Some(error) = chunks.rejection() {
        return Err(error.clone());
    }
    let (Some(fmt), Some(sizes)) = (chunks.fmt, chunks.sizes()) else { return Err(AudioError::NoData) };
    let fit = sizes.fit();
    let empty = fit.data_bytes == 0 && fit.mismatch.is_none();
    let silence = chunks.silence.as_ref().filter(|_| fit.data_bytes > 0);
    let length =
        fmt.length(fit.data_bytes, chunks.samples.or(fmt.samples).filter(|_| fit.mismatch.is_none()));
    let Fmt { tag, channels, sample_rate, bits, .. } = fmt;
    let audio = Audio {
        container,
        format: fmt.format(),
        tag,
        channels,
        sample_rate,
        bits,
        duration_ms: if empty { Some(0).filter(|_| length.ms.is_some()) } else { length.ms },
        data_bytes: fit.data_bytes,
        declared_bytes: fit.declared,
        received_bytes: received,
        silent: silence.map(Silence::is_silent),
        one_sided: silence.is_some_and(Silence::is_one_sided),
        empty,
        riff_size_wrong: fit.riff_size_wrong,
        header_disputed: length.is_disputed && !empty,
    };
    Ok((fit, audio))
}

fn of_walk(container: Container, walk: Walk, received: u64) -> Result<(Fit, Audio), AudioError> {
    let heard = walk.heard();
    let (fit, found) = walk.finish()?;
    let empty = fit.data_bytes == 0 && fit.mismatch.is_none();
    let heard = heard.filter(|_| fit.data_bytes > 0);
    let Found { format, channels, sample_rate, bits, duration_ms } = found;
    let audio = Audio {
        container,
        format: format.unwrap_or(super::AudioFormat::Other(0)),
        tag: 0,
        channels,
        sample_rate,
        bits,
        duration_ms,
        data_bytes: fit.data_bytes,
        declared_bytes: fit.declared,
        received_bytes: received,
        silent: heard.map(|(is_silent, _)| is_silent),
        one_sided: heard.is_some_and(|(_, is_one_sided)| is_one_sided),
        empty,
        riff_size_wrong: fit.riff_size_wrong,
        header_disputed: false,
    };
    Ok((fit, audio))
}
