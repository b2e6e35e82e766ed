//! The days: what there is of each, and its certificates.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::civil::Date;

use super::recording::{Shelf, Tally};
use super::{as_number, url};
use crate::proof::export::selection::{Recording, Selection};
use crate::proof::html::{escape, number};

/// Where the pages of certificates begin and end.
const PAGE: (&str, &str) = ("certificate-", ".html");

/// What there is of the chosen days, by PBX and day.
#[derive(Default)]
pub(super) struct Days<'a>(BTreeMap<(&'a str, String), Day<'a>>);

#[derive(Default)]
struct Day<'a> {
    calls: usize,
    recordings: Tally,
    /// By revision.
    certificates: BTreeMap<u64, &'a str>,
}

impl<'a> Days<'a> {
    pub(super) fn of(selection: &'a Selection, shelf: &Shelf<'_>, certificates: &'a [String]) -> Self {
        let mut days = Self::default();
        for call in &selection.calls {
            days.day(&call.pbx, &call.day).calls += 1;
        }
        let day_of = |recording: &'a Recording| (&*recording.row.pbx, &*recording.row.day);
        let mut recordings: BTreeMap<(&str, &str), Vec<&Recording>> = BTreeMap::new();
        for recording in &selection.recordings {
            recordings.entry(day_of(recording)).or_default().push(recording);
        }
        for ((pbx, day), recordings) in recordings {
            days.day(pbx, day).recordings = shelf.tally(recordings);
        }
        for path in certificates {
            if let Some((pbx, day, revision)) = page_of(path) {
                days.day(pbx, &day).certificates.insert(revision, path);
            }
        }
        days
    }

    fn day(&mut self, pbx: &'a str, day: &str) -> &mut Day<'a> {
        self.0.entry((pbx, day.to_owned())).or_default()
    }

    pub(super) fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(
            to,
            "<h2 id=\"days\">Days</h2>\n<div class=\"wide\"><table class=\"days\">\n<thead><tr><th scope=\"col\">Day</th>\
             <th scope=\"col\">PBX</th><th scope=\"col\" class=\"number\">Calls</th>\
             <th scope=\"col\" class=\"number\">Recordings here</th><th scope=\"col\" class=\"number\">Not here</th>\
             <th scope=\"col\">Certificate of completeness</th></tr></thead>\n<tbody>"
        )?;
        for ((pbx, day), of_day) in &self.0 {
            of_day.write(pbx, day, to)?;
        }
        writeln!(
            to,
            "</tbody>\n</table></div>\n<p class=\"note\">A certificate says what the PBX listed of a day, and what became of \
             each recording: of the whole day, and so only where whole days were chosen. The highest revision is the latest. A day has none \
             before it has settled.</p>"
        )
    }
}

impl Day<'_> {
    fn write(&self, pbx: &str, day: &str, to: &mut dyn Write) -> io::Result<()> {
        let name = match self.calls {
            0 => in_words(day),
            _ => format!("<a href=\"#{}\">{}</a>", anchor(pbx, day), in_words(day)),
        };
        let certificates: Vec<String> = self
            .certificates
            .iter()
            .rev()
            .map(|(revision, path)| format!("<a href=\"{}\">revision {revision}</a>", url(path)))
            .collect();
        let certificates = if certificates.is_empty() { "none".to_owned() } else { certificates.join(", ") };
        writeln!(
            to,
            "<tr><th scope=\"row\">{name}</th><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td><td>{certificates}</td></tr>",
            escape(pbx),
            number(as_number(self.calls)),
            number(as_number(self.recordings.here)),
            number(as_number(self.recordings.absent()))
        )
    }
}

/// PBX, day and revision of a certificate, if that path is of its page.
fn page_of(path: &str) -> Option<(&str, String, u64)> {
    let (folder, name) = path.strip_prefix("data/")?.rsplit_once('/')?;
    let revision = name.strip_prefix(PAGE.0)?.strip_suffix(PAGE.1)?.parse().ok()?;
    let (pbx, day) = folder.split_once('/')?;
    Some((pbx, day.replace('/', "-"), revision))
}

/// Where the calls of a day are on the page.
pub(super) fn anchor(pbx: &str, day: &str) -> String {
    url(&format!("{pbx}-{day}"))
}

/// A day as people say it.
pub(super) fn in_words(day: &str) -> String {
    shown(day, "%A, %-d %B %Y")
}

/// The same in short.
pub(super) fn short(day: &str) -> String {
    shown(day, "%-d %B %Y")
}

fn shown(day: &str, how: &str) -> String {
    day.parse::<Date>().map_or_else(|_| escape(day), |date| date.strftime(how).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::export::page::samples::{call, recording};

    fn page(selection: &Selection, certificates: &[String]) -> String {
        let mut page = Vec::new();
        Days::of(selection, &Shelf::new(selection, &[]), certificates).write(&mut page).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn each_day_is_told_with_its_certificates() {
        let mut absent = recording(2, "b.wav");
        absent.files.clear();
        let selection = Selection {
            calls: vec![call(1, Some(1), "{}"), call(2, None, "{}")],
            recordings: vec![recording(1, "a.wav"), absent],
            ..Selection::default()
        };
        let certificates = ["2.html", "10.html", "2.json", "2.json.sig", "x.html"]
            .map(|name| format!("data/hq/2026/01/09/certificate-{name}"));
        let page = page(&selection, &certificates);
        let row = "<tr><th scope=\"row\"><a href=\"#hq-2026-01-09\">Friday, 9 January 2026</a></th><td>hq</td>\
                   <td class=\"number\">2</td><td class=\"number\">1</td><td class=\"number\">1</td>\
                   <td><a href=\"data/hq/2026/01/09/certificate-10.html\">revision 10</a>, \
                   <a href=\"data/hq/2026/01/09/certificate-2.html\">revision 2</a></td></tr>";
        assert!(page.contains(row), "{page}");
    }

    #[test]
    fn a_day_without_calls_leads_nowhere() {
        let selection = Selection { recordings: vec![recording(1, "a.wav")], ..Selection::default() };
        let page = page(&selection, &[]);
        assert!(
            page.contains("<th scope=\"row\">Friday, 9 January 2026</th>") && page.contains("<td>none</td>")
        );
        assert!(!page.contains("href"), "{page}");
    }
}
