//! An installation whose state the tests write themselves, under a clock that they set.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use callvault::base::clock::Clock;
use callvault::config::Config;
use callvault::proof::notary;
use callvault::store::alert_queue::Standing;
use callvault::store::db::Db;
use callvault::store::findings::{self, Finding, FindingKind};
use callvault::store::fleet;
use callvault::store::ledger::{self, Entry, EntryType};
use callvault::watch::alerts::Alerter;
use callvault::watch::status::{Reader, Status};
use jiff::{Timestamp, ToSpan as _};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// When every test begins: nine in the morning, in UTC.
pub(crate) const BEGIN: &str = "2026-03-02T09:00:00Z";
/// What webhooks are signed with.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Nothing that a test waits for takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// An installation.
pub(crate) struct Watched {
    pub(crate) config: Config,
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    folder: TempDir,
}

impl Watched {
    /// An installation with PBXs that are all well, and these lines below its other sections.
    pub(crate) async fn with(pbxs: &[&str], lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        for (name, text) in [("password", "Correct-Horse-9"), ("secret", SECRET)] {
            fs::write(dir.join(name), text).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let mut text = format!(
            "[archive]\npath = \"{0}/archive\"\nfree_bytes_min = 0\n[state]\npath = \"{0}/state\"\n",
            dir.display()
        );
        for (number, id) in pbxs.iter().enumerate() {
            fs::create_dir_all(dir.join("archive").join(id)).unwrap();
            fs::write(dir.join("archive").join(id).join(".callvault"), "").unwrap();
            text += &format!(
                "[[pbx]]\nid = \"{id}\"\nurl = \"https://192.0.2.{number}\"\nusername = \"api\"\npassword_file = \"password\"\n"
            );
        }
        fs::write(dir.join("callvault.toml"), text + lines).unwrap();
        fs::create_dir(dir.join("state")).unwrap();
        let config = Config::load(&dir.join("callvault.toml")).unwrap();
        let db = Db::open(&config.state.path).await.unwrap();
        let watched = Self { config, db, clock: Clock::showing(BEGIN.parse().unwrap()), folder };
        for id in pbxs {
            watched.is_well(id).await;
        }
        watched
    }

    /// A PBX that was swept just now.
    async fn is_well(&self, id: &str) {
        let (id, now) = (id.to_owned(), self.clock.now());
        self.write(async move |tx| {
            fleet::register(tx, &id).await?;
            fleet::note_sweep(tx, &id, now).await
        })
        .await;
    }

    /// Changes the database.
    pub(crate) async fn write<F>(&self, work: F)
    where
        F: AsyncFnOnce(&mut sqlx::SqliteConnection) -> anyhow::Result<()>
            + for<'c> callvault::store::db::Work<'c, ()>
            + Send
            + 'static,
    {
        self.db.write(work).await.unwrap();
    }

    /// A PBX is in trouble from now on.
    pub(crate) async fn breaks(&self, id: &str, reason: &str, message: &str) {
        let (id, reason, message, now) =
            (id.to_owned(), reason.to_owned(), message.to_owned(), self.clock.now());
        self.write(async move |tx| fleet::set_problem(tx, &id, &reason, &message, None, now).await).await;
    }

    /// A PBX works again.
    pub(crate) async fn heals(&self, id: &str) {
        let id = id.to_owned();
        self.write(async move |tx| fleet::clear_problem(tx, &id).await).await;
    }

    /// An authority vouches for so many entries of the ledger from now on.
    pub(crate) async fn is_anchored(&self, authority: &'static str, entries: i64) {
        let now_ms = self.clock.now().as_millisecond();
        self.write(async move |tx| {
sqlx::query(
                    "insert into anchor_standings (kind, name, size, reached_at_ms, verified_size, verified_at_ms)
                     values ('authority', ?1, ?2, ?3, ?2, ?3)",
                )
                .bind(authority)
                .bind(entries)
                .bind(now_ms)
                .execute(tx)
                .await?;
                Ok(())
})
        .await;
    }

    /// The ledger grows by one entry, which is signed.
    pub(crate) async fn signs_an_entry(&self) {
        let now = self.clock.now();
        let entry = Entry::new(EntryType::Start, now);
        let append = self.db.write(async move |tx| ledger::append(tx, &entry).await.map(drop));
        append.await.unwrap();
        let size = ledger::size(&mut self.db.read().await.unwrap()).await.unwrap();
        let frontier = notary::frontier_at(&self.db, size).await.unwrap();
        self.write(async move |tx| ledger::note_checkpoint(tx, &frontier, now).await).await;
    }

    /// A webhook of the feed has taken so many entries of the ledger just now.
    pub(crate) async fn has_taken(&self, webhook: &'static str, entries: i64) {
        let now_ms = self.clock.now().as_millisecond();
        self.write(async move |tx| {
            sqlx::query("insert into feed_webhooks (name, next, delivered_at_ms) values (?, ?, ?)")
                .bind(webhook)
                .bind(entries)
                .bind(now_ms)
                .execute(tx)
                .await?;
            Ok(())
        })
        .await;
    }

    /// Something is found.
    pub(crate) async fn finds(&self, id: &str, kind: FindingKind, subject: &str, detail: &str) {
        let (id, now) = (id.to_owned(), self.clock.now());
        let finding = Finding { kind, subject: subject.to_owned(), detail: detail.to_owned() };
        self.write(async move |tx| findings::record(tx, &id, &finding, now).await).await;
    }

    /// Queues recordings of a PBX in a state, as if they had come there by themselves.
    pub(crate) async fn queues(&self, id: &str, state: &'static str, reason: &'static str, count: i64) {
        let id = id.to_owned();
        self.write(async move |tx| {
sqlx::query(
                    "with recursive n (i) as (select 1 union all select i + 1 from n where i < ?1)
                     insert into recordings (pbx, kind, sn, name, day, started_at_ms, path, salt, state, reason, due_at_ms)
                     select ?2, 'call', 'sn', cast(format('%s-%05d.wav', ?3, i) as blob), '2026-03-01',
                         1772323200000 + i * 60000, format('%s/2026/03/01/%s-%05d.wav', ?2, ?3, i), zeroblob(32), ?3,
                         nullif(?4, ''), iif(?3 = 'pending', 1772323200000, null) from n",
                )
                .bind(count)
                .bind(id)
                .bind(state)
                .bind(reason)
                .execute(tx)
                .await?;
                Ok(())
})
        .await;
    }

    /// The state at this moment.
    pub(crate) async fn status(&self) -> Status {
        let mut db = self.db.read().await.unwrap();
        Reader::new(&self.config).read(&mut db, self.clock.now()).await.unwrap()
    }

    /// What is said of the alerts' own trouble.
    pub(crate) async fn standing(&self) -> Standing {
        self.status().await.alerts
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, minutes: i64) {
        self.clock.set(self.clock.now() + minutes.minutes());
    }

    /// Sets the clock.
    pub(crate) fn set(&self, to: &str) {
        self.clock.set(to.parse::<Timestamp>().unwrap());
    }

    /// An alerter that delivers until the test ends.
    pub(crate) fn alerter(&self) -> Delivering {
        let alerter =
            Arc::new(Alerter::new(&self.config.alerts, self.db.clone(), self.clock.clone()).unwrap());
        let stop = CancellationToken::new();
        let delivery = tokio::spawn({
            let (alerter, stop) = (Arc::clone(&alerter), stop.clone());
            async move { alerter.deliver(stop).await }
        });
        Delivering { alerter, stop, delivery }
    }

    /// The text without the folder's changing name.
    pub(crate) fn redact(&self, text: &str) -> String {
        text.replace(self.folder.path().to_str().unwrap(), "DIR")
    }
}

/// An alerter at work.
pub(crate) struct Delivering {
    pub(crate) alerter: Arc<Alerter>,
    stop: CancellationToken,
    delivery: JoinHandle<anyhow::Result<()>>,
}

impl Delivering {
    /// Looks at the state as the service does after each cycle.
    pub(crate) async fn consider(&self, watched: &Watched) {
        self.alerter.consider(&watched.status().await).await.unwrap();
    }

    /// Ends it, which takes no longer than a moment whatever it waits for.
    pub(crate) async fn ends(self) {
        self.stop.cancel();
        within("the delivery ends", self.delivery).await.unwrap().unwrap();
    }
}

/// Waits for something that must happen.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("it never came to this: {what}"))
}

/// Waits until something holds.
pub(crate) async fn eventually<Fut: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> Fut) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
