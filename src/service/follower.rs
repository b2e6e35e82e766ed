//! Following one PBX: for as long as it may be asked, its calls are read and its recordings fetched.
//!
//! A time during which it may be asked is an *episode*. It ends when the PBX is given up, paused or taken from the
//! configuration; then the follower waits for what ends that, and begins another. No PBX's trouble reaches another.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::shared::{Seat, Shared};
use crate::base::backoff::Backoff;
use crate::base::times::zone_of;
use crate::config::{Config, PbxConfig};
use crate::http::web::Workers;
use crate::pbx::push::http::Receiver;
use crate::pipeline::backfill::own_trouble;
use crate::pipeline::forecast;
use crate::pipeline::gate::{Closed, Trouble};
use crate::pipeline::site::{Connection, SAME_DEVICE, Site};
use crate::pipeline::worker::Worker;
use crate::store::fleet;
use crate::store::queue::{DayRange, Kinds};
use crate::vault::Vault;

/// How often a waiting loop turns though nothing woke it.
pub(super) const TURN_EVERY: Duration = Duration::from_secs(30);
/// How often a corrected password file is looked for, at least.
const LOOK_FOR_PASSWORD_EVERY: Duration = Duration::from_secs(60);
/// How long the archive is left alone after it could not be written.
const ARCHIVE_WAIT: Duration = Duration::from_secs(20);
/// How often callvault forecasts what the PBX overwrites next.
const LOOK_AHEAD_EVERY: Duration = Duration::from_secs(300);
/// The first wait after a PBX was given up, as a part of the longest.
const FIRST_WAIT_PART: u32 = 20;

/// Follows one PBX until it is stopped.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) vault: Vault,
    pub(super) pbx: PbxConfig,
    pub(super) seat: Seat,
    pub(super) shared: Arc<Shared>,
    /// Receives the PBXs' reports.
    pub(super) receiver: Receiver,
    /// Counts the work of all PBXs for metrics.
    pub(super) workers: Workers,
    /// Episodes in a row that ended because the PBX was given up, and when the next may begin.
    pub(super) failures: u32,
    pub(super) retry_at: Option<Instant>,
    /// The poll of nearly full boxes that is ahead.
    pub(super) poll_ahead: Mutex<Option<AbortHandle>>,
    /// The time of the last forecast.
    pub(super) looked_ahead_at: Mutex<Option<Instant>>,
    /// The time of the last look at what no list can show.
    pub(super) looked_at_coverage_at: Mutex<Option<Instant>>,
}

/// Whether a PBX may be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    Paused,
    /// It refused this password: only another one, or an operator, helps.
    Refused,
    /// Not before this time: a lock-out, or the hours that the operator allows.
    Until(Timestamp),
    /// It was given up a moment ago.
    After(Instant),
}

impl Follower {
    pub(super) fn id(&self) -> &str {
        &self.pbx.id
    }

    /// Follows until it is stopped. An error means that the database is broken.
    pub(super) async fn follow(mut self) -> anyhow::Result<()> {
        while !self.seat.stop.is_cancelled() {
            self.seat.pulse.beat();
            self.look_ahead().await?;
            if self.seat.renew.swap(false, SeqCst) {
                self.seat.connection.client.lift_refusal().await;
                (self.failures, self.retry_at) = (0, None);
            }
            match self.standing().await? {
                Standing::Open => self.episode().await?,
                closed => self.wait(closed).await?,
            }
        }
        Ok(())
    }

    async fn standing(&self) -> anyhow::Result<Standing> {
        let now = self.vault.clock.now();
        let remembered = fleet::remembered(&mut *self.vault.state.db.read().await?, self.id()).await?;
        match Closed::of(&remembered, &self.vault, &self.pbx) {
            None => {}
            Some(Closed::Paused) => return Ok(Standing::Paused),
            Some(Closed::PasswordRefused) => return Ok(Standing::Refused),
            Some(Closed::LockedOut(until)) => return Ok(Standing::Until(until)),
        }
        let zone = zone_of(self.pbx.timezone.as_ref(), remembered.utc_offset_s);
        if let Some(opening) = self.pbx.manners.hours.next_opening(now, &zone) {
            return Ok(Standing::Until(opening));
        }
        Ok(match self.retry_at {
            Some(at) if at > Instant::now() => Standing::After(at),
            _ => Standing::Open,
        })
    }

    /// Waits for what may end `closed`; comes back in between, for the loop has to turn.
    async fn wait(&mut self, closed: Standing) -> anyhow::Result<()> {
        let mut todo = self.seat.todo.listen();
        let over = async {
            match closed {
                Standing::Until(until) => self.vault.clock.sleep_until(until).await,
                Standing::After(at) => tokio::time::sleep_until(at).await,
                Standing::Refused => {
                    tokio::time::sleep(LOOK_FOR_PASSWORD_EVERY.min(self.pbx.limits.outage_retry_max)).await;
                }
                Standing::Open | Standing::Paused => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => {}
            () = todo.rung() => {}
            () = tokio::time::sleep(TURN_EVERY), if closed != Standing::Refused => {}
            () = self.seat.stop.cancelled() => return Ok(()),
        }
        if closed == Standing::Refused {
            self.look_for_another_password()?;
        }
        Ok(())
    }

    /// Takes a corrected password from its file, so that nobody has to restart anything.
    fn look_for_another_password(&mut self) -> anyhow::Result<()> {
        // A reload reports what is wrong with the configuration meanwhile.
        let Ok(config) = Config::load(&self.vault.config.file) else { return Ok(()) };
        let Some(found) = config.pbx.into_iter().find(|pbx| pbx.id == self.pbx.id) else { return Ok(()) };
        let mut corrected = self.pbx.clone();
        corrected.password = found.password;
        if self.vault.state.fingerprint(&corrected) != self.vault.state.fingerprint(&self.pbx) {
            info!(pbx = self.id(), "Pbx `{}` has another password now: trying it", self.id());
            self.pbx = corrected;
            // Of its own, for this client knows the other password. That one had no session.
            self.seat.connection.client = Connection::new(&self.pbx)?.client;
            self.shared.seat(self.id(), |seat| seat.connection = self.seat.connection.clone());
            self.workers.add(self.seat.connection.client.clone(), self.seat.progress.clone());
            self.seat.renew.store(true, SeqCst);
        }
        Ok(())
    }

    /// Works on the PBX until it is given up, or may not be asked any more.
    async fn episode(&mut self) -> anyhow::Result<()> {
        let end = self.seat.stop.child_token();
        let (connection, downloads) = (self.seat.connection.clone(), self.shared.downloads.clone());
        let progress = self.seat.progress.clone();
        let site = &Arc::new(Site::new(&self.vault, &self.pbx, connection, downloads, progress, end.clone()));
        let began = Instant::now();
        let (looked, fetched, watched, registered) = tokio::join!(
            ended(&end, self.look(site)),
            ended(&end, self.fetch(site)),
            ended(&end, self.watch(site)),
            ended(&end, self.stay_registered(site)),
        );
        looked.and(fetched).and(watched).and(registered)?;
        let trouble = site.gate.trouble().await;
        self.shared.note_trouble(self.id(), trouble.clone());
        match trouble {
            Some(trouble) => self.give_up(&trouble, began),
            None => (self.failures, self.retry_at) = (0, None),
        }
        Ok(())
    }

    /// Puts the next episode off, the longer the more in a row came to nothing.
    fn give_up(&mut self, trouble: &Trouble, began: Instant) {
        let longest = self.pbx.limits.outage_retry_max;
        // One that lasted was no failure: the PBX worked in between.
        self.failures = if began.elapsed() > longest { 1 } else { self.failures + 1 };
        let waits = Backoff::new(longest / FIRST_WAIT_PART, longest);
        let wait = if trouble.reason == SAME_DEVICE { longest } else { waits.after(self.failures - 1) };
        if trouble.has_its_own_end() {
            warn!(pbx = self.id(), "{}", trouble.message);
        } else {
            warn!(pbx = self.id(), "{}; trying again in {:.0} s", trouble.message, wait.as_secs_f64());
        }
        self.retry_at = Some(Instant::now() + wait);
    }

    /// Ends the episode when the PBX may not be asked any more.
    async fn watch(&self, site: &Site) -> anyhow::Result<()> {
        let mut todo = self.seat.todo.listen();
        loop {
            tokio::select! {
                () = todo.rung() => {}
                () = tokio::time::sleep(TURN_EVERY) => {}
                () = site.over() => return Ok(()),
            }
            if self.seat.renew.load(SeqCst) || self.standing().await? != Standing::Open {
                return Ok(());
            }
        }
    }

    /// Fetches what the queue holds, for as long as the episode lasts.
    async fn fetch(&self, site: &Arc<Site>) -> anyhow::Result<()> {
        while !site.is_over() {
            // A token that nobody cancels: there may always be more.
            let worker = Worker::new(site, DayRange::ALL, Kinds::All, CancellationToken::new());
            let Err(error) = worker.run().await else { break };
            let trouble = own_trouble(error)?;
            warn!(pbx = self.id(), "Nothing can be archived at present: {}", trouble.message);
            // The next complete reading of its calls forgets it; what lasts is remembered again by then.
            site.gate.remember(trouble.clone(), None).await?;
            self.shared.note_archive_trouble(Some(trouble));
            tokio::select! {
                () = tokio::time::sleep(ARCHIVE_WAIT) => {}
                () = site.over() => {}
            }
            self.shared.note_archive_trouble(None);
        }
        Ok(())
    }

    /// Forecasts now and then what the PBX overwrites next, also while it may not be asked: that is when it matters.
    pub(super) async fn look_ahead(&self) -> anyhow::Result<()> {
        let is_due = {
            let mut looked_at = self.looked_ahead_at.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = looked_at.is_none_or(|at| at.elapsed() >= LOOK_AHEAD_EVERY);
            if is_due {
                *looked_at = Some(Instant::now());
            }
            is_due
        };
        if is_due {
            forecast::note(&self.vault.state.db, &self.pbx, self.vault.clock.now()).await?;
        }
        Ok(())
    }
}

/// Runs a part of an episode and ends the others with it.
async fn ended<T>(end: &CancellationToken, part: impl Future<Output = T>) -> T {
    let outcome = part.await;
    end.cancel();
    outcome
}
