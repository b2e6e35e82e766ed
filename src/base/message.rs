//! What a voicemail message is known by: its content, for its name on the PBX is only a place in a folder.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::base::recording::{RecordingName, Text};

/// Bytes of a part that a name shows as they are; the others would blur where the part ends, or a terminal.
fn is_plain(character: char) -> bool {
    !matches!(character, '/' | '%') && !character.is_control()
}

/// A message as the PBX tells it, each part as it is written there. Two messages in one box can be alike in all of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::FromRow)]
pub struct Message {
    /// Whose box it was left in.
    pub extension: String,
    /// When, by the PBX's clock.
    pub date: String,
    /// Who left it; empty for an anonymous caller.
    pub caller: String,
    /// How long it is, in seconds.
    pub length: String,
}

impl Message {
    /// What the recording of the `ordinal`-th message alike (from 1) is called, such as
    /// `1003/2024-03-01 12:11:40/5550142/17`; a second one has `/2` after it. Different messages never share a name.
    pub fn name(&self, ordinal: u32) -> RecordingName {
        let parts = [&self.extension, &self.date, &self.caller, &self.length].map(|part| encoded(part));
        let name = match ordinal {
            0 | 1 => parts.join("/"),
            more => format!("{}/{more}", parts.join("/")),
        };
        RecordingName::new(name).expect("it holds slashes at least")
    }

    /// The message that a recording of this name is, and which of those alike, from 1; `None` if the name is no message's.
    pub fn from_name(name: &RecordingName) -> Option<(Self, u32)> {
        let text = std::str::from_utf8(name.as_bytes()).ok()?;
        let parts: Vec<&str> = text.split('/').collect();
        let (parts, ordinal) = match parts[..] {
            [extension, date, caller, length] => ([extension, date, caller, length], 1),
            [extension, date, caller, length, more] => {
                ([extension, date, caller, length], more.parse().ok().filter(|more| *more > 1)?)
            }
            _ => return None,
        };
        let [extension, date, caller, length] = parts.map(decoded);
        let message = Self { extension: extension?, date: date?, caller: caller?, length: length? };
        // A name that is written otherwise is none of ours: two names must not tell one message.
        (message.name(ordinal) == *name).then_some((message, ordinal))
    }

    /// What its file is called before it is made safe: readable, and not unique.
    pub fn stem(&self, hhmmss: &str) -> RecordingName {
        let stem = format!("{hhmmss}-{}-{}-{}", self.extension, self.caller, self.length);
        RecordingName::new(stem).expect("it holds dashes at least")
    }

    /// Its length in seconds, if that is a number.
    pub fn length_s(&self) -> Option<u64> {
        self.length.parse().ok()
    }

    /// The time by the PBX's clock, as documents keep it.
    pub fn local(&self) -> Text {
        Text::Utf8(self.date.clone())
    }
}

fn encoded(part: &str) -> String {
    let encode = |character: char| match character.to_string() {
        plain if is_plain(character) => plain,
        other => utf8_percent_encode(&other, NON_ALPHANUMERIC).to_string(),
    };
    part.chars().map(encode).collect()
}

/// The part that was written so; `None` if it is no text.
fn decoded(part: &str) -> Option<String> {
    percent_decode_str(part).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn message([extension, date, caller, length]: [&str; 4]) -> Message {
        let [extension, date, caller, length] = [extension, date, caller, length].map(str::to_owned);
        Message { extension, date, caller, length }
    }

    #[test]
    fn a_message_is_called_by_what_is_known_of_it() {
        let plain = message(["1003", "2024-03-01 12:11:40", "5550142", "17"]);
        assert_eq!(plain.name(1).to_string(), "1003/2024-03-01 12:11:40/5550142/17");
        assert_eq!(plain.name(2).to_string(), "1003/2024-03-01 12:11:40/5550142/17/2");
        let odd = message(["1003", "", "Büro/7%\u{1b}", ""]);
        assert_eq!(odd.name(1).to_string(), "1003//Büro%2F7%25%1B/");
    }

    #[test]
    fn what_is_no_message_is_not_taken_for_one() {
        for name in ["a.wav", "1/2/3", "1/2/3/4/1", "1/2/3/4/x", "1/2/3/4/2/2", "1/%2/3/4", "1/%zz/3/4"]
            .into_iter()
            .chain(["1/2/3/4/02", "1/2/3/4/+2", "1/%2f/3/4", "1/%41/3/4", "1/%+1/3/4"])
        {
            assert_eq!(Message::from_name(&RecordingName::new(name).unwrap()), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_tells_its_message_again(parts in prop::array::uniform4("\\PC{0,6}|[/%\n]{0,3}"), ordinal in 1..9_u32) {
            let message = message(parts.each_ref().map(|part| &**part));
            prop_assert_eq!(Message::from_name(&message.name(ordinal)), Some((message, ordinal)));
        }

        #[test]
        fn different_messages_never_share_a_name(
            all in prop::collection::hash_set((prop::array::uniform4("[0/%]{0,3}"), 1..4_u32), 2..40)
        ) {
            let name = |(parts, ordinal): &([String; 4], u32)| message(parts.each_ref().map(|part| &**part)).name(*ordinal);
            let names: HashSet<_> = all.iter().map(name).collect();
            prop_assert_eq!(names.len(), all.len());
        }
    }
}
