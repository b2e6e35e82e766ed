//! Someone who listens for reports, as the service does, and a PBX whose calls end while he does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use callvault::config::{PushAddress, PushMode};
use callvault::pbx::push::http::{self, Limits, Receiver};
use callvault::pbx::push::{Counters, PushEvent, PushKind};
use callvault::simulator::SimCall;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::station::{PBX, Station};

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// A listener for reports.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    pub(crate) receiver: Receiver,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Listening {
    /// Listens for the reports of the station's PBX, whose section is set accordingly.
    pub(crate) async fn to(station: &mut Station, limits: Limits) -> Self {
        let listener = http::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let told = PushAddress { host: None, port: address.port(), path: PBX.to_owned() };
        station.section().push = PushMode::Http(told);
        let receiver = Receiver { limits, ..Receiver::default() };
        receiver.sources.replace(&station.config.pbx);
        let stop = CancellationToken::new();
        let task = tokio::spawn(http::serve(listener, receiver.clone(), stop.clone()));
        Self { address, receiver, stop, task }
    }

    /// What was counted.
    pub(crate) fn counters(&self) -> Counters {
        self.receiver.tally.counters()
    }

    /// The next event.
    pub(crate) async fn event(&self) -> PushEvent {
        timeout(PATIENCE, self.receiver.wakes.next()).await.expect("an event was due")
    }

    /// Asserts that a call of the station's PBX is heard of.
    pub(crate) async fn hears_of_a_call(&self) {
        assert_eq!(self.event().await, PushEvent { pbx: PBX.to_owned(), kind: PushKind::NewCdr });
    }

    /// Asserts that nothing is on its way.
    pub(crate) async fn hears_nothing(&self) {
        let event = timeout(Duration::from_millis(20), self.receiver.wakes.next()).await;
        assert!(event.is_err(), "{event:?}");
    }

    /// A connection from the PBX's address.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection from an address that is no PBX's.
    pub(crate) async fn connect_as_a_stranger(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(IpAddr::from([127, 0, 0, 2]), 0)).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Stops, and waits for the end.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("it stops at once").unwrap();
    }
}

/// Sends what the far side will take, and returns how many bytes that were and the first line of its answer.
pub(crate) async fn send(mut stream: TcpStream, bytes: &[u8]) -> (usize, String) {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]).await {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    let mut answer = Vec::new();
    // A far side that left without reading everything resets the connection, before or after its answer.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it answers or closes");
    let answer = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    (sent, answer)
}

/// A report as a PBX posts it.
pub(crate) fn post(body: &str) -> Vec<u8> {
    format!("POST /hq HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

impl Station {
    /// A call of the last day ends now on the PBX, recorded as `name`: it is reported to whoever asked for that.
    pub(crate) fn end_call(&self, name: &str, minute: u32) -> SimCall {
        let call = self.call(name, minute);
        self.pbx.end_call(call.clone());
        call
    }

    /// Waits until a recording with a harmless name is in the archive with its sidecar, and says how long that took.
    pub(crate) async fn archived(&self, name: &str) -> Duration {
        let begun = Instant::now();
        let audio = self.path_of(name);
        let sidecar = audio.with_file_name(format!("{name}.json"));
        eventually(&format!("{name} is archived"), || audio.exists() && sidecar.exists()).await;
        begun.elapsed()
    }
}
