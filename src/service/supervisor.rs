//! Proof of progress: a loop that turns beats its pulse, and the watchdog of systemd is fed only while all of them do. Outside
//! systemd nobody listens, and nothing is sent.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::debug;

/// How often the service proves that it makes progress, where systemd does not ask for more.
const BEAT_EVERY: Duration = Duration::from_secs(15);
pub(super) fn beat_every() -> Duration {
    sd_notify::watchdog_enabled().map_or(BEAT_EVERY, |timeout| (timeout / 3).min(BEAT_EVERY))
}

/// Recovery is done, and the configuration in force is the one on disk or the last good one.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}
pub(super) fn alive(status: &str) {
    match sd_notify::watchdog_enabled() {
        Some(_) => tell(&[NotifyState::Watchdog, NotifyState::Status(status)]),
        None => tell(&[NotifyState::Status(status)]),
    }
}

/// There was no progress; systemd acts when that lasts.
pub(super) fn hangs(status: &str) {
    tell(&[NotifyState::Status(status)]);
}
pub(super) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}
pub(super) fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("systemd could not be notified: {error}");
    }
}

/// The pulse of one loop. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Pulse {
    born: Instant,
    /// Milliseconds after `born`.
    last_ms: Arc<AtomicU64>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { born: Instant::now(), last_ms: Arc::default() }
    }

    pub(super) fn beat(&self) {
        self.last_ms.store(self.age_ms(), Relaxed);
    }

    pub(super) fn since(&self) -> Duration {
        Duration::from_millis(self.age_ms().saturating_sub(self.last_ms.load(Relaxed)))
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
