//! A backfill: sweep a range of days and archive what it names, until nothing more can be done now.
//!
//! All PBXs work at the same time and none waits for another. `retry` is the same without the sweep.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::requests::Watcher;
use crate::config::PbxConfig;
use crate::pipeline::backfill::{BackfillReport, Connections, RangeError, Request, check, own_trouble};
use crate::pipeline::site::{Connection, Site};
use crate::proof::seal;
use crate::proof::sealed_vault::SealedVault;
use crate::watch::coverage::{self, Scope};

/// How often a watcher sees how far it is.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// How often `SHA256SUMS` are brought up to date meanwhile; they must never lag by a minute.
const SUMS_EVERY: Duration = Duration::from_secs(30);

/// A backfill that is ready to run: its sites can be watched.
#[derive(Debug)]
pub struct Backfill<'a> {
    opened: &'a SealedVault,
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
        opened: &'a SealedVault,
        request: Request,
        mut connections: Connections,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let chosen = chosen(&request.pbx, &opened.vault.config.pbx)?;
        check(&request, &chosen)?;
        let halt = stop.child_token();
        let vault = &opened.vault;
        let total = vault.config.queue.concurrency_total;
        let downloads = connections.downloads.unwrap_or_else(|| Arc::new(Semaphore::new(total)));
        let mut sites = Vec::new();
        for pbx in chosen {
            let connection =
                connections.by_pbx.remove(&pbx.id).map_or_else(|| Connection::of_command(pbx), Ok)?;
            let (downloads, stop) = (downloads.clone(), halt.child_token());
            sites.push(Arc::new(Site::new(vault, pbx, connection, downloads, Arc::default(), stop)));
        }
        Ok(Self { opened, request, sites, stop, halt })
    }

    pub fn sites(&self) -> &[Arc<Site>] {
        &self.sites
    }

    /// Runs to the end, and shows `watcher` how far it is. Whatever happens to one PBX is in its report; only this machine's own
    /// trouble is an error.
    ///
    /// On return no claim is left, and the sums and call lists of all days worked on are complete, unless the archive
    /// is in trouble.
    pub async fn run(&self, watcher: &mut impl Watcher) -> anyhow::Result<BackfillReport> {
        let began = Instant::now();
        let ended = CancellationToken::new();
        let run = async {
            let runs = self.sites.iter().map(async |site| {
                let report = site.run(&self.request).await;
                if report.is_err() {
                    // The database is broken: no other site can work either.
                    self.halt.cancel();
                }
                Ok::<_, anyhow::Error>((site.id().to_owned(), report?))
            });
            let outcomes = futures_util::future::join_all(runs).await;
            ended.cancel();
            outcomes
        };
        let (outcomes, (), shown) =
            tokio::join!(run, self.seal_meanwhile(&ended), self.show(watcher, &ended));
        shown?;
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

    async fn show(&self, watcher: &mut impl Watcher, end: &CancellationToken) -> anyhow::Result<()> {
        while end.run_until_cancelled(tokio::time::sleep(SHOW_EVERY)).await.is_some() {
            let shown = watcher.progress(self.sites.iter().map(|site| site.progress()).collect()).await;
            if shown.is_err() {
                self.halt.cancel();
                return shown;
            }
        }
        Ok(())
    }

    /// Logs a failure and tries again: the last sealing decides.
    async fn seal_meanwhile(&self, end: &CancellationToken) {
        while end.run_until_cancelled(tokio::time::sleep(SUMS_EVERY)).await.is_some() {
            if let Err(error) = self.opened.seal().await {
                warn!("SHA256SUMS and ledger cannot be brought up to date: {error:#}");
            }
        }
    }

    /// Looks what no list can show, so that certificates name it. Writes call lists of all days, for an interrupted run may have
    /// left some, and certificates of those that settled; then the sums, whatever became of the others. While this machine is
    /// in trouble certificates wait: room that is left on a full disk is for recordings.
    async fn seal(&self, certify: bool) -> anyhow::Result<()> {
        let vault = &self.opened.vault;
        let (db, mut outcome) = (&vault.state.db, Ok(()));
        // Interrupted, a list of all that is missing would take longer than anybody waits: the next run writes it.
        for site in self.sites.iter().filter(|_| !self.stop.is_cancelled()) {
            coverage::look(db, site.pbx(), &vault.config.must_record, Scope::AllDays, vault.clock.now())
                .await?;
            let listed = seal::write_calls(db, &vault.archive, site.id(), vault.clock.now());
            outcome = outcome.and(listed.await);
            if certify {
                let certified = self.opened.issuer().issue_due(site.pbx()).await;
                outcome = outcome.and(certified.map(drop));
            }
        }
        let sealed = self.opened.seal().await.map(drop);
        outcome.and(sealed)
    }
}

/// The PBXs asked for, all if `ids` is empty; each once however often it was named: two sessions on one PBX are one too many.
///
/// # Errors
/// For the first id that is not configured.
pub fn chosen<'a>(ids: &[String], configured: &'a [PbxConfig]) -> Result<Vec<&'a PbxConfig>, RangeError> {
    ids.iter().try_for_each(|id| RangeError::check_pbx(id, configured))?;
    Ok(configured.iter().filter(|pbx| ids.is_empty() || ids.contains(&pbx.id)).collect())
}
