//! What is wrong with this machine: its archive, its ledger, and what is kept and told of them.

use indicatif::HumanBytes;
use jiff::Timestamp;

use super::condition::{Alert, Condition};
use crate::config::AlertsConfig;
use crate::vault::exposure::{Exposure, Harm};
use crate::watch::status::{
    AnchorStatus, ArchiveStatus, FeedWebhookStatus, LedgerStatus, Status, VerificationStatus,
};

/// Everything that is wrong with it at present.
pub(super) fn all(status: &Status, config: &AlertsConfig) -> Vec<Alert> {
    let now = status.at;
    let mut alerts = Vec::new();
    if let Some((condition, message)) = of_archive(&status.archive, config) {
        alerts.push(Alert { condition, pbx: None, subject: None, message, since: now });
    }
    if let Some(clock) = &status.clock {
        let (condition, message) = (Condition::OwnClock, clock.message.clone());
        alerts.push(Alert { condition, pbx: None, subject: None, message, since: now });
    }
    alerts.extend(status.exposed.iter().map(|exposure| of_exposure(exposure, now)));
    if let Some((condition, message, since)) = of_ledger(&status.ledger, now) {
        alerts.push(Alert { condition, pbx: None, subject: None, message, since });
    }
    alerts.extend(status.anchors.iter().filter_map(|anchor| of_anchor(anchor, now)));
    alerts.extend(status.feed_webhooks.iter().filter_map(|webhook| of_feed_webhook(webhook, now)));
    if let Some(message) = status.listener.clone() {
        let condition = Condition::ListenerTrouble;
        alerts.push(Alert { condition, pbx: None, subject: None, message, since: now });
    }
    let verified = of_verification(&status.verification, now).into_iter();
    alerts.extend(verified.map(|(condition, message, since)| Alert {
        condition,
        pbx: None,
        subject: None,
        message,
        since,
    }));
    if let Some((message, since)) = of_snapshot(status) {
        let condition = Condition::SnapshotOverdue;
        alerts.push(Alert { condition, pbx: None, subject: None, message, since });
    }
    alerts
}

fn of_exposure(exposure: &Exposure, now: Timestamp) -> Alert {
    let condition = match exposure.harm {
        Harm::SecretReadable => Condition::SecretReadable,
        Harm::Writable => Condition::WritableByOthers,
    };
    let (subject, message) = (Some(exposure.path.clone()), exposure.told());
    Alert { condition, pbx: None, subject, message, since: now }
}

fn of_archive(archive: &ArchiveStatus, config: &AlertsConfig) -> Option<(Condition, String)> {
    match (&archive.error, archive.free_bytes) {
        (Some(error), _) => {
            let condition = match error.reason.as_str() {
                "not_mounted" => Condition::ArchiveNotMounted,
                "disk_full" => Condition::DiskFull,
                _ => Condition::ArchiveUnusable,
            };
            Some((condition, error.message.clone()))
        }
        (None, Some(free)) if free < config.free_bytes_warn => {
            let message = format!(
                "{} has {} free: make room before it is less than `free_bytes_min` ({}), when downloads stop",
                archive.path,
                HumanBytes(free),
                HumanBytes(archive.free_bytes_min)
            );
            Some((Condition::DiskNearlyFull, message))
        }
        _ => None,
    }
}

fn of_verification(status: &VerificationStatus, now: Timestamp) -> Vec<(Condition, String, Timestamp)> {
    let mut alerts = Vec::new();
    if status.ledger_damaged > 0 {
        let message = format!(
            "{} things of the ledger are not what was signed: `callvault verify` names them; restore them from a backup",
            status.ledger_damaged
        );
        alerts.push((Condition::LedgerDamaged, message, now));
    }
    if let Some(read) = status.overdue(now) {
        let days = now.duration_since(read).as_hours() / 24;
        let message = format!(
            "a part of the archive was last read {days} days ago, and should be every {} days: see the service's log, or \
             run `callvault verify --full`",
            status.full_days
        );
        alerts.push((Condition::VerificationOverdue, message, now));
    }
    alerts
}

fn of_ledger(ledger: &LedgerStatus, now: Timestamp) -> Option<(Condition, String, Timestamp)> {
    if let Some(problem) = &ledger.problem {
        let since = ledger.unsigned_since.unwrap_or(now).min(now);
        return Some((Condition::LedgerRefused, problem.clone(), since));
    }
    let (count, since) = ledger.overdue(now)?;
    let message = format!(
        "{count} entries of the ledger are not signed: see the log for why `_ledger` in the archive cannot be written"
    );
    Some((Condition::LedgerUnsigned, message, since))
}

fn of_anchor(anchor: &AnchorStatus, now: Timestamp) -> Option<Alert> {
    let (since, error) = (anchor.overdue(now)?, anchor.error.clone()?);
    let subject = Some(format!("{} {}", anchor.kind, anchor.name));
    let message = format!("the ledger was not anchored for more than a day: {error}");
    Some(Alert { condition: Condition::AnchorOverdue, pbx: None, subject, message, since })
}

fn of_feed_webhook(webhook: &FeedWebhookStatus, now: Timestamp) -> Option<Alert> {
    let (since, error) = (webhook.overdue(now)?, webhook.error.clone()?);
    let subject = Some(webhook.name.clone());
    let message = format!(
        "the webhook `{}` has taken nothing of the feed for more than an hour: {error}",
        webhook.name
    );
    Some(Alert { condition: Condition::FeedWebhookFailing, pbx: None, subject, message, since })
}

fn of_snapshot(status: &Status) -> Option<(String, Timestamp)> {
    let snapshot = status.snapshot.as_ref()?;
    let since = snapshot.overdue_since(&status.service, status.at)?;
    let hours = status.at.duration_since(since).as_hours();
    let why = snapshot.error.as_deref().unwrap_or("see the service's log");
    Some((format!("no snapshot of the database was made for {hours} h: {why}"), since))
}
