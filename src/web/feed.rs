//! `/feed/…`: the entries, the published ledger as the static files that it is, and what entries are about for those
//! who may read it. docs/feed.md is the contract.

mod question;
mod statics;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Router, middleware};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use question::Question;
pub use statics::is_published;

use super::lease::Lease;
use super::{ANSWER_MAX, come_again, in_time, told};
use crate::feed::{Ahead, Feed, Holding, NDJSON, What, next_after};

/// Questions for entries that are answered at one time: fewer than there are connections.
const QUESTIONS_MAX: usize = 16;
/// Files that are sent at one time.
const FILES_MAX: usize = 8;
/// How often it is looked for something new while a reader waits.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a page of entries may take to be sent, after it was read.
const PAGE_SENT_WITHIN: Duration = Duration::from_secs(30);
/// The slowest reader of a file that is waited for.
const THROUGHPUT_BYTES_S_MIN: u64 = 32 << 10;

/// What the handlers share.
struct Door {
    feed: Feed,
    stop: CancellationToken,
    questions: Semaphore,
    files: Arc<Semaphore>,
}

/// The routes of the feed. Whoever waits is answered when `stop` comes.
pub(super) fn router(feed: Feed, stop: CancellationToken) -> Router {
    let files = Arc::new(Semaphore::new(FILES_MAX));
    let door = Arc::new(Door { feed, stop, questions: Semaphore::new(QUESTIONS_MAX), files });
    Router::new()
        .route("/feed/audio/{number}", get(audio).head(no_head))
        .route("/feed/sidecar/{number}", get(sidecar).head(no_head))
        .route("/feed/checkpoint", get(statics::checkpoint))
        .route("/feed/tile/{*path}", get(statics::tile))
        .route("/feed/keys/{*path}", get(statics::key))
        .route("/feed/anchor/{*path}", get(statics::anchor))
        .layer(middleware::from_fn(in_time))
        // It bounds its own time: waiting is what it is for.
        .route("/feed/entries", get(entries))
        .with_state(door)
}

async fn entries(
    State(door): State<Arc<Door>>,
    ConnectInfo(lease): ConnectInfo<Lease>,
    RawQuery(query): RawQuery,
) -> Response {
    let question = match Question::parse(query.as_deref().unwrap_or_default()) {
        Ok(question) => question,
        Err(sentence) => return told(StatusCode::BAD_REQUEST, &sentence),
    };
    let Ok(_place) = door.questions.try_acquire() else {
        return come_again("Too many readers ask for entries: come again in a few seconds.");
    };
    lease.extend(question.wait + ANSWER_MAX + PAGE_SENT_WITHIN);
    match tokio::time::timeout(question.wait + ANSWER_MAX, door.lines(&question)).await {
        Ok(Ok(lines)) => {
            ([(header::CONTENT_TYPE, NDJSON), (header::CACHE_CONTROL, "no-store")], lines).into_response()
        }
        Ok(Err(error)) if error.is::<Ahead>() => told(StatusCode::CONFLICT, &sentence(&error.to_string())),
        Ok(Err(error)) => unreadable("entries", &error),
        Err(_) => {
            told(StatusCode::SERVICE_UNAVAILABLE, "This takes too long: the database or its disk is busy.")
        }
    }
}

impl Door {
    /// The lines asked for; waits for the first one, as long as the reader wants and the service runs.
    async fn lines(&self, question: &Question) -> anyhow::Result<String> {
        let until = Instant::now() + question.wait;
        loop {
            let page = self.feed.page(next_after(question.after), question.limit).await?;
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

async fn audio(
    State(door): State<Arc<Door>>,
    ConnectInfo(lease): ConnectInfo<Lease>,
    Path(number): Path<String>,
    headers: HeaderMap,
) -> Response {
    door.give(What::Audio, &number, &headers, &lease).await
}

async fn sidecar(
    State(door): State<Arc<Door>>,
    ConnectInfo(lease): ConnectInfo<Lease>,
    Path(number): Path<String>,
    headers: HeaderMap,
) -> Response {
    door.give(What::Sidecar, &number, &headers, &lease).await
}

impl Door {
    /// Gives a reader a file, and writes that down first.
    async fn give(&self, what: What, number: &str, headers: &HeaderMap, lease: &Lease) -> Response {
        let Some(reader) = self.reader(headers) else { return nobody() };
        let Some(number) = question::whole(number) else {
            return told(StatusCode::BAD_REQUEST, "The number of an entry is digits, such as 17.");
        };
        let Ok(place) = self.files.clone().try_acquire_owned() else {
            return come_again("Too many readers fetch files: come again in a few seconds.");
        };
        let holding = match self.feed.open(number, what).await {
            Ok(Some(holding)) => holding,
            Ok(None) => return nothing_at(number, what),
            Err(error) => return unreadable("a file", &error),
        };
        if let Err(error) = self.feed.note_access(reader, number, what).await {
            return unreadable("the ledger", &error);
        }
        let transfer_s = holding.size_bytes() / THROUGHPUT_BYTES_S_MIN;
        lease.extend(PAGE_SENT_WITHIN + Duration::from_secs(transfer_s));
        sent(holding, what, place)
    }

    fn reader(&self, headers: &HeaderMap) -> Option<&str> {
        self.feed.readers().who(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
    }
}

/// The file on its way. Its place is free when it has arrived, or the reader has left.
fn sent(holding: Holding, what: What, place: tokio::sync::OwnedSemaphorePermit) -> Response {
    let content_type = match what {
        What::Audio => "audio/wav",
        What::Sidecar => "application/json",
    };
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CONTENT_LENGTH, holding.size_bytes().to_string()),
        (header::CACHE_CONTROL, "private, no-store".to_owned()),
        // RFC 9530: what a whole answer hashes to.
        (
            header::HeaderName::from_static("repr-digest"),
            format!("sha-256=:{}:", STANDARD.encode(holding.sha256().as_bytes())),
        ),
    ];
    (headers, Body::from_stream(holding.into_chunks(place))).into_response()
}

/// A question for the headers alone would be an access without one.
async fn no_head() -> Response {
    told(StatusCode::METHOD_NOT_ALLOWED, "Ask with GET: each answer is written into the ledger.")
}

fn nobody() -> Response {
    let sentence = "Send `Authorization: Bearer` and the token of a [[feed.reader]]; this one is nobody's.";
    let mut answer = told(StatusCode::UNAUTHORIZED, sentence);
    let challenge = header::HeaderValue::from_static("Bearer realm=\"callvault\"");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    answer
}

fn nothing_at(number: u64, what: What) -> Response {
    let what = what.as_str();
    let sentence = format!(
        "Entry {number} has no {what}: only `archived` and `conflict` entries have, and it is none, or not there yet."
    );
    told(StatusCode::NOT_FOUND, &sentence)
}

/// What is wrong is for the operator: a reader is told that something is.
fn unreadable(what: &str, error: &anyhow::Error) -> Response {
    tracing::warn!("A reader of the feed was not given {what}: {error:#}");
    told(StatusCode::SERVICE_UNAVAILABLE, "It cannot be read now; the service's log says why.")
}

fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
