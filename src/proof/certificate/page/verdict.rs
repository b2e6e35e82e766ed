//! The answer: in words, as a sum, as a bar.

use std::fmt::Write as _;

use crate::base::counts::Counts;
use crate::proof::html::{count, number};
use crate::proof::reconcile::DayAccount;

/// The answer, before everything else.
pub(super) fn verdict(page: &mut String, account: &DayAccount) -> std::fmt::Result {
    let (class, title, text) = judged(account);
    writeln!(page, "<section class=\"verdict {class}\"><strong>{title}</strong><p>{text}</p></section>")
}

fn judged(account: &DayAccount) -> (&'static str, &'static str, String) {
    let Counts { archived, excluded, .. } = account.counts;
    let listed = count(account.listed, "recording");
    if !account.sums {
        let text = format!(
            "The PBX listed {listed}; what became of them accounts for {}. The difference is below.",
            number(account.counts.listed())
        );
        return ("bad", "The numbers do not add up", text);
    }
    if account.complete {
        let text = match (account.listed, excluded) {
            (0, _) => "The PBX listed no recording on this day.".to_owned(),
            (1, 0) => "The one recording that the PBX listed is in the archive.".to_owned(),
            (_, 0) => format!("All {listed} that the PBX listed are in the archive."),
            _ => format!(
                "Of {listed} that the PBX listed, {} are in the archive; {} kept out by the operator's rules.",
                number(archived),
                if excluded == 1 { "1 is".to_owned() } else { format!("{} are", number(excluded)) }
            ),
        };
        return ("good", "Complete", text);
    }
    ("fair", "Not complete", lacking(account))
}

/// What a day lacks, in words.
fn lacking(account: &DayAccount) -> String {
    let Counts { missing, pending, stuck, .. } = account.counts;
    let owed = account.counts.owed();
    let mut text = match owed {
        0 => "Nothing that is known to have been listed is owed, but what was listed or archived is in doubt: see the \
              findings."
            .to_owned(),
        1 => format!("Of {} that the PBX listed, one is not in the archive:", count(account.listed, "recording")),
        _ => format!(
            "Of {} that the PBX listed, {} are not in the archive:",
            count(account.listed, "recording"),
            number(owed)
        ),
    };
    let parts = [
        (missing, "missing on the PBX"),
        (pending, "still to be fetched"),
        (stuck, "stuck after repeated failures"),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(value, _)| *value > 0)
        .map(|(value, what)| format!("{} {what}", number(*value)))
        .collect();
    if !told.is_empty() {
        text.push_str(&format!(" {}.", told.join(", ")));
    }
    text
}

/// The sum, as numbers and as a bar.
pub(super) fn sum(page: &mut String, account: &DayAccount) -> std::fmt::Result {
    let Counts { archived, missing, excluded, pending, stuck, .. } = account.counts;
    let states = [
        (archived, "archived"),
        (missing, "missing"),
        (excluded, "excluded"),
        (pending, "pending"),
        (stuck, "stuck"),
    ];
    writeln!(page, "<div class=\"sum\">\n<div><b>{}</b><span>listed</span></div>", number(account.listed))?;
    for (at, (value, state)) in states.iter().enumerate() {
        let sign = match (at, account.sums) {
            (0, true) => "=",
            (0, false) => "\u{2260}",
            _ => "+",
        };
        let class = if *value == 0 { " class=\"none\"" } else { "" };
        writeln!(page, "<i>{sign}</i><div{class}><b>{}</b><span>{state}</span></div>", number(*value))?;
    }
    page.push_str("</div>\n<div class=\"bar\">");
    for (value, state) in states.iter().filter(|(value, _)| *value > 0) {
        write!(page, "<div class=\"{state}\" style=\"flex:{value}\"></div>")?;
    }
    page.push_str("</div>\n");
    Ok(())
}
