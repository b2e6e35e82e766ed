//! Reports over a connection that we keep to the PBX (API v2.0.0; `docs/pbx-api.md` §7).
//!
//! It leads to a port of its own and stays idle but for reports, so it is none of the `concurrency` connections that
//! ask the PBX for work.

use std::io;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::base::backoff::{Backoff, jittered};
use crate::config::PbxConfig;
use crate::pbx::Pbx as _;
use crate::pbx::error::{Failure, PbxError, Reason, Result};
use crate::pbx::push::http::{Fate, Tally};
use crate::pbx::push::{PushEvent, PushKind, Wakes, take_events};
use crate::pbx::s_series::policy::{Family, Stage};
use crate::pbx::s_series::session::password_md5;
use crate::pbx::s_series::{PbxClient, Shared};
use crate::pbx::transport::Origin;

const CHUNK_BYTES: usize = 4096;

/// The first and the longest wait before another try.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// A stream that lived so long worked: the next wait is a short one again.
const WORKED_FOR: Duration = Duration::from_secs(60);

/// A stream that is closed so soon after the login, without a word, may have refused it.
const WORDLESS_WITHIN: Duration = Duration::from_secs(30);

/// How often in a row that may happen: five wrong passwords lock us out (`docs/pbx-api.md` §3.2).
const WORDLESS_MAX: u32 = 2;

/// A stream that is silent so long is opened anew: a connection can die without a word.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Follows the event stream on `port` of a PBX, opening it again whenever it ends. Each opening is a wake, for what was
/// missed before it.
///
/// Returns if the PBX refuses the login, in words or by closing twice without any. It is not tried again, lest the PBX
/// locks us out.
pub async fn follow(client: &PbxClient, port: u16, wakes: &Wakes, tally: &Tally) -> PbxError {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    let (mut is_reported, mut wordless) = (false, 0);
    loop {
        let begun = Instant::now();
        let error = match client.event_stream(port).await {
            Ok(mut stream) => {
                let error = listen(&mut stream, wakes, tally).await;
                let is_wordless = !stream.is_answered && begun.elapsed() < WORDLESS_WITHIN;
                wordless = if is_wordless { wordless + 1 } else { 0 };
                error
            }
            Err(error) => error,
        };
        if error.reason() == Reason::PasswordRefused || wordless >= WORDLESS_MAX {
            return error;
        }
        if begun.elapsed() >= WORKED_FOR {
            backoff.reset();
            is_reported = false;
        }
        let wait = jittered(backoff.lengthen());
        let in_s = wait.as_secs_f64();
        match std::mem::replace(&mut is_reported, true) {
            false => warn!(pbx = client.id(), "{error}; trying again in {in_s:.1} s, sweeps go on"),
            true => debug!(pbx = client.id(), "{error}; trying again in {in_s:.1} s"),
        }
        sleep(wait).await;
    }
}

async fn listen(stream: &mut EventStream, wakes: &Wakes, tally: &Tally) -> PbxError {
    let pbx = stream.client.id().to_owned();
    info!(pbx, "Following the event stream of `{pbx}`");
    let wake = |kind: PushKind| wakes.wake(PushEvent { pbx: pbx.clone(), kind });
    wake(PushKind::NewCdr);
    let mut pending = Vec::new();
    loop {
        match timeout(SILENCE_MAX, stream.next()).await {
            Ok(Ok(bytes)) => pending.extend_from_slice(&bytes),
            Ok(Err(error)) => return error,
            Err(_) => {
                let what = format!("the event stream has been silent for {} s", SILENCE_MAX.as_secs());
                return stream.client.shared.stream_error(Failure::new(Reason::Stall, what));
            }
        }
        for kind in take_events(&mut pending) {
            tally.count(Fate::Accepted);
            kind.into_iter().for_each(&wake);
        }
    }
}

/// A connection over which a PBX reports its events.
pub(super) struct EventStream {
    client: PbxClient,
    stream: TcpStream,
    /// Whether the PBX has said anything since the login, which it therefore accepted.
    is_answered: bool,
}

impl PbxClient {
    /// Opens the PBX's event stream on `port`.
    ///
    /// The session comes first: the PBX reports only while one lives, and five wrong passwords lock us out, so the
    /// password is never tried here before the API has accepted it.
    pub(super) async fn event_stream(&self, port: u16) -> Result<EventStream> {
        self.slot().await.session(None).await?;
        let config = &self.shared.config;
        let login = SecretString::from(login(config));
        let open = async {
            let mut stream = TcpStream::connect((Origin::of(config).host, port)).await?;
            stream.write_all(login.expose_secret().as_bytes()).await?;
            Ok(stream)
        };
        let outcome = timeout(config.limits.connect_timeout, open).await;
        let outcome = outcome.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
        let stream = outcome.map_err(|error| self.shared.stream_error(no_stream(config, port, &error)))?;
        Ok(EventStream { client: self.clone(), stream, is_answered: false })
    }
}

impl EventStream {
    /// The next bytes of reports, in no particular portions. May be given up and called again.
    pub(super) async fn next(&mut self) -> Result<Vec<u8>> {
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
        Err(self.client.shared.stream_error(failure))
    }
}

impl Shared {
    fn stream_error(&self, failure: Failure) -> PbxError {
        self.error(&self.action(Family::Device, Stage::Query, "following the event stream"), failure)
    }
}

/// The lines that log in, in the manner of Asterisk's manager. Neither value can hold a line's end.
fn login(config: &PbxConfig) -> String {
    let (user, secret) = (&config.username, password_md5(config));
    format!("Action: login\r\nUsername: {user}\r\nSecret: {secret}\r\nVersion: 2.0.0\r\n\r\n")
}

fn no_stream(config: &PbxConfig, port: u16, error: &io::Error) -> Failure {
    let host = config.url.host_str().unwrap_or_default();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            let what = format!("nothing listens for event streams at {host}:{port}");
            Failure::new(Reason::Refused, what)
                .with_remedy("choose TCP reports on the PBX's API page, or correct `push_tcp_port`")
        }
        _ => Failure::new(Reason::Unreachable, format!("no event stream from {host}:{port} ({error})"))
            .with_remedy("check the network and `push_tcp_port`"),
    }
}

/// Whether the first words after the login refuse it. Reports begin with a brace, and what they hold is not asked.
fn is_refusal(answer: &[u8]) -> bool {
    let words = answer.split(|byte| *byte == b'{').next().unwrap_or_default();
    let words = String::from_utf8_lossy(words).to_ascii_lowercase();
    ["error", "fail", "denied"].iter().any(|word| words.contains(word))
}
