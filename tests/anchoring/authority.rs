//! A time-stamp authority: `openssl ts` behind a small HTTP server, which misbehaves as told.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tempfile::TempDir;
use tokio::net::TcpListener;

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
}

/// An authority that listens.
pub(crate) struct Authority {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    folder: TempDir,
    manner: Mutex<Manner>,
    requests: AtomicU64,
    /// `openssl ts` keeps a serial number in a file: one at a time.
    stamping: tokio::sync::Mutex<()>,
}

impl Authority {
    pub(crate) async fn start(manner: Manner) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (pki, dir) = (pki(), folder.path());
        fs::write(dir.join("serial"), "01").unwrap();
        for (name, digests) in [("honest", "sha256"), ("refusing", "sha512")] {
            let text = format!(
                "[tsa]\nserial = {0}/serial\nsigner_cert = {1}/tsa.pem\nsigner_key = {1}/tsa.key\n\
                 signer_digest = sha256\ndefault_policy = 1.2.3.4.1\ndigests = {digests}\naccuracy = secs:1\n\
                 ordering = yes\ntsa_name = yes\ness_cert_id_alg = sha256\n",
                dir.display(),
                pki.display()
            );
            fs::write(dir.join(name), text).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            folder,
            manner: Mutex::new(manner),
            requests: AtomicU64::new(0),
            stamping: tokio::sync::Mutex::default(),
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
        let ca = ca_file();
        format!(
            "[[anchor]]\nname = '{name}'\nurl = 'http://{}/tsr'\nca_file = '{}'\n",
            self.address,
            ca.display()
        )
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
        Manner::Honest | Manner::Refusing => {}
    }
    assert_eq!(headers[header::CONTENT_TYPE], "application/timestamp-query");
    let _one = authority.stamping.lock().await;
    let name = if manner == Manner::Refusing { "refusing" } else { "honest" };
    let dir = authority.folder.path().to_owned();
    reply(tokio::task::spawn_blocking(move || stamp(&dir, name, &query)).await.unwrap())
}

fn reply(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/timestamp-reply")], bytes).into_response()
}

fn stamp(dir: &Path, config: &str, query: &[u8]) -> Vec<u8> {
    fs::write(dir.join("query"), query).unwrap();
    let arguments =
        ["ts", "-reply", "-section", "tsa", "-queryfile", "query", "-out", "reply", "-config", config];
    openssl(dir, &arguments);
    fs::read(dir.join("reply")).unwrap()
}

/// The certificates by which the authority's tokens are verified.
pub(crate) fn ca_file() -> PathBuf {
    pki().join("ca.pem")
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

/// A CA and a certificate for time stamps, made once for all tests.
fn pki() -> PathBuf {
    static PKI: OnceLock<TempDir> = OnceLock::new();
    let folder = PKI.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let extensions = "basicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\n\
                          extendedKeyUsage = critical,timeStamping\n";
        fs::write(dir.join("extensions"), extensions).unwrap();
        fs::write(dir.join("req"), "[req]\ndistinguished_name = dn\n[dn]\n").unwrap();
        for name in ["ca", "tsa"] {
            let key = format!("{name}.key");
            openssl(
                dir,
                &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key],
            );
        }
        openssl(
            dir,
            &[
                "req",
                "-config",
                "req",
                "-x509",
                "-key",
                "ca.key",
                "-subj",
                "/CN=Test CA",
                "-days",
                "36500",
                "-out",
                "ca.pem",
                "-addext",
                "basicConstraints=critical,CA:TRUE",
                "-addext",
                "keyUsage=critical,keyCertSign",
            ],
        );
        openssl(
            dir,
            &["req", "-config", "req", "-new", "-key", "tsa.key", "-subj", "/CN=Test TSA", "-out", "tsa.csr"],
        );
        openssl(
            dir,
            &[
                "x509",
                "-req",
                "-in",
                "tsa.csr",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "36500",
                "-extfile",
                "extensions",
                "-out",
                "tsa.pem",
            ],
        );
        folder
    });
    folder.path().to_owned()
}

fn openssl(dir: &Path, arguments: &[&str]) -> Output {
    let output = Command::new("openssl").args(arguments).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
