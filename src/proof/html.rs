//! Small pieces of HTML.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::base::recording::printable;

/// Text from anywhere, safe within HTML.
pub fn escape(text: &str) -> String {
    let text = printable(text.as_bytes());
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A time as people read it; a dash for none.
pub fn time(at: Option<Timestamp>) -> String {
    at.map_or("\u{2013}".to_owned(), |at| at.strftime("%F %H:%M:%S UTC").to_string())
}

/// A number with its thousands apart.
pub fn number(value: i64) -> String {
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

/// So many of something, in the right number.
pub fn count(value: i64, noun: &str) -> String {
    format!("{} {noun}{}", number(value), if value == 1 { "" } else { "s" })
}

/// Hex in groups that an eye can compare.
pub fn grouped(hex: &str) -> String {
    let groups: Vec<&str> =
        hex.as_bytes().chunks(4).filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(" ")
}

/// A table of facts: what, and how it is. The values are HTML already.
pub fn facts(page: &mut String, rows: &[(&str, String)]) -> std::fmt::Result {
    page.push_str("<table class=\"facts\">\n");
    for (what, value) in rows {
        writeln!(page, "<tr><td>{what}</td><td>{value}</td></tr>")?;
    }
    page.push_str("</table>\n");
    Ok(())
}

/// What a list does not tell: how many more there are.
pub fn left_out(page: &mut String, count: i64, told: usize, where_else: &str) -> std::fmt::Result {
    match count - i64::try_from(told).unwrap_or(count) {
        ..=0 => Ok(()),
        more => writeln!(page, "<p class=\"note\">… and {} more: see {where_else}.</p>", number(more)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        assert_eq!(escape("<b onclick='x'>&\"\u{202e}"), "&lt;b onclick=&#39;x&#39;&gt;&amp;&quot;\\u{202e}");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(grouped("aabbccddee"), "aabb ccdd ee");
    }
}
