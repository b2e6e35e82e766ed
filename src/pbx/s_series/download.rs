//! Downloads of recordings, of calls and of voicemail. A [`Download`] exists only if the reply begins like audio.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::pbx::body::{Body, Kind};
use crate::pbx::budget::Lease;
use crate::pbx::error::{Failure, PbxError, Reason};
use crate::pbx::http::{JSON_BYTES_MAX, Request};
use crate::pbx::inflate::refused as compressed;
use crate::pbx::s_series::Action;
use crate::pbx::s_series::Shared;
use crate::pbx::s_series::envelope::{self, Refusal};
use crate::pbx::s_series::policy::{self, Place, Stage};
use crate::pbx::s_series::slot::Slot;
use crate::pbx::s_series::ticket::Ticket;

/// Audio that is being received. Dropping it closes the connection.
pub struct Download {
    stream: Stream,
}

impl Download {
    /// The next bytes, from the first one on; `None` at the end of the transfer.
    ///
    /// Without a declared length that end proves nothing: compare with what the audio's own header declares.
    ///
    /// # Errors
    ///
    /// `stall`, `slow`, `truncated`, `oversize` or `reset`; then the transfer is over.
    pub async fn next(&mut self) -> Result<Option<Bytes>, PbxError> {
        self.stream.next().await
    }

    /// The length that the reply declared, in bytes.
    pub fn content_length(&self) -> Option<u64> {
        self.stream.body.declared()
    }

    pub fn received(&self) -> u64 {
        self.stream.body.received()
    }

    /// Bounds the whole transfer to `bytes`, as soon as the audio's header has declared its size; bounds only narrow.
    pub fn limit(&mut self, bytes: u64) {
        self.stream.body.limit(bytes);
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("content_length", &self.content_length())
            .field("received", &self.received())
            .finish_non_exhaustive()
    }
}

/// A body with the connection that it occupies.
pub(super) struct Stream {
    // Dropped first: the lease must outlive the connection.
    pub(super) body: Body,
    lease: Lease,
    shared: Arc<Shared>,
    action: Action,
}

impl Stream {
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, PbxError> {
        let chunk = self.body.next().await.map_err(|failure| self.shared.error(&self.action, failure))?;
        if let Some(chunk) = &chunk {
            self.shared.counters.note_bytes(chunk.len());
            self.shared.throttle.received(chunk.len()).await;
        }
        if let (None, Some(ending)) = (&chunk, self.body.ending()) {
            self.lease.ended(ending);
        }
        Ok(chunk)
    }
}

impl Slot {
    /// Spends a ticket and begins the download of its recording.
    ///
    /// A ticket older than `ticket_age_max` is refused without a request. If the PBX refuses the session, it has been
    /// forgotten on return and a new ticket logs in again. After a failure the slot can be used further.
    ///
    /// # Errors
    ///
    /// `ticket`, `missing`, `json_body`, `html_body`, `empty_body`, `not_audio` and all that a transfer can meet.
    pub async fn download(&mut self, ticket: Ticket) -> Result<Download, PbxError> {
        let shared = Arc::clone(&self.shared);
        let action = ticket.action(&shared);
        self.spend_admission(Stage::Download).await;
        self.hold_lease().await.open().await;
        if ticket.age() > shared.config.limits.ticket_age_max {
            let what = format!("the ticket was {:.1} s old and is not spent", ticket.age().as_secs_f64());
            return Err(shared.error(&action, Failure::new(Reason::Ticket, what)));
        }
        let path = shared.download_path(ticket.endpoint());
        let bytes_max = shared.config.limits.recording_bytes_max;
        let request = Request { bytes_max, ..shared.request(action.place, path, ticket.query()) };
        let outcome = self.open(action.place, request).await;
        match outcome {
            Ok(body) => Ok(Download { stream: self.stream(body, action).await }),
            Err(failure) => Err(shared.refused(&action, failure, &ticket.token).await),
        }
    }

    /// Hands the connection over to the body that arrives on it.
    pub(super) async fn stream(&mut self, body: Body, action: Action) -> Stream {
        self.hold_lease().await;
        let lease = self.lease.take().expect("it is held since the line above");
        Stream { body, lease, shared: Arc::clone(&self.shared), action }
    }

    /// Sends the request and looks at the first bytes of the reply.
    async fn open(&mut self, place: Place, request: Request) -> Result<Body, Failure> {
        self.shared.counters.note_request();
        let mut body = self.shared.http.send(request).await?;
        let coding = body.coding();
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
            (other, None) => not_audio(other),
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
        match bytes.map(|bytes| bytes.map(|bytes| envelope::parse(&bytes))) {
            Ok(Ok(Err(Refusal::Errno(errno)))) => policy::failure(place, errno),
            _ => Failure::new(Reason::JsonBody, "JSON without an error number came instead of the file"),
        }
    }
}

fn not_audio(kind: Kind) -> Failure {
    match kind {
        Kind::Empty => Failure::new(Reason::EmptyBody, "nothing came instead of the audio"),
        Kind::AudioCut => Failure::new(Reason::Truncated, "the transfer ended within the first bytes"),
        _ => Failure::new(Reason::NotAudio, "what came is no audio"),
    }
}
