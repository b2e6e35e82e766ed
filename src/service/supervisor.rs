//! What the service tells systemd: ready, alive, reloading, stopping. Outside systemd nobody listens, and nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// How often the service proves that it makes progress, where systemd does not ask for more.
const BEAT_EVERY: Duration = Duration::from_secs(15);

/// How often progress is to be proven.
pub(super) fn beat_every() -> Duration {
    sd_notify::watchdog_enabled().map_or(BEAT_EVERY, |timeout| (timeout / 3).min(BEAT_EVERY))
}

/// Recovery is done, and the configuration in force is the one on disk or the last good one.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Progress is proven.
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

/// The configuration is being read again.
pub(super) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// What is in flight is being finished.
pub(super) fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("systemd could not be told: {error}");
    }
}
