//! The S-Series and compatible devices: tickets, CSV, error numbers.
//!
//! One `PbxClient` per PBX: it logs in once, shares the session among all requests, never has more than
//! `concurrency` connections, and turns every failure into one `PbxError` with one `Policy`.
//!
//! ```text
//! let mut slot = client.slot().await;             // a connection is ours …
//! let ticket = slot.ticket(&name).await?;         // … so the ticket will not wait
//! let mut download = slot.download(ticket).await?; // audio, or an error
//! while let Some(bytes) = download.next().await? { … }
//! ```

mod calls;
mod cdr;
#[cfg(test)]
mod cdr_tests;
mod device;
mod download;
mod envelope;
mod event_stream;
#[cfg(test)]
mod event_stream_tests;
#[cfg(test)]
mod fake;
mod family;
#[cfg(all(test, feature = "legacy-tls"))]
mod legacy_tests;
mod message;
pub mod policy;
mod registration;
#[cfg(test)]
mod registration_tests;
pub mod renewal;
mod session;
#[cfg(test)]
mod session_tests;
mod slot;
pub mod tcp;
#[cfg(test)]
mod tests;
mod ticket;
mod voicemail;
#[cfg(test)]
mod voicemail_tests;
#[cfg(test)]
mod way_tests;
#[cfg(test)]
mod wire_tests;

use std::fmt;
use std::sync::Arc;

pub use cdr::CdrBody;
pub use download::Download;
pub use envelope::{Refusal, parse as parse_reply};
pub use event_stream::EventStream;
pub use slot::Slot;
pub use ticket::Ticket;

use crate::config::PbxConfig;
use crate::pbx::budget::{Budget, Lease};
use crate::pbx::counters::{Counted, Counters};
use crate::pbx::error::{Failure, PbxError, Reason, When};
use crate::pbx::http::{Http, JSON_BYTES_MAX, Request};
use crate::pbx::pace::Pace;
use crate::pbx::throttle::Throttle;
use policy::{Family, Place, Stage};
use session::{Session, Token};

/// Tickets that one attempt may spend: an expired one costs another ticket, not an attempt.
const TICKETS_MAX: u32 = 3;

/// The largest list of voicemail that is read, in bytes: hundreds of boxes with hundreds of messages each.
const VOICEMAIL_LIST_BYTES_MAX: u64 = 32 << 20;

/// A PBX as its API shows it. Clones share the session and the connection budget.
#[derive(Clone)]
pub struct PbxClient {
    shared: Arc<Shared>,
}

impl PbxClient {
    /// Prepares a client; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// Only if the HTTP library cannot be set up.
    pub fn new(config: &PbxConfig) -> Result<Self, PbxError> {
        let secrets = vec![config.password.clone(), session::password_md5(config).into()];
        let http = Http::new(config, secrets)
            .map_err(|failure| PbxError::of(&config.id, When::Asking, "preparing the connection", failure))?;
        let budget = Budget::new(config.concurrency);
        let throttle = Throttle::new(&config.id, &config.manners);
        let shared = Shared {
            config: config.clone(),
            http,
            session: Session::default(),
            budget,
            throttle,
            counters: Counters::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub fn id(&self) -> &str {
        &self.shared.config.id
    }

    pub fn counters(&self) -> Counted {
        self.shared.counters.read()
    }

    /// Lets a login be tried again that was refused or locked out: an operator says that its reason is gone.
    pub async fn lift_refusal(&self) {
        self.shared.session.lift_refusal().await;
    }

    /// Forgets the session, so that the next request logs in: for a PBX that says it has restarted. One that is merely
    /// said to have costs a login.
    pub async fn forget_session(&self) {
        self.shared.session.forget().await;
    }

    /// Waits for one of the PBX's `concurrency` connections; served in order.
    pub async fn slot(&self) -> Slot {
        let lease = self.shared.lease().await;
        Slot { shared: Arc::clone(&self.shared), lease: Some(lease), admitted: 0 }
    }

    /// Waits for a connection, and until a ticket may be asked for and spent over it at once. May be given up.
    pub async fn ready_slot(&self) -> Slot {
        let mut slot = self.slot().await;
        slot.ready().await;
        slot
    }

    pub fn pace(&self) -> Pace {
        self.shared.throttle.pace()
    }
}

impl fmt::Debug for PbxClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PbxClient").field("pbx", &self.shared.config.id).finish_non_exhaustive()
    }
}

/// What was being done, and where in the API: it picks the policy and begins the sentence.
#[derive(Debug, Clone)]
struct Action {
    place: Place,
    /// Such as "downloading `a.wav`".
    doing: String,
}

/// What all requests to one PBX have in common.
struct Shared {
    config: PbxConfig,
    http: Http,
    session: Session,
    budget: Budget,
    throttle: Throttle,
    counters: Counters,
}

impl Shared {
    /// Waits for a connection; for the only one while the PBX answers slowly.
    async fn lease(&self) -> Lease {
        let lease = self.budget.lease().await;
        if self.throttle.is_slow() { self.budget.alone(lease).await } else { lease }
    }

    /// A request for JSON that carries nothing but its query.
    fn request(&self, place: Place, path: String, query: String) -> Request {
        let refusal = move |bytes: &[u8]| match envelope::parse(bytes) {
            Err(Refusal::Errno(errno)) => Some(policy::failure(place, errno)),
            _ => None,
        };
        let bytes_max = match place.family {
            Family::Voicemail => VOICEMAIL_LIST_BYTES_MAX,
            _ => JSON_BYTES_MAX,
        };
        Request {
            when: place.when(),
            refusal: Box::new(refusal),
            path,
            query,
            json: None,
            timeout: self.config.limits.reply_timeout,
            bytes_max,
        }
    }

    /// Names a JSON call, for the error table and the error's sentence.
    fn action(&self, family: Family, stage: Stage, doing: String) -> Action {
        Action { place: place(&self.config, family, stage), doing }
    }

    /// Names a download. Its error numbers are those of the version in its path.
    fn download_action(&self, family: Family, doing: String) -> Action {
        let generation = self.config.download_api_version.generation;
        Action { place: Place { generation, family, stage: Stage::Download }, doing }
    }

    fn path(&self, endpoint: &str) -> String {
        format!("/api/{}/{endpoint}", self.config.api_version.segment)
    }

    fn download_path(&self, endpoint: &str) -> String {
        format!("/api/{}/{endpoint}", self.config.download_api_version.segment)
    }

    fn error(&self, action: &Action, failure: Failure) -> PbxError {
        let (id, wait) = (&self.config.id, self.config.limits.lockout_wait.as_secs_f64());
        let failure = match failure.reason {
            Reason::LockedOut => failure.saying(format!(
                "this address is locked out after wrong passwords; nothing is asked for {wait} s, or delete its \
                 entry `API-IP` from the PBX's blocked addresses and use `callvault retry --pbx {id}`"
            )),
            _ => failure,
        };
        self.counters.note_error(failure.reason);
        if let Some(wait) = failure.retry_after {
            self.throttle.leave_alone(wait);
        }
        let Action { place, doing } = action;
        let policy = failure.policy.or_else(|| Some(policy::for_transport(*place, failure.reason)));
        PbxError::of(id, place.when(), doing, Failure { policy, ..failure })
    }

    /// A failure of a request that carried `token`, its consequences for the session drawn.
    async fn refused(&self, action: &Action, failure: Failure, token: &Token) -> PbxError {
        let error = self.error(action, failure);
        self.session.heed(&error, token, self.config.limits.lockout_wait).await;
        error
    }
}

fn place(config: &PbxConfig, family: Family, stage: Stage) -> Place {
    Place { generation: config.api_version.generation, family, stage }
}
