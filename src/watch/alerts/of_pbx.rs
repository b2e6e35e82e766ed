//! What is wrong with one PBX.

use jiff::{SignedDuration, Timestamp};

use super::condition::{Alert, Condition};
use crate::base::recording::RecordingState;
use crate::base::remedy;
use crate::config::AlertsConfig;
use crate::store::findings::FindingRow;
use crate::watch::status::PbxStatus;

/// How long an alert without reminders lasts: its finding stays open until somebody acknowledges it.
const UNREMINDED_LASTS: SignedDuration = SignedDuration::from_hours(7 * 24);

/// All that is wrong with the PBX called `id`; the caller adds which PBX it is.
pub(super) fn all(id: &str, pbx: &PbxStatus, config: &AlertsConfig, now: Timestamp) -> Vec<Alert> {
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
            forecast.told().unwrap_or_default(),
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
    let alert = |kind: &str, condition, finding: Option<&FindingRow>| {
        let detail = finding.map(|finding| format!("{}: {}", finding.subject, finding.detail));
        let detail = detail.unwrap_or_else(|| kind.replace('_', " "));
        Alert::new(condition, format!("{detail}; {}", remedy::of_finding(kind, id)), now)
    };
    let lasts = |finding: &&FindingRow| {
        let seen = Timestamp::from_millisecond(finding.first_seen_at_ms);
        seen.is_ok_and(|seen| now.duration_since(seen) < UNREMINDED_LASTS)
    };
    let mut alerts = Vec::new();
    for (kind, _) in &pbx.findings {
        let Some(condition) = Condition::of_finding(kind) else { continue };
        let mut latest = pbx.latest_findings.iter().filter(|finding| finding.kind == *kind);
        if condition.has_reminders() {
            alerts.push(alert(kind, condition, latest.next()));
        } else {
            let each = latest.filter(lasts);
            alerts.extend(each.map(|finding| alert(kind, condition, Some(finding)).about(&finding.subject)));
        }
    }
    alerts
}
