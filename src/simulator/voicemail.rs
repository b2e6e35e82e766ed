//! Voicemail boxes: messages are numbered by their place in a folder, so a name is only a position.

use std::collections::VecDeque;
use std::fmt;

use jiff::Timestamp;

use super::audio::SimAudio;

/// What happens to the boxes when a ticket for a certain place is issued: between ticket and download, by no clock. Each of
/// what was prepared happens once, in that order.
#[derive(Default)]
pub(super) struct Surprise(VecDeque<(String, Change)>);

type Change = Box<dyn FnOnce(&mut Vec<SimVoicemail>) + Send + Sync>;

impl Surprise {
    pub(super) fn prepare(
        &mut self,
        file: &str,
        change: impl FnOnce(&mut Vec<SimVoicemail>) + Send + Sync + 'static,
    ) {
        self.0.push_back((file.to_owned(), Box::new(change)));
    }

    pub(super) fn happen(&mut self, file: &str, messages: &mut Vec<SimVoicemail>) {
        if let Some((_, change)) = self.0.pop_front_if(|(awaited, _)| awaited == file) {
            change(messages);
        }
    }
}

impl fmt::Debug for Surprise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Surprise").field(&self.0.len()).finish()
    }
}

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

/// What a box holds at most; then the oldest messages go (`docs/pbx-api.md` §10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoicemailCap {
    /// So many messages.
    pub messages: usize,
    /// So many seconds of audio.
    pub length_s: u64,
}

impl Default for VoicemailCap {
    fn default() -> Self {
        Self { messages: 50, length_s: 6000 }
    }
}

impl VoicemailCap {
    /// Deletes the oldest messages of a box that holds too much, read or not.
    pub(super) fn clean_up(self, messages: &mut Vec<SimVoicemail>, extension: &str) {
        loop {
            let of_box = || messages.iter().filter(|message| message.extension == extension);
            let length_s: u64 = of_box().map(|message| u64::from(message.length_s)).sum();
            if of_box().count() <= self.messages && length_s <= self.length_s {
                return;
            }
            let oldest = of_box().map(|message| message.date).min();
            let at = messages
                .iter()
                .position(|message| message.extension == extension && Some(message.date) == oldest);
            let Some(at) = at else { return };
            messages.remove(at);
        }
    }
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
    fn a_full_box_loses_its_oldest_messages_and_no_other_box_does() {
        let message = |second, extension: &str, length_s| SimVoicemail {
            extension: extension.to_owned(),
            from: "1".to_owned(),
            date: Timestamp::from_second(second).unwrap(),
            length_s,
            read: second % 2 == 0,
            audio: SimAudio::pcm(100, 1),
        };
        let all = [(5, "1003", 10), (1, "1003", 10), (9, "1003", 10), (0, "1004", 90)];
        for (cap, left) in [((3, 30), vec![5, 1, 9, 0]), ((2, 99), vec![5, 9, 0]), ((9, 10), vec![9, 0])] {
            let mut messages: Vec<_> =
                all.map(|(second, whose, length)| message(second, whose, length)).into();
            let cap = VoicemailCap { messages: cap.0, length_s: cap.1 };
            cap.clean_up(&mut messages, "1003");
            assert_eq!(messages.iter().map(|message| message.date.as_second()).collect::<Vec<_>>(), left);
        }
    }

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
