//! A station to which the steps happen.

use std::time::Duration;

use callvault::base::clock::Clock;
use callvault::base::digest::Digest;
use callvault::config::ExclusionRule;
use callvault::pipeline::backfill::{BackfillReport, Connections, Request};
use callvault::proof::sealed_vault::SealedVault;
use callvault::proof::verify::{Scope, Verification};
use callvault::service::backfill::Backfill;
use callvault::simulator::{Faults, SimAudio, SimulatorOptions};
use callvault::store::db::database_file;
use callvault::vault::snapshot::Snapshot;
use jiff::ToSpan as _;
use secrecy::SecretString;
use sqlx::Row as _;
use tokio_util::sync::CancellationToken;

use super::expected::{Model, Reported, Seen};
use super::step::Step;
use crate::support::closing::until_closed;
use crate::support::station::{Station, small};

/// A station, and what the model knows of it.
pub(crate) struct House {
    station: Station,
    model: Model,
    right_password: SecretString,
    /// How far this machine's clock is off.
    hours: i64,
    snapshot: Option<Snapshot>,
    /// Contents that were made up so far.
    contents: u64,
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
        let mut station = Station::in_folder(SimulatorOptions { days: 1, ..small(0) }, folder).await;
        station.config.queue.retry_base = Duration::from_millis(1);
        station.config.queue.retry_max = Duration::from_millis(4);
        station.config.queue.attempts_max = 4;
        station.section().limits.outage_patience = Duration::from_millis(40);
        let right_password = station.section().password.clone();
        Self { station, model: Model::default(), right_password, hours: 0, snapshot: None, contents: 1_000 }
    }

    /// Lets a step happen, and checks what comes of it.
    pub(crate) async fn apply(&mut self, step: Step) {
        self.model.note(step);
        match step {
            Step::Call { internal } => self.make_call(internal),
            Step::Overwrite(number) => self.on_pbx(number, |world, name| world.delete_audio(name)),
            Step::Return(number) => self.on_pbx(number, |world, name| world.restore_audio(name)),
            Step::Replace(number) => {
                self.contents += 1;
                let audio = SimAudio::pcm(3_000, self.contents);
                self.on_pbx(number, |world, name| world.replace_audio(name, audio));
            }
            Step::ChangeRow(number) => self.on_pbx(number, |world, name| {
                world.rewrite(name, |call| {
                    call.talk_duration_s += 1;
                    true
                });
            }),
            Step::DropRow(number) => self.on_pbx(number, |world, name| world.remove_rows(name)),
            Step::Trouble(trouble) => self.station.set_faults(trouble.faults()),
            Step::Calm => self.station.set_faults(Faults::default()),
            Step::Down | Step::Up => self.station.pbx.set_down(step == Step::Down).await.unwrap(),
            Step::WrongPassword => self.station.section().password = "Mistyped1".to_owned().into(),
            Step::RightPassword => self.station.section().password = self.right_password.clone(),
            Step::KeepOut => self.station.config.exclude = vec![internal_calls()],
            Step::LetIn => self.station.config.exclude.clear(),
            Step::DiskFull => self.station.config.archive.free_bytes_min = u64::MAX,
            Step::DiskFree => self.station.config.archive.free_bytes_min = 0,
            Step::SetClock { hours } => self.hours = hours.into(),
            _ => self.command(step).await,
        }
    }

    async fn command(&mut self, step: Step) {
        match step {
            Step::Backfill => drop(self.backfill().await),
            Step::DryRun => self.dry_run().await,
            Step::Interrupt { requests } => self.interrupt(requests).await,
            Step::Kill { requests } => self.kill(requests).await,
            Step::Verify if self.has_database() => self.verify().await,
            Step::Retry if self.has_database() => self.retry().await,
            Step::Rebuild if self.has_database() => {
                self.station.lose_state().await;
                self.snapshot = None;
                self.rebuild().await;
            }
            Step::Snapshot if self.has_database() => self.snapshot = Some(self.station.snapshot().await),
            Step::Restore { run } => {
                let Some(snapshot) = self.snapshot.take() else { return };
                self.station.restore(&snapshot).await;
                if run {
                    self.model.allow();
                    // What the ledger says against it is mended by the rebuild.
                    drop(self.run(self.station.request(), CancellationToken::new()).await);
                }
                self.rebuild().await;
            }
            _ => {}
        }
    }

    fn make_call(&self, internal: bool) {
        let minute = self.model.recordings.len() - 1;
        let mut call = self.station.call(&self.model.recordings[minute].name, u32::try_from(minute).unwrap());
        if internal {
            (call.call_type, call.callfrom) = ("Internal".into(), "1009".into());
        }
        self.station.pbx.world(|world| world.add_call(call));
    }

    fn on_pbx(&mut self, number: usize, change: impl FnOnce(&mut callvault::simulator::World, &[u8])) {
        if let Some(recording) = self.model.find(number) {
            self.station.pbx.world(|world| change(world, recording.name.as_bytes()));
            self.station.note_contents();
        }
    }

    fn clock(&self) -> Clock {
        Clock::showing(callvault::base::clock::now() + self.hours.hours())
    }

    fn has_database(&self) -> bool {
        database_file(&self.station.config.state.path).exists()
    }

    async fn run(&mut self, request: Request, stop: CancellationToken) -> anyhow::Result<BackfillReport> {
        self.station.run_by(self.clock(), request, stop, async |_| {}).await
    }

    async fn backfill(&mut self) -> Option<BackfillReport> {
        self.model.allow();
        let before = self.model.seen().clone();
        let report = self.run(self.station.request(), CancellationToken::new()).await;
        self.look().await;
        if self.model.is_well() {
            let report = report.expect("nothing is in its way");
            self.model.check_complete(&before);
            // A list that lied may have put a recording on a day that was not asked for.
            let on_its_day = "select count(*) from recordings where day = '2024-03-14'";
            assert_eq!(report.total.listed(), self.station.value::<i64>(on_its_day).await, "{report:?}");
            return Some(report);
        }
        report.ok()
    }

    async fn dry_run(&mut self) {
        let downloads = self.station.pbx.counters().downloads_started;
        let request = Request { dry_run: true, ..self.station.request() };
        drop(self.run(request, CancellationToken::new()).await);
        assert_eq!(self.station.pbx.counters().downloads_started, downloads, "a dry run fetches nothing");
        self.look().await;
    }

    async fn interrupt(&mut self, requests: u64) {
        self.model.allow();
        let stop = CancellationToken::new();
        let until = self.station.pbx.counters().requests + requests;
        let (clock, request) = (self.clock(), self.station.request());
        let told = stop.clone();
        let asked = async |pbx: &callvault::simulator::Simulator| {
            until_asked(pbx, until).await;
            told.cancel();
        };
        drop(self.station.run_by(clock, request, stop, asked).await);
        self.look().await;
    }

    /// The run is dropped where it stands: what it was about to do is not done. (That its process dies at any instant is
    /// `tests/durable`.)
    async fn kill(&mut self, requests: u64) {
        self.model.allow();
        self.station.note_contents();
        self.station.expect_login();
        let until = self.station.pbx.counters().requests + requests;
        let Ok(opened) = SealedVault::open(self.station.config.clone(), self.clock()).await else { return };
        let request = self.station.request();
        if let Ok(backfill) =
            Backfill::new(&opened, request, Connections::default(), CancellationToken::new())
        {
            let mut nobody = ();
            tokio::select! {
                report = backfill.run(&mut nobody) => drop(report),
                () = until_asked(&self.station.pbx, until) => {}
            }
        }
        drop(opened);
        until_closed(&self.station.config.state.path).await;
        self.look().await;
    }

    async fn verify(&mut self) {
        self.station.expect_unsealed();
        let opened = SealedVault::open(self.station.config.clone(), self.clock()).await.unwrap();
        let request = callvault::proof::verify::Request::of(Scope::Full);
        let report = Verification::new(&opened, request, CancellationToken::new()).run().await.unwrap();
        assert!(report.damaged.is_empty(), "{:?}", report.damaged);
        drop(opened);
        self.look().await;
    }

    async fn retry(&mut self) {
        if self.model.is_disk_full() {
            return;
        }
        self.model.allow();
        self.station.retry().await;
        self.look().await;
    }

    async fn rebuild(&mut self) {
        let report = self.station.rebuild().await;
        assert_eq!((report.damaged, report.ledger.gone), (0, 0), "{:?}", report.damage);
        let seen = self.seen().await;
        self.model.check_rebuilt(seen, report.ledger.found.unsigned_abs());
    }

    /// All is well again, and all that is owed is asked for: nothing is left to be wished for.
    pub(crate) async fn finish(&mut self) {
        for step in [Step::Up, Step::RightPassword, Step::DiskFree, Step::Calm] {
            self.apply(step).await;
        }
        self.backfill().await;
        self.retry().await;
        self.backfill().await;
        self.model.check_settled();
        let served = self.station.pbx.served();
        for name in self.model.never_allowed() {
            assert!(!served.contains_key(name.as_bytes()), "{name} was fetched though it was kept out");
        }
        self.station.check().await;
    }

    /// Looks what callvault says, and compares it with what it may say.
    async fn look(&mut self) {
        let seen = if self.has_database() { self.seen().await } else { Seen::new() };
        self.model.check(seen);
    }

    async fn seen(&self) -> Seen {
        let db = self.station.database().await;
        let mut seen = Seen::new();
        let recordings = "select cast(name as text) as name, state, sha256 from recordings
             left join archived_files on recording_id = recordings.id order by archived_files.id";
        for row in sqlx::query(recordings).fetch_all(&db).await.unwrap() {
            let told = seen
                .entry(row.get("name"))
                .or_insert_with(|| Reported { state: row.get("state"), files: Vec::new() });
            let sha256: Option<&[u8]> = row.get("sha256");
            told.files.extend(sha256.map(|sha256| Digest::try_from(sha256).unwrap()));
        }
        db.close().await;
        seen
    }
}

async fn until_asked(pbx: &callvault::simulator::Simulator, requests: u64) {
    while pbx.counters().requests < requests {
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
}

fn internal_calls() -> ExclusionRule {
    ExclusionRule { name: "internal".into(), direction: vec!["internal".into()], ..ExclusionRule::default() }
}
