//! The end of a backfill in words: what is archived, what is not, why, and what to do.

use std::fmt::Display;
use std::path::Path;

use askama::Template;
use indicatif::HumanBytes;

use super::output;
use crate::base::counts::Counts;
use crate::base::remedy;
use crate::pipeline::backfill::{BackfillReport, PbxReport};
use crate::pipeline::gate::Trouble;
use crate::pipeline::sweep::{SweepReport, VoicemailPoll};
use crate::store::evidence::Verdicts;

/// Groups of reasons that are shown; the rest is counted.
const REASONS_MAX: usize = 12;

#[derive(Template)]
#[template(path = "summary.txt", whitespace = "preserve")]
struct Page<'a> {
    report: &'a BackfillReport,
    archive: &'a Path,
    dry_run: bool,
    voicemail: Counts,
    verdicts: Verdicts,
    /// Recordings and messages that are still to be archived.
    owed: i64,
}

/// Prints what a backfill into `archive` came to; trouble of this machine's own on stderr.
pub(super) fn print(report: &BackfillReport, archive: &Path, dry_run: bool) {
    let voicemail = report.voicemail.as_ref().map(|voicemail| voicemail.counts).unwrap_or_default();
    let owed = report.total.owed() + voicemail.awaited();
    output::line(Page { report, archive, dry_run, voicemail, verdicts: report.verdicts(), owed });
    if let Some(trouble) = &report.trouble {
        output::error_line(format_args!("callvault: {}", trouble.message));
    }
}

impl Page<'_> {
    /// What a run came to, by state, without those of nothing.
    fn states(&self, counts: &Counts, missing: &str) -> impl Iterator<Item = (i64, String)> + use<> {
        let owed = if self.dry_run { "would be fetched" } else { "not archived yet" };
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

    /// Why a PBX was given up. The first trouble of this machine's own is shown at the very end instead.
    fn trouble_of<'a>(&self, pbx: &'a PbxReport) -> Option<&'a Trouble> {
        let is_first = |error: &Trouble| {
            self.report.trouble.as_ref().is_some_and(|first| first.message == error.message)
        };
        pbx.error.as_ref().filter(|error| !is_first(error))
    }

    fn left(&self) -> String {
        match self.owed {
            0 => "nothing known is left".to_owned(),
            1 => "1 recording is left".to_owned(),
            owed => format!("{owed} recordings are left"),
        }
    }

    /// The ids of the PBXs that could not be worked on.
    fn given_up(&self) -> String {
        let given_up = self.report.pbx.iter().filter(|(_, pbx)| pbx.error.is_some());
        given_up.map(|(id, _)| &**id).collect::<Vec<_>>().join(", ")
    }

    fn to_ask_for(&self) -> i64 {
        let not_stuck = |counts: &Counts| counts.awaited() - counts.stuck;
        not_stuck(&self.report.total) + not_stuck(&self.voicemail)
    }
}

/// So many of something, in the right number.
pub(super) fn count(count: impl Display, noun: &str) -> String {
    let count = count.to_string();
    format!("{count} {noun}{}", if count == "1" { "" } else { "s" })
}

/// Those that there are, each with its number. No number is less than 0.
pub(super) fn nonzero<N>(counts: impl IntoIterator<Item = (N, impl Display)>) -> Vec<String>
where
    N: Display + Default + PartialEq,
{
    let some = counts.into_iter().filter(|(count, _)| *count != N::default());
    some.map(|(count, what)| format!("{count} {what}")).collect()
}

/// How many days were not read: those that failed, and those that nobody asked for any more.
fn days_not_read(sweep: &SweepReport) -> String {
    let unread = format!("{} could not be read", count(sweep.days_unread, "day"));
    let verb = if sweep.days_unasked == 1 { "was" } else { "were" };
    let unasked = format!("{} {verb} not asked for", count(sweep.days_unasked, "day"));
    let days = [(sweep.days_unread, unread), (sweep.days_unasked, unasked)];
    days.into_iter().filter(|(days, _)| *days > 0).map(|(_, what)| what).collect::<Vec<_>>().join(" and ")
}
