//! A service that follows the station's PBX, and a time that both go by.

use std::time::{Duration, Instant};

use callvault::base::clock::Clock;
use callvault::config::Config;
use callvault::service::{Glance, Orders, Service};
use callvault::vault::state::StateError;
use jiff::{SignedDuration, Timestamp};
use sqlx::SqlitePool;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::station::Station;

/// Nothing that a scenario waits for takes longer, also on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the agenda's jobs for the PBX are all done, and the queue holds nothing that could be worked on now.
const IS_QUIET: &str =
    "select exists (select 1 from jobs where job = 'sweep' and next_due_at_ms < ?1 + 3600000)
     and not exists (select 1 from jobs where pbx = 'hq' and next_due_at_ms <= ?1)
     and not exists (select 1 from recordings where run_id is not null or ready = 1 or due_at_ms <= ?1)";

/// A running service.
pub(crate) struct Following {
    clock: Clock,
    stop: CancellationToken,
    glance: Box<dyn Fn() -> Glance>,
    /// Nobody reloads here; without it the service would be told so all the time.
    _reload: mpsc::Sender<Result<Config, String>>,
    task: JoinHandle<anyhow::Result<()>>,
    db: SqlitePool,
}

impl Following {
    /// Starts a service by `clock`. The one before it may be just dying.
    pub(crate) async fn start(station: &mut Station, clock: &Clock) -> Self {
        station.expect_login();
        let service = open(station, clock).await;
        let (stop, (reload, reloads)) = (CancellationToken::new(), mpsc::channel(1));
        let glance = Box::new(service.glance());
        let task = tokio::spawn(service.run(Orders { stop: stop.clone(), reload: reloads }));
        let db = station.database().await;
        Self { clock: clock.clone(), stop, glance, _reload: reload, task, db }
    }

    /// The service at a glance.
    pub(crate) fn glance(&self) -> Glance {
        (self.glance)()
    }

    /// Stops it in good order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("it stops").unwrap().unwrap();
        self.db.close().await;
    }

    /// Ends it at whatever it is doing.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled(), "it ended by itself");
        self.db.close().await;
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let began = Instant::now();
        while !is_so().await {
            assert!(!self.task.is_finished(), "it ended before this: {what}");
            assert!(began.elapsed() < PATIENCE, "it never came to this: {what}; {:?}", self.glance());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// Waits until a number out of the database is as wanted.
    pub(crate) async fn until_number(&self, query: &'static str, wanted: i64) {
        self.until(query, async || self.number(query).await == wanted).await;
    }

    /// Waits until all that is due by its clock is done.
    pub(crate) async fn until_quiet(&self) {
        let began = Instant::now();
        self.until("nothing is due", async || {
            let now = self.clock.now().as_millisecond();
            let is_quiet: bool = sqlx::query_scalar(IS_QUIET).bind(now).fetch_one(&self.db).await.unwrap();
            if !is_quiet && began.elapsed() + Duration::from_secs(1) > PATIENCE {
                eprintln!("by now, {now}: {:?}", self.owed().await);
            }
            is_quiet
        })
        .await;
    }

    /// What is planned, and what waits.
    async fn owed(&self) -> Vec<(String, Option<i64>)> {
        let planned = "select job || ' ' || pbx, next_due_at_ms from jobs
             union all select path, due_at_ms from recordings
                 where run_id is not null or ready = 1 or due_at_ms is not null";
        sqlx::query_as(planned).fetch_all(&self.db).await.unwrap()
    }

    /// Waits until it says that its PBX is in trouble, or is not any more.
    pub(crate) async fn until_in_trouble(&self, is_in_trouble: bool) {
        let what = format!("in trouble: {is_in_trouble}");
        self.until(&what, async || self.glance().in_trouble.is_empty() != is_in_trouble).await;
    }

    /// A number out of the database.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.db).await.unwrap()
    }
}

async fn open(station: &Station, clock: &Clock) -> Service {
    let began = Instant::now();
    loop {
        match Service::open(station.config.clone(), clock.clone()).await {
            Ok(service) => return service,
            Err(error) if is_locked(&error) && began.elapsed() < PATIENCE => {}
            Err(error) => panic!("{error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<StateError>(), Some(StateError::Locked(_)))
}

/// The time of a scenario: the PBX's clock, and how far ours is from it.
pub(crate) struct Time {
    pub(crate) ours: Clock,
    /// By how much ours is ahead of the time that has passed.
    error: SignedDuration,
    /// What has passed: what the device's clock would show had nobody set it.
    now: Timestamp,
}

impl Time {
    /// The present time of the station's PBX.
    pub(crate) fn of(station: &Station) -> Self {
        let now = station.pbx.clock();
        Self { ours: Clock::showing(now), error: SignedDuration::ZERO, now }
    }

    /// Lets time pass everywhere.
    pub(crate) fn pass(&mut self, station: &Station, by: SignedDuration) {
        station.leap(by.unsigned_abs());
        self.now += by;
        self.show();
    }

    /// Sets our clock, so that it is ahead by this from now on. No time passes.
    pub(crate) fn set_ours_ahead(&mut self, error: SignedDuration) {
        self.error = error;
        self.show();
    }

    /// The time that has passed, whatever any clock shows.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    fn show(&self) {
        self.ours.set(self.now + self.error);
    }
}

/// So many hours.
pub(crate) const fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}
