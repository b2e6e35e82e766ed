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

/// A count of any integer type, by value or by reference as templates pass it.
pub trait Count: Copy {
    fn to_i64(self) -> i64;
}

impl Count for i64 {
    fn to_i64(self) -> i64 {
        self
    }
}

impl Count for u64 {
    fn to_i64(self) -> i64 {
        i64::try_from(self).unwrap_or(i64::MAX)
    }
}

impl Count for usize {
    fn to_i64(self) -> i64 {
        i64::try_from(self).unwrap_or(i64::MAX)
    }
}

impl<T: Count> Count for &T {
    fn to_i64(self) -> i64 {
        (*self).to_i64()
    }
}

/// The time to the second; a dash for none.
pub fn time(at: impl Into<Option<Timestamp>>) -> String {
    at.into().map_or("\u{2013}".to_owned(), |at| at.strftime("%F %H:%M:%S UTC").to_string())
}

/// The number with thousands separators.
pub fn number(value: impl Count) -> String {
    let value = value.to_i64();
    let digits = value.unsigned_abs().to_string();
    let mut text = if value < 0 { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The number with its noun, singular or plural.
pub fn count(value: impl Count, noun: &str) -> String {
    format!("{} {noun}{}", number(value), if value.to_i64() == 1 { "" } else { "s" })
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
