//! Who is connected: a count that never shows a connection which its client has already closed.
//!
//! A connection counts from its acceptance until the server is about to close it, or until the client closes it.
//! A client that closes one connection and opens the next is never counted twice, though the two events may be
//! handled by different threads: before a new peak is believed, the sockets themselves are asked. Only a client that
//! breaks off a TLS handshake can hide its leaving for a moment, behind the alert that it sends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use super::lock;

/// The open connections and the peak of their number.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    observers: u64,
    live: BTreeMap<u64, Live>,
    peak: u64,
    /// Sets of connections that were open together and would be a new peak, unless one turns out not to count.
    tentative: Vec<BTreeSet<u64>>,
}

#[derive(Debug)]
struct Live {
    /// A second handle to the socket, to look at it.
    socket: TcpStream,
    /// Whether its request was read, after which a client has nothing more to say.
    is_asked: bool,
    /// Whether it is known to be a client and not an observer of the simulator.
    is_client: bool,
}

impl Live {
    fn is_gone(&self) -> bool {
        match self.socket.peek(&mut [0]) {
            Ok(count) => count == 0 || self.is_asked,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}

impl Connections {
    /// Counts a connection; `socket` is a second handle to it, in non-blocking mode.
    pub(super) fn open(self: &Arc<Self>, socket: TcpStream) -> Connection {
        let mut open = lock(&self.0);
        let id = open.next;
        open.next += 1;
        open.live.insert(id, Live { socket, is_asked: false, is_client: false });
        if open.live.len() as u64 > open.peak {
            open.live.retain(|_, live| !live.is_gone());
            open.note_peak();
        }
        Connection { id, all: Arc::clone(self) }
    }

    /// How many are open, the most there were, and how many there were in all.
    pub(super) fn count(&self) -> (u64, u64, u64) {
        let open = lock(&self.0);
        let tentative = open.tentative.iter().map(BTreeSet::len).max().unwrap_or(0) as u64;
        (open.live.len() as u64, open.peak.max(tentative), open.next - open.observers)
    }
}

impl Open {
    fn note_peak(&mut self) {
        let ids: BTreeSet<u64> = self.live.keys().copied().collect();
        if ids.len() as u64 > self.peak && !self.tentative.contains(&ids) {
            self.tentative.push(ids);
        }
        // What is closed without having asked anything counts: only an observer does not.
        let Self { live, tentative, peak, .. } = self;
        tentative.retain(|ids| {
            let is_sure = ids.iter().all(|id| live.get(id).is_none_or(|live| live.is_client));
            if is_sure {
                *peak = (*peak).max(ids.len() as u64);
            }
            !is_sure
        });
    }

    fn forget_observer(&mut self, id: u64) {
        self.live.remove(&id);
        self.observers += 1;
        for ids in &mut self.tentative {
            ids.remove(&id);
        }
        self.note_peak();
    }
}

/// One counted connection; stops counting when released or dropped.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    all: Arc<Connections>,
}

impl Connection {
    /// Notes that the request was read: whatever comes now is the client's farewell.
    pub(super) fn asked(&self) {
        let mut open = lock(&self.all.0);
        if let Some(live) = open.live.get_mut(&self.id) {
            live.is_asked = true;
            live.is_client = true;
        }
        if !open.tentative.is_empty() {
            open.note_peak();
        }
    }

    /// Takes the connection out of the count, and out of any peak, as if it had never been.
    pub(super) fn disregard(&self) {
        lock(&self.all.0).forget_observer(self.id);
    }

    /// Sees to it that the connection ends by a reset once it is dropped; `false` if it is no client's or has ended.
    pub(super) fn doom(&self) -> bool {
        let live = lock(&self.all.0).live.remove(&self.id);
        let socket = live.and_then(|live| tokio::net::TcpStream::from_std(live.socket).ok());
        socket.is_some_and(|socket| socket.set_zero_linger().is_ok())
    }

    /// Stops counting. Call it before the client can learn that the connection ends.
    pub(super) fn release(&self) {
        lock(&self.all.0).live.remove(&self.id);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, server)
    }

    #[test]
    fn a_connection_that_its_client_closed_is_not_in_the_peak() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let all = Arc::new(Connections::default());
        let (client, server) = pair(&listener);
        let first = all.open(server);
        first.asked();
        drop(client);
        let (_client, server) = pair(&listener);
        all.open(server).asked();
        assert_eq!(all.count().1, 1);
        drop(first);
    }

    #[test]
    fn an_observer_is_not_in_the_peak() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let all = Arc::new(Connections::default());
        let (_one, server) = pair(&listener);
        let client = all.open(server);
        let (_two, server) = pair(&listener);
        let observer = all.open(server);
        assert_eq!(all.count().1, 2);
        client.asked();
        observer.disregard();
        assert_eq!((all.count().0, all.count().1), (1, 1));
    }
}
