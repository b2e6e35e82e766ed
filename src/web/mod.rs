//! Health, metrics and the feed over HTTP. The only code that serves it.
//!
//! `/health/live`: the process answers. `/health/ready`: it does its work, or 503 and why not. `/metrics`: Prometheus.
//! These read only, and no reader can load the database: what a scrape sees is up to a few seconds old. `/feed/…` is in
//! [`feed`]; its readers are few enough to leave places for those who watch.

mod bounded;
mod feed;
mod lease;
mod metrics;
mod readiness;
mod vitals;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use feed::{Question, is_published};
pub use readiness::Readiness;
pub use vitals::{Vitals, Workers};

use crate::feed::Feed;
use bounded::Bounded;
use lease::Lease;

/// For how long those who were being served at the end are waited for.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// The longest work on one answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// Serves on `listener` until `stop`; the feed too, if there is one.
///
/// # Errors
/// Only if the listener breaks.
pub async fn serve(
    listener: TcpListener,
    vitals: Arc<Vitals>,
    feed: Option<Feed>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = Bounded::new(listener);
    let ended = stop.clone();
    let service = router(vitals, feed, &stop).into_make_service_with_connect_info::<Lease>();
    let serving =
        axum::serve(listener, service).with_graceful_shutdown(async move { stop.cancelled().await });
    tokio::select! {
        outcome = serving => outcome.context("serving health and metrics"),
        // Who reads slowly or not at all does not keep the service from ending.
        () = async { ended.cancelled().await; tokio::time::sleep(DRAIN_MAX).await } => Ok(()),
    }
}

fn router(vitals: Arc<Vitals>, feed: Option<Feed>, stop: &CancellationToken) -> Router {
    let feed = feed.map(|feed| feed::router(feed, stop.clone()));
    Router::new()
        .route("/", get(front_page))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn(in_time))
        .with_state(vitals)
        .merge(feed.unwrap_or_default())
        .fallback(not_found)
}

async fn in_time(request: axum::extract::Request, next: middleware::Next) -> Response {
    let answer = tokio::time::timeout(ANSWER_MAX, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        told(StatusCode::SERVICE_UNAVAILABLE, "This takes too long: the database or its disk is busy.")
    })
}

async fn front_page() -> Html<String> {
    Html(format!(
        "<!doctype html><meta charset=utf-8><title>callvault</title><h1>callvault {}</h1>\
         <p>For people: <code>callvault status</code>. For machines: <a href=/health/live>/health/live</a> (it runs), \
         <a href=/health/ready>/health/ready</a> (it works), <a href=/metrics>/metrics</a> (Prometheus), /feed/ (the ledger, where <code>[feed] enabled</code>).",
        env!("CARGO_PKG_VERSION")
    ))
}

async fn live() -> Response {
    told(StatusCode::OK, "alive")
}

async fn ready(State(vitals): State<Arc<Vitals>>) -> Response {
    match vitals.not_ready().await {
        None => told(StatusCode::OK, "ready"),
        Some(reason) => told(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {reason}")),
    }
}

async fn metrics(State(vitals): State<Arc<Vitals>>) -> Response {
    match vitals.metrics().await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::warn!("The metrics cannot be read: {error:#}");
            told(StatusCode::SERVICE_UNAVAILABLE, "The database cannot be read; see the service's log.")
        }
    }
}

async fn not_found() -> Response {
    told(StatusCode::NOT_FOUND, "There is nothing here; / says what there is.")
}

/// Asks a reader to come again soon: all places of his kind are taken. His connection makes place for others.
fn come_again(sentence: &str) -> Response {
    let mut answer = told(StatusCode::SERVICE_UNAVAILABLE, sentence);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn told(status: StatusCode, sentence: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{sentence}\n")).into_response()
}
