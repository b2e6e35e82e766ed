//! One request's turn: it is answered, and the answer goes out whole, broken, slowly or never.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::api::{self, Answer};
use super::chance::Luck;
use super::connections::Connection;
use super::control;
use super::device::Device;
use super::faults::Faults;
use super::http::Request;
use super::lock;
use super::reply::{Cut, Reply};

/// The most bytes per write; also how much of a file goes out together with the head.
const WRITE_BYTES: usize = 128 * 1024;

/// What ends a body that comes in chunks.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How the server leaves a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// In order.
    Close,
    /// By a reset.
    Reset,
}

/// What went out.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Bytes of the body.
    bytes: u64,
    /// Whether the client was still there for the last of them.
    was_awaited: bool,
}

/// One request's turn.
pub(super) struct Turn<'a, W> {
    pub(super) device: &'a Arc<Device>,
    pub(super) from: IpAddr,
    pub(super) connection: &'a Connection,
    /// Cancelled when the client has left.
    pub(super) gone: &'a CancellationToken,
    pub(super) writer: &'a mut W,
}

impl<W: AsyncWrite + Unpin> Turn<'_, W> {
    /// Answers a request; returns how to leave.
    pub(super) async fn answer(&mut self, request: &Request, luck: Luck) -> Farewell {
        if request.path.starts_with("/simulator/") {
            let reply = control::answer(self.device, request, self.from).await;
            let _ = self.send(&reply, luck).await;
            return Farewell::Close;
        }
        let faults = self.device.faults();
        let latency = self.device.options.latency + Duration::from_millis(faults.reply_delay_ms);
        if !latency.is_zero() {
            self.wait(Some(latency)).await;
        }
        match api::answer(self.device, request, self.from, luck) {
            Answer::Reply(mut reply) => {
                reply.delivery.slow_down(faults.reply_bytes_per_s);
                self.disfigure(&mut reply, &faults, luck);
                reply.delivery.is_chunked = self.device.strikes(luck, "chunked", faults.chunked);
                reply.delivery.head_pause = self
                    .device
                    .strikes(luck, "slow_head", faults.slow_head)
                    .then(|| Duration::from_millis(faults.slow_head_ms));
                self.deliver(&reply, luck).await
            }
            Answer::Silence(limit) => {
                self.wait(limit).await;
                Farewell::Close
            }
            Answer::Reset => Farewell::Reset,
        }
    }

    /// Has a reply look as old servers and proxies make it, its meaning unchanged.
    fn disfigure(&self, reply: &mut Reply, faults: &Faults, luck: Luck) {
        if reply.is_json() && self.device.strikes(luck, "misprinted_json", faults.misprinted_json) {
            reply.misprint(luck.draw("misprinted_json_as"));
        }
        if reply.is_text() && self.device.strikes(luck, "gzip", faults.gzip) {
            reply.compress();
        }
        if self.device.strikes(luck, "many_headers", faults.many_headers) {
            reply.has_many_headers = true;
        }
    }

    /// Waits until the client leaves, at most for `limit`.
    async fn wait(&self, limit: Option<Duration>) {
        match limit {
            Some(limit) => {
                let _ = timeout(limit, self.gone.cancelled()).await;
            }
            None => self.gone.cancelled().await,
        }
    }

    /// Sends a reply and settles its ticket.
    async fn deliver(&mut self, reply: &Reply, luck: Luck) -> Farewell {
        let sent = self.send(reply, luck).await;
        if sent.as_ref().is_ok_and(|sent| sent.bytes >= reply.body.len() && sent.was_awaited) {
            lock(&self.device.account).list(&reply.listed, self.device.clock.now().shown);
        }
        if let Some(ticket) = &reply.ticket {
            let is_whole = sent.is_ok_and(|sent| sent.bytes >= reply.body.len() && sent.was_awaited);
            if is_whole && reply.delivery.is_faithful() {
                let now = self.device.clock.now().steady;
                self.device.count(|counters| {
                    counters.downloads_ok += 1;
                    counters.last_download = Some(now);
                });
                self.serve(reply, 0, true);
            }
            if !is_whole && !self.device.options.abort_consumes_ticket {
                lock(&self.device.tickets).unspend(ticket);
            }
        }
        match reply.delivery.cut {
            Some((_, Cut::Reset)) => Farewell::Reset,
            None if reply.delivery.resets_after => Farewell::Reset,
            _ => Farewell::Close,
        }
    }

    /// Sends a reply.
    async fn send(&mut self, reply: &Reply, luck: Luck) -> io::Result<Sent> {
        let options = &self.device.options;
        let declared = reply.declared(options.content_length);
        let mut pending = reply.head(options.profile, options.content_length);
        if reply.delivery.is_head_cut {
            pending.truncate(pending.len() / 2);
            self.writer.write_all(&pending).await?;
            self.writer.flush().await?;
            return Ok(Sent { bytes: 0, was_awaited: true });
        }
        if reply.delivery.is_head_endless {
            return self.send_head_without_end(pending, luck).await;
        }
        if let Some(pause) = reply.delivery.head_pause {
            self.drip(&std::mem::take(&mut pending), pause).await?;
        }
        let end = reply.delivery.cut.map_or(reply.body.len(), |(at, _)| at);
        let mut stall = reply.delivery.stall;
        // A client that was told the length knows the end before the server closes.
        let known_end = declared.map(|declared| declared.min(end));
        let (mut at, mut was_awaited) = (0, !self.gone.is_cancelled());
        while at < end && !self.is_late(reply) {
            let stop = stall.map_or(end, |(stall_at, _)| stall_at.min(end));
            let count = self.gather(reply, at, stop, &mut pending);
            at += count;
            if known_end.is_some_and(|known_end| at >= known_end) && stall.is_none() {
                self.connection.release();
            }
            was_awaited = !self.gone.is_cancelled();
            self.write(reply, &mut pending).await?;
            if reply.ticket.is_some() {
                self.device.count(|counters| counters.bytes_served += count);
                self.serve(reply, count, false);
            }
            if let Some((_, limit)) = stall.take_if(|(stall_at, _)| at >= *stall_at) {
                self.writer.flush().await?;
                self.wait(limit).await;
            }
        }
        if reply.ends_by_a_chunk() && at >= reply.body.len() {
            pending.extend_from_slice(LAST_CHUNK);
            self.connection.release();
        }
        // What has no body still has a head.
        if known_end == Some(0) {
            self.connection.release();
        }
        self.write(reply, &mut pending).await?;
        if let Some(more) = &reply.delivery.endless {
            return self.send_without_end(more, reply.delivery.is_chunked).await;
        }
        self.writer.flush().await?;
        Ok(Sent { bytes: at, was_awaited })
    }

    /// Sends one header line after another until the client leaves.
    async fn send_head_without_end(&mut self, head: Vec<u8>, luck: Luck) -> io::Result<Sent> {
        let lines = head.strip_suffix(b"\r\n").unwrap_or(&head);
        self.writer.write_all(lines).await?;
        let value = format!("{:016x}", luck.draw("endless_head")).repeat(16);
        for number in 0_u64.. {
            self.writer.write_all(format!("X-Note-{number}: {value}\r\n").as_bytes()).await?;
        }
        Ok(Sent { bytes: 0, was_awaited: false })
    }

    /// Sends the same bytes again and again until the client leaves.
    async fn send_without_end(&mut self, more: &[u8], is_chunked: bool) -> io::Result<Sent> {
        let more = if is_chunked { chunk_of(more) } else { more.to_vec() };
        loop {
            self.writer.write_all(&more).await?;
        }
    }

    /// Sends bytes one by one, as long as the client waits for them.
    async fn drip(&mut self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        for byte in bytes {
            self.writer.write_all(&[*byte]).await?;
            self.writer.flush().await?;
            self.wait(Some(pause)).await;
            if self.gone.is_cancelled() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }

    fn serve(&self, reply: &Reply, bytes: u64, is_whole: bool) {
        if let Some(name) = &reply.recording {
            lock(&self.device.account).serve(name, bytes, is_whole);
        }
    }

    fn is_late(&self, reply: &Reply) -> bool {
        reply.delivery.deadline.is_some_and(|deadline| self.device.timers() >= deadline)
    }

    /// Moves bytes of the body from `at` up to `stop` into `pending`; returns how many.
    fn gather(&self, reply: &Reply, at: u64, stop: u64, pending: &mut Vec<u8>) -> u64 {
        let most = match reply.delivery.bytes_per_s {
            Some(rate) => (rate / 10).max(1) as usize,
            None => WRITE_BYTES,
        };
        let start = pending.len();
        let mut next = at;
        while next < stop && pending.len() - start < most {
            let room = (stop - next).min((most - (pending.len() - start)) as u64) as usize;
            let chunk = reply.body.chunk(next, room);
            pending.extend_from_slice(chunk);
            next += chunk.len() as u64;
        }
        if let Some(bit) = reply.delivery.flipped_bit
            && (at..next).contains(&(bit / 8))
        {
            pending[start + (bit / 8 - at) as usize] ^= 1 << (bit % 8);
        }
        if reply.delivery.is_chunked {
            let chunk = chunk_of(&pending[start..]);
            pending.truncate(start);
            pending.extend_from_slice(&chunk);
        }
        next - at
    }

    async fn write(&mut self, reply: &Reply, pending: &mut Vec<u8>) -> io::Result<()> {
        self.writer.write_all(pending).await?;
        pending.clear();
        if reply.delivery.bytes_per_s.is_some() {
            self.writer.flush().await?;
            self.wait(Some(Duration::from_millis(100))).await;
        }
        Ok(())
    }
}

/// Bytes as a chunk of a body. There must be some: an empty one would be the last.
fn chunk_of(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}
