//! Event streams: a client dials, logs in with a few lines, and stays.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::device::Device;
use super::lock;
use super::outage::Outage;
use super::push::Streamed;
use super::serve::ACCEPT_PAUSE;

/// How long a login may take.
const LOGIN_WITHIN: Duration = Duration::from_secs(5);
/// The most bytes of a login.
const LOGIN_BYTES_MAX: usize = 1024;

/// Accepts event streams until told to stop.
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
        let Ok((mut stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (device, stop, power) = (Arc::clone(&device), stop.clone(), device.outages.power());
        if device.outages.now() != Outage::None {
            let _ = stream.set_zero_linger();
            continue;
        }
        tasks.spawn(async move {
            tokio::select! {
                _ = talk(&device, &mut stream) => {}
                () = power.cancelled() => {
                    let _ = stream.set_zero_linger();
                }
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn talk(device: &Device, stream: &mut TcpStream) -> io::Result<()> {
    let login = timeout(LOGIN_WITHIN, read_login(stream)).await??;
    if !is_right(device, &login) {
        device.push.count(|counters| counters.streams_refused += 1);
        stream.write_all(b"Response: Error\r\nMessage: Authentication failed\r\n\r\n").await?;
        return stream.shutdown().await;
    }
    let mut reports = device.push.streams.subscribe();
    stream.write_all(b"Response: Success\r\nMessage: Authentication accepted\r\n\r\n").await?;
    device.push.count(|counters| counters.streams += 1);
    let mut scrap = [0; 256];
    loop {
        tokio::select! {
            report = reports.recv() => match report {
                Ok(Streamed::Report(report)) => {
                    stream.write_all(&report).await?;
                    device.push.count(|counters| counters.accepted += 1);
                }
                Err(RecvError::Lagged(_)) => {}
                Ok(Streamed::Restart) | Err(RecvError::Closed) => return stream.shutdown().await,
            },
            read = stream.read(&mut scrap) => if read? == 0 { return Ok(()) },
        }
    }
}

async fn read_login(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\n\n") && !bytes.ends_with(b"\r\n\r\n") && bytes.len() < LOGIN_BYTES_MAX {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn is_right(device: &Device, login: &str) -> bool {
    let line = |name: &str| {
        let mut pairs = login.lines().filter_map(|line| line.split_once(':'));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    };
    line("Action").eq_ignore_ascii_case("login")
        && lock(&device.sessions).is_right(line("Username"), line("Secret"))
}
