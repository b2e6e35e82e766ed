//! What is worth telling of one PBX.

use jiff::{SignedDuration, Timestamp};

use super::condition::Condition;
use crate::base::recording::RecordingState;
use crate::config::AlertsConfig;
use crate::store::findings::FindingRow;
use crate::store::remedy;
use crate::watch::status::PbxStatus;

/// How long an alert lasts that is told once: its finding stays until somebody notes that he has seen it.
const TOLD_ONCE_LASTS: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A condition of a PBX: what, what of it, and the sentence.
pub(super) type OfPbx = (Condition, Option<String>, String);

pub(super) fn of_trouble(pbx: &PbxStatus, config: &AlertsConfig, now: Timestamp) -> Option<OfPbx> {
    let error = pbx.error.as_ref()?;
    let condition = Condition::of_trouble(&error.reason);
    let lasts = pbx.error_since.map_or(0, |since| now.duration_since(since).as_secs());
    let may_pass =
        condition == Condition::PbxDown && u64::try_from(lasts).unwrap_or(0) < config.down_after.as_secs();
    (!may_pass).then(|| (condition, None, error.message.clone()))
}

/// A PBX that answers, but whose CDR cannot be read, is no less silent than one that is down.
pub(super) fn of_sweep(id: &str, pbx: &PbxStatus, config: &AlertsConfig, now: Timestamp) -> Option<OfPbx> {
    let age_s = u64::try_from(now.duration_since(pbx.last_sweep?).as_secs()).unwrap_or(0);
    let message = || {
        format!(
            "its calls were last read completely {} h ago: see `callvault status --pbx {id}` and the log for what keeps \
             it from being read",
            age_s / 3600
        )
    };
    // Who paused it knows that it is not read.
    let is_overdue =
        pbx.error.is_none() && pbx.paused_since.is_none() && age_s >= config.sweep_overdue_after.as_secs();
    is_overdue.then(|| (Condition::SweepOverdue, None, message()))
}

pub(super) fn of_risk(pbx: &PbxStatus) -> Vec<OfPbx> {
    let mut alerts = Vec::new();
    if let Some(forecast) = pbx.forecast.as_ref().filter(|_| pbx.is_overwrite_near()) {
        let message = format!(
            "{}, and {} recordings are at risk: see why they are not archived faster (`callvault status`), or copy the \
             oldest from the PBX by hand",
            forecast.told().unwrap_or_default(),
            forecast.at_risk
        );
        alerts.push((Condition::OverwriteNear, None, message));
    }
    if let Some(near) = &pbx.cdr_near {
        let message = format!("{near}: see why the CDR is not read (`callvault status`)");
        alerts.push((Condition::OverwriteNear, Some("cdr".to_owned()), message));
    }
    for full in &pbx.nearly_full_boxes {
        let message = format!(
            "voicemail box {} holds {} of at most {} messages: have some deleted on the PBX, or the next one overwrites \
             the oldest",
            full.extension, full.messages, full.messages_max
        );
        alerts.push((Condition::BoxNearlyFull, Some(full.extension.clone()), message));
    }
    alerts
}

/// One alert however many are stuck: a thousand of them have one cause.
pub(super) fn of_stuck(pbx: &PbxStatus) -> Option<OfPbx> {
    let stuck = pbx.counts.stuck + pbx.voicemail.as_ref().map_or(0, |voicemail| voicemail.counts.stuck);
    let why = pbx.reasons.iter().find(|reason| reason.state == RecordingState::Stuck).map(|reason| {
        let remedy::Remedy { meaning, remedy } = remedy::of(reason.state.as_str(), &reason.reason);
        format!(": {meaning}, such as {}; {remedy}", reason.example)
    });
    let message = || format!("{stuck} stuck{}", why.unwrap_or_default());
    (stuck > 0).then(|| (Condition::Stuck, None, message()))
}

/// What is held is neither archived nor dropped until its row can be read: a person has to see to it.
pub(super) fn of_held(pbx: &PbxStatus) -> Option<OfPbx> {
    let held = pbx
        .reasons
        .iter()
        .find(|reason| reason.state == RecordingState::Pending && reason.reason == "doubtful_row")?;
    let remedy::Remedy { meaning, remedy } = remedy::of(held.state.as_str(), &held.reason);
    let message = format!("{} held: {meaning}, such as {}; {remedy}", held.count, held.example);
    Some((Condition::Held, None, message))
}

pub(super) fn of_findings(id: &str, pbx: &PbxStatus, now: Timestamp) -> Vec<OfPbx> {
    let kinds = pbx.findings.iter().filter_map(|(kind, _)| Some((kind, Condition::of_finding(kind)?)));
    let message = |kind: &str, finding: Option<&FindingRow>| {
        let detail = finding.map(|finding| format!("{}: {}", finding.subject, finding.detail));
        format!("{}; {}", detail.unwrap_or_else(|| kind.replace('_', " ")), remedy::of_finding(kind, id))
    };
    let mut alerts = Vec::new();
    for (kind, condition) in kinds {
        let mut latest = pbx.latest_findings.iter().filter(|finding| finding.kind == *kind);
        if condition.is_told_once() {
            let lasts = |finding: &&FindingRow| {
                let seen = Timestamp::from_millisecond(finding.first_seen_at_ms);
                seen.is_ok_and(|seen| now.duration_since(seen) < TOLD_ONCE_LASTS)
            };
            alerts.extend(
                latest
                    .filter(lasts)
                    .map(|finding| (condition, Some(finding.subject.clone()), message(kind, Some(finding)))),
            );
        } else {
            alerts.push((condition, None, message(kind, latest.next())));
        }
    }
    alerts
}
