//! Voicemail in words: a line of its own in `status` and at the end of a backfill.

use std::fmt::Write as _;

use super::status_page;
use super::summary::{count, states};
use crate::base::recording::printable;
use crate::base::remedy;
use crate::pipeline::backfill::VoicemailReport;
use crate::pipeline::sweep::VoicemailPoll;
use crate::watch::status::VoicemailStatus;

/// The state of a PBX's voicemail, in indented lines.
pub(super) fn write_status(text: &mut String, voicemail: &VoicemailStatus) -> std::fmt::Result {
    if voicemail.unsupported {
        writeln!(text, "  voicemail: this PBX has no API for it; callvault asks again once a day")?;
    }
    if voicemail.known == 0 && voicemail.last_poll.is_none() {
        return Ok(());
    }
    let messages = count(u64::try_from(voicemail.known).unwrap_or(0), "message");
    let states = status_page::states(&voicemail.counts, voicemail.bytes);
    writeln!(text, "  voicemail: {messages}: {states}{}", fill(voicemail))?;
    for (odd, count) in &voicemail.suspect {
        writeln!(text, "  {count} archived but suspect: {odd}")?;
    }
    voicemail.reasons.iter().try_for_each(|reason| writeln!(text, "{}", remedy::in_words(reason)))
}

fn fill(voicemail: &VoicemailStatus) -> String {
    voicemail.fullest.as_ref().map_or(String::new(), |fullest| {
        let extension = printable(fullest.extension.as_bytes());
        format!("; the fullest box is that of {extension}, {} of {}", fullest.messages, fullest.cap)
    })
}

/// What became of a PBX's voicemail in a backfill.
pub(super) fn write(text: &mut String, report: &VoicemailReport, dry_run: bool) -> std::fmt::Result {
    match &report.poll {
        Some(VoicemailPoll { unsupported: true, .. }) => {
            writeln!(text, "  voicemail: this PBX has no API for it")?;
        }
        Some(_) if report.is_unlisted() => {
            writeln!(text, "  voicemail: the boxes could not be listed; run the same command again")?;
        }
        _ => {}
    }
    let counts = &report.counts;
    let states = states(counts, "deleted or missing on the PBX", dry_run);
    let shown: Vec<String> = states.map(|(count, what)| format!("{count} {what}")).collect();
    let messages = count(u64::try_from(counts.listed()).unwrap_or(0), "message");
    let colon = if shown.is_empty() { "" } else { ": " };
    writeln!(text, "  voicemail: {messages}{colon}{}", shown.join(", "))?;
    if dry_run {
        return Ok(());
    }
    report.reasons.iter().try_for_each(|reason| writeln!(text, "\n{}", remedy::in_words(reason)))
}
