//! What a web page says that came in place of a reply: its title, so that a login page, a proxy's error or a captive
//! portal can be told apart.

use secrecy::{ExposeSecret as _, SecretString};

use crate::base::recording::printable;

/// How far into a page its title is looked for, in bytes.
pub(super) const PAGE_BYTES_MAX: u64 = 64 << 10;
/// The most characters of a title that are shown.
const TITLE_MAX: usize = 60;
/// From this length on a word with a digit in it may be a token or a ticket.
const SECRET_WORD_MIN: usize = 12;

/// What must not be shown, whoever says it.
pub(super) struct Secrets(pub(super) Vec<SecretString>);

impl Secrets {
    fn are_in(&self, text: &str) -> bool {
        self.0
            .iter()
            .map(|secret| secret.expose_secret())
            .any(|secret| !secret.is_empty() && text.contains(secret))
    }
}

/// A page in words: `a web page (“Login”)`, or without a title `a web page`; XML by its name.
pub(super) fn describe(bytes: &[u8], secrets: &Secrets) -> String {
    if is_xml(bytes) {
        return "XML".to_owned();
    }
    match title(bytes, secrets) {
        Some(title) => format!("a web page (\"{title}\")"),
        None => "a web page".to_owned(),
    }
}

fn is_xml(bytes: &[u8]) -> bool {
    let start = bytes[..bytes.len().min(512)].to_ascii_lowercase();
    let has = |word: &[u8]| start.windows(word.len()).any(|window| window == word);
    has(b"<?xml") && !has(b"html")
}

fn title(bytes: &[u8], secrets: &Secrets) -> Option<String> {
    let page = &bytes[..bytes.len().min(PAGE_BYTES_MAX as usize)];
    let lower = page.to_ascii_lowercase();
    let find = |from: usize, word: &[u8]| {
        Some(from + lower.get(from..)?.windows(word.len()).position(|window| window == word)?)
    };
    let opened = find(0, b"<title")?;
    let from = find(opened, b">")? + 1;
    let to = find(from, b"<")?;
    let text = String::from_utf8_lossy(&page[from..to]);
    if secrets.are_in(&text) {
        return None;
    }
    let words: Vec<&str> =
        text.split_whitespace().map(|word| if may_be_secret(word) { "…" } else { word }).collect();
    let shown: String = printable(words.join(" ").as_bytes()).chars().take(TITLE_MAX).collect();
    (!shown.is_empty()).then_some(shown)
}

fn may_be_secret(word: &str) -> bool {
    word.len() >= SECRET_WORD_MIN && word.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_by_its_title_without_what_may_be_secret() {
        let secrets = Secrets(vec!["Passw0rd".to_owned().into(), String::new().into()]);
        for (page, told) in [
            ("<html><head><TITLE>\n Hotspot  login </title>", "a web page (\"Hotspot login\")"),
            ("<html><title lang=\"en\">504 Gateway Timeout</title>", "a web page (\"504 Gateway Timeout\")"),
            ("<title>token 70c37070c37070c37070c370 here</title>", "a web page (\"token … here\")"),
            ("<title>my Passw0rd</title>", "a web page"),
            ("<title></title>", "a web page"),
            ("<title>never closed", "a web page"),
            ("<html><body>no title", "a web page"),
            ("<?xml version=\"1.0\"?><reply/>", "XML"),
            ("<?xml version=\"1.0\"?><html><title>Page</title>", "a web page (\"Page\")"),
        ] {
            assert_eq!(describe(page.as_bytes(), &secrets), told, "{page}");
        }
        let long = format!("<title>{}\x1b[31m</title>", "word ".repeat(50));
        let told = describe(long.as_bytes(), &secrets);
        assert!(told.chars().count() < 80 && !told.contains('\x1b'), "{told}");
    }
}
