//! The state of everything as a page of text: one line first, then who needs a person, then the rest a line each.

use std::fmt::Write as _;

use indicatif::HumanBytes;
use jiff::Timestamp;

use super::voicemail;
use crate::base::counts::Counts;
use crate::base::remedy;
use crate::store::alert_queue::Standing;
use crate::store::certificates::DaysStanding;
use crate::watch::status::{
    AnchorStatus, ArchiveStatus, FeedWebhookStatus, LedgerStatus, PbxStatus, ServiceStatus, SnapshotStatus,
    Status, Unverified, VerificationStatus,
};

/// Findings shown for each PBX; the rest is counted.
const FINDINGS_MAX: usize = 5;
/// Reasons shown for a PBX among many.
const REASONS_MAX: usize = 4;
/// Up to this number, every PBX is shown in full.
const FULL_UP_TO: usize = 3;

/// The page. `in_full` shows every PBX in full; otherwise, if there are many, those without trouble get one line each.
pub fn of(status: &Status, in_full: bool) -> String {
    let mut text = String::new();
    write(&mut text, status, in_full).expect("writing to a String cannot fail");
    text
}

fn write(text: &mut String, status: &Status, in_full: bool) -> std::fmt::Result {
    writeln!(text, "{}", status.summary)?;
    write_archive(text, &status.archive)?;
    status.clock.iter().try_for_each(|clock| writeln!(text, "  WRONG: {}", clock.message))?;
    status.exposed.iter().try_for_each(|exposure| writeln!(text, "  WRONG: {}", exposure.sentence()))?;
    write_service(text, &status.service, status.at)?;
    write_ledger(text, &status.ledger, status.at)?;
    status.anchors.iter().try_for_each(|anchor| write_anchor(text, anchor, status.at))?;
    status.feed_webhooks.iter().try_for_each(|webhook| write_feed_webhook(text, webhook, status.at))?;
    status.listener.iter().try_for_each(|trouble| writeln!(text, "  WRONG: {trouble}"))?;
    write_verification(text, &status.verification, status.at)?;
    write_snapshot(text, status.snapshot.as_ref(), status.at)?;
    if status.database_outdated {
        writeln!(
            text,
            "the database is of an older version: the next start of the service, or `callvault backfill`, brings it up to \
             date"
        )?;
    }
    write_alerts(text, &status.alerts, status.at)?;
    let in_full = in_full || status.pbx.len() <= FULL_UP_TO;
    let reasons_max = if in_full { usize::MAX } else { REASONS_MAX };
    let (troubled, well): (Vec<_>, Vec<_>) = status.pbx.iter().partition(|(_, pbx)| pbx.cause().is_some());
    for (id, pbx) in troubled {
        write_pbx(text, id, pbx, status, reasons_max)?;
    }
    if !in_full {
        return write_well(text, &well, status.at);
    }
    well.into_iter().try_for_each(|(id, pbx)| write_pbx(text, id, pbx, status, reasons_max))
}

fn write_archive(text: &mut String, archive: &ArchiveStatus) -> std::fmt::Result {
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

/// Prints nothing if the service never ran: backfills need none.
fn write_service(text: &mut String, service: &ServiceStatus, now: Timestamp) -> std::fmt::Result {
    let Some(started) = service.started else { return Ok(()) };
    let beat = service.last_beat.unwrap_or(started);
    match service.stopped {
        _ if service.running => {
            let since = ago(started, now);
            writeln!(text, "the service is running, started {since}; last progress {}", elapsed(beat, now))
        }
        Some(stopped) => writeln!(
            text,
            "the service is not running: it was stopped {}; start it with `systemctl start callvault`",
            ago(stopped, now)
        ),
        None => writeln!(
            text,
            "  WRONG: the service is not running: it ended by itself after {}; see its log \
             (`journalctl -u callvault`), then start it with `systemctl start callvault`",
            ago(beat, now)
        ),
    }
}

/// Prints nothing while everything is signed within minutes, as it should be.
fn write_ledger(text: &mut String, ledger: &LedgerStatus, now: Timestamp) -> std::fmt::Result {
    match (&ledger.problem, ledger.overdue(now)) {
        (Some(problem), _) => writeln!(text, "  WRONG: {problem}"),
        (None, Some((count, since))) => writeln!(
            text,
            "  WRONG: {count} entries of the ledger are not signed, the oldest written {}: start the service; if it is \
             running, its log says why it cannot write to `_ledger` in the archive",
            ago(since, now)
        ),
        (None, None) => Ok(()),
    }
}

/// How many entries an authority or a witness confirmed, and why not more.
fn write_anchor(text: &mut String, anchor: &AnchorStatus, now: Timestamp) -> std::fmt::Result {
    let AnchorStatus { kind, name, entries, .. } = anchor;
    match anchor.last {
        Some(at) => {
            writeln!(text, "{kind} `{name}` confirmed {entries} entries of the ledger {}", ago(at, now))?
        }
        None if anchor.unverified.is_some() => {}
        None => writeln!(text, "{kind} `{name}` has not confirmed the ledger yet: the service asks it")?,
    }
    if let Some(Unverified { entries, reason }) = &anchor.unverified {
        writeln!(
            text,
            "{kind} `{name}` stamped {entries} entries of the ledger; the stamp is NOT VERIFIED: {reason}"
        )?;
    }
    match (&anchor.error, anchor.error_since) {
        (Some(error), Some(since)) => writeln!(text, "  WRONG: {error}; it began {}", ago(since, now)),
        _ => Ok(()),
    }
}

/// How many entries a webhook received, and why not more.
fn write_feed_webhook(text: &mut String, webhook: &FeedWebhookStatus, now: Timestamp) -> std::fmt::Result {
    let FeedWebhookStatus { name, delivered_entries, behind_entries, .. } = webhook;
    let behind = match behind_entries {
        0 => String::new(),
        count => format!(", {count} are waiting"),
    };
    match webhook.last_delivery {
        Some(at) => writeln!(
            text,
            "webhook `{name}` received {delivered_entries} entries of the ledger{behind}; last delivery {}",
            ago(at, now)
        )?,
        None => writeln!(text, "webhook `{name}` has not received any entry of the ledger yet{behind}")?,
    }
    match (&webhook.error, webhook.error_since) {
        (Some(error), Some(since)) => writeln!(text, "  WRONG: {error}; it began {}", ago(since, now)),
        _ => Ok(()),
    }
}

/// Prints nothing while the ledger is whole and every byte was read in time.
fn write_verification(text: &mut String, status: &VerificationStatus, now: Timestamp) -> std::fmt::Result {
    if status.ledger_damaged > 0 {
        let damaged = status.ledger_damaged;
        writeln!(text, "  WRONG: {damaged} parts of the ledger are damaged: `callvault verify` names them")?;
    }
    match status.overdue(now) {
        Some(read) => writeln!(
            text,
            "  WRONG: part of the archive was last read {}, but should be read every {} days: let the service run, or \
             run `callvault verify --full`",
            ago(read, now),
            status.full_days
        ),
        None => Ok(()),
    }
}

/// How old the latest copy of the database is.
fn write_snapshot(text: &mut String, snapshot: Option<&SnapshotStatus>, now: Timestamp) -> std::fmt::Result {
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
fn write_well(text: &mut String, well: &[(&String, &PbxStatus)], now: Timestamp) -> std::fmt::Result {
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

/// Alerts that nobody receives: no alert can say so.
fn write_alerts(text: &mut String, alerts: &Standing, now: Timestamp) -> std::fmt::Result {
    if let (Some(oldest), Some(error)) = (alerts.oldest_undelivered, &alerts.last_error) {
        let count = u64::try_from(alerts.undelivered).unwrap_or(0);
        let messages = super::summary::count(count, "alert message");
        let since = ago(oldest, now);
        writeln!(text, "  WRONG: {messages} not delivered, the oldest from {since}; {error}")?;
    }
    if let Some(error) = &alerts.ping_error {
        writeln!(text, "  WRONG: `ping_url`, the dead man's switch, cannot be reached: {error}")?;
    }
    Ok(())
}

/// When its calls were last read completely, in short.
fn read(pbx: &PbxStatus, now: Timestamp) -> String {
    pbx.last_sweep.map_or_else(|| "never".to_owned(), |at| elapsed(at, now))
}

fn write_pbx(
    text: &mut String,
    id: &str,
    pbx: &PbxStatus,
    status: &Status,
    reasons_max: usize,
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
    write_risk(text, pbx)?;
    if let Some(since) = pbx.paused_since {
        writeln!(
            text,
            "  paused {}: callvault does not contact it until `callvault resume {id}`",
            ago(since, now)
        )?;
    }
    match pbx.last_sweep {
        Some(at) => writeln!(text, "  its calls were last read completely {}", ago(at, now))?,
        None => {
            let how = match running {
                true => "the service reads them as soon as it can",
                false => "run `callvault backfill` without dates",
            };
            writeln!(text, "  its calls were never read completely: {how}")?;
        }
    }
    writeln!(text, "  {} recordings listed: {}", pbx.listed, states(&pbx.counts, pbx.bytes))?;
    if let Some(voicemail) = &pbx.voicemail {
        voicemail::write_status(text, voicemail)?;
    }
    if let Some(oldest) = pbx.oldest_pending {
        writeln!(text, "  the oldest recording not archived yet was made {}", ago(oldest, now))?;
    }
    if let Some(forecast) = forecast_without_risk(pbx) {
        writeln!(text, "  {forecast}")?;
    }
    writeln!(
        text,
        "  {} calls, {} of them answered without a recording",
        pbx.calls, pbx.answered_without_recording
    )?;
    write_days(text, &pbx.days)?;
    if let Some(sentence) = pbx.verdicts.sentence() {
        writeln!(
            text,
            "  {sentence}. `callvault reconcile --pbx {id}` names every such day, and what to do."
        )?;
    }
    for (odd, count) in &pbx.suspect {
        writeln!(text, "  {count} archived but suspect: {odd}")?;
    }
    for reason in pbx.reasons.iter().take(reasons_max) {
        writeln!(text, "{}", remedy::in_words(reason))?;
    }
    if let Some(more) = pbx.reasons.len().checked_sub(reasons_max).filter(|more| *more > 0) {
        writeln!(text, "  … and {more} more reasons: see `callvault status --pbx {id}`")?;
    }
    write_findings(text, id, pbx)
}

/// What will be lost soon comes first.
fn write_risk(text: &mut String, pbx: &PbxStatus) -> std::fmt::Result {
    if let Some(forecast) = pbx.forecast.as_ref().filter(|_| pbx.is_overwrite_near()) {
        let sentence = forecast.warning().unwrap_or_default();
        writeln!(text, "  {sentence} (AT RISK: {})", forecast.at_risk)?;
    }
    if let Some(near) = &pbx.cdr_near {
        writeln!(text, "  AT RISK: {near}")?;
    }
    for full in &pbx.nearly_full_boxes {
        writeln!(
            text,
            "  AT RISK: voicemail box {} holds {} of at most {} messages: the next ones overwrite the oldest",
            full.extension, full.messages, full.messages_max
        )?;
    }
    Ok(())
}

/// Prints nothing before the first day was read.
fn write_days(text: &mut String, days: &DaysStanding) -> std::fmt::Result {
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
        None => writeln!(text, "; none has a certificate yet")?,
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

/// When the PBX overwrites the oldest recording that is not archived, unless that stands at the top already.
fn forecast_without_risk(pbx: &PbxStatus) -> Option<String> {
    pbx.forecast.as_ref().filter(|_| !pbx.is_overwrite_near())?.warning()
}

/// The states that occur, with the size of what is archived.
pub(super) fn states(counts: &Counts, bytes: i64) -> String {
    let mut states = numbers(counts);
    if counts.archived > 0 {
        states[0] = format!("{} ({})", states[0], HumanBytes(u64::try_from(bytes).unwrap_or(0)));
    }
    if states.is_empty() { "none yet".to_owned() } else { states.join(", ") }
}

/// The states that occur.
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
    all.into_iter().filter(|(count, _)| *count > 0).map(|(_, shown)| shown).collect()
}

fn write_findings(text: &mut String, id: &str, pbx: &PbxStatus) -> std::fmt::Result {
    if pbx.findings.is_empty() {
        return Ok(());
    }
    let kinds: Vec<String> = pbx.findings.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    writeln!(text, "  findings: {}; the latest:", kinds.join(", "))?;
    for finding in pbx.latest_findings.iter().take(FINDINGS_MAX) {
        writeln!(text, "    {} {}: {}", finding.kind, finding.subject, finding.detail)?;
    }
    let to_judge = pbx.findings.iter().filter(|(kind, _)| kind.needs_a_person());
    for (kind, _) in to_judge {
        writeln!(text, "    What to do about {kind}: {}.", kind.remedy(id))?;
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
