//! Reports that PBXs post to us. Strangers are not listened to; a PBX is answered at once, and bounded in all it does.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::pbx::push::report::{Report, Request, Unread, read_request};
use crate::pbx::push::sources::Sources;
use crate::pbx::push::wakes::{HeardCalls, PushEvent, Wakes};

/// How long to wait after a connection could not be accepted, for instance because files ran out.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two warnings about strangers.
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
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| {
        format!(
            "the reports of PBXs cannot be received at {address}: choose another address in [push] `listen`, or end \
             what listens there"
        )
    })
}

pub async fn serve(listener: TcpListener, receiver: Receiver, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let admission = Admission::new(receiver.limits);
    let receiver = Arc::new(receiver);
    tasks.spawn({
        let (receiver, stop) = (Arc::clone(&receiver), stop.clone());
        stop.run_until_cancelled_owned(async move { receiver.sources.keep_resolved().await })
    });
    let mut reported_at: Option<Instant> = None;
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, from) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) => {
                warn!("A report's connection could not be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Decided before a byte is read.
        let admitted = match receiver.sources.has(from) {
            true => admission.enter(from, Instant::now()).ok_or(Fate::Flood),
            false => Err(Fate::Stranger),
        };
        let visit = match admitted {
            Ok(visit) => visit,
            Err(fate) => {
                receiver.tally.count(fate);
                turn_away(stream, fate);
                // A stranger may be a PBX behind another address; but strangers may be many.
                if fate == Fate::Stranger && reported_at.is_none_or(|at| at.elapsed() >= NOTICE_APART) {
                    reported_at = Some(Instant::now());
                    warn!(
                        %from,
                        "Reports from {from} are refused: it is no PBX's address; if it is one, set its `push_from`"
                    );
                }
                continue;
            }
        };
        let (receiver, stop) = (Arc::clone(&receiver), stop.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled(receiver.attend(stream, from)).await;
            drop(visit);
        });
    }
    tasks.close();
    tasks.wait().await;
}

impl Receiver {
    /// Reads a message, acts on it, and answers.
    async fn attend(&self, mut stream: TcpStream, from: IpAddr) {
        let read = timeout(self.limits.patience, read_request(&mut stream)).await;
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
    fn hear(&self, request: &Request, from: IpAddr) -> Fate {
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

/// Bounds on what is received, whoever sends it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most connections from one address at one time.
    pub connections_per_source: usize,
    pub connections: usize,
    /// Most connections from one address in a second.
    pub per_second: u32,
    pub patience: Duration,
}

impl Default for Limits {
    /// A PBX opens one connection for each report, and sixty of them may share an address.
    fn default() -> Self {
        Self {
            connections_per_source: 32,
            connections: 256,
            per_second: 200,
            patience: Duration::from_secs(5),
        }
    }
}

/// Who is in. Only PBXs' addresses are ever counted, so it does not grow.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    visits: Mutex<Visits>,
}

#[derive(Debug, Default)]
struct Visits {
    open: usize,
    sources: HashMap<IpAddr, Source>,
}

#[derive(Debug)]
struct Source {
    open: usize,
    second: Instant,
    in_second: u32,
}

/// One connection that was let in; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Visit {
    admission: Arc<Admission>,
    from: IpAddr,
}

impl Admission {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, visits: Mutex::default() })
    }

    /// Lets a connection in, unless there are too many.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr, now: Instant) -> Option<Visit> {
        let mut visits = self.visits();
        let Visits { open, sources } = &mut *visits;
        let source = sources.entry(from).or_insert(Source { open: 0, second: now, in_second: 0 });
        if now.duration_since(source.second) >= Duration::from_secs(1) {
            (source.second, source.in_second) = (now, 0);
        }
        let is_room = *open < self.limits.connections && source.open < self.limits.connections_per_source;
        if !is_room || source.in_second >= self.limits.per_second {
            return None;
        }
        *open += 1;
        source.open += 1;
        source.in_second += 1;
        Some(Visit { admission: Arc::clone(self), from })
    }

    fn visits(&self) -> MutexGuard<'_, Visits> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut visits = self.admission.visits();
        visits.open -= 1;
        if let Some(source) = visits.sources.get_mut(&self.from) {
            source.open -= 1;
        }
    }
}

/// How many reports came, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Reports that were heard: a call, a start of the PBX, or something else that concerns nobody here.
    pub accepted: u64,
    /// Messages from a PBX's address that name no event, or are no HTTP.
    pub malformed: u64,
    pub stranger: u64,
    /// Messages whose head or body is too large; they are not read to their end.
    pub too_large: u64,
    /// Connections beyond what one address, or all together, may have at a time or in a second.
    pub flood: u64,
    pub too_slow: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Mutex<Counters>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pbx) enum Fate {
    Accepted,
    Malformed,
    Stranger,
    TooLarge,
    Flood,
    TooSlow,
}

impl Tally {
    pub fn counters(&self) -> Counters {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::pbx) fn count(&self, fate: Fate) {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *match fate {
            Fate::Accepted => &mut counters.accepted,
            Fate::Malformed => &mut counters.malformed,
            Fate::Stranger => &mut counters.stranger,
            Fate::TooLarge => &mut counters.too_large,
            Fate::Flood => &mut counters.flood,
            Fate::TooSlow => &mut counters.too_slow,
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn so_many_at_a_time_from_one_address_and_in_all() {
        let limits = Limits { connections_per_source: 2, connections: 3, ..Limits::default() };
        let (admission, now) = (Admission::new(limits), Instant::now());
        let first = admission.enter(ip(1), now).unwrap();
        let _second = admission.enter(ip(1), now).unwrap();
        assert!(admission.enter(ip(1), now).is_none());
        let _third = admission.enter(ip(2), now).unwrap();
        assert!(admission.enter(ip(3), now).is_none());
        drop(first);
        assert!(admission.enter(ip(3), now).is_some());
    }

    #[test]
    fn so_many_in_a_second() {
        let (admission, now) =
            (Admission::new(Limits { per_second: 5, ..Limits::default() }), Instant::now());
        assert_eq!((0..9).filter(|_| admission.enter(ip(1), now).is_some()).count(), 5);
        assert!(admission.enter(ip(2), now).is_some());
        assert!(admission.enter(ip(1), now + Duration::from_secs(1)).is_some());
    }
}
