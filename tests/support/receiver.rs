//! Somebody whom the ledger is delivered to: on a real socket, with a runtime of its own, and not always well.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::support::reader::Read;

/// What deliveries are signed with.
pub(crate) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// A part of its address that nobody may tell.
pub(crate) const TOKEN: &str = "hunter2";

/// How it deals with deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It takes them.
    Takes,
    /// It takes none, and answers with this status.
    Answers(u16),
    /// It takes none, and never answers.
    Silent,
    /// One of these, by chance that begins with this number; and sometimes it takes one and does not say so.
    Fickle(u64),
}

/// A delivery that it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) id: String,
    pub(crate) body: String,
}

/// A receiver. Dropped, it is gone.
pub(crate) struct Receiver {
    address: SocketAddr,
    far_side: Arc<FarSide>,
    runtime: Option<Runtime>,
}

type FarSide = Mutex<Inside>;

struct Inside {
    manner: Manner,
    chance: u64,
    /// Every try that came, taken or not.
    tries: Vec<Taken>,
    taken: Vec<Taken>,
    /// When the last try was made, and how it was signed.
    signed: (String, String),
    /// What came that should not.
    wrong: Vec<String>,
}

impl Receiver {
    pub(crate) fn start(manner: Manner) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let std_listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        std_listener.set_nonblocking(true).unwrap();
        let address = std_listener.local_addr().unwrap();
        let seed = if let Manner::Fickle(seed) = manner { seed } else { 0 };
        let inside = Inside {
            manner,
            chance: seed,
            tries: Vec::new(),
            taken: Vec::new(),
            signed: Default::default(),
            wrong: Vec::new(),
        };
        let far_side = Arc::new(Mutex::new(inside));
        let router = Router::new().fallback(receive).with_state(Arc::clone(&far_side));
        runtime.spawn(async move {
            let listener = TcpListener::from_std(std_listener).unwrap();
            axum::serve(listener, router).await
        });
        Self { address, far_side, runtime: Some(runtime) }
    }

    /// The section that names it.
    pub(crate) fn section(&self, name: &str, lines: &str) -> String {
        let url = format!("http://{}/feed/{TOKEN}", self.address);
        format!("[[feed.webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret_file = \"secret\"\n{lines}\n")
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.far_side.lock().unwrap().manner = manner;
    }

    /// The ids of all tries, in the order in which they came.
    pub(crate) fn tries(&self) -> Vec<String> {
        self.far_side.lock().unwrap().tries.iter().map(|delivery| delivery.id.clone()).collect()
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.far_side.lock().unwrap().taken.clone()
    }

    /// Timestamp and signature of the last try.
    pub(crate) fn signed(&self) -> (String, String) {
        self.far_side.lock().unwrap().signed.clone()
    }

    /// What it has who throws away what comes again under the same id; asserts that it is in order, and that nothing but
    /// whole deliveries came again.
    pub(crate) fn read(&self) -> Read {
        let inside = self.far_side.lock().unwrap();
        assert_eq!(inside.wrong, Vec::<String>::new());
        for (at, delivery) in inside.tries.iter().enumerate() {
            let before = inside.tries[..at].iter().find(|before| before.id == delivery.id);
            assert!(before.is_none_or(|before| before == delivery), "{} is another", delivery.id);
        }
        let (mut read, mut seen) = (Read::default(), Vec::new());
        for delivery in &inside.taken {
            if !seen.contains(&&delivery.id) {
                seen.push(&delivery.id);
                let lines = delivery.body.matches('\n').count();
                assert_eq!(read.take(delivery.body.as_bytes()), lines);
            }
        }
        read
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Inside {
    /// A number below `end`, the same ones in each run.
    fn by_chance(&mut self, end: u64) -> u64 {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.chance >> 33) % end
    }
}

async fn receive(
    State(far_side): State<Arc<FarSide>>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    if uri.path() != format!("/feed/{TOKEN}")
        || header("content-type") != "application/x-ndjson"
        || !is_signed(id, timestamp, header("webhook-signature"), &body)
    {
        far_side.lock().unwrap().wrong.push(format!("{uri}: {headers:?}"));
        return StatusCode::BAD_REQUEST.into_response();
    }
    let delivery = Taken { id: id.to_owned(), body };
    let (manner, is_taken) = {
        let mut inside = far_side.lock().unwrap();
        inside.signed = (timestamp.to_owned(), header("webhook-signature").to_owned());
        inside.tries.push(delivery.clone());
        let (manner, is_taken) = match inside.manner {
            Manner::Takes => (Manner::Takes, true),
            Manner::Fickle(_) => match inside.by_chance(14) {
                0 => (Manner::Answers(500), false),
                1 => (Manner::Answers(410), false),
                2 => (Manner::Answers(302), false),
                3 => (Manner::Silent, false),
                4 => (Manner::Answers(503), true),
                5 => (Manner::Silent, true),
                _ => (Manner::Takes, true),
            },
            other => (other, false),
        };
        if is_taken {
            inside.taken.push(delivery);
        }
        (manner, is_taken)
    };
    match manner {
        Manner::Silent => std::future::pending().await,
        Manner::Answers(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [(header::LOCATION, "/elsewhere")], "x".repeat(1 << 20)).into_response()
        }
        _ => {
            assert!(is_taken);
            StatusCode::NO_CONTENT.into_response()
        }
    }
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
