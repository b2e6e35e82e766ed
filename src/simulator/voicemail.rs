//! Voicemail boxes: messages are numbered by their place in a folder, so a name is only a position.

use jiff::Timestamp;

use super::audio::SimAudio;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimVoicemail {
    /// The extension whose box it is in.
    pub extension: String,
    /// Who left it.
    pub from: String,
    /// When.
    pub date: Timestamp,
    /// How long it is, in seconds.
    pub length_s: u32,
    /// Whether it is in the folder of read messages.
    pub read: bool,
    /// Its audio.
    pub audio: SimAudio,
}

/// A message and the name that its place gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed<'a> {
    /// `msgNNNN.wav`.
    pub(super) file: String,
    /// The message.
    pub(super) message: &'a SimVoicemail,
}

/// The messages of one box, each folder numbered from 0 in the order of arrival.
pub(super) fn placed<'a>(messages: &'a [SimVoicemail], extension: &str) -> Vec<Placed<'a>> {
    let mut box_: Vec<&SimVoicemail> =
        messages.iter().filter(|message| message.extension == extension).collect();
    box_.sort_by_key(|message| (message.read, message.date));
    let unread = box_.iter().filter(|message| !message.read).count();
    let place = |at: usize| if at < unread { at } else { at - unread };
    box_.into_iter()
        .enumerate()
        .map(|(at, message)| Placed { file: format!("msg{:04}.wav", place(at)), message })
        .collect()
}

/// The words of the API for the two folders.
pub(super) fn status_of(message: &SimVoicemail) -> &'static str {
    if message.read { "read" } else { "unread" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_named_by_its_place_in_its_folder() {
        let message = |second, read| SimVoicemail {
            extension: "1003".to_owned(),
            from: "1".to_owned(),
            date: Timestamp::from_second(second).unwrap(),
            length_s: 1,
            read,
            audio: SimAudio::pcm(100, 1),
        };
        let mut messages = vec![message(3, false), message(1, false), message(2, true)];
        let names = |messages: &[SimVoicemail]| -> Vec<(i64, String)> {
            placed(messages, "1003").into_iter().map(|p| (p.message.date.as_second(), p.file)).collect()
        };
        let expect = |list: &[(i64, &str)]| {
            list.iter().map(|(at, name)| (*at, (*name).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(names(&messages), expect(&[(1, "msg0000.wav"), (3, "msg0001.wav"), (2, "msg0000.wav")]));
        messages.remove(1);
        assert_eq!(names(&messages), expect(&[(3, "msg0000.wav"), (2, "msg0000.wav")]));
    }
}
