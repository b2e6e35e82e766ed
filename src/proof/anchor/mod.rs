//! Anchors: what parties that gain nothing from a false statement say about the ledger's checkpoints.
//!
//! ```text
//! checkpoint published ──► witnesses sign it too ──► authorities stamp its bytes ──► anchor/<size>.checkpoint and .tsr ──►
//! row
//! ```
//! A signed checkpoint proves what the ledger is. But whoever has the key could sign another history tomorrow, and backdate
//! it. A time-stamp authority (RFC 3161) says when it saw the exact bytes of a checkpoint; a witness (C2SP tlog-witness) says
//! that each checkpoint continues the one it saw before. Neither learns more than hashes and sizes.
//!
//! A token counts if certificates of the operator verify it (`anchor::trust`): when it arrives, when the service starts, in
//! `verify`, and in exports. Other tokens are called not verified.
//!
//! Nothing waits for anchors: a party that does not answer is asked again after growing waits, and reported.

mod authority;
mod timestamp;
mod trust;
mod witness;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use authority::{TokenName, tokens};
pub use timestamp::{Token, read as read_token};
pub use trust::{Evidence, Roots, TIME_OFF_MAX, Trust, Unproven};

use crate::archive::ArchiveError;
use crate::base::backoff::Backoff;
use crate::base::bell::Bell;
use crate::base::blocking::blocking;
use crate::base::clock::Clock;
use crate::config::{AnchorsConfig, AuthorityConfig};
use crate::outbound::http::Client;
use crate::proof::notary::{Notary, Published, PublishedError, Sealed};
use crate::store::anchors::{self, Kind};
use crate::store::db::Db;
use crate::store::sql::Ms;

pub const FOLDER: &str = "anchor";
/// How often to check who is due if no bell rings.
const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(30);

/// Why a party did not vouch for a checkpoint, for the operator. The next try may succeed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unanchored(String);

/// Sends the published checkpoint to each authority and witness, and stores their answers.
#[derive(Debug)]
pub struct Anchorer {
    db: Db,
    clock: Clock,
    notary: Arc<Notary>,
    root: PathBuf,
    config: AnchorsConfig,
    client: Client,
    waits: Waits,
    /// One stores at a time: two authorities may have stamped one checkpoint, which is stored once.
    storing: tokio::sync::Mutex<()>,
}

impl Anchorer {
    pub fn new(
        config: AnchorsConfig,
        root: PathBuf,
        notary: Arc<Notary>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let client = Client::new(config.timeout).context("preparing to anchor")?;
        Ok(Self {
            db: notary.db.clone(),
            clock,
            notary,
            root,
            config,
            client,
            waits: Waits::default(),
            storing: tokio::sync::Mutex::default(),
        })
    }

    /// Anchors until `stop`: when `sealed` rings, and as time passes.
    pub async fn run(&self, sealed: &Bell, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut sealed = sealed.listen();
        self.take_stock().await?;
        while !stop.is_cancelled() {
            sealed.forget();
            // If cut off, it leaves at most a token without a row, which is adopted later.
            tokio::select! {
                outcome = self.round() => outcome?,
                () = stop.cancelled() => {}
            }
            let look_again = self.clock.now().checked_add(LOOK_EVERY).unwrap_or(Timestamp::MAX);
            tokio::select! {
                () = sealed.rung() => {}
                () = self.clock.sleep_until(look_again) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Once at the start: adopts tokens without a row, stores the certificates beside them, and judges the latest tokens by
    /// the certificates of now. Files that cannot be read or written are only logged.
    pub async fn take_stock(&self) -> anyhow::Result<()> {
        for outcome in [self.adopt().await, self.keep_certificates().await, self.judge_latest().await] {
            if let Err(error) = outcome {
                warn!("The time-stamp tokens beside the ledger cannot be checked: {}", passing(error)?);
            }
        }
        Ok(())
    }

    /// Shows the published checkpoint to all who are due. On return each has vouched for it, or the reason is recorded.
    pub async fn round(&self) -> anyhow::Result<()> {
        let Some(mut sealed) = self.published().await? else { return Ok(()) };
        // Witnesses first, so that the stamped bytes include their signatures.
        for witness in &self.config.witnesses {
            if self.is_due(Kind::Witness, witness.key.name(), sealed.size).await? {
                let cosigned = self.have_cosigned(witness, &sealed).await;
                let outcome = cosigned.map(|cosigned| sealed = cosigned);
                self.note(Kind::Witness, witness.key.name(), outcome).await?;
            }
        }
        // Concurrently, so that a silent one delays no other.
        let authorities = self.config.authorities.iter();
        try_join_all(authorities.map(|authority| self.show_to(authority, &sealed))).await.map(drop)
    }

    async fn show_to(&self, authority: &AuthorityConfig, sealed: &Sealed) -> anyhow::Result<()> {
        if !self.is_due(Kind::Authority, &authority.name, sealed.size).await? {
            return Ok(());
        }
        let outcome = self.have_stamped(authority, sealed).await;
        self.note(Kind::Authority, &authority.name, outcome).await
    }

    /// The checkpoint that others see; none if it is not of our key, which the notary reports.
    async fn published(&self) -> anyhow::Result<Option<Sealed>> {
        let (root, key) = (self.root.clone(), self.notary.key().await);
        let read = move || Published::open(&root)?.map_or(Ok(None), |ledger| ledger.checkpoint(&[key]));
        match blocking(read).await {
            Ok(read) => Ok(read.map(|(checkpoint, note)| Sealed {
                size: checkpoint.size,
                root: checkpoint.root,
                note,
            })),
            Err(error) => {
                debug!("The published checkpoint cannot be anchored at present: {}", passing(error)?);
                Ok(None)
            }
        }
    }

    /// Whether `name` should be shown a checkpoint of `size` now: it is new, the last one was long ago, and no wait is on.
    async fn is_due(&self, kind: Kind, name: &str, size: u64) -> anyhow::Result<bool> {
        let now = self.clock.now();
        let standing = anchors::standing(&mut *self.db.read().await?, kind, name).await?;
        let is_new = size > standing.size;
        let age_ms =
            standing.reached_at_ms.map(|Ms(at)| i128::from(now.as_millisecond() - at.as_millisecond()));
        // A time in the future was recorded by a clock that was put back since.
        let every_ms = i128::try_from(self.config.every.as_millis())?;
        let is_fresh = age_ms.is_some_and(|age_ms| (0..every_ms).contains(&age_ms));
        Ok(is_new && !is_fresh && self.waits.is_over(&wait_key(kind, name), now))
    }

    /// Records the outcome; after a failure the party is left alone for a while.
    async fn note(&self, kind: Kind, name: &str, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        let (key, now) = (wait_key(kind, name), self.clock.now());
        let Err(error) = outcome else {
            if self.waits.end(&key) {
                info!("The {} `{name}` confirms the ledger again", kind.as_str());
            }
            return Ok(());
        };
        let error = passing(error)?;
        if self.waits.lengthen(&key, now) {
            warn!("The ledger is not anchored (archiving goes on): {error}");
        }
        let name = name.to_owned();
        self.db.write(async move |tx| anchors::note_failure(tx, kind, &name, &error, now).await).await
    }
}

fn wait_key(kind: Kind, name: &str) -> String {
    format!("{} {name}", kind.as_str())
}

/// A failure that may pass, as a sentence; any other is an error.
fn passing(error: anyhow::Error) -> anyhow::Result<String> {
    let is_passing = error.is::<Unanchored>() || error.is::<ArchiveError>() || error.is::<PublishedError>();
    if is_passing { Ok(format!("{error:#}")) } else { Err(error) }
}

const LONGEST: Duration = Duration::from_secs(3600);
const WAITS: Backoff = Backoff::new(Duration::from_secs(60), LONGEST);

/// The failures in a row of each party, and until when it is left alone. A restart forgets them: one more request does no
/// harm.
#[derive(Debug, Default)]
struct Waits(Mutex<BTreeMap<String, (u32, Timestamp)>>);

impl Waits {
    fn is_over(&self, name: &str, now: Timestamp) -> bool {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A longer wait than the longest was set by a clock that was put back since.
        let is_over = |until: Timestamp| until <= now || until.duration_since(now).unsigned_abs() > LONGEST;
        waits.get(name).is_none_or(|(_, until)| is_over(*until))
    }

    /// Starts a longer wait than the last one; returns whether this is the first failure in a row.
    fn lengthen(&self, name: &str, now: Timestamp) -> bool {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = waits.get(name).map_or(0, |(failures, _)| *failures);
        let until = now.checked_add(WAITS.after(failures)).unwrap_or(Timestamp::MAX);
        waits.insert(name.to_owned(), (failures.saturating_add(1), until));
        failures == 0
    }

    /// Ends the wait; returns whether there was one.
    fn end(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_and_do_not_outlive_a_clock_that_was_put_back() {
        let waits = Waits::default();
        let mut now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24);
        for (number, minutes) in [1, 2, 4, 8, 16, 32, 60, 60, 60].into_iter().enumerate() {
            assert!(waits.is_over("tsa", now));
            assert_eq!(waits.lengthen("tsa", now), number == 0);
            now += SignedDuration::from_mins(minutes) - SignedDuration::from_secs(1);
            assert!(!waits.is_over("tsa", now), "{minutes}");
            now += SignedDuration::from_secs(1);
        }
        waits.lengthen("tsa", now);
        assert!(!waits.is_over("tsa", now));
        assert!(waits.is_over("tsa", now - SignedDuration::from_hours(2)));
        assert!(waits.end("tsa") && !waits.end("tsa") && waits.is_over("tsa", now));
    }
}
