//! Being watched: the health and metrics page, alerts, and the dead man's switch. None of it ever holds up the archive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::shared::Shared;
use crate::config::{Config, PLAIN_TOKENS_REMEDY};
use crate::http::feed::Feed;
use crate::http::web::{Readiness, Server, Vitals, Workers};
use crate::store::fleet;
use crate::vault::Vault;
use crate::watch::alerts::Alerter;

/// How often the alerter looks at the state of everything.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How often an address is tried at once before it counts as taken.
const TRIES_AT_ONCE: u32 = 15;
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
        match vault.config.web.listen {
            None => note_trouble(vault, String::new()).await,
            Some(address) => {
                let (vitals, vault, stop) = (self.vitals.clone(), vault.clone(), stop.clone());
                tasks.spawn(async move {
                    serve(address, vitals, &vault, stop).await;
                    Ok(())
                });
            }
        }
        let alerter = Arc::new(alerter);
        let (delivering, end) = (alerter.clone(), stop.clone());
        tasks.spawn(async move { delivering.deliver(end).await });
        let (watching, shared, stop) = (self.clone(), shared.clone(), stop.clone());
        tasks.spawn(async move { watching.tell(&alerter, &shared, &stop).await });
    }

    /// Alerts the operator, and pings the dead man's switch.
    async fn tell(&self, alerter: &Alerter, shared: &Shared, stop: &CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let status = self.vitals.status().await?;
            alerter.consider(&status).await?;
            if shared.makes_progress.load(SeqCst) && status.archive.error.is_none() {
                alerter.ping_ok();
            }
            stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
        }
        Ok(())
    }
}

/// The feed, if the operator wants it served.
fn feed_of(vault: &Vault) -> Option<Feed> {
    let Vault { config, state, clock, .. } = vault;
    config.feed.enabled.then(|| Feed::new(config, state.db.clone(), clock.clone()))
}

/// Serves health, metrics and the feed. An address that is taken, or a certificate that cannot be used, does not stop the
/// archive: it is tried again.
async fn serve(address: SocketAddr, vitals: Arc<Vitals>, vault: &Vault, stop: CancellationToken) {
    let Config { web, feed, .. } = &*vault.config;
    if !address.ip().is_loopback() {
        warn!(
            "[web] listen {address} is open to other machines: anyone who reaches it can read what is archived and how much"
        );
    }
    let is_plain = feed.would_take_plain_tokens(web);
    let plain = is_plain.then(|| {
        format!(
            "[web] listen {address} is open to other machines over plain HTTP: readers' tokens are taken from this machine \
             alone; {PLAIN_TOKENS_REMEDY}"
        )
    });
    // After a reload, the server before this one may need a moment to let go of the address.
    let mut tries = 0;
    let mut trouble = Trouble::default();
    while !stop.is_cancelled() {
        tries += 1;
        let message = match TcpListener::bind(address).await {
            Ok(listener) => {
                let served = match Server::new(listener, web).await {
                    Ok(server) => {
                        trouble.is_now(vault, plain.clone()).await;
                        server.serve(vitals.clone(), feed_of(vault), stop.clone()).await
                    }
                    Err(unusable) => Err(unusable.into()),
                };
                let Err(error) = served else { return };
                format!("health and metrics are not served: {error:#}")
            }
            Err(_) if tries <= TRIES_AT_ONCE => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            Err(error) => format!(
                "[web] listen {address} cannot be listened on ({error}): health and metrics are not served; free it, or set \
                 another address or \"off\""
            ),
        };
        trouble.is_now(vault, Some(message)).await;
        stop.run_until_cancelled(tokio::time::sleep(LISTEN_AGAIN_AFTER)).await;
    }
}

/// What is wrong with the listener, as it was logged last.
#[derive(Debug, Default)]
struct Trouble(Option<Option<String>>);

impl Trouble {
    /// Notes what is wrong, or that nothing is, in the log and in the state; the same only once.
    async fn is_now(&mut self, vault: &Vault, trouble: Option<String>) {
        if self.0.as_ref() == Some(&trouble) {
            return;
        }
        if let Some(trouble) = &trouble {
            warn!("{trouble}");
        }
        note_trouble(vault, trouble.clone().unwrap_or_default()).await;
        self.0 = Some(trouble);
    }
}

/// Keeps what is wrong with the listener for `status` and the alerts; nothing if it is empty. A database that cannot be
/// written is reported elsewhere.
async fn note_trouble(vault: &Vault, trouble: String) {
    let noted =
        vault.state.db.write(async move |tx| fleet::set_meta(tx, fleet::LISTENER_TROUBLE, &trouble).await);
    if let Err(error) = noted.await {
        tracing::debug!("What is wrong with the listener cannot be kept: {error:#}");
    }
}
