//! A place in the connection budget, and the calls that answer with JSON, made over it one after the other.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::pbx::body::Kind;
use crate::pbx::budget::Lease;
use crate::pbx::error::{Failure, PbxError, Policy, Reason};
use crate::pbx::http::Request;
use crate::pbx::json::UnreadableEntry;
use crate::pbx::s_series::Action;
use crate::pbx::s_series::Shared;
use crate::pbx::s_series::envelope::{self, Refusal};
use crate::pbx::s_series::policy::{self, Family, Place, Stage};
use crate::pbx::s_series::session::Token;

/// How often one call logs in again before it gives up.
const RENEWALS_MAX: u32 = 3;

/// Permission to have one connection to the PBX at a time. Take it before the ticket, so that the download can begin
/// at once.
///
/// It serves any number of requests in sequence. A download that has begun takes the permission with it; a further
/// request then waits for a new one.
pub struct Slot {
    pub(super) shared: Arc<Shared>,
    pub(super) lease: Option<Lease>,
    pub(super) admitted: u32,
}

pub(super) struct Answer {
    pub(super) members: Map<String, Value>,
    pub(super) token: Arc<Token>,
    pub(super) asked_at: Instant,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("pbx", &self.shared.config.id).finish_non_exhaustive()
    }
}

impl Slot {
    /// Waits for a permission if this slot has none.
    pub(super) async fn hold_lease(&mut self) -> &mut Lease {
        let lease = match self.lease.take() {
            Some(lease) => lease,
            None => self.shared.lease().await,
        };
        self.lease.insert(lease)
    }

    /// Waits until a ticket may be asked for and spent at once. To be used at once; may be given up.
    pub async fn ready(&mut self) {
        self.admit(Stage::GetRandom).await;
    }

    /// Waits until a request may be sent; with one for a ticket, until its download may follow at once.
    ///
    /// A slot that is admitted already does not wait: nothing stands between a ticket and its download.
    pub(super) async fn admit(&mut self, stage: Stage) {
        let due = if stage == Stage::GetRandom { 2 } else { 1 };
        if let Some(more) = NonZeroU32::new(u32::saturating_sub(due, self.admitted)) {
            self.shared.throttle.admit(more).await;
            self.admitted = due;
        }
    }

    /// Counts a request as sent; waits if it was not admitted.
    pub(super) async fn spend_admission(&mut self, stage: Stage) {
        self.admit(stage).await;
        self.admitted -= 1;
    }

    /// Makes a JSON call with the shared session. A refused token is renewed and the call repeated; `body` is sent
    /// unchanged.
    pub(super) async fn call(
        &mut self,
        action: &Action,
        endpoint: &str,
        body: Bytes,
    ) -> Result<Answer, PbxError> {
        let mut token = self.session(None).await?;
        for _ in 0..RENEWALS_MAX {
            match self.call_once(action, endpoint, &token, body.clone()).await {
                Err(error) if error.policy() == Policy::LogIn => token = self.session(Some(&token)).await?,
                outcome => return outcome,
            }
        }
        self.call_once(action, endpoint, &token, body).await
    }

    /// Asks for a ticket: the random that a reply holds.
    pub(super) async fn random(
        &mut self,
        action: &Action,
        endpoint: &str,
        body: Bytes,
    ) -> Result<(SecretString, Answer), PbxError> {
        let answer = self.call(action, endpoint, body).await?;
        let random = envelope::text(&answer.members, "random").ok_or_else(|| {
            self.shared.error(action, Failure::new(Reason::Protocol, "the reply holds no ticket"))
        })?;
        Ok((random.into(), answer))
    }

    /// Posts JSON and reads the JSON that answers.
    pub(super) async fn post(
        &mut self,
        place: Place,
        request: Request,
    ) -> Result<Map<String, Value>, Failure> {
        let shared = Arc::clone(&self.shared);
        self.spend_admission(place.stage).await;
        let lease = self.hold_lease().await;
        lease.open().await;
        let asked_at = Instant::now();
        shared.counters.note_request();
        let (bytes, body) = shared.http.exchange(request).await?;
        if place.stage == Stage::GetRandom {
            shared.throttle.answered(asked_at.elapsed());
        }
        if let Some(ending) = body.ending() {
            lease.ended(ending);
        }
        let members = match (place.family, place.stage) {
            (Family::Voicemail, Stage::Query) => envelope::parse_list(&bytes).map(|(members, unreadable)| {
                self.note_unreadable(&unreadable);
                members
            }),
            _ => envelope::parse(&bytes),
        };
        members.map_err(|refusal| refusal_failure(place, refusal, &bytes, |page| shared.http.describe(page)))
    }

    /// Entries of a list that could not be read: `null` stands for each of them. Says where they are, not what they hold.
    fn note_unreadable(&self, entries: &[UnreadableEntry]) {
        let pbx = &self.shared.config.id;
        for UnreadableEntry { path, at_byte, bytes, .. } in entries {
            tracing::debug!(pbx, path, at_byte, bytes, "`{pbx}` lists an entry that cannot be read: {path}");
        }
    }

    async fn call_once(
        &mut self,
        action: &Action,
        endpoint: &str,
        token: &Arc<Token>,
        body: Bytes,
    ) -> Result<Answer, PbxError> {
        let request = self.shared.request(action.place, self.shared.path(endpoint), token.parameter());
        let request = Request { json: Some(body), ..request };
        self.admit(action.place.stage).await;
        // The clock starts before the request: what the PBX issues is no older than that.
        let asked_at = Instant::now();
        match self.post(action.place, request).await {
            Ok(members) => Ok(Answer { members, token: Arc::clone(token), asked_at }),
            Err(failure) => Err(self.shared.refused(action, failure, token).await),
        }
    }
}

/// A reply to a JSON call that is no success.
fn refusal_failure(
    place: Place,
    refusal: Refusal,
    bytes: &[u8],
    describe: impl Fn(&[u8]) -> String,
) -> Failure {
    match (refusal, Kind::of(bytes)) {
        (Refusal::Errno(errno), _) => policy::failure(place, errno),
        (Refusal::Cut, _) => Failure::new(Reason::Truncated, "the reply breaks off within its JSON"),
        (_, Kind::Empty) => Failure::new(Reason::EmptyBody, "the reply is empty")
            .with_remedy("check that the API is enabled; if this persists, restart the PBX"),
        (_, Kind::Html) => Failure::new(
            Reason::HtmlBody,
            format!(
                "{} came instead of the API's reply; check that the API is enabled, `url` and `api_version`, and that \
                 no login page stands before the PBX",
                describe(bytes)
            ),
        ),
        (Refusal::Foreign, _) => {
            Failure::new(Reason::Protocol, "the reply says neither success nor an error number")
        }
        (Refusal::Damaged(at_byte), _) => Failure::new(
            Reason::Protocol,
            format!("the reply is JSON that is broken at byte {at_byte}, so it is not certain what it says"),
        ),
        (Refusal::TooLarge, _) => {
            Failure::new(Reason::Oversize, "the reply holds more values than a PBX can have to tell")
        }
        (Refusal::NotJson, _) => Failure::new(Reason::Protocol, "the reply is not JSON"),
    }
}
