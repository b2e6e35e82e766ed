//! The end of a backfill in words: what is archived, what is not, why, and what to do.

use std::fmt::Write as _;
use std::path::Path;

use indicatif::HumanBytes;

use crate::base::counts::Counts;
use crate::base::remedy;
use crate::pipeline::backfill::{BackfillReport, PbxReport};
use crate::pipeline::sweep::SweepReport;

/// Groups of reasons that are shown; the rest is counted.
const REASONS_MAX: usize = 12;

/// The text that a backfill into `archive` ends with.
pub(super) fn of(report: &BackfillReport, archive: &Path, dry_run: bool) -> String {
    let mut text = String::new();
    for (id, of_pbx) in &report.pbx {
        write_pbx(&mut text, id, of_pbx, report, dry_run).expect("writing to a String cannot fail");
    }
    writeln!(text, "\n{}", end(report, archive, dry_run)).expect("writing to a String cannot fail");
    text
}

/// The last sentence: whether this is over.
fn end(report: &BackfillReport, archive: &Path, dry_run: bool) -> String {
    let total = &report.total;
    let voicemail = report.voicemail.clone().unwrap_or_default();
    let owed = total.owed() + voicemail.awaited();
    let left = match owed {
        0 => "nothing known is left".to_owned(),
        1 => "1 recording is left".to_owned(),
        _ => format!("{owed} recordings are left"),
    };
    let given_up: Vec<&str> =
        report.pbx.iter().filter(|(_, pbx)| pbx.error.is_some()).map(|(id, _)| &**id).collect();
    let unread = report.pbx.values().any(PbxReport::is_unread);
    if report.interrupted {
        format!("Interrupted: {left}; run the same command to continue.")
    } else if report.trouble.is_some() {
        format!("Not finished: {left}; fix the following, then run the same command again.")
    } else if !given_up.is_empty() {
        let whose = given_up.join(", ");
        let left = if report.pbx.len() > 1 { format!("; elsewhere {left}") } else { String::new() };
        format!(
            "Not finished: callvault could not work on {whose}{left}. Fix that, then run the same command again."
        )
    } else if unread {
        format!(
            "Not finished: some of the PBX's lists could not be read; of the rest {left}. Run the same command again."
        )
    } else if let Some(doubts) = report.verdicts().sentence() {
        let remedy = "`callvault reconcile` names every such day, and what to do";
        match dry_run {
            true => format!("Not complete. {doubts}. {remedy}."),
            false => format!("Not complete: of what is listed {left}. {doubts}. {remedy}."),
        }
    } else if dry_run {
        let asked = total.awaited() - total.stuck + voicemail.awaited() - voicemail.counts.stuck;
        let asked = u64::try_from(asked).unwrap_or(0);
        format!(
            "This was a dry run: nothing was fetched. A backfill would ask for {}.",
            count(asked, "recording")
        )
    } else if owed == 0 {
        let accepted = match report.verdicts().accepted {
            0 => String::new(),
            days => format!(" {} accepted as they were.", count(days.unsigned_abs(), "list")),
        };
        format!(
            "Complete: every recording listed is in {}{}.{accepted}",
            archive.display(),
            if total.excluded + voicemail.counts.excluded > 0 {
                ", but for those that your rules exclude"
            } else {
                ""
            }
        )
    } else {
        format!(
            "{owed} of {} recordings listed are not archived; the reasons are above.",
            total.listed() + voicemail.counts.listed()
        )
    }
}

/// So many of something, in the right number.
pub(super) fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn write_pbx(
    text: &mut String,
    id: &str,
    report: &PbxReport,
    all: &BackfillReport,
    dry_run: bool,
) -> std::fmt::Result {
    match &report.days {
        Some((from, to)) => writeln!(text, "\n{id}: {from} to {to}, {:.1} s", report.elapsed_s)?,
        None => writeln!(text, "\n{id}: {:.1} s", report.elapsed_s)?,
    }
    let counts = &report.counts;
    writeln!(text, "  {:>8} listed", counts.listed())?;
    for (count, what) in states(counts, "missing on the PBX", dry_run) {
        writeln!(text, "  {count:>8} {what}")?;
    }
    if let Some(voicemail) = &report.voicemail {
        super::voicemail::write(text, voicemail, dry_run)?;
    }
    let unread = &report.sweep;
    if unread.bad_rows > 0 {
        let rows = count(unread.bad_rows, "CDR row");
        writeln!(text, "  {rows} could not be read; `callvault status` names them.")?;
    }
    if !all.interrupted
        && let Some(days) = days_not_read(unread)
    {
        writeln!(text, "  {days}; run the same command again.")?;
    }
    if !dry_run {
        write_reasons(text, report)?;
    }
    match &report.error {
        // The first trouble of this machine's own is shown at the very end.
        Some(error) if all.trouble.as_ref().is_some_and(|first| first.message == error.message) => Ok(()),
        Some(error) => writeln!(text, "  Given up: {}.", error.message.trim_end_matches('.')),
        None => Ok(()),
    }
}

/// What a run came to, by state, without those of nothing.
pub(super) fn states(
    counts: &Counts,
    missing: &str,
    dry_run: bool,
) -> impl Iterator<Item = (i64, String)> + use<> {
    let owed = if dry_run { "would be fetched" } else { "not archived yet" };
    let states = [
        (counts.archived, format!("archived now ({})", HumanBytes(counts.bytes))),
        (counts.already_archived, "archived before".to_owned()),
        (counts.excluded, "excluded by your rules".to_owned()),
        (counts.pending, owed.to_owned()),
        (counts.missing, missing.to_owned()),
        (counts.stuck, "stuck".to_owned()),
    ];
    states.into_iter().filter(|(count, _)| *count != 0)
}

/// How many days were not read: those that failed, and those that nobody asked for any more.
fn days_not_read(sweep: &SweepReport) -> Option<String> {
    let unread =
        (sweep.days_unread > 0).then(|| format!("{} could not be read", count(sweep.days_unread, "day")));
    let verb = if sweep.days_unasked == 1 { "was" } else { "were" };
    let unasked = (sweep.days_unasked > 0)
        .then(|| format!("{} {verb} not asked for", count(sweep.days_unasked, "day")));
    match (unread, unasked) {
        (Some(unread), Some(unasked)) => Some(format!("{unread} and {unasked}")),
        (unread, unasked) => unread.or(unasked),
    }
}

fn write_reasons(text: &mut String, report: &PbxReport) -> std::fmt::Result {
    for reason in report.reasons.iter().take(REASONS_MAX) {
        writeln!(text, "\n{}", remedy::in_words(reason))?;
    }
    if report.reasons.len() > REASONS_MAX {
        writeln!(
            text,
            "\n  … and {} other reasons; `callvault status --json` has all.",
            report.reasons.len() - REASONS_MAX
        )?;
    }
    Ok(())
}
