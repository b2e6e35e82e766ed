//! Delivers the alert queue, channel by channel, for as long as it takes.

use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Alerter;
use super::channel::Channel;
use crate::base::backoff::{Backoff, jittered};
use crate::store::alert_queue::{self, Outgoing};

/// The first wait after a failure; it doubles up to the longest.
const WAIT_MAX: Duration = Duration::from_secs(3600);
const WAITS: Backoff = Backoff::new(Duration::from_secs(30), WAIT_MAX);
/// How often to look into the queue without news.
const LOOK_EVERY: Duration = Duration::from_secs(15);

impl Alerter {
    pub(super) async fn deliver_over(
        &self,
        channel: &Channel,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            // Listens first, so that news that comes meanwhile is not missed.
            let mut news = pin!(self.news.notified());
            news.as_mut().enable();
            let now = self.clock.now();
            let due =
                alert_queue::due(&mut *self.db.read().await?, channel.name(), now, later(now, WAIT_MAX))
                    .await?;
            let Some(message) = due else {
                tokio::select! {
                    () = news => continue,
                    () = self.clock.sleep_until(later(now, LOOK_EVERY)) => continue,
                    () = stop.cancelled() => return Ok(()),
                }
            };
            if stop.is_cancelled() {
                return Ok(());
            }
            self.try_one(channel, message, stop).await?;
        }
    }

    /// Tries to deliver one message and records the outcome. `stop` ends the try but not the recording: what was delivered is
    /// not sent again.
    async fn try_one(
        &self,
        channel: &Channel,
        message: Outgoing,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let now = self.clock.now();
        let (id, name) = (message.id, channel.name());
        if self.is_too_old(&message, now) {
            // What still holds is reported again by the next reminder.
            warn!("Gave up on an alert message that could not be delivered over {name} for days");
            return self.db.write(async move |tx| alert_queue::remove(tx, id).await).await;
        }
        let outcome = tokio::select! {
            biased;
            outcome = channel.send(&message.message_id, &message.body, now) => outcome,
            () = stop.cancelled() => return Ok(()),
        };
        match outcome {
            Ok(()) => {
                debug!("An alert message was delivered over {name}");
                self.db.write(async move |tx| alert_queue::remove(tx, id).await).await
            }
            Err(error) => {
                warn!("An alert message was not delivered over {name}; it will be tried again: {error}");
                let due = later(self.clock.now(), jittered(WAITS.after(message.attempts)));
                self.db.write(async move |tx| alert_queue::put_off(tx, id, due, &error).await).await
            }
        }
    }

    fn is_too_old(&self, message: &Outgoing, now: Timestamp) -> bool {
        let age_ms = now.as_millisecond().saturating_sub(message.created_at_ms);
        // A message that was never tried gets one try, however long this machine was off.
        message.attempts > 0
            && Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)) > self.config.keep_trying
    }
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}
