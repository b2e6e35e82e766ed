//! Reports that PBXs post to us. Strangers are not listened to; a PBX is answered at once, and bounded in all it does.

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

pub use super::admission::Limits;
use super::admission::{Admission, Visit};
use super::counters::{Fate, Tally};
use super::heard::HeardCalls;
use super::report::Report;
use super::request::{self, Unread};
use super::sources::Sources;
use super::wakes::{PushEvent, Wakes};

/// How long to wait after a connection could not be accepted, for instance because files ran out.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two words about strangers.
const NOTICE_APART: Duration = Duration::from_secs(60);

/// How much of what was left unread is still taken after the answer, and for how long: to close over unread bytes resets
/// the connection, and a PBX whose report ends so sends it again.
const REST_BYTES_MAX: u64 = 64 * 1024;
const REST_WITHIN: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Default)]
pub struct Receiver {
    pub sources: Sources,
    pub wakes: Wakes,
    pub heard: HeardCalls,
    pub tally: Tally,
    pub limits: Limits,
}

/// Listens at `address`, as `[push] listen` has it.
///
/// # Errors
///
/// If the address is not ours or taken.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| {
        format!(
            "the reports of PBXs cannot be received at {address}: choose another address in [push] `listen`, or end \
             what listens there"
        )
    })
}

/// Receives reports until told to stop.
pub async fn serve(listener: TcpListener, receiver: Receiver, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let admission = Admission::new(receiver.limits);
    let receiver = Arc::new(receiver);
    tasks.spawn({
        let (receiver, stop) = (Arc::clone(&receiver), stop.clone());
        async move { receiver.sources.keep_resolved(&stop).await }
    });
    let mut notice = Notice::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, from) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) => {
                warn!("A report's connection could not be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let visit = match receiver.let_in(from, &admission) {
            Ok(visit) => visit,
            Err(fate) => {
                receiver.tally.count(fate);
                turn_away(stream, fate);
                if fate == Fate::Stranger {
                    notice.tell(from);
                }
                continue;
            }
        };
        let (receiver, stop) = (Arc::clone(&receiver), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = receiver.attend(stream, from) => {}
                () = stop.cancelled() => {}
            }
            drop(visit);
        });
    }
    tasks.close();
    tasks.wait().await;
}

impl Receiver {
    /// Whether a connection is let in, told before a byte of it is read.
    fn let_in(&self, from: IpAddr, admission: &Arc<Admission>) -> Result<Visit, Fate> {
        if !self.sources.has(from) {
            return Err(Fate::Stranger);
        }
        admission.enter(from, Instant::now()).ok_or(Fate::Flood)
    }

    /// Reads a message, acts on it, and answers.
    async fn attend(&self, mut stream: TcpStream, from: IpAddr) {
        let read = timeout(self.limits.patience, request::read(&mut stream)).await;
        let (fate, status) = match read {
            Ok(Ok(request)) => (self.hear(&request, from), "200 OK"),
            Ok(Err(Unread::Gone)) => return,
            Ok(Err(Unread::Malformed)) => (Fate::Malformed, "400 Bad Request"),
            Ok(Err(Unread::TooLarge)) => (Fate::TooLarge, "413 Content Too Large"),
            Err(_) => (Fate::TooSlow, "408 Request Timeout"),
        };
        self.tally.count(fate);
        // What could not be answered is sent again.
        let _ = timeout(self.limits.patience, part(stream, status)).await;
    }

    /// Wakes whom a report concerns. What cannot be read is answered like the rest: a PBX repeats what was not accepted.
    fn hear(&self, request: &request::Request, from: IpAddr) -> Fate {
        let Some(report) = Report::read(&request.body) else { return Fate::Malformed };
        if let Some(kind) = report.kind {
            let meant = self.sources.meant(from, &request.path, report.sn.as_deref());
            // Where it is not certain whose call it was, nobody lacks it.
            if let ([pbx], Some(callid)) = (&meant[..], &report.callid) {
                self.heard.note(pbx, callid, Instant::now());
            }
            for pbx in meant {
                debug!(pbx, ?kind, "`{pbx}` reports {kind:?}");
                self.wakes.wake(PushEvent { pbx, kind });
            }
        }
        Fate::Accepted
    }
}

fn answer(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

async fn part(mut stream: TcpStream, status: &str) -> io::Result<()> {
    stream.write_all(answer(status).as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = stream.take(REST_BYTES_MAX);
    let _ = timeout(REST_WITHIN, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    Ok(())
}

/// Says no if that takes no waiting, and closes.
fn turn_away(stream: TcpStream, fate: Fate) {
    let status = if fate == Fate::Stranger { "403 Forbidden" } else { "503 Service Unavailable" };
    if let Ok(mut socket) = stream.into_std() {
        let _ = socket.write(answer(status).as_bytes());
    }
}

/// Tells of strangers, for one may be a PBX behind another address; not of each, for they may be many.
#[derive(Debug, Default)]
struct Notice {
    told_at: Option<Instant>,
}

impl Notice {
    fn tell(&mut self, from: IpAddr) {
        let now = Instant::now();
        if self.told_at.is_none_or(|told_at| now.duration_since(told_at) >= NOTICE_APART) {
            self.told_at = Some(now);
            warn!(%from, "Reports from {from} are refused: it is no PBX's address; if it is one, set its `push_from`");
        }
    }
}
