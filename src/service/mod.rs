//! The service: it follows every PBX by itself, until it is stopped.
//!
//! ```text
//!         scheduler ──► agenda ──► todo of each follower ──► look (sweeps) ──► queue
//!                          │                                                     │ bell
//!                          └─────► house keeping (sums, history)       fetch (workers) ──► archive
//! ```
//!
//! One follower for each PBX; none waits for another. What concerns all is done beside them. An error that reaches this
//! file means that the database is broken: the service ends, and its supervisor starts it anew.

// A range of days, archived once.
pub mod backfill;
// The work of commands, done in this process or by the service.
pub mod requests;
// When each line of `[schedule]` is due.
pub mod scheduler;

mod follower;
mod housekeeping;
mod look;
mod reports;
mod shared;
mod supervisor;
mod watching;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use shared::Glance;

use crate::base::clock::Clock;
use crate::config::{Config, PbxConfig};
use crate::http::feed::Delivery;
use crate::pipeline::site::Connection;
use crate::proof::anchor::Anchorer;
use crate::proof::sealed_vault::SealedVault;
use crate::store::agenda::{Agenda, Job, Todo};
use crate::store::ledger::EntryType;
use crate::store::requests::{note_start, note_stop, recover_requests};
use crate::vault::Vault;
use crate::watch::alerts::Alerter;
use follower::Follower;
use reports::Reports;
use shared::{Seat, Seats, Shared};
use supervisor::Pulse;
use watching::Watching;

/// What each follower is to do by itself.
const JOBS_OF_A_PBX: [Job; 3] = [Job::Sweep, Job::DeepSweep, Job::Voicemail];
/// What is to be done for all.
const JOBS_OF_ALL: [Job; 5] = [Job::Seal, Job::Verify, Job::Scrub, Job::History, Job::Snapshot];

/// How often a follower that waits for its predecessor proves progress.
const BEAT_EVERY: Duration = Duration::from_secs(30);

/// What is asked of a running service from outside.
#[derive(Debug)]
pub struct Orders {
    /// Cancelled to end it in good order.
    pub stop: CancellationToken,
    /// Another configuration to go by; what is wrong with one that was refused.
    pub reload: mpsc::Receiver<Result<Config, String>>,
}

/// A service that has recovered and is ready to run.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    reports: Reports,
    watching: Watching,
    /// The seats of followers that are to end, under the id of their PBX.
    retired: Seats,
    /// Ends what watches under the configuration in force.
    watch: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
    /// Ends everything; followers have tokens of their own below it.
    end: CancellationToken,
}

impl Service {
    /// Opens state and archive and recovers from whatever ended the last run. Nothing is asked of a PBX yet.
    pub async fn open(config: Config, clock: Clock) -> anyhow::Result<Self> {
        let opened = SealedVault::open(config, clock).await?;
        let vault = &opened.vault;
        // Before the database says that it runs: nobody is to take it for dead.
        vault.state.lock.announce_service()?;
        let now = vault.clock.now();
        let db = &vault.state.db;
        db.write(async move |tx| {
            recover_requests(tx).await?;
            note_start(tx, std::process::id(), now).await
        })
        .await?;
        let watching = Watching::new(vault);
        let end = CancellationToken::new();
        Ok(Self {
            shared: Arc::new(Shared::new(opened)),
            reports: Reports::default(),
            watching,
            retired: Seats::new(),
            watch: end.child_token(),
            tasks: JoinSet::new(),
            end,
        })
    }

    /// The service at a glance, at any time.
    pub fn glance(&self) -> impl Fn() -> Glance + Send + 'static {
        let shared = self.shared.clone();
        move || shared.glance()
    }

    /// Runs until it is stopped, then finishes what is in flight. An error means that it cannot go on.
    ///
    /// On return every `SHA256SUMS` is complete and no claim is left, but those of downloads that took longer than
    /// `stop_timeout_s`: the next start releases them.
    pub async fn run(mut self, mut orders: Orders) -> anyhow::Result<()> {
        let vault = self.shared.vault();
        // All that can still fail because of the configuration.
        self.reports.listen(&vault.config).await?;
        self.plan(&self.shared.opened()).await?;
        let alerter = alerter(&vault, &vault.config)?;
        housekeeping::note(&vault, EntryType::Start).await?;
        housekeeping::note_choices(&vault).await?;
        supervisor::ready(&self.shared.glance().to_string());
        self.watching.readiness.set_ready();
        self.begin(alerter).await;
        let outcome = loop {
            tokio::select! {
                () = orders.stop.cancelled() => break Ok(()),
                Some(reload) = orders.reload.recv() => self.reload(reload).await?,
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => break Err(error),
                    Err(panic) => break Err(anyhow::anyhow!("a part of the service ended at once: {panic}")),
                },
            }
        };
        outcome.and(self.finish().await)
    }

    /// Starts everything that runs side by side.
    async fn begin(&mut self, alerter: Alerter) {
        self.begin_by_config(&self.shared.opened(), alerter).await;
        self.spawn(housekeeping::keep_agenda);
        self.spawn(async |shared, end| housekeeping::keep_house(&shared, &shared.todo, end).await);
        self.spawn(async |shared, end| housekeeping::keep_house(&shared, &shared.slow_todo, end).await);
        self.spawn(async |shared, end| housekeeping::keep_house(&shared, &shared.snapshot_todo, end).await);
        self.spawn(housekeeping::prove_progress);
        self.spawn(housekeeping::keep_sealing);
        self.spawn(housekeeping::watch_clock);
        let wakes = self.reports.receiver().wakes.clone();
        self.spawn(async move |shared, end| reports::heed_reports(&shared, &wakes, &end).await);
        self.spawn(requests::serve::serve);
    }

    /// Runs a part of the service beside the others, until its end.
    fn spawn<F>(&mut self, part: impl FnOnce(Arc<Shared>, CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.tasks.spawn(part(self.shared.clone(), self.end.clone()));
    }

    /// Starts everything that goes by a configuration: what watches, anchors and delivers, until another is in force; and
    /// the followers.
    async fn begin_by_config(&mut self, opened: &SealedVault, alerter: Alerter) {
        let SealedVault { vault, notary } = opened;
        let (config, db, clock) = (&vault.config, &vault.state.db, &vault.clock);
        self.watching.begin(vault, alerter, &self.shared, &self.watch, &mut self.tasks).await;
        if !config.anchors.authorities.is_empty() || !config.anchors.witnesses.is_empty() {
            let (anchors, root) = (config.anchors.clone(), config.archive.path.clone());
            match Anchorer::new(anchors, root, notary.clone(), clock.clone()) {
                Ok(anchorer) => {
                    let (shared, stop) = (self.shared.clone(), self.watch.clone());
                    self.tasks.spawn(async move { anchorer.run(&shared.sealed, &stop).await });
                }
                Err(error) => warn!("The ledger is not anchored: {error:#}"),
            }
        }
        // No webhook waits for another.
        for webhook in &config.feed.webhook {
            match Delivery::new(webhook, db.clone(), clock.clone()) {
                Ok(delivery) => {
                    let (shared, stop) = (self.shared.clone(), self.watch.clone());
                    self.tasks.spawn(async move { delivery.run(&shared.sealed, &stop).await });
                }
                Err(error) => warn!("The feed is not delivered to the webhook `{}`: {error:#}", webhook.name),
            }
        }
        for pbx in &config.pbx {
            self.follow(vault, pbx);
        }
    }

    /// Draws up the agenda of `vault`'s configuration, with a seat for each PBX, and goes by it from now on. Returns the
    /// former seats.
    async fn plan(&self, opened: &SealedVault) -> anyhow::Result<Seats> {
        let vault = &opened.vault;
        let mut agenda = Agenda::new(vault.clock.now());
        let mut seats = Seats::new();
        let mut db = vault.state.db.read().await?;
        let schedule = &vault.config.schedule;
        for job in JOBS_OF_ALL {
            let todo = match job {
                Job::Verify | Job::Scrub => &self.shared.slow_todo,
                Job::Snapshot => &self.shared.snapshot_todo,
                _ => &self.shared.todo,
            };
            agenda.plan(&mut db, job, "", schedule, todo).await?;
        }
        for pbx in &vault.config.pbx {
            let todo = Todo::default();
            for job in JOBS_OF_A_PBX {
                agenda.plan(&mut db, job, &pbx.id, schedule, &todo).await?;
            }
            seats.insert(pbx.id.clone(), self.seat(vault, pbx, todo)?);
        }
        drop(db);
        let planned = agenda.clone();
        vault.state.db.write(async move |tx| planned.remember(tx).await).await?;
        let former = self.shared.go_by(opened.clone(), agenda, seats);
        self.shared.tick.ring();
        Ok(former)
    }

    /// A seat for `pbx`. A PBX that was followed before keeps its counters, and its session if nothing about it changed.
    fn seat(&self, vault: &Vault, pbx: &PbxConfig, todo: Todo) -> anyhow::Result<Seat> {
        let settings = vault.state.settings([pbx], pbx);
        let before =
            self.shared.seat(&pbx.id, |seat| seat.clone()).or_else(|| self.retired.get(&pbx.id).cloned());
        let connection = match before.as_ref().filter(|before| before.settings == settings) {
            Some(before) => before.connection.clone(),
            None => Connection::new(pbx)?,
        };
        Ok(Seat {
            settings,
            connection,
            todo,
            pulse: Pulse::new(),
            progress: before.map(|before| before.progress.clone()).unwrap_or_default(),
            renew: Arc::new(AtomicBool::new(false)),
            restarted: Arc::default(),
            trouble: None,
            stop: self.end.child_token(),
            begun: CancellationToken::new(),
            ended: CancellationToken::new(),
        })
    }

    /// Begins to follow a PBX, once its former follower has ended: two sessions on one PBX are one too many.
    fn follow(&mut self, vault: &Vault, pbx: &PbxConfig) {
        let predecessor = self.retired.get(&pbx.id).cloned();
        let Some(seat) = self.shared.seat(&pbx.id, |seat| seat.clone()) else { return };
        self.watching.workers.add(seat.connection.client.clone(), seat.progress.clone());
        let follower = Follower {
            vault: vault.clone(),
            pbx: pbx.clone(),
            seat: seat.clone(),
            shared: self.shared.clone(),
            receiver: self.reports.receiver().clone(),
            workers: self.watching.workers.clone(),
            failures: 0,
            retry_at: None,
            poll_ahead: Mutex::default(),
            looked_ahead_at: Mutex::default(),
            looked_at_coverage_at: Mutex::default(),
        };
        self.tasks.spawn(async move {
            if let Some(predecessor) = predecessor {
                wait_for(&predecessor, &seat).await;
            }
            seat.begun.cancel();
            let ended = seat.ended.clone().drop_guard();
            let outcome = follower.follow().await;
            drop(ended);
            outcome
        });
    }

    /// Goes by another configuration from now on, or keeps the one in force and says why.
    async fn reload(&mut self, reload: Result<Config, String>) -> anyhow::Result<()> {
        supervisor::reloading();
        let checked = match reload {
            Ok(config) => self.check(config).await,
            Err(problems) => Err(anyhow::anyhow!(problems)),
        };
        match checked {
            Ok((opened, alerter)) => {
                self.change_to(&opened, alerter).await?;
                info!("The new configuration is in force");
            }
            Err(error) if error.is::<crate::store::db::DatabaseFailed>() => return Err(error),
            Err(error) => {
                error!("The new configuration is refused, the former one stays in force: {error:#}");
                self.shared.note_refused_configuration();
            }
        }
        supervisor::ready(&self.shared.glance().to_string());
        Ok(())
    }

    /// All that can be wrong with a configuration, before anything is changed.
    async fn check(&mut self, config: Config) -> anyhow::Result<(SealedVault, Alerter)> {
        let former = self.shared.opened();
        let alerter = alerter(&former.vault, &config)?;
        self.reports.listen(&config).await?;
        Ok((former.with_config(config).await?, alerter))
    }

    /// Lets all followers end, and others follow them. An error is one that leaves nobody following: the service ends.
    async fn change_to(&mut self, opened: &SealedVault, alerter: Alerter) -> anyhow::Result<()> {
        let vault = &opened.vault;
        housekeeping::note_choices(vault).await?;
        for (id, seat) in self.plan(opened).await? {
            // What is in flight there is finished first; the other PBXs do not wait for it.
            seat.stop.cancel();
            self.watching.workers.remove(&id);
            self.retired.insert(id, seat);
        }
        self.watch.cancel();
        self.watch = self.end.child_token();
        self.begin_by_config(opened, alerter).await;
        Ok(())
    }

    /// Ends everything: what is in flight is finished, as long as that takes less than `stop_timeout_s`.
    async fn finish(mut self) -> anyhow::Result<()> {
        supervisor::stopping("finishing what is in flight");
        self.watching.readiness.set_not_ready("callvault is stopping");
        self.end.cancel();
        let vault = self.shared.vault();
        let within = vault.config.service.stop_timeout;
        let mut outcome = Ok(());
        let ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                outcome = std::mem::replace(&mut outcome, Ok(())).and(ended.unwrap_or(Ok(())));
            }
        };
        if tokio::time::timeout(within, ended).await.is_err() {
            let seconds = within.as_secs_f64();
            warn!("Some downloads took longer than {seconds} s: they are fetched again at the next start");
            self.tasks.abort_all();
        }
        let (db, now) = (&vault.state.db, vault.clock.now());
        outcome?;
        housekeeping::note(&vault, EntryType::Stop).await?;
        db.write(async move |tx| note_stop(tx, now).await).await?;
        if let Err(error) = self.shared.opened().seal().await {
            warn!("SHA256SUMS and ledger are brought up to date at the next start: {error:#}");
        }
        Ok(())
    }
}

fn alerter(vault: &Vault, config: &Config) -> anyhow::Result<Alerter> {
    Alerter::new(&config.alerts, vault.state.db.clone(), vault.clock.clone())
}

/// Waits until neither the follower nor a command works over the connection of `before` any more, unless it is the same one.
/// Beats meanwhile: a long download is progress.
async fn wait_for(before: &Seat, seat: &Seat) {
    let is_over = async {
        before.ended.cancelled().await;
        if !before.connection.is(&seat.connection) {
            drop(before.connection.in_use.write().await);
        }
    };
    tokio::pin!(is_over);
    while tokio::time::timeout(BEAT_EVERY, &mut is_over).await.is_err() {
        seat.pulse.beat();
    }
}
