//! Requests: the work of a command as a value, done in this process or by the service that owns the state.

mod accept;
mod failure;
pub(super) mod serve;

use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use crate::pipeline::worker::AcceptedFile;
pub use accept::{Accept, AcceptedDay, Subject};
pub use failure::{Class, Failure, Interrupted, UsageError};

use super::backfill::{Backfill, chosen};
use crate::base::recording::RecordingName;
use crate::pipeline::backfill::{self, BackfillReport, Connections, RangeError, Unprinted};
use crate::pipeline::site::SiteProgress;
use crate::proof::export::Report;
use crate::proof::sealed_vault::SealedVault;
use crate::proof::verify::{self, Verification};
use crate::store::ledger::{self, Entry, EntryType};
use crate::store::queue::{self, DayRange, Redrive, Redriven};
use crate::store::{calls, findings, fleet};
use crate::vault::Vault;

/// What a command wants done. It holds no secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Backfill(backfill::Request),
    Retry(Retry),
    /// Accept the list of a day, or a file that was found in the place of a recording.
    Accept(Accept),
    Pause(String),
    Resume(String),
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
    Backfill { report: Box<BackfillReport>, unprinted: Unprinted, dry_run: bool },
    /// A retry that found nothing to do; `put_back` recordings belong to PBXs that are not configured any more.
    NothingToRetry { put_back: u64 },
    /// The list of a day was accepted as it is.
    AcceptedDay(AcceptedDay),
    /// A file was accepted as the recording in whose place it is.
    AcceptedFile(AcceptedFile),
    /// A PBX was paused or resumed; `changed` is false if it was so before.
    Paused { pbx: String, paused: bool, changed: bool },
    /// The ledger has a new key.
    RotatedKey { vkey: String },
    /// So many certificates were issued.
    Certified { certified: u64 },
    /// The archive was compared with the catalog and the ledger.
    Verified(verify::Report),
    /// The ledger is signed as far as it goes.
    Sealed,
    /// An export was entered, under this number.
    Exported { ledger_number: i64 },
    /// An error ended it.
    Failed(Failure),
}

/// Sees how far a request is.
pub trait Watcher: Send {
    /// So many recordings were put back into the queue, and are asked for now.
    fn put_back(&mut self, _recordings: u64) {}

    /// How far each PBX is.
    fn progress(&mut self, sites: Vec<SiteProgress>) -> impl Future<Output = Result<()>> + Send;
}

/// Nobody looks.
impl Watcher for () {
    async fn progress(&mut self, _sites: Vec<SiteProgress>) -> Result<()> {
        Ok(())
    }
}

impl Request {
    /// Does it. What happens to a PBX is in the outcome; an error is one that ends the command.
    pub async fn execute(
        &self,
        opened: &SealedVault,
        connections: Connections,
        stop: CancellationToken,
        watcher: &mut impl Watcher,
    ) -> Result<Outcome> {
        match self {
            Self::Backfill(request) => backfill(opened, request.clone(), connections, stop, watcher).await,
            Self::Retry(retry) => {
                let (put_back, request) = retry.redrive(&opened.vault, &connections).await?;
                let Some(request) = request else { return Ok(Outcome::NothingToRetry { put_back }) };
                watcher.put_back(put_back);
                backfill(opened, request, connections, stop, watcher).await
            }
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
) -> Result<Outcome> {
    let dry_run = request.dry_run;
    let report = Backfill::new(opened, request, connections, stop)?.run(watcher).await?;
    Ok(Outcome::Backfill { unprinted: report.unprinted(), report: Box::new(report), dry_run })
}

async fn pause(opened: &SealedVault, pbx: &str, paused: bool) -> Result<Outcome> {
    let vault = &opened.vault;
    RangeError::check_pbx(pbx, &vault.config.pbx)?;
    let since = paused.then(|| vault.clock.now());
    let pbx = pbx.to_owned();
    let id = pbx.clone();
    let changed = vault.state.db.write(async move |tx| fleet::pause(tx, &id, since).await).await?;
    Ok(Outcome::Paused { pbx, paused, changed })
}

/// Issues what is due of these PBXs, of all if none is named.
async fn certify(opened: &SealedVault, chosen: &[String]) -> Result<Outcome> {
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

async fn verify(opened: &SealedVault, request: &verify::Request, stop: CancellationToken) -> Result<Outcome> {
    chosen(&request.pbx, &opened.vault.config.pbx)?;
    let report = Verification::new(opened, request.clone(), stop).run().await?;
    // Its entry is signed at once: nobody should have to wait for the next command.
    opened.seal().await?;
    Ok(Outcome::Verified(report))
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Retry {
    /// Only this PBX; its pause is lifted, and its findings count as seen.
    pub pbx: Option<String>,
    pub stuck: bool,
    /// Only these; a recording's name may hold any bytes.
    pub names: Vec<Vec<u8>>,
}

impl Retry {
    /// Refuses a name that names nothing, before anything is opened or asked.
    pub fn check(&self) -> Result<(), UsageError> {
        self.parse().map(drop)
    }

    fn parse(&self) -> Result<Redrive, UsageError> {
        let empty = || UsageError("a NAME is empty: leave it out to retry all recordings".to_owned());
        let names = self.names.iter().map(|name| RecordingName::new(name.clone()).ok_or_else(empty));
        Ok(Redrive { pbx: self.pbx.clone(), stuck_only: self.stuck, names: names.collect::<Result<_, _>>()? })
    }

    /// Puts back what was chosen: how many recordings, and the range to work on now. There is none if all belong to PBXs that are
    /// not configured any more.
    async fn redrive(
        &self,
        vault: &Vault,
        connections: &Connections,
    ) -> Result<(u64, Option<backfill::Request>)> {
        let what = self.parse()?;
        let configured = |id: &String| vault.config.pbx.iter().any(|pbx| pbx.id == *id);
        if let Some(pbx) = &what.pbx {
            RangeError::check_pbx(pbx, &vault.config.pbx)?;
        }
        let Redriven { count: put_back, pbx, days, .. } = put_back(vault, what.clone()).await?;
        if let Some(connection) = what.pbx.as_ref().and_then(|pbx| connections.by_pbx.get(pbx)) {
            connection.client.lift_refusal().await;
        }
        if !what.names.is_empty() && put_back == 0 {
            let message = format!(
                "nothing to retry under {}: it is archived, excluded by a rule, or unknown (with --stuck: not stuck)",
                what.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            );
            return Err(UsageError(message).into());
        }
        // What was put back chooses where to work, unless the operator chose: an empty choice would mean every PBX.
        let chosen: Vec<String> = what.pbx.map_or(pbx, |pbx| vec![pbx]);
        let chosen: Vec<String> = chosen.into_iter().filter(configured).collect();
        if chosen.is_empty() && (what.stuck_only || put_back > 0) {
            return Ok((put_back, None));
        }
        let queue_only = Some(days.unwrap_or(DayRange::ALL));
        Ok((put_back, Some(backfill::Request { pbx: chosen, queue_only, ..backfill::Request::default() })))
    }
}

/// An operator who names a PBX has looked at it: its pause is lifted, and its findings count as seen.
async fn put_back(vault: &Vault, what: Redrive) -> Result<Redriven> {
    let (db, now) = (&vault.state.db, vault.clock.now());
    db.write(async move |tx| {
        if let Some(pbx) = &what.pbx {
            fleet::clear_problem(tx, pbx).await?;
            findings::acknowledge(tx, pbx, now).await?;
        }
        let redriven = queue::redrive(tx, &what).await?;
        calls::reopen_all(tx, &redriven.changed).await?;
        Ok(redriven)
    })
    .await
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Receipt {
    /// The SHA-256 of its `tagmanifest-sha256.txt`.
    bag_sha256: String,
    from: String,
    to: String,
    files: u64,
}

impl Receipt {
    pub fn of(report: &Report) -> Self {
        Self {
            bag_sha256: report.bag_sha256.to_string(),
            from: report.from.clone().unwrap_or_default(),
            to: report.to.clone().unwrap_or_default(),
            files: report.files,
        }
    }

    /// Enters the export into the ledger, and signs that.
    ///
    /// # Errors
    /// [`NotaryError`](crate::proof::notary::NotaryError) if it must not be signed: then nothing is handed out.
    async fn enter(&self, opened: &SealedVault) -> Result<Outcome> {
        let SealedVault { vault, notary } = opened;
        let entry = Entry::new(EntryType::Export, vault.clock.now())
            .with("bag_sha256", self.bag_sha256.as_str())
            .with("from", self.from.as_str())
            .with("to", self.to.as_str())
            .with("files", self.files);
        let ledger_number = vault.state.db.write(async move |tx| ledger::append(tx, &entry).await).await?;
        notary.seal(vault.clock.now()).await?;
        Ok(Outcome::Exported { ledger_number })
    }
}
