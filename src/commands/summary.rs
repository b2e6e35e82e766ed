//! The end of a backfill in words: what is archived, what is not, why, and what to do.

use std::fmt::Write as _;

use indicatif::HumanBytes;

use super::{exit, output};
use crate::backfill::{BackfillReport, PbxReport};
use crate::remedy;
use crate::vault::Vault;

/// Groups of reasons that are told; the rest is summed up.
const REASONS_TOLD: usize = 12;

/// Tells how a backfill went: one object, or a text and, on stderr, what is wrong with this machine.
pub fn tell(report: &BackfillReport, vault: &Vault, dry_run: bool, json: bool) {
    if json {
        return exit::print_json(report);
    }
    output::text(&of(report, vault, dry_run));
    if let Some(trouble) = &report.trouble {
        output::error_line(format_args!("callvault: {}", trouble.message));
    }
}

/// The text that a backfill ends with.
fn of(report: &BackfillReport, vault: &Vault, dry_run: bool) -> String {
    let mut text = String::new();
    for (id, of_pbx) in &report.pbx {
        tell_pbx(&mut text, id, of_pbx, dry_run).expect("writing to a String cannot fail");
    }
    writeln!(text, "\n{}", end(report, vault, dry_run)).expect("writing to a String cannot fail");
    text
}

/// The last sentence: whether this is over.
fn end(report: &BackfillReport, vault: &Vault, dry_run: bool) -> String {
    let total = &report.total;
    let owed = total.missing + total.pending + total.stuck;
    let left =
        if owed == 0 { "nothing known is left".to_owned() } else { format!("{owed} recordings are left") };
    let given_up: Vec<&str> =
        report.pbx.iter().filter(|(_, pbx)| pbx.error.is_some()).map(|(id, _)| &**id).collect();
    let unread = report.pbx.values().any(|pbx| !pbx.sweep.is_complete());
    if report.interrupted {
        format!("Interrupted: {left}; run the same command to go on.")
    } else if report.trouble.is_some() {
        format!("Not finished: {left}; mend the following, then run the same command.")
    } else if !given_up.is_empty() {
        let whose = given_up.join(", ");
        let left = if report.pbx.len() > 1 { format!("; elsewhere {left}") } else { String::new() };
        format!("Not finished: {whose} could not be worked on{left}. Mend it, then run the same command.")
    } else if unread {
        format!(
            "Not finished: some of the CDR could not be read; of the rest {left}. Run the same command again."
        )
    } else if dry_run {
        let asked = total.pending + total.missing;
        format!("Nothing was fetched: this was a dry run. {asked} recordings would be asked for.")
    } else if owed == 0 {
        format!(
            "Complete: every recording listed is in {}{}.",
            vault.config.archive.path.display(),
            if total.excluded > 0 { ", but for those that your rules exclude" } else { "" }
        )
    } else {
        format!("{owed} of {} recordings listed are not archived; the reasons are above.", total.listed)
    }
}

fn tell_pbx(text: &mut String, id: &str, report: &PbxReport, dry_run: bool) -> std::fmt::Result {
    match &report.days {
        Some((from, to)) => writeln!(text, "\n{id}: {from} to {to}, {:.1} s", report.elapsed_s)?,
        None => writeln!(text, "\n{id}: {:.1} s", report.elapsed_s)?,
    }
    let would = if dry_run { "would be fetched" } else { "still owed" };
    let rows: [(i64, String); 6] = [
        (report.archived, format!("archived now ({})", HumanBytes(report.bytes))),
        (report.already_archived, "archived before".into()),
        (report.excluded, "excluded by your rules".into()),
        (report.pending, would.into()),
        (report.missing, "missing on the PBX".into()),
        (report.stuck, "stuck".into()),
    ];
    writeln!(text, "  {:>8} listed", report.listed)?;
    for (count, what) in rows.iter().filter(|(count, _)| *count != 0) {
        writeln!(text, "  {count:>8} {what}")?;
    }
    if report.sweep.bad_rows > 0 {
        writeln!(
            text,
            "  {} CDR rows could not be read; `callvault status` names them.",
            report.sweep.bad_rows
        )?;
    }
    if report.sweep.files_unread > 0 {
        writeln!(
            text,
            "  {} CDR files could not be read; `callvault status` names them.",
            report.sweep.files_unread
        )?;
    }
    if report.sweep.days_unread > 0 {
        writeln!(text, "  {} days could not be read; run the same command again.", report.sweep.days_unread)?;
    }
    if !dry_run {
        tell_reasons(text, report)?;
    }
    if let Some(error) = &report.error {
        writeln!(text, "  Given up: {}.", error.message.trim_end_matches('.'))?;
    }
    Ok(())
}

fn tell_reasons(text: &mut String, report: &PbxReport) -> std::fmt::Result {
    for reason in report.reasons.iter().take(REASONS_TOLD) {
        let words = remedy::of(&reason.state, &reason.reason);
        writeln!(
            text,
            "\n  {} {} ({}): {}, such as {}",
            reason.count, reason.state, reason.reason, words.meaning, reason.example
        )?;
        writeln!(text, "    What to do: {}.", words.remedy)?;
    }
    if report.reasons.len() > REASONS_TOLD {
        writeln!(
            text,
            "\n  … and {} other reasons; `callvault status --json` has all.",
            report.reasons.len() - REASONS_TOLD
        )?;
    }
    Ok(())
}
