//! Voicemail boxes and what they hold.

use std::fmt;

use crate::base::message::Message;
use crate::base::recording::printable;

/// A message and the place where a list shows it; all members as the PBX wrote them, trimmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoicemailMessage {
    /// Its place at present, such as `msg0000.wav`.
    pub file: String,
    /// The folder, `read` or `unread`; none if the device does not tell.
    pub status: Option<String>,
    /// What it is known by, wherever it is.
    pub message: Message,
}

impl fmt::Display for VoicemailMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [file, extension] = [&self.file, &self.message.extension].map(|text| printable(text.as_bytes()));
        write!(f, "`{file}` of extension {extension}")
    }
}

/// The messages of one box or of all, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VoicemailList {
    pub messages: Vec<VoicemailMessage>,
    /// Entries that no message could be read from: the list does not prove that anything is not there.
    pub unreadable: Vec<UnreadableMessage>,
}

/// An entry of a list that no message could be read from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnreadableMessage {
    /// Whose box it is in; none if that cannot be read either.
    pub extension: Option<String>,
    /// Which entry of the box it is, or which box of the list, from 1.
    pub entry: usize,
}
