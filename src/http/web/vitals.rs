//! What the pages show: the state from the database, and the counters of this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::limits::Refusals;
use super::metrics::Facts;
use crate::base::clock::Clock;
use crate::config::Config;
use crate::pbx::{Counted, Pbx};
use crate::pipeline::worker::{Progress, Snapshot};
use crate::store::db::Db;
use crate::watch::status::{Reader, Status};

/// How long one reading of the state serves all clients.
const FRESH: Duration = Duration::from_secs(5);
/// How long the database may take to answer before the service counts as not ready.
const DATABASE_PATIENCE: Duration = Duration::from_secs(5);

/// The PBXs at work, whose counters live in this process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Workers(Arc<Mutex<BTreeMap<String, Worker>>>);

#[derive(Debug)]
struct Worker {
    client: Arc<dyn Pbx>,
    progress: Arc<Progress>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    pub(super) asked: Counted,
    pub(super) done: Snapshot,
}

impl Workers {
    /// Counts this client and its workers from now on, in place of the former ones of the PBX.
    pub fn add(&self, client: Arc<dyn Pbx>, progress: Arc<Progress>) {
        let id = client.id().to_owned();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Worker { client, progress });
    }

    pub fn remove(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn read(&self) -> BTreeMap<String, Work> {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let work =
            |worker: &Worker| Work { asked: worker.client.counters(), done: worker.progress.snapshot() };
        workers.iter().map(|(id, worker)| (id.clone(), work(worker))).collect()
    }
}

#[derive(Debug)]
pub struct Vitals {
    pub(super) db: Db,
    pub(super) clock: Clock,
    workers: Workers,
    readiness: Readiness,
    pub(super) refusals: Refusals,
    /// One client reads for all: others wait and take its result.
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug)]
struct State {
    reader: Reader,
    read: Option<(Instant, Arc<Status>)>,
}

impl Vitals {
    pub fn new(config: &Config, db: Db, clock: Clock, workers: Workers, readiness: Readiness) -> Self {
        // Alerts and metrics count findings and name one or two.
        let reader = Reader::new(config).with_findings_max(20);
        let state = tokio::sync::Mutex::new(State { reader, read: None });
        Self { db, clock, workers, readiness, refusals: Refusals::new(), state }
    }

    pub async fn reconfigure(&self, config: &Config) {
        let mut state = self.state.lock().await;
        state.reader.reconfigure(config);
        state.read = None;
    }

    /// The state, at most a few seconds old.
    pub async fn status(&self) -> anyhow::Result<Arc<Status>> {
        let mut state = self.state.lock().await;
        if let Some((at, status)) = &state.read
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(status));
        }
        let status = state.reader.read(&mut *self.db.read().await?, self.clock.now()).await?;
        let status = Arc::new(status);
        state.read = Some((Instant::now(), Arc::clone(&status)));
        Ok(status)
    }

    pub(super) async fn metrics(&self) -> anyhow::Result<String> {
        let (status, work) = (self.status().await?, self.workers.read());
        Facts { status, work, refused: self.refusals.total(), now: self.clock.now() }.into_page()
    }

    /// Why the service does not do its work; none if it does.
    pub(super) async fn not_ready(&self) -> Option<String> {
        if let Some(reason) = self.readiness.reason() {
            return Some(reason);
        }
        match tokio::time::timeout(DATABASE_PATIENCE, self.db.read()).await {
            Ok(Ok(_)) => None,
            Ok(Err(_)) => Some("the database cannot be read; see the service's log".to_owned()),
            Err(_) => Some("the database does not answer: see its disk".to_owned()),
        }
    }
}

/// Why the service does not do its work, if it does not. Clones share it: the service sets it, the web server reads it.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<Option<String>>>);

impl Readiness {
    pub fn not_yet(reason: &str) -> Self {
        Self(Arc::new(Mutex::new(Some(reason.to_owned()))))
    }

    pub fn set_ready(&self) {
        self.set(None);
    }

    pub fn set_not_ready(&self, reason: &str) {
        self.set(Some(reason.to_owned()));
    }

    pub fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, reason: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}
