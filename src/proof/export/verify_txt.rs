//! `VERIFY.txt`: how anyone checks the bag, with programs of others. Each indented line is a command, to be run in the bag's
//! folder in the order of the page; the tests run them so.

use askama::Template;

use super::log::{Log, Scope, Token};
use super::{AGENT, Contents};
use crate::base::digest::Digest;
use crate::base::recording::printable;

// The Python programs of others, in the versions that each change of callvault is checked against: `scripts/check` reads
// them here.
const AICS_TLOG: &str = "0.2.1";
const BAGIT: &str = "1.9.0";

#[derive(Template)]
#[template(path = "verify.txt", whitespace = "preserve")]
struct VerifyTxt<'a> {
    contents: &'a Contents<'a>,
    log: &'a Log,
    verified: Vec<&'a Token>,
    unverified: Vec<&'a Token>,
}

pub(super) fn of(contents: &Contents<'_>) -> String {
    let (verified, unverified) = contents.tokens.iter().partition(|token| token.is_verified());
    let text = VerifyTxt { contents, log: contents.log, verified, unverified };
    text.render().expect("writing to a String cannot fail") + "\n"
}

fn reason(token: &Token) -> String {
    printable(token.unverified.as_deref().unwrap_or_default().as_bytes())
}

/// A text as one shell word, whatever it contains: the name of a ledger may contain quotes.
fn quoted(text: impl AsRef<str>) -> String {
    format!("'{}'", text.as_ref().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_ledger_is_called_a_shell_takes_its_key_as_one_word() {
        for text in
            ["callvault/0123+5f+AA==", "it's", "''", "a'$(touch x)'`touch y`\"\\;&|#", "'; touch z; '"]
        {
            let folder = tempfile::tempdir().unwrap();
            let script = format!("key={}\nprintf %s \"$key\"", quoted(text));
            let said =
                std::process::Command::new("sh").args(["-c", &script]).current_dir(&folder).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&said.stdout), text, "{said:?}");
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{text}");
        }
    }
}
