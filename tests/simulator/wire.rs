//! A client as plain as can be, and a reader of WAV files.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use callvault::simulator::{Simulator, SimulatorOptions};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

/// The MD5 of `Simulated1`.
pub(crate) const PASSWORD_MD5: &str = "c126898b13a07ab1dc3015408053a5d2";

/// A reply, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A member of a JSON reply.
    pub(crate) fn member(&self, name: &str) -> String {
        let json: serde_json::Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        json[name].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn errno(&self) -> String {
        self.member("errno")
    }
}

/// Sends bytes and reads until the server closes; an error of the connection is returned.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(take_apart(bytes))
}

fn take_apart(mut bytes: Vec<u8>) -> Reply {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let body = bytes.split_off(end);
    Reply { head: String::from_utf8_lossy(&bytes).into_owned(), body }
}

pub(crate) fn get(address: SocketAddr, target: &str) -> Reply {
    exchange(address, format!("GET {target} HTTP/1.1\r\nHost: pbx\r\n\r\n").as_bytes()).unwrap()
}

pub(crate) fn post(address: SocketAddr, target: &str, body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let head = format!("POST {target} HTTP/1.1\r\nHost: pbx\r\nContent-Length: {}\r\n\r\n", body.len());
    exchange(address, &[head.as_bytes(), body].concat()).unwrap()
}

/// A client of one simulator, logged in.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) version: &'static str,
    pub(crate) token: String,
}

impl Client {
    pub(crate) fn new(simulator: &Simulator, version: &'static str) -> Self {
        let address = simulator.address();
        let token = login(address, version, PASSWORD_MD5).member("token");
        assert_eq!(token.len(), 32);
        Self { address, version, token }
    }

    pub(crate) fn post(&self, endpoint: &str, body: impl AsRef<[u8]>) -> Reply {
        post(self.address, &format!("/api/{}/{endpoint}?token={}", self.version, self.token), body)
    }

    pub(crate) fn ticket(&self, name: &[u8]) -> Reply {
        let name = String::from_utf8_lossy(name).into_owned();
        self.post("recording/get_random", serde_json::json!({ "recording": name }).to_string())
    }

    pub(crate) fn target(&self, name: &[u8], random: &str) -> String {
        let name = percent_encoding::percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        format!(
            "/api/{}/recording/download?recording={name}&random={random}&token={}",
            self.version, self.token
        )
    }

    pub(crate) fn download(&self, name: &[u8]) -> Reply {
        let random = self.ticket(name).member("random");
        get(self.address, &self.target(name, &random))
    }

    pub(crate) fn cdr(&self, from: &str, to: &str) -> Reply {
        let key = if self.version == "v2.0.0" { "number" } else { "extid" };
        let body = serde_json::json!({ key: "all", "starttime": from, "endtime": to }).to_string();
        let random = self.post("cdr/get_random", body);
        if random.member("status") != "Success" {
            return random;
        }
        let random = random.member("random");
        let (version, token) = (self.version, &self.token);
        let target = format!(
            "/api/{version}/cdr/download?{key}=all&starttime={from}&endtime={to}&token={token}&random={random}"
        );
        get(self.address, &target)
    }
}

pub(crate) fn login(address: SocketAddr, version: &str, md5: &str) -> Reply {
    let body = format!("{{\"username\":\"api\",\"password\":\"{md5}\"}}");
    post(address, &format!("/api/{version}/login"), body)
}

pub(crate) async fn start(change: impl FnOnce(&mut SimulatorOptions)) -> Simulator {
    let mut options = SimulatorOptions {
        recordings: 20,
        size_bytes: (2000, 4000),
        now: Some(Timestamp::from_second(1_711_900_000).unwrap()),
        ..SimulatorOptions::default()
    };
    change(&mut options);
    Simulator::start(options).await.unwrap()
}

pub(crate) fn first_name(simulator: &Simulator) -> Vec<u8> {
    simulator.truth()[0].name.clone()
}

/// The same request from another address of this machine.
pub(crate) async fn from_elsewhere(address: SocketAddr, target: &str) -> Reply {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0))).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    take_apart(bytes)
}

/// What a WAV file says of itself.
pub(crate) struct Wav {
    pub(crate) format: u16,
    pub(crate) data_bytes: usize,
    pub(crate) samples: usize,
}

/// Reads a WAV file, strictly.
pub(crate) fn read_wav(bytes: &[u8]) -> Wav {
    let u16_at = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((&bytes[..4], &bytes[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
    assert_eq!(u32_at(4) + 8, bytes.len(), "the RIFF size is the file's");
    let (mut at, mut wav) = (12, Wav { format: 0, data_bytes: 0, samples: 0 });
    let mut fact = None;
    while at < bytes.len() {
        let (id, size) = (&bytes[at..at + 4], u32_at(at + 4));
        match id {
            b"fmt " => {
                wav.format = u16_at(at + 8);
                assert_eq!((u16_at(at + 10), u32_at(at + 12)), (1, 8000));
                let (rate, align) = (u32_at(at + 16), u16_at(at + 20));
                let expected = match wav.format {
                    1 => (16_000, 2),
                    6 | 7 => (8000, 1),
                    0x31 => (1625, 65),
                    other => panic!("format {other}"),
                };
                assert_eq!((rate, align), expected);
            }
            b"fact" => fact = Some(u32_at(at + 8)),
            b"data" => wav.data_bytes = size,
            other => panic!("chunk {other:?}"),
        }
        at += 8 + size + size % 2;
    }
    assert_eq!(at, bytes.len());
    wav.samples = match wav.format {
        1 => wav.data_bytes / 2,
        0x31 => wav.data_bytes / 65 * 320,
        _ => wav.data_bytes,
    };
    assert!(fact.is_none_or(|samples| samples == wav.samples));
    assert_eq!(fact.is_some(), wav.format != 1);
    wav
}

pub(crate) async fn wait_until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(5), "this should have come true");
        tokio::task::yield_now().await;
    }
}
