//! The state of everything at one moment: what is owed, at risk and wrong, and what to do about it.
//!
//! One reading serves the command, the metrics and the alerts, so that they cannot differ. It uses only the database and the
//! archive's filesystem, so it can run beside the process that does the work.

mod archive;
mod machine;
mod pbx;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;
use sqlx::Connection as _;

use crate::base::counts::Counts;
use crate::base::recording::{RecordingKind, RecordingState};
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
use crate::store::findings::{self, FindingKind};
use crate::store::fleet::{self, Remembered};
use crate::store::queue::{self, DayRange, Unarchived};
use crate::store::requests;
use crate::store::sql::Conn;
use crate::store::voicemail;
use crate::vault::exposure::{self, Exposure};
use crate::vault::snapshot;
use crate::vault::state;

pub use archive::ArchiveStatus;
use archive::Lookout;
pub use machine::*;
pub use pbx::{NearlyFullBox, PbxStatus, VoicemailStatus};

/// As `status --json` prints it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    pub at: Timestamp,
    pub summary: String,
    /// The ids of the PBXs that need a person.
    pub needs_attention: Vec<String>,
    pub archive: ArchiveStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<Trouble>,
    /// What other users of this machine can read or write and must not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<Exposure>,
    pub service: ServiceStatus,
    pub ledger: LedgerStatus,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<AnchorStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feed_webhooks: Vec<FeedWebhookStatus>,
    /// What is wrong with the listener of `[web]`, while a service runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    pub verification: VerificationStatus,
    /// None if they are off, or no service ever ran here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotStatus>,
    /// Whether an older version wrote the database, and this one has not worked with it yet.
    pub database_outdated: bool,
    pub alerts: Standing,
    /// The configured PBXs by id; none before the first run.
    pub pbx: BTreeMap<String, PbxStatus>,
}

/// Further PBXs are counted.
const NAMED_IN_SUMMARY: usize = 5;

impl Status {
    /// The state of an installation that has done nothing yet.
    pub async fn before_the_first_run(config: &Config, now: Timestamp) -> Self {
        let archive = Lookout::default().look(&config.archive, Vec::new()).await;
        let exposed = exposure::of_configuration(config);
        Self { at: now, archive, exposed, ..Self::default() }.concluded()
    }

    /// Adds what follows from everything that was read.
    fn concluded(mut self) -> Self {
        self.exposed.extend(self.archive.exposure.clone());
        let in_trouble = self.pbx.iter().filter(|(_, pbx)| pbx.cause().is_some());
        self.needs_attention = in_trouble.map(|(id, _)| id.clone()).collect();
        self.summary = self.in_one_sentence();
        self
    }

    /// Says at a glance whether anyone has to do anything.
    fn in_one_sentence(&self) -> String {
        let of_ledger = match (&self.ledger.problem, self.verification.ledger_damaged) {
            (Some(_), _) => Some("not signed"),
            (None, 1..) => Some("damaged"),
            (None, _) => None,
        };
        let of_machine = [
            self.archive.error.as_ref().map(|error| ("archive", error.reason.replace('_', " "))),
            (!self.exposed.is_empty()).then(|| ("installation", "open to others".to_owned())),
            self.clock.as_ref().map(|clock| ("clock of this machine", clock.reason.replace('_', " "))),
            self.service.has_died().then(|| ("service", "not running".to_owned())),
            of_ledger.map(|why| ("ledger", why.to_owned())),
            self.listener.as_ref().map(|_| ("listener", "not as configured".to_owned())),
        ];
        let (mut parts, pbxs) = (of_machine.into_iter().flatten(), self.summary_of_pbxs());
        let Some((first, why)) = parts.next() else { return pbxs };
        let mut machine = format!("The {first} needs you ({why})");
        for (part, why) in parts {
            machine += &format!(", and so does the {part} ({why})");
        }
        match self.needs_attention.is_empty() && !self.pbx.is_empty() {
            true => format!("{machine}; no PBX does."),
            false => format!("{machine}. {pbxs}"),
        }
    }

    fn summary_of_pbxs(&self) -> String {
        let (pbx, in_trouble) = (&self.pbx, &self.needs_attention);
        let paused = match pbx.values().filter(|pbx| pbx.paused_since.is_some()).count() {
            0 => String::new(),
            count => format!(" ({count} paused)"),
        };
        let all = match pbx.len() {
            1 => format!("1 PBX{paused}"),
            count => format!("{count} PBXs{paused}"),
        };
        match in_trouble.len() {
            _ if pbx.is_empty() => "Nothing was archived yet: run `callvault backfill`.".to_owned(),
            0 => format!("{all}, all well."),
            count => {
                let need = if count == 1 { "needs" } else { "need" };
                let causes =
                    in_trouble.iter().filter_map(|id| Some(format!("{id} ({})", pbx.get(id)?.cause()?)));
                let mut named: Vec<String> = causes.take(NAMED_IN_SUMMARY).collect();
                if count > NAMED_IN_SUMMARY {
                    named.push(format!("and {} more", count - NAMED_IN_SUMMARY));
                }
                format!("{count} of {all} {need} you: {}.", named.join(", "))
            }
        }
    }
}

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

struct Facts {
    remembered: BTreeMap<String, Remembered>,
    unarchived: Vec<Unarchived>,
    calls: BTreeMap<String, CallCounts>,
    findings: BTreeMap<String, Vec<(FindingKind, i64)>>,
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
    pub async fn read(&mut self, db: &mut Conn, now: Timestamp) -> Result<Status> {
        let mut moment = db.begin().await.context("reading the database")?;
        db::count_if_outdated(&mut moment).await?;
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

    async fn read_machine(&self, db: &mut Conn, of_no_pbx: i64, now: Timestamp) -> Result<Status> {
        let alerts = alert_queue::standing(db).await?;
        let ping_error = fleet::meta(db, fleet::PING_ERROR).await?.filter(|error| !error.is_empty());
        let running = state::is_owned_by_service(&self.config.state.path);
        let service = ServiceStatus::of(requests::service(db).await?, running);
        let snapshot_error = fleet::meta(db, snapshot::LAST_ERROR).await?.filter(|error| !error.is_empty());
        let snapshot = SnapshotStatus::look(&self.config.state.path, snapshot_error, now);
        let are_made = self.config.snapshots.is_on() && (service.started.is_some() || snapshot.at.is_some());
        let ledger = LedgerStatus::read(db).await?;
        let listener = fleet::meta(db, fleet::LISTENER_TROUBLE).await?;
        Ok(Status {
            listener: listener.filter(|trouble| service.running && !trouble.is_empty()),
            clock: machine::clock_trouble(db, now).await?,
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
        db: &mut Conn,
        facts: &Facts,
        config: &PbxConfig,
        now: Timestamp,
    ) -> Result<PbxStatus> {
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
            cdr_near: forecast.cdr_warning(config.retention.warn_margin),
            forecast: Some(forecast),
            nearly_full_boxes: voicemail
                .as_ref()
                .and_then(VoicemailStatus::nearly_full)
                .into_iter()
                .collect(),
            voicemail,
            last_sweep: remembered.last_sweep_at_ms.map(Timestamp::from),
            paused_since: remembered.paused_at_ms.map(Timestamp::from),
            last_delivery: remembered.last_delivery_at_ms.map(Timestamp::from),
            reasons: queue::reasons_of(db, of_kind(RecordingKind::Call)).await?,
            findings,
            latest_findings,
            error_since: remembered.problem_since_ms.map(Timestamp::from),
            error: trouble(remembered),
        })
    }
}

impl Reader {
    /// None for a PBX whose boxes were never read.
    async fn read_voicemail(
        &self,
        db: &mut Conn,
        facts: &Facts,
        config: &PbxConfig,
    ) -> Result<Option<VoicemailStatus>> {
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
            last_poll: remembered.polled_at_ms.map(Timestamp::from),
            oldest_pending: oldest_owed(groups()),
            fullest: remembered.fullest_extension.map(|extension| FullestBox {
                extension,
                messages: remembered.fullest_messages,
                cap: config.voicemail.per_extension,
            }),
            suspect: holdings.suspects.into_iter().collect(),
            reasons: queue::reasons_of(db, groups()).await?,
        }))
    }
}

/// An older version has kept nothing about that.
async fn verdicts(db: &mut Conn) -> Result<BTreeMap<String, Verdicts>> {
    match db::has_table(db, "doubts").await? {
        true => evidence::standings(db, None, DayRange::ALL).await,
        false => Ok(BTreeMap::new()),
    }
}

fn oldest_owed<'a>(groups: impl Iterator<Item = &'a Unarchived>) -> Option<Timestamp> {
    let owed = groups.filter(|group| matches!(group.state, RecordingState::Pending | RecordingState::Stuck));
    owed.map(|group| group.oldest_at_ms.0).min()
}

fn trouble(remembered: Remembered) -> Option<Trouble> {
    Some(Trouble { reason: remembered.problem_reason?, message: remembered.problem_message? })
}
