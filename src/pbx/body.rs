//! The body of a reply, every wait and its size bounded.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::TRANSFER_ENCODING;
use tokio::time::Instant;

use crate::audio::Container;
use crate::pbx::budget::Ending;
use crate::pbx::error::{Failure, Reason};
use crate::pbx::legacy::Line;
use crate::pbx::transport::{broken_within_the_body, within_the_body};

/// How many bytes suffice to tell audio, JSON and HTML apart.
const OPENING_BYTES: usize = 12;

/// Blanks before JSON or HTML are skipped up to here.
const OPENING_BYTES_MAX: usize = 4096;

/// What a body may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Longest silence.
    pub(super) idle_timeout: Duration,
    /// Least throughput, averaged over the time spent waiting, once that exceeds `idle_timeout`.
    pub(super) throughput_bytes_s_min: u64,
    /// Most bytes.
    pub(super) bytes_max: u64,
}

/// A body that is being received.
pub(super) struct Body {
    response: Response,
    /// What knows why TLS ended, if the HTTP library does not. Dropped, it closes the connection.
    line: Option<Line>,
    bounds: Bounds,
    /// The declared length in bytes.
    declared: Option<u64>,
    ends_with_connection: bool,
    /// Read already, but given out again first.
    opening: Bytes,
    received: u64,
    /// Only the time spent waiting for the PBX: our own slowness must not look like its.
    waited: Duration,
    outcome: Option<Result<(), Failure>>,
}

/// What a body begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Audio, in whatever container.
    Audio,
    /// The beginning of that, cut off.
    AudioCut,
    /// `{` or `[`.
    Json,
    /// `<`.
    Html,
    /// Nothing.
    Empty,
    /// Anything else.
    Other,
}

impl Kind {
    /// Judges a body by its first bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        match bytes {
            _ if Container::of(bytes).is_some() => Kind::Audio,
            _ if bytes.is_empty() => Kind::Empty,
            _ if Container::may_begin(bytes) => Kind::AudioCut,
            _ => match meat(bytes).first() {
                Some(b'{' | b'[') => Kind::Json,
                Some(b'<') => Kind::Html,
                _ => Kind::Other,
            },
        }
    }
}

impl Body {
    pub(super) fn new(response: Response, line: Option<Line>, bounds: Bounds) -> Self {
        let declared = response.content_length();
        let chunked = response.headers().contains_key(TRANSFER_ENCODING);
        Self {
            declared,
            ends_with_connection: declared.is_none() && !chunked,
            response,
            line,
            bounds,
            opening: Bytes::new(),
            received: 0,
            waited: Duration::ZERO,
            outcome: None,
        }
    }

    /// The length that the reply declared, in bytes.
    pub(super) fn declared(&self) -> Option<u64> {
        self.declared
    }

    /// Bytes that came so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// How the reply ended; `None` while it has not, or if it failed.
    pub(super) fn ending(&self) -> Option<Ending> {
        match self.outcome {
            Some(Ok(())) if self.ends_with_connection => Some(Ending::Closed),
            Some(Ok(())) => Some(Ending::Delimited),
            _ => None,
        }
    }

    /// Lowers the bound: more than `bytes` in all is `oversize`.
    pub(super) fn limit(&mut self, bytes: u64) {
        self.bounds.bytes_max = self.bounds.bytes_max.min(bytes);
    }

    /// The next bytes; `None` at the end. After a failure it gives the same failure again.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if !self.opening.is_empty() {
            self.check_size()?;
            return Ok(Some(std::mem::take(&mut self.opening)));
        }
        match &self.outcome {
            Some(outcome) => return outcome.clone().map(|()| None),
            None => self.check_size()?,
        }
        let chunk = self.receive().await;
        match &chunk {
            Ok(Some(_)) => {}
            Ok(None) => self.outcome = Some(Ok(())),
            Err(failure) => self.outcome = Some(Err(failure.clone())),
        }
        chunk
    }

    /// Reads to the end; more than `bytes_max` is `oversize`.
    pub(super) async fn rest(&mut self, bytes_max: u64) -> Result<Vec<u8>, Failure> {
        self.limit(self.received.saturating_add(bytes_max));
        let mut all = Vec::new();
        while let Some(chunk) = self.next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// Looks at the first bytes and puts them back.
    pub(super) async fn kind(&mut self) -> Result<Kind, Failure> {
        let mut opening = BytesMut::new();
        while opening.len() < OPENING_BYTES
            || (meat(&opening).is_empty() && opening.len() < OPENING_BYTES_MAX)
        {
            match self.next().await? {
                Some(chunk) => opening.extend_from_slice(&chunk),
                None => break,
            }
        }
        self.opening = opening.freeze();
        Ok(Kind::of(&self.opening))
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        let begun = Instant::now();
        let chunk = tokio::time::timeout(self.bounds.idle_timeout, self.response.chunk()).await;
        self.waited += begun.elapsed();
        let chunk = match chunk {
            Err(_) => return Err(self.stalled()),
            Ok(Ok(Some(chunk))) => Some(chunk),
            Ok(_) if self.line.as_ref().is_some_and(|line| line.broken().is_some()) => {
                return Err(broken_within_the_body());
            }
            Ok(Ok(None)) => None,
            Ok(Err(error)) => match within_the_body(error, self.ends_with_connection) {
                Some(failure) => return Err(failure),
                None => None,
            },
        };
        if let Some(chunk) = &chunk {
            self.received += chunk.len() as u64;
            self.check_size()?;
            self.check_speed()?;
        }
        Ok(chunk)
    }

    fn check_size(&self) -> Result<(), Failure> {
        let max = self.bounds.bytes_max;
        match self.received.max(self.declared.unwrap_or(0)) {
            bytes if bytes > max => {
                Err(Failure::new(Reason::Oversize, format!("{bytes} bytes where at most {max} are due")))
            }
            _ => Ok(()),
        }
    }

    fn check_speed(&self) -> Result<(), Failure> {
        let due = self.waited.as_secs_f64() * self.bounds.throughput_bytes_s_min as f64;
        if self.waited > self.bounds.idle_timeout && (self.received as f64) < due {
            let (received, seconds) = (self.received, self.waited.as_secs_f64());
            return Err(Failure::new(Reason::Slow, format!("only {received} bytes in {seconds:.1} s")));
        }
        Ok(())
    }

    fn stalled(&self) -> Failure {
        let (received, seconds) = (self.received, self.bounds.idle_timeout.as_secs_f64());
        Failure::new(Reason::Stall, format!("nothing came for {seconds} s after {received} bytes"))
    }
}

/// What is left after a byte order mark and blanks.
fn meat(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_a_body_is() {
        let table: [(&[u8], Kind); 28] = [
            (b"RIFF\0\0\0\0WAVEfmt ", Kind::Audio),
            (b"RF64\xff\xff\xff\xffWAVEds64", Kind::Audio),
            (b"BW64\xff\xff\xff\xffWAVEds64", Kind::Audio),
            (b".snd\0\0\0\x18\0\0\0\0", Kind::Audio),
            (b"OggS\0\x02\0\0\0\0\0\0", Kind::Audio),
            (b"ID3\x04\0\0\0\0\0\0\xff\xfb", Kind::Audio),
            (b"\xff\xf3\x40\xc4\0\0\0\0\0\0\0\0", Kind::Audio),
            (b"\0\0\0\x20ftypM4A ", Kind::Audio),
            (b"\0\0\0\x20ftypheic", Kind::Other),
            (b"%PDF-1.7\n%\xe2\xe3\xcf", Kind::Other),
            (b"PK\x03\x04\x14\0\0\0\x08\0\0\0", Kind::Other),
            (b"\x89PNG\r\n\x1a\n\0\0\0\r", Kind::Other),
            (b"\xff\xfeh\0e\0l\0l\0o\0", Kind::Other),
            (b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01", Kind::Other),
            (b"RIFF\0\0\0\0AVI fmt ", Kind::Other),
            (b"RIFX\0\0\0\0WAVEfmt ", Kind::Audio),
            (b"RIFF\0\0", Kind::AudioCut),
            (b"RI", Kind::AudioCut),
            (b"", Kind::Empty),
            (b"{\"status\":", Kind::Json),
            (b"\xef\xbb\xbf\r\n {", Kind::Json),
            (b"<!DOCTYPE html>", Kind::Html),
            (b"\n\n<html>", Kind::Html),
            (b"   ", Kind::Other),
            (b"callid,timestart", Kind::Other),
            (b"[", Kind::Json),
            (b" RIFF", Kind::Other),
            (b"\0\0", Kind::Other),
        ];
        for (bytes, kind) in table {
            assert_eq!(Kind::of(bytes), kind, "{bytes:?}");
        }
    }
}
