//! Delivers the ledger to a webhook: in order, in batches, each again and again until it is taken. docs/feed.md is the
//! contract.
//!
//! Only what is signed is delivered: whatever becomes of this database, the number that a receiver was given has the
//! same entry for ever.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{NDJSON, Page, Standing, cursors, lines};
use crate::base::backoff::{Backoff, jittered};
use crate::base::bell::Bell;
use crate::base::clock::Clock;
use crate::config::FeedWebhookConfig;
use crate::outbound::webhook::Webhook;
use crate::store::db::Db;
use crate::store::ledger;

/// The waits after a failure.
const WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
/// How often it is looked for something new though no bell rang.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Delivers the ledger to one webhook.
#[derive(Debug)]
pub struct Delivery {
    config: FeedWebhookConfig,
    webhook: Webhook,
    db: Db,
    clock: Clock,
}

/// Entries that are delivered together, under the same id on every try.
#[derive(Debug)]
struct Batch {
    id: String,
    from: u64,
    page: Page,
}

/// What there is to do.
enum Due {
    Nothing,
    Deliver(Batch),
    /// It cannot be delivered, and why.
    Trouble(String),
}

/// What became of it.
enum Outcome {
    Taken,
    /// How often in a row.
    Failed(i64),
    Nothing,
}

impl Delivery {
    /// Prepares it; nothing is sent yet.
    ///
    /// # Errors
    /// If TLS cannot be set up on this machine.
    pub fn new(config: &FeedWebhookConfig, db: Db, clock: Clock) -> anyhow::Result<Self> {
        let webhook = Webhook::new(config.webhook.clone(), config.timeout)?;
        Ok(Self { config: config.clone(), webhook, db, clock })
    }

    /// Delivers until it is stopped: what is there, then what is new when `sealed` rings. Whatever the receiver does, a
    /// stop is heeded at once.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn run(&self, sealed: &Bell, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut sealed = sealed.listen();
        while !stop.is_cancelled() {
            sealed.forget();
            match self.deliver_next(stop).await? {
                Outcome::Taken => {}
                Outcome::Failed(failures) => {
                    tokio::select! {
                        () = tokio::time::sleep(jittered(WAITS.after(failures - 1))) => {}
                        () = stop.cancelled() => {}
                    }
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

    /// Tries one delivery, and writes down what became of it. `stop` ends the try, but not the writing: what was taken is
    /// not sent again.
    async fn deliver_next(&self, stop: &CancellationToken) -> anyhow::Result<Outcome> {
        let standing = cursors::standing(&mut *self.db.read().await?, &self.config).await?;
        let batch = match self.due(&standing).await? {
            Due::Deliver(batch) => batch,
            Due::Trouble(error) => return self.note_failure(&standing, error).await,
            Due::Nothing => {
                self.note_well(&standing).await?;
                return Ok(Outcome::Nothing);
            }
        };
        let (from, end) = (batch.from, batch.page.next);
        if !self.is_begun(&standing, from, end).await? {
            return Ok(Outcome::Nothing);
        }
        let now = self.clock.now();
        let posted = tokio::select! {
            biased;
            posted = self.webhook.post(&batch.id, NDJSON, batch.page.lines, now) => posted,
            () = stop.cancelled() => return Ok(Outcome::Nothing),
        };
        match posted {
            Ok(()) => self.note_taken(from, end).await,
            Err(error) => {
                let error = format!(
                    "{error}; see to the receiver or to `url`: it is tried again, and nothing is left out"
                );
                self.note_failure(&standing, error).await
            }
        }
    }

    /// What comes next. The delivery under way keeps its bounds, unless fewer entries may be in one by now.
    async fn due(&self, standing: &Standing) -> anyhow::Result<Due> {
        let mut db = self.db.read().await?;
        let signed = ledger::latest_checkpoint(&mut db).await?.map_or(0, |signed| signed.size);
        let from = u64::try_from(standing.next)?;
        if from > signed {
            let last = from - 1;
            return Ok(Due::Trouble(format!(
                "it is to get what comes after entry {last}, and of the ledger only {signed} entries are signed: correct \
                 `after`; if the state was restored from an older copy, stop the service and run `callvault rebuild`"
            )));
        }
        if from == signed {
            return Ok(Due::Nothing);
        }
        let longest = signed.min(from.saturating_add(self.config.entries_max));
        let under_way = standing.batch_end.and_then(|end| u64::try_from(end).ok());
        let end = under_way.map_or(longest, |end| end.min(longest));
        let entries = ledger::entries(&mut db, from, end - from).await?;
        let leaf = entries.last().map(|entry| entry.leaf_hash.to_string()).unwrap_or_default();
        match lines(&entries, from) {
            Ok(page) if page.next == end => {
                let id = format!("feed_{from}_{}_{:.16}", end - 1, leaf);
                Ok(Due::Deliver(Batch { id, from, page }))
            }
            Ok(page) => Ok(Due::Trouble(super::lacks(page.next))),
            Err(error) => Ok(Due::Trouble(format!("{error:#}"))),
        }
    }

    /// Whether the bounds of a delivery are written down, as they must be before its first try.
    async fn is_begun(&self, standing: &Standing, from: u64, end: u64) -> anyhow::Result<bool> {
        if standing.batch_end == Some(i64::try_from(end)?) {
            return Ok(true);
        }
        let name = self.config.name.clone();
        self.db.write(async move |tx| cursors::begin(tx, &name, from, end).await).await
    }

    async fn note_taken(&self, from: u64, end: u64) -> anyhow::Result<Outcome> {
        let (name, now) = (self.config.name.clone(), self.clock.now());
        let failures =
            self.db.write(async move |tx| cursors::note_taken(tx, &name, from, end, now).await).await?;
        let name = &self.config.name;
        debug!("The webhook `{name}` has taken the entries {from} to {}", end - 1);
        if failures > 0 {
            info!("The webhook `{name}` takes the feed again, after {failures} failures");
        }
        Ok(Outcome::Taken)
    }

    async fn note_failure(&self, standing: &Standing, error: String) -> anyhow::Result<Outcome> {
        let name = &self.config.name;
        if standing.last_error.as_ref() != Some(&error) {
            warn!(
                "The feed is not delivered to the webhook `{name}`, and all is archived all the same: {error}"
            );
        }
        let (name, next, now): (_, _, Timestamp) = (name.clone(), standing.next, self.clock.now());
        let failures =
            self.db.write(async move |tx| cursors::note_failure(tx, &name, next, &error, now).await).await?;
        Ok(Outcome::Failed(failures))
    }

    /// A trouble that is over though nothing was delivered since: `after` was corrected.
    async fn note_well(&self, standing: &Standing) -> anyhow::Result<()> {
        if standing.failures == 0 {
            return Ok(());
        }
        let name = self.config.name.clone();
        self.db.write(async move |tx| cursors::note_well(tx, &name).await).await
    }
}
