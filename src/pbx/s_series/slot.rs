//! A place in the connection budget, and the calls made over it one after the other: JSON in, JSON out
//! (`docs/pbx-api.md` §4).

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use secrecy::SecretString;
use serde_json::{Map, Number, Value, json};
use tokio::time::Instant;

use crate::config::Generation;
use crate::pbx::body::Kind;
use crate::pbx::budget::Lease;
use crate::pbx::error::{Failure, Policy, Reason, Result};
use crate::pbx::http::{Request, parameter};
use crate::pbx::json::{JsonError, UnreadableEntry, decode, decode_list};
use crate::pbx::s_series::policy::{self, Family, Place, Stage};
use crate::pbx::s_series::session::Token;
use crate::pbx::s_series::{Action, Shared};

/// The members of a reply.
pub(super) type Object = Map<String, Value>;

/// How often one call logs in again before it gives up.
const RENEWALS_MAX: u32 = 3;

/// Permission to have one connection to the PBX at a time. Take it before the ticket, so that the download can begin
/// at once.
///
/// It serves any number of requests in sequence. A download that has begun takes the permission with it; a further
/// request then waits for a new one.
pub(super) struct Slot {
    pub(super) shared: Arc<Shared>,
    pub(super) lease: Option<Lease>,
    pub(super) admitted: u32,
}

pub(super) struct Answer {
    pub(super) members: Object,
    pub(super) token: Arc<Token>,
    pub(super) asked_at: Instant,
}

impl Slot {
    /// What an extension is called: renamed in v2.0.0.
    pub(super) fn extension_key(&self) -> &'static str {
        if self.shared.config.api_version.generation == Generation::V2 { "number" } else { "extid" }
    }

    /// The body that asks for a ticket, and the query that spends it: the same members. Only the body says whose address
    /// may spend it.
    pub(super) fn ticket_members(&self, members: &[(&str, String)]) -> (Bytes, Vec<String>) {
        let query = members.iter().map(|(key, value)| parameter(key, value.as_bytes())).collect();
        let allowed_ip = self.shared.config.allowed_ip.map(|address| ("allowedip", address.to_string()));
        let body: BTreeMap<_, _> = members.iter().cloned().chain(allowed_ip).collect();
        (json!(body).to_string().into(), query)
    }

    /// Waits for a permission if this slot has none.
    pub(super) async fn hold_lease(&mut self) -> &mut Lease {
        let lease = match self.lease.take() {
            Some(lease) => lease,
            None => self.shared.lease().await,
        };
        self.lease.insert(lease)
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
    pub(super) async fn call(&mut self, action: &Action, body: Bytes) -> Result<Answer> {
        let mut token = self.session(None).await?;
        for _ in 0..RENEWALS_MAX {
            match self.call_once(action, &token, body.clone()).await {
                Err(error) if error.policy() == Policy::LogIn => token = self.session(Some(&token)).await?,
                outcome => return outcome,
            }
        }
        self.call_once(action, &token, body).await
    }

    /// Asks for a ticket: the random that a reply holds.
    pub(super) async fn random(&mut self, action: &Action, body: Bytes) -> Result<(SecretString, Answer)> {
        let answer = self.call(action, body).await?;
        let random = text(&answer.members, "random").ok_or_else(|| {
            self.shared.error(action, Failure::new(Reason::Protocol, "the reply holds no ticket"))
        })?;
        Ok((random.into(), answer))
    }

    pub(super) async fn post(&mut self, place: Place, query: String, json: Bytes) -> Result<Object, Failure> {
        let shared = Arc::clone(&self.shared);
        self.spend_admission(place.stage).await;
        let lease = self.hold_lease().await;
        lease.open().await;
        let asked_at = Instant::now();
        shared.counters.note(|counted| counted.requests += 1);
        let request = Request { json: Some(json), ..shared.request(place, query) };
        let (bytes, body) = shared.http.exchange(request).await?;
        if place.stage == Stage::GetRandom {
            shared.throttle.answered(asked_at.elapsed());
        }
        if let Some(ending) = body.ending() {
            lease.ended(ending);
        }
        let reply = match (place.family, place.stage) {
            (Family::Voicemail, Stage::Query) => parse_list(&bytes),
            _ => parse_reply(&bytes).map(|members| (members, Vec::new())),
        };
        let (members, unreadable) = reply.map_err(|refusal| shared.failure(place, refusal, &bytes))?;
        let pbx = &shared.config.id;
        // Says where they are, not what they hold.
        for UnreadableEntry { path, at_byte, bytes, .. } in &unreadable {
            tracing::debug!(pbx, path, at_byte, bytes, "`{pbx}` lists an entry that cannot be read: {path}");
        }
        Ok(members)
    }

    async fn call_once(&mut self, action: &Action, token: &Arc<Token>, body: Bytes) -> Result<Answer> {
        self.admit(action.place.stage).await;
        // The clock starts before the request: what the PBX issues is no older than that.
        let asked_at = Instant::now();
        match self.post(action.place, token.parameter(), body).await {
            Ok(members) => Ok(Answer { members, token: Arc::clone(token), asked_at }),
            Err(failure) => Err(self.shared.refused(action, failure, token).await),
        }
    }
}

impl Shared {
    /// A reply to a JSON call that is no success.
    fn failure(&self, place: Place, refusal: Refusal, bytes: &[u8]) -> Failure {
        let (reason, what) = match (refusal, Kind::of(bytes)) {
            (Refusal::Errno(errno), _) => return policy::failure(place, errno),
            (Refusal::Json(JsonError::Cut), _) => (Reason::Truncated, "the reply breaks off within its JSON"),
            (_, Kind::Empty) => (
                Reason::EmptyBody,
                "the reply is empty; check that the API is enabled; if this persists, restart the PBX",
            ),
            (_, Kind::Html) => {
                let what = "came instead of the API's reply; check that the API is enabled, `url` and `api_version`, \
                            and that no login page stands before the PBX";
                return Failure::new(Reason::HtmlBody, format!("{} {what}", self.http.describe(bytes)));
            }
            (Refusal::Foreign, _) => (Reason::Protocol, "the reply says neither success nor an error number"),
            (Refusal::Json(JsonError::Damaged(at)), _) => {
                let what = format!(
                    "the reply is JSON that is broken at byte {at}, so it is not certain what it says"
                );
                return Failure::new(Reason::Protocol, what);
            }
            (Refusal::Json(JsonError::TooLarge), _) => {
                (Reason::Oversize, "the reply holds more values than any reply of a PBX")
            }
            (Refusal::Json(JsonError::NotJson), _) => (Reason::Protocol, "the reply is not JSON"),
        };
        Failure::new(reason, what)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Errno(u32),
    /// JSON of another shape.
    Foreign,
    /// It is not certain what the reply says.
    Json(JsonError),
}

/// The members of a successful reply, read leniently (see `pbx::json`).
///
/// The content type is ignored, for devices send JSON as text. Bytes that are not UTF-8 (an echoed name) are
/// replaced, for nothing that we use holds any. Anything but the status `Success` is a failure.
pub fn parse_reply(bytes: &[u8]) -> Result<Object, Refusal> {
    members(decode(bytes).map_err(Refusal::Json)?)
}

/// The same of a reply with lists in it. `null` stands for each entry that cannot be read.
pub(super) fn parse_list(bytes: &[u8]) -> Result<(Object, Vec<UnreadableEntry>), Refusal> {
    let decoded = decode_list(bytes).map_err(Refusal::Json)?;
    Ok((members(decoded.value)?, decoded.unreadable))
}

fn members(reply: Value) -> Result<Object, Refusal> {
    match reply {
        Value::Object(members) if is_success(&members) => Ok(members),
        Value::Object(members) => Err(errno(&members).map_or(Refusal::Foreign, Refusal::Errno)),
        _ => Err(Refusal::Foreign),
    }
}

/// Beyond this, numbers are not kept digit by digit: 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A member as text: devices print numbers with and without quotes. A number with more digits than can be kept would
/// become another one, such as somebody else's serial number: it counts as absent.
pub(super) fn text(members: &Object, name: &str) -> Option<String> {
    match members.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => is_exact(number).then(|| number.to_string()),
        _ => None,
    }
}

/// The same without the blanks around it; none if nothing is left.
pub(super) fn trimmed(members: &Object, name: &str) -> Option<String> {
    text(members, name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn is_exact(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|number| number.abs() < EXACT_MAX)
}

fn is_success(members: &Object) -> bool {
    text(members, "status").is_some_and(|status| status.trim().eq_ignore_ascii_case("success"))
}

/// Only digits: whatever else a device puts there does not reach an error text or the database.
fn errno(members: &Object) -> Option<u32> {
    let text = text(members, "errno")?;
    // A device that has no whole numbers prints one of them so.
    let digits = text.trim();
    digits.strip_suffix(".0").unwrap_or(digits).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_told_digit_by_digit_or_not_at_all() {
        for (number, told) in [
            ("369392500001", Some("369392500001")),
            ("18446744073709551615", Some("18446744073709551615")),
            ("18446744073709551616", None),
            ("3632939995000092500002", None),
            ("-17", Some("-17")),
            ("17.5", Some("17.5")),
            ("1e300", None),
        ] {
            let reply = format!(r#"{{"status":"Success","sn":{number}}}"#);
            assert_eq!(text(&parse_reply(reply.as_bytes()).unwrap(), "sn").as_deref(), told, "{number}");
        }
    }

    #[test]
    fn anything_but_success_is_a_refusal() {
        let table: [(&[u8], Result<(), Refusal>); 11] = [
            (br#"{"status":"Success"}"#, Ok(())),
            (b"\xef\xbb\xbf {\"status\":\"Success\",\"recording\":\"\xd6\xd0\"}\r\n", Ok(())),
            (br#"{"status":"Failed","errno":"20003"}"#, Err(Refusal::Errno(20003))),
            (br#"{"status":"Failure","errno":20003}"#, Err(Refusal::Errno(20003))),
            (br#"{"errno":" 20010 "}"#, Err(Refusal::Errno(20010))),
            (br#"{"status":"Failed","errno":"x; drop"}"#, Err(Refusal::Foreign)),
            (br#"{"status":"Failed"}"#, Err(Refusal::Foreign)),
            (b"[1]", Err(Refusal::Foreign)),
            (br#"{"status":"Suc"#, Err(Refusal::Json(JsonError::Cut))),
            (b"<html>", Err(Refusal::Json(JsonError::NotJson))),
            (b"", Err(Refusal::Json(JsonError::NotJson))),
        ];
        for (bytes, expected) in table {
            assert_eq!(parse_reply(bytes).map(drop), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
