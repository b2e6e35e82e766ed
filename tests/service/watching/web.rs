//! Health and metrics over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callvault::base::clock::Clock;
use callvault::base::recording::RecordingName;
use callvault::config::Config;
use callvault::http::web::{Readiness, Server, Vitals, Workers};
use callvault::pbx::{Pbx as _, PbxClient};
use callvault::store::db::Db;
use callvault::store::findings::FindingKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fixture::{Watched, within};
use super::openmetrics::Page;
use crate::support::station::Station;

/// A web server, and who reads from it.
struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
    workers: Workers,
    readiness: Readiness,
}

impl Served {
    async fn start(config: &Config, db: Db, clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (workers, readiness, stop) =
            (Workers::default(), Readiness::not_yet("recovery is not finished"), CancellationToken::new());
        let vitals = Arc::new(Vitals::new(config, db, clock, workers.clone(), readiness.clone()));
        let server = Server::new(listener, &config.web).await.unwrap();
        let serving = tokio::spawn(server.serve(vitals, None, stop.clone()));
        Self { address, stop, serving, workers, readiness }
    }

    async fn of(watched: &Watched) -> Self {
        Self::start(&watched.config, watched.db.clone(), watched.clock.clone()).await
    }

    /// Status line and body of what is served at `path`.
    async fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        within("a reply", stream.read_to_string(&mut reply)).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    async fn metrics(&self) -> Page {
        let (status, body) = self.get("/metrics").await;
        assert_eq!(status, "HTTP/1.1 200 OK", "{body}");
        Page::read(&body)
    }

    async fn ends(self) {
        self.stop.cancel();
        within("serving ends", self.serving).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn health_tells_why_the_service_is_not_ready() {
    let watched = Watched::with(&["hq"], "").await;
    let served = Served::of(&watched).await;
    assert_eq!(served.get("/health/live").await, ("HTTP/1.1 200 OK".into(), "alive\n".into()));
    let (status, body) = served.get("/health/ready").await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(body, "not ready: recovery is not finished\n");
    served.readiness.set_ready();
    assert_eq!(served.get("/health/ready").await, ("HTTP/1.1 200 OK".into(), "ready\n".into()));
    served.readiness.set_not_ready("it is stopping");
    assert_eq!(served.get("/health/ready").await.1, "not ready: it is stopping\n");
    assert!(served.get("/").await.1.contains("/metrics"));
    assert_eq!(served.get("/etc/passwd").await.0, "HTTP/1.1 404 Not Found");
    served.ends().await;
}

#[tokio::test]
async fn the_metrics_keep_the_rules_and_tell_what_the_status_tells() {
    let lines = "[[anchor]]\nname = \"tsa\"\nurl = \"https://192.0.2.9/tsr\"\n[feed]\n[[feed.webhook]]\nname = \"siem\"\n\
                 url = \"https://192.0.2.9/feed\"\nsecret_file = \"secret\"\n";
    let watched = Watched::with(&["hq", "lyon"], lines).await;
    watched.signs_an_entry().await;
    watched.signs_an_entry().await;
    watched.has_taken("siem", 1).await;
    watched.breaks("lyon", "timeout", "pbx `lyon`: no reply").await;
    watched.is_anchored("tsa", 7).await;
    watched.queues("hq", "pending", "", 3).await;
    watched.queues("hq", "stuck", "json_body", 2).await;
    watched.finds("hq", FindingKind::Conflict, "a.wav", "two contents").await;
    let served = Served::of(&watched).await;
    let page = served.metrics().await;
    for (series, value) in [
        ("callvault_recordings{pbx=\"hq\",kind=\"call\",state=\"pending\"}", 3.0),
        ("callvault_recordings{pbx=\"hq\",kind=\"call\",state=\"stuck\"}", 2.0),
        ("callvault_recordings{pbx=\"lyon\",kind=\"voicemail\",state=\"archived\"}", 0.0),
        ("callvault_pbx_up{pbx=\"hq\"}", 1.0),
        ("callvault_pbx_up{pbx=\"lyon\"}", 0.0),
        ("callvault_findings{pbx=\"hq\",kind=\"conflict\"}", 1.0),
        ("callvault_archive_usable", 1.0),
        ("callvault_anchored_entries{authority=\"tsa\"}", 7.0),
        ("callvault_feed_webhook_delivered_entries{webhook=\"siem\"}", 1.0),
        ("callvault_feed_webhook_behind_entries{webhook=\"siem\"}", 1.0),
        ("callvault_feed_webhook_failing{webhook=\"siem\"}", 0.0),
        ("callvault_feed_webhook_last_delivery_timestamp_seconds{webhook=\"siem\"}", 1_772_442_000.0),
        ("callvault_alert_messages_undelivered", 0.0),
        ("callvault_last_sweep_timestamp_seconds{pbx=\"hq\"}", 1_772_442_000.0),
        (&format!("callvault_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        assert!((page.value(series) - value).abs() < 1.0, "{series} is {}", page.value(series));
    }
    assert!(page.value("callvault_archive_free_bytes") > 0.0);
    assert!(page.value("callvault_anchor_age_seconds{authority=\"tsa\"}") >= 0.0);
    assert!(page.value("callvault_oldest_pending_age_seconds{pbx=\"hq\"}") > 86_400.0);
    assert!(page.value("callvault_safety_margin_seconds{pbx=\"hq\"}") > 170.0 * 86_400.0);
    let document = include_str!("../../../docs/watching.md");
    for name in page.names() {
        assert!(document.contains(&format!("`{name}`")), "docs/watching.md does not explain {name}");
    }
    served.ends().await;
}

#[tokio::test]
async fn what_is_asked_of_a_pbx_is_counted_where_it_happens() {
    let mut station = Station::with_call("a.wav").await;
    station.backfill().await;
    station.check().await;
    let db = Db::open(&station.config.state.path).await.unwrap();
    let served = Served::start(&station.config, db, Clock::system()).await;
    let client = PbxClient::new(&station.config.pbx[0]).unwrap();
    served.workers.add(Arc::new(client.clone()), Arc::default());
    let name = |name: &str| RecordingName::new(name.as_bytes().to_vec()).unwrap();
    let audio = name("a.wav");
    let mut download = client.slot().await.recording(&audio).await.unwrap();
    let mut bytes = 0;
    while let Some(chunk) = download.next().await.unwrap() {
        bytes += chunk.len();
    }
    client.slot().await.recording(&name("nobody-has-it.wav")).await.err().unwrap();
    let page = served.metrics().await;
    for (series, value) in [
        ("callvault_requests_total{pbx=\"hq\"}", 4),
        ("callvault_tickets_total{pbx=\"hq\"}", 1),
        ("callvault_download_received_bytes_total{pbx=\"hq\"}", bytes),
        ("callvault_errors_total{pbx=\"hq\",class=\"missing\"}", 1),
        ("callvault_downloads_total{pbx=\"hq\",outcome=\"archived\"}", 0),
        ("callvault_recordings{pbx=\"hq\",kind=\"call\",state=\"archived\"}", 1),
    ] {
        assert_eq!(page.value(series), value as f64, "{series}");
    }
    served.workers.remove("hq");
    assert!(!served.metrics().await.names().contains("callvault_requests_total"));
    served.ends().await;
}

#[tokio::test]
async fn scrapers_share_a_reading_and_see_what_changes_after_it() {
    let watched = Watched::with(&["hq"], "").await;
    let served = Served::of(&watched).await;
    let stuck = "callvault_recordings{pbx=\"hq\",kind=\"call\",state=\"stuck\"}";
    assert_eq!(served.metrics().await.value(stuck), 0.0);
    watched.queues("hq", "stuck", "json_body", 1).await;
    assert_eq!(served.metrics().await.value(stuck), 0.0, "the reading is a moment old");
    served.ends().await;
    let served = Served::of(&watched).await;
    assert_eq!(served.metrics().await.value(stuck), 1.0);
    served.ends().await;
}

#[tokio::test]
async fn a_flood_is_cut_off_and_idle_clients_hold_up_nobody_at_the_end() {
    let watched = Watched::with(&["hq"], "").await;
    let served = Served::of(&watched).await;
    let mut flood = TcpStream::connect(served.address).await.unwrap();
    let header = format!("x: {}\r\n", "y".repeat(1 << 20));
    // The connection may be closed before all of it is sent.
    drop(flood.write_all(format!("GET / HTTP/1.1\r\n{header}").as_bytes()).await);
    let mut reply = Vec::new();
    drop(within("it is cut off", flood.read_to_end(&mut reply)).await);
    assert!(!reply.starts_with(b"HTTP/1.1 200"));

    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET / HT").await.unwrap();
        idle.push(stream);
    }
    assert_eq!(served.get("/health/live").await.0, "HTTP/1.1 200 OK");
    let began = tokio::time::Instant::now();
    served.ends().await;
    assert!(began.elapsed() < Duration::from_secs(10));
}
