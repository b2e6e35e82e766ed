//! The beginning of a line that cannot be read, for people: printable, and without what may be a PIN code.

use super::fields::Dialect;
use super::header::Header;
use crate::base::recording::printable;

/// Most characters of an excerpt.
const EXCERPT_CHARS: usize = 120;

const EXCERPT_FIELDS: usize = 4;

/// The beginning of a broken row, printable.
///
/// Where its columns are cannot be told, for separators are lacking or too many. So only the first fields are shown: those
/// before the first secret one even if each separator that is lacking stood before it, and half of them for good measure.
pub(super) fn excerpt(header: &Header, dialect: Dialect, bytes: &[u8]) -> String {
    let line = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let fields: Vec<&[u8]> = line.split(|byte| *byte == dialect.delimiter).collect();
    let lacking = header.len().saturating_sub(fields.len());
    let shown = match header.secret_at() {
        Some(at) => (at.saturating_sub(lacking) / 2).min(EXCERPT_FIELDS),
        None => EXCERPT_FIELDS,
    };
    if shown == 0 {
        return String::new();
    }
    let mut text = printable(&fields[..shown.min(fields.len())].join(&dialect.delimiter));
    if shown < fields.len() {
        text.push(char::from(dialect.delimiter));
        text.push('…');
    }
    if text.chars().count() > EXCERPT_CHARS {
        text = text.chars().take(EXCERPT_CHARS - 1).chain(['…']).collect();
    }
    text
}
