//! The far sides of alerts: a receiver of webhooks, and a mail server of a few words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::fixture::{SECRET, within};

/// Somebody who receives webhooks and pings.
pub(crate) struct Receiver {
    address: SocketAddr,
    far_side: Arc<FarSide>,
    messages: UnboundedReceiver<Value>,
}

struct FarSide {
    broken: AtomicBool,
    requests: AtomicU64,
    seen: Mutex<Vec<String>>,
    messages: UnboundedSender<Value>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, messages) = unbounded_channel();
        let far_side = Arc::new(FarSide {
            broken: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            seen: Mutex::default(),
            messages: sender,
        });
        let router = Router::new().fallback(receive).with_state(Arc::clone(&far_side));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, far_side, messages }
    }

    /// Its address, with a token in it that nobody may tell.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks/hunter2", self.address)
    }

    /// Answers with 500 from now on, or not any more.
    pub(crate) fn set_broken(&self, broken: bool) {
        self.far_side.broken.store(broken, SeqCst);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.far_side.requests.load(SeqCst)
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Value {
        within("a webhook comes", self.messages.recv()).await.unwrap()
    }

    /// Nothing has come that was not looked at.
    pub(crate) fn has_no_more(&mut self) {
        assert!(self.messages.try_recv().is_err(), "there is another message");
    }
}

async fn receive(
    State(far_side): State<Arc<FarSide>>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    far_side.requests.fetch_add(1, SeqCst);
    assert_eq!(uri.path(), "/hooks/hunter2");
    if far_side.broken.load(SeqCst) {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    if body.is_empty() {
        return StatusCode::OK;
    }
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let id = header("webhook-id");
    assert!(is_signed(&id, &header("webhook-timestamp"), &header("webhook-signature"), &body));
    let mut seen = far_side.seen.lock().await;
    assert!(!seen.contains(&id), "a delivered message comes once");
    seen.push(id);
    let message = match header("content-type").as_str() {
        // The feed: so many lines.
        "application/x-ndjson" => body.lines().count().into(),
        content_type => {
            assert_eq!(content_type, "application/json");
            serde_json::from_str(&body).unwrap()
        }
    };
    far_side.messages.send(message).unwrap();
    StatusCode::NO_CONTENT
}

/// As the specification of Standard Webhooks has it, written down once more.
fn is_signed(id: &str, timestamp: &str, signatures: &str, body: &str) -> bool {
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,")).any(|signature| {
        let mut hmac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        for part in [id, ".", timestamp, ".", body] {
            hmac.update(part.as_bytes());
        }
        hmac.verify_slice(&STANDARD.decode(signature).unwrap()).is_ok()
    })
}

/// A mail server of a few words.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    broken: Arc<AtomicBool>,
    mails: UnboundedReceiver<String>,
}

impl MailServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, mails) = unbounded_channel();
        let broken = Arc::new(AtomicBool::new(false));
        let is_broken = Arc::clone(&broken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, broken) = (sender.clone(), is_broken.load(SeqCst));
                tokio::spawn(async move { serve_mail(stream, &sender, broken).await });
            }
        });
        Self { port, broken, mails }
    }

    /// Refuses senders from now on, or not any more.
    pub(crate) fn set_broken(&self, broken: bool) {
        self.broken.store(broken, SeqCst);
    }

    /// The next mail, its headers first.
    pub(crate) async fn next(&mut self) -> String {
        within("a mail comes", self.mails.recv()).await.unwrap()
    }
}

async fn serve_mail(stream: TcpStream, mails: &UnboundedSender<String>, broken: bool) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut answer = "220 mail.test";
    loop {
        writer.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        let Ok(Some(line)) = lines.next_line().await else { return };
        answer = match line.split([' ', ':']).next().unwrap() {
            "EHLO" => "250-mail.test\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "AUTH" => "235 ok",
            "MAIL" if broken => "451 greylisted, come again",
            "MAIL" | "RCPT" | "RSET" | "NOOP" => "250 ok",
            "DATA" => {
                writer.write_all(b"354 go on\r\n").await.unwrap();
                let mut mail = String::new();
                while let Ok(Some(line)) = lines.next_line().await
                    && line != "."
                {
                    mail += &format!("{line}\n");
                }
                mails.send(mail).unwrap();
                "250 taken"
            }
            "QUIT" => "221 bye",
            other => panic!("what is {other}?"),
        };
    }
}
