//! Keeping a PBX's reports coming: it sends them only while a session lives, and forgets that in 30 min.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::base::backoff::{Backoff, jittered};
use crate::pbx::s_series::PbxClient;

/// The longest time between two heartbeats. A third of what a PBX allows, so that one may fail.
const EVERY: Duration = Duration::from_secs(600);

/// The first and the longest wait after a heartbeat that failed.
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// The least time between two heartbeats, whatever reports of restarts come.
const APART: Duration = Duration::from_secs(2);

/// Sends a heartbeat now, again and again, and whenever `started` says that the PBX has restarted, until told to stop.
///
/// The heartbeat itself finds out whether the session is gone, and logs in: a report that is forged costs a heartbeat.
///
/// To be ended while the PBX must not be asked anything. With push off nothing is sent.
pub async fn keep(client: &PbxClient, started: &Notify, stop: &CancellationToken) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    let mut is_told = false;
    loop {
        let asked = Instant::now();
        let outcome = tokio::select! {
            outcome = client.heartbeat() => outcome,
            () = stop.cancelled() => return,
        };
        let wait = match outcome {
            Ok(()) => {
                backoff.reset();
                is_told = false;
                jittered(EVERY)
            }
            Err(error) => {
                match std::mem::replace(&mut is_told, true) {
                    false => {
                        warn!(pbx = client.id(), "{error}; until then its reports may not come, sweeps go on")
                    }
                    true => debug!(pbx = client.id(), "{error}"),
                }
                jittered(backoff.lengthen())
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = restarted(started, asked) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Waits for a restart, and until a heartbeat may follow the one of `asked`.
async fn restarted(started: &Notify, asked: Instant) {
    started.notified().await;
    sleep_until(asked + APART).await;
}
