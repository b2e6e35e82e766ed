//! `index.html`: to read and listen, offline. One file, no script, nothing from elsewhere; it is written as it goes, for
//! there may be many calls.

mod recording;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use askama::Template;
use indicatif::HumanBytes;
use jiff::Timestamp;
use jiff::civil::Date;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::lists::cell;
use super::log::Token;
use super::originals::{Copied, name_of};
use super::selection::Recording;
use super::{AGENT, Contents, Selection};
use crate::formats::tlog::{Checkpoint, VerifyingKey};
use crate::proof::html;
use crate::store::export::CallRow;
use recording::{Absent, Recordings, Tally, is_played};

/// The heights of a row and of what is above the rows, as browsers guess them: they lay out a day when it comes into view.
const ROW_HEIGHT_PX: usize = 62;
const HEAD_HEIGHT_PX: usize = 90;
/// Time stamps of one authority that are named; the folder has all.
const STAMPS_MAX: usize = 20;
/// What the address of a file may not hold as it is.
const IN_ADDRESSES: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

const FILES: [(&str, &str); 8] = [
    ("VERIFY.txt", "how anyone can check all this, with programs of others"),
    ("data/cdr.csv", "every call, for spreadsheets"),
    ("data/cdr.jsonl", "every call with all that the PBX said about it: the list that counts"),
    ("data/files.jsonl", "every audio file, with its hashes and its proof"),
    ("data/not-exported.jsonl", "what was selected and is not here, and why"),
    ("premis/events.jsonl", "what happened to each file, in the vocabulary of PREMIS"),
    ("log/checkpoint", "the signed root of the ledger"),
    ("manifest-sha256.txt", "the SHA-256 of each file in data, for sha256sum"),
];

#[derive(Template)]
#[template(path = "export.html")]
struct Page<'a> {
    selected: String,
    selection: &'a Selection,
    copied: &'a Copied,
    recordings: Recordings<'a>,
    absent: Absent<'a>,
    checkpoint: &'a Checkpoint,
    signers: Vec<&'a VerifyingKey>,
    tokens: &'a [Token],
    now: Timestamp,
}

/// Writes the page of a bag.
pub(super) fn write(contents: &Contents<'_>, to: &mut dyn Write) -> io::Result<()> {
    let Contents { request, selection, copied, log, tokens, now } = *contents;
    let page = Page {
        selected: request.choice.in_words(),
        selection,
        copied,
        recordings: Recordings::new(selection, &copied.absent),
        absent: Absent { absent: &copied.absent, unknown: &selection.unknown },
        checkpoint: &log.checkpoint,
        signers: log.signers().collect(),
        tokens,
        now,
    };
    page.write_into(to)?;
    to.write_all(b"\n")
}

impl<'a> Page<'a> {
    fn title(&self) -> String {
        let of_calls = self.selection.calls.iter().map(|call| &*call.pbx);
        let of_recordings = self.selection.recordings.iter().map(|recording| &*recording.row.pbx);
        let pbxs: BTreeSet<&str> = of_calls.chain(of_recordings).collect();
        let pbxs = match pbxs.len() {
            0..=3 => pbxs.into_iter().collect::<Vec<_>>().join(", "),
            many => format!("{many} PBXs"),
        };
        match self.selection.days() {
            Some((from, last)) if from == last => format!("{pbxs}, {}", day_in_words(from)),
            Some((from, last)) => format!("{pbxs}, {} to {}", short_day(from), short_day(last)),
            None => pbxs,
        }
    }

    fn pem(&self, key: &VerifyingKey) -> String {
        url(format!("log/{}.pem", key.id()))
    }

    fn days(&self) -> Days<'a> {
        days_of(self.selection, &self.recordings, &self.copied.certificates)
    }

    fn calls_by_day(&self) -> impl Iterator<Item = &'a [CallRow]> {
        self.selection.calls.chunk_by(|one, other| (&one.pbx, &one.day) == (&other.pbx, &other.day))
    }

    fn has_unplayed(&self) -> bool {
        self.selection.files().any(|file| !is_played(&file.format))
    }

    fn without_call(&self, kind: &str) -> Vec<&'a Recording> {
        let recordings = self.selection.recordings.iter();
        recordings.filter(|recording| recording.call.is_none() && recording.row.kind == kind).collect()
    }

    /// By authority: the tokens that were verified, and the others.
    fn stamps(&self) -> Vec<(&'a str, Vec<&'a Token>, Vec<&'a Token>)> {
        let mut by_authority: BTreeMap<&str, Vec<&Token>> = BTreeMap::new();
        for token in self.tokens {
            by_authority.entry(&token.authority).or_default().push(token);
        }
        let parted = by_authority.into_iter().map(|(authority, all)| {
            let (verified, others) = all.into_iter().partition(|token| token.is_verified());
            (authority, verified, others)
        });
        parted.collect()
    }
}

/// What there is of the selected days, by PBX and day.
type Days<'a> = BTreeMap<(&'a str, String), Day<'a>>;

#[derive(Default)]
struct Day<'a> {
    calls: usize,
    recordings: Tally,
    /// The pages, by revision.
    certificates: BTreeMap<u64, &'a str>,
}

fn days_of<'a>(selection: &'a Selection, on_page: &Recordings<'_>, certificates: &'a [String]) -> Days<'a> {
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
    let revision = name.strip_prefix("certificate-")?.strip_suffix(".html")?.parse().ok()?;
    let (pbx, day) = folder.split_once('/')?;
    Some((pbx, day.replace('/', "-"), revision))
}

/// The id of the section with the calls of a day.
fn day_id(pbx: &str, day: &str) -> String {
    url(format!("{pbx}-{day}"))
}

/// Such as `Friday, 9 January 2026`.
fn day_in_words(day: &str) -> String {
    formatted(day, "%A, %-d %B %Y")
}

/// Such as `9 January 2026`.
fn short_day(day: &str) -> String {
    formatted(day, "%-d %B %Y")
}

fn formatted(day: &str, format: &str) -> String {
    day.parse::<Date>().map_or_else(|_| day.to_owned(), |date| date.strftime(format).to_string())
}

/// Direction and status of a call in one.
fn way(call: &CallRow) -> String {
    let way = [cell(call, "type"), cell(call, "status").to_lowercase()];
    let way: Vec<String> = way.into_iter().filter(|part| !part.is_empty()).collect();
    way.join(", ")
}

fn state_in_words(state: &str) -> &'static str {
    match state {
        "missing" => "missing on the PBX",
        "pending" => "still to be fetched",
        "stuck" => "stuck after repeated failures",
        _ => "not archived",
    }
}

/// The address of a file in the bag, relative to the page.
fn url(path: impl AsRef<str>) -> String {
    utf8_percent_encode(path.as_ref(), IN_ADDRESSES).to_string()
}
