//! The CDR as the PBX's API exports it: CSV for a range of its local time (`docs/pbx-api.md` §6).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::civil::DateTime;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::config::Generation;
use crate::pbx::body::{Body, Kind};
use crate::pbx::error::{Failure, PbxError, Policy, Reason};
use crate::pbx::http::{Request, parameter};
use crate::pbx::s_series::Action;
use crate::pbx::s_series::download::Stream;
use crate::pbx::s_series::policy::{Family, Stage};
use crate::pbx::s_series::session::Token;
use crate::pbx::s_series::slot::{Answer, Slot};
use crate::pbx::s_series::{PbxClient, TICKETS_MAX};

/// CSV that is being received. Dropping it closes the connection.
pub struct CdrBody {
    stream: Stream,
}

impl CdrBody {
    /// The next bytes, the header line first; `None` at the end. An end without a declared length proves nothing.
    ///
    /// # Errors
    ///
    /// `stall`, `slow`, `truncated`, `oversize` or `reset`; then the transfer is over.
    pub async fn next(&mut self) -> Result<Option<Bytes>, PbxError> {
        self.stream.next().await
    }
}

impl fmt::Debug for CdrBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CdrBody").field("received", &self.stream.body.received()).finish_non_exhaustive()
    }
}

impl PbxClient {
    /// Reads the CDR from `from` to `to`, both in the PBX's local time and both included; `None` if the PBX says that
    /// there are no calls.
    ///
    /// # Errors
    ///
    /// `unsupported` without a request for v1.0.x, which has no such call. If [`PbxError::is_too_much_at_once`],
    /// a shorter range may succeed.
    pub async fn cdr(&self, from: DateTime, to: DateTime) -> Result<Option<CdrBody>, PbxError> {
        self.slot().await.cdr(from, to).await
    }
}

impl Slot {
    /// The same, over a connection that is had already.
    ///
    /// # Errors
    ///
    /// As [`PbxClient::cdr`].
    pub async fn cdr(mut self, from: DateTime, to: DateTime) -> Result<Option<CdrBody>, PbxError> {
        let range = Range::new(from, to, self.shared.config.api_version.generation);
        let doing = format!("reading the CDR from {} to {}", range.from, range.to);
        if self.shared.config.api_version.generation == Generation::V1_0 {
            let action = self.shared.action(Family::Cdr, Stage::GetRandom, doing);
            let what = "API v1.0 has no CDR download; give its CSV export with `cdr_folder` or `--cdr`";
            return Err(self.shared.error(&action, Failure::new(Reason::Unsupported, what)));
        }
        let mut outcome = self.read_cdr(&range, &doing).await;
        for _ in 1..TICKETS_MAX {
            match &outcome {
                Err(error) if matches!(error.policy(), Policy::NewTicket | Policy::LogIn) => {
                    outcome = self.read_cdr(&range, &doing).await;
                }
                _ => break,
            }
        }
        match outcome {
            Ok(body) => Ok(Some(body)),
            Err(error) if error.policy() == Policy::Empty => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A range in the words of the API.
struct Range {
    /// The parameter that selects extensions: renamed in v2.0.0.
    selector: &'static str,
    from: String,
    to: String,
}

impl Range {
    fn new(from: DateTime, to: DateTime, generation: Generation) -> Self {
        let selector = if generation == Generation::V2 { "number" } else { "extid" };
        let text = |time: DateTime| time.strftime("%Y-%m-%d %H:%M:%S").to_string();
        Self { selector, from: text(from), to: text(to) }
    }

    fn json(&self, allowed_ip: Option<String>) -> Bytes {
        let mut members = json!({ self.selector: "all", "starttime": self.from, "endtime": self.to });
        if let Some(address) = allowed_ip {
            members["allowedip"] = address.into();
        }
        members.to_string().into()
    }

    fn query(&self, token: &Token, random: &SecretString) -> String {
        [
            parameter(self.selector, b"all"),
            parameter("starttime", self.from.as_bytes()),
            parameter("endtime", self.to.as_bytes()),
            token.parameter(),
            parameter("random", random.expose_secret().as_bytes()),
        ]
        .join("&")
    }
}

impl Slot {
    async fn read_cdr(&mut self, range: &Range, doing: &str) -> Result<CdrBody, PbxError> {
        let shared = Arc::clone(&self.shared);
        let asking = shared.action(Family::Cdr, Stage::GetRandom, doing.to_owned());
        let json = range.json(shared.config.allowed_ip.map(|address| address.to_string()));
        let (random, Answer { token, .. }) = self.random(&asking, "cdr/get_random", json).await?;
        let action = shared.download_action(Family::Cdr, doing.to_owned());
        match self.open_cdr(&action, range.query(&token, &random)).await {
            Ok(body) => Ok(CdrBody { stream: self.stream(body, action).await }),
            Err(failure) => Err(shared.refused(&action, failure, &token).await),
        }
    }

    async fn open_cdr(&mut self, action: &Action, query: String) -> Result<Body, Failure> {
        self.spend_admission(Stage::Download).await;
        self.hold_lease().await.open().await;
        let shared = Arc::clone(&self.shared);
        shared.counters.note_request();
        let bytes_max = shared.config.limits.cdr_bytes_max;
        let request = shared.request(action.place, shared.download_path("cdr/download"), query);
        let request = Request { timeout: shared.config.limits.cdr_timeout, bytes_max, ..request };
        let mut body = shared.http.send(request).await?;
        body.inflate(bytes_max).await?;
        Err(match body.kind().await? {
            Kind::Json => self.refusal(action.place, &mut body).await,
            Kind::Html => {
                let page = shared.http.page(&mut body).await;
                Failure::new(Reason::HtmlBody, format!("{page} came instead of the CSV"))
            }
            Kind::Empty => Failure::new(Reason::EmptyBody, "nothing came instead of the CSV"),
            Kind::Audio | Kind::AudioCut | Kind::Other => return Ok(body),
        })
    }
}
