//! Voicemail boxes: what messages there are at present, and their audio (`docs/pbx-api.md` §9).
//!
//! A message has no name of its own: `voicemailfile` is its place in a folder, and the next deletion moves another one
//! there. A list is true of the moment it was made:
//!
//! ```text
//! look into the box → ticket for the place → download → look again: did the place hold still?
//! ```

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::base::message::Message;
use crate::base::recording::printable;
use crate::config::Generation;
use crate::pbx::error::{Failure, PbxError, Policy, Reason, Result};
use crate::pbx::s_series::download::{Download, Ticket};
use crate::pbx::s_series::policy::{Family, Stage};
use crate::pbx::s_series::slot::{Slot, trimmed};
use crate::pbx::s_series::{Action, TICKETS_MAX};
use crate::pbx::{Asked, Audio, UnreadableMessage, VoicemailList, VoicemailMessage};

impl Slot {
    /// Lists the messages of one extension's box, empty if there is no such extension any more.
    pub(super) async fn voicemail_of(&mut self, extension: &str) -> Result<VoicemailList> {
        let listed = self.list_voicemail(Some(extension)).await?;
        let mut list = listed.ok_or_else(|| {
            let action = self.listing(Some(extension));
            self.shared.error(&action, Failure::new(Reason::Unsupported, "this device has no voicemail API"))
        })?;
        // A device that does not know the parameter lists all boxes.
        list.messages.retain(|message| message.message.extension == extension);
        list.unreadable.retain(|entry| entry.extension.as_deref().is_none_or(|of| of == extension));
        Ok(list)
    }

    /// Takes a ticket for the message that is at this place now. Ask only when its download can begin at once.
    pub(super) async fn voicemail_ticket(&mut self, place: &VoicemailMessage) -> Result<Ticket> {
        let doing = format!("asking for a ticket for {place}");
        let action = self.shared.action(Family::Voicemail, Stage::GetRandom, doing);
        let extension = (self.extension_key(), place.message.extension.clone());
        let status = place.status.clone().filter(|_| self.shared.config.voicemail.sends_status);
        let mut members = vec![extension, ("voicemailfile", place.file.clone())];
        members.extend(status.map(|status| ("voicemailstatus", status)));
        let (body, query) = self.ticket_members(&members);
        let (random, answer) = self.random(&action, body).await?;
        let doing = format!("downloading the voicemail {place}");
        let action = self.shared.action(Family::Voicemail, Stage::Download, doing);
        Ok(Ticket { action, query, random, answer })
    }

    /// Lists the messages of all boxes, or of one; `None` if this device has no voicemail API. A list that breaks off or
    /// is no JSON is an error, not a shorter list.
    pub(super) async fn list_voicemail(&mut self, extension: Option<&str>) -> Result<Option<VoicemailList>> {
        if self.shared.config.api_version.generation == Generation::V1_0 {
            return Ok(None);
        }
        let action = self.listing(extension);
        // Without the member all boxes are listed, but an empty body may be answered with errno 20009.
        let body: Bytes = match extension {
            Some(extension) => json!({ self.extension_key(): extension }).to_string().into(),
            None => Bytes::from_static(b"{}"),
        };
        match self.call(&action, body).await {
            Ok(answer) => Ok(Some(VoicemailList::of_reply(&answer.members))),
            // Of one extension it says that there is none; of all of them it says nothing.
            Err(error) if error.policy() == Policy::Empty && extension.is_some() => {
                Ok(Some(VoicemailList::default()))
            }
            Err(error) if error.says_no_such_call() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn listing(&self, extension: Option<&str>) -> Action {
        let whose = extension
            .map_or(String::new(), |extension| format!(" of extension {}", printable(extension.as_bytes())));
        self.shared.action(Family::Voicemail, Stage::Query, format!("listing the voicemail{whose}"))
    }
}

impl VoicemailList {
    /// Reads a reply leniently: numbers with and without quotes, one object where a list is due, and no member at all
    /// where nothing is stored.
    pub fn of_reply(reply: &Map<String, Value>) -> Self {
        let mut list = Self::default();
        for (mailbox, number) in several(reply.get("voicemails")).iter().zip(1..) {
            let members = mailbox.as_object();
            let extension =
                members.and_then(|members| trimmed(members, "extid").or_else(|| trimmed(members, "number")));
            let (Some(members), Some(extension)) = (members, extension) else {
                list.unreadable.push(UnreadableMessage { extension: None, entry: number });
                continue;
            };
            for (message, entry) in several(members.get("voicemail")).iter().zip(1..) {
                match read(&extension, message) {
                    Some(message) => list.messages.push(message),
                    None => {
                        let extension = Some(extension.clone());
                        list.unreadable.push(UnreadableMessage { extension, entry });
                    }
                }
            }
        }
        list
    }
}

/// The elements of a list; a single element where no list is; none where nothing is.
fn several(value: Option<&Value>) -> &[Value] {
    match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(list)) => list,
        Some(single) => std::slice::from_ref(single),
    }
}

/// A message; `None` without the place by which it is asked for.
fn read(extension: &str, value: &Value) -> Option<VoicemailMessage> {
    let members = value.as_object()?;
    let part = |name| trimmed(members, name).unwrap_or_default();
    Some(VoicemailMessage {
        file: trimmed(members, "voicemailfile")?,
        status: trimmed(members, "voicemailstatus"),
        message: Message {
            extension: extension.to_owned(),
            date: part("voicemaildate"),
            caller: part("messagefrom"),
            length: part("voicemaillength"),
        },
    })
}

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
    fn next(&mut self) -> Asked<'_, Option<Bytes>> {
        Box::pin(async move {
            let Some(download) = &mut self.download else { return Ok(None) };
            match download.next().await {
                Ok(None) => self.look_again().await.map(|()| None),
                // What came may be whole all the same, so its place matters as much.
                Err(error) if error.may_follow_the_end() => {
                    self.look_again().await?;
                    Err(error)
                }
                outcome => outcome,
            }
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
    async fn look_again(&mut self) -> Result<()> {
        // Its connection is closed first.
        self.download = None;
        let after = self.slot.voicemail_of(&self.found.message.extension).await?;
        if held_still(&self.found, &self.before, &after) { Ok(()) } else { Err(self.slot.renumbered()) }
    }
}

impl Slot {
    /// The audio of the `nth` of the messages alike, from where it is now.
    pub(super) async fn message_audio(mut self, message: &Message, nth: usize) -> Result<MessageAudio> {
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
                Err(error) if error.policy().wants_another_ticket() && tickets < TICKETS_MAX => tickets += 1,
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

type Found<'a> = Result<&'a VoicemailMessage, (Reason, &'static str)>;

/// The place of the `at`-th of the messages alike.
fn find<'a>(list: &'a VoicemailList, message: &Message, at: usize, by_folder: bool) -> Found<'a> {
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
