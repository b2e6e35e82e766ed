//! Reports over a connection that we keep to the PBX (API v2.0.0; `docs/pbx-api.md` §7).
//!
//! It leads to a port of its own and stays idle but for reports, so it is none of the `concurrency` connections that
//! ask the PBX for work.

use std::fmt;
use std::io;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Host;

use crate::config::PbxConfig;
use crate::pbx::error::{Failure, PbxError, Reason};
use crate::pbx::s_series::Action;
use crate::pbx::s_series::policy::{Family, Stage};
use crate::pbx::s_series::session::password_md5;
use crate::pbx::s_series::{PbxClient, Shared};

/// The most bytes read at a time.
const CHUNK_BYTES: usize = 4096;

/// A connection over which a PBX reports its events.
pub struct EventStream {
    client: PbxClient,
    stream: TcpStream,
    /// Whether the PBX has said anything since we logged in.
    is_answered: bool,
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("pbx", &self.client.id()).finish_non_exhaustive()
    }
}

impl PbxClient {
    /// Opens the PBX's event stream on `port`.
    ///
    /// The session comes first: the PBX reports only while one lives, and five wrong passwords lock us out, so the
    /// password is never tried here before the API has accepted it.
    ///
    /// # Errors
    ///
    /// If there is no session, or nobody answers at the port.
    pub async fn event_stream(&self, port: u16) -> Result<EventStream, PbxError> {
        self.slot().await.session(None).await?;
        let shared = &self.shared;
        let limit = shared.config.limits.connect_timeout;
        let login = SecretString::from(login(&shared.config));
        let open = async {
            let mut stream = connect(&shared.config, port).await?;
            stream.write_all(login.expose_secret().as_bytes()).await?;
            Ok(stream)
        };
        let outcome = timeout(limit, open).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = outcome.map_err(|error: io::Error| {
            shared.error(&action(shared), no_stream(&shared.config, port, &error))
        })?;
        Ok(EventStream { client: self.clone(), stream, is_answered: false })
    }
}

impl EventStream {
    /// The next bytes of reports, in no particular portions. May be given up and called again.
    ///
    /// # Errors
    ///
    /// If the login is refused or the stream has ended.
    pub async fn next(&mut self) -> Result<Vec<u8>, PbxError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = self.stream.read(&mut chunk).await.unwrap_or(0);
        chunk.truncate(count);
        let failure = match count {
            0 if self.is_answered => Failure::new(Reason::Reset, "the event stream has ended"),
            0 => Failure::new(Reason::Reset, "the event stream was closed after the login, without a word"),
            _ if !self.is_answered && is_refusal(&chunk) => Failure::new(
                Reason::PasswordRefused,
                "the event stream refused user or password, which the API accepts; use `push = \"http\"` or \
                 `push = \"off\"`",
            ),
            _ => {
                self.is_answered = true;
                return Ok(chunk);
            }
        };
        Err(self.error(failure))
    }

    /// Whether the PBX has said anything since the login, which it therefore accepted.
    pub fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// The failure of a stream that has been silent for `time`.
    pub fn silent(&self, time: Duration) -> PbxError {
        let what = format!("the event stream has been silent for {} s", time.as_secs_f64());
        self.error(Failure::new(Reason::Stall, what))
    }

    fn error(&self, failure: Failure) -> PbxError {
        self.client.shared.error(&action(&self.client.shared), failure)
    }
}

fn action(shared: &Shared) -> Action {
    shared.action(Family::Device, Stage::Query, "following the event stream".to_owned())
}

/// The lines that log in, in the manner of Asterisk's manager. Neither value can hold a line's end.
fn login(config: &PbxConfig) -> String {
    let (user, secret) = (&config.username, password_md5(config));
    format!("Action: login\r\nUsername: {user}\r\nSecret: {secret}\r\nVersion: 2.0.0\r\n\r\n")
}

async fn connect(config: &PbxConfig, port: u16) -> io::Result<TcpStream> {
    match config.url.host() {
        Some(Host::Ipv4(ip)) => TcpStream::connect((ip, port)).await,
        Some(Host::Ipv6(ip)) => TcpStream::connect((ip, port)).await,
        Some(Host::Domain(name)) => TcpStream::connect((name, port)).await,
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

fn no_stream(config: &PbxConfig, port: u16, error: &io::Error) -> Failure {
    let host = config.url.host_str().unwrap_or_default();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::new(
            Reason::Refused,
            format!(
                "nothing listens for event streams at {host}:{port}; choose TCP reports on the PBX's API page, or \
                 correct `push_tcp_port`"
            ),
        ),
        _ => Failure::new(
            Reason::Unreachable,
            format!("no event stream from {host}:{port} ({error}); check the network and `push_tcp_port`"),
        ),
    }
}

/// Whether the first words after the login refuse it. Reports begin with a brace, and what they hold is not asked.
fn is_refusal(answer: &[u8]) -> bool {
    let words = answer.split(|byte| *byte == b'{').next().unwrap_or_default();
    let words = String::from_utf8_lossy(words).to_ascii_lowercase();
    ["error", "fail", "denied"].iter().any(|word| words.contains(word))
}
