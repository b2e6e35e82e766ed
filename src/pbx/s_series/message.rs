//! The audio of one voicemail message, whose name on the PBX is a place that others may take at any moment.
//!
//! ```text
//! look into the box → ticket for the place → download → look again: did the place hold still?
//! ```

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Download, Slot};
use crate::base::message::Message;
use crate::pbx::Audio;
use crate::pbx::error::{PbxError, Policy, Reason};
use crate::pbx::voicemail::{VoicemailList, VoicemailMessage};

/// Why a message cannot be asked for.
type Lost = (Reason, &'static str);

/// A message that is being received. At its end the box is listed again: what came is believed only if the message was
/// at its place all the time.
pub(super) struct MessageAudio {
    slot: Slot,
    download: Option<Download>,
    content_length: Option<u64>,
    found: VoicemailMessage,
    before: VoicemailList,
}

impl Audio for MessageAudio {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PbxError>> {
        Box::pin(async move {
            let Some(download) = &mut self.download else { return Ok(None) };
            match download.next().await {
                Ok(None) => {}
                Err(error) if error.may_follow_the_end() => {
                    // What came may be whole all the same, so its place matters as much.
                    self.look_again().await?;
                    return Err(error);
                }
                outcome => return outcome,
            }
            self.look_again().await?;
            Ok(None)
        })
    }

    fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    fn limit(&mut self, bytes: u64) {
        if let Some(download) = &mut self.download {
            download.limit(bytes);
        }
    }

    fn folder(&self) -> Option<&str> {
        self.found.status.as_deref()
    }
}

impl MessageAudio {
    async fn look_again(&mut self) -> Result<(), PbxError> {
        // Its connection is closed first.
        self.download = None;
        let after = self.slot.voicemail_of(&self.found.message.extension).await?;
        match held_still(&self.found, &self.before, &after) {
            true => Ok(()),
            false => Err(self.slot.renumbered()),
        }
    }
}

impl Slot {
    /// The audio of the `nth` of the messages alike, from where it is now.
    pub(super) async fn message_audio(
        mut self,
        message: &Message,
        nth: usize,
    ) -> Result<MessageAudio, PbxError> {
        let by_folder = self.shared.config.voicemail.sends_status;
        let mut tickets = 1;
        loop {
            let before = self.voicemail_of(&message.extension).await?;
            let found = find(&before, message, nth, by_folder).cloned();
            let found = found.map_err(|(reason, what)| self.lost(reason, what))?;
            let outcome = match self.voicemail_ticket(&found).await {
                Ok(ticket) => self.download(ticket).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(download) => {
                    let content_length = download.content_length();
                    let download = Some(download);
                    return Ok(MessageAudio { slot: self, download, content_length, found, before });
                }
                // That nothing is there may be because it has just moved; other failures are no matter of places.
                Err(error) if error.policy() == Policy::NotThere => {
                    let after = self.voicemail_of(&message.extension).await?;
                    let is_gone = held_still(&found, &before, &after);
                    return Err(if is_gone { error } else { self.renumbered() });
                }
                Err(error) if error.policy().wants_another_ticket() && tickets < super::TICKETS_MAX => {
                    tickets += 1;
                }
                Err(error) => return Err(error.after_the_last_ticket()),
            }
        }
    }

    fn lost(&self, reason: Reason, what: &str) -> PbxError {
        PbxError::new(&self.shared.config.id, Policy::Retry, reason, what)
    }

    fn renumbered(&self) -> PbxError {
        self.lost(Reason::Renumbered, "the voicemail box changed during the download")
    }
}

/// The place of the `at`-th of the messages alike.
fn find<'a>(
    list: &'a VoicemailList,
    message: &Message,
    at: usize,
    by_folder: bool,
) -> Result<&'a VoicemailMessage, Lost> {
    let Some(found) = list.messages.iter().filter(|listed| listed.message == *message).nth(at) else {
        return Err(match list.unreadable.is_empty() {
            true => {
                let reason = Reason::Deleted { beside_others: !list.messages.is_empty() };
                (reason, "the message is not in its box any more")
            }
            false => (Reason::Protocol, "the list of the voicemail box holds entries that cannot be read"),
        });
    };
    let is_same_place = |other: &&VoicemailMessage| {
        other.file == found.file && (!by_folder || other.status.is_none() || other.status == found.status)
    };
    match list.messages.iter().filter(is_same_place).count() {
        1 => Ok(found),
        _ => {
            let what = "two messages of the voicemail box have one name, so neither can be asked for";
            Err((Reason::Ambiguous, what))
        }
    }
}

/// Whether the folder was the same before and after, from its first message to the one that was `found`.
///
/// That the place shows the same message twice is not enough: a deletion and a message marked as read may have moved it
/// there and back. Those behind it do not matter.
fn held_still(found: &VoicemailMessage, before: &VoicemailList, after: &VoicemailList) -> bool {
    up_to(found, before) == up_to(found, after)
}

fn up_to<'a>(found: &VoicemailMessage, list: &'a VoicemailList) -> Vec<(usize, &'a str, &'a Message)> {
    let place = |listed: &'a VoicemailMessage| (listed.file.len(), listed.file.as_str(), &listed.message);
    let of_folder = list.messages.iter().filter(|listed| listed.status == found.status).map(place);
    let end = (found.file.len(), found.file.as_str());
    let mut places: Vec<_> = of_folder.filter(|(length, file, _)| (*length, *file) <= end).collect();
    places.sort();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pbx::voicemail::UnreadableMessage;

    fn message(caller: &str) -> Message {
        let [extension, date, length] = ["1003", "2024-03-01 12:11:40", "9"].map(str::to_owned);
        Message { extension, date, caller: caller.to_owned(), length }
    }

    /// A box from `unread/0=A`, a message by its caller.
    fn list(places: &[&str]) -> VoicemailList {
        let place = |text: &&str| {
            let (place, caller) = text.split_once('=').unwrap();
            let (status, file) = place.split_once('/').unwrap();
            let status = (!status.is_empty()).then(|| status.to_owned());
            VoicemailMessage { file: format!("msg{file}.wav"), status, message: message(caller) }
        };
        VoicemailList { messages: places.iter().map(place).collect(), unreadable: Vec::new() }
    }

    #[test]
    fn a_place_is_believed_only_if_nothing_before_it_moved() {
        let before = list(&["unread/0=A", "unread/1=B", "unread/2=C", "read/0=X", "read/1=Y"]);
        let table: [(&str, &[&str], bool); 7] = [
            ("B", &["unread/0=A", "unread/1=B", "unread/2=C", "read/0=X", "read/1=Y"], true),
            // A new one behind, a deleted one behind, and the other folder do not matter.
            ("B", &["unread/0=A", "unread/1=B", "unread/2=D", "unread/3=E", "read/0=Y"], true),
            ("B", &["unread/0=A", "unread/1=B", "read/0=X", "read/1=C"], true),
            ("B", &["unread/0=B", "unread/1=C"], false),
            ("B", &["unread/0=A", "unread/1=C", "read/0=B"], false),
            // X was deleted and another one took its place: Y is where it was, and was elsewhere meanwhile.
            ("Y", &["read/0=C", "read/1=Y"], false),
            ("B", &[], false),
        ];
        for (caller, after, still) in table {
            let found = find(&before, &message(caller), 0, true).unwrap();
            assert_eq!(held_still(found, &before, &list(after)), still, "{caller} {after:?}");
        }
    }

    #[test]
    fn a_message_is_found_by_what_it_is_or_said_to_be_gone() {
        let box_ = list(&["unread/0=A", "read/0=B", "unread/1=A"]);
        assert_eq!(find(&box_, &message("A"), 1, true).unwrap().file, "msg1.wav");
        let gone = find(&box_, &message("C"), 0, true).unwrap_err();
        assert!(matches!(gone.0, Reason::Deleted { beside_others: true }));
        let gone = find(&list(&[]), &message("C"), 0, true).unwrap_err();
        assert!(matches!(gone.0, Reason::Deleted { beside_others: false }));
        let unreadable = vec![UnreadableMessage { extension: Some("1003".to_owned()), entry: 2 }];
        let odd = VoicemailList { unreadable, ..list(&["unread/0=A"]) };
        assert!(matches!(find(&odd, &message("C"), 0, true).unwrap_err().0, Reason::Protocol));
    }

    #[test]
    fn a_name_that_two_messages_have_names_neither() {
        let two_folders = list(&["unread/0=A", "read/0=B"]);
        assert!(find(&two_folders, &message("A"), 0, true).is_ok());
        assert!(matches!(find(&two_folders, &message("A"), 0, false).unwrap_err().0, Reason::Ambiguous));
        let no_folders = list(&["/0=A", "/0=B"]);
        assert!(matches!(find(&no_folders, &message("A"), 0, true).unwrap_err().0, Reason::Ambiguous));
    }
}
