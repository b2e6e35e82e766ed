//! Lines that can be erased one by one: each has a salt of its own, and all of them come to one root.
//!
//! A call list (`callvault-calls/2`) and the names of a certificate (`callvault-names/1`) hold what names people. The
//! ledger and the certificate hold only the root over their lines. A line that is erased by order leaves its hash behind, so
//! the file without it still comes to the same root; and the hash tells nothing, for the salt went with the line. See
//! `docs/archive-format.md`.

use serde::Serialize;

use crate::base::digest::Digest;
use crate::base::salt::Salt;
use crate::formats::tlog::{leaf_hash, tree_hash};

/// What a line looks like that was erased: this, its hash in hex, and [`ERASED_END`].
const ERASED_BEGIN: &str = r#"{"type":"erased","leaf":""#;
const ERASED_END: &str = r#""}"#;

/// A line and its salt.
#[derive(Serialize)]
struct Salted<'a, T> {
    #[serde(flatten)]
    line: &'a T,
    line_salt: Salt,
}

/// A line of JSON with a salt of its own, so that its hash tells nothing to those who lack the line.
///
/// It differs from call to call. Whoever must come to the same bytes again keeps them.
pub fn line(content: &impl Serialize) -> String {
    let salted = Salted { line: content, line_salt: Salt::random() };
    serde_json::to_string(&salted).expect("text, numbers and parsed JSON always serialise")
}

/// What the lines of a file come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    /// How many there are, the erased ones too.
    pub count: u64,
    /// How many of them were erased.
    pub erased: u64,
    /// The root of the Merkle tree (RFC 6962) over their hashes, in the order of the file.
    pub root: Digest,
}

impl Lines {
    /// Of these lines. The first line of a file, which names its format, is none of them.
    pub fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut erased = 0;
        let leaves: Vec<Digest> = lines
            .map(|line| match erased_leaf(line) {
                Some(leaf) => {
                    erased += 1;
                    leaf
                }
                None => leaf_hash(line.as_bytes()),
            })
            .collect();
        Self { count: leaves.len() as u64, erased, root: tree_hash(&leaves) }
    }

    /// Of all lines of `text` after the first.
    pub fn after_head(text: &str) -> Self {
        Self::of(text.lines().skip(1))
    }
}

/// The hash of the line that stood in the place of this one, if it was erased.
pub fn erased_leaf(line: &str) -> Option<Digest> {
    line.strip_prefix(ERASED_BEGIN)?.strip_suffix(ERASED_END)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Told<'a> {
        r#type: &'a str,
        row: Box<serde_json::value::RawValue>,
    }

    fn told() -> String {
        let row = serde_json::value::RawValue::from_string(r#"{"b":1,  "a":"x"}"#.to_owned()).unwrap();
        line(&Told { r#type: "call", row })
    }

    #[test]
    fn two_lines_of_one_content_have_nothing_in_common_but_that() {
        let lines = [told(), told()];
        assert_ne!(lines[0], lines[1]);
        for line in &lines {
            assert!(line.starts_with(r#"{"type":"call","row":{"b":1,  "a":"x"},"line_salt":""#), "{line}");
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["line_salt"].as_str().unwrap().len(), 64);
        }
    }

    #[test]
    fn a_file_without_some_lines_comes_to_the_same_root_and_a_changed_one_does_not() {
        for count in 0..9 {
            let lines: Vec<String> = (0..count).map(|_| told()).collect();
            let whole = Lines::of(lines.iter().map(String::as_str));
            assert_eq!((whole.count, whole.erased), (count, 0));
            for gone in 0..lines.len() {
                let leaf = leaf_hash(lines[gone].as_bytes());
                let mut edition = lines.clone();
                edition[gone] = format!("{ERASED_BEGIN}{leaf}{ERASED_END}");
                let of_edition = Lines::of(edition.iter().map(String::as_str));
                assert_eq!(of_edition, Lines { erased: 1, ..whole });
                let mut changed = lines.clone();
                changed[gone].push(' ');
                assert_ne!(Lines::of(changed.iter().map(String::as_str)).root, whole.root);
                changed.remove(gone);
                assert_ne!(Lines::of(changed.iter().map(String::as_str)).root, whole.root);
            }
            let text: String = std::iter::once("head")
                .chain(lines.iter().map(String::as_str))
                .map(|line| format!("{line}\n"))
                .collect();
            assert_eq!(Lines::after_head(&text), whole);
        }
    }
}
