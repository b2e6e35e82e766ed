//! A time-stamp authority behind a small HTTP server, which misbehaves as told.

pub(crate) mod signing;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use callvault::base::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::net::TcpListener;

use self::signing::{Forgery, Stamper};

/// How the authority behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// HTTP 503.
    Broken,
    /// No answer, ever.
    Silent,
    /// Bytes that are nothing, said to be a reply.
    Garbage,
    /// HTTP 200 and JSON.
    Json,
    /// 10 MB, said to be a reply.
    Huge,
    /// A token over other bytes.
    WrongImprint,
    /// A token for another request.
    WrongNonce,
    /// A proper refusal.
    Refusing,
    /// A redirect to a place where it works.
    Elsewhere,
    /// A token with this wrong about its signature.
    Forging(Forgery),
    /// One that another CA stands for.
    OtherRoot,
    /// One by a certificate that has expired.
    Expired,
    /// One by a certificate that is for servers.
    OtherPurpose,
    /// One by a certificate that does not insist on its purpose.
    PurposeNotCritical,
    /// One of 1999.
    Past,
    /// One of tomorrow.
    Future,
}

/// An authority that listens.
pub(crate) struct Authority {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    manner: Mutex<Manner>,
    requests: AtomicU64,
    clock: Clock,
    honest: Stamper,
}

impl Authority {
    pub(crate) async fn start(manner: Manner) -> Self {
        Self::start_by(&Clock::system(), manner).await
    }

    /// One whose clock is this one.
    pub(crate) async fn start_by(clock: &Clock, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            manner: Mutex::new(manner),
            requests: AtomicU64::new(0),
            clock: clock.clone(),
            honest: Stamper::under(signing::ca()),
        });
        let router = Router::new().fallback(answer).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, inner }
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.inner.manner.lock().unwrap() = manner;
    }

    pub(crate) fn requests(&self) -> u64 {
        self.inner.requests.load(SeqCst)
    }

    /// Its section of the configuration.
    pub(crate) fn section(&self, name: &str) -> String {
        format!("{}ca_file = '{}'\n", self.section_without_ca(name), ca_file().display())
    }

    /// The same of an operator who does not say by what its tokens are verified.
    pub(crate) fn section_without_ca(&self, name: &str) -> String {
        format!("[[anchor]]\nname = '{name}'\nurl = 'http://{}/tsr'\n", self.address)
    }
}

async fn answer(State(authority): State<Arc<Inner>>, headers: HeaderMap, query: Bytes) -> Response {
    authority.requests.fetch_add(1, SeqCst);
    let manner = *authority.manner.lock().unwrap();
    let mut query = query.to_vec();
    match manner {
        Manner::Broken => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Manner::Silent => std::future::pending().await,
        Manner::Json => {
            return ([(header::CONTENT_TYPE, "application/json")], "{\"status\":0}").into_response();
        }
        Manner::Garbage => return reply(b"0\x82no".to_vec()),
        Manner::Huge => return reply(vec![0x30; 10 << 20]),
        Manner::Elsewhere => return (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response(),
        // Where the request is fixed, hash and nonce have fixed places.
        Manner::WrongImprint => query[30] ^= 1,
        Manner::WrongNonce => query[60] ^= 1,
        _ => {}
    }
    assert_eq!(headers[header::CONTENT_TYPE], "application/timestamp-query");
    reply(authority.stamp(manner, &query))
}

impl Inner {
    /// The reply to a request that could be read.
    fn stamp(&self, manner: Manner, query: &[u8]) -> Vec<u8> {
        let (now, day) = (self.clock.now(), SignedDuration::from_hours(24));
        let by = |stamper: Stamper| stamper.reply(query, now, Forgery::None);
        let with = |change: fn(&mut rcgen::CertificateParams)| by(Stamper::with(signing::ca(), change));
        match manner {
            Manner::Refusing => signing::refusal(),
            Manner::Forging(forgery) => self.honest.reply(query, now, forgery),
            Manner::OtherRoot => by(Stamper::under(&signing::new_ca("Test CA"))),
            Manner::Expired => with(|params| {
                params.custom_extensions.push(signing::time_stamping(true));
                params.not_after = rcgen::date_time_ymd(2020, 1, 1);
            }),
            Manner::OtherPurpose => with(|params| {
                params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
            }),
            Manner::PurposeNotCritical => with(|params| {
                params.custom_extensions.push(signing::time_stamping(false));
            }),
            Manner::Past => {
                let past: Timestamp = "1999-12-31T23:59:59Z".parse().unwrap();
                self.honest.reply(query, past, Forgery::None)
            }
            Manner::Future => self.honest.reply(query, now + day, Forgery::None),
            _ => self.honest.reply(query, now, Forgery::None),
        }
    }
}

fn reply(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/timestamp-reply")], bytes).into_response()
}

/// The certificates by which the authority's tokens are verified.
pub(crate) fn ca_file() -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), signing::pem(signing::ca().der())).unwrap();
        folder
    });
    folder.path().join("ca.pem")
}

/// What `openssl ts -verify` says of a token over the bytes of a file.
pub(crate) fn openssl_accepts(data: &Path, token: &Path, ca: &Path) -> bool {
    let output = Command::new("openssl")
        .args(["ts", "-verify", "-data"])
        .arg(data)
        .arg("-in")
        .arg(token)
        .arg("-CAfile")
        .arg(ca)
        .output()
        .unwrap();
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("Verification: OK")
}
