//! Connections: accepted, counted, answered once, closed.

use std::future::pending;
use std::net::{IpAddr, TcpStream as StdTcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;
use std::{io, pin};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, split};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::chance::Luck;
use super::connections::Connection;
use super::device::Device;
use super::http::{self, Manner, Request};
use super::outage::{Door, Outage};
use super::profile::Profile;
use super::turn::{Farewell, Turn};

/// How long a closing connection may take to send its farewell.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long to wait after an accept failed, for instance because files ran out.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

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

/// Accepts connections until told to stop.
pub(super) async fn accept(mut door: Door, device: Arc<Device>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = door.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, peer)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(socket) = second_handle(&stream) else { continue };
        let connection = device.connections.open(socket);
        let (device, stop, power) = (Arc::clone(&device), stop.clone(), device.outages.power());
        tasks.spawn(async move {
            tokio::select! {
                () = greet(&device, stream, peer.ip(), &connection) => {}
                () = power_cut(&power, &connection) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

fn second_handle(stream: &TcpStream) -> io::Result<StdTcpStream> {
    stream.set_nodelay(true)?;
    Ok(StdTcpStream::from(stream.as_fd().try_clone_to_owned()?))
}

/// Returns when an outage begins and the connection is to end by it; an observer's is not.
async fn power_cut(power: &CancellationToken, connection: &Connection) {
    power.cancelled().await;
    if !connection.doom() {
        pending::<()>().await;
    }
}

async fn greet(device: &Arc<Device>, stream: TcpStream, from: IpAddr, connection: &Connection) {
    let luck = device.luck();
    let faults = device.faults();
    let is_outage = device.outages.now() == Outage::Reset;
    if (is_outage || luck.hits("refuse", faults.refuse)) && !is_from_observer(device, &stream).await {
        device.count_fault(if is_outage { "outage" } else { "refuse" });
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
        device.count(|counters| *counters.certificates_accepted.entry(faults.certificate).or_default() += 1);
        talk(device, stream, from, connection, luck).await;
    }
}

/// Whether a plain connection is for the simulator and not for the device.
async fn is_from_observer(device: &Device, stream: &TcpStream) -> bool {
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
    let manner = Manner {
        is_lenient: device.options.profile == Profile::Compatible,
        knows_title_case_only: device.options.knows_title_case_only,
    };
    let request = match http::read(&mut stream, manner).await {
        Ok(Some(request)) => request,
        Ok(None) => return connection.release(),
        Err(_) => Request::default(),
    };
    if request.path.starts_with("/simulator/") {
        connection.disregard();
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
