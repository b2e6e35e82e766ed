//! What the loops of the service know of each other.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::supervisor::Pulse;
use crate::base::bell::Bell;
use crate::pipeline::gate::Trouble;
use crate::pipeline::site::Connection;
use crate::pipeline::worker::{Progress, Snapshot};
use crate::proof::sealed_vault::SealedVault;
use crate::store::agenda::{self, Agenda, Job, Todo};
use crate::vault::Vault;

#[derive(Debug, Clone)]
pub(super) struct Seat {
    /// Stands for all that was configured of the PBX, its password included.
    pub(super) settings: Vec<u8>,
    pub(super) connection: Connection,
    pub(super) todo: Todo,
    pub(super) pulse: Pulse,
    pub(super) progress: Arc<Progress>,
    pub(super) renew: Arc<AtomicBool>,
    /// Notified when the PBX reports that it has restarted.
    pub(super) restarted: Arc<Notify>,
    pub(super) trouble: Option<Trouble>,
    pub(super) stop: CancellationToken,
    /// Cancelled when it has begun: the former follower of the PBX has ended.
    pub(super) begun: CancellationToken,
    pub(super) ended: CancellationToken,
}

/// The seats by the id of their PBX.
pub(super) type Seats = BTreeMap<String, Seat>;

#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// Turns to download, of followers and commands alike.
    pub(super) downloads: Arc<Semaphore>,
    /// Wakes the loop that looks at the agenda.
    pub(super) tick: Bell,
    /// What concerns all PBXs.
    pub(super) todo: Todo,
    /// The same, for what takes its time.
    pub(super) slow_todo: Todo,
    /// Rung when a checkpoint was published.
    pub(super) sealed: Bell,
    /// Snapshots of the database, which take their time too and wait for nothing else.
    pub(super) snapshot_todo: Todo,
    /// Whether the last proof of progress succeeded.
    pub(super) makes_progress: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    opened: SealedVault,
    agenda: Agenda,
    seats: Seats,
    archive_trouble: Option<Trouble>,
    /// What is wrong with the configuration on disk, if it was refused.
    refused_configuration: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Glance {
    pub followed: usize,
    pub in_trouble: Vec<String>,
    pub archived: u64,
    pub archive_trouble: Option<String>,
    /// Whether the configuration on disk was refused and an older one is in force.
    pub refused_configuration: bool,
}

impl Shared {
    pub(super) fn new(opened: SealedVault) -> Self {
        let agenda = Agenda::new(opened.vault.clock.now());
        let downloads = Arc::new(Semaphore::new(opened.vault.config.queue.concurrency_total));
        let inner = Inner {
            opened,
            agenda,
            seats: Seats::new(),
            archive_trouble: None,
            refused_configuration: false,
        };
        Self {
            inner: Mutex::new(inner),
            downloads,
            tick: Bell::default(),
            todo: Todo::default(),
            slow_todo: Todo::default(),
            sealed: Bell::default(),
            snapshot_todo: Todo::default(),
            makes_progress: AtomicBool::new(true),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The vault under the configuration in force.
    pub(super) fn vault(&self) -> Vault {
        self.lock().opened.vault.clone()
    }

    /// The same, with the notary of its ledger.
    pub(super) fn opened(&self) -> SealedVault {
        self.lock().opened.clone()
    }

    /// Goes by another configuration from now on, all at once. Returns the former seats.
    pub(super) fn go_by(&self, opened: SealedVault, agenda: Agenda, seats: Seats) -> Seats {
        let mut inner = self.lock();
        (inner.opened, inner.agenda) = (opened, agenda);
        inner.refused_configuration = false;
        std::mem::replace(&mut inner.seats, seats)
    }

    pub(super) fn note_refused_configuration(&self) {
        self.lock().refused_configuration = true;
    }

    /// Hands out what is due. Returns when each line of the schedule is due next, and whether the clock was set back.
    pub(super) fn look_at_agenda(&self, now: Timestamp) -> (Vec<agenda::Due>, bool) {
        let mut inner = self.lock();
        let set_back = inner.agenda.look(now);
        (inner.agenda.dues(), set_back)
    }

    /// Notes that a job ran to its end; one that only an event brings about is not on the agenda.
    pub(super) async fn note_done(&self, job: Job, pbx: &str) -> anyhow::Result<()> {
        let (vault, next_due) = {
            let inner = self.lock();
            (inner.opened.vault.clone(), inner.agenda.due(job, pbx))
        };
        let Some(next_due) = next_due else { return Ok(()) };
        let (pbx, now) = (pbx.to_owned(), vault.clock.now());
        let db = &vault.state.db;
        db.write(async move |tx| agenda::note_run(tx, job, &pbx, now, next_due).await).await
    }

    /// Changes or reads a seat; `None` if nobody follows this PBX.
    pub(super) fn seat<T>(&self, pbx: &str, change: impl FnOnce(&mut Seat) -> T) -> Option<T> {
        self.lock().seats.get_mut(pbx).map(change)
    }

    pub(super) fn seats(&self) -> Seats {
        self.lock().seats.clone()
    }

    pub(super) fn note_trouble(&self, pbx: &str, trouble: Option<Trouble>) {
        self.seat(pbx, |seat| seat.trouble = trouble);
    }

    pub(super) fn note_archive_trouble(&self, trouble: Option<Trouble>) {
        self.lock().archive_trouble = trouble;
    }

    /// Lets a follower begin anew: with a new session, and without waiting.
    pub(super) fn renew(&self, pbx: &str) {
        self.seat(pbx, |seat| {
            seat.renew.store(true, SeqCst);
            seat.todo.add(Job::Sweep);
        });
    }

    pub(super) fn glance(&self) -> Glance {
        let inner = self.lock();
        let snapshots = inner.seats.values().map(|seat| seat.progress.snapshot());
        let in_trouble = inner.seats.iter().filter(|(_, seat)| seat.trouble.is_some());
        Glance {
            followed: inner.seats.len(),
            in_trouble: in_trouble.map(|(id, _)| id.clone()).collect(),
            archived: snapshots.map(|Snapshot { archived, .. }| archived).sum(),
            archive_trouble: inner.archive_trouble.as_ref().map(|trouble| trouble.message.clone()),
            refused_configuration: inner.refused_configuration,
        }
    }
}

impl std::fmt::Display for Glance {
    /// One line that a person can read: systemd shows it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pbxs = if self.followed == 1 { "PBX" } else { "PBXs" };
        write!(f, "following {} {pbxs}", self.followed)?;
        match &self.in_trouble[..] {
            [] => write!(f, ", all well")?,
            [one] => write!(f, ", `{one}` in trouble")?,
            some => write!(f, ", {} in trouble: {}", some.len(), some.join(", "))?,
        }
        write!(f, "; {} archived since the start", self.archived)?;
        if self.archive_trouble.is_some() {
            write!(f, "; THE ARCHIVE CANNOT BE WRITTEN")?;
        }
        if self.refused_configuration {
            write!(f, "; the new configuration was refused, the former one is in force")?;
        }
        if !self.in_trouble.is_empty() || self.archive_trouble.is_some() {
            write!(f, "; see `callvault status`")?;
        }
        Ok(())
    }
}
