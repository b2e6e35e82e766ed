//! A station: a simulated PBX, a state and an archive on a real disk, and a check of every promise.
//!
//! Every scenario ends with [`Station::check`]: what a scenario is not about is checked too.

mod certificates;
mod csv;
mod database;
mod disk;
mod far_side;
mod lists;
pub(crate) mod voicemail;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use callvault::base::counts::Counts;
use callvault::base::digest::Digest;
use callvault::config::{ArchiveConfig, Config, PbxConfig, QueueConfig, StateConfig};
use callvault::pipeline::backfill::{BackfillReport, Connections, Request};
use callvault::proof::sealed_vault::SealedVault;
use callvault::service::backfill::Backfill;
use callvault::simulator::{Faults, Profile, SimAudio, SimCall, Simulator, SimulatorOptions};
use callvault::store::queue::{self, Redrive};
use jiff::civil::{Date, date};
use jiff::{Timestamp, ToSpan as _};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The id of the station's PBX.
pub(crate) const PBX: &str = "hq";
/// The last day with calls, unless a scenario says otherwise.
pub(crate) const TODAY: Date = date(2024, 3, 14);

/// A run ends long before this on whatever machine. One that never would holds up all tests.
const RUN_LASTS_MAX: Duration = Duration::from_secs(900);

/// A simulated PBX, and a callvault that archives it.
pub(crate) struct Station {
    /// The PBX.
    pub(crate) pbx: Simulator,
    /// What callvault is told.
    pub(crate) config: Config,
    /// The days that a backfill covers, both ends included.
    pub(crate) days: (Date, Date),
    /// Whether every row of the PBX must be known: not so after faults that hide rows.
    pub(crate) cdr_is_whole: bool,
    /// Every content that a name has had on the PBX.
    contents: BTreeMap<Vec<u8>, BTreeSet<Digest>>,
    /// Every content that voicemail messages alike have had on the PBX.
    messages: BTreeMap<voicemail::Alike, BTreeSet<Digest>>,
    /// Commands that ran: each logs in once.
    runs: u64,
    /// Whether the last command came to its end, and so must have written all call lists.
    sealed: bool,
    /// How often a scenario let much time pass at once.
    leaps: AtomicU64,
    folder: TempDir,
}

/// Counts of nothing, for those that name what is not 0.
pub(crate) const NONE: Counts = Counts {
    archived: 0,
    already_archived: 0,
    missing: 0,
    missing_final: 0,
    excluded: 0,
    pending: 0,
    stuck: 0,
    bytes: 0,
};

/// A PBX with `recordings` small recordings over three days.
pub(crate) fn small(recordings: u64) -> SimulatorOptions {
    SimulatorOptions {
        recordings,
        size_bytes: (2000, 9000),
        today: Some(TODAY),
        voicemails: 0,
        ..SimulatorOptions::default()
    }
}

/// The same, on a PBX that tells the time: a service follows the days of the PBX's own calendar. Otherwise the PBX shows the time
/// of this machine, as one does whose clock is right.
pub(crate) fn followed(recordings: u64) -> SimulatorOptions {
    SimulatorOptions { now: Some("2024-03-15T12:00:00Z".parse().unwrap()), ..small(recordings) }
}

impl Station {
    /// A station whose PBX holds `recordings` recordings.
    pub(crate) async fn new(recordings: u64) -> Self {
        Self::of(small(recordings)).await
    }

    /// The same, whose PBX tells the time.
    pub(crate) async fn followed(recordings: u64) -> Self {
        Self::of(followed(recordings)).await
    }

    /// A station whose PBX holds one recording, heard of in one call, called `name`.
    pub(crate) async fn with_call(name: &str) -> Self {
        let station = Self::new(0).await;
        station.add_call(name, 0);
        station
    }

    /// A station of these options.
    pub(crate) async fn of(options: SimulatorOptions) -> Self {
        Self::in_folder(options, tempfile::tempdir().unwrap()).await
    }

    /// A station of these options whose archive and state lie in `folder`.
    pub(crate) async fn in_folder(options: SimulatorOptions, folder: TempDir) -> Self {
        let last = options.today.unwrap_or(TODAY);
        let first = last.checked_sub(i64::from(options.days - 1).days()).unwrap();
        let version = match options.profile {
            Profile::V1_0 => "v1.0.1",
            Profile::V1_1 => "v1.1.0",
            Profile::V2 => "v2.0.0",
            Profile::Compatible => "v0.0.1",
        };
        let (user, password) = (options.username.clone(), options.password.clone());
        let pbx = Simulator::start(options).await.unwrap();
        let url = pbx.url().parse().unwrap();
        let mut section = PbxConfig::for_url(PBX, url, version.parse().unwrap(), user, password);
        section.limits.idle_timeout = Duration::from_millis(200);
        section.limits.reply_timeout = Duration::from_secs(5);
        section.limits.outage_patience = Duration::from_secs(5);
        if version == "v0.0.1" {
            section.download_api_version = "v1.1.0".parse().unwrap();
        }
        let config = config_at(folder.path(), section);
        Self {
            pbx,
            config,
            days: (first, last),
            cdr_is_whole: true,
            contents: BTreeMap::new(),
            messages: BTreeMap::new(),
            runs: 0,
            sealed: true,
            leaps: AtomicU64::new(0),
            folder,
        }
    }

    /// The section of the PBX.
    pub(crate) fn section(&mut self) -> &mut PbxConfig {
        &mut self.config.pbx[0]
    }

    /// What a backfill of the station's days is asked.
    pub(crate) fn request(&self) -> Request {
        Request { from: Some(self.days.0), to: Some(self.days.1), ..Request::default() }
    }

    /// Runs a backfill over the station's days, as the command does.
    pub(crate) async fn backfill(&mut self) -> BackfillReport {
        self.run(self.request(), CancellationToken::new()).await.unwrap()
    }

    /// Hears of the calls of the station's days and fetches nothing.
    pub(crate) async fn dry_run(&mut self) -> BackfillReport {
        let request = Request { dry_run: true, ..self.request() };
        self.run(request, CancellationToken::new()).await.unwrap()
    }

    /// Runs a backfill with CDR files.
    pub(crate) async fn backfill_files(&mut self, files: &[PathBuf]) -> BackfillReport {
        let request = Request { cdr: files.to_vec(), ..Request::default() };
        self.run(request, CancellationToken::new()).await.unwrap()
    }

    /// Runs a backfill as asked; an error is one that ends the command.
    pub(crate) async fn run(
        &mut self,
        request: Request,
        stop: CancellationToken,
    ) -> anyhow::Result<BackfillReport> {
        self.run_by(callvault::base::clock::Clock::system(), request, stop, async |_| {}).await
    }

    /// The same, while something happens on the PBX. What does not come to an end is broken off with the run.
    pub(crate) async fn run_while(
        &mut self,
        request: Request,
        stop: CancellationToken,
        meanwhile: impl AsyncFnOnce(&Simulator),
    ) -> anyhow::Result<BackfillReport> {
        self.run_by(callvault::base::clock::Clock::system(), request, stop, meanwhile).await
    }

    /// The same, by another clock.
    pub(crate) async fn run_by(
        &mut self,
        clock: callvault::base::clock::Clock,
        request: Request,
        stop: CancellationToken,
        meanwhile: impl AsyncFnOnce(&Simulator),
    ) -> anyhow::Result<BackfillReport> {
        self.note_contents();
        self.runs += 1;
        self.sealed = false;
        let dry_run = request.dry_run;
        let opened = SealedVault::open(self.config.clone(), clock).await?;
        let backfill = Backfill::new(&opened, request, Connections::default(), stop)?;
        let mut nobody = ();
        let run = backfill.run(&mut nobody);
        tokio::pin!(run);
        let run = async {
            tokio::select! {
                report = &mut run => report,
                () = meanwhile(&self.pbx) => run.await,
            }
        };
        let progress = || backfill.sites().iter().map(|site| site.progress()).collect::<Vec<_>>();
        let report = tokio::time::timeout(RUN_LASTS_MAX, run).await;
        let report = report.unwrap_or_else(|_| panic!("the run does not end: {:?}", progress()))?;
        let json = serde_json::to_value(&report)?;
        let number = |name: &str| json[name].as_i64().unwrap();
        let parts = ["archived", "already_archived", "missing", "excluded", "pending", "stuck"];
        assert_eq!(number("listed"), parts.map(number).iter().sum::<i64>(), "{report:?}");
        self.sealed = !dry_run && !report.interrupted && report.pbx.values().all(|pbx| pbx.days.is_some());
        Ok(report)
    }

    /// Asks again for what was given up, as `retry` does, and works on it.
    pub(crate) async fn retry(&mut self) -> BackfillReport {
        let SealedVault { vault, .. } =
            SealedVault::open(self.config.clone(), callvault::base::clock::Clock::system()).await.unwrap();
        let all = Redrive::default();
        vault
            .state
            .db
            .write(async move |tx| {
                callvault::store::fleet::clear_problem(tx, PBX).await?;
                let redriven = queue::redrive(tx, &all).await?;
                callvault::store::calls::reopen_all(tx, &redriven.changed).await
            })
            .await
            .unwrap();
        drop(vault);
        let request =
            Request { queue_only: Some(callvault::store::queue::DayRange::ALL), ..Request::default() };
        self.run(request, CancellationToken::new()).await.unwrap()
    }

    /// Allows for one more login: a service was started, or its token expired. A service lists the calls of a day when
    /// that settles, so from now on there may be some in no list.
    pub(crate) fn expect_login(&mut self) {
        self.runs += 1;
        self.expect_unsealed();
    }

    /// Allows for one more login, of which the answer was lost on the way.
    pub(crate) fn expect_lost_login(&mut self) {
        self.runs += 1;
    }

    /// Allows for lists, sums and signatures that the next run brings up to date.
    pub(crate) fn expect_unsealed(&mut self) {
        self.sealed = false;
    }

    /// Lets time pass on the PBX, all at once. What is on its way at that moment ages by it: a ticket that nobody has spent
    /// yet may be too old when it is.
    pub(crate) fn leap(&self, by: Duration) {
        self.leaps.fetch_add(1, Relaxed);
        self.pbx.advance(by);
    }

    /// Demands from now on that every call is in a list of its day.
    pub(crate) fn expect_call_lists(&mut self) {
        self.sealed = true;
    }

    /// Adds an answered call on the last day, `minute` minutes after noon, recorded as `name`.
    pub(crate) fn add_call(&self, name: &str, minute: u32) -> SimCall {
        let call = self.call(name, minute);
        self.pbx.world(|world| world.add_call(call.clone()));
        call
    }

    /// Adds one two days earlier, at noon.
    pub(crate) fn add_earlier_call(&self, name: &str) -> SimCall {
        let start = noon(self.days.1) - 48.hours();
        let call = SimCall::recorded(start, 7000, name, SimAudio::pcm(4000, 0));
        self.pbx.world(|world| world.add_call(call.clone()));
        call
    }

    /// A call as [`Station::add_call`] adds.
    pub(crate) fn call(&self, name: &str, minute: u32) -> SimCall {
        let start = noon(self.days.1) + i64::from(minute).minutes();
        SimCall::recorded(start, 7000 + u64::from(minute), name, SimAudio::pcm(4000, u64::from(minute)))
    }

    /// Where the audio of a recording with a harmless name lies, whether or not it is there.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        let day = self.days.1.strftime("%Y/%m/%d").to_string();
        self.archive().join(PBX).join(day).join(name)
    }

    /// The root of the archive.
    pub(crate) fn archive(&self) -> &Path {
        &self.config.archive.path
    }

    /// A folder for input files, neither archive nor state.
    pub(crate) fn input(&self) -> PathBuf {
        let input = self.folder.path().join("input");
        std::fs::create_dir_all(&input).unwrap();
        input
    }

    /// Makes the PBX misbehave.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.pbx.set_faults(faults);
    }

    /// Asserts every promise of the design that exists in this version.
    pub(crate) async fn check(&mut self) {
        self.note_contents();
        self.check_database().await;
        self.check_disk().await;
        self.check_voicemail().await;
        self.check_far_side().await;
    }

    pub(crate) fn note_contents(&mut self) {
        for truth in self.pbx.truth() {
            self.contents.entry(truth.name).or_default().insert(truth.sha256);
        }
        self.note_messages();
    }

    /// One value out of the database.
    pub(crate) async fn value<T>(&self, query: &'static str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        sqlx::query_scalar(query).fetch_one(&self.database().await).await.unwrap()
    }

    /// How often findings of `kind` are recorded, by subject.
    pub(crate) async fn findings(&self, kind: &str) -> Vec<(String, String)> {
        sqlx::query_as("select subject, detail from findings where kind = ? order by subject")
            .bind(kind)
            .fetch_all(&self.database().await)
            .await
            .unwrap()
    }

    /// Findings of `kind` that still hold.
    pub(crate) async fn open_findings(&self, kind: &str) -> Vec<(String, String)> {
        sqlx::query_as(
            "select subject, detail from findings where kind = ? and closed_at_ms is null order by subject",
        )
        .bind(kind)
        .fetch_all(&self.database().await)
        .await
        .unwrap()
    }

    /// The database, to look into.
    pub(crate) async fn database(&self) -> sqlx::SqlitePool {
        callvault::store::db::open_read_only(&self.config.state.path)
            .await
            .unwrap()
            .expect("there is a database")
    }
}

/// The configuration of an installation in `folder` with one PBX.
pub(crate) fn config_at(folder: &Path, section: PbxConfig) -> Config {
    Config {
        file: folder.join("callvault.toml"),
        archive: ArchiveConfig { path: folder.join("archive"), free_bytes_min: 0 },
        state: StateConfig { path: folder.join("state") },
        queue: QueueConfig {
            retry_base: Duration::from_millis(20),
            retry_max: Duration::from_millis(200),
            ..QueueConfig::default()
        },
        pbx: vec![section],
        web: callvault::config::WebConfig { listen: None, ..Default::default() },
        ..Config::default()
    }
}

/// Noon of a day where the PBX stands.
pub(crate) fn noon(day: Date) -> Timestamp {
    day.at(12, 0, 0, 0).in_tz("Europe/Berlin").unwrap().timestamp()
}

/// What scenarios compare of a report.
pub(crate) fn counts(report: &BackfillReport) -> Counts {
    without_bytes(report.total)
}

/// Counts without what depends on chance or time: how long the audio is, and what became final meanwhile.
pub(crate) fn without_bytes(counts: Counts) -> Counts {
    Counts { bytes: 0, missing_final: 0, ..counts }
}
