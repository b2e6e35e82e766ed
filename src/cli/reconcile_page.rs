//! The reconciliation as a page of text: a table of the days that need somebody, sums, and a verdict.

use askama::Template;

use super::reconcile::{Day, Report};
use super::summary::{count, nonzero};
use crate::base::counts::Counts;
use crate::base::recording::printable;
use crate::base::remedy;
use crate::store::certificates::Issued;
use crate::store::evidence::{Evidence, Verdict, Verdicts};
use crate::store::findings::FindingKind;
use crate::store::queue::DayRange;

/// Reasons shown for each PBX; the rest is counted.
const REASONS_MAX: usize = 12;
/// Stretches of unread days that are named.
const RANGES_MAX: usize = 6;

#[derive(Template)]
#[template(path = "reconcile.txt", whitespace = "preserve")]
struct Page<'a> {
    report: &'a Report,
}

/// The page.
pub(super) fn of(report: &Report) -> String {
    Page { report }.render().expect("writing to a String cannot fail") + "\n"
}

impl Page<'_> {
    fn days(&self) -> impl Iterator<Item = &Day> {
        self.report.pbx.values().flat_map(|of_pbx| &of_pbx.days)
    }

    /// What speaks against the days, besides recordings that are not archived, in a sentence each.
    fn reservations(&self) -> Vec<String> {
        let pbxs = || self.report.pbx.values();
        let mut verdicts = Verdicts::default();
        pbxs().for_each(|of_pbx| verdicts += &of_pbx.verdicts);
        let mut sentences = Vec::from_iter(verdicts.sentence());
        if verdicts.accepted > 0 {
            sentences.push(format!("{} accepted as they were", count(verdicts.accepted, "list")));
        }
        let finds = |kind| self.days().filter(|day| day.account.finds(kind)).count();
        let days_open: i64 = pbxs().map(|of_pbx| of_pbx.sum.days_open).sum();
        let days = [
            (self.days().filter(|day| !day.account.sums).count(), "with numbers that DO NOT ADD UP"),
            (pbxs().map(|of_pbx| of_pbx.sum.days_unread()).sum(), "never read completely"),
            (self.days().filter(|day| day.account.is_doubtful()).count(), "in doubt by findings"),
            (days_open.unsigned_abs() as usize, "still open: not all of their calls may be listed yet"),
            (
                finds(FindingKind::MustRecord),
                "with calls that [[must_record]] names and that have no recording",
            ),
            (finds(FindingKind::SilentDay), "without any call, where such a day usually has some"),
        ];
        let days = days.into_iter().filter(|(days, _)| *days > 0);
        sentences.extend(days.map(|(days, what)| format!("{} {what}", count(days, "day"))));
        sentences
    }
}

/// The numbers of a line of the table.
fn cells(listed: i64, counts: &Counts) -> String {
    let Counts { archived, missing, excluded, pending, stuck, .. } = *counts;
    [listed, archived, missing, excluded, pending, stuck].map(|value| format!("{value:>9}")).join(" ")
}

/// What there is to say of a day besides its numbers.
fn remarks(day: &Day) -> String {
    let account = &day.account;
    let mut remarks = Vec::new();
    if !account.sums {
        let apart = account.listed - account.counts.listed();
        remarks.push(format!("DOES NOT ADD UP: {apart} unaccounted for"));
    }
    if account.is_unread() {
        remarks.push("never read completely".to_owned());
    }
    if let Some(evidence) = &account.evidence {
        remarks.extend(doubts_about_list(evidence));
    }
    remarks.extend(nonzero([
        (account.counts.missing_final, "for good"),
        (account.unnamed.count, "named by no row"),
        (account.conflicts.count, "kept as a second file"),
    ]));
    remarks.extend(account.worth_a_look().map(|(word, value)| format!("{value} {word}")));
    remarks.extend(account.findings.by.iter().map(|(kind, value)| match kind.as_str() {
        "must_record" => "calls without a recording that must have one".to_owned(),
        "silent_day" => "no call, where such a day usually has some".to_owned(),
        kind => format!("{value} {}", kind.replace('_', " ")),
    }));
    remarks.push(standing(account.settled_at.is_some(), day.certificate.as_ref()));
    remarks.join(", ")
}

/// What speaks against the list of a day.
fn doubts_about_list(evidence: &Evidence) -> Vec<String> {
    let causes =
        evidence.doubts.by.iter().map(|(cause, count)| format!("{count} {}", cause.replace('_', " ")));
    let causes: Vec<String> = evidence.cause.iter().cloned().chain(causes).collect();
    let causes = if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) };
    let mut doubts = match evidence.verdict {
        Verdict::Unread => vec![format!("list not read{causes}")],
        Verdict::Short => vec![format!("list cut short{causes}")],
        Verdict::Doubtful => vec![format!("list doubtful{causes}")],
        Verdict::Whole => Vec::new(),
    };
    doubts.extend(evidence.accepted.iter().map(|accepted| {
        let reason = printable(accepted.reason.as_bytes());
        format!("accepted by you in entry {}: {reason}", accepted.ledger_number)
    }));
    doubts
}

fn standing(is_settled: bool, certificate: Option<&Issued>) -> String {
    match (is_settled, certificate) {
        (true, Some(issued)) => format!("certificate {}", issued.revision),
        (true, None) => "settled".to_owned(),
        (false, Some(issued)) => format!("open again after certificate {}", issued.revision),
        (false, None) => "open".to_owned(),
    }
}

fn ranges(ranges: &[DayRange]) -> String {
    let named = |DayRange { from, to }: &DayRange| match from == to {
        true => from.to_string(),
        false => format!("{from} to {to}"),
    };
    let mut shown: Vec<String> = ranges.iter().take(RANGES_MAX).map(named).collect();
    if ranges.len() > RANGES_MAX {
        shown.push(format!("and {} more stretches", ranges.len() - RANGES_MAX));
    }
    shown.join(", ")
}

fn lacking(counts: &Counts) -> String {
    let states = [(counts.missing, "missing"), (counts.pending, "pending"), (counts.stuck, "stuck")];
    nonzero(states).join(", ")
}
