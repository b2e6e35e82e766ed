//! The reconciliation as a page of text: a table of the days that need somebody, sums, and a verdict.

use std::fmt::Write as _;

use super::reconcile::{Day, OfPbx, Report};
use super::summary::count;
use crate::base::counts::Counts;
use crate::base::recording::printable;
use crate::base::remedy;
use crate::store::certificates::Issued;
use crate::store::evidence::{Evidence, Standing, Verdict, Verdicts};
use crate::store::findings::FindingKind;
use crate::store::queue::DayRange;

/// Reasons shown for each PBX; the rest is counted.
const REASONS_MAX: usize = 12;
/// Stretches of unread days that are named.
const RANGES_MAX: usize = 6;

/// The page.
pub(super) fn of(report: &Report) -> String {
    let mut text = String::new();
    write(&mut text, report).expect("writing to a String cannot fail");
    text
}

fn write(text: &mut String, report: &Report) -> std::fmt::Result {
    for (id, of_pbx) in &report.pbx {
        write_pbx(text, id, of_pbx)?;
    }
    if let Some(error) = &report.certificates_error {
        writeln!(text, "\nCertificates are due and could not be issued: {error}")?;
    }
    let blank = if text.is_empty() { "" } else { "\n" };
    writeln!(text, "{blank}{}", verdict(report))
}

fn write_pbx(text: &mut String, id: &str, of_pbx: &OfPbx) -> std::fmt::Result {
    let sum = &of_pbx.sum;
    let Some(DayRange { from, to }) = sum.range else {
        return writeln!(text, "{id}: callvault knows nothing about these days");
    };
    let days = count(of_pbx.days.len() as u64, "day");
    writeln!(text, "{id}: {from} to {to}, {days}, {} of them open", sum.days_open)?;
    writeln!(text, "  {:10} {:>9} {}", "", "listed", heads())?;
    for day in of_pbx.days.iter().filter(|day| day.account.needs_attention()) {
        let (account, remarks) = (&day.account, remarks(day).join(", "));
        writeln!(text, "  {} {:>9} {}  {remarks}", account.day, account.listed, cells(&account.counts))?;
        for finding in
            account.findings.list.items.iter().filter(|finding| finding.kind == FindingKind::MustRecord)
        {
            writeln!(text, "  {:10} {}", "", finding.detail)?;
        }
    }
    writeln!(text, "  {:10} {:>9} {}", "all", sum.listed, cells(&sum.counts))?;
    if sum.voicemail.listed() > 0 {
        writeln!(text, "  {:10} {:>9} {}", "voicemail", sum.voicemail.listed(), cells(&sum.voicemail))?;
    }
    if !sum.unread.is_empty() {
        writeln!(
            text,
            "  never read completely: {}; run `callvault backfill` for these days",
            ranges(&sum.unread)
        )?;
    }
    write_lists(text, id, &of_pbx.verdicts)?;
    for reason in of_pbx.reasons.iter().take(REASONS_MAX) {
        writeln!(text, "{}", remedy::in_words(reason))?;
    }
    if let Some(more) = of_pbx.reasons.len().checked_sub(REASONS_MAX).filter(|more| *more > 0) {
        writeln!(text, "  … and {more} more reasons: see `callvault reconcile --pbx {id} --json`")?;
    }
    Ok(())
}

fn heads() -> String {
    let heads = ["archived", "missing", "excluded", "pending", "stuck"];
    heads.map(|head| format!("{head:>9}")).join(" ")
}

fn cells(counts: &Counts) -> String {
    let Counts { archived, missing, excluded, pending, stuck, .. } = counts;
    [archived, missing, excluded, pending, stuck].map(|value| format!("{value:>9}")).join(" ")
}

/// What there is to say of a day besides its numbers.
fn remarks(day: &Day) -> Vec<String> {
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
    for (what, value) in [
        ("for good", account.counts.missing_final),
        ("named by no row", account.unnamed.count),
        ("kept as a second file", account.conflicts.count),
    ] {
        if value > 0 {
            remarks.push(format!("{value} {what}"));
        }
    }
    remarks.extend(account.worth_a_look().map(|(word, value)| format!("{value} {word}")));
    remarks.extend(account.findings.by.iter().map(|(kind, value)| match kind.as_str() {
        "must_record" => "calls without a recording that must have one".to_owned(),
        "silent_day" => "no call, where such a day usually has some".to_owned(),
        kind => format!("{value} {}", kind.replace('_', " ")),
    }));
    remarks.push(standing(account.settled_at.is_some(), day.certificate.as_ref()));
    remarks
}

/// What speaks against the list of a day.
fn doubts_about_list(evidence: &Evidence) -> Vec<String> {
    let mut doubts = Vec::new();
    let word = match evidence.verdict {
        Verdict::Unread => Some("list not read"),
        Verdict::Short => Some("list cut short"),
        Verdict::Doubtful => Some("list doubtful"),
        Verdict::Whole => None,
    };
    let causes =
        evidence.doubts.by.iter().map(|(cause, count)| format!("{count} {}", cause.replace('_', " ")));
    let causes: Vec<String> = evidence.cause.iter().cloned().chain(causes).collect();
    match word {
        Some(word) if causes.is_empty() => doubts.push(word.to_owned()),
        Some(word) => doubts.push(format!("{word} ({})", causes.join(", "))),
        None => {}
    }
    doubts.extend(evidence.accepted.iter().map(|accepted| {
        format!(
            "accepted by you in entry {}: {}",
            accepted.ledger_number,
            printable(accepted.reason.as_bytes())
        )
    }));
    doubts
}

/// What to do about lists that are not whole.
fn write_lists(text: &mut String, id: &str, verdicts: &Verdicts) -> std::fmt::Result {
    let Some(Standing { day, .. }) = verdicts.first.as_ref().filter(|_| verdicts.not_whole() > 0) else {
        return Ok(());
    };
    writeln!(text, "  What to do about lists that may lack calls:")?;
    if verdicts.unread > 0 {
        writeln!(
            text,
            "    not read: every sweep asks for them again; if this persists, restart the PBX, or export these days there and \
             run `callvault backfill --pbx {id} --cdr FILE`"
        )?;
    }
    if verdicts.short > 0 {
        writeln!(
            text,
            "    cut short: callvault asks for shorter periods by itself; what it cannot divide further, export on the PBX and \
             read with `callvault backfill --pbx {id} --cdr FILE`"
        )?;
    }
    if verdicts.doubtful > 0 {
        writeln!(
            text,
            "    doubtful: `callvault status --pbx {id}` names the lines; correct them on the PBX"
        )?;
    }
    writeln!(
        text,
        "    if nothing more can be done about a day, accept its list as it is: `callvault accept {id} {day} --reason \"…\"`"
    )
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

/// Whether all that was listed is archived, in a sentence or two.
fn verdict(report: &Report) -> String {
    let days = || report.pbx.values().flat_map(|of_pbx| &of_pbx.days);
    if days().next().is_none() {
        return "Nothing is known yet: run `callvault backfill`.".to_owned();
    }
    let listed = count(report.listed.unsigned_abs(), "recording");
    let mut sentences = vec![match (report.complete, report.counts.owed()) {
        (true, _) => format!(
            "Complete: of {listed} listed, {} archived{}.",
            all_archived(&report.counts),
            excluded(&report.counts)
        ),
        (false, 0) => format!(
            "Not complete: of {listed} listed, none is left to archive, but not everything is proven."
        ),
        (false, owed) => {
            format!("Not complete: of {listed} listed, {owed} not archived ({}).", lacking(&report.counts))
        }
    }];
    let mut verdicts = Verdicts::default();
    report.pbx.values().for_each(|of_pbx| verdicts += &of_pbx.verdicts);
    sentences.extend(verdicts.sentence().map(|sentence| format!("{sentence}.")));
    if verdicts.accepted > 0 {
        sentences.push(format!("{} accepted as they were.", count(verdicts.accepted.unsigned_abs(), "list")));
    }
    let mut days_are = |value: usize, what: &str| {
        if value > 0 {
            sentences.push(format!("{} {what}.", count(value as u64, "day")));
        }
    };
    days_are(days().filter(|day| !day.account.sums).count(), "with numbers that DO NOT ADD UP");
    days_are(report.pbx.values().map(|of_pbx| of_pbx.sum.days_unread()).sum(), "never read completely");
    days_are(days().filter(|day| day.account.is_doubtful()).count(), "in doubt by findings");
    days_are(
        report.pbx.values().map(|of_pbx| of_pbx.sum.days_open.unsigned_abs() as usize).sum(),
        "still open: not all of their calls may be listed yet",
    );
    let finds = |kind| days().filter(|day| day.account.finds(kind)).count();
    days_are(
        finds(FindingKind::MustRecord),
        "with calls that [[must_record]] names and that have no recording",
    );
    days_are(finds(FindingKind::SilentDay), "without any call, where such a day usually has some");
    sentences.join(" ")
}

fn all_archived(counts: &Counts) -> String {
    match counts.excluded {
        0 => "all are".to_owned(),
        _ => format!("{} are", counts.archived),
    }
}

fn excluded(counts: &Counts) -> String {
    match counts.excluded {
        0 => String::new(),
        excluded => format!(" and {excluded} excluded by your rules"),
    }
}

fn lacking(counts: &Counts) -> String {
    let states = [(counts.missing, "missing"), (counts.pending, "pending"), (counts.stuck, "stuck")];
    let shown =
        states.iter().filter(|(value, _)| *value > 0).map(|(value, state)| format!("{value} {state}"));
    shown.collect::<Vec<_>>().join(", ")
}
