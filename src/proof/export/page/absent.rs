//! What was chosen and is not in the bag, said before all that is.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::as_number;
use super::recording::{damaged, state_in_words};
use crate::proof::export::cdr::Absence;
use crate::proof::html::{count, escape, number};
use crate::store::remedy;

/// Things of one group that are named; `data/not-exported.jsonl` names all.
const NAMED_MAX: usize = 200;
/// A longer group is folded.
const OPEN_MAX: usize = 10;

/// Writes what is not here, by reason; `unknown` are the lines of the list that name nothing.
pub(super) fn write(absent: &[Absence], unknown: &[String], to: &mut dyn Write) -> io::Result<()> {
    if absent.is_empty() && unknown.is_empty() {
        return Ok(());
    }
    writeln!(to, "<h2 id=\"not-here\">Not here</h2>")?;
    altered(absent.iter().filter(|absence| absence.is_damage()).collect(), to)?;
    let is_owed = |absence: &&Absence| !absence.is_damage() && !absence.is_excluded();
    let owed: Vec<&Absence> = absent.iter().filter(is_owed).collect();
    groups("never archived", "fair", &owed, to)?;
    let excluded: Vec<&Absence> = absent.iter().filter(|absence| absence.is_excluded()).collect();
    groups("kept out of the archive by a rule", "plain", &excluded, to)?;
    if !absent.is_empty() {
        let path = "data/not-exported.jsonl";
        writeln!(to, "<p class=\"note\">Each of these has a line in <a href=\"{path}\">{path}</a>.</p>")?;
    }
    unfound(unknown, to)
}

fn altered(absent: Vec<&Absence>, to: &mut dyn Write) -> io::Result<()> {
    if absent.is_empty() {
        return Ok(());
    }
    let files = count(as_number(absent.len()), "file");
    writeln!(to, "<div class=\"absent bad\">\n<h3>{files} damaged or gone since archived</h3>")?;
    let items = absent.iter().map(|absence| {
        format!("<span class=\"path\">{}</span><br>{}", escape(&absence.path), damaged(absence))
    });
    list(items, to)?;
    writeln!(to, "</div>")
}

/// Recordings that are not archived, by state and reason.
fn groups(what: &str, class: &str, absent: &[&Absence], to: &mut dyn Write) -> io::Result<()> {
    if absent.is_empty() {
        return Ok(());
    }
    let recordings = count(as_number(absent.len()), "recording");
    writeln!(to, "<div class=\"absent {class}\">\n<h3>{recordings} {what}</h3>")?;
    let mut groups: BTreeMap<(&str, bool, &str), Vec<&Absence>> = BTreeMap::new();
    for absence in absent {
        let reason = absence.reason.as_deref().unwrap_or("waiting");
        groups.entry((&absence.state, absence.r#final, reason)).or_default().push(absence);
    }
    for ((state, is_final, reason), group) in groups {
        let open = if group.len() <= OPEN_MAX { " open" } else { "" };
        let (number, why) = (number(as_number(group.len())), why(state, is_final, reason));
        writeln!(to, "<details{open}><summary>{number} {why}</summary>")?;
        list(
            group.iter().map(|absence| format!("<span class=\"path\">{}</span>", escape(&absence.path))),
            to,
        )?;
        writeln!(to, "</details>")?;
    }
    writeln!(to, "</div>")
}

fn why(state: &str, is_final: bool, reason: &str) -> String {
    match (state, remedy::of(state, reason).meaning) {
        ("excluded", _) => format!("by the rule \u{201c}{}\u{201d}", escape(reason)),
        (_, meaning) if is_final => format!("{} for good: {meaning}", state_in_words(state)),
        (_, meaning) => format!("{}: {meaning}", state_in_words(state)),
    }
}

fn unfound(lines: &[String], to: &mut dyn Write) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let (number, verb) =
        (count(as_number(lines.len()), "line"), if lines.len() == 1 { "names" } else { "name" });
    writeln!(
        to,
        "<div class=\"absent fair\">\n<h3>{number} of the list of wanted recordings {verb} nothing that is known</h3>"
    )?;
    list(lines.iter().map(|line| format!("<span class=\"path\">{}</span>", escape(line))), to)?;
    writeln!(to, "</div>")
}

/// The first of `items`, and how many more there are.
fn list(items: impl ExactSizeIterator<Item = String>, to: &mut dyn Write) -> io::Result<()> {
    let more = items.len().saturating_sub(NAMED_MAX);
    writeln!(to, "<ul>")?;
    for item in items.take(NAMED_MAX) {
        writeln!(to, "<li>{item}</li>")?;
    }
    if more > 0 {
        writeln!(to, "<li>\u{2026} and {} more.</li>", number(as_number(more)))?;
    }
    writeln!(to, "</ul>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::export::page::samples::absence;

    fn page(absent: &[Absence], unknown: &[&str]) -> String {
        let unknown: Vec<String> = unknown.iter().map(|line| (*line).to_owned()).collect();
        let mut page = Vec::new();
        write(absent, &unknown, &mut page).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn each_absence_is_told_with_its_reason_in_words() {
        let mut final_one = absence("missing", "deleted", None);
        final_one.r#final = true;
        let absent = [
            absence("missing", "missing", None),
            final_one,
            absence("pending", "waiting", None),
            absence("stuck", "timeout", None),
            absence("excluded", "house <line>", None),
            absence("damaged", "it has other bytes than were archived", Some("data/_damaged/hq/a,.wav")),
            absence("gone", "it was archived and is gone", None),
        ];
        let page = page(&absent, &["<nobody>.wav"]);
        for words in [
            "<h3>2 files damaged or gone since archived</h3>",
            "damaged: it has other bytes than were archived (<a href=\"data/_damaged/hq/a%2C.wav\">what there is now</a>",
            "not here: it was archived and is gone",
            "<h3>4 recordings never archived</h3>",
            "<summary>1 missing on the PBX: the PBX lists them but says that it has no such file</summary>",
            "1 missing on the PBX for good: deleted from its voicemail box",
            "1 still to be fetched: not asked for yet",
            "1 stuck after repeated failures: the transfer broke off",
            "<h3>1 recording kept out of the archive by a rule</h3>",
            "1 by the rule \u{201c}house &lt;line&gt;\u{201d}",
            "<h3>1 line of the list of wanted recordings names nothing that is known</h3>",
            "&lt;nobody&gt;.wav",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }

    #[test]
    fn of_very_many_the_first_are_named_and_the_others_counted() {
        let absent = vec![absence("missing", "missing", None); NAMED_MAX + 1234];
        let page = page(&absent, &[]);
        assert_eq!(page.matches("hq/2026/01/09/a.wav").count(), NAMED_MAX);
        assert!(
            page.contains("\u{2026} and 1,234 more.") && page.contains("<details><summary>1,434 "),
            "{page}"
        );
    }

    #[test]
    fn nothing_is_said_if_all_is_here() {
        assert_eq!(page(&[], &[]), "");
    }
}
