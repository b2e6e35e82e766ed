//! What was chosen and is not in the bag, said before all that is.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{as_number, url};
use crate::export::Contents;
use crate::export::cdr::Absence;
use crate::html::{count, escape};
use crate::remedy;

/// Things that are named; `data/not-exported.jsonl` names all.
const NAMED_MAX: usize = 200;

pub(super) fn write(contents: &Contents<'_>, to: &mut dyn Write) -> io::Result<()> {
    let absent = &contents.copied.absent;
    damaged(absent, to)?;
    not_archived(absent, to)?;
    unknown(&contents.selection.unknown, to)?;
    if absent.is_empty() && contents.selection.unknown.is_empty() {
        writeln!(to, "<p>Nothing that was chosen is missing.</p>")?;
    }
    Ok(())
}

fn damaged(absent: &[Absence], to: &mut dyn Write) -> io::Result<()> {
    let damaged: Vec<&Absence> = absent.iter().filter(|absence| absence.is_damage()).collect();
    if damaged.is_empty() {
        return Ok(());
    }
    let number = count(as_number(damaged.len() as u64), "file");
    writeln!(
        to,
        "<div class=\"absent damaged\">\n<p><strong>Damaged since it was archived: {number}.</strong></p>\n<ul>"
    )?;
    for absence in damaged.iter().take(NAMED_MAX) {
        let reason = absence.reason.as_deref().unwrap_or_default();
        write!(to, "<li>{}: {}", escape(&absence.path), escape(reason))?;
        if let Some(file) = &absence.file {
            write!(to, " (<a href=\"{}\">what is there now</a>, which is not the original)", url(file))?;
        }
        writeln!(to, "</li>")?;
    }
    end(damaged.len(), to)
}

fn not_archived(absent: &[Absence], to: &mut dyn Write) -> io::Result<()> {
    let absent: Vec<&Absence> = absent.iter().filter(|absence| !absence.is_damage()).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let number = count(as_number(absent.len() as u64), "recording");
    writeln!(
        to,
        "<div class=\"absent\">\n<p><strong>Not here, because never archived: {number}.</strong></p>\n<ul>"
    )?;
    let mut groups: BTreeMap<(&str, &str), Vec<&Absence>> = BTreeMap::new();
    for absence in &absent {
        let reason = absence.reason.as_deref().unwrap_or_default();
        groups.entry((&absence.state, reason)).or_default().push(absence);
    }
    for ((state, reason), group) in groups {
        let meaning = remedy::of(state, reason).meaning;
        writeln!(to, "<li>{} {}: {}", group.len(), escape(state), escape(meaning))?;
        let names = group.iter().take(NAMED_MAX).map(|absence| escape(&absence.path));
        writeln!(to, "<br><span class=\"note\">{}</span></li>", names.collect::<Vec<_>>().join("<br>"))?;
    }
    end(absent.len(), to)
}

fn unknown(lines: &[String], to: &mut dyn Write) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let number = count(as_number(lines.len() as u64), "line");
    writeln!(
        to,
        "<div class=\"absent\">\n<p><strong>Named in the list, and known to nobody: {number}.</strong></p>\n<ul>"
    )?;
    for line in lines.iter().take(NAMED_MAX) {
        writeln!(to, "<li>{}</li>", escape(line))?;
    }
    end(lines.len(), to)
}

fn end(count: usize, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "</ul>")?;
    if count > NAMED_MAX {
        writeln!(to, "<p>Not all are named here: <a href=\"data/not-exported.jsonl\">all of them</a>.</p>")?;
    }
    writeln!(to, "</div>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Text;

    fn absence(state: &str, reason: &str, file: Option<&str>) -> Absence {
        Absence {
            path: "hq/2026/01/09/<a>.wav".to_owned(),
            pbx: "hq".to_owned(),
            kind: "call".to_owned(),
            name: Text::Utf8("<a>.wav".to_owned()),
            day: "2026-01-09".to_owned(),
            started_at: None,
            state: state.to_owned(),
            reason: Some(reason.to_owned()),
            r#final: false,
            attempts: None,
            archived_sha256: None,
            found_sha256: None,
            file: file.map(str::to_owned),
        }
    }

    #[test]
    fn each_absence_is_told_with_its_reason_in_words() {
        let absent = [
            absence("missing", "missing", None),
            absence("excluded", "house", None),
            absence("damaged", "it has other bytes than were archived", Some("data/_damaged/hq/a.wav")),
        ];
        let mut page = Vec::new();
        damaged(&absent, &mut page).unwrap();
        not_archived(&absent, &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        for words in [
            "Damaged since it was archived: 1 file.",
            "<a href=\"data/_damaged/hq/a.wav\">what is there now</a>",
            "never archived: 2 recordings.",
            "1 missing: the PBX lists them but says that it has no such file",
            "1 excluded: kept out by your rule",
            "hq/2026/01/09/&lt;a&gt;.wav",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }
}
