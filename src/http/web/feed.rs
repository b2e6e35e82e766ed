//! `/feed/…`: the entries, the published ledger as static files, and audio and sidecars for readers. docs/feed.md is the
//! contract.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response, Result};
use axum::routing::{MethodRouter, get};
use axum::{Router, middleware};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;

use super::connection::Lease;
use super::limits::{Full, Place, Refusals, Shares};
use super::statics;
use super::{ANSWER_MAX, answer, come_again, come_again_in, in_time, too_long};
use crate::config::PLAIN_TOKENS_REMEDY;
use crate::http::feed::{Ahead, Feed, Holding, NDJSON, PAGE_ENTRIES_MAX, Reader, What, next_after};

/// Requests for entries answered at one time: fewer than there are connections.
const QUESTIONS_MAX: usize = 16;
/// How often to look for new entries while a reader waits.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long sending a page of entries may take.
const PAGE_SENT_WITHIN: Duration = Duration::from_secs(30);
/// A slower reader of a file is cut off.
const THROUGHPUT_BYTES_S_MIN: u64 = 32 << 10;

pub(super) struct Door {
    pub(super) feed: Feed,
    stop: CancellationToken,
    questions: Semaphore,
    shares: Shares,
    refusals: Refusals,
    /// Accepts tokens over connections that others could read.
    allow_plain_http: bool,
}

/// The routes of the feed. Waiting readers are answered when `stop` comes.
pub(super) fn router(
    feed: Feed,
    refusals: Refusals,
    allow_plain_http: bool,
    stop: CancellationToken,
) -> Router {
    let (questions, shares) = (Semaphore::new(QUESTIONS_MAX), Shares::new());
    let door = Arc::new(Door { feed, stop, questions, shares, refusals, allow_plain_http });
    Router::new()
        .route("/feed/audio/{number}", give(What::Audio))
        .route("/feed/sidecar/{number}", give(What::Sidecar))
        .route("/feed/checkpoint", get(statics::checkpoint))
        .route("/feed/tile/{*path}", get(statics::tile))
        .route("/feed/keys/{*path}", get(statics::key))
        .route("/feed/anchor/{*path}", get(statics::anchor))
        .layer(middleware::from_fn(in_time))
        // It bounds its own time, because it is for waiting.
        .route("/feed/entries", get(entries))
        .with_state(door)
}

async fn entries(
    State(door): State<Arc<Door>>,
    ConnectInfo(lease): ConnectInfo<Lease>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    // If some readers may see only some PBXs, entries need a token.
    let reader = door.feed.has_scopes.then(|| door.reader(&headers, &lease)).transpose()?;
    let question = Question::parse(query.as_deref().unwrap_or_default())
        .map_err(|sentence| answer(StatusCode::BAD_REQUEST, &sentence))?;
    let _place = door
        .questions
        .try_acquire()
        .map_err(|_| come_again("Too many readers are asking for entries: try again in a few seconds."))?;
    lease.extend(question.wait + ANSWER_MAX + PAGE_SENT_WITHIN);
    let read = tokio::time::timeout(question.wait + ANSWER_MAX, door.lines(reader, &question)).await;
    let lines = read.map_err(|_| too_long())?.map_err(|error| match error.is::<Ahead>() {
        true => answer(StatusCode::CONFLICT, &sentence(&error.to_string())),
        false => unreadable("entries", &error),
    })?;
    Ok(([(header::CONTENT_TYPE, NDJSON), (header::CACHE_CONTROL, "no-store")], lines).into_response())
}

impl Door {
    /// Waits for the first line, as long as the reader wants and the service runs.
    async fn lines(&self, reader: Option<&Reader>, question: &Question) -> anyhow::Result<String> {
        let (from, until) = (next_after(question.after), Instant::now() + question.wait);
        loop {
            let page = match reader {
                Some(reader) => self.feed.page_of(reader, from, question.limit).await?,
                None => self.feed.page(from, question.limit).await?,
            };
            if !page.lines.is_empty() || Instant::now() >= until {
                return Ok(page.lines);
            }
            tokio::select! {
                () = tokio::time::sleep_until(until.min(Instant::now() + LOOK_EVERY)) => {}
                () = self.stop.cancelled() => return Ok(String::new()),
            }
        }
    }
}

/// The handler that gives files of this sort.
fn give(what: What) -> MethodRouter<Arc<Door>> {
    let give =
        move |State(door): State<Arc<Door>>,
              ConnectInfo(lease): ConnectInfo<Lease>,
              Path(number): Path<String>,
              headers: HeaderMap| async move { door.give(what, &number, &headers, &lease).await };
    get(give).head(no_head)
}

impl Door {
    /// Sends a file to a reader; records that first.
    async fn give(&self, what: What, number: &str, headers: &HeaderMap, lease: &Lease) -> Result<Response> {
        let reader = self.reader(headers, lease)?;
        let no_number = || answer(StatusCode::BAD_REQUEST, "The number of an entry is digits, such as 17.");
        let number = whole(number).ok_or_else(no_number)?;
        let place = self.shares.take(reader, Instant::now()).map_err(|full| match full {
            Full::Places => come_again("Too many files are being fetched: try again in a few seconds."),
            Full::Reads(wait) => too_fast(reader, wait),
        })?;
        let opened = self.feed.open(reader, number, what).await;
        let opened = opened.map_err(|error| unreadable("a file", &error))?;
        let holding = opened.ok_or_else(|| nothing_at(reader, number, what))?;
        let noted = self.feed.note_access(&reader.name, number, what).await;
        noted.map_err(|error| unreadable("the ledger", &error))?;
        let transfer_s = holding.size_bytes() / THROUGHPUT_BYTES_S_MIN;
        lease.extend(PAGE_SENT_WITHIN + Duration::from_secs(transfer_s));
        Ok(sent(holding, what, place))
    }

    /// The reader who asks. A source of many wrong tokens is refused for a while, whatever it sends.
    pub(super) fn reader(&self, headers: &HeaderMap, lease: &Lease) -> Result<&Reader, Unheard> {
        if !lease.is_secret() && !self.allow_plain_http {
            return Err(Unheard::Overheard);
        }
        let (sent, now) = (headers.get(header::AUTHORIZATION), Instant::now());
        let reader = sent.and_then(|sent| self.feed.readers.who(sent.to_str().ok()?));
        if reader.is_none() {
            self.refusals.note(lease.source(), now);
        }
        match self.refusals.wait(lease.source(), now) {
            Some(wait) => Err(Unheard::TooMany(wait)),
            None => reader.ok_or(Unheard::Nobody),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Unheard {
    /// Others could have read the token on its way.
    Overheard,
    /// There is no token, or it is no reader's.
    Nobody,
    /// Too many wrong tokens came from there; refused for this long.
    TooMany(Duration),
}

impl IntoResponse for Unheard {
    fn into_response(self) -> Response {
        match self {
            Self::Overheard => {
                let sentence = format!("Tokens are not accepted over plain HTTP: {PLAIN_TOKENS_REMEDY}.");
                answer(StatusCode::FORBIDDEN, &sentence)
            }
            Self::Nobody => {
                let sentence = "Send `Authorization: Bearer` with the token of a [[feed.reader]]; \
                                this token is unknown.";
                let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"callvault\"")];
                (challenge, answer(StatusCode::UNAUTHORIZED, sentence)).into_response()
            }
            Self::TooMany(wait) => {
                let sentence = "Too many wrong tokens came from this address: try again later.";
                come_again_in(wait, StatusCode::TOO_MANY_REQUESTS, sentence)
            }
        }
    }
}

/// The file, whose place is free again when it has been sent or the reader has left.
fn sent(holding: Holding, what: What, place: Place) -> Response {
    let content_type = match what {
        What::Audio => "audio/wav",
        What::Sidecar => "application/json",
    };
    let sha256 = STANDARD.encode(holding.sha256.as_bytes());
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CONTENT_LENGTH, holding.size_bytes().to_string()),
        (header::CACHE_CONTROL, "private, no-store".to_owned()),
        // RFC 9530: the hash of the whole answer.
        (header::HeaderName::from_static("repr-digest"), format!("sha-256=:{sha256}:")),
    ];
    (headers, Body::from_stream(holding.into_chunks(place))).into_response()
}

/// HEAD would be an access without an entry in the ledger.
async fn no_head() -> Response {
    answer(StatusCode::METHOD_NOT_ALLOWED, "Use GET: each answer is recorded in the ledger.")
}

/// The same answer for what does not exist and for what this reader may not see, so that it reveals nothing about other PBXs.
fn nothing_at(reader: &Reader, number: u64, what: What) -> Response {
    let what = what.as_str();
    let of_another = if reader.scope.is_all() { "" } else { ", or is of a PBX that this reader may not see" };
    let sentence = format!(
        "Entry {number} has no {what}: only `archived` and `conflict` entries have one, and this is another entry or does \
         not exist yet{of_another}."
    );
    answer(StatusCode::NOT_FOUND, &sentence)
}

fn too_fast(reader: &Reader, wait: Duration) -> Response {
    let most = reader.reads_per_min_max;
    let sentence =
        format!("This reader may fetch {most} files in a minute (`reads_per_min_max`): try again later.");
    come_again_in(wait, StatusCode::TOO_MANY_REQUESTS, &sentence)
}

/// Details are for the operator; a reader learns only that something is wrong.
fn unreadable(what: &str, error: &anyhow::Error) -> Response {
    tracing::warn!("A reader of the feed could not be given {what}: {error:#}");
    answer(StatusCode::SERVICE_UNAVAILABLE, "It cannot be read now; the service's log says why.")
}

fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

const LIMIT: u64 = 256;
/// In seconds: shorter than the time-outs of proxies.
const WAIT_S_MAX: u64 = 25;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The number of the last entry that the reader has.
    pub after: Option<u64>,
    pub limit: u64,
    pub wait: Duration,
}

impl Question {
    /// # Errors
    /// A sentence that says what is wrong with the query.
    pub fn parse(query: &str) -> Result<Self, String> {
        let (mut after, mut limit, mut wait_s) = (None, None, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let (place, range) = match &*key {
                "after" => (&mut after, 0..=u64::MAX),
                "limit" => (&mut limit, 1..=PAGE_ENTRIES_MAX),
                "wait_s" => (&mut wait_s, 0..=WAIT_S_MAX),
                _ => return Err("The only parameters are after, limit and wait_s.".to_owned()),
            };
            let Some(number) = whole(&value).filter(|number| range.contains(number)) else {
                let bounds = match *range.end() {
                    u64::MAX => String::new(),
                    end => format!(" from {} to {end}", range.start()),
                };
                return Err(format!("`{key}` must be a whole number{bounds}."));
            };
            if place.replace(number).is_some() {
                return Err(format!("`{key}` is given twice."));
            }
        }
        let wait = Duration::from_secs(wait_s.unwrap_or(0));
        Ok(Self { after, limit: limit.unwrap_or(LIMIT), wait })
    }
}

fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_whole_or_refused() {
        let asked = |after, limit, wait| Ok(Question { after, limit, wait: Duration::from_secs(wait) });
        let refused = |sentence: &str| Err(sentence.to_owned());
        for (query, expected) in [
            ("", asked(None, 256, 0)),
            ("after=0", asked(Some(0), 256, 0)),
            ("after=17&limit=1000&wait_s=25", asked(Some(17), 1000, 25)),
            ("after=-1", refused("`after` must be a whole number.")),
            ("after=", refused("`after` must be a whole number.")),
            ("after=%2B1", refused("`after` must be a whole number.")),
            ("after=18446744073709551616", refused("`after` must be a whole number.")),
            ("limit=0", refused("`limit` must be a whole number from 1 to 1000.")),
            ("limit=1001", refused("`limit` must be a whole number from 1 to 1000.")),
            ("wait_s=26", refused("`wait_s` must be a whole number from 0 to 25.")),
            ("wait_s=1.5", refused("`wait_s` must be a whole number from 0 to 25.")),
            ("after=1&after=2", refused("`after` is given twice.")),
            ("since=1", refused("The only parameters are after, limit and wait_s.")),
        ] {
            assert_eq!(Question::parse(query), expected, "{query}");
        }
    }
}
