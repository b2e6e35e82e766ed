//! Health, metrics and the feed over HTTP.
//!
//! `/health/live`: the process answers. `/health/ready`: it does its work, or 503 and why not. `/metrics`: Prometheus. These
//! only read, and no client can load the database: a scrape sees a state that is up to a few seconds old. `/feed/…` is in
//! `feed`; its readers are few enough to leave places for monitoring.

mod connection;
mod feed;
mod guests;
mod limits;
mod metrics;
mod statics;
mod tls;
mod vitals;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http_body_util::BodyExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{UnusableCertificate, WebConfig};
use crate::http::feed::Feed;
use connection::{Bounded, Lease};
use guests::About;
use tls::Renewed;

pub use feed::Question;
pub use statics::is_published;
pub use vitals::{Readiness, Vitals, Workers};

/// How long requests in progress are waited for at the end.
const DRAIN_MAX: Duration = Duration::from_secs(2);
const ANSWER_MAX: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub struct Server {
    listener: Bounded,
    tls: Option<Renewed>,
    config: WebConfig,
}

impl Server {
    /// # Errors
    /// If the configured certificate cannot be used.
    pub async fn new(listener: TcpListener, config: &WebConfig) -> Result<Self, UnusableCertificate> {
        let tls = match &config.certificate {
            Some(files) => Some(Renewed::load(files).await?),
            None => None,
        };
        Ok(Self { listener: Bounded::new(listener, tls.clone()), tls, config: config.clone() })
    }

    /// Serves until `stop`; the feed too, if there is one.
    ///
    /// # Errors
    /// Only if the listener breaks.
    pub async fn serve(self, vitals: Arc<Vitals>, feed: Option<Feed>, stop: CancellationToken) -> Result<()> {
        let ended = stop.clone();
        let router = router(vitals.clone(), &self.config, feed, &stop);
        let service = router.into_make_service_with_connect_info::<Lease>();
        let serving =
            axum::serve(self.listener, service).with_graceful_shutdown(async move { stop.cancelled().await });
        let renewing = async {
            match &self.tls {
                Some(tls) => tls.keep_up().await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            outcome = serving => outcome.context("serving health and metrics"),
            () = vitals.refusals.keep_settled(&vitals.db, &vitals.clock) => Ok(()),
            () = renewing => Ok(()),
            // A slow client does not keep the service from ending.
            () = async { ended.cancelled().await; tokio::time::sleep(DRAIN_MAX).await } => Ok(()),
        };
        let settling = vitals.refusals.settle(&vitals.db, &vitals.clock);
        tokio::time::timeout(DRAIN_MAX, settling).await.ok();
        outcome
    }
}

fn router(vitals: Arc<Vitals>, config: &WebConfig, feed: Option<Feed>, stop: &CancellationToken) -> Router {
    let hosts = Arc::new(Hosts::new(&config.hosts));
    let feed =
        feed.map(|feed| feed::router(feed, vitals.refusals.clone(), config.allow_plain_http, stop.clone()));
    Router::new()
        .route("/", get(front_page))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn(in_time))
        .with_state(vitals)
        .merge(feed.unwrap_or_default())
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(hosts, attend))
}

/// Answers a request if it uses a name of ours and there is room for it. Its connection gives way to nobody until the answer
/// is sent.
async fn attend(
    State(hosts): State<Arc<Hosts>>,
    ConnectInfo(lease): ConnectInfo<Lease>,
    request: Request,
    next: Next,
) -> Response {
    let about = match request.uri().path() {
        // It is no secret, and a supervisor must not restart the service because of the name by which it asks. The answer is
        // immediate, and needs no place.
        "/health/live" => {
            lease.heard();
            return next.run(request).await;
        }
        "/health/ready" => About::Health,
        _ => About::Other,
    };
    if let Some(sentence) = hosts.refuse(&request) {
        return answer(StatusCode::MISDIRECTED_REQUEST, &sentence);
    }
    let Some(answering) = lease.begin(about) else {
        return come_again("Too many requests are being answered: try again in a few seconds.");
    };
    let response = next.run(request).await;
    // The body holds it until it was sent.
    response.map(|body| {
        Body::new(body.map_err(move |error| {
            let _answering = &answering;
            error
        }))
    })
}

async fn in_time(request: Request, next: Next) -> Response {
    tokio::time::timeout(ANSWER_MAX, next.run(request)).await.unwrap_or_else(|_| too_long())
}

fn too_long() -> Response {
    answer(StatusCode::SERVICE_UNAVAILABLE, "This takes too long: the database or its disk is busy.")
}

async fn front_page() -> Html<String> {
    Html(format!(
        "<!doctype html><meta charset=utf-8><title>callvault</title><h1>callvault {}</h1>\
         <p>For people: <code>callvault status</code>. For machines: <a href=/health/live>/health/live</a> (it runs), \
         <a href=/health/ready>/health/ready</a> (it works), <a href=/metrics>/metrics</a> (Prometheus), /feed/ (the ledger, \
         if <code>[feed] enabled</code>).",
        env!("CARGO_PKG_VERSION")
    ))
}

async fn live() -> Response {
    answer(StatusCode::OK, "alive")
}

async fn ready(State(vitals): State<Arc<Vitals>>) -> Response {
    match vitals.not_ready().await {
        None => answer(StatusCode::OK, "ready"),
        Some(reason) => answer(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {reason}")),
    }
}

async fn metrics(State(vitals): State<Arc<Vitals>>) -> Response {
    match vitals.metrics().await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::warn!("The metrics cannot be read: {error:#}");
            answer(StatusCode::SERVICE_UNAVAILABLE, "The database cannot be read; see the service's log.")
        }
    }
}

async fn not_found() -> Response {
    answer(StatusCode::NOT_FOUND, "There is nothing here; / lists what there is.")
}

/// Asks a client to come again soon, and closes its connection to make place for others.
fn come_again(sentence: &str) -> Response {
    come_again_in(Duration::from_secs(5), StatusCode::SERVICE_UNAVAILABLE, sentence)
}

fn come_again_in(wait: Duration, status: StatusCode, sentence: &str) -> Response {
    let mut response = answer(status, sentence);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil() as u64));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn answer(status: StatusCode, sentence: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{sentence}\n")).into_response()
}

/// A longer name is not repeated.
const NAME_BYTES_MAX: usize = 253;

/// Foreign names named in the log; further ones are not logged.
const LOGGED_MAX: usize = 8;

#[derive(Debug)]
struct Hosts {
    listed: Vec<String>,
    logged: Mutex<BTreeSet<String>>,
}

impl Hosts {
    fn new(listed: &[String]) -> Self {
        Self { listed: listed.to_vec(), logged: Mutex::default() }
    }

    /// Why a request is refused; none if it uses a name of ours. A foreign name is logged once, with what to do if it is
    /// ours.
    fn refuse(&self, request: &Request) -> Option<String> {
        let foreign = self.foreign(request)?;
        let (name, listed) = match is_name(&foreign) {
            true => (format!("`{foreign}`"), format!("hosts = [\"{foreign}\"]")),
            false => ("another name".to_owned(), "hosts = [\"…\"]".to_owned()),
        };
        if self.is_news(&name) {
            tracing::warn!(
                "A request addressed the listener as {name}, but it answers only to its address, localhost and the names of \
                 `hosts`: if that is its own name, add {listed} to [web]"
            );
        }
        Some(format!(
            "This listener does not answer to {name}: use its address or, if that is its own name, add {listed} to \
             [web] of its configuration."
        ))
    }

    fn is_news(&self, name: &str) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        logged.len() < LOGGED_MAX && logged.insert(name.to_owned())
    }

    /// The name in a request, if it is not ours. A request without any comes from no browser.
    fn foreign(&self, request: &Request) -> Option<String> {
        let asked = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        let sent = request.headers().get_all(header::HOST).iter().map(|value| value.as_bytes());
        asked
            .into_iter()
            .chain(sent)
            .map(host)
            .find(|host| !host.as_deref().is_some_and(|host| self.is_ours(host)))
            .map(Option::unwrap_or_default)
    }

    fn is_ours(&self, host: &str) -> bool {
        let address: Result<IpAddr, _> = host.trim_start_matches('[').trim_end_matches(']').parse();
        host == "localhost" || address.is_ok() || self.listed.iter().any(|listed| listed == host)
    }
}

/// The host of `host:port`, in lower case and without a final dot; none if it is malformed.
fn host(authority: &[u8]) -> Option<String> {
    let authority = Authority::try_from(authority).ok()?;
    let host = authority.host().to_ascii_lowercase();
    Some(host.strip_suffix('.').unwrap_or(&host).to_owned())
}

fn is_name(host: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&host.len()) && host.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_request_must_call_us_by_an_address_or_a_name_of_ours() {
        let hosts = Hosts::new(&["vault.example.org".to_owned()]);
        for (target, sent, answered) in [
            ("/", &["127.0.0.1:8377"][..], true),
            ("/", &["localhost:8377"], true),
            ("/", &["LOCALHOST."], true),
            ("/", &["[::1]:8377"], true),
            ("/", &["192.0.2.7"], true),
            ("/", &["Vault.Example.ORG:443"], true),
            ("/", &["vault.example.org."], true),
            ("/", &[], true),
            ("http://127.0.0.1/", &["127.0.0.1"], true),
            ("/", &["evil.example"], false),
            ("/", &["vault.example.org.evil.example"], false),
            ("/", &["localhost.evil.example:8377"], false),
            ("/", &["127.0.0.1.evil.example"], false),
            ("/", &["localhost", "evil.example"], false),
            ("/", &[""], false),
            ("/", &["a b"], false),
            ("http://evil.example/", &["localhost"], false),
            ("http://localhost/", &["evil.example"], false),
        ] {
            let mut request = Request::builder().uri(target);
            for host in sent {
                request = request.header(header::HOST, *host);
            }
            let refused = hosts.refuse(&request.body(Body::empty()).unwrap());
            assert_eq!(refused.is_none(), answered, "{target} {sent:?}: {refused:?}");
        }
    }
}
