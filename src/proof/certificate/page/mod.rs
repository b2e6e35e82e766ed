//! The certificate as a page that a person can read and print: one file, no script, nothing from elsewhere.
//!
//! The page names people, so it is a companion: not signed itself, its hash is in the ledger's entry of the day. A salt in
//! its head keeps that hash from confirming a guess once the page is gone.

mod checking;
mod evidence;
mod parts;
mod verdict;

use std::fmt::Write as _;

use super::document::Document;
use super::names::Names;
use crate::base::digest::hex;
use crate::base::salt::Salt;
use crate::formats::tlog::VerifyingKey;
use crate::proof::html::{self, escape};

const STYLE: &str = include_str!("style.css");

/// Writes the page of `document`, whose bytes are `text` and whose names are `named`. It differs from call to call.
pub(super) fn of(
    document: &Document<'_>,
    text: &str,
    names: Names,
    key: &VerifyingKey,
    named: &str,
) -> String {
    let mut page = String::with_capacity(STYLE.len() + 8192);
    write(&mut page, document, text, names, key, named).expect("writing to a String cannot fail");
    page
}

fn write(
    page: &mut String,
    document: &Document<'_>,
    text: &str,
    names: Names,
    key: &VerifyingKey,
    named: &str,
) -> std::fmt::Result {
    let account = document.account;
    let (pbx, day) = (escape(document.pbx.id), account.day);
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"callvault-salt\" content=\"{}\">\n\
         <title>{pbx}, {day}: certificate of completeness</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        hex(Salt::random().as_bytes())
    )?;
    parts::head(page, document)?;
    verdict::verdict(page, account)?;
    verdict::sum(page, account)?;
    parts::unarchived(page, account)?;
    evidence::evidence(page, account)?;
    parts::differences(page, account)?;
    parts::calls(page, account)?;
    parts::oddities(page, account)?;
    parts::counting(page, document)?;
    checking::how(page, document, text, names, key)?;
    checking::names(page, document, names, named)?;
    write!(
        page,
        "<div class=\"sign\"><div>Read by</div><div>Signature</div><div>Date</div></div>\n\
         <footer>Written by {} {} at {}.</footer>\n</main>\n</body>\n</html>\n",
        document.program.name,
        document.program.version,
        html::time(Some(document.counted_at))
    )
}
