//! Delivers the ledger to a webhook: in order, in batches, each retried until it is accepted. docs/feed.md is the contract.
//!
//! Only signed entries are delivered: whatever becomes of this database, the number that a receiver was given keeps its entry
//! for ever.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{NDJSON, Page, lines};
use crate::base::backoff::{Backoff, jittered};
use crate::base::bell::Bell;
use crate::base::clock::Clock;
use crate::config::FeedWebhookConfig;
use crate::outbound::webhook::Webhook;
use crate::store::db::Db;
use crate::store::feed_webhooks::{self, Standing};
use crate::store::ledger;

const WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
/// How often to look for new entries if no bell rings.
const LOOK_EVERY: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub struct Delivery {
    config: FeedWebhookConfig,
    webhook: Webhook,
    db: Db,
    clock: Clock,
}

enum Due {
    Nothing,
    /// Entries to deliver together, under this id on every try.
    Deliver(String, Page),
    /// Why it cannot be delivered.
    Trouble(String),
}

enum Outcome {
    Taken,
    Failed(i64),
    Nothing,
}

impl Delivery {
    pub fn new(config: &FeedWebhookConfig, db: Db, clock: Clock) -> Result<Self> {
        let webhook = Webhook::new(config.webhook.clone(), config.timeout)?;
        Ok(Self { config: config.clone(), webhook, db, clock })
    }

    /// Delivers what is there, then what is new when `sealed` rings, until `stop`, which it obeys at once whatever the
    /// receiver does.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn run(&self, sealed: &Bell, stop: &CancellationToken) -> Result<()> {
        let mut sealed = sealed.listen();
        while !stop.is_cancelled() {
            sealed.forget();
            match self.deliver_next(stop).await? {
                Outcome::Taken => {}
                Outcome::Failed(failures) => {
                    stop.run_until_cancelled(tokio::time::sleep(jittered(WAITS.after(failures - 1)))).await;
                }
                Outcome::Nothing => {
                    tokio::select! {
                        () = sealed.rung() => {}
                        () = tokio::time::sleep(LOOK_EVERY) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Tries one delivery and records the outcome. `stop` ends the try but not the recording: what was accepted is not sent
    /// again.
    async fn deliver_next(&self, stop: &CancellationToken) -> Result<Outcome> {
        let standing = feed_webhooks::standing(&mut *self.db.read().await?, &self.config).await?;
        let (id, page) = match self.due(&standing).await? {
            Due::Deliver(id, page) => (id, page),
            Due::Trouble(error) => return self.note_failure(&standing, error).await,
            Due::Nothing => {
                self.note_well(&standing).await?;
                return Ok(Outcome::Nothing);
            }
        };
        let (from, end) = (standing.next, page.next);
        if !self.is_begun(&standing, from, end).await? {
            return Ok(Outcome::Nothing);
        }
        let now = self.clock.now();
        let posted = tokio::select! {
            biased;
            posted = self.webhook.post(&id, NDJSON, page.lines, now) => posted,
            () = stop.cancelled() => return Ok(Outcome::Nothing),
        };
        match posted {
            Ok(()) => self.note_taken(from, end).await,
            Err(error) => {
                let error = format!(
                    "{error}; check the receiver and `url`: delivery is retried, and no entry is skipped"
                );
                self.note_failure(&standing, error).await
            }
        }
    }

    /// The next delivery. One under way keeps its bounds, unless `entries_max` has been lowered.
    async fn due(&self, standing: &Standing) -> Result<Due> {
        let mut db = self.db.read().await?;
        let signed = ledger::latest_checkpoint(&mut db).await?.map_or(0, |signed| signed.size);
        let from = standing.next;
        if from > signed {
            let last = from - 1;
            return Ok(Due::Trouble(format!(
                "it should get what follows entry {last}, but only {signed} entries of the ledger are signed: correct \
                 `after`; if the state was restored from an older copy, stop the service and run `callvault rebuild`"
            )));
        }
        if from == signed {
            return Ok(Due::Nothing);
        }
        let longest = signed.min(from.saturating_add(self.config.entries_max));
        let end = standing.batch_end.map_or(longest, |end| end.min(longest));
        let entries = ledger::entries(&mut db, from, end - from).await?;
        let leaf = entries.last().map(|entry| entry.leaf_hash.to_string()).unwrap_or_default();
        match lines(&entries, from) {
            Ok(page) if page.next == end => {
                let id = format!("feed_{from}_{}_{:.16}", end - 1, leaf);
                Ok(Due::Deliver(id, page))
            }
            Ok(page) => Ok(Due::Trouble(super::lacks(page.next))),
            Err(error) => Ok(Due::Trouble(format!("{error:#}"))),
        }
    }

    /// Whether the bounds of a delivery are recorded, as they must be before its first try.
    async fn is_begun(&self, standing: &Standing, from: u64, end: u64) -> Result<bool> {
        if standing.batch_end == Some(end) {
            return Ok(true);
        }
        let name = self.config.name.clone();
        self.db.write(async move |tx| feed_webhooks::begin(tx, &name, from, end).await).await
    }

    async fn note_taken(&self, from: u64, end: u64) -> Result<Outcome> {
        let (name, now) = (self.config.name.clone(), self.clock.now());
        let failures =
            self.db.write(async move |tx| feed_webhooks::note_taken(tx, &name, from, end, now).await).await?;
        let name = &self.config.name;
        debug!("The webhook `{name}` has taken the entries {from} to {}", end - 1);
        if failures > 0 {
            info!("The webhook `{name}` accepts the feed again after {failures} failures");
        }
        Ok(Outcome::Taken)
    }

    async fn note_failure(&self, standing: &Standing, error: String) -> Result<Outcome> {
        let name = &self.config.name;
        if standing.last_error.as_ref() != Some(&error) {
            warn!("The feed is not delivered to the webhook `{name}` (archiving goes on): {error}");
        }
        let (name, next, now): (_, _, Timestamp) = (name.clone(), standing.next, self.clock.now());
        let failures = self
            .db
            .write(async move |tx| feed_webhooks::note_failure(tx, &name, next, &error, now).await)
            .await?;
        Ok(Outcome::Failed(failures))
    }

    /// Clears a failure that ended without a delivery: `after` was corrected.
    async fn note_well(&self, standing: &Standing) -> Result<()> {
        if standing.failures == 0 {
            return Ok(());
        }
        let name = self.config.name.clone();
        self.db.write(async move |tx| feed_webhooks::note_well(tx, &name).await).await
    }
}
