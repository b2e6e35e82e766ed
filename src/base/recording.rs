//! What a recording is called, before anything is known of its audio.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::digest::{hex, unhex};
use crate::base::words::words;

words! {
    pub enum RecordingKind as "kind of recording" {
        /// A call recording: identity is (pbx, sn, name).
        Call = "call",
        /// A voicemail message: identity is (pbx, extension, date, caller, length).
        Voicemail = "voicemail",
    }
}

words! {
    pub enum RecordingState as "state" {
        Pending = "pending",
        Archived = "archived",
        /// The PBX says that it does not have it.
        Missing = "missing",
        /// Kept out by a rule.
        Excluded = "excluded",
        /// Failed too often for one reason; still owed.
        Stuck = "stuck",
    }
}

/// The name that the PBX gives a recording: any bytes at all, never a path.
///
/// Its `Display` is safe to print: control and bidirectional characters and invalid UTF-8 are escaped.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordingName(Vec<u8>);

impl RecordingName {
    /// Takes the bytes as the PBX gave them; `None` if there are none, for an empty name names nothing.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (!bytes.is_empty()).then_some(Self(bytes))
    }

    /// The bytes as the PBX gave them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for RecordingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

impl fmt::Debug for RecordingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// Text from outside, made safe for a terminal or a log line.
///
/// Control, bidirectional and invisible format characters and invalid UTF-8 are written as escapes.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_deceptive(character) {
                text.extend(character.escape_unicode());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Characters that move the cursor, reverse the text or cannot be seen.
pub fn is_deceptive(character: char) -> bool {
    // Unicode's format characters, and letters that have no form.
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Bytes from outside as JSON keeps them: a string if they are UTF-8, else `{"hex": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// Valid UTF-8.
    Utf8(String),
    /// Anything else, unchanged, in hex.
    Bytes {
        /// The bytes in lowercase hex.
        hex: String,
    },
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from_bytes(&bytes)
    }
}

impl Text {
    /// Keeps `bytes` without loss.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text.to_owned()),
            Err(_) => Self::Bytes { hex: hex(bytes) },
        }
    }

    /// The bytes again; `None` if the hex was damaged.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Utf8(text) => Some(text.as_bytes().to_vec()),
            Self::Bytes { hex } => unhex(hex),
        }
    }

    /// The text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Utf8(text) => Some(text),
            Self::Bytes { .. } => None,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Utf8(text) => text.is_empty(),
            Self::Bytes { hex } => hex.is_empty(),
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::Utf8(String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_prints_without_moving_the_cursor_or_reversing_the_line() {
        let name = RecordingName::new(b"a\x1b[2J\xe2\x80\xaegnp.\xff\n".to_vec()).unwrap();
        assert_eq!(name.to_string(), "a\\u{1b}[2J\\u{202e}gnp.\\xff\\u{a}");
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        for hidden in ['\u{ad}', '\u{61c}', '\u{180e}', '\u{200b}', '\u{3164}', '\u{e0041}'] {
            let shown = printable(format!("a{hidden}b").as_bytes());
            assert_eq!(shown, format!("a{}b", hidden.escape_unicode()));
        }
        assert_eq!(printable("Müller 李 😀\u{fe0f}".as_bytes()), "Müller 李 😀\u{fe0f}");
    }

    #[test]
    fn any_bytes_survive_json() {
        for bytes in [&b"plain"[..], "\u{202e}x".as_bytes(), b"\xd6\xd0", b""] {
            let json = serde_json::to_string(&Text::from_bytes(bytes)).unwrap();
            let back: Text = serde_json::from_str(&json).unwrap();
            assert_eq!(back.to_bytes().unwrap(), bytes, "{json}");
        }
    }
}
