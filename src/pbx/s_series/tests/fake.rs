//! A PBX for the tests beside: raw TCP, each connection answered as the test scripts it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::base::digest::Digest;
use crate::base::recording::RecordingName;
use crate::config::{ApiVersion, Generation, PbxConfig, PbxLimits, PushMode, TlsBackend, TlsVersion};

pub(super) const PASSWORD: &str = "Passw0rd-of-the-api";
/// `printf %s Passw0rd-of-the-api | md5sum`.
pub(super) const PASSWORD_MD5: &str = "03c2fa928d0afa130da4afd13e2ffd22";
pub(super) const TOKEN: &str = "70c37070c37070c37070c370";
pub(super) const RANDOM: &str = "4a4d04a4d04a4d04a4d0";

/// One thing that the far side does with a connection; after the last it closes.
pub(super) enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    /// Waits until the client closes.
    Hang,
    /// Closes with RST.
    Reset,
}

/// Makes the steps that answer one request.
pub(super) type Reply = fn() -> Vec<Step>;

/// A request as it came.
pub(super) struct Received {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    /// How many requests with this path came before.
    pub(super) nth: usize,
}

impl Received {
    /// The path after the version, such as `recording/download`.
    pub(super) fn endpoint(&self) -> &str {
        endpoint(&self.head)
    }
}

fn endpoint(head: &str) -> &str {
    let target = head.split(' ').nth(1).unwrap_or_default();
    target.split('?').next().unwrap_or_default().splitn(4, '/').nth(3).unwrap_or_default()
}

type Script = dyn Fn(&Received) -> Vec<Step> + Send + Sync;

pub(super) struct FakePbx {
    pub(super) port: u16,
    pub(super) key: Option<Digest>,
    seen: Arc<Mutex<Vec<String>>>,
    peak: Arc<AtomicUsize>,
}

impl FakePbx {
    /// Answers in plain HTTP.
    pub(super) async fn start(script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::listen(None, Arc::new(script)).await
    }

    /// Answers in HTTPS with a self-signed certificate.
    pub(super) async fn start_tls(script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let issued = rcgen::generate_simple_self_signed(["pbx.test".to_owned()]).unwrap();
        let key = Digest::of(rcgen::PublicKeyData::subject_public_key_info(&issued.signing_key));
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], private)
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        Self { key: Some(key), ..Self::listen(Some(tls), Arc::new(script)).await }
    }

    async fn listen(tls: Option<TlsAcceptor>, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, peak, open) =
            (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let fake = Self { port, key: None, seen: Arc::clone(&seen), peak: Arc::clone(&peak) };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tls, script, seen) = (tls.clone(), Arc::clone(&script), Arc::clone(&seen));
                let (peak, open) = (Arc::clone(&peak), Arc::clone(&open));
                tokio::spawn(async move {
                    peak.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let socket = serve(socket, tls, &script, &seen).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                    drop(socket);
                });
            }
        });
        fake
    }

    /// How many requests named `endpoint` came.
    pub(super) fn count(&self, endpoint_name: &str) -> usize {
        self.heads(endpoint_name).len()
    }

    /// The heads of the requests named `endpoint`.
    pub(super) fn heads(&self, endpoint_name: &str) -> Vec<String> {
        self.seen.lock().unwrap().iter().filter(|head| endpoint(head) == endpoint_name).cloned().collect()
    }

    /// Most connections at one time.
    pub(super) fn peak(&self) -> usize {
        self.peak.load(Ordering::SeqCst)
    }

    pub(super) fn config(&self) -> PbxConfig {
        config(&format!("http://127.0.0.1:{}", self.port))
    }
}

type Socket = Box<dyn Send>;

async fn serve(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    script: &Arc<Script>,
    seen: &Mutex<Vec<String>>,
) -> Socket {
    let Some(tls) = tls else {
        return talk(socket, script, seen, |socket| socket.set_zero_linger().unwrap()).await;
    };
    match tls.accept(socket).await {
        Ok(stream) => {
            talk(stream, script, seen, |stream| stream.get_ref().0.set_zero_linger().unwrap()).await
        }
        Err(_) => Box::new(()),
    }
}

async fn talk<S>(mut stream: S, script: &Arc<Script>, seen: &Mutex<Vec<String>>, reset: fn(&S)) -> Socket
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some((head, body)) = receive(&mut stream).await else { return Box::new(stream) };
    let nth = {
        let mut seen = seen.lock().unwrap();
        seen.push(head.clone());
        seen.iter().filter(|other| endpoint(other) == endpoint(&head)).count() - 1
    };
    for step in script(&Received { head, body, nth }) {
        match step {
            Step::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    break;
                }
                let _ = stream.flush().await;
            }
            Step::Pause(time) => tokio::time::sleep(time).await,
            Step::Hang => {
                let _ = stream.read(&mut [0; 1]).await;
            }
            Step::Reset => reset(&stream),
        }
    }
    Box::new(stream)
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            // As strict as servers of appliances are: names in another case are not known to them.
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0");
            if bytes.len() >= at + 4 + length.parse::<usize>().unwrap() {
                return Some((head, bytes.split_off(at + 4)));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A reply without length: the end of the connection ends it.
pub(super) fn http(body: impl AsRef<[u8]>) -> Vec<Step> {
    let head = b"HTTP/1.1 200 OK\r\nServer: Boa/0.94.14rc21\r\nConnection: close\r\n\r\n".to_vec();
    vec![Step::Send([&head, body.as_ref()].concat())]
}

/// A reply that declares `length`.
pub(super) fn http_with_length(length: usize, body: impl AsRef<[u8]>) -> Vec<Step> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    vec![Step::Send([&head, body.as_ref()].concat())]
}

pub(super) fn status(line: &str, body: &str) -> Vec<Step> {
    vec![Step::Send(format!("HTTP/1.1 {line}\r\nConnection: close\r\n\r\n{body}").into_bytes())]
}

pub(super) fn errno(errno: u32) -> Vec<Step> {
    http(format!("{{\"status\":\"Failed\",\"errno\":\"{errno}\"}}"))
}

/// What a healthy PBX answers: any password, any token, any ticket.
pub(super) fn healthy(request: &Received) -> Vec<Step> {
    match request.endpoint() {
        "login" => http(format!("{{\"status\":\"Success\",\"token\":\"{TOKEN}{}\"}}", request.nth)),
        "recording/get_random" | "cdr/get_random" | "voicemail/get_random" => {
            http_with_length_of(&format!("{{\"status\":\"Success\",\"random\":\"{RANDOM}{}\"}}", request.nth))
        }
        "recording/download" | "voicemail/download" => http(wav(100)),
        "cdr/download" => http("callid,timestart\n1.1,2024-03-01 12:05:02\n"),
        "heartbeat" => http(r#"{"status":"Success"}"#),
        "deviceinfo/query" => http(
            r#"{"status":"Success","deviceinfo":{"devicename":"S100","sn":"3693","firmwarever":"30","systemtime":"2017-05-24 23:25:20 UTC-8"}}"#,
        ),
        _ => errno(10003),
    }
}

fn http_with_length_of(body: &str) -> Vec<Step> {
    http_with_length(body.len(), body)
}

/// The beginning of a WAV file and `bytes` more.
pub(super) fn wav(bytes: usize) -> Vec<u8> {
    [b"RIFF\0\0\0\0WAVEfmt ".as_slice(), &vec![7; bytes]].concat()
}

pub(super) fn name(text: &str) -> RecordingName {
    RecordingName::new(text).unwrap()
}

pub(super) fn config(url: &str) -> PbxConfig {
    let version = ApiVersion { segment: "v1.1.0".to_owned(), generation: Generation::V1_1 };
    PbxConfig {
        id: "hq".to_owned(),
        url: url.parse().unwrap(),
        api_version: version.clone(),
        download_api_version: version,
        username: "api".to_owned(),
        password: PASSWORD.into(),
        password_source: "/etc/callvault/hq-password".into(),
        timezone: None,
        concurrency: 2,
        tls_pin_sha256: None,
        tls_backend: TlsBackend::Rustls,
        tls_version_min: TlsVersion::V1_2,
        login_port: None,
        push: PushMode::Off,
        push_from: Vec::new(),
        allowed_ip: None,
        limits: PbxLimits {
            reply_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(5),
            ..PbxLimits::default()
        },
        manners: Default::default(),
        retention: Default::default(),
        cdr_folder: None,
        cdr_api: true,
        cdr_columns: Default::default(),
        cdr_keep_columns: Default::default(),
        voicemail: Default::default(),
    }
}
