//! Voicemail boxes: what messages there are at present, and tickets for them (`docs/pbx-api.md` §9).
//!
//! A message has no name of its own: `voicemailfile` is its place in a folder, and the next deletion moves another one
//! there. A list is true of the moment it was made, so ask for one right before a ticket and again after the download.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::base::message::Message;
use crate::base::recording::printable;
use crate::config::Generation;
use crate::pbx::error::{Failure, PbxError, Policy, Reason};
use crate::pbx::s_series::Action;
use crate::pbx::s_series::PbxClient;
use crate::pbx::s_series::envelope;
use crate::pbx::s_series::policy::{Family, Stage};
use crate::pbx::s_series::slot::Slot;
use crate::pbx::s_series::ticket::{Target, Ticket};
use crate::pbx::voicemail::{UnreadableMessage, VoicemailList, VoicemailMessage};

impl PbxClient {
    /// Lists the messages of all boxes; `None` if this device has no voicemail API.
    ///
    /// # Errors
    /// As for every call. A list that breaks off or is no JSON is an error, not a shorter list.
    pub async fn voicemail(&self) -> Result<Option<VoicemailList>, PbxError> {
        self.slot().await.list_voicemail(None).await
    }
}

impl Slot {
    /// Lists the messages of one extension's box, empty if there is no such extension any more.
    ///
    /// # Errors
    /// As [`PbxClient::voicemail`], and `unsupported` if this device has no voicemail API.
    pub async fn voicemail_of(&mut self, extension: &str) -> Result<VoicemailList, PbxError> {
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
    ///
    /// # Errors
    /// `missing` if nothing is at that place, else as the table in [`crate::pbx::s_series::policy`] says.
    pub async fn voicemail_ticket(&mut self, place: &VoicemailMessage) -> Result<Ticket, PbxError> {
        let action = self.shared.action(
            Family::Voicemail,
            Stage::GetRandom,
            format!("asking for a ticket for {place}"),
        );
        let key = self.extension_key();
        let status = place.status.clone().filter(|_| self.shared.config.voicemail.sends_status);
        let mut body = json!({ key: place.message.extension, "voicemailfile": place.file });
        if let Some(status) = &status {
            body["voicemailstatus"] = status.as_str().into();
        }
        if let Some(address) = self.shared.config.allowed_ip {
            body["allowedip"] = address.to_string().into();
        }
        let (random, answer) = self.random(&action, "voicemail/get_random", body.to_string().into()).await?;
        let (extension, file) = (place.message.extension.clone(), place.file.clone());
        let target = Target::Message { key, extension, file, status };
        Ok(Ticket::new(target, random, answer))
    }

    async fn list_voicemail(&mut self, extension: Option<&str>) -> Result<Option<VoicemailList>, PbxError> {
        if self.shared.config.api_version.generation == Generation::V1_0 {
            return Ok(None);
        }
        let action = self.listing(extension);
        // Without the member all boxes are listed, but an empty body may be answered with errno 20009.
        let body: Bytes = match extension {
            Some(extension) => json!({ self.extension_key(): extension }).to_string().into(),
            None => Bytes::from_static(b"{}"),
        };
        match self.call(&action, "voicemail/query", body).await {
            Ok(answer) => Ok(Some(VoicemailList::of_reply(&answer.members))),
            // Of one extension it says that there is none; of all of them it says nothing.
            Err(error) if error.policy() == Policy::Empty && extension.is_some() => {
                Ok(Some(VoicemailList::default()))
            }
            Err(error) if is_unsupported(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn listing(&self, extension: Option<&str>) -> Action {
        let whose = extension
            .map_or(String::new(), |extension| format!(" of extension {}", printable(extension.as_bytes())));
        self.shared.action(Family::Voicemail, Stage::Query, format!("listing the voicemail{whose}"))
    }

    /// What an extension is called: renamed in v2.0.0.
    fn extension_key(&self) -> &'static str {
        if self.shared.config.api_version.generation == Generation::V2 { "number" } else { "extid" }
    }
}

fn is_unsupported(error: &PbxError) -> bool {
    error.is_of_the_call() && matches!(error.reason(), Reason::Unsupported | Reason::Http(404))
}

impl VoicemailList {
    /// Reads a reply leniently: numbers with and without quotes, one object where a list is due, and no member at all
    /// where nothing is stored.
    pub fn of_reply(reply: &Map<String, Value>) -> Self {
        let mut list = Self::default();
        for (mailbox, number) in several(reply.get("voicemails")).iter().zip(1..) {
            match mailbox.as_object().and_then(|members| Some((extension_of(members)?, members))) {
                Some((extension, members)) => {
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
                None => list.unreadable.push(UnreadableMessage { extension: None, entry: number }),
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

fn extension_of(members: &Map<String, Value>) -> Option<String> {
    trimmed(members, "extid").or_else(|| trimmed(members, "number"))
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

fn trimmed(members: &Map<String, Value>, name: &str) -> Option<String> {
    envelope::text(members, name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}
