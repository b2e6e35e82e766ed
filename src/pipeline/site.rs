//! One PBX at work: what all work on it shares, who it is, and what its clock says.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};
use tokio::sync::{RwLock, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::gate::{Blame, Gate, Item, Trouble};
use super::worker::{Progress, Snapshot};
use crate::base::bell::Bell;
use crate::base::recording::printable;
use crate::base::times::parse_systemtime;
use crate::config::{PbxConfig, PushMode};
use crate::pbx::{self, DeviceInfo, Pbx};
use crate::store::clocks::{self, Look, PbxClock};
use crate::store::db::Db;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fleet::{self, SameDevice};
use crate::store::queue::DayRange;
use crate::store::sql::Conn;
use crate::vault::Vault;

/// The class of [`SameDevice`].
pub(crate) const SAME_DEVICE: &str = "same_device";
/// What findings about a PBX's clock are about.
const ITS_CLOCK: &str = "its clock";
/// How long a clock that was set stays a finding.
const JUMP_SHOWN: SignedDuration = SignedDuration::from_hours(24);
/// The default retention of a device: what a backfill without dates covers (`docs/pbx-api.md` §10).
pub(super) const DAYS_BACK: i64 = 180;

/// The session and the connections to a PBX, and the bell of its queue.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(crate) client: Arc<dyn Pbx>,
    pub(crate) bell: Bell,
    /// Read by every command that works over it; whoever needs the PBX alone writes.
    pub(crate) in_use: Arc<RwLock<()>>,
}

impl Connection {
    /// A connection of its own to `pbx`; nothing is sent yet.
    pub(crate) fn new(pbx: &PbxConfig) -> Result<Self> {
        Ok(Self::to(pbx::open(pbx)?))
    }

    /// A connection over this client, of whatever family.
    pub fn to(client: Arc<dyn Pbx>) -> Self {
        Self { client, bell: Bell::default(), in_use: Arc::default() }
    }

    /// A connection for a command, which does not listen to what the PBX may report: it leaves that as it is.
    pub(crate) fn of_command(pbx: &PbxConfig) -> Result<Self> {
        Self::new(&PbxConfig { push: PushMode::Off, ..pbx.clone() })
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.in_use, &other.in_use)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteProgress {
    pub pbx: String,
    pub phase: Phase,
    /// Recordings to archive, as far as is known.
    pub owed: u64,
    pub archived: u64,
    pub failed_attempts: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Connecting,
    /// Reading the CDR of this day, and downloading meanwhile.
    Sweeping(Date),
    Downloading,
    Done,
}

/// One PBX at work, shared by its sweep and its workers. Its progress may be read at any time.
#[derive(Debug)]
pub struct Site {
    pub(super) vault: Vault,
    pub(super) pbx: PbxConfig,
    pub(super) connection: Connection,
    pub(crate) gate: Gate,
    pub(super) downloads: Arc<Semaphore>,
    pub(super) progress: Arc<Progress>,
    pub(super) message_progress: Arc<Progress>,
    pub(super) stop: CancellationToken,
    /// Recordings that this run set out to archive, as far as the sweep has found them.
    pub(super) to_archive: AtomicI64,
    /// The same of voicemail messages.
    pub(super) messages_to_archive: AtomicI64,
    phase: Mutex<Phase>,
}

impl Site {
    /// Prepares the work on a PBX; nothing is asked of it yet. `connection` is shared by all that work on the same PBX.
    pub(crate) fn new(
        vault: &Vault,
        pbx: &PbxConfig,
        connection: Connection,
        downloads: Arc<Semaphore>,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            vault: vault.clone(),
            pbx: pbx.clone(),
            connection,
            gate: Gate::new(vault, pbx, stop.clone()),
            downloads,
            progress,
            message_progress: Arc::default(),
            stop,
            to_archive: AtomicI64::new(0),
            messages_to_archive: AtomicI64::new(0),
            phase: Mutex::new(Phase::Connecting),
        }
    }

    pub fn id(&self) -> &str {
        &self.pbx.id
    }

    pub(crate) fn pbx(&self) -> &PbxConfig {
        &self.pbx
    }

    pub(super) fn client(&self) -> &dyn Pbx {
        &*self.connection.client
    }

    pub(super) fn db(&self) -> &Db {
        &self.vault.state.db
    }

    pub(super) fn now(&self) -> Timestamp {
        self.vault.clock.now()
    }

    pub fn progress(&self) -> SiteProgress {
        let done = self.progress.snapshot() + self.message_progress.snapshot();
        let Snapshot { archived, failed_attempts, bytes } = done;
        let owed = self.to_archive.load(Relaxed) + self.messages_to_archive.load(Relaxed);
        SiteProgress {
            pbx: self.id().to_owned(),
            phase: self.phase.lock().map(|phase| phase.clone()).unwrap_or(Phase::Done),
            owed: u64::try_from(owed).unwrap_or(0),
            archived,
            failed_attempts,
            bytes,
        }
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

    /// Records a finding about `subject` if there is a `detail`; else closes it.
    pub(super) async fn settle_finding(
        &self,
        kind: FindingKind,
        subject: impl Into<String>,
        detail: Option<String>,
    ) -> Result<()> {
        let (pbx, subject, now) = (self.id().to_owned(), subject.into(), self.now());
        self.db().write(async move |tx| findings::settle(tx, &pbx, kind, &subject, detail, now).await).await
    }

    /// One device under two names: nothing more may be asked of it under this one.
    pub(crate) async fn refuse_same_device(&self, message: String) -> Result<()> {
        let trouble = Trouble { reason: SAME_DEVICE.into(), message };
        self.gate.refuse(trouble.clone()).await;
        self.gate.remember(trouble, None).await
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Met {
    /// What its clock on the wall shows, if it tells.
    pub(crate) local_time: Option<DateTime>,
    /// How far its clock is behind ours: a day settles by the earlier clock.
    pub(crate) behind: SignedDuration,
}

impl Site {
    /// Asks the PBX who it is, learns its serial number, and compares its clock with ours. A PBX that cannot be reached is
    /// given up here.
    pub(crate) async fn meet(&self) -> Result<Met> {
        let Some((device, asked_at, answered_at)) = self.ask_who_it_is().await? else {
            return Ok(Met::default());
        };
        let Some((local, shown_s)) = device.system_time.as_deref().and_then(parse_systemtime) else {
            return Ok(Met::default());
        };
        let learnt_s = fleet::remembered(&mut *self.db().read().await?, self.id()).await?.utc_offset_s;
        let now = self.now();
        let configured_s = self.pbx.timezone.as_ref().map(|zone| zone.to_offset(now).seconds());
        let offsets_s = [shown_s, learnt_s, configured_s];
        let shown = |offset_s: i32| Offset::from_seconds(offset_s).ok()?.to_timestamp(local).ok();
        // Whichever distance to UTC brings it closest to ours: a wrong zone is no wrong clock, and has a finding of its own.
        let nearest = offsets_s
            .into_iter()
            .flatten()
            .filter_map(shown)
            .min_by_key(|shown| shown.duration_since(answered_at).abs());
        if let Some(shown) = nearest {
            self.compare_clocks(Look { asked_at, answered_at, shown }).await?;
        }
        let first = offsets_s.into_iter().flatten().next().and_then(shown);
        let behind = first.map(|shown| now.duration_since(shown)).unwrap_or_default();
        Ok(Met { local_time: Some(local), behind: behind.max(SignedDuration::ZERO) })
    }

    /// Notes how far the PBX's clock is from ours. A clock that is far off is a finding until it is right.
    async fn compare_clocks(&self, look: Look) -> Result<()> {
        let (id, now, sync) = (self.id().to_owned(), self.now(), self.vault.clock.sync().await);
        let db = self.db();
        db.write(async move |tx| {
            clocks::note_own(tx, now, sync).await?;
            let Some(clock) = clocks::record(tx, &id, &look).await? else { return Ok(()) };
            note_jump(tx, &id, &clock, now).await?;
            let detail = clock.is_skewed().then(|| clocks::describe_skew(&look, &clock, sync));
            findings::settle(tx, &id, FindingKind::ClockSkewed, ITS_CLOCK, detail, now).await
        })
        .await
    }

    /// What the PBX answered, when it was asked, and when the answer came, by our clock.
    async fn ask_who_it_is(&self) -> Result<Option<(DeviceInfo, Timestamp, Timestamp)>> {
        while !self.is_over() {
            let asked_at = self.now();
            match self.client().device().await {
                Ok(device) => {
                    let answered_at = self.now();
                    self.gate.worked(&Item::Device).await?;
                    let Some(device) = device else { return Ok(None) };
                    self.learn(&device.sn).await?;
                    return Ok(Some((device, asked_at, answered_at)));
                }
                // Who it is helps, but is not needed: what only this question fails by must not stop the work.
                Err(error) if self.gate.troubled(&Item::Device, &error).await? == Blame::Item => {
                    warn!(pbx = self.id(), "Pbx `{}` does not say who it is: {error}", self.id());
                    return Ok(None);
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }

    async fn learn(&self, sn: &str) -> Result<()> {
        let (id, learnt, now) = (self.id().to_owned(), sn.to_owned(), self.now());
        let db = self.db();
        let outcome = db
            .write(async move |tx| {
                if let Some(before) = fleet::learn_serial_number(tx, &id, &learnt).await? {
                    let shown = printable(learnt.as_bytes());
                    let detail =
                        format!("the device says serial number {shown}, it was {before}: was it replaced?");
                    let kind = FindingKind::SerialNumberChanged;
                    findings::record(tx, &id, &Finding { kind, subject: shown, detail }, now).await?;
                }
                Ok(())
            })
            .await;
        match outcome {
            Err(error) if error.is::<SameDevice>() => self.refuse_same_device(error.to_string()).await,
            outcome => outcome,
        }
    }
}

/// A clock that was set since the last look is a finding for a day: what was read around that is read again by then.
async fn note_jump(tx: &mut Conn, pbx: &str, clock: &PbxClock, now: Timestamp) -> Result<()> {
    let detail = match clock.jump {
        Some(jump) if jump.before == clock.measured_at => Some(jump.to_string()),
        Some(jump) if now.duration_since(jump.before).abs() < JUMP_SHOWN => return Ok(()),
        _ => None,
    };
    findings::settle(tx, pbx, FindingKind::ClockJumped, ITS_CLOCK, detail, now).await
}

/// The days that a PBX keeps, up to its tomorrow: by its own clock and by ours, for either may be a year off.
pub(crate) fn kept_days(pbx: &PbxConfig, device: Option<DateTime>, now: Timestamp) -> Vec<DayRange> {
    let ours = now.to_zoned(pbx.timezone.clone().unwrap_or(TimeZone::UTC)).date();
    let theirs = device.map_or(ours, DateTime::date);
    let [early, late] = [ours.min(theirs), ours.max(theirs)].map(|today| DayRange {
        from: today.checked_sub(DAYS_BACK.days()).unwrap_or(today),
        to: today.checked_add(1.day()).unwrap_or(today),
    });
    if early.to < late.from { vec![early, late] } else { vec![DayRange { from: early.from, to: late.to }] }
}
