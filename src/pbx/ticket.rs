//! Tickets: permission to download one recording, once, for 30 s (`yeastar-api.md` §5).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::pbx::envelope;
use crate::pbx::error::{Failure, PbxError, Reason};
use crate::pbx::http::parameter;
use crate::pbx::policy::{Family, Stage};
use crate::pbx::session::Token;
use crate::pbx::slot::Slot;
use crate::recording::RecordingName;

/// Permission to download one recording, once. A download consumes it; it cannot be copied.
pub struct Ticket {
    pub(super) name: RecordingName,
    pub(super) random: SecretString,
    pub(super) token: Arc<Token>,
    issued_at: Instant,
}

impl Ticket {
    /// The recording that it is for.
    pub fn name(&self) -> &RecordingName {
        &self.name
    }

    /// How old it is at most: counted from before it was asked for.
    pub fn age(&self) -> Duration {
        self.issued_at.elapsed()
    }

    /// The query of the download.
    pub(super) fn query(&self) -> String {
        let name = parameter("recording", self.name.as_bytes());
        let random = parameter("random", self.random.expose_secret().as_bytes());
        format!("{name}&{random}&{}", self.token.parameter())
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("name", &self.name).field("token", &self.token).finish_non_exhaustive()
    }
}

impl Slot {
    /// Takes a ticket for a recording. Ask only when its download can begin at once, over the same slot.
    ///
    /// # Errors
    ///
    /// `missing` if the PBX says that it has no such recording, else as the table in [`crate::pbx::policy`] says.
    pub async fn ticket(&mut self, name: &RecordingName) -> Result<Ticket, PbxError> {
        let doing = format!("asking for a ticket for `{name}`");
        let action = self.shared.action(Family::Recording, Stage::GetRandom, doing);
        let body = request_body(name, self.shared.config.allowed_ip.map(|address| address.to_string()));
        let answer = self.call(&action, "recording/get_random", body).await?;
        let random = envelope::text(&answer.members, "random").ok_or_else(|| {
            self.shared.error(&action, Failure::new(Reason::Protocol, "the reply holds no ticket"))
        })?;
        self.shared.counters.note_ticket();
        let (name, random) = (name.clone(), random.into());
        Ok(Ticket { name, random, token: answer.token, issued_at: answer.asked_at })
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
