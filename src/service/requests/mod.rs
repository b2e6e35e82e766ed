//! Requests: the work of a command as a value, done in this process or by the service that owns the state.

mod accept;
mod export;
mod failure;
mod retry;
pub(super) mod serve;

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use accept::{Accept, AcceptedDay, AcceptedFile, Subject};
pub use export::Receipt;
pub use failure::{Class, Failure, Interrupted, UsageError};
pub use retry::Retry;

use super::backfill::Backfill;
use crate::pipeline::backfill::{self, BackfillReport, Connections, RangeError, Unprinted};
use crate::pipeline::site::SiteProgress;
use crate::proof::sealed_vault::SealedVault;
use crate::proof::verify::{self, Verification};
use crate::store::fleet;

/// What a command wants done. It holds no secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Archive a range of days.
    Backfill(backfill::Request),
    /// Try again what was given up.
    Retry(Retry),
    /// Accept the list of a day, or a file that was found in the place of a recording.
    Accept(Accept),
    /// Stop working on a PBX.
    Pause(String),
    /// Work on a paused PBX again.
    Resume(String),
    /// Sign the ledger with a new key.
    RotateKey,
    /// Issue the certificates that are due of these PBXs; of all if empty.
    Certify(Vec<String>),
    /// Compare the archive with the catalog and the ledger.
    Verify(verify::Request),
    /// Sign the ledger as far as it goes.
    Seal,
    /// Enter an export that is ready to be handed out.
    Export(Receipt),
}

/// What a request came to. The command prints it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A backfill, or a retry that found work.
    Backfill {
        report: Box<BackfillReport>,
        unprinted: Unprinted,
        dry_run: bool,
    },
    /// A retry that found nothing to do; `put_back` recordings belong to PBXs that are not configured any more.
    NothingToRetry {
        put_back: u64,
    },
    /// A day's list was accepted.
    AcceptedDay(accept::AcceptedDay),
    /// A file was accepted as the recording.
    AcceptedFile(accept::AcceptedFile),
    /// A PBX was paused or resumed; `changed` is false if it was so before.
    Paused {
        pbx: String,
        paused: bool,
        changed: bool,
    },
    /// The new key that signs the ledger.
    RotatedKey {
        vkey: String,
    },
    /// So many certificates were issued.
    Certified {
        certified: u64,
    },
    Verified(verify::Report),
    Sealed,
    /// The export's entry in the ledger.
    Exported {
        ledger_number: i64,
    },
    /// An error ended the request.
    Failed(Failure),
}

/// Sees how far a request is.
pub trait Watcher: Send {
    /// So many recordings were put back into the queue, and are asked for now.
    fn put_back(&mut self, _recordings: u64) {}

    /// How far each PBX is.
    ///
    /// # Errors
    /// If it cannot be passed on.
    fn progress(&mut self, sites: Vec<SiteProgress>) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl Request {
    /// Does it. What happens to a PBX is in the outcome; an error is one that ends the command.
    pub async fn execute(
        &self,
        opened: &SealedVault,
        connections: Connections,
        stop: CancellationToken,
        watcher: &mut impl Watcher,
    ) -> anyhow::Result<Outcome> {
        match self {
            Self::Backfill(request) => backfill(opened, request.clone(), connections, stop, watcher).await,
            Self::Retry(retry) => match retry.redrive(&opened.vault, &connections).await? {
                retry::Found::Nothing { put_back } => Ok(Outcome::NothingToRetry { put_back }),
                retry::Found::Work { request, put_back } => {
                    watcher.put_back(put_back);
                    backfill(opened, request, connections, stop, watcher).await
                }
            },
            Self::Accept(accept) => accept.execute(opened).await,
            Self::Pause(pbx) => pause(opened, pbx, true).await,
            Self::Resume(pbx) => pause(opened, pbx, false).await,
            Self::RotateKey => {
                let SealedVault { vault, notary } = opened;
                let key = notary.rotate_key(&vault.state, vault.clock.now()).await?;
                Ok(Outcome::RotatedKey { vkey: key.to_vkey() })
            }
            Self::Certify(pbx) => certify(opened, pbx).await,
            Self::Verify(request) => verify(opened, request, stop).await,
            Self::Seal => {
                opened.notary.seal(opened.vault.clock.now()).await?;
                Ok(Outcome::Sealed)
            }
            Self::Export(receipt) => receipt.enter(opened).await,
        }
    }

    /// Whether it takes its time, and shows how far it is.
    pub fn is_long(&self) -> bool {
        matches!(self, Self::Backfill(_) | Self::Retry(_) | Self::Verify(_))
    }

    /// The PBX that is tried anew because of it.
    fn renews(&self) -> Option<&str> {
        match self {
            Self::Retry(retry) => retry.pbx.as_deref(),
            Self::Resume(pbx) => Some(pbx),
            _ => None,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backfill(_) => f.write_str("backfill"),
            Self::Retry(_) => f.write_str("retry"),
            Self::Accept(accept) => write!(f, "accept {}", accept.what),
            Self::Pause(pbx) => write!(f, "pause {pbx}"),
            Self::Resume(pbx) => write!(f, "resume {pbx}"),
            Self::RotateKey => f.write_str("ledger rotate-key"),
            Self::Certify(_) => f.write_str("certificates"),
            Self::Verify(request) => write!(f, "verify --{}", request.scope.as_str()),
            Self::Seal => f.write_str("sealing for an export"),
            Self::Export(_) => f.write_str("export"),
        }
    }
}

impl Outcome {
    /// Reads what the service answered.
    ///
    /// # Errors
    /// If it is of another version.
    pub fn from_answer(text: &str) -> serde_json::Result<Self> {
        Ok(match serde_json::from_str(text)? {
            Self::Backfill { report, unprinted, dry_run } => {
                Self::Backfill { report: Box::new(report.with_unprinted(&unprinted)), unprinted, dry_run }
            }
            outcome => outcome,
        })
    }

    /// Whether it was stopped before its end.
    fn is_interrupted(&self) -> bool {
        match self {
            Self::Backfill { report, .. } => report.interrupted,
            Self::Verified(report) => report.interrupted,
            Self::Failed(failure) => failure.class == Class::Interrupted,
            _ => false,
        }
    }
}

async fn backfill(
    opened: &SealedVault,
    request: backfill::Request,
    connections: Connections,
    stop: CancellationToken,
    watcher: &mut impl Watcher,
) -> anyhow::Result<Outcome> {
    let dry_run = request.dry_run;
    let report = Backfill::new(opened, request, connections, stop)?.run_watched(watcher).await?;
    Ok(Outcome::Backfill { unprinted: report.unprinted(), report: Box::new(report), dry_run })
}

async fn pause(opened: &SealedVault, pbx: &str, paused: bool) -> anyhow::Result<Outcome> {
    let vault = &opened.vault;
    RangeError::check_pbx(pbx, &vault.config.pbx)?;
    let since = paused.then(|| vault.clock.now());
    let pbx = pbx.to_owned();
    let id = pbx.clone();
    let changed = vault.state.db.write(async move |tx| fleet::pause(tx, &id, since).await).await?;
    Ok(Outcome::Paused { pbx, paused, changed })
}

/// Issues what is due of these PBXs, of all if none is named.
async fn certify(opened: &SealedVault, chosen: &[String]) -> anyhow::Result<Outcome> {
    let SealedVault { vault, notary } = opened;
    // No certificate is issued while the ledger cannot be signed; the operator sees why.
    notary.seal(vault.clock.now()).await?;
    let mut certified = 0;
    for pbx in vault.config.pbx.iter().filter(|pbx| chosen.is_empty() || chosen.contains(&pbx.id)) {
        certified += opened.issuer().issue_due(pbx).await?;
    }
    opened.seal().await?;
    Ok(Outcome::Certified { certified })
}

async fn verify(
    opened: &SealedVault,
    request: &verify::Request,
    stop: CancellationToken,
) -> anyhow::Result<Outcome> {
    for pbx in &request.pbx {
        RangeError::check_pbx(pbx, &opened.vault.config.pbx)?;
    }
    let report = Verification::new(opened, request.clone(), stop).run().await?;
    // Its entry is signed at once: nobody should have to wait for the next command.
    opened.seal().await?;
    Ok(Outcome::Verified(report))
}
