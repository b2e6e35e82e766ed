//! One PBX at work: who it is, what it lists, what it delivers.

mod connection;
mod meeting;

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::sync::{OnceCell, RwLock, Semaphore};
use tokio_util::sync::CancellationToken;

pub use connection::{Connection, Phase, SiteProgress};
pub(crate) use meeting::Met;
pub(super) use meeting::{DAYS_BACK, kept_days};

use crate::base::bell::Bell;
use crate::config::PbxConfig;
use crate::pbx::Pbx;
use crate::pipeline::gate::{Gate, Trouble};
use crate::pipeline::sweep::{SweepReport, Sweeper, VoicemailPoll, poll_voicemail, rules_of, sweep_ranges};
use crate::pipeline::worker::{Progress, Snapshot, TwinLocks, Worker};
use crate::store::queue::{DayRange, Kinds};
use crate::vault::Vault;

/// The class of [`SameDevice`](crate::store::fleet::SameDevice).
pub(crate) const SAME_DEVICE: &str = "same_device";

/// What the workers of a site are set to do: calls of some days, or voicemail.
pub(crate) struct Task {
    pub(crate) days: DayRange,
    pub(crate) kinds: Kinds,
    pub(crate) progress: Arc<Progress>,
    /// Cancelled when nothing more can come into the queue.
    pub(crate) swept: CancellationToken,
}

/// One PBX of a backfill. Its progress may be read at any time.
#[derive(Debug)]
pub struct Site {
    pub(super) vault: Vault,
    pub(crate) pbx: PbxConfig,
    pub(super) client: Arc<dyn Pbx>,
    pub(super) gate: Arc<Gate>,
    pub(super) bell: Bell,
    pub(super) in_use: Arc<RwLock<()>>,
    pub(super) downloads: Arc<Semaphore>,
    pub(super) progress: Arc<Progress>,
    pub(super) message_progress: Arc<Progress>,
    pub(super) stop: CancellationToken,
    /// Recordings that this run set out to archive, as far as the sweep has told.
    pub(super) owed: AtomicI64,
    /// The same of voicemail messages, as far as the poll has told.
    pub(super) owed_messages: AtomicI64,
    phase: Mutex<Phase>,
}

impl Site {
    /// Prepares the work on a PBX; nothing is asked of it yet. `connection` is shared by all that work on the same PBX.
    pub(crate) fn new(
        vault: &Vault,
        pbx: &PbxConfig,
        connection: Connection,
        downloads: Arc<Semaphore>,
        stop: CancellationToken,
    ) -> Self {
        let fingerprint = vault.state.fingerprint(pbx);
        let gate = Gate::new(pbx, vault.state.db.clone(), vault.clock.clone(), fingerprint, stop.clone());
        Self {
            vault: vault.clone(),
            pbx: pbx.clone(),
            client: connection.client,
            bell: connection.bell,
            in_use: connection.in_use,
            gate: Arc::new(gate),
            downloads,
            progress: Arc::default(),
            message_progress: Arc::default(),
            stop,
            owed: AtomicI64::new(0),
            owed_messages: AtomicI64::new(0),
            phase: Mutex::new(Phase::Connecting),
        }
    }

    pub fn id(&self) -> &str {
        &self.pbx.id
    }

    pub fn progress(&self) -> SiteProgress {
        let done = self.progress.snapshot() + self.message_progress.snapshot();
        let Snapshot { archived, failed_attempts, bytes } = done;
        let owed = self.owed.load(Relaxed) + self.owed_messages.load(Relaxed);
        SiteProgress {
            pbx: self.id().to_owned(),
            phase: self.phase.lock().map(|phase| phase.clone()).unwrap_or(Phase::Done),
            owed: u64::try_from(owed).unwrap_or(0),
            archived,
            failed_attempts,
            bytes,
        }
    }

    /// Why the PBX was given up, if it was.
    pub(crate) async fn trouble(&self) -> Option<Trouble> {
        self.gate.trouble().await
    }

    /// Whether the PBX has answered as it should, and was not given up since.
    pub(crate) async fn works(&self) -> bool {
        self.gate.works().await
    }

    /// Lets `callvault status` say what is wrong.
    pub(crate) async fn tell(&self, trouble: Trouble) -> anyhow::Result<()> {
        self.gate.tell(trouble).await
    }

    /// Whether nothing more may be begun: the PBX was given up, or the work is to end.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.gate.given_up().is_cancelled()
    }

    /// Ends when nothing more may be begun.
    pub(crate) async fn over(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.gate.given_up().cancelled() => {}
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        if let Ok(mut current) = self.phase.lock() {
            *current = phase;
        }
    }

    /// Reads the CDR of these days. `deep` also reads files that have not changed since they were read; `beat` is told each
    /// day.
    ///
    /// # Errors
    /// [`SameDevice`] and [`CdrFileError`] for what an operator can mend.
    pub(crate) async fn sweep_ranges(
        &self,
        met: &Met,
        ranges: &[DayRange],
        deep: bool,
        beat: impl Fn(),
    ) -> anyhow::Result<SweepReport> {
        sweep_ranges(&self.sweeper(met, deep), ranges, |_, _| beat()).await
    }

    pub(super) fn sweeper(&self, met: &Met, known_files_too: bool) -> Sweeper<'_> {
        Sweeper {
            pbx: &self.pbx,
            client: &*self.client,
            gate: &self.gate,
            db: &self.vault.state.db,
            is_one_of_several: self.vault.config.pbx.len() > 1,
            state: self.vault.state.directory(),
            clock: self.vault.clock.clone(),
            bell: self.bell.clone(),
            rules: rules_of(&self.vault.config, self.id()),
            device_behind: met.behind,
            known_files_too,
            limits: Mutex::default(),
            clock_doubt: OnceCell::new(),
            stop: self.stop.clone(),
        }
    }

    /// One device under two names: nothing more may be asked of it under this one.
    pub(crate) async fn refuse_same_device(&self, message: String) -> anyhow::Result<()> {
        self.gate.refuse_and_tell(Trouble { reason: SAME_DEVICE.into(), message }).await
    }

    /// Polls the voicemail boxes once.
    pub(crate) async fn poll_voicemail(&self) -> anyhow::Result<VoicemailPoll> {
        poll_voicemail(&self.sweeper(&Met::default(), true)).await
    }

    pub(crate) fn worker(&self, task: Task) -> Worker {
        let Vault { config, state, archive, clock, .. } = self.vault.clone();
        let Task { days, kinds, progress, swept } = task;
        Worker {
            pbx: self.pbx.clone(),
            queue: config.queue.clone(),
            days,
            kinds,
            run_id: state.run_id.clone(),
            db: state.db.clone(),
            archive,
            free_bytes_min: config.archive.free_bytes_min,
            client: self.client.clone(),
            clock,
            latest_ms: AtomicI64::new(i64::MIN),
            gate: self.gate.clone(),
            downloads: self.downloads.clone(),
            progress,
            archive_failures: AtomicU32::new(0),
            twins: TwinLocks::default(),
            bell: self.bell.clone(),
            swept,
            // Of its own: workers whose archive fails end, and what else is done here goes on.
            stop: self.stop.child_token(),
        }
    }
}
