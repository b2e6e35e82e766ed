//! Reports over a connection that we keep to a PBX (API v2.0.0).

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{EventStream, PbxClient};
use crate::base::backoff::{Backoff, jittered};
use crate::pbx::push::{Fate, PushEvent, PushKind, Tally, Wakes, take_events};
use crate::pbx::{PbxError, Reason};

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

/// Follows the event stream on `port` of a PBX until told to stop, opening it again whenever it ends. Each opening is a
/// wake, for what was missed before it.
///
/// # Errors
///
/// If the PBX refuses the login, in words or by closing twice without any. It is not tried again, lest the PBX locks us
/// out.
pub async fn follow(
    client: &PbxClient,
    port: u16,
    wakes: &Wakes,
    tally: &Tally,
    stop: &CancellationToken,
) -> Result<(), PbxError> {
    let follower = Follower { client, port, wakes, tally };
    tokio::select! {
        error = follower.follow() => Err(error),
        () = stop.cancelled() => Ok(()),
    }
}

struct Follower<'a> {
    client: &'a PbxClient,
    port: u16,
    wakes: &'a Wakes,
    tally: &'a Tally,
}

impl Follower<'_> {
    /// Goes on until the PBX refuses the login.
    async fn follow(&self) -> PbxError {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        let (mut is_told, mut wordless) = (false, 0);
        loop {
            let begun = Instant::now();
            let error = match self.client.event_stream(self.port).await {
                Ok(mut stream) => {
                    let error = self.listen(&mut stream).await;
                    let is_wordless = !stream.is_answered() && begun.elapsed() < WORDLESS_WITHIN;
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
                is_told = false;
            }
            let wait = jittered(backoff.lengthen());
            let in_s = wait.as_secs_f64();
            match std::mem::replace(&mut is_told, true) {
                false => warn!(pbx = self.client.id(), "{error}; trying again in {in_s:.1} s, sweeps go on"),
                true => debug!(pbx = self.client.id(), "{error}; trying again in {in_s:.1} s"),
            }
            sleep(wait).await;
        }
    }

    async fn listen(&self, stream: &mut EventStream) -> PbxError {
        info!(pbx = self.client.id(), "Following the event stream of `{}`", self.client.id());
        self.wake(PushKind::NewCdr);
        let mut pending = Vec::new();
        loop {
            match timeout(SILENCE_MAX, stream.next()).await {
                Ok(Ok(bytes)) => pending.extend_from_slice(&bytes),
                Ok(Err(error)) => return error,
                Err(_) => return stream.silent(SILENCE_MAX),
            }
            for kind in take_events(&mut pending) {
                self.tally.count(Fate::Accepted);
                if let Some(kind) = kind {
                    self.wake(kind);
                }
            }
        }
    }

    fn wake(&self, kind: PushKind) {
        self.wakes.wake(PushEvent { pbx: self.client.id().to_owned(), kind });
    }
}
