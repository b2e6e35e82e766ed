//! What the pages share: the escaping of text from outside, and the form of times and numbers.

use std::fmt;

use askama::filters::{Escaper, Html};
use jiff::Timestamp;

use crate::base::recording::printable;

/// The escaper of all pages: control and bidirectional characters become visible escapes, then HTML is escaped.
#[derive(Debug, Clone, Copy)]
pub struct Printable;

impl Escaper for Printable {
    fn write_escaped_str<W: fmt::Write>(&self, to: W, text: &str) -> fmt::Result {
        Html.write_escaped_str(to, &printable(text.as_bytes()))
    }
}

/// The time to the second; a dash for none.
pub fn time(at: impl Into<Option<Timestamp>>) -> String {
    at.into().map_or("\u{2013}".to_owned(), |at| at.strftime("%F %H:%M:%S UTC").to_string())
}

/// The number with thousands separators.
pub fn number(value: impl ToString) -> String {
    let text = value.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", &*text), |digits| ("-", digits));
    let mut grouped = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

pub fn count(value: impl ToString, noun: &str) -> String {
    let number = number(value);
    format!("{number} {noun}{}", if number == "1" { "" } else { "s" })
}

/// Hex in groups that are easy to compare by eye.
pub fn grouped(hex: impl fmt::Display) -> String {
    let hex = hex.to_string();
    let groups = hex.as_bytes().chunks(4).map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let mut escaped = String::new();
        Printable.write_escaped_str(&mut escaped, "<b onclick='x'>&\"\u{202e}").unwrap();
        assert_eq!(escaped, "&#60;b onclick=&#39;x&#39;&#62;&#38;&#34;\\u{202e}");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0_i64, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(grouped("aabbccddee"), "aabb ccdd ee");
    }
}
