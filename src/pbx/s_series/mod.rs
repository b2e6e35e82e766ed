//! The S-Series and compatible devices: tickets, CSV, error numbers.
//!
//! One `PbxClient` per PBX: it logs in once, shares the session among all requests, never has more than
//! `concurrency` connections, and turns every failure into one `PbxError` with one `Policy`.
//!
//! ```text
//! let mut slot = client.slot().await;              // a connection is ours …
//! let ticket = slot.ticket(&name).await?;          // … so the ticket will not wait
//! let mut download = slot.download(ticket).await?; // audio, or an error
//! while let Some(bytes) = download.next().await? { … }
//! ```

mod cdr;
mod download;
pub mod event_stream;
mod policy;
pub mod registration;
mod session;
mod slot;
mod voicemail;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::civil::DateTime;
use serde_json::{Map, Value};
use tokio::sync::Notify;

pub use slot::{Refusal, parse_reply};

use crate::base::message::Message;
use crate::base::recording::RecordingName;
use crate::config::{ApiVersion, Generation, PbxConfig, PushMode};
use crate::formats::cdr::CdrReader;
use crate::pbx::budget::{Budget, Lease};
use crate::pbx::error::{Failure, PbxError, Reason, Result, When};
use crate::pbx::http::{Http, JSON_BYTES_MAX, Request};
use crate::pbx::push::http::Receiver;
use crate::pbx::throttle::{Counted, Counters, Pace, Throttle};
use crate::pbx::{self, Abilities, Asked, Audio, Calls, DeviceInfo, Expected, Pbx, VoicemailList};
use cdr::CsvCalls;
use policy::{Family, Place, Stage};
use session::{Session, Token};
use slot::Slot;

/// Tickets that one attempt may spend: an expired one costs another ticket, not an attempt.
const TICKETS_MAX: u32 = 3;

/// The largest list of voicemail that is read, in bytes: hundreds of boxes with hundreds of messages each.
const VOICEMAIL_LIST_BYTES_MAX: u64 = 32 << 20;

/// A PBX as its API shows it. Clones share the session and the connection budget.
#[derive(Clone)]
pub struct PbxClient {
    shared: Arc<Shared>,
}

impl fmt::Debug for PbxClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PbxClient").field("pbx", &self.shared.config.id).finish_non_exhaustive()
    }
}

impl PbxClient {
    /// Prepares a client; nothing is sent yet. It fails only if the HTTP library cannot be set up.
    pub fn new(config: &PbxConfig) -> Result<Self> {
        let secrets = vec![config.password.clone(), session::password_md5(config).into()];
        let http = Http::new(config, secrets)
            .map_err(|failure| PbxError::of(&config.id, When::Asking, "preparing the connection", failure))?;
        let shared = Shared {
            config: config.clone(),
            http,
            session: Session::default(),
            budget: Budget::new(config.concurrency),
            throttle: Throttle::new(&config.id, &config.manners),
            counters: Counters::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Waits for one of the PBX's `concurrency` connections; served in order.
    async fn slot(&self) -> Slot {
        let lease = self.shared.lease().await;
        Slot { shared: Arc::clone(&self.shared), lease: Some(lease), admitted: 0 }
    }

    pub fn pace(&self) -> Pace {
        self.shared.throttle.pace()
    }
}

impl DeviceInfo {
    /// Reads a reply; `None` without a serial number. Devices nest the members in `deviceinfo`; some may not.
    pub fn of_reply(mut reply: Map<String, Value>) -> Option<Self> {
        let members = match reply.remove("deviceinfo") {
            Some(Value::Object(members)) => members,
            _ => reply,
        };
        let member = |name| slot::trimmed(&members, name);
        Some(Self {
            sn: member("sn")?,
            firmware: member("firmwarever"),
            name: member("devicename"),
            system_time: member("systemtime"),
        })
    }
}

impl Pbx for PbxClient {
    fn id(&self) -> &str {
        &self.shared.config.id
    }

    fn can(&self) -> Abilities {
        let config = &self.shared.config;
        Abilities {
            calls: config.cdr_api,
            voicemail: config.api_version.generation != Generation::V1_0,
            events: config.push != PushMode::Off,
            recordings: false,
        }
    }

    fn counters(&self) -> Counted {
        self.shared.counters.read()
    }

    fn device(&self) -> Asked<'_, Option<DeviceInfo>> {
        Box::pin(async move {
            let action = self.shared.action(Family::Device, Stage::Query, "asking for the serial number");
            let mut slot = PbxClient::slot(self).await;
            // The call has no parameters, but an empty body is answered with errno 20009.
            match slot.call(&action, Bytes::from_static(b"{}")).await {
                Ok(answer) => Ok(DeviceInfo::of_reply(answer.members)),
                Err(error) if error.says_no_such_call() => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn slot(&self) -> BoxFuture<'_, Box<dyn pbx::Slot>> {
        Box::pin(async move { Box::new(PbxClient::slot(self).await) as Box<dyn pbx::Slot> })
    }

    fn voicemail(&self) -> Asked<'_, Option<VoicemailList>> {
        Box::pin(async move { PbxClient::slot(self).await.list_voicemail(None).await })
    }

    fn lift_refusal(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.session.lift_refusal())
    }

    fn keep_events_coming<'a>(&'a self, receiver: &'a Receiver, restarted: &'a Notify) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let streamed = async {
                if let PushMode::Tcp { port } = self.shared.config.push {
                    let error = event_stream::follow(self, port, &receiver.wakes, &receiver.tally).await;
                    tracing::warn!(pbx = self.id(), "{error}");
                }
            };
            if self.can().events {
                tokio::join!(registration::keep(self, restarted), streamed);
            }
        })
    }
}

impl pbx::Slot for Slot {
    fn ready(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.admit(Stage::GetRandom))
    }

    fn calls(
        self: Box<Self>,
        from: DateTime,
        to: DateTime,
        expected: Expected,
    ) -> Asked<'static, Box<dyn Calls>> {
        Box::pin(async move {
            let config = &self.shared.config;
            let pbx = config.id.clone();
            let reader = CdrReader::new(&config.cdr_columns).keeping(&config.cdr_keep_columns).of_pbx();
            let body = self.cdr(from, to).await?;
            Ok(Box::new(CsvCalls::new(pbx, body, reader, expected)) as Box<dyn Calls>)
        })
    }

    fn recording<'a>(self: Box<Self>, name: &'a RecordingName) -> Asked<'a, Box<dyn Audio>> {
        Box::pin(async move { Ok(Box::new(self.recording_audio(name).await?) as Box<dyn Audio>) })
    }

    fn mailbox<'a>(&'a mut self, extension: &'a str) -> Asked<'a, VoicemailList> {
        Box::pin(self.voicemail_of(extension))
    }

    fn message<'a>(self: Box<Self>, message: &'a Message, nth: usize) -> Asked<'a, Box<dyn Audio>> {
        Box::pin(async move { Ok(Box::new(self.message_audio(message, nth).await?) as Box<dyn Audio>) })
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
    fn request(&self, place: Place, query: String) -> Request {
        let refusal = move |bytes: &[u8]| match parse_reply(bytes) {
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
            path: format!("/api/{}/{}", self.version(place.stage).segment, place.endpoint()),
            query,
            json: None,
            timeout: self.config.limits.reply_timeout,
            bytes_max,
        }
    }

    /// Names a call, for the error table and the error's sentence.
    fn action(&self, family: Family, stage: Stage, doing: impl Into<String>) -> Action {
        let generation = self.version(stage).generation;
        Action { place: Place { generation, family, stage }, doing: doing.into() }
    }

    /// In which version a call is made. A download's error numbers are those of the version in its path.
    fn version(&self, stage: Stage) -> &ApiVersion {
        if stage == Stage::Download { &self.config.download_api_version } else { &self.config.api_version }
    }

    fn error(&self, action: &Action, failure: Failure) -> PbxError {
        let (id, wait) = (&self.config.id, self.config.limits.lockout_wait.as_secs_f64());
        let failure = match failure.reason {
            Reason::LockedOut => failure.saying(format!(
                "this address is locked out after wrong passwords; callvault asks nothing for {wait} s; to end that \
                 sooner, delete its entry `API-IP` from the PBX's blocked addresses and use `callvault retry --pbx {id}`"
            )),
            _ => failure,
        };
        self.counters.note(|counted| *counted.errors.entry(failure.reason.to_string()).or_default() += 1);
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
