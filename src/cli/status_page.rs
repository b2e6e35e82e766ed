//! The state of everything as a page of text: one line first, then who needs a person, then the rest a line each.

use std::fmt::Write as _;

use indicatif::HumanBytes;
use jiff::Timestamp;

use super::voicemail;
use crate::base::counts::Counts;
use crate::base::remedy;
use crate::store::alert_queue::Standing;
use crate::store::certificates::DaysStanding;
use crate::store::findings::FindingKind;
use crate::watch::status::{
    AnchorStatus, ArchiveStatus, FeedWebhookStatus, LedgerStatus, PbxStatus, ServiceStatus, SnapshotStatus,
    Status, Unverified, VerificationStatus,
};

/// Findings told per PBX; the rest is counted.
const FINDINGS_TOLD: usize = 5;
/// Reasons told of a PBX among many; all are told when it is asked for.
const REASONS_TOLD: usize = 4;
/// Up to so many PBXs all are told in full.
const FULL_UP_TO: usize = 3;

/// The page. `in_full` tells every PBX in full; otherwise those that are well get one line each if they are many.
pub fn of(status: &Status, in_full: bool) -> String {
    let mut text = String::new();
    tell(&mut text, status, in_full).expect("writing to a String cannot fail");
    text
}

fn tell(text: &mut String, status: &Status, in_full: bool) -> std::fmt::Result {
    writeln!(text, "{}", status.summary)?;
    tell_archive(text, &status.archive)?;
    status.clock.iter().try_for_each(|clock| writeln!(text, "  WRONG: {}", clock.message))?;
    status.exposed.iter().try_for_each(|exposure| writeln!(text, "  WRONG: {}", exposure.told()))?;
    tell_service(text, &status.service, status.at)?;
    tell_ledger(text, &status.ledger, status.at)?;
    status.anchors.iter().try_for_each(|anchor| tell_anchor(text, anchor, status.at))?;
    status.feed_webhooks.iter().try_for_each(|webhook| tell_feed_webhook(text, webhook, status.at))?;
    status.listener.iter().try_for_each(|trouble| writeln!(text, "  WRONG: {trouble}"))?;
    tell_verification(text, &status.verification, status.at)?;
    tell_snapshot(text, status.snapshot.as_ref(), status.at)?;
    if status.database_outdated {
        writeln!(
            text,
            "the database is of an older version: the next start of the service, or `callvault backfill`, brings it up to \
             date"
        )?;
    }
    tell_alerts(text, &status.alerts, status.at)?;
    let in_full = in_full || status.pbx.len() <= FULL_UP_TO;
    let reasons_told = if in_full { usize::MAX } else { REASONS_TOLD };
    let (troubled, well): (Vec<_>, Vec<_>) = status.pbx.iter().partition(|(_, pbx)| pbx.cause().is_some());
    for (id, pbx) in troubled {
        tell_pbx(text, id, pbx, status, reasons_told)?;
    }
    if !in_full {
        return tell_well(text, &well, status.at);
    }
    well.into_iter().try_for_each(|(id, pbx)| tell_pbx(text, id, pbx, status, reasons_told))
}

fn tell_archive(text: &mut String, archive: &ArchiveStatus) -> std::fmt::Result {
    match (archive.free_bytes, &archive.error) {
        (Some(free), _) => writeln!(text, "archive {}, {} free", archive.path, HumanBytes(free))?,
        (None, Some(_)) => writeln!(text, "archive {}", archive.path)?,
        (None, None) => writeln!(text, "archive {}, not there yet", archive.path)?,
    }
    match &archive.error {
        Some(error) => writeln!(text, "  WRONG: {}", error.message),
        None => Ok(()),
    }
}

/// Nothing where none ever ran: backfills need no service.
fn tell_service(text: &mut String, service: &ServiceStatus, now: Timestamp) -> std::fmt::Result {
    let Some(started) = service.started else { return Ok(()) };
    let beat = service.last_beat.unwrap_or(started);
    match service.stopped {
        _ if service.running => {
            let since = ago(started, now);
            writeln!(text, "the service runs, begun {since}; its last progress {}", elapsed(beat, now))
        }
        Some(stopped) => writeln!(
            text,
            "the service is not running: it was stopped {}; `systemctl start callvault` starts it",
            ago(stopped, now)
        ),
        None => writeln!(
            text,
            "  WRONG: the service is not running: it ended without being stopped, after {}; see its log \
             (`journalctl -u callvault`), then `systemctl start callvault`",
            ago(beat, now)
        ),
    }
}

/// Nothing as long as all is signed within minutes, which is as it should be.
fn tell_ledger(text: &mut String, ledger: &LedgerStatus, now: Timestamp) -> std::fmt::Result {
    match (&ledger.problem, ledger.overdue(now)) {
        (Some(problem), _) => writeln!(text, "  WRONG: {problem}"),
        (None, Some((count, since))) => writeln!(
            text,
            "  WRONG: {count} entries of the ledger are not signed, the oldest written {}: start the service, or see its \
             log for why it cannot write to `_ledger` in the archive",
            ago(since, now)
        ),
        (None, None) => Ok(()),
    }
}

/// Who anchors the ledger: how far, and what keeps it from more.
fn tell_anchor(text: &mut String, anchor: &AnchorStatus, now: Timestamp) -> std::fmt::Result {
    let AnchorStatus { kind, name, entries, .. } = anchor;
    match anchor.last {
        Some(at) => {
            writeln!(text, "{kind} `{name}` vouches for {entries} entries of the ledger, {}", ago(at, now))?
        }
        None if anchor.unverified.is_some() => {}
        None => writeln!(text, "{kind} `{name}` has not vouched for the ledger yet: the service asks it")?,
    }
    if let Some(Unverified { entries, reason }) = &anchor.unverified {
        writeln!(
            text,
            "{kind} `{name}` has stamped {entries} entries of the ledger; this is NOT VERIFIED: {reason}"
        )?;
    }
    match (&anchor.error, anchor.error_since) {
        (Some(error), Some(since)) => writeln!(text, "  WRONG: {error}; it began {}", ago(since, now)),
        _ => Ok(()),
    }
}

/// How far the ledger was delivered, and what keeps it from more.
fn tell_feed_webhook(text: &mut String, webhook: &FeedWebhookStatus, now: Timestamp) -> std::fmt::Result {
    let FeedWebhookStatus { name, delivered_entries, behind_entries, .. } = webhook;
    let behind = match behind_entries {
        0 => String::new(),
        count => format!(", and lacks {count}"),
    };
    match webhook.last_delivery {
        Some(at) => writeln!(
            text,
            "webhook `{name}` has {delivered_entries} entries of the ledger{behind}; it last took some {}",
            ago(at, now)
        )?,
        None => writeln!(text, "webhook `{name}` has taken nothing of the ledger yet{behind}")?,
    }
    match (&webhook.error, webhook.error_since) {
        (Some(error), Some(since)) => writeln!(text, "  WRONG: {error}; it began {}", ago(since, now)),
        _ => Ok(()),
    }
}

/// Nothing as long as the ledger is whole and every byte was read in time.
fn tell_verification(text: &mut String, status: &VerificationStatus, now: Timestamp) -> std::fmt::Result {
    if status.ledger_damaged > 0 {
        let damaged = status.ledger_damaged;
        writeln!(text, "  WRONG: {damaged} things of the ledger are damaged: `callvault verify` names them")?;
    }
    match status.overdue(now) {
        Some(read) => writeln!(
            text,
            "  WRONG: a part of the archive was last read {}, and should be every {} days: let the service run, or \
             `callvault verify --full`",
            ago(read, now),
            status.full_days
        ),
        None => Ok(()),
    }
}

/// How old the latest copy of the database is.
fn tell_snapshot(text: &mut String, snapshot: Option<&SnapshotStatus>, now: Timestamp) -> std::fmt::Result {
    let Some(snapshot) = snapshot else { return Ok(()) };
    match snapshot.at {
        Some(at) => writeln!(text, "the latest snapshot of the database was made {}", ago(at, now))?,
        None => writeln!(text, "no snapshot of the database was made yet")?,
    }
    match &snapshot.error {
        Some(error) => writeln!(text, "  WRONG: {error}"),
        None => Ok(()),
    }
}

/// A line each.
fn tell_well(text: &mut String, well: &[(&String, &PbxStatus)], now: Timestamp) -> std::fmt::Result {
    if well.is_empty() {
        return Ok(());
    }
    writeln!(text, "\nwell:")?;
    let width = well.iter().map(|(id, _)| id.len()).max().unwrap_or(0);
    for (id, pbx) in well {
        let paused = if pbx.paused_since.is_some() { "; paused" } else { "" };
        writeln!(text, "  {id:width$}  {}; read {}{paused}", states(&pbx.counts, pbx.bytes), read(pbx, now))?;
    }
    Ok(())
}

/// Alerts that do not reach anybody: nobody else can say so.
fn tell_alerts(text: &mut String, alerts: &Standing, now: Timestamp) -> std::fmt::Result {
    if let (Some(oldest), Some(error)) = (alerts.oldest_undelivered, &alerts.last_error) {
        let count = u64::try_from(alerts.undelivered).unwrap_or(0);
        let messages = super::summary::count(count, "alert message");
        let since = ago(oldest, now);
        writeln!(text, "  WRONG: {messages} not delivered, the oldest written {since}; {error}")?;
    }
    if let Some(error) = &alerts.ping_error {
        writeln!(text, "  WRONG: the dead man's switch (`ping_url`) is not reached: {error}")?;
    }
    Ok(())
}

/// When the CDR was last read completely, briefly.
fn read(pbx: &PbxStatus, now: Timestamp) -> String {
    pbx.last_sweep.map_or_else(|| "never".to_owned(), |at| elapsed(at, now))
}

fn tell_pbx(
    text: &mut String,
    id: &str,
    pbx: &PbxStatus,
    status: &Status,
    reasons_told: usize,
) -> std::fmt::Result {
    let (now, running) = (status.at, status.service.running);
    writeln!(text, "\n{id}")?;
    if let Some(error) = &pbx.error {
        let message = error.message.trim_end_matches('.');
        match pbx.error_since {
            Some(since) => writeln!(text, "  WRONG: {message}; it began {}", ago(since, now))?,
            None => writeln!(text, "  WRONG: {message}")?,
        }
    }
    tell_risk(text, pbx)?;
    if let Some(since) = pbx.paused_since {
        writeln!(text, "  paused {}: left alone until `callvault resume {id}`", ago(since, now))?;
    }
    match pbx.last_sweep {
        Some(at) => writeln!(text, "  last complete reading of its calls {}", ago(at, now))?,
        None => {
            let how = match running {
                true => "the service does so as soon as it can",
                false => "run `callvault backfill` without dates",
            };
            writeln!(text, "  its calls were never read completely: {how}")?;
        }
    }
    writeln!(text, "  {} recordings listed: {}", pbx.listed, states(&pbx.counts, pbx.bytes))?;
    if let Some(voicemail) = &pbx.voicemail {
        voicemail::tell_status(text, voicemail)?;
    }
    if let Some(oldest) = pbx.oldest_pending {
        writeln!(text, "  the oldest one owed was recorded {}", ago(oldest, now))?;
    }
    if let Some(told) = forecast_without_risk(pbx) {
        writeln!(text, "  {told}")?;
    }
    writeln!(
        text,
        "  {} calls, {} of them answered without a recording",
        pbx.calls, pbx.answered_without_recording
    )?;
    tell_days(text, &pbx.days)?;
    if let Some(told) = pbx.verdicts.told() {
        writeln!(text, "  {told}. `callvault reconcile --pbx {id}` names every such day, and what to do.")?;
    }
    for (odd, count) in &pbx.suspect {
        writeln!(text, "  {count} archived but suspect: {odd}")?;
    }
    for reason in pbx.reasons.iter().take(reasons_told) {
        writeln!(text, "{}", remedy::told(reason))?;
    }
    if let Some(more) = pbx.reasons.len().checked_sub(reasons_told).filter(|more| *more > 0) {
        writeln!(text, "  … and {more} other reasons: see `callvault status --pbx {id}`")?;
    }
    tell_findings(text, id, pbx)
}

/// What will be lost soon, before all that can wait.
fn tell_risk(text: &mut String, pbx: &PbxStatus) -> std::fmt::Result {
    if let Some(forecast) = pbx.forecast.as_ref().filter(|_| pbx.is_overwrite_near()) {
        let told = forecast.told().unwrap_or_default();
        writeln!(text, "  {told} (AT RISK: {})", forecast.at_risk)?;
    }
    if let Some(near) = &pbx.cdr_near {
        writeln!(text, "  AT RISK: {near}")?;
    }
    for full in &pbx.nearly_full_boxes {
        writeln!(
            text,
            "  AT RISK: voicemail box {} holds {} of at most {} messages: the next overwrite its oldest",
            full.extension, full.messages, full.messages_max
        )?;
    }
    Ok(())
}

/// Nothing before the first day was read.
fn tell_days(text: &mut String, days: &DaysStanding) -> std::fmt::Result {
    if days.open + days.settled == 0 {
        return Ok(());
    }
    write!(
        text,
        "  {} settled, {} open",
        super::summary::count(days.settled.unsigned_abs(), "day"),
        days.open
    )?;
    match &days.latest {
        None => writeln!(text, "; none is certified yet")?,
        Some(latest) => {
            let complete = if latest.complete { "complete" } else { "not complete" };
            let incomplete = match days.incomplete {
                0 => String::new(),
                some => format!(" ({some} as not complete)"),
            };
            writeln!(
                text,
                "; {} certified{incomplete}, the latest of {}, revision {}: {complete}",
                days.certified, latest.day, latest.revision
            )?;
        }
    }
    if let Some(day) = days.not_summing.first() {
        let count = days.not_summing.len();
        writeln!(text, "  WRONG: the numbers of {count} certified days do not add up, the latest of {day}")?;
    }
    Ok(())
}

/// When the oldest that is owed is overwritten, if that is not at the top already.
fn forecast_without_risk(pbx: &PbxStatus) -> Option<String> {
    pbx.forecast.as_ref().filter(|_| !pbx.is_overwrite_near())?.told()
}

/// The states that there are any of, with the size of what is archived.
pub(super) fn states(counts: &Counts, bytes: i64) -> String {
    let mut told = numbers(counts);
    if counts.archived > 0 {
        told[0] = format!("{} ({})", told[0], HumanBytes(u64::try_from(bytes).unwrap_or(0)));
    }
    if told.is_empty() { "none yet".to_owned() } else { told.join(", ") }
}

/// The states that there are any of.
pub(super) fn numbers(counts: &Counts) -> Vec<String> {
    let missing = match counts.missing_final {
        0 => format!("{} missing", counts.missing),
        finally => format!("{} missing ({finally} of them for good)", counts.missing),
    };
    let all = [
        (counts.archived, format!("{} archived", counts.archived)),
        (counts.pending, format!("{} pending", counts.pending)),
        (counts.missing, missing),
        (counts.stuck, format!("{} stuck", counts.stuck)),
        (counts.excluded, format!("{} excluded", counts.excluded)),
    ];
    all.into_iter().filter(|(count, _)| *count > 0).map(|(_, told)| told).collect()
}

fn tell_findings(text: &mut String, id: &str, pbx: &PbxStatus) -> std::fmt::Result {
    if pbx.findings.is_empty() {
        return Ok(());
    }
    let kinds: Vec<String> = pbx.findings.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    writeln!(text, "  findings: {}; the latest:", kinds.join(", "))?;
    for finding in pbx.latest_findings.iter().take(FINDINGS_TOLD) {
        writeln!(text, "    {} {}: {}", finding.kind, finding.subject, finding.detail)?;
    }
    let to_judge = pbx.findings.iter().filter(|(kind, _)| FindingKind::needs_a_person(kind));
    for (kind, _) in to_judge {
        writeln!(text, "    What to do about {kind}: {}.", remedy::of_finding(kind, id))?;
    }
    Ok(())
}

/// A time as a person reads it: how long ago, and when.
fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", elapsed(at, now), at.strftime("%F %R UTC"))
}

/// How long ago.
fn elapsed(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    let (count, unit) = match seconds.unsigned_abs() {
        0..120 => (seconds, "s"),
        120..7200 => (seconds / 60, "min"),
        7200..172_800 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit} ago")
}
