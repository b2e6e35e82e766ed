//! Tickets: permission to download one recording, once, for 30 s (`docs/pbx-api.md` §5).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::base::recording::{RecordingName, printable};
use crate::pbx::error::PbxError;
use crate::pbx::http::parameter;
use crate::pbx::s_series::Action;
use crate::pbx::s_series::Shared;
use crate::pbx::s_series::policy::{Family, Stage};
use crate::pbx::s_series::session::Token;
use crate::pbx::s_series::slot::{Answer, Slot};

/// Permission to download one recording, once. A download consumes it; it cannot be copied.
pub struct Ticket {
    target: Target,
    random: SecretString,
    pub(super) token: Arc<Token>,
    issued_at: Instant,
}

#[derive(Debug)]
pub(super) enum Target {
    Recording(RecordingName),
    Message { key: &'static str, extension: String, file: String, status: Option<String> },
}

impl Ticket {
    /// The ticket that `answer` brought.
    pub(super) fn new(target: Target, random: SecretString, answer: Answer) -> Self {
        Self { target, random, token: answer.token, issued_at: answer.asked_at }
    }

    /// How old it is at most: counted from before it was asked for.
    pub fn age(&self) -> Duration {
        self.issued_at.elapsed()
    }

    /// What its download is, for the error table and the error's sentence.
    pub(super) fn action(&self, shared: &Shared) -> Action {
        match &self.target {
            Target::Recording(name) => {
                shared.download_action(Family::Recording, format!("downloading `{name}`"))
            }
            Target::Message { extension, file, .. } => {
                let [file, extension] = [file, extension].map(|text| printable(text.as_bytes()));
                let doing = format!("downloading the voicemail `{file}` of extension {extension}");
                shared.download_action(Family::Voicemail, doing)
            }
        }
    }

    pub(super) fn endpoint(&self) -> &'static str {
        match self.target {
            Target::Recording(_) => "recording/download",
            Target::Message { .. } => "voicemail/download",
        }
    }

    pub(super) fn query(&self) -> String {
        let mut parts = match &self.target {
            Target::Recording(name) => vec![parameter("recording", name.as_bytes())],
            Target::Message { key, extension, file, status } => {
                let status = status.as_ref().map(|status| parameter("voicemailstatus", status.as_bytes()));
                [parameter(key, extension.as_bytes()), parameter("voicemailfile", file.as_bytes())]
                    .into_iter()
                    .chain(status)
                    .collect()
            }
        };
        parts.push(parameter("random", self.random.expose_secret().as_bytes()));
        parts.push(self.token.parameter());
        parts.join("&")
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("target", &self.target)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl Slot {
    /// Takes a ticket for a recording. Ask only when its download can begin at once, over the same slot.
    ///
    /// # Errors
    ///
    /// `missing` if the PBX says that it has no such recording, else as the table in [`crate::pbx::s_series::policy`] says.
    pub async fn ticket(&mut self, name: &RecordingName) -> Result<Ticket, PbxError> {
        let doing = format!("asking for a ticket for `{name}`");
        let action = self.shared.action(Family::Recording, Stage::GetRandom, doing);
        let body = request_body(name, self.shared.config.allowed_ip.map(|address| address.to_string()));
        let (random, answer) = self.random(&action, "recording/get_random", body).await?;
        self.shared.counters.note_ticket();
        Ok(Ticket::new(Target::Recording(name.clone()), random, answer))
    }
}

/// `{"recording":…}` by hand: a name that is not UTF-8 must reach the device as the device wrote it.
fn request_body(name: &RecordingName, allowed_ip: Option<String>) -> Bytes {
    let mut body = b"{\"recording\":\"".to_vec();
    for &byte in name.as_bytes() {
        match byte {
            b'"' | b'\\' => body.extend([b'\\', byte]),
            0..0x20 => body.extend(format!("\\u{byte:04x}").bytes()),
            _ => body.push(byte),
        }
    }
    body.push(b'"');
    if let Some(address) = allowed_ip {
        body.extend(format!(",\"allowedip\":\"{address}\"").bytes());
    }
    body.push(b'}');
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_travels_unchanged_but_for_what_json_must_escape() {
        let name = RecordingName::new(b"a\"\\\n\xd6\xd0 ../b.wav".to_vec()).unwrap();
        let body = request_body(&name, Some("192.0.2.7".to_owned()));
        let expected = b"{\"recording\":\"a\\\"\\\\\\u000a\xd6\xd0 ../b.wav\",\"allowedip\":\"192.0.2.7\"}";
        assert_eq!(body.as_ref(), expected.as_slice());
    }
}
