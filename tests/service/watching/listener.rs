//! The listener against those who want it silent, or to speak for them.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callvault::config::{CertificateFiles, WebConfig};
use callvault::http::web::{Readiness, Server, Vitals, Workers};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::fixture::{Watched, within};
use crate::support::pem::certificate_of;

/// A listener of an installation.
struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
    _watched: Watched,
}

impl Served {
    async fn start(web: WebConfig) -> Self {
        let watched = Watched::with(&["hq"], "").await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, stop) = (Readiness::not_yet("it is a test"), CancellationToken::new());
        let (db, clock) = (watched.db.clone(), watched.clock.clone());
        let vitals = Arc::new(Vitals::new(&watched.config, db, clock, Workers::default(), readiness));
        let server = Server::new(listener, &web).await.unwrap();
        let serving = tokio::spawn(server.serve(vitals, None, stop.clone()));
        Self { address, stop, serving, _watched: watched }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What is answered at `path` to who calls the machine `host`.
    async fn get(&self, path: &str, host: &str) -> (u16, String) {
        answer(self.connect().await, path, host).await
    }

    async fn ends(self) {
        self.stop.cancel();
        within("serving ends", self.serving).await.unwrap().unwrap();
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str, host: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    // Who hangs up without saying goodbye in TLS has answered all the same.
    drop(within("a reply", stream.read_to_end(&mut reply)).await);
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn hundreds_of_half_open_connections_do_not_silence_health() {
    let served = Served::start(WebConfig::default()).await;
    let mut silent = Vec::new();
    for number in 0..450 {
        let mut stream = served.connect().await;
        // Some say nothing, some never come to an end, some have asked once and stay.
        let said = ["", "GET /health/live HTTP/1.1\r\nhost: lo", "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"];
        // The oldest ones have given way by now.
        drop(stream.write_all(said[number % 3].as_bytes()).await);
        silent.push(stream);
        if number % 50 == 49 {
            for path in ["/health/live", "/metrics"] {
                let began = tokio::time::Instant::now();
                assert_eq!(served.get(path, "localhost").await.0, 200, "after {number}");
                assert!(began.elapsed() < Duration::from_secs(8), "it waited for others to time out");
            }
        }
    }
    // They are bounded: the first ones were closed.
    let mut reply = Vec::new();
    drop(within("the oldest is closed", silent[0].read_to_end(&mut reply)).await);
    served.ends().await;
}

#[tokio::test]
async fn a_host_of_another_name_is_told_that_we_live_and_nothing_else() {
    let hosts = vec!["vault.example.org".to_owned()];
    let served = Served::start(WebConfig { hosts, ..WebConfig::default() }).await;
    for path in ["/", "/metrics", "/health/ready", "/feed/entries", "/nothing"] {
        let (status, body) = served.get(path, "evil.example:8377").await;
        assert_eq!(status, 421, "{path}");
        assert_eq!(
            body,
            "This listener does not answer to `evil.example`: use its address or, if that is its own name, add hosts = \
             [\"evil.example\"] to [web] of its configuration.\n"
        );
    }
    assert_eq!(served.get("/health/live", "evil.example").await, (200, "alive\n".to_owned()));
    for host in ["localhost:8377", "127.0.0.1:8377", "192.0.2.7", "[2001:db8::7]:8377", "Vault.example.org"] {
        assert_eq!(served.get("/metrics", host).await.0, 200, "{host}");
    }
    // The target of a request says whom it believes to ask, too.
    assert_eq!(served.get("http://evil.example/metrics", "localhost").await.0, 421);
    served.ends().await;
}

/// A certificate of this machine in files, as something renews it.
struct Renewable {
    folder: TempDir,
}

impl Renewable {
    fn new() -> (Self, CertificateDer<'static>) {
        let renewable = Self { folder: tempfile::tempdir().unwrap() };
        let certificate = renewable.renew();
        (renewable, certificate)
    }

    fn files(&self) -> CertificateFiles {
        CertificateFiles { certificate: self.path("certificate"), key: self.path("key") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn renew(&self) -> CertificateDer<'static> {
        let (certificate, key, der) = certificate_of("localhost");
        for (name, text) in [("certificate", certificate), ("key", key)] {
            fs::write(self.path("new"), text).unwrap();
            fs::rename(self.path("new"), self.path(name)).unwrap();
        }
        der
    }
}

/// What is answered within TLS to who trusts this certificate alone; nothing if it is not shown.
async fn get_trusting(
    served: &Served,
    trusted: &CertificateDer<'static>,
    path: &str,
) -> Option<(u16, String)> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, served.connect().await);
    let stream = within("a handshake", connecting).await.ok()?;
    Some(answer(stream, path, "localhost").await)
}

#[tokio::test]
async fn a_certificate_is_shown_and_its_renewal_too_unless_that_is_broken() {
    let (renewable, first) = Renewable::new();
    let served =
        Served::start(WebConfig { certificate: Some(renewable.files()), ..WebConfig::default() }).await;
    assert_eq!(get_trusting(&served, &first, "/health/live").await, Some((200, "alive\n".to_owned())));
    // Nothing is said in the clear.
    let mut plain = served.connect().await;
    plain.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut reply = Vec::new();
    drop(within("it is cut off", plain.read_to_end(&mut reply)).await);
    assert!(!reply.starts_with(b"HTTP"), "{reply:?}");
    // Half a handshake holds up nobody.
    let mut half = Vec::new();
    for _ in 0..400 {
        let mut stream = served.connect().await;
        stream.write_all(b"\x16\x03\x01").await.unwrap();
        half.push(stream);
    }
    assert_eq!(get_trusting(&served, &first, "/health/live").await.unwrap().0, 200);
    let second = renewable.renew();
    within("the renewed one is shown", async {
        while get_trusting(&served, &second, "/health/live").await.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(get_trusting(&served, &first, "/health/live").await, None);
    // A half-written or foreign key is no reason to fall silent, and the next good one is taken.
    fs::write(renewable.path("key"), "nonsense").unwrap();
    let third = {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(get_trusting(&served, &second, "/health/live").await.unwrap().0, 200);
        renewable.renew()
    };
    within("the next one is shown", async {
        while get_trusting(&served, &third, "/health/live").await.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    served.ends().await;
}
