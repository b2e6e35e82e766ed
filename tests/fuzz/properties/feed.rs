//! What readers of the feed ask: questions, paths and tokens that are whole, or refused in words.

use std::path::{Component, Path};
use std::time::Duration;

use callvault::base::digest::Digest;
use callvault::config::FeedReaderConfig;
use callvault::http::feed::{PAGE_ENTRIES_MAX, Readers, line, next_after};
use callvault::http::web::{Question, is_published};
use callvault::store::ledger::Numbered;
use secrecy::SecretString;
use serde_json::value::RawValue;

use super::assert_words;

const TOKEN: &str = "0123456789abcdef01234567";

pub(crate) fn hold(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    ask(&text);
    look_for(&text);
    show(&text);
    line_of(&text);
}

fn ask(query: &str) {
    match Question::parse(query) {
        Ok(question @ Question { after, limit, wait }) => {
            assert!(
                (1..=PAGE_ENTRIES_MAX).contains(&limit) && wait <= Duration::from_secs(25),
                "{question:?}"
            );
            assert!(next_after(after) >= after.unwrap_or(0));
            let after = after.map_or(String::new(), |after| format!("after={after}&"));
            let again = format!("{after}limit={limit}&wait_s={}", wait.as_secs());
            assert_eq!(Question::parse(&again), Ok(question), "{again}");
        }
        Err(sentence) => {
            assert_words(&sentence);
            assert!(sentence.ends_with('.'), "{sentence}");
        }
    }
}

/// No path that is looked for leads out of the ledger's folder, into a hidden one or to what was moved aside.
fn look_for(path: &str) {
    if is_published(path) {
        let is_plain = |part: Component<'_>| match part {
            Component::Normal(name) => {
                name.to_str().is_some_and(|name| !name.starts_with('.') && !name.contains('~'))
            }
            _ => false,
        };
        assert!(Path::new(path).components().all(is_plain), "{path}");
        assert!(!path.contains(['\0', '\\', '%', '\n']) && !path.ends_with('/'), "{path:?}");
    }
}

/// Only who shows a whole token is somebody.
fn show(authorization: &str) {
    let reader = FeedReaderConfig::new("audit", SecretString::from(TOKEN));
    if let Some(reader) = Readers::new(&[reader]).who(authorization) {
        assert_eq!(reader.name, "audit");
        assert!(authorization.trim_end().ends_with(TOKEN) && authorization.contains(' '), "{authorization}");
    }
}

/// An entry goes out as it is, byte for byte, and on one line.
fn line_of(entry: &str) {
    let numbered = Numbered { number: 7, leaf_hash: Digest::of(entry), entry: entry.to_owned() };
    if let Ok(line) = line(&numbered) {
        #[derive(Debug)]
        struct Line<'a>(&'a RawValue);
        let members: std::collections::BTreeMap<&str, &RawValue> =
            serde_json::from_str(&line).expect("a line is an object");
        let sent = Line(members["entry"]);
        assert_eq!(sent.0.get(), entry.trim_matches([' ', '\t', '\r', '\n']), "{sent:?}");
        assert_eq!(members["number"].get(), "7");
        assert!(line.contains('\n') == sent.0.get().contains('\n'), "{line:?}");
    }
}
