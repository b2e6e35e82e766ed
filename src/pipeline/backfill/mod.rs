//! A backfill: sweep a range of days and archive what it names, until nothing more can be done now.
//!
//! All PBXs work at the same time and none waits for another. `retry` is the same without the sweep.

mod line;
mod meeting;
mod range;
mod report;
mod site;
mod task;
mod trouble;
mod voicemail;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub(crate) use line::Line;
pub use line::{Phase, SiteProgress};
pub(crate) use meeting::Met;
pub use range::RangeError;
pub use report::{BackfillReport, PbxReport};
pub use site::Site;
pub(crate) use task::Task;
pub(crate) use trouble::{SAME_DEVICE, own_trouble};
pub use voicemail::VoicemailReport;

use crate::config::PbxConfig;
use crate::proof::seal;
use crate::store::queue::DayRange;
use crate::vault::Vault;
use crate::watch::coverage::{self, Scope};

/// How often `SHA256SUMS` are brought up to date meanwhile; they must never lag by a minute.
const SUMS_EVERY: Duration = Duration::from_secs(30);

/// What a backfill is asked to do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Request {
    /// The PBXs; all if empty.
    pub pbx: Vec<String>,
    /// The first PBX-local day.
    pub from: Option<Date>,
    /// The last PBX-local day, included.
    pub to: Option<Date>,
    /// CSV files to read the CDR from, instead of the API.
    pub cdr: Vec<PathBuf>,
    /// Poll the voicemail boxes too, and archive what they hold.
    pub voicemail: bool,
    /// Sweep and say what would be fetched; fetch nothing.
    pub dry_run: bool,
    /// Do not sweep: work on what the queue holds already for these days.
    pub queue_only: Option<DayRange>,
}

impl Request {
    /// Whether it is to cover whatever the PBXs keep.
    fn is_undated(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.queue_only.is_none()
    }
}

/// The lines to work over: those of a service that follows the PBXs already, or lines of one's own.
#[derive(Debug, Default)]
pub struct Lines {
    /// By PBX; one that is not here gets a line of its own.
    pub(crate) by_pbx: BTreeMap<String, Line>,
    /// Downloads at one time over all PBXs; counted anew if not given.
    pub(crate) downloads: Option<Arc<Semaphore>>,
}

/// A backfill that is ready to run: its sites can be watched.
#[derive(Debug)]
pub struct Backfill<'a> {
    vault: &'a Vault,
    request: Request,
    sites: Vec<Arc<Site>>,
    /// Cancelled by whoever asked for the backfill.
    stop: CancellationToken,
    /// Cancelled with `stop`, and when nobody can go on.
    halt: CancellationToken,
}

impl<'a> Backfill<'a> {
    /// Prepares a backfill; nothing is asked of a PBX yet. `stop` ends it in good order.
    ///
    /// # Errors
    /// [`RangeError`] for a request that makes no sense.
    pub fn new(
        vault: &'a Vault,
        request: Request,
        mut lines: Lines,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let chosen = chosen(vault, &request)?;
        range::check(&request, &chosen)?;
        let halt = stop.child_token();
        let total = vault.config.queue.concurrency_total;
        let downloads = lines.downloads.unwrap_or_else(|| Arc::new(Semaphore::new(total)));
        let sites = chosen
            .into_iter()
            .map(|pbx| {
                let line = lines.by_pbx.remove(&pbx.id).map_or_else(|| Line::of_command(pbx), Ok)?;
                Ok(Arc::new(Site::new(vault, pbx, line, downloads.clone(), halt.child_token())))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { vault, request, sites, stop, halt })
    }

    /// The PBXs at work, for whoever shows their progress.
    pub fn sites(&self) -> &[Arc<Site>] {
        &self.sites
    }

    /// Runs to the end. Whatever happens to one PBX is in its report; only this machine's own trouble is an error.
    ///
    /// On return no claim is left, and the sums and call lists of all days worked on are complete, unless the archive
    /// is in trouble.
    pub async fn run(&self) -> anyhow::Result<BackfillReport> {
        let began = Instant::now();
        let sealing = CancellationToken::new();
        let runs = async {
            let runs = self.sites.iter().map(|site| self.run_site(site));
            let outcomes = futures_util::future::join_all(runs).await;
            sealing.cancel();
            outcomes
        };
        let (outcomes, ()) = tokio::join!(runs, self.seal_meanwhile(&sealing));
        let mut report = BackfillReport::default();
        for outcome in outcomes {
            let (id, of_pbx) = outcome?;
            report.add(id, of_pbx);
        }
        if !self.request.dry_run
            && let Err(error) = self.seal(report.trouble.is_none()).await
        {
            report.trouble.get_or_insert(own_trouble(error)?);
        }
        report.elapsed_s = began.elapsed().as_secs_f64();
        report.interrupted = self.stop.is_cancelled();
        Ok(report)
    }

    async fn run_site(&self, site: &Arc<Site>) -> anyhow::Result<(String, PbxReport)> {
        let report = site.run(self.vault, &self.request).await;
        if report.is_err() {
            // The database is broken: no other site can work either.
            self.halt.cancel();
        }
        Ok((site.id().to_owned(), report?))
    }

    /// A failure is told now and tried again: the last sealing decides.
    async fn seal_meanwhile(&self, end: &CancellationToken) {
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                () = tokio::time::sleep(SUMS_EVERY) => {}
            }
            if let Err(error) = self.vault.seal().await {
                warn!("SHA256SUMS and ledger cannot be brought up to date: {error:#}");
            }
        }
    }

    /// What no list can show, so that certificates name it. Call lists of all days, for an interrupted run may have left some, and certificates of those that settled; then the
    /// sums, whatever became of the others. While this machine is in trouble certificates wait: room that is left on a full
    /// disk is for recordings.
    async fn seal(&self, certify: bool) -> anyhow::Result<()> {
        let (db, archive) = (&self.vault.state.db, &self.vault.archive);
        let mut outcome = Ok(());
        // Interrupted, a list of all that is owed would take longer than anybody waits: the next run writes it.
        for site in self.sites.iter().filter(|_| !self.stop.is_cancelled()) {
            let (rules, now) = (&self.vault.config.must_record, self.vault.clock.now());
            coverage::look(&self.vault.state.db, &site.pbx, rules, Scope::AllDays, now).await?;
            let listed =
                seal::write_calls(db, archive, site.id(), DayRange::ALL, self.vault.clock.now()).await;
            outcome = outcome.and(listed);
            if certify {
                let certified = self.vault.issuer().issue_due(&site.pbx).await;
                outcome = outcome.and(certified.map(drop));
            }
        }
        let sealed = self.vault.seal().await.map(drop);
        outcome.and(sealed)
    }
}

/// The PBXs asked for, each once however often it was named: two sessions on one PBX are one too many.
fn chosen<'a>(vault: &'a Vault, request: &Request) -> Result<Vec<&'a PbxConfig>, RangeError> {
    let configured = &vault.config.pbx;
    if let Some(unknown) = request.pbx.iter().find(|id| !configured.iter().any(|pbx| pbx.id == **id)) {
        return Err(RangeError::unknown_pbx(unknown, configured));
    }
    Ok(configured.iter().filter(|pbx| request.pbx.is_empty() || request.pbx.contains(&pbx.id)).collect())
}
