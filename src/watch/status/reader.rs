//! Reads the state, repeatedly at little cost.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;
use sqlx::{Connection as _, SqliteConnection};

use super::archive::Lookout;
use super::{
    AnchorStatus, ClockTrouble, FeedWebhookStatus, LedgerStatus, PbxStatus, ServiceStatus, SnapshotStatus,
    Status, VerificationStatus, VoicemailStatus, time,
};
use crate::base::counts::Counts;
use crate::base::recording::RecordingKind;
use crate::config::{Config, PbxConfig};
use crate::pipeline::forecast;
use crate::pipeline::gate::Trouble;
use crate::pipeline::sweep::FullestBox;
use crate::store::alert_queue::{self, Standing};
use crate::store::calls::{self, CallCounts};
use crate::store::catalog::Summed;
use crate::store::certificates::{self, DaysStanding};
use crate::store::db;
use crate::store::evidence::{self, Verdicts};
use crate::store::findings;
use crate::store::fleet::{self, Remembered};
use crate::store::owner;
use crate::store::queue::{self, DayRange, Unarchived};
use crate::store::voicemail;
use crate::vault::exposure;
use crate::vault::snapshot;
use crate::vault::state;

/// Findings read for each PBX; all are counted.
const FINDINGS_READ: i64 = 1000;

/// Reads the state of one installation. It keeps what cannot change any more, so that a second reading costs no more for a
/// million archived recordings than for none.
#[derive(Debug, Clone)]
pub struct Reader {
    config: Config,
    summed: Summed,
    lookout: Lookout,
    findings_max: i64,
}

/// What is read for all PBXs at once.
struct Facts {
    remembered: BTreeMap<String, Remembered>,
    unarchived: Vec<Unarchived>,
    calls: BTreeMap<String, CallCounts>,
    findings: BTreeMap<String, Vec<(String, i64)>>,
    days: BTreeMap<String, DaysStanding>,
    verdicts: BTreeMap<String, Verdicts>,
}

impl Reader {
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            summed: Summed::default(),
            lookout: Lookout::default(),
            findings_max: FINDINGS_READ,
        }
    }

    pub fn with_findings_max(self, findings_max: i64) -> Self {
        Self { findings_max, ..self }
    }

    pub fn reconfigure(&mut self, config: &Config) {
        self.config = config.clone();
    }

    /// All of it is of one moment, whatever is written meanwhile.
    pub async fn read(&mut self, db: &mut SqliteConnection, now: Timestamp) -> anyhow::Result<Status> {
        let mut moment = db.begin().await.context("reading the database")?;
        self.summed.catch_up(&mut moment).await?;
        let facts = Facts {
            remembered: fleet::all(&mut moment).await?,
            unarchived: queue::unarchived(&mut moment).await?,
            calls: calls::counts(&mut moment).await?,
            findings: findings::counts(&mut moment).await?,
            days: certificates::standing(&mut moment).await?,
            verdicts: verdicts(&mut moment).await?,
        };
        let mut pbxs = BTreeMap::new();
        for pbx in &self.config.pbx {
            pbxs.insert(pbx.id.clone(), self.read_pbx(&mut moment, &facts, pbx, now).await?);
        }
        let of_no_pbx =
            facts.findings.get("").map_or(0, |counts| counts.iter().map(|(_, count)| count).sum());
        let machine = self.read_machine(&mut moment, of_no_pbx, now).await?;
        moment.rollback().await.context("reading the database")?;
        let known = |id: &&String| facts.remembered.contains_key(*id);
        let known = pbxs.keys().filter(known).cloned().collect();
        let archive = self.lookout.look(&self.config.archive, known).await;
        Ok(Status { archive, pbx: pbxs, ..machine }.concluded())
    }

    async fn read_machine(
        &self,
        db: &mut SqliteConnection,
        of_no_pbx: i64,
        now: Timestamp,
    ) -> anyhow::Result<Status> {
        let alerts = alert_queue::standing(db).await?;
        let ping_error = fleet::meta(db, fleet::PING_ERROR).await?.filter(|error| !error.is_empty());
        let running = state::is_owned_by_service(&self.config.state.path);
        let service = ServiceStatus::of(owner::service(db).await?, running);
        let snapshot_error = fleet::meta(db, snapshot::LAST_ERROR).await?.filter(|error| !error.is_empty());
        let snapshot = SnapshotStatus::look(&self.config.state.path, snapshot_error, now);
        let are_made = self.config.snapshots.is_on() && (service.started.is_some() || snapshot.at.is_some());
        let ledger = LedgerStatus::read(db).await?;
        let listener = fleet::meta(db, fleet::LISTENER_TROUBLE).await?;
        Ok(Status {
            listener: listener.filter(|trouble| service.running && !trouble.is_empty()),
            clock: ClockTrouble::read(db, now).await?,
            exposed: exposure::of_configuration(&self.config),
            service,
            feed_webhooks: FeedWebhookStatus::all(db, &self.config.feed, ledger.signed_entries).await?,
            ledger,
            anchors: AnchorStatus::all(db, &self.config.anchors).await?,
            verification: VerificationStatus::read(db, &self.config, of_no_pbx).await?,
            snapshot: are_made.then_some(snapshot),
            alerts: Standing { ping_error, ..alerts },
            database_outdated: db::is_outdated(db).await?,
            at: now,
            ..Status::default()
        })
    }

    async fn read_pbx(
        &self,
        db: &mut SqliteConnection,
        facts: &Facts,
        config: &PbxConfig,
        now: Timestamp,
    ) -> anyhow::Result<PbxStatus> {
        let id = config.id.as_str();
        let remembered = facts.remembered.get(id).cloned().unwrap_or_default();
        let holdings = self.summed.of(id, RecordingKind::Call);
        let of_kind =
            |kind| facts.unarchived.iter().filter(move |group| group.pbx == id && group.kind == kind);
        let counts = Counts { archived: holdings.recordings, ..queue::counted(of_kind(RecordingKind::Call)) };
        let voicemail = self.read_voicemail(db, facts, config).await?;
        let calls = facts.calls.get(id).copied().unwrap_or_default();
        let findings = facts.findings.get(id).cloned().unwrap_or_default();
        let latest_findings = match findings.is_empty() {
            true => Vec::new(),
            false => findings::latest(db, id, self.findings_max).await?,
        };
        let forecast = forecast::read(db, config, now).await?;
        Ok(PbxStatus {
            listed: counts.listed(),
            counts,
            bytes: holdings.bytes,
            calls: calls.calls,
            answered_without_recording: calls.answered_without_recording,
            days: facts.days.get(id).cloned().unwrap_or_default(),
            verdicts: facts.verdicts.get(id).cloned().unwrap_or_default(),
            suspect: holdings.suspects.into_iter().collect(),
            oldest_pending: oldest_owed(of_kind(RecordingKind::Call)),
            safety_margin_s: forecast.margin_s,
            cdr_near: forecast.cdr_told(config.retention.warn_margin),
            forecast: Some(forecast),
            nearly_full_boxes: voicemail
                .as_ref()
                .and_then(VoicemailStatus::nearly_full)
                .into_iter()
                .collect(),
            voicemail,
            last_sweep: time(remembered.last_sweep_at_ms),
            paused_since: time(remembered.paused_at_ms),
            last_delivery: time(remembered.last_delivery_at_ms),
            reasons: queue::told(db, of_kind(RecordingKind::Call)).await?,
            findings,
            latest_findings,
            error_since: time(remembered.problem_since_ms),
            error: trouble(remembered),
        })
    }
}

impl Reader {
    /// None for a PBX whose boxes were never read.
    async fn read_voicemail(
        &self,
        db: &mut SqliteConnection,
        facts: &Facts,
        config: &PbxConfig,
    ) -> anyhow::Result<Option<VoicemailStatus>> {
        let id = config.id.as_str();
        let remembered = voicemail::remembered(db, id).await?;
        if remembered == voicemail::Remembered::default() {
            return Ok(None);
        }
        let holdings = self.summed.of(id, RecordingKind::Voicemail);
        let groups = || {
            facts.unarchived.iter().filter(|group| group.pbx == id && group.kind == RecordingKind::Voicemail)
        };
        let counts = Counts { archived: holdings.recordings, ..queue::counted(groups()) };
        Ok(Some(VoicemailStatus {
            known: counts.listed(),
            counts,
            bytes: holdings.bytes,
            unsupported: remembered.unsupported_at_ms.is_some(),
            last_poll: time(remembered.polled_at_ms),
            oldest_pending: oldest_owed(groups()),
            fullest: remembered.fullest_extension.map(|extension| FullestBox {
                extension,
                messages: u64::try_from(remembered.fullest_messages).unwrap_or(0),
                cap: config.voicemail.per_extension,
            }),
            suspect: holdings.suspects.into_iter().collect(),
            reasons: queue::told(db, groups()).await?,
        }))
    }
}

/// An older version has kept nothing about that.
async fn verdicts(db: &mut SqliteConnection) -> anyhow::Result<BTreeMap<String, Verdicts>> {
    match db::has_table(db, "doubts").await? {
        true => evidence::standings(db, None, DayRange::ALL).await,
        false => Ok(BTreeMap::new()),
    }
}

fn oldest_owed<'a>(groups: impl Iterator<Item = &'a Unarchived>) -> Option<Timestamp> {
    let owed = groups.filter(|group| matches!(group.state.as_str(), "pending" | "stuck"));
    time(owed.map(|group| group.oldest_at_ms).min())
}

fn trouble(remembered: Remembered) -> Option<Trouble> {
    Some(Trouble { reason: remembered.problem_reason?, message: remembered.problem_message? })
}
