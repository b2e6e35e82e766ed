//! Alerts the operator: once, again each day, and when it is over; over channels that may themselves fail.
//!
//! ```text
//! Status ─► condition::all ─► lifecycle::compare ─► queue ─► delivery ─► webhook, mail
//!              what is wrong     what is new        on disk    retried for days
//! ```
//!
//! `Alerter::consider` writes only to the database; `Alerter::deliver` is the only one that waits for others. Archiving waits
//! for neither.

mod channel;
pub mod condition;
mod delivery;
mod digest;
mod lifecycle;
mod machine;
mod message;
mod of_pbx;
mod ping;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::Context as _;
use jiff::civil::Date;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::base::clock::Clock;
use crate::config::AlertsConfig;
use crate::store::alert_queue;
use crate::store::db::Db;
use crate::store::fleet;
use crate::watch::status::Status;

use channel::Channel;
use lifecycle::Changes;
use message::Message;
use ping::Ping;

/// The longest wait for the reply of a webhook or a ping.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Tells the operator what is wrong.
#[derive(Debug)]
pub struct Alerter {
    config: AlertsConfig,
    db: Db,
    clock: Clock,
    channels: Vec<Channel>,
    ping: Option<Ping>,
    /// Wakes the deliveries.
    news: Notify,
}

impl Alerter {
    /// Prepares the channels; nothing is sent yet.
    ///
    /// # Errors
    /// Only if TLS or a mail server's name cannot be set up.
    pub fn new(config: &AlertsConfig, db: Db, clock: Clock) -> anyhow::Result<Self> {
        Ok(Self {
            config: config.clone(),
            channels: channel::all(config).context("preparing to send alerts")?,
            ping: config.ping_url.clone().map(Ping::new).transpose()?,
            db,
            clock,
            news: Notify::new(),
        })
    }

    /// Compares a state with what the operator was told, and puts what is news into the outbox. Asks nobody.
    pub async fn consider(&self, status: &Status) -> anyhow::Result<()> {
        let now = status.at;
        let (held, last_digest) = {
            let mut db = self.db.read().await?;
            (alert_queue::firing(&mut db).await?, fleet::meta(&mut db, digest::LAST_DAY).await?)
        };
        let changes = lifecycle::compare(held, &condition::all(status, &self.config), &self.config, now);
        let digest_day = digest::due(last_digest.as_deref(), &self.config, now);
        let mut messages = Vec::new();
        if !changes.reports.is_empty() {
            messages.push(Message::of_alerts(changes.reports.clone(), now, &self.config.timezone));
        }
        if digest_day.is_some() {
            messages.push(digest::of(status, &changes.keep, &self.config.timezone));
        }
        if changes != Changes::default() || !messages.is_empty() {
            self.write(changes, digest_day, messages).await?;
            self.news.notify_waiters();
        }
        Ok(())
    }

    /// All in one unit: what is remembered as told is on its way.
    async fn write(
        &self,
        changes: Changes,
        digest_day: Option<Date>,
        messages: Vec<Message>,
    ) -> anyhow::Result<()> {
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
                    fleet::set_meta(tx, digest::LAST_DAY, &day.to_string()).await?;
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
    pub async fn deliver(&self, stop: CancellationToken) -> anyhow::Result<()> {
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
            ping.note_good_cycle();
        }
    }
}

/// An id that no other message has.
fn message_id() -> String {
    let mut random = [0_u8; 12];
    getrandom::fill(&mut random).expect("the system has random bytes");
    format!("msg_{}", crate::base::digest::hex(&random))
}
