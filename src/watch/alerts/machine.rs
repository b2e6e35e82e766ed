//! What is wrong with this machine: its archive, its ledger, and those who receive them.

use indicatif::HumanBytes;
use jiff::Timestamp;

use super::condition::{Alert, Condition};
use crate::config::AlertsConfig;
use crate::vault::exposure::{Exposure, Harm};
use crate::watch::status::{
    AnchorStatus, ArchiveStatus, FeedWebhookStatus, LedgerStatus, Status, VerificationStatus,
};

pub(super) fn all(status: &Status, config: &AlertsConfig) -> Vec<Alert> {
    let now = status.at;
    let clock = status.clock.as_ref().map(|clock| Alert::new(Condition::OwnClock, &clock.message, now));
    let listener = status.listener.as_ref();
    let listener = listener.map(|message| Alert::new(Condition::ListenerTrouble, message, now));
    let mut alerts = Vec::new();
    alerts.extend(of_archive(&status.archive, config, now));
    alerts.extend(clock);
    alerts.extend(status.exposed.iter().map(|exposure| of_exposure(exposure, now)));
    alerts.extend(of_ledger(&status.ledger, now));
    alerts.extend(status.anchors.iter().filter_map(|anchor| of_anchor(anchor, now)));
    alerts.extend(status.feed_webhooks.iter().filter_map(|webhook| of_feed_webhook(webhook, now)));
    alerts.extend(listener);
    alerts.extend(of_verification(&status.verification, now));
    alerts.extend(of_snapshot(status));
    alerts
}

fn of_exposure(exposure: &Exposure, now: Timestamp) -> Alert {
    let condition = match exposure.harm {
        Harm::SecretReadable => Condition::SecretReadable,
        Harm::Writable => Condition::WritableByOthers,
    };
    Alert::new(condition, exposure.told(), now).about(&exposure.path)
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
