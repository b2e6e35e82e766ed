//! What raises an alert. Alerts are derived from the state alone, so that none is forgotten and none is sent twice.

use indicatif::HumanBytes;
use jiff::{SignedDuration, Timestamp};

use crate::base::finding::FindingKind;
use crate::base::recording::RecordingState;
use crate::base::remedy;
use crate::config::AlertsConfig;
use crate::store::findings::FindingRow;
use crate::vault::exposure::{Exposure, Harm};
use crate::watch::status::{
    AnchorStatus, ArchiveStatus, FeedWebhookStatus, LedgerStatus, PbxStatus, Status, VerificationStatus,
};

pub use crate::base::alert::{Cause, Condition};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub cause: Cause,
    /// None if it is this machine.
    pub pbx: Option<String>,
    /// What of it, where there can be several.
    pub subject: Option<String>,
    pub message: String,
    pub since: Timestamp,
}

impl Alert {
    fn new(cause: impl Into<Cause>, message: impl Into<String>, since: Timestamp) -> Self {
        Self { cause: cause.into(), pbx: None, subject: None, message: message.into(), since }
    }

    fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    pub fn key(&self) -> String {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        format!("{}/{}/{}", self.cause, part(&self.pbx), part(&self.subject))
    }
}

/// Everything that is wrong at present, the worst first.
pub fn all(status: &Status, config: &AlertsConfig) -> Vec<Alert> {
    let now = status.at;
    let mut alerts = Vec::new();
    alerts.extend(of_archive(&status.archive, config, now));
    alerts.extend(status.clock.as_ref().map(|clock| Alert::new(FindingKind::OwnClock, &clock.message, now)));
    alerts.extend(status.exposed.iter().map(|exposure| of_exposure(exposure, now)));
    alerts.extend(of_ledger(&status.ledger, now));
    alerts.extend(status.anchors.iter().filter_map(|anchor| of_anchor(anchor, now)));
    alerts.extend(status.feed_webhooks.iter().filter_map(|webhook| of_feed_webhook(webhook, now)));
    let listener = status.listener.as_ref();
    alerts.extend(listener.map(|message| Alert::new(Condition::ListenerTrouble, message, now)));
    alerts.extend(of_verification(&status.verification, now));
    alerts.extend(of_snapshot(status));
    for (id, pbx) in &status.pbx {
        let of_pbx = of_pbx(id, pbx, config, now).into_iter();
        alerts.extend(of_pbx.map(|alert| Alert { pbx: Some(id.clone()), ..alert }));
    }
    alerts.sort_by_key(|alert| alert.cause.severity());
    alerts
}

fn of_exposure(exposure: &Exposure, now: Timestamp) -> Alert {
    let condition = match exposure.harm {
        Harm::SecretReadable => Condition::SecretReadable,
        Harm::Writable => Condition::WritableByOthers,
    };
    Alert::new(condition, exposure.sentence(), now).about(&exposure.path)
}

fn of_archive(archive: &ArchiveStatus, config: &AlertsConfig, now: Timestamp) -> Option<Alert> {
    if let Some(error) = &archive.error {
        let condition = match error.reason.as_str() {
            "not_mounted" => Condition::ArchiveNotMounted,
            "disk_full" => Condition::DiskFull,
            _ => Condition::ArchiveUnusable,
        };
        return Some(Alert::new(condition, &error.message, now));
    }
    let free = archive.free_bytes.filter(|free| *free < config.free_bytes_warn)?;
    let message = format!(
        "{} has {} free: make room before less than `free_bytes_min` ({}) is left, when downloads stop",
        archive.path,
        HumanBytes(free),
        HumanBytes(archive.free_bytes_min)
    );
    Some(Alert::new(Condition::DiskNearlyFull, message, now))
}

fn of_verification(status: &VerificationStatus, now: Timestamp) -> Vec<Alert> {
    let mut alerts = Vec::new();
    if status.ledger_damaged > 0 {
        let message = format!(
            "{} parts of the ledger differ from what was signed: `callvault verify` names them; restore them from a backup",
            status.ledger_damaged
        );
        alerts.push(Alert::new(Condition::LedgerDamaged, message, now));
    }
    if let Some(read) = status.overdue(now) {
        let days = now.duration_since(read).as_hours() / 24;
        let message = format!(
            "part of the archive was last read {days} days ago, and should be read every {} days: see the service's log, \
             or run `callvault verify --full`",
            status.full_days
        );
        alerts.push(Alert::new(Condition::VerificationOverdue, message, now));
    }
    alerts
}

fn of_ledger(ledger: &LedgerStatus, now: Timestamp) -> Option<Alert> {
    if let Some(problem) = &ledger.problem {
        let since = ledger.unsigned_since.unwrap_or(now).min(now);
        return Some(Alert::new(Condition::LedgerRefused, problem, since));
    }
    let (count, since) = ledger.overdue(now)?;
    let message = format!(
        "{count} entries of the ledger are not signed: the log says why `_ledger` in the archive cannot be written"
    );
    Some(Alert::new(Condition::LedgerUnsigned, message, since))
}

fn of_anchor(anchor: &AnchorStatus, now: Timestamp) -> Option<Alert> {
    let (since, error) = (anchor.overdue(now)?, anchor.error.as_ref()?);
    let message = format!("the ledger has not been anchored for more than a day: {error}");
    let alert = Alert::new(Condition::AnchorOverdue, message, since);
    Some(alert.about(format!("{} {}", anchor.kind, anchor.name)))
}

fn of_feed_webhook(webhook: &FeedWebhookStatus, now: Timestamp) -> Option<Alert> {
    let (since, error, name) = (webhook.overdue(now)?, webhook.error.as_ref()?, &webhook.name);
    let message =
        format!("the webhook `{name}` has accepted no entry of the feed for more than an hour: {error}");
    Some(Alert::new(Condition::FeedWebhookFailing, message, since).about(name))
}

fn of_snapshot(status: &Status) -> Option<Alert> {
    let snapshot = status.snapshot.as_ref()?;
    let since = snapshot.overdue_since(&status.service, status.at)?;
    let hours = status.at.duration_since(since).as_hours();
    let why = snapshot.error.as_deref().unwrap_or("see the service's log");
    let message = format!("no snapshot of the database has been made for {hours} h: {why}");
    Some(Alert::new(Condition::SnapshotOverdue, message, since))
}

/// How long an alert without reminders lasts: its finding stays open until somebody acknowledges it.
const UNREMINDED_LASTS: SignedDuration = SignedDuration::from_hours(7 * 24);

/// All that is wrong with the PBX called `id`; the caller adds which PBX it is.
fn of_pbx(id: &str, pbx: &PbxStatus, config: &AlertsConfig, now: Timestamp) -> Vec<Alert> {
    let trouble = of_trouble(pbx, config, now).or_else(|| of_sweep(id, pbx, config, now));
    let mut alerts = Vec::from_iter(trouble);
    alerts.extend(of_risk(pbx, now));
    alerts.extend(of_stuck(pbx, now));
    alerts.extend(of_held(pbx, now));
    alerts.extend(of_findings(id, pbx, now));
    alerts
}

fn of_trouble(pbx: &PbxStatus, config: &AlertsConfig, now: Timestamp) -> Option<Alert> {
    let error = pbx.error.as_ref()?;
    let condition = match error.reason.as_str() {
        "password_refused" => Condition::PasswordRefused,
        "locked_out" => Condition::LockedOut,
        "tls_pin_mismatch" | "tls_unknown_certificate" => Condition::CertificateChanged,
        "same_device" => Condition::SameDevice,
        _ => Condition::PbxDown,
    };
    let lasts_s = pbx.error_since.map_or(0, |since| now.duration_since(since).as_secs());
    let may_pass =
        condition == Condition::PbxDown && u64::try_from(lasts_s).unwrap_or(0) < config.down_after.as_secs();
    let since = pbx.error_since.map_or(now, |since| since.min(now));
    (!may_pass).then(|| Alert::new(condition, &error.message, since))
}

/// A PBX that answers, but whose CDR cannot be read, is no less silent than one that is down.
fn of_sweep(id: &str, pbx: &PbxStatus, config: &AlertsConfig, now: Timestamp) -> Option<Alert> {
    let age_s = u64::try_from(now.duration_since(pbx.last_sweep?).as_secs()).unwrap_or(0);
    // Whoever paused it knows that it is not read.
    let is_overdue =
        pbx.error.is_none() && pbx.paused_since.is_none() && age_s >= config.sweep_overdue_after.as_secs();
    let message = format!(
        "its calls were last read completely {} h ago: `callvault status --pbx {id}` and the log say why",
        age_s / 3600
    );
    is_overdue.then(|| Alert::new(Condition::SweepOverdue, message, now))
}

fn of_risk(pbx: &PbxStatus, now: Timestamp) -> Vec<Alert> {
    let mut alerts = Vec::new();
    if let Some(forecast) = pbx.forecast.as_ref().filter(|_| pbx.is_overwrite_near()) {
        let message = format!(
            "{}, and {} recordings are at risk: see in `callvault status` why they are not archived faster, or copy the \
             oldest from the PBX by hand",
            forecast.warning().unwrap_or_default(),
            forecast.at_risk
        );
        alerts.push(Alert::new(Condition::OverwriteNear, message, now));
    }
    if let Some(near) = &pbx.cdr_near {
        let message = format!("{near}: `callvault status` says why the CDR is not read");
        alerts.push(Alert::new(Condition::OverwriteNear, message, now).about("cdr"));
    }
    for full in &pbx.nearly_full_boxes {
        let message = format!(
            "voicemail box {} holds {} of at most {} messages: delete some on the PBX, or the next one overwrites the oldest",
            full.extension, full.messages, full.messages_max
        );
        alerts.push(Alert::new(Condition::BoxNearlyFull, message, now).about(&full.extension));
    }
    alerts
}

/// One alert however many are stuck: a thousand of them have one cause.
fn of_stuck(pbx: &PbxStatus, now: Timestamp) -> Option<Alert> {
    let stuck = pbx.counts.stuck + pbx.voicemail.as_ref().map_or(0, |voicemail| voicemail.counts.stuck);
    let why = pbx.reasons.iter().find(|reason| reason.state == RecordingState::Stuck).map(|reason| {
        let remedy::Remedy { meaning, remedy } = remedy::of(reason.state.as_str(), &reason.reason);
        format!(": {meaning}, such as {}; {remedy}", reason.example)
    });
    let message = format!("{stuck} stuck{}", why.unwrap_or_default());
    (stuck > 0).then(|| Alert::new(Condition::Stuck, message, now))
}

/// What is held is neither archived nor dropped until its row can be read: that takes a person.
fn of_held(pbx: &PbxStatus, now: Timestamp) -> Option<Alert> {
    let held = pbx
        .reasons
        .iter()
        .find(|reason| reason.state == RecordingState::Pending && reason.reason == "doubtful_row")?;
    let remedy::Remedy { meaning, remedy } = remedy::of(held.state.as_str(), &held.reason);
    let message = format!("{} held: {meaning}, such as {}; {remedy}", held.count, held.example);
    Some(Alert::new(Condition::Held, message, now))
}

fn of_findings(id: &str, pbx: &PbxStatus, now: Timestamp) -> Vec<Alert> {
    let alert = |kind: FindingKind, finding: Option<&FindingRow>| {
        let detail = finding.map(|finding| format!("{}: {}", finding.subject, finding.detail));
        let detail = detail.unwrap_or_else(|| kind.as_str().replace('_', " "));
        Alert::new(kind, format!("{detail}; {}", kind.remedy(id)), now)
    };
    let lasts = |finding: &&FindingRow| now.duration_since(finding.first_seen_at_ms.0) < UNREMINDED_LASTS;
    let mut alerts = Vec::new();
    for (kind, _) in pbx.findings.iter().filter(|(kind, _)| kind.severity().is_some()) {
        let mut latest = pbx.latest_findings.iter().filter(|finding| finding.kind == *kind);
        if Cause::Finding(*kind).has_reminders() {
            alerts.push(alert(*kind, latest.next()));
        } else {
            let each = latest.filter(lasts);
            alerts.extend(each.map(|finding| alert(*kind, Some(finding)).about(&finding.subject)));
        }
    }
    alerts
}
