//! Whether a PBX may be asked anything at present. Sweeps and workers of one PBX share one of these.
//!
//! An error that concerns the PBX (down, locked out, password refused) pauses the PBX, not each recording: everybody
//! waits, with growing patience, and gives up together. What was learnt is kept in the database, so that the next
//! command does not have to learn it by locking itself out.
//!
//! `Gate::troubled` alone decides whether an error concerns the PBX.

mod blame;

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use blame::{Blame, Item};

use crate::base::backoff::Backoff;
use crate::config::PbxConfig;
use crate::pbx::{PbxError, Policy, Reason};
use crate::store::calls;
use crate::store::fleet::{self, Remembered};
use crate::store::queue;
use crate::store::sql::Ms;
use crate::vault::Vault;
use blame::{Refund, Suspects, Verdict};

/// The waits after a PBX was found down.
const WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));
/// When one is asked for again that got stuck by a fault of the PBX: after those that have not been asked for yet.
const GIVEN_BACK_AFTER: Duration = Duration::from_secs(1);
/// How long a device's lock-out lasts (`docs/pbx-api.md` §3.2).
const LOCKOUT: Duration = Duration::from_secs(600);

/// Why a PBX was given up for this command.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Trouble {
    pub reason: String,
    /// One sentence: what happened and what to do.
    pub message: String,
}

impl Trouble {
    /// Whether trying again by itself would do harm, or has a time of its own.
    pub fn has_its_own_end(&self) -> bool {
        matches!(&*self.reason, PAUSED | PASSWORD_REFUSED | LOCKED_OUT)
    }
}

const PAUSED: &str = "paused";
const PASSWORD_REFUSED: &str = "password_refused";
const LOCKED_OUT: &str = "locked_out";

/// Why a PBX must not be asked at present, as far as earlier runs learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    Paused,
    /// It refused the credentials in use.
    PasswordRefused,
    LockedOut(Timestamp),
}

impl Closed {
    /// A wait longer than any lock-out was set by a clock that has since been put back.
    pub fn of(remembered: &Remembered, vault: &Vault, pbx: &PbxConfig) -> Option<Self> {
        let now = vault.clock.now();
        if remembered.paused_at_ms.is_some() {
            return Some(Self::Paused);
        }
        if remembered.refused_credentials.as_deref() == Some(&vault.state.fingerprint(pbx)) {
            return Some(Self::PasswordRefused);
        }
        let longest = jiff::SignedDuration::try_from(pbx.limits.lockout_wait.max(LOCKOUT))
            .unwrap_or(jiff::SignedDuration::MAX);
        let Ms(until) = remembered.paused_until_ms?;
        (until > now && until.duration_since(now) <= longest).then_some(Self::LockedOut(until))
    }
}

#[derive(Debug)]
pub struct Gate {
    vault: Vault,
    pbx: PbxConfig,
    outage: Mutex<Outage>,
    given_up: CancellationToken,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Outage {
    since: Option<Instant>,
    failures: u32,
    suspects: Suspects,
    /// How many different items failed alike when that was found to be the PBX's failure.
    confirmed_by: usize,
    trouble: Option<Trouble>,
    /// Whether the database says that the PBX works.
    noted_working: bool,
}

impl Gate {
    /// `stop` ends waits early.
    pub fn new(vault: &Vault, pbx: &PbxConfig, stop: CancellationToken) -> Self {
        let (outage, given_up) = (Mutex::default(), CancellationToken::new());
        Self { vault: vault.clone(), pbx: pbx.clone(), outage, given_up, stop }
    }

    /// Gives the PBX up, without asking it, for what earlier runs learnt to be pointless or harmful.
    pub async fn check_remembered(&self) -> Result<()> {
        let (pbx, now) = (&self.pbx.id, self.vault.clock.now());
        let remembered = fleet::remembered(&mut *self.vault.state.db.read().await?, pbx).await?;
        let (reason, message) = match Closed::of(&remembered, &self.vault, &self.pbx) {
            None => return Ok(()),
            Some(Closed::Paused) => (PAUSED, self.paused()),
            Some(Closed::PasswordRefused) => (
                PASSWORD_REFUSED,
                format!(
                    "pbx `{pbx}` refused this user and password before, so no login is tried again: correct the password \
                     in {}, or, if it is right now, run `callvault retry --pbx {pbx}`",
                    self.pbx.password_source.display()
                ),
            ),
            Some(Closed::LockedOut(until)) => (
                LOCKED_OUT,
                format!(
                    "pbx `{pbx}` locked out this address; callvault does not contact it before {until} (in {} s), or until `callvault retry --pbx {pbx}`",
                    until.duration_since(now).as_secs(),
                ),
            ),
        };
        self.refuse(Trouble { reason: reason.into(), message }).await;
        Ok(())
    }

    pub fn given_up(&self) -> &CancellationToken {
        &self.given_up
    }

    /// Why the PBX was given up, if it was.
    pub async fn trouble(&self) -> Option<Trouble> {
        self.outage.lock().await.trouble.clone()
    }

    /// Whether the PBX has answered as it should, and nothing was wrong with it since.
    pub async fn works(&self) -> bool {
        let outage = self.outage.lock().await;
        outage.noted_working && outage.trouble.is_none()
    }

    /// Notes that the PBX answered as it should when it was asked for `item`. A download that was in flight when the PBX
    /// was given up changes nothing.
    pub async fn worked(&self, item: &Item) -> Result<()> {
        let mut outage = self.outage.lock().await;
        if outage.trouble.is_some() {
            return Ok(());
        }
        outage.suspects.clear(item);
        if outage.since.take().is_some() {
            info!(pbx = %self.pbx.id, "Pbx `{}` answers again", self.pbx.id);
        }
        outage.failures = 0;
        if !std::mem::replace(&mut outage.noted_working, true) {
            let pbx = self.pbx.id.clone();
            self.vault.state.db.write(async move |tx| fleet::clear_problem(tx, &pbx).await).await?;
        }
        Ok(())
    }

    /// Decides whose failure it is that `item` failed, after what it costs the item is in the database. If it is the PBX's,
    /// attempts that it has cost this and other recordings are given back, and this waits and returns for another try, or
    /// gives the PBX up.
    pub async fn troubled(&self, item: &Item, error: &PbxError) -> Result<Blame> {
        if error.policy().is_an_answer() {
            self.worked(item).await?;
            return Ok(Blame::Item);
        }
        let verdict = {
            let mut outage = self.outage.lock().await;
            let verdict = outage.suspects.judge(item, error);
            if let Verdict::Confirmed { items, .. } = verdict {
                outage.confirmed_by = items;
            }
            verdict
        };
        match verdict {
            Verdict::Item => return Ok(Blame::Item),
            Verdict::AtOnce => {}
            Verdict::Confirmed { refunds, .. } if refunds.is_empty() => {}
            Verdict::Confirmed { refunds, .. } => self.give_back(refunds).await?,
        }
        let may_pass = matches!(error.policy(), Policy::PausePbx | Policy::Retry);
        self.wait_or_give_up(error, may_pass).await?;
        Ok(Blame::Pbx)
    }

    /// Gives recordings back what a fault of the PBX cost them before it was known for one: none of them gets stuck by it.
    async fn give_back(&self, refunds: Vec<Refund>) -> Result<()> {
        let now = self.vault.clock.now();
        let due_at = now.checked_add(GIVEN_BACK_AFTER).unwrap_or(now);
        let db = &self.vault.state.db;
        db.write(async move |tx| {
            for Refund { row, reason, attempts } in &refunds {
                if queue::give_back(tx, *row, reason, *attempts, due_at).await? {
                    calls::reopen_for(tx, *row).await?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn wait_or_give_up(&self, error: &PbxError, may_pass: bool) -> Result<()> {
        let mut outage = self.outage.lock().await;
        outage.noted_working = false;
        if let Some(wait) = outage.next_wait(self.pbx.limits.outage_patience).filter(|_| may_pass) {
            drop(outage);
            warn!(pbx = %self.pbx.id, "{error}; trying again in {:.1} s", wait.as_secs_f64());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.given_up.cancelled() => {}
                () = self.stop.cancelled() => {}
            }
            return Ok(());
        }
        // Whoever gives up first says why; the others only met what followed.
        if outage.trouble.is_some() {
            return Ok(());
        }
        let message = match error.policy().concerns_pbx() {
            true => error.to_string(),
            false => format!(
                "{error} ({} different requests failed in this way, and none like them succeeded in between)",
                outage.confirmed_by
            ),
        };
        let trouble = Trouble { reason: error.reason().to_string(), message };
        outage.trouble = Some(trouble.clone());
        drop(outage);
        self.remember(trouble, Some(error)).await?;
        self.given_up.cancel();
        Ok(())
    }

    /// Keeps a trouble in the database for `callvault status`, with what must not be tried again after an `error` of the PBX.
    pub async fn remember(&self, trouble: Trouble, error: Option<&PbxError>) -> Result<()> {
        let (pbx, now) = (self.pbx.id.clone(), self.vault.clock.now());
        let is_refused = error.is_some_and(|error| error.reason() == Reason::PasswordRefused);
        let refused = is_refused.then(|| self.vault.state.fingerprint(&self.pbx));
        let is_lockout = error.is_some_and(|error| error.policy() == Policy::WaitOutLockout);
        let until = is_lockout.then(|| now.checked_add(self.pbx.limits.lockout_wait).unwrap_or(now));
        let db = &self.vault.state.db;
        db.write(async move |tx| {
            if let Some(hmac) = refused {
                fleet::refuse_credentials(tx, &pbx, &hmac).await?;
            }
            fleet::set_problem(tx, &pbx, &trouble.reason, &trouble.message, until, now).await
        })
        .await
    }

    /// Remembers that a PBX which works otherwise does not list its calls, until it has listed all of them.
    pub async fn unread(&self, error: &PbxError) -> Result<()> {
        if self.given_up.is_cancelled() {
            return Ok(());
        }
        // A list that is no list says itself what helps.
        let remedy =
            if error.reason() == Reason::Protocol { "" } else { ". If this persists, restart the PBX" };
        let message =
            format!("{error}; calls of that period could not be read, and every sweep tries again{remedy}");
        self.remember(Trouble { reason: error.reason().to_string(), message }, Some(error)).await
    }

    /// Gives the PBX up because an operator paused it.
    pub async fn refuse_paused(&self) {
        self.refuse(Trouble { reason: PAUSED.into(), message: self.paused() }).await;
    }

    fn paused(&self) -> String {
        format!("pbx `{0}` is paused; `callvault resume {0}` ends that", self.pbx.id)
    }

    /// Gives the PBX up for a reason that it did not give itself.
    pub async fn refuse(&self, trouble: Trouble) {
        self.outage.lock().await.trouble.get_or_insert(trouble);
        self.given_up.cancel();
    }
}

impl Outage {
    /// How long to wait after one more failure; `None` when patience is at its end.
    fn next_wait(&mut self, patience: Duration) -> Option<Duration> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let wait = WAITS.after(self.failures);
        self.failures += 1;
        (since.elapsed() + wait <= patience).then_some(wait)
    }
}
