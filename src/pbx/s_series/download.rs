//! Tickets, and the downloads that they permit: of recordings and of voicemail, once, within 30 s (`docs/pbx-api.md` §5).

use std::sync::Arc;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};

use crate::base::recording::RecordingName;
use crate::pbx::body::{Body, Kind};
use crate::pbx::budget::Lease;
use crate::pbx::error::{Failure, PbxError, Reason, Result};
use crate::pbx::http::{JSON_BYTES_MAX, Request, parameter};
use crate::pbx::inflate::refused as compressed;
use crate::pbx::s_series::policy::{self, Family, Place, Stage};
use crate::pbx::s_series::slot::{Answer, Refusal, Slot, parse_reply};
use crate::pbx::s_series::{Action, Shared, TICKETS_MAX};
use crate::pbx::{Asked, Audio};

/// Permission to download one recording, once. A download consumes it; it cannot be copied.
pub(super) struct Ticket {
    pub(super) action: Action,
    /// What says which recording it is.
    pub(super) query: Vec<String>,
    pub(super) random: SecretString,
    pub(super) answer: Answer,
}

impl Slot {
    /// Begins the download of a recording, with another ticket if one is refused.
    pub(super) async fn recording_audio(mut self, name: &RecordingName) -> Result<Download> {
        let mut tickets = 1;
        loop {
            let outcome = match self.ticket(name).await {
                Ok(ticket) => self.download(ticket).await,
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if error.policy().wants_another_ticket() && tickets < TICKETS_MAX => tickets += 1,
                outcome => return outcome.map_err(PbxError::after_the_last_ticket),
            }
        }
    }

    /// Takes a ticket for a recording. Ask only when its download can begin at once, over the same slot.
    pub(super) async fn ticket(&mut self, name: &RecordingName) -> Result<Ticket> {
        let doing = format!("asking for a ticket for `{name}`");
        let action = self.shared.action(Family::Recording, Stage::GetRandom, doing);
        let body = request_body(name, self.shared.config.allowed_ip.map(|address| address.to_string()));
        let (random, answer) = self.random(&action, body).await?;
        self.shared.counters.note(|counted| counted.tickets += 1);
        let action = self.shared.action(Family::Recording, Stage::Download, format!("downloading `{name}`"));
        let query = vec![parameter("recording", name.as_bytes())];
        Ok(Ticket { action, query, random, answer })
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

/// A file that is being received, over the connection that it occupies. Dropping it closes the connection.
pub(super) struct Download {
    // Dropped first: the lease must outlive the connection.
    pub(super) body: Body,
    lease: Lease,
    shared: Arc<Shared>,
    action: Action,
}

impl Audio for Download {
    fn next(&mut self) -> Asked<'_, Option<Bytes>> {
        Box::pin(async move {
            let chunk = self.body.next().await.map_err(|failure| self.shared.error(&self.action, failure))?;
            if let Some(chunk) = &chunk {
                self.shared.counters.note(|counted| counted.bytes += chunk.len() as u64);
                self.shared.throttle.received(chunk.len()).await;
            }
            if let (None, Some(ending)) = (&chunk, self.body.ending()) {
                self.lease.ended(ending);
            }
            Ok(chunk)
        })
    }

    fn content_length(&self) -> Option<u64> {
        self.body.declared
    }

    fn limit(&mut self, bytes: u64) {
        self.body.limit(bytes);
    }
}

impl Slot {
    /// Spends a ticket and begins the download of its recording.
    ///
    /// A ticket older than `ticket_age_max` is refused without a request. If the PBX refuses the session, it has been
    /// forgotten on return and a new ticket logs in again. After a failure the slot can be used further.
    pub(super) async fn download(&mut self, ticket: Ticket) -> Result<Download> {
        let shared = Arc::clone(&self.shared);
        let Ticket { action, mut query, random, answer } = ticket;
        self.spend_admission(Stage::Download).await;
        self.hold_lease().await.open().await;
        let age = answer.asked_at.elapsed();
        if age > shared.config.limits.ticket_age_max {
            let what = format!("the ticket was {:.1} s old and is not spent", age.as_secs_f64());
            return Err(shared.error(&action, Failure::new(Reason::Ticket, what)));
        }
        query.extend([parameter("random", random.expose_secret().as_bytes()), answer.token.parameter()]);
        let request = shared.request(action.place, query.join("&"));
        let request = Request { bytes_max: shared.config.limits.recording_bytes_max, ..request };
        match self.open(action.place, request).await {
            Ok(body) => Ok(self.hand_over(body, action).await),
            Err(failure) => Err(shared.refused(&action, failure, &answer.token).await),
        }
    }

    /// Hands the connection over to the body that arrives on it.
    pub(super) async fn hand_over(&mut self, body: Body, action: Action) -> Download {
        self.hold_lease().await;
        let lease = self.lease.take().expect("it is held since the line above");
        Download { body, lease, shared: Arc::clone(&self.shared), action }
    }

    /// Sends the request and looks at the first bytes of the reply.
    async fn open(&mut self, place: Place, request: Request) -> Result<Body, Failure> {
        self.shared.counters.note(|counted| counted.requests += 1);
        let mut body = self.shared.http.send(request).await?;
        let coding = body.coding;
        if coding.is_some() {
            // What is compressed is no audio that can be vouched for, but it may be a refusal.
            body.inflate(JSON_BYTES_MAX).await?;
        }
        let kind = body.kind().await?;
        let failure = match (kind, coding) {
            (Kind::Json, _) => self.refusal(place, &mut body).await,
            (Kind::Html, _) => {
                let page = self.shared.http.page(&mut body).await;
                Failure::new(Reason::HtmlBody, format!("{page} came instead of the audio"))
            }
            (_, Some(coding)) => compressed(coding, "the audio"),
            (Kind::Audio, None) => return Ok(body),
            (Kind::Empty, None) => Failure::new(Reason::EmptyBody, "nothing came instead of the audio"),
            (Kind::AudioCut, None) => {
                Failure::new(Reason::Truncated, "the transfer ended within the first bytes")
            }
            (Kind::Other, None) => Failure::new(Reason::NotAudio, "what came is no audio"),
        };
        Err(failure)
    }

    /// What a JSON reply says that came in place of a file.
    pub(super) async fn refusal(&mut self, place: Place, body: &mut Body) -> Failure {
        let patience = self.shared.config.limits.reply_timeout;
        let bytes = tokio::time::timeout(patience, body.rest(JSON_BYTES_MAX)).await;
        if let (Some(ending), Some(lease)) = (body.ending(), self.lease.as_mut()) {
            lease.ended(ending);
        }
        match bytes.map(|bytes| bytes.map(|bytes| parse_reply(&bytes))) {
            Ok(Ok(Err(Refusal::Errno(errno)))) => policy::failure(place, errno),
            _ => Failure::new(Reason::JsonBody, "JSON without an error number came instead of the file"),
        }
    }
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
