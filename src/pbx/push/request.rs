//! One message of HTTP, read within bounds.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::pbx::push::report::names_event;

/// The largest head, in bytes: a PBX's has about 150.
const HEAD_BYTES_MAX: usize = 8 * 1024;

const HEADERS_MAX: usize = 64;

/// The largest body, in bytes: a report has about 500.
const BODY_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub path: String,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
}

/// Why a message was not read, or not to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    Gone,
    /// It is not a message of HTTP that posts something, or it breaks off.
    Malformed,
    /// Its head or its body is too large.
    TooLarge,
}

struct Head {
    path: String,
    length: Option<usize>,
}

/// Reads a message. The body is not begun if it is declared too large. Without a declared length it ends where the
/// sender closes, or where it has named an event.
///
/// # Errors
/// Why it was not read, or not to its end.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Request, Unread> {
    let mut bytes = Vec::with_capacity(1024);
    let body_at = read_head(stream, &mut bytes).await?;
    let head = parse_head(&bytes[..body_at]).ok_or(Unread::Malformed)?;
    if head.length.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(Unread::TooLarge);
    }
    let mut searched = 0;
    loop {
        let body = &bytes[body_at..];
        if head.length.map_or_else(|| names_event(body, searched), |length| body.len() >= length) {
            break;
        }
        searched = body.len();
        if body.len() >= BODY_BYTES_MAX {
            return Err(Unread::TooLarge);
        }
        if read_more(stream, &mut bytes).await? == 0 {
            match head.length {
                Some(_) => return Err(Unread::Malformed),
                None => break,
            }
        }
    }
    Ok(Request { path: head.path, body: bytes.split_off(body_at) })
}

/// Reads until the head is whole; returns where the body begins.
async fn read_head(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Result<usize, Unread> {
    let mut searched = 0;
    loop {
        if let Some(end) = head_end(bytes, searched) {
            return if end <= HEAD_BYTES_MAX { Ok(end) } else { Err(Unread::TooLarge) };
        }
        if bytes.len() >= HEAD_BYTES_MAX {
            return Err(Unread::TooLarge);
        }
        searched = bytes.len();
        match read_more(stream, bytes).await? {
            0 if bytes.is_empty() => return Err(Unread::Gone),
            0 => return Err(Unread::Malformed),
            _ => {}
        }
    }
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Result<usize, Unread> {
    let mut chunk = [0; 4096];
    let count = stream.read(&mut chunk).await.map_err(|_| Unread::Gone)?;
    bytes.extend_from_slice(&chunk[..count]);
    Ok(count)
}

/// Where the head ends; the first `searched` bytes were looked at before.
fn head_end(bytes: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(3);
    let ends = [&b"\r\n\r\n"[..], b"\n\n"].map(|blank| {
        let at = bytes[from..].windows(blank.len()).position(|window| window == blank)?;
        Some(from + at + blank.len())
    });
    ends.into_iter().flatten().min()
}

fn parse_head(head: &[u8]) -> Option<Head> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).ok().filter(httparse::Status::is_complete)?;
    if request.method != Some("POST") {
        return None;
    }
    let path = request.path?.split('?').next().unwrap_or_default().to_owned();
    let mut lengths =
        request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = match lengths.next() {
        Some(header) => Some(length(header.value)?),
        None => None,
    };
    Some(Head { path, length })
}

/// A length that no number can hold is too large, and not malformed.
fn length(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(text: impl AsRef<[u8]>) -> Result<Request, Unread> {
        read(&mut text.as_ref()).await
    }

    fn posted(path: &str, body: &str) -> Result<Request, Unread> {
        Ok(Request { path: path.to_owned(), body: body.as_bytes().to_vec() })
    }

    const REPORT: &str = r#"{"action":"NewCdr"}"#;

    #[tokio::test]
    async fn a_message_ends_by_its_length_its_event_or_its_connection() {
        assert_eq!(
            of("POST /hq?a=b HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodymore").await,
            posted("/hq", "bodymore")
        );
        let head = "POST / HTTP/1.1\nHost: 192.0.2.1: 8260\n\n";
        assert_eq!(of(format!("{head}{REPORT}")).await, posted("/", REPORT));
        assert_eq!(of(format!("{head}{{}}")).await, posted("/", "{}"));
        // Chunks are not taken apart: the event stands in one of them.
        let chunked = format!("13\r\n{REPORT}\r\n0\r\n\r\n");
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(of(format!("{head}{chunked}")).await, posted("/", &chunked));
    }

    #[tokio::test]
    async fn a_message_that_is_too_large_is_not_read_on() {
        let mut endless = tokio::io::repeat(b'x');
        assert_eq!(read(&mut endless).await, Err(Unread::TooLarge));
        for length in ["65537", "10485760", "99999999999999999999999999"] {
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
            let mut stream = head.as_bytes().chain(tokio::io::repeat(b'x'));
            assert_eq!(read(&mut stream).await, Err(Unread::TooLarge), "{length}");
        }
        let mut stream = (&b"POST / HTTP/1.1\r\n\r\n"[..]).chain(tokio::io::repeat(b'x'));
        assert_eq!(read(&mut stream).await, Err(Unread::TooLarge));
    }

    #[tokio::test]
    async fn what_is_no_message_is_malformed() {
        let headers = "a: b\r\n".repeat(100);
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "nonsense\r\n\r\n",
            "POST / HTT",
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort",
            &format!("POST / HTTP/1.1\r\n{headers}\r\n"),
        ] {
            assert_eq!(of(text).await, Err(Unread::Malformed), "{text}");
        }
        assert_eq!(of("").await, Err(Unread::Gone));
    }
}
