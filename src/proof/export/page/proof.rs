//! What is in the folder, and what proves it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{as_number, url};
use crate::proof::export::anchors::Token;
use crate::proof::export::log::Log;
use crate::proof::html::{count, escape, grouped, number};

/// Time stamps of one authority that are named; the folder has all.
const STAMPS_MAX: usize = 20;

/// What is for whom.
const FILES: [(&str, &str); 8] = [
    ("VERIFY.txt", "how anybody checks all this, with programs that are not ours"),
    ("data/cdr.csv", "every call, for spreadsheets"),
    ("data/cdr.jsonl", "every call with all that the PBX said of it: the one that counts"),
    ("data/files.jsonl", "every audio file, with its hashes and its proof"),
    ("data/not-exported.jsonl", "what was chosen and is not here, and why"),
    ("premis/events.jsonl", "what happened to each file, in the words of PREMIS"),
    ("log/checkpoint", "the signed root of the ledger"),
    ("manifest-sha256.txt", "the SHA-256 of each file in data, for sha256sum"),
];

pub(super) fn files(to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "<h2 id=\"files\">Files</h2>\n<table class=\"facts\">\n<tbody>")?;
    for (path, what) in FILES {
        writeln!(to, "<tr><th scope=\"row\"><a href=\"{path}\">{path}</a></th><td>{what}</td></tr>")?;
    }
    writeln!(to, "</tbody>\n</table>")
}

pub(super) fn ledger(log: &Log, to: &mut dyn Write) -> io::Result<()> {
    let keys = log.signers().map(|key| {
        let pem = format!("log/{}.pem", key.id());
        format!("<code>{}</code> <a href=\"{}\">public key</a>", escape(&key.to_vkey()), url(&pem))
    });
    let rows = [
        ("Ledger", escape(&log.checkpoint.origin)),
        ("Entries that are signed", number(as_number(log.checkpoint.size))),
        ("Root of its tree", format!("<code>{}</code>", grouped(&log.checkpoint.root.to_string()))),
        ("Signed by", keys.collect::<Vec<_>>().join("<br>")),
    ];
    writeln!(
        to,
        "<h2 id=\"proof\">What proves it</h2>\n<p>An entry of the ledger was written for each recording when it was archived. \
         The ledger is a tree of hashes: whoever has its root can tell whether any entry was changed. Compare the root, and \
         the key that signed it, with what you were told by another way than this export.</p>\n\
         <table class=\"facts\">\n<tbody>"
    )?;
    for (what, value) in rows {
        writeln!(to, "<tr><th scope=\"row\">{what}</th><td>{value}</td></tr>")?;
    }
    writeln!(to, "</tbody>\n</table>")
}

/// Who has stamped how much of the ledger.
pub(super) fn time_stamps(tokens: &[Token], to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "<h3 id=\"time-stamps\">Time stamps</h3>")?;
    if tokens.is_empty() {
        return writeln!(
            to,
            "<p>There are none: that the times are true is the word of whoever made this.</p>"
        );
    }
    let mut by_authority: BTreeMap<&str, Vec<&Token>> = BTreeMap::new();
    for token in tokens {
        by_authority.entry(&token.authority).or_default().push(token);
    }
    writeln!(
        to,
        "<p>Each that was verified proves that the first so many entries of the ledger existed when its authority stamped \
         them.</p>\n<table class=\"facts\">\n<tbody>"
    )?;
    for (authority, all) in by_authority {
        let (tokens, others): (Vec<&Token>, Vec<&Token>) =
            all.into_iter().partition(|token| token.is_verified());
        if let Some(latest) = others.last() {
            writeln!(
                to,
                "<tr><th scope=\"row\">{}</th><td><strong>Not verified</strong>: {} over up to {} entries ({})</td></tr>",
                escape(authority),
                count(as_number(others.len()), "time stamp"),
                number(as_number(latest.size)),
                escape(latest.unverified.as_deref().unwrap_or_default())
            )?;
        }
        if tokens.is_empty() {
            continue;
        }
        let link = |token: &&Token| {
            format!("<a href=\"{}\">{}</a>", url(&token.path()), number(as_number(token.size)))
        };
        let stamps: Vec<String> = tokens.iter().take(STAMPS_MAX).map(link).collect();
        write!(
            to,
            "<tr><th scope=\"row\">{}</th><td>over the first {}",
            escape(authority),
            stamps.join("; ")
        )?;
        match tokens.len().saturating_sub(STAMPS_MAX) {
            0 => write!(to, " entries")?,
            more => write!(to, "; and {} more", number(as_number(more)))?,
        }
        if let Some(token) = tokens.first() {
            write!(to, " (<a href=\"{}\">its certificates</a>)", url(&token.certificates()))?;
        }
        writeln!(to, "</td></tr>")?;
    }
    writeln!(to, "</tbody>\n</table>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tokens: &[Token]) -> String {
        let mut page = Vec::new();
        time_stamps(tokens, &mut page).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn time_stamps_are_told_by_authority() {
        let token = |size: u64, authority: &str, unverified: Option<&str>| Token {
            size,
            authority: authority.to_owned(),
            at: jiff::Timestamp::UNIX_EPOCH,
            unverified: unverified.map(str::to_owned),
        };
        let page = told(&[
            token(5, "a", None),
            token(1200, "a", None),
            token(7, "b", None),
            token(8, "b", Some("no <signer>")),
            token(9, "c", Some("no certificates")),
        ]);
        for words in [
            "<th scope=\"row\">a</th><td>over the first <a href=\"anchor/5.a.tsr\">5</a>; \
             <a href=\"anchor/1200.a.tsr\">1,200</a> entries (<a href=\"anchor/a.ca.pem\">its certificates</a>)</td>",
            "b</th><td><strong>Not verified</strong>: 1 time stamp over up to 8 entries (no &lt;signer&gt;)</td>",
            "c</th><td><strong>Not verified</strong>: 1 time stamp over up to 9 entries (no certificates)</td>",
            "<a href=\"anchor/7.b.tsr\">7</a> entries (<a href=\"anchor/b.ca.pem\">its certificates</a>)",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
        let many: Vec<Token> = (1..=25).map(|size| token(size, "a", None)).collect();
        assert!(told(&many).contains("20</a>; and 5 more ("));
        assert!(told(&[]).contains("There are none"));
    }
}
