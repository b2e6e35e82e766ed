//! The days: what there is of each, and its certificates.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::recording::{Recordings, Tally};
use super::url;
use crate::proof::export::selection::{Recording, Selection};

/// How the names of the pages of certificates begin and end.
const PAGE: (&str, &str) = ("certificate-", ".html");

/// What there is of the selected days, by PBX and day.
pub(super) type Days<'a> = BTreeMap<(&'a str, String), Day<'a>>;

#[derive(Default)]
pub(super) struct Day<'a> {
    pub(super) calls: usize,
    pub(super) recordings: Tally,
    /// The pages, by revision.
    pub(super) certificates: BTreeMap<u64, &'a str>,
}

pub(super) fn of<'a>(
    selection: &'a Selection,
    on_page: &Recordings<'_>,
    certificates: &'a [String],
) -> Days<'a> {
    let mut days = Days::default();
    for call in &selection.calls {
        days.entry((&call.pbx, call.day.clone())).or_default().calls += 1;
    }
    let mut recordings: BTreeMap<(&str, &str), Vec<&Recording>> = BTreeMap::new();
    for recording in &selection.recordings {
        recordings.entry((&recording.row.pbx, &recording.row.day)).or_default().push(recording);
    }
    for ((pbx, day), recordings) in recordings {
        days.entry((pbx, day.to_owned())).or_default().recordings = on_page.tally(recordings);
    }
    for path in certificates {
        if let Some((pbx, day, revision)) = page_of(path) {
            days.entry((pbx, day)).or_default().certificates.insert(revision, path);
        }
    }
    days
}

/// PBX, day and revision of a certificate, if the path is that of its page.
fn page_of(path: &str) -> Option<(&str, String, u64)> {
    let (folder, name) = path.strip_prefix("data/")?.rsplit_once('/')?;
    let revision = name.strip_prefix(PAGE.0)?.strip_suffix(PAGE.1)?.parse().ok()?;
    let (pbx, day) = folder.split_once('/')?;
    Some((pbx, day.replace('/', "-"), revision))
}

/// The id of the section with the calls of a day.
pub(super) fn anchor(pbx: &str, day: &str) -> String {
    url(format!("{pbx}-{day}"))
}

/// Such as `Friday, 9 January 2026`.
pub(super) fn in_words(day: &str) -> String {
    formatted(day, "%A, %-d %B %Y")
}

/// Such as `9 January 2026`.
pub(super) fn short(day: &str) -> String {
    formatted(day, "%-d %B %Y")
}

fn formatted(day: &str, format: &str) -> String {
    day.parse::<Date>().map_or_else(|_| day.to_owned(), |date| date.strftime(format).to_string())
}
