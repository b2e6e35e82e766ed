//! Being watched: the health and metrics page, alerts, and the dead man's switch. None of it ever holds up the archive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::shared::Shared;
use crate::alerts::Alerter;
use crate::vault::Vault;
use crate::web::{self, Readiness, Vitals, Workers};

/// How often it is looked whether the operator has to be told something.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long an address that could not be listened on is left alone: something else may have it for a while.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What is shown to those who watch.
#[derive(Debug, Clone)]
pub(super) struct Watching {
    pub(super) readiness: Readiness,
    pub(super) workers: Workers,
    vitals: Arc<Vitals>,
}

impl Watching {
    pub(super) fn new(vault: &Vault) -> Self {
        let (readiness, workers) = (Readiness::not_yet("callvault is starting"), Workers::default());
        let db = vault.state.db.clone();
        let vitals = Vitals::new(&vault.config, db, vault.clock.clone(), workers.clone(), readiness.clone());
        Self { readiness, workers, vitals: Arc::new(vitals) }
    }

    /// Begins to show and to tell what `vault`'s configuration asks for, until `stop`.
    pub(super) async fn begin(
        &self,
        vault: &Vault,
        alerter: Alerter,
        shared: &Arc<Shared>,
        stop: &CancellationToken,
        tasks: &mut JoinSet<anyhow::Result<()>>,
    ) {
        self.vitals.reconfigure(&vault.config).await;
        if let Some(address) = vault.config.web.listen {
            let (vitals, stop) = (self.vitals.clone(), stop.clone());
            tasks.spawn(async move {
                serve(address, vitals, stop).await;
                Ok(())
            });
        }
        let alerter = Arc::new(alerter);
        let (delivering, end) = (alerter.clone(), stop.clone());
        tasks.spawn(async move { delivering.deliver(end).await });
        let (watching, shared, stop) = (self.clone(), shared.clone(), stop.clone());
        tasks.spawn(async move { watching.tell(&alerter, &shared, &stop).await });
    }

    /// Tells the operator what is news, and the dead man's switch that we live.
    async fn tell(&self, alerter: &Alerter, shared: &Shared, stop: &CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let status = self.vitals.status().await?;
            alerter.consider(&status).await?;
            if shared.makes_progress() && status.archive.error.is_none() {
                alerter.ping_ok();
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }
}

/// Serves health and metrics. An address that is taken does not stop the archive: it is tried again.
async fn serve(address: SocketAddr, vitals: Arc<Vitals>, stop: CancellationToken) {
    if !address.ip().is_loopback() {
        warn!(
            "[web] listen {address} is open to other machines: whoever reaches it reads what is archived and how much"
        );
    }
    let mut is_told = false;
    while !stop.is_cancelled() {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let Err(error) = web::serve(listener, vitals.clone(), stop.clone()).await else { return };
                warn!("{error:#}");
            }
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    warn!(
                        "[web] listen {address} cannot be listened on ({error}): health and metrics are not served; \
                         free it, or set another address or \"off\""
                    );
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LISTEN_AGAIN_AFTER) => {}
            () = stop.cancelled() => {}
        }
    }
}
