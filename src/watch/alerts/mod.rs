//! Alerts the operator: once, again each day, and when it is over; over channels that may themselves fail.
//!
//! ```text
//! Status ─► condition::all ─► message::compare ─► queue ─► delivery ─► webhook, mail
//!              what is wrong     what is new        on disk    retried for days
//! ```
//!
//! `Alerter::consider` writes only to the database; `Alerter::deliver` is the only one that waits for others. Archiving waits
//! for neither.

pub mod condition;
mod message;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::base::backoff::{Backoff, jittered};
use crate::base::clock::Clock;
use crate::config::{AlertsConfig, SecretUrl};
use crate::outbound::http::Client;
use crate::outbound::mail::Mailer;
use crate::outbound::webhook::Webhook;
use crate::store::alert_queue::{self, Outgoing};
use crate::store::db::Db;
use crate::store::fleet;
use crate::watch::status::Status;
use message::{Changes, LAST_DIGEST, Message, compare, digest, due_digest};

/// The longest wait for the reply of a webhook or a ping.
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Alerter {
    config: AlertsConfig,
    db: Db,
    clock: Clock,
    channels: Vec<Channel>,
    ping: Option<Ping>,
    news: Notify,
}

impl Alerter {
    /// Prepares the channels; nothing is sent yet.
    ///
    /// # Errors
    /// Only if TLS or a mail server's name cannot be set up.
    pub fn new(config: &AlertsConfig, db: Db, clock: Clock) -> Result<Self> {
        Ok(Self {
            config: config.clone(),
            channels: channels(config).context("preparing to send alerts")?,
            ping: config.ping_url.clone().map(Ping::new).transpose()?,
            db,
            clock,
            news: Notify::new(),
        })
    }

    /// Compares a state with what was reported to the operator, and puts what is new into the outbox. Asks nobody.
    pub async fn consider(&self, status: &Status) -> Result<()> {
        let now = status.at;
        let (held, last_digest) = {
            let mut db = self.db.read().await?;
            (alert_queue::firing(&mut db).await?, fleet::meta(&mut db, LAST_DIGEST).await?)
        };
        let changes = compare(held, &condition::all(status, &self.config), &self.config, now);
        let digest_day = due_digest(last_digest.as_deref(), &self.config, now)?;
        let mut messages = Vec::new();
        if !changes.reports.is_empty() {
            messages.push(Message::of_alerts(changes.reports.clone(), now, &self.config.timezone));
        }
        if digest_day.is_some() {
            messages.push(digest(status, &changes.keep, &self.config.timezone));
        }
        if changes != Changes::default() || !messages.is_empty() {
            self.write(changes, digest_day, messages).await?;
            self.news.notify_waiters();
        }
        Ok(())
    }

    /// All in one unit: what is noted as reported is on its way.
    async fn write(&self, changes: Changes, digest_day: Option<Date>, messages: Vec<Message>) -> Result<()> {
        let channels: Vec<String> = self.channels.iter().map(|channel| channel.name().to_owned()).collect();
        self.db
            .write(async move |tx| {
                for alert in &changes.keep {
                    alert_queue::keep(tx, alert).await?;
                }
                for key in &changes.over {
                    alert_queue::forget(tx, key).await?;
                }
                if let Some(day) = digest_day {
                    fleet::set_meta(tx, LAST_DIGEST, &day.to_string()).await?;
                }
                for message in &messages {
                    let (id, body) = (message_id(), serde_json::to_string(message)?);
                    for channel in &channels {
                        alert_queue::enqueue(tx, channel, &id, &body, message.timestamp).await?;
                    }
                }
                Ok(())
            })
            .await
    }

    /// Delivers what is in the outbox, and pings, until `stop`. One channel that fails holds up no other.
    ///
    /// # Errors
    /// Only if the database is broken.
    pub async fn deliver(&self, stop: CancellationToken) -> Result<()> {
        let names: Vec<String> = self.channels.iter().map(|channel| channel.name().to_owned()).collect();
        let dropped = self.db.write(async move |tx| alert_queue::keep_channels(tx, &names).await).await?;
        if dropped > 0 {
            tracing::warn!("Dropped {dropped} alert messages: their channels are no longer configured");
        }
        let deliveries = self.channels.iter().map(|channel| self.deliver_over(channel, &stop));
        let (delivered, pinged) =
            tokio::join!(futures_util::future::try_join_all(deliveries), self.ping_until(&stop));
        delivered?;
        pinged
    }

    /// Notes a good cycle: the dead man's switch is pinged soon, at most once a minute. Waits for nothing.
    pub fn ping_ok(&self) {
        if let Some(ping) = &self.ping {
            ping.good_cycle.notify_one();
        }
    }
}

fn message_id() -> String {
    let mut random = [0_u8; 12];
    getrandom::fill(&mut random).expect("the system has random bytes");
    format!("msg_{}", crate::base::digest::hex(&random))
}

/// The first wait after a failure; it doubles up to the longest.
const WAIT_MAX: Duration = Duration::from_secs(3600);
const WAITS: Backoff = Backoff::new(Duration::from_secs(30), WAIT_MAX);
const LOOK_EVERY: Duration = Duration::from_secs(15);

impl Alerter {
    async fn deliver_over(&self, channel: &Channel, stop: &CancellationToken) -> Result<()> {
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
    async fn try_one(&self, channel: &Channel, message: Outgoing, stop: &CancellationToken) -> Result<()> {
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
        let age_ms = now.as_millisecond() - message.created_at_ms.0.as_millisecond();
        // A message that was never tried gets one try, however long this machine was off.
        message.attempts > 0
            && Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)) > self.config.keep_trying
    }
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[derive(Debug)]
enum Channel {
    Webhook { name: String, webhook: Webhook },
    Email(Box<Mailer>),
}

fn channels(config: &AlertsConfig) -> Result<Vec<Channel>> {
    let mut channels = Vec::new();
    for (webhook, number) in config.webhook.iter().zip(1..) {
        let webhook = Webhook::new(webhook.clone(), TIMEOUT)?;
        channels.push(Channel::Webhook { name: format!("webhook {number} ({})", webhook.host()), webhook });
    }
    if let Some(email) = &config.email {
        channels.push(Channel::Email(Box::new(Mailer::new(email)?)));
    }
    Ok(channels)
}

impl Channel {
    /// Without secrets; also the key of the outbox.
    fn name(&self) -> &str {
        match self {
            Self::Webhook { name, .. } => name,
            Self::Email(_) => "email",
        }
    }

    /// Delivers a message once.
    ///
    /// # Errors
    /// Why it was not delivered, free of secrets.
    async fn send(&self, id: &str, body: &str, now: Timestamp) -> Result<(), String> {
        match self {
            Self::Webhook { webhook, .. } => webhook.post(id, "application/json", body.to_owned(), now).await,
            Self::Email(email) => {
                let message: Message = serde_json::from_str(body)
                    .map_err(|error| format!("the message is damaged ({error})"))?;
                email.send(id, &message.data.title, &message.data.text).await
            }
        }
    }
}

/// At most one ping in this time.
const PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Ping {
    url: SecretUrl,
    client: Client,
    /// Requests a ping; several requests become one.
    good_cycle: Notify,
}

impl Ping {
    fn new(url: SecretUrl) -> Result<Self> {
        Ok(Self { url, client: Client::new(TIMEOUT)?, good_cycle: Notify::new() })
    }
}

impl Alerter {
    async fn ping_until(&self, stop: &CancellationToken) -> Result<()> {
        let Some(ping) = &self.ping else {
            // Without a configured ping, none fails.
            return self.note_ping(String::new()).await;
        };
        let mut noted = None;
        let after_a_good_cycle = async || {
            ping.good_cycle.notified().await;
            ping.client.ping(&ping.url).await
        };
        while let Some(outcome) = stop.run_until_cancelled(after_a_good_cycle()).await {
            let error = outcome.err().unwrap_or_default();
            if noted.as_ref() != Some(&error) {
                if !error.is_empty() {
                    warn!("The dead man's switch could not be pinged: {error}");
                }
                self.note_ping(error.clone()).await?;
                noted = Some(error);
            }
            stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
        }
        Ok(())
    }

    /// Stores why the last ping failed, for `status`; empty if it did not.
    async fn note_ping(&self, error: String) -> Result<()> {
        let known = fleet::meta(&mut *self.db.read().await?, fleet::PING_ERROR).await?;
        if known.unwrap_or_default() == error {
            return Ok(());
        }
        self.db.write(async move |tx| fleet::set_meta(tx, fleet::PING_ERROR, &error).await).await
    }
}
