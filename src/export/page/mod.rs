//! `index.html`: to read and listen, offline. One file, no script, nothing from elsewhere; it is written as it goes, for
//! there may be many calls.

mod absent;
mod calls;

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{AGENT, Contents};
use crate::html::{count, escape, number};

const STYLE: &str = include_str!("style.css");

/// Where pages of certificates end.
const PAGE: &str = ".html";

/// Writes the page of a bag.
pub(super) fn write(contents: &Contents<'_>, to: &mut dyn Write) -> io::Result<()> {
    // `file:` is what a page on a stick is loaded from: `'self'` is not that in every browser.
    write!(
        to,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         media-src 'self' file:\">\n\
         <title>Call recordings: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&contents.request.choice.in_words())
    )?;
    head(contents, to)?;
    absent::write(contents, to)?;
    let damaged = contents.copied.absent.iter().filter(|absence| absence.is_damage());
    calls::write(contents.selection, &damaged.map(|absence| &*absence.path).collect(), to)?;
    certificates(&contents.copied.certificates, to)?;
    proof(contents, to)?;
    let at = contents.now.strftime("%F %T UTC");
    write!(to, "<footer>Written by {AGENT} at {at}.</footer>\n</main>\n</body>\n</html>\n")
}

fn head(contents: &Contents<'_>, to: &mut dyn Write) -> io::Result<()> {
    let Contents { request, selection, copied, .. } = contents;
    let days = match selection.days() {
        Some((from, last)) if from == last => format!(" of {from}"),
        Some((from, last)) => format!(" of {from} to {last}"),
        None => String::new(),
    };
    let calls = count(as_number(selection.calls.len() as u64), "call");
    let files = count(as_number(copied.files), "audio file");
    writeln!(
        to,
        "<header>\n<p class=\"kind\">Export of call recordings</p>\n<h1>{calls} and {files}{days}</h1>\n\
         <p class=\"lead\">Chosen were {}.</p>\n\
         <p>Each file is as it was archived, and everything here can be checked without the program that made it: \
         <a href=\"VERIFY.txt\">how to check this</a>. The same as lists: \
         <a href=\"data/cdr.csv\">calls for spreadsheets</a>, <a href=\"data/cdr.jsonl\">calls in full</a>, \
         <a href=\"data/files.jsonl\">files and their proofs</a>, \
         <a href=\"data/not-exported.jsonl\">what is not here</a>, \
         <a href=\"premis/events.jsonl\">what happened to each file</a>.</p>\n</header>",
        escape(&request.choice.in_words())
    )
}

/// The pages of the certificates, by PBX and day.
fn certificates(paths: &[String], to: &mut dyn Write) -> io::Result<()> {
    let mut days: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in paths.iter().filter(|path| path.ends_with(PAGE)) {
        if let Some((folder, name)) = path.rsplit_once('/') {
            days.entry(folder.trim_start_matches("data/")).or_default().push(name);
        }
    }
    writeln!(to, "<h2>Certificates of completeness</h2>")?;
    if days.is_empty() {
        return writeln!(to, "<p>There are none: none of these days has settled yet.</p>");
    }
    writeln!(
        to,
        "<p>What each PBX listed of a day, and what became of it, signed. The highest number is the latest.</p>\n<ul>"
    )?;
    for (folder, names) in days {
        write!(to, "<li>{}:", escape(folder))?;
        for name in names {
            let path = format!("data/{folder}/{name}");
            write!(to, " <a href=\"{}\">{}</a>", url(&path), escape(name.trim_end_matches(PAGE)))?;
        }
        writeln!(to, "</li>")?;
    }
    writeln!(to, "</ul>")
}

fn proof(contents: &Contents<'_>, to: &mut dyn Write) -> io::Result<()> {
    let Contents { log, tokens, .. } = contents;
    let signers: Vec<String> = log.signers().map(|key| escape(&key.to_vkey())).collect();
    writeln!(
        to,
        "<h2>What proves it</h2>\n<table class=\"facts\">\n\
         <tr><td>Ledger</td><td>{}</td></tr>\n\
         <tr><td>Entries that are signed</td><td>{}</td></tr>\n\
         <tr><td>Root of its tree (SHA-256)</td><td><code>{}</code></td></tr>\n\
         <tr><td>Signed by</td><td><code>{}</code></td></tr>",
        escape(&log.checkpoint.origin),
        number(as_number(log.checkpoint.size)),
        log.checkpoint.root,
        signers.join("</code><br><code>")
    )?;
    let mut stamped: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for token in *tokens {
        stamped.entry(&token.authority).or_default().push(token.size);
    }
    for (authority, sizes) in &stamped {
        let sizes: Vec<String> = sizes.iter().map(|size| number(as_number(*size))).collect();
        let (authority, sizes) = (escape(authority), sizes.join("; "));
        writeln!(to, "<tr><td>Time stamps of {authority}</td><td>over the first {sizes} entries</td></tr>")?;
    }
    if stamped.is_empty() {
        writeln!(to, "<tr><td>Time stamps</td><td>none</td></tr>")?;
    }
    writeln!(to, "</table>")
}

/// A path in the bag as an address relative to the page.
fn url(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(byte))
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

fn as_number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_its_file_whatever_its_name() {
        assert_eq!(url("data/hq/a,20(b)~0f.wav"), "data/hq/a%2C20%28b%29~0f.wav");
        assert_eq!(url("data/\"><\u{e9}"), "data/%22%3E%3C%C3%A9");
    }

    #[test]
    fn certificates_are_told_by_pbx_and_day() {
        let paths =
            ["json", "html", "json.sig"].map(|suffix| format!("data/hq/2026/01/09/certificate-2.{suffix}"));
        let mut page = Vec::new();
        certificates(&paths, &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        let link =
            "<li>hq/2026/01/09: <a href=\"data/hq/2026/01/09/certificate-2.html\">certificate-2</a></li>";
        assert!(page.contains(link), "{page}");
    }
}
