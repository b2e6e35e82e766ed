//! The body of a reply, every wait and its size bounded.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use tokio::time::Instant;

use crate::formats::audio::Container;
use crate::pbx::budget::Ending;
use crate::pbx::connection::{Driver, drive};
use crate::pbx::error::{Failure, Reason};
use crate::pbx::inflate::{Coding, Inflater};
use crate::pbx::transport::within_the_body;

/// How many bytes suffice to tell audio, JSON and HTML apart.
const OPENING_BYTES: usize = 12;

/// Blanks before JSON or HTML are skipped up to here.
const OPENING_BYTES_MAX: usize = 4096;

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) idle_timeout: Duration,
    /// Least throughput, averaged over the time spent waiting, once that exceeds `idle_timeout`.
    pub(super) throughput_bytes_s_min: u64,
    pub(super) bytes_max: u64,
}

pub(super) struct Body {
    incoming: Incoming,
    driver: Option<Driver>,
    /// How it is compressed, by its header; none if it is not.
    pub(super) coding: Option<Coding>,
    inflater: Option<Inflater>,
    bounds: Bounds,
    pub(super) declared: Option<u64>,
    ends_with_connection: bool,
    opening: Bytes,
    pub(super) received: u64,
    /// Only the time spent waiting for the PBX: our own slowness must not look like its.
    waited: Duration,
    outcome: Option<Result<(), Failure>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Audio,
    AudioCut,
    /// `{` or `[`.
    Json,
    /// `<`.
    Html,
    Empty,
    Other,
}

impl Kind {
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
    pub(super) fn new(headers: &HeaderMap, incoming: Incoming, driver: Driver, bounds: Bounds) -> Self {
        let declared = incoming.size_hint().exact();
        // Whatever else it names, the end of the connection is its end.
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter().map(HeaderValue::as_bytes);
        let is_chunked = codings.any(|value| value.to_ascii_lowercase().ends_with(b"chunked"));
        let coding = headers.get(CONTENT_ENCODING).and_then(|value| Coding::of_header(value.as_bytes()));
        Self {
            declared,
            ends_with_connection: declared.is_none() && !is_chunked,
            incoming,
            driver: Some(driver),
            coding,
            inflater: None,
            bounds,
            opening: Bytes::new(),
            received: 0,
            waited: Duration::ZERO,
            outcome: None,
        }
    }

    /// Has it inflated from now on if it is compressed, by its header or by its first bytes, into `bytes_max` bytes at
    /// most. For lists and JSON: audio is what it is.
    pub(super) async fn inflate(&mut self, bytes_max: u64) -> Result<(), Failure> {
        self.open(OPENING_BYTES).await?;
        if let Some(coding) = self.coding.or(Coding::of_opening(&self.opening)) {
            self.inflater = Some(Inflater::new(coding, std::mem::take(&mut self.opening), bytes_max)?);
        }
        Ok(())
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
        match self.inflater.take() {
            Some(mut inflater) => {
                let chunk = self.next_inflated(&mut inflater).await;
                match &chunk {
                    Ok(_) => self.inflater = Some(inflater),
                    Err(failure) => self.end(Err(failure.clone())),
                }
                chunk
            }
            None => self.next_received().await,
        }
    }

    async fn next_inflated(&mut self, inflater: &mut Inflater) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(bytes) = inflater.next()? {
                return Ok(Some(bytes));
            }
            match self.next_received().await? {
                Some(bytes) => inflater.feed(bytes),
                None => return inflater.finish(),
            }
        }
    }

    async fn next_received(&mut self) -> Result<Option<Bytes>, Failure> {
        match &self.outcome {
            Some(outcome) => return outcome.clone().map(|()| None),
            None => self.check_size()?,
        }
        let chunk = self.receive().await;
        match &chunk {
            Ok(Some(_)) => {}
            Ok(None) => self.end(Ok(())),
            Err(failure) => self.end(Err(failure.clone())),
        }
        chunk
    }

    /// Nothing more comes: the connection is closed.
    fn end(&mut self, outcome: Result<(), Failure>) {
        self.driver = None;
        self.outcome = Some(outcome);
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
        self.open(OPENING_BYTES).await?;
        while meat(&self.opening).is_empty() && self.opening.len() < OPENING_BYTES_MAX {
            let before = self.opening.len();
            self.open(before + 1).await?;
            if self.opening.len() == before {
                break;
            }
        }
        Ok(Kind::of(&self.opening))
    }

    /// Reads until `bytes` of the body are there, or all of it, and puts them back.
    async fn open(&mut self, bytes: usize) -> Result<(), Failure> {
        let mut opening = BytesMut::from(std::mem::take(&mut self.opening).as_ref());
        while opening.len() < bytes {
            match self.next().await? {
                Some(chunk) => opening.extend_from_slice(&chunk),
                None => break,
            }
        }
        self.opening = opening.freeze();
        Ok(())
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        let begun = Instant::now();
        let chunk = tokio::time::timeout(self.bounds.idle_timeout, self.frame()).await;
        self.waited += begun.elapsed();
        let chunk = match chunk {
            Err(_) => return Err(self.stalled()),
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => within_the_body(&error, self.ends_with_connection).map_or(Ok(None), Err)?,
        };
        if let Some(chunk) = &chunk {
            self.received += chunk.len() as u64;
            self.check_size()?;
            self.check_speed()?;
        }
        Ok(chunk)
    }

    /// The next bytes that the connection brings; `None` at its end.
    async fn frame(&mut self) -> hyper::Result<Option<Bytes>> {
        let incoming = &mut self.incoming;
        loop {
            let next = poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx));
            let Some(frame) = drive(&mut self.driver, next).await else { return Ok(None) };
            // Trailers say nothing to us.
            if let Ok(bytes) = frame?.into_data() {
                return Ok(Some(bytes));
            }
        }
    }

    fn check_size(&self) -> Result<(), Failure> {
        let (bytes, max) = (self.received.max(self.declared.unwrap_or(0)), self.bounds.bytes_max);
        if bytes > max {
            return Err(Failure::new(Reason::Oversize, format!("{bytes} bytes where at most {max} are due")));
        }
        Ok(())
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
