//! The feed of an archive over HTTP, and who asks there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callvault::base::clock::Clock;
use callvault::config::{Config, FeedReaderConfig};
use callvault::http::feed::Feed;
use callvault::http::web::{Readiness, Server, Vitals, Workers};
use callvault::store::db::Db;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing that a test waits for takes longer.
const LIMIT: Duration = Duration::from_secs(120);
/// The token of the reader `surveillance`.
pub(crate) const TOKEN: &str = "5a1f0c3b9d7e2468aceb13579bdf0246";

/// Waits for something, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("it never came to this: {what}"))
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Whether the body is as long as was announced.
    pub(crate) fn is_whole(&self) -> bool {
        self.header("content-length").parse() == Ok(self.body.len())
    }

    fn read(bytes: &[u8]) -> Self {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            // It broke before its head was sent: no status, and not whole.
            return Self { status: 0, headers: BTreeMap::new(), body: Vec::new() };
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let (first, lines) = head.split_once("\r\n").unwrap();
        let headers = lines.lines().map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        });
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() }
    }
}

/// The feed, served.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Door {
    /// Serves what `config` describes, to one reader.
    pub(crate) async fn open(config: &Config, db: Db) -> Self {
        let mut config = config.clone();
        config.feed.reader = vec![FeedReaderConfig::new("surveillance", TOKEN)];
        Self::as_configured(&config, db, Clock::system()).await
    }

    /// Serves what `config` describes, to its readers, by this clock.
    pub(crate) async fn as_configured(config: &Config, db: Db, clock: Clock) -> Self {
        let mut config = config.clone();
        config.feed.enabled = true;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (workers, readiness) = (Workers::default(), Readiness::not_yet("it is a test"));
        let vitals = Arc::new(Vitals::new(&config, db.clone(), clock.clone(), workers, readiness));
        let feed = Feed::new(&config, db, clock);
        let server = Server::new(listener, &config.web).await.unwrap();
        let serving = tokio::spawn(server.serve(vitals, Some(feed), stop.clone()));
        Self { address, stop, serving }
    }

    /// Sends a question, and leaves the connection to the caller.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &str) -> TcpStream {
        self.ask_from("127.0.0.1", method, path, headers).await
    }

    /// As [`Door::ask`], from another address of this machine.
    pub(crate) async fn ask_from(&self, from: &str, method: &str, path: &str, headers: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// What is answered to a question with these header lines.
    pub(crate) async fn get_with(&self, path: &str, headers: &str) -> Answer {
        answer(self.ask("GET", path, headers).await).await
    }

    /// What is answered to anybody.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, "").await
    }

    /// What is answered to the reader.
    pub(crate) async fn get_as_reader(&self, path: &str) -> Answer {
        self.get_with(path, &format!("authorization: Bearer {TOKEN}\r\n")).await
    }

    /// Stops serving, and waits for the end.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        within("serving ends", self.serving).await.unwrap().unwrap();
    }
}

/// All that comes over a connection. One that breaks in the middle ends it too.
pub(crate) async fn answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    drop(within("an answer", stream.read_to_end(&mut bytes)).await);
    Answer::read(&bytes)
}
