//! Connections: accepted, counted, answered once, closed.

use std::net::{IpAddr, TcpStream as StdTcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;
use std::{io, pin};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::{self, Answer};
use super::chance::Luck;
use super::connections::Connection;
use super::control;
use super::device::Device;
use super::http::{self, Request};
use super::lock;
use super::profile::Profile;
use super::reply::{Cut, Reply};

/// The most bytes per write; also how much of a file goes out together with the head.
const WRITE_BYTES: usize = 128 * 1024;
/// How long a closing connection may take to send its farewell.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long to wait after an accept failed, for instance because files ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A connection that can be reset.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// How the server leaves a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    Close,
    Reset,
}

/// Accepts connections until told to stop.
pub(super) async fn accept(
    listener: TcpListener,
    device: Arc<Device>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, peer)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(socket) = second_handle(&stream) else { continue };
        let connection = device.connections.open(socket);
        let (device, stop) = (Arc::clone(&device), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = greet(&device, stream, peer.ip(), &connection) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

fn second_handle(stream: &TcpStream) -> io::Result<StdTcpStream> {
    stream.set_nodelay(true)?;
    Ok(StdTcpStream::from(stream.as_fd().try_clone_to_owned()?))
}

async fn greet(device: &Arc<Device>, stream: TcpStream, from: IpAddr, connection: &Connection) {
    let luck = device.luck();
    let faults = device.faults();
    if luck.hits("refuse", faults.refuse) && !is_observer(device, &stream).await {
        device.count_fault("refuse");
        connection.release();
        let _ = stream.set_zero_linger();
        return;
    }
    if !device.options.tls {
        return talk(device, stream, from, connection, luck).await;
    }
    let Ok(acceptor) = device.certificates.acceptor(faults.certificate) else { return };
    // A client that does not trust the certificate leaves here.
    if let Ok(stream) = acceptor.accept(stream).await {
        talk(device, stream, from, connection, luck).await;
    }
}

/// Whether a plain connection is for the simulator and not for the device.
async fn is_observer(device: &Device, stream: &TcpStream) -> bool {
    let mut start = [0; 32];
    let count = if device.options.tls { 0 } else { stream.peek(&mut start).await.unwrap_or(0) };
    start[..count].windows(11).any(|window| window == b"/simulator/")
}

/// Reads one request, answers it, and leaves, never counting the connection longer than the client has it.
async fn talk<S: Wire>(
    device: &Arc<Device>,
    mut stream: S,
    from: IpAddr,
    connection: &Connection,
    luck: Luck,
) {
    let lenient = device.options.profile == Profile::Compatible;
    let request = match http::read(&mut stream, lenient).await {
        Ok(Some(request)) => request,
        Ok(None) => return connection.release(),
        Err(_) => Request::default(),
    };
    if request.path.starts_with("/simulator/") {
        connection.is_observer();
    } else {
        connection.asked();
    }
    let gone = CancellationToken::new();
    let (mut reader, mut writer) = split(stream);
    let farewell = {
        let mut turn = Turn { device, from, connection, gone: &gone, writer: &mut writer };
        let mut answer = pin::pin!(turn.answer(&request, luck));
        let mut watch = pin::pin!(watch(&mut reader));
        loop {
            tokio::select! {
                farewell = &mut answer => break farewell,
                () = &mut watch, if !gone.is_cancelled() => {
                    connection.release();
                    gone.cancel();
                }
            }
        }
    };
    connection.release();
    if farewell == Farewell::Reset {
        let _ = reader.unsplit(writer).tcp().set_zero_linger();
        return;
    }
    let _ = timeout(FAREWELL, writer.shutdown()).await;
}

/// Returns when the client closes its side.
async fn watch<S: Wire>(reader: &mut ReadHalf<S>) {
    let mut scrap = [0; 256];
    while reader.read(&mut scrap).await.is_ok_and(|count| count > 0) {}
}

/// One request's turn.
struct Turn<'a, W> {
    device: &'a Arc<Device>,
    from: IpAddr,
    connection: &'a Connection,
    gone: &'a CancellationToken,
    writer: &'a mut W,
}

impl<W: AsyncWrite + Unpin> Turn<'_, W> {
    async fn answer(&mut self, request: &Request, luck: Luck) -> Farewell {
        if request.path.starts_with("/simulator/") {
            let reply = control::answer(self.device, request).await;
            let _ = self.send(&reply, luck).await;
            return Farewell::Close;
        }
        if !self.device.options.latency.is_zero() {
            self.wait(Some(self.device.options.latency)).await;
        }
        match api::answer(self.device, request, self.from, luck) {
            Answer::Reply(reply) => self.deliver(&reply, luck).await,
            Answer::Silence(limit) => {
                self.wait(limit).await;
                Farewell::Close
            }
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
        if let Some(ticket) = &reply.ticket {
            let is_whole = sent.is_ok_and(|bytes| bytes >= reply.body.len()) && !self.gone.is_cancelled();
            if is_whole && reply.delivery.is_faithful() {
                self.device.count(|counters| counters.downloads_ok += 1);
            }
            if !is_whole && !self.device.options.abort_consumes_ticket {
                lock(&self.device.tickets).unspend(ticket);
            }
        }
        match reply.delivery.cut {
            Some((_, Cut::Reset)) => Farewell::Reset,
            _ => Farewell::Close,
        }
    }

    /// Sends a reply; returns how many bytes of the body went out.
    async fn send(&mut self, reply: &Reply, luck: Luck) -> io::Result<u64> {
        let options = &self.device.options;
        let declared = reply.declared(options.content_length);
        let mut pending = reply.head(options.profile, options.content_length);
        if reply.delivery.is_head_cut {
            pending.truncate(pending.len() / 2);
            self.writer.write_all(&pending).await?;
            self.writer.flush().await?;
            return Ok(0);
        }
        let end = reply.delivery.cut.map_or(reply.body.len(), |(at, _)| at);
        let mut stall = reply.delivery.stall;
        // A client that was told the length knows the end before the server closes.
        let known_end = declared.map(|declared| declared.min(end));
        let mut at = 0;
        while at < end && !self.is_late(reply) {
            let stop = stall.map_or(end, |(stall_at, _)| stall_at.min(end));
            let count = self.gather(reply, at, stop, &mut pending);
            at += count;
            if known_end.is_some_and(|known_end| at >= known_end) && stall.is_none() {
                self.connection.release();
            }
            self.write(reply, &mut pending).await?;
            if reply.ticket.is_some() {
                self.device.count(|counters| counters.bytes_served += count);
            }
            if let Some((_, limit)) = stall.take_if(|(stall_at, _)| at >= *stall_at) {
                self.writer.flush().await?;
                self.wait(limit).await;
            }
        }
        // What has no body still has a head.
        if known_end == Some(0) {
            self.connection.release();
        }
        self.write(reply, &mut pending).await?;
        if reply.delivery.is_endless {
            loop {
                self.writer.write_all(&[(luck.draw("endless") & 0xff) as u8; 4096]).await?;
            }
        }
        self.writer.flush().await?;
        Ok(at)
    }

    fn is_late(&self, reply: &Reply) -> bool {
        reply.delivery.deadline.is_some_and(|deadline| self.device.clock.now() >= deadline)
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
