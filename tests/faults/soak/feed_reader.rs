//! A program that follows the feed over HTTP, asks for metrics beside it, and fetches some of the audio.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::stop::Stop;
use crate::support::reader::Read;

/// The token of the reader.
pub(crate) const TOKEN: &str = "5a1f0c3b9d7e2468aceb13579bdf0246";
/// One entry in so many has its audio fetched.
const AUDIO_EVERY: u64 = 40;
/// The longest silence of a service that works.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a reader has, and how it went.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) read: Read,
    /// Questions that were answered in full.
    pub(crate) answers: u64,
    /// Connections that broke or were refused, as while the service is down.
    pub(crate) broken: u64,
    /// Audio that was fetched whole.
    pub(crate) fetched: u64,
    /// Pages of metrics that were read.
    pub(crate) scraped: u64,
}

/// An answer, as far as it came.
pub(crate) struct Answer {
    status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Follows until told to stop; `look` sees it in between.
pub(crate) fn follow(port: u16, stop: &Stop, reader: &std::sync::Mutex<Reader>) {
    while !stop.is_set() {
        let is_good = step(port, reader);
        if !is_good {
            reader.lock().unwrap().broken += 1;
            stop.comes_within(Duration::from_millis(50));
        }
    }
}

/// Asks once for what comes next; whether it was answered.
fn step(port: u16, reader: &std::sync::Mutex<Reader>) -> bool {
    let after = reader.lock().unwrap().read.after();
    let after = after.map(|after| format!("after={after}&")).unwrap_or_default();
    let Some(answer) = ask(port, &format!("/feed/entries?{after}wait_s=2&limit=200")) else { return false };
    if answer.status != 200 {
        assert_eq!(answer.status, 503, "{}", answer.head);
        return false;
    }
    let mut numbers = Vec::new();
    {
        let mut reader = reader.lock().unwrap();
        let before = reader.read.len();
        reader.read.take(&answer.body);
        reader.answers += 1;
        let audible = (before as u64..reader.read.len() as u64).filter(|number| number % AUDIO_EVERY == 7);
        numbers.extend(audible);
    }
    for number in numbers {
        let fetched = ask(port, &format!("/feed/audio/{number}"));
        let is_whole = fetched.is_some_and(|answer| answer.status == 200 && answer.is_whole());
        reader.lock().unwrap().fetched += u64::from(is_whole);
    }
    let scraped = ask(port, "/metrics").is_some_and(|answer| answer.status == 200);
    reader.lock().unwrap().scraped += u64::from(scraped);
    true
}

impl Answer {
    fn is_whole(&self) -> bool {
        let length = self.head.lines().find_map(|line| line.strip_prefix("content-length: "));
        length.and_then(|length| length.parse().ok()) == Some(self.body.len())
    }
}

/// Asks as the reader does.
pub(crate) fn ask(port: u16, path: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    // One that breaks in the middle ends it too.
    drop(stream.read_to_end(&mut bytes));
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?.to_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head, body: bytes[end + 4..].to_vec() })
}
