//! One decoder for all JSON that a PBX sends: strict JSON as it is, and what devices make of JSON where its meaning is
//! clear.
//!
//! Firmware prints JSON from templates and cannot be changed. These are read: a comma after the last member, a missing
//! comma between two objects of a list, NUL bytes and comments behind the value, a byte order mark, control characters
//! and line ends within strings, backslashes that escape nothing, bytes that are not UTF-8 (replaced by U+FFFD), numbers
//! with leading zeros (kept digit by digit, as text), `True`, `None` and single quotes.
//!
//! Nothing is guessed. A quote within a string that is not escaped leaves open where the string ends, so what holds it
//! is unreadable: the whole reply with [`decode`], the one entry with [`decode_list`]. Only a string that imitates the
//! JSON around it to the letter is taken for that JSON, as every reader would.
//!
//! Sources: the document of a compatible device prints a comma after the last member and Yeastar's sample of a voicemail
//! list lacks commas between messages (`docs/pbx-api.md` §12, §9); C programs send the NUL that ends their strings.

mod mend;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::base::digest::Digest;
use mend::Mender;

/// The most values in a reply that is no list, counted by the separators before them.
const VALUES_MAX: usize = 20_000;
/// The same in a list: 50,000 voicemail messages of eight values. Each value takes a hundred bytes and more.
const LIST_VALUES_MAX: usize = 400_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("it is not JSON")]
    NotJson,
    #[error("it breaks off")]
    Cut,
    /// It is broken at this byte, counted from 0 in what arrived, bytes that are not UTF-8 counted as three.
    #[error("it is broken at byte {0}")]
    Damaged(usize),
    /// It has more values, or lies deeper, than any reply of a PBX.
    #[error("it is larger or nested deeper than any reply of a PBX")]
    TooLarge,
}

/// An entry of a list that cannot be read. What it held is not shown: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnreadableEntry {
    /// Where it stands, such as `voicemails[0].voicemail[3]`. Entries behind it are counted as if it were one, though
    /// nobody can tell that it is not several.
    pub(super) path: String,
    pub(super) at_byte: usize,
    pub(super) bytes: usize,
    /// The SHA-256 of its bytes: the same entry in the next list has the same.
    pub(super) sha256: Digest,
}

/// JSON that was read but for some entries of its lists.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decoded {
    /// What it says; `null` stands in the place of each unreadable entry.
    pub(super) value: Value,
    /// In the order of the reply; empty if all of it was read.
    pub(super) unreadable: Vec<UnreadableEntry>,
}

type Read = Result<Decoded, JsonError>;

/// Reads JSON as a device sent it. Strict JSON in UTF-8 takes no other way than through `serde_json`.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, JsonError> {
    Ok(read(bytes, false)?.value)
}

/// The same, entry by entry: an object in a list that cannot be read becomes `null`, and its place is reported.
///
/// The entries around it are read for certain: the next one is looked for where a `}` is followed by the same opening
/// as that of the list's first entry.
pub(super) fn decode_list(bytes: &[u8]) -> Read {
    read(bytes, true)
}

fn read(bytes: &[u8], by_entries: bool) -> Read {
    let most = if by_entries { LIST_VALUES_MAX } else { VALUES_MAX };
    if bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > most {
        return Err(JsonError::TooLarge);
    }
    let plain = read_text(&String::from_utf8_lossy(bytes), by_entries);
    match double_bytes(bytes) {
        Some(double) => either(plain, read_text(&double, by_entries)),
        None => plain,
    }
}

fn read_text(text: &str, by_entries: bool) -> Read {
    let text = text.trim_start_matches('\u{feff}').trim();
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(Decoded { value, unreadable: Vec::new() });
    }
    let (json, unreadable) = Mender::new(text, by_entries).mend()?;
    // Such as a number that no computer has room for.
    let value = serde_json::from_slice(&json).map_err(|_| JsonError::Damaged(0))?;
    Ok(Decoded { value, unreadable })
}

/// The text of bytes in GBK or Big5, whose characters may have a backslash as their second byte, which then escapes
/// nothing. None if there is no such byte. Nobody says which encoding it is, so the characters are replaced.
fn double_bytes(bytes: &[u8]) -> Option<String> {
    if std::str::from_utf8(bytes).is_ok() {
        return None;
    }
    let (mut text, mut rest, mut is_met) = (String::with_capacity(bytes.len()), bytes, false);
    while let Some((first, tail)) = rest.split_first() {
        match tail.first() {
            Some(b'\\') if *first > 0x80 => {
                (is_met, rest) = (true, &tail[1..]);
                text.push_str("\u{fffd}\\\\");
            }
            Some(second) if *first > 0x80 && *second >= 0x40 => {
                text.push_str(&String::from_utf8_lossy(&rest[..2]));
                rest = &tail[1..];
            }
            _ => {
                text.push_str(&String::from_utf8_lossy(&rest[..1]));
                rest = tail;
            }
        }
    }
    is_met.then_some(text)
}

/// The one of two readings that is whole. Where both are, they differ at most in the words of a string: else it is not
/// known which one is meant.
fn either(plain: Read, double: Read) -> Read {
    let is_whole = |read: &Read| read.as_ref().is_ok_and(|read| read.unreadable.is_empty());
    match (is_whole(&plain), is_whole(&double)) {
        (true, true) if plain.as_ref().ok().map(shape) != double.as_ref().ok().map(shape) => {
            Err(JsonError::Damaged(0))
        }
        (false, true) => double,
        (false, false) if plain.is_err() => double,
        _ => plain,
    }
}

/// A value without the words of its strings.
fn shape(read: &Decoded) -> Value {
    fn of(value: &Value) -> Value {
        match value {
            Value::String(_) => Value::Null,
            Value::Array(list) => list.iter().map(of).collect(),
            Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), of(value))).collect(),
            other => other.clone(),
        }
    }
    of(&read.value)
}
