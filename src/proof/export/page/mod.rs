//! `index.html`: to read and listen, offline. One file, no script, nothing from elsewhere; it is written as it goes, for
//! there may be many calls.

mod absent;
mod calls;
mod days;
mod proof;
mod recording;

use std::collections::BTreeSet;
use std::io::{self, Write};

use indicatif::HumanBytes;

use super::cdr::Absence;
use super::{AGENT, Contents, Selection};
use crate::proof::html::{count, escape, number};
use days::Days;
use recording::{Shelf, Tally};

const STYLE: &str = include_str!("style.css");

/// Writes the page of a bag.
pub(super) fn write(contents: &Contents<'_>, to: &mut dyn Write) -> io::Result<()> {
    let Contents { selection, copied, log, tokens, .. } = contents;
    let shelf = Shelf::new(selection, &copied.absent);
    begin(&contents.request.choice.in_words(), to)?;
    head(contents, &shelf, to)?;
    absent::write(&copied.absent, &selection.unknown, to)?;
    Days::of(selection, &shelf, &copied.certificates).write(to)?;
    calls::write(selection, &shelf, to)?;
    proof::files(to)?;
    proof::ledger(log, to)?;
    proof::time_stamps(tokens, to)?;
    end(&contents.now.strftime("%F %T UTC").to_string(), to)
}

fn begin(chosen: &str, to: &mut dyn Write) -> io::Result<()> {
    // `file:` is what a page on a stick is loaded from: `'self'` is not that in every browser.
    write!(
        to,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         media-src 'self' file:; base-uri 'none'; form-action 'none'\">\n\
         <title>Call recordings: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(chosen)
    )
}

/// What this is, and how much of what was chosen is here.
fn head(contents: &Contents<'_>, shelf: &Shelf<'_>, to: &mut dyn Write) -> io::Result<()> {
    let Contents { request, selection, copied, log, .. } = contents;
    let files = count(as_number(copied.files), "audio file");
    let verb = if copied.files == 1 { "is" } else { "are" };
    writeln!(
        to,
        "<header>\n<p class=\"kind\">Export of call recordings</p>\n<h1>{}{}</h1>\n\
         <p class=\"lead\">Chosen: {}. These are {} and {} from the archive whose ledger is <b>{}</b>. {files} ({}) \
         {verb} here as archived.</p>",
        escape(&pbxs(selection)),
        days(selection),
        escape(&request.choice.in_words()),
        count(as_number(selection.calls.len()), "call"),
        count(as_number(selection.recordings.len()), "recording"),
        escape(&log.checkpoint.origin),
        HumanBytes(copied.bytes)
    )?;
    verdict(&shelf.tally(&selection.recordings), &copied.absent, &selection.unknown, to)?;
    writeln!(
        to,
        "<p>Everything here can be checked without the program that made it: \
         <a href=\"VERIFY.txt\">how to check this export</a>.</p>\n</header>"
    )
}

/// The PBXs of what was chosen.
fn pbxs(selection: &Selection) -> String {
    let of_calls = selection.calls.iter().map(|call| &*call.pbx);
    let of_recordings = selection.recordings.iter().map(|recording| &*recording.row.pbx);
    let pbxs: BTreeSet<&str> = of_calls.chain(of_recordings).collect();
    match pbxs.len() {
        0..=3 => pbxs.into_iter().collect::<Vec<_>>().join(", "),
        many => format!("{many} PBXs"),
    }
}

fn days(selection: &Selection) -> String {
    match selection.days() {
        Some((from, last)) if from == last => format!(", {}", days::in_words(from)),
        Some((from, last)) => format!(", {} to {}", days::short(from), days::short(last)),
        None => String::new(),
    }
}

/// Whether all of it is here, and the sum of it.
fn verdict(tally: &Tally, absent: &[Absence], unknown: &[String], to: &mut dyn Write) -> io::Result<()> {
    let is_whole = absent.is_empty() && unknown.is_empty();
    let (class, words) = match (is_whole, absent.iter().any(Absence::is_damage)) {
        (true, _) => ("good", "Everything that was chosen is here."),
        (false, false) => ("fair", "Not everything that was chosen is here: what is not, and why, follows."),
        (false, _) => (
            "bad",
            "Not everything that was chosen is here as it was archived: what is not, and why, follows.",
        ),
    };
    writeln!(to, "<p class=\"verdict {class}\">{words}</p>\n<div class=\"sum\">")?;
    writeln!(to, "<div><b>{}</b><span>recordings chosen</span></div>", number(as_number(tally.sum())))?;
    for (sign, value, what) in [
        ("=", tally.here, "here"),
        ("+", tally.unarchived, "not archived"),
        ("+", tally.excluded, "kept out by a rule"),
        ("+", tally.damaged, "damaged or gone"),
    ] {
        let class = if value == 0 { " class=\"none\"" } else { "" };
        writeln!(
            to,
            "<i>{sign}</i><div{class}><b>{}</b><span>{what}</span></div>",
            number(as_number(value))
        )?;
    }
    writeln!(to, "</div>")
}

fn end(at: &str, to: &mut dyn Write) -> io::Result<()> {
    write!(to, "<footer>Written by {AGENT} at {at}.</footer>\n</main>\n</body>\n</html>\n")
}

/// A path in the bag as an address relative to the page.
fn url(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

fn as_number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests {
    use super::samples::{absence, call, file, recording, unbalanced};
    use super::*;

    #[test]
    fn an_address_is_of_its_file_whatever_its_name() {
        assert_eq!(url("data/hq/a,20(b)~0f.wav"), "data/hq/a%2C20%28b%29~0f.wav");
        assert_eq!(url("data/\"><\u{e9}?#"), "data/%22%3E%3C%C3%A9%3F%23");
    }

    #[test]
    fn every_element_is_closed_whatever_the_names() -> io::Result<()> {
        let hostile = "</td></table><img src=x onerror=alert(1)>\u{202e}&\"'";
        let row =
            serde_json::json!({"callfrom": hostile, "callto": hostile, "type": hostile, "status": hostile});
        let [mut message, mut excluded] = [("m.wav", "voicemail"), ("e.wav", "call")].map(|(name, kind)| {
            let mut recording = recording(2, name);
            recording.row.kind = kind.to_owned();
            recording.row.caller = Some(hostile.to_owned());
            recording.row.name = [hostile.as_bytes(), b"\xff"].concat();
            recording
        });
        message.files.push(file("a.wav"));
        message.files[0].suspect = hostile.to_owned();
        excluded.files.clear();
        excluded.row.reason = Some(hostile.to_owned());
        let calls = vec![call(1, Some(1), &row.to_string()), call(2, Some(2), "{}"), call(3, None, "{}")];
        let recordings = vec![recording(1, "a.wav"), message, excluded];
        let selection =
            Selection { calls, recordings, unknown: vec![hostile.to_owned()], ..Selection::default() };
        let states = ["gone", "damaged", "missing", "excluded"];
        let absent = states.map(|state| absence(state, hostile, Some(hostile)));
        let shelf = Shelf::new(&selection, &absent);
        let mut page = Vec::new();
        let to = &mut page;
        begin(hostile, to)?;
        verdict(&shelf.tally(&selection.recordings), &absent, &selection.unknown, to)?;
        absent::write(&absent, &selection.unknown, to)?;
        Days::of(&selection, &shelf, &[]).write(to)?;
        calls::write(&selection, &shelf, to)?;
        proof::files(to)?;
        proof::time_stamps(&[], to)?;
        end("now", to)?;
        let page = String::from_utf8(page).unwrap();
        assert_eq!(unbalanced(&page), None);
        assert!(!page.contains("<img") && !page.contains('\u{202e}'), "{page}");
        assert!(
            !page.contains("<script") && !page.contains("://"),
            "nothing runs, nothing comes from elsewhere"
        );
        Ok(())
    }

    #[test]
    fn whether_all_is_here_is_told_in_words_and_numbers() {
        let tally = Tally { here: 3, damaged: 1, excluded: 2, unarchived: 4 };
        let told = |absent: &[Absence], unknown: &[String]| {
            let mut page = Vec::new();
            verdict(&tally, absent, unknown, &mut page).unwrap();
            String::from_utf8(page).unwrap()
        };
        let owed = [absence("missing", "missing", None)];
        let gone =
            [absence("missing", "missing", None), absence("gone", "it was archived and is gone", None)];
        let whole = told(&[], &[]);
        assert!(whole.contains("verdict good\">Everything that was chosen is here."), "{whole}");
        assert!(
            whole.contains("<b>10</b><span>recordings chosen")
                && whole.contains("<b>4</b><span>not archived")
        );
        assert!(told(&owed, &[]).contains("verdict fair\">Not everything that was chosen is here:"));
        assert!(told(&[], &["nobody.wav".to_owned()]).contains("verdict fair"));
        assert!(
            told(&gone, &[])
                .contains("verdict bad\">Not everything that was chosen is here as it was archived:")
        );
    }
}
