//! A witness, written by the words of C2SP tlog-witness and tlog-cosignature.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use callvault::base::digest::Digest;
use callvault::formats::tlog::{Checkpoint, Note, VerifyingKey, verify_consistency};
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

/// What it signs with.
const NAME: &str = "witness.example/w1";

/// A witness that listens.
pub(crate) struct Witness {
    pub(crate) address: SocketAddr,
    pub(crate) inner: Arc<Mutex<Inner>>,
}

pub(crate) struct Inner {
    key: SigningKey,
    /// The keys of the ledgers that it knows.
    pub(crate) trusted: Vec<VerifyingKey>,
    pub(crate) seen: Option<(u64, Digest)>,
    /// The status of each answer so far.
    pub(crate) answers: Vec<u16>,
    /// Whether it signs something else than it should.
    pub(crate) lies: bool,
}

impl Witness {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Inner {
            key: SigningKey::from_bytes(&[42; 32]),
            trusted: Vec::new(),
            seen: None,
            answers: Vec::new(),
            lies: false,
        };
        let inner = Arc::new(Mutex::new(inner));
        let router = Router::new().fallback(add_checkpoint).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, inner }
    }

    /// Its section of the configuration.
    pub(crate) fn section(&self) -> String {
        format!("[[witness]]\nurl = 'http://{}/prefix/'\nvkey = '{}'\n", self.address, self.vkey())
    }

    fn vkey(&self) -> String {
        let key = self.inner.lock().unwrap().key.verifying_key();
        let key = [&[4][..], key.as_bytes()].concat();
        format!("{NAME}+{}+{}", hex(&id(&key)), BASE64.encode(key))
    }

    /// The answers since the last look.
    pub(crate) fn answers(&self) -> Vec<u16> {
        std::mem::take(&mut self.inner.lock().unwrap().answers)
    }

    /// Whether its word is on a note, over the note's text.
    pub(crate) fn has_signed(&self, note: &str) -> bool {
        let (text, _) = note.split_once("\n\n").unwrap();
        let key = self.inner.lock().unwrap().key.verifying_key();
        note.lines().filter_map(|line| line.strip_prefix(&format!("\u{2014} {NAME} "))).any(|line| {
            let bytes = BASE64.decode(line).unwrap();
            assert_eq!((bytes.len(), &bytes[..4]), (76, &id(&[&[4][..], key.as_bytes()].concat())[..]));
            let time = u64::from_be_bytes(bytes[4..12].try_into().unwrap());
            let message = format!("cosignature/v1\ntime {time}\n{text}\n");
            key.verify_strict(message.as_bytes(), &bytes[12..].try_into().unwrap()).is_ok()
        })
    }
}

fn id(key: &[u8]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(NAME).chain_update("\n").chain_update(key).finalize();
    hash[..4].try_into().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn add_checkpoint(State(witness): State<Arc<Mutex<Inner>>>, uri: Uri, body: String) -> Response {
    assert_eq!(uri.path(), "/prefix/add-checkpoint");
    let mut witness = witness.lock().unwrap();
    let answer = witness.judge(&body);
    witness.answers.push(answer.status().as_u16());
    answer
}

impl Inner {
    fn judge(&mut self, body: &str) -> Response {
        let (head, note) = body.split_once("\n\n").expect("an empty line ends the proof");
        let mut lines = head.split('\n');
        let old = lines.next().unwrap().strip_prefix("old ").expect("the first line has the old size");
        let old: u64 = old.parse().unwrap();
        let proof: Vec<Digest> =
            lines.map(|line| Digest::try_from(&BASE64.decode(line).unwrap()[..]).unwrap()).collect();
        assert!(proof.len() <= 63 && (old > 0 || proof.is_empty()));
        if self.trusted.is_empty() {
            return StatusCode::NOT_FOUND.into_response();
        }
        let note = Note::parse(note).unwrap();
        let Ok(text) = note.verify(&self.trusted) else { return StatusCode::FORBIDDEN.into_response() };
        let checkpoint = Checkpoint::parse(text).unwrap();
        if old > checkpoint.size {
            return StatusCode::BAD_REQUEST.into_response();
        }
        let (seen, root) = self.seen.unwrap_or((0, Digest::of([])));
        let is_other = seen == checkpoint.size && root != checkpoint.root;
        if old != seen || is_other {
            let size = [(header::CONTENT_TYPE, "text/x.tlog.size")];
            return (StatusCode::CONFLICT, size, format!("{seen}\n")).into_response();
        }
        let continues = match old {
            0 => true,
            old if old == checkpoint.size => true,
            old => verify_consistency((old, root), (checkpoint.size, checkpoint.root), &proof).is_ok(),
        };
        if !continues {
            return StatusCode::UNPROCESSABLE_ENTITY.into_response();
        }
        self.seen = Some((checkpoint.size, checkpoint.root));
        self.cosign(text).into_response()
    }

    /// Its line, and one of another key of its, as the specification allows.
    fn cosign(&self, text: &str) -> String {
        let time = 1_772_442_000_u64;
        let text = if self.lies { "something else\n" } else { text };
        let signature = self.key.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
        let key = [&[4][..], self.key.verifying_key().as_bytes()].concat();
        let ours = [&id(&key)[..], &time.to_be_bytes(), &signature.to_bytes()].concat();
        let other = [&[1, 2, 3, 4][..], &[0; 72]].concat();
        format!("\u{2014} {NAME} {}\n\u{2014} {NAME} {}\n", BASE64.encode(other), BASE64.encode(ours))
    }
}
